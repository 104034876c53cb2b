//! What the rules of the chain of failures share: who died and why, which attempts failed, and what that cost.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_extract::features::StageSummary;
use emberscope_run::{
    ExecutorId, Failure, Run, StageKey, TaskColumn, TaskEndKind, TaskId, TaskRow, TaskStatus, Timestamp,
};

use crate::rule::Context;

/// Why an executor went, from Spark's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Departure {
    /// It was given back: idle, not wanted any more, or the application was ending.
    Intended,
    /// Its host was decommissioned or its container preempted: the cluster took it.
    Taken,
    /// It ran out of memory.
    Memory(MemoryKind),
    /// It stopped answering.
    Heartbeat,
    /// It died for another reason, or for one that Spark does not say.
    Died,
}

/// Which memory ran out, and who noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemoryKind {
    /// The resource manager killed the container: heap, overhead and Python together were over its limit.
    Container,
    /// The kernel (or Kubernetes) killed the process: exit code 137.
    Killed,
    /// It was told to end (exit code 143) while it had work: YARN does so to containers over their limit, among others.
    Terminated,
    /// The heap was full.
    Heap,
    /// The metaspace was full: classes, not data.
    Metaspace,
    /// Direct buffers were at their limit.
    Direct,
    /// No further thread could be made.
    Threads,
}

/// Reads the reason of an executor's end. An exit code that memory kills share with others is read as such.
pub(crate) fn departure(reason: &str) -> Departure {
    let text = reason.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&[
        "exceeding memory limits",
        "exceeding physical memory",
        "exceeding virtual memory",
        "beyond the 'physical' memory",
        "beyond the 'virtual' memory",
        "running beyond physical memory",
        "running beyond virtual memory",
    ]) {
        return Departure::Memory(MemoryKind::Container);
    }
    if has(&["oomkilled", "oom-kill", "oom killed"]) {
        return Departure::Memory(MemoryKind::Killed);
    }
    if let Some(kind) = out_of_memory(reason) {
        return Departure::Memory(kind);
    }
    if has(&[
        "preempt",
        "decommission",
        "spot instance",
        "node lost",
        "released by application due to being on a lost node",
        "instance termination",
    ]) {
        return Departure::Taken;
    }
    if has(&[
        "executor idle",
        "dynamic allocation",
        "killed by driver",
        "exited from explicit termination request",
        "explicit termination",
        "worker shutting down",
        "exited normally",
        "no longer needed",
        "executor killed by driver",
        "command exited with code 0",
        "removed by deployment",
    ]) {
        return Departure::Intended;
    }
    if has(&["heartbeat"]) {
        return Departure::Heartbeat;
    }
    match exit_code(&text) {
        Some(0) => Departure::Intended,
        Some(52) => Departure::Memory(MemoryKind::Heap),
        Some(137) => Departure::Memory(MemoryKind::Killed),
        Some(143) => Departure::Memory(MemoryKind::Terminated),
        _ => Departure::Died,
    }
}

/// The memory that an `OutOfMemoryError` names.
pub(crate) fn out_of_memory(text: &str) -> Option<MemoryKind> {
    if !text.contains("OutOfMemoryError") || text.contains("SparkOutOfMemoryError") {
        return None;
    }
    Some(if text.contains("Metaspace") || text.contains("PermGen") || text.contains("Compressed class space") {
        MemoryKind::Metaspace
    } else if text.contains("Direct buffer memory") || text.contains("direct memory") {
        MemoryKind::Direct
    } else if text.contains("unable to create") && text.contains("thread") {
        MemoryKind::Threads
    } else {
        MemoryKind::Heap
    })
}

/// The number after `exit code`, `exit status`, `exited with code`, in lower-case text.
fn exit_code(text: &str) -> Option<i64> {
    for marker in [
        "exit code is ",
        "exit code: ",
        "exit code ",
        "exited with code ",
        "exit status: ",
        "exit status ",
        "exitcode: ",
        "exit_code: ",
    ] {
        if let Some((_, rest)) = text.split_once(marker) {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
            if let Some(code) = rest.get(..end).and_then(|digits| digits.parse().ok()) {
                return Some(code);
            }
        }
    }
    None
}

/// At most the first `max` bytes of a text, cut between characters.
pub(crate) fn head(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Everything that a failure says, for reading its reason.
pub(crate) fn words_of(failure: &Failure) -> String {
    format!("{} {}", head(&failure.class, 4_096), head(&failure.message, 4_096))
}

/// Failed or resubmitted attempts of one stage with one cause on one executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedTasks {
    /// The stage attempt.
    pub(crate) stage: StageKey,
    /// Spark's reason.
    pub(crate) kind: TaskEndKind,
    /// Index into the run's failures.
    pub(crate) failure: Option<u64>,
    /// The executor.
    pub(crate) executor: Option<ExecutorId>,
    /// How many.
    pub(crate) count: u64,
    /// Their durations in ms; 0 for resubmissions, whose time the successful attempt already has.
    pub(crate) task_ms: u64,
    /// The first of them.
    pub(crate) first: (TaskId, u64),
    /// The most attempts that failed at one partition before, this one included.
    pub(crate) most_attempts: u64,
    /// When the last of them ended.
    pub(crate) last_at: Option<Timestamp>,
}

impl FailedTasks {
    /// The failure's text.
    pub(crate) fn cause<'a>(&self, run: &'a Run) -> Option<&'a Failure> {
        run.failures.get(usize::try_from(self.failure?).ok()?)
    }
}

/// Failed and resubmitted attempts, grouped; stages without any cost nothing.
pub(crate) fn failed_tasks(ctx: &Context<'_>) -> Vec<FailedTasks> {
    let mut all = Vec::new();
    for (key, stage) in touched_stages(ctx) {
        let Some(attempt) = ctx.run.stages.get(key) else { continue };
        let mut groups: BTreeMap<(u64, u64, u64), FailedTasks> = BTreeMap::new();
        let mut failures: BTreeMap<u64, u64> = BTreeMap::new();
        debug_assert!(stage.tasks.failed + stage.tasks.resubmitted > 0);
        for row in attempt.tasks.rows() {
            let status = row.status();
            if !matches!(status, Some(TaskStatus::Failed | TaskStatus::Resubmitted)) {
                continue;
            }
            let kind =
                row.get(TaskColumn::EndReason).and_then(TaskEndKind::from_code).unwrap_or(TaskEndKind::UnknownReason);
            let partition = row.get(TaskColumn::Partition).unwrap_or_default();
            let counted = status == Some(TaskStatus::Failed) && kind == TaskEndKind::ExceptionFailure;
            let attempts = failures.entry(partition).or_default();
            *attempts += u64::from(counted);
            let code = |column| row.get(column).unwrap_or(u64::MAX);
            let group = groups
                .entry((kind.code(), code(TaskColumn::Failure), code(TaskColumn::Executor)))
                .or_insert_with(|| FailedTasks {
                    stage: *key,
                    kind,
                    failure: row.get(TaskColumn::Failure),
                    executor: ctx.run.executor_of(&row).cloned(),
                    count: 0,
                    task_ms: 0,
                    first: (TaskId(row.get(TaskColumn::TaskId).unwrap_or_default()), partition),
                    most_attempts: 0,
                    last_at: None,
                });
            group.count += 1;
            group.most_attempts = group.most_attempts.max(*attempts);
            group.last_at = group.last_at.max(row.finished_at());
            if status == Some(TaskStatus::Failed) {
                group.task_ms = group.task_ms.saturating_add(row.duration_ms().unwrap_or(0));
            }
        }
        all.extend(groups.into_values());
    }
    all
}

fn touched_stages<'a>(ctx: &Context<'a>) -> impl Iterator<Item = (&'a StageKey, &'a StageSummary)> {
    ctx.features.stages.iter().filter(|(_, stage)| stage.tasks.failed + stage.tasks.resubmitted > 0)
}

/// What failed attempts cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Loss {
    /// Wall-clock time of the run in ms.
    pub(crate) wall_clock_ms: f64,
    /// Core time in ms.
    pub(crate) core_ms: f64,
}

impl std::ops::AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.wall_clock_ms += other.wall_clock_ms;
        self.core_ms += other.core_ms;
    }
}

/// What the attempts of a stage that `lost` picks cost: their time spread over the stage's slots, or how much later than
/// the others the partitions ended that had to be tried again, whichever is more.
pub(crate) fn loss_in_stage(ctx: &Context<'_>, stage: &StageSummary, lost: impl Fn(&TaskRow) -> bool) -> Loss {
    let Some(attempt) = ctx.run.stages.get(&stage.key) else { return Loss::default() };
    let mut wasted: BTreeMap<u64, u64> = BTreeMap::new();
    let mut ends: BTreeMap<u64, i64> = BTreeMap::new();
    for row in attempt.tasks.rows() {
        let partition = row.get(TaskColumn::Partition).unwrap_or_default();
        if lost(&row) {
            let ms = wasted.entry(partition).or_default();
            *ms = ms.saturating_add(row.duration_ms().unwrap_or(0));
        }
        if let Some(end) = row.finished_at() {
            let last = ends.entry(partition).or_insert(end.0);
            *last = end.0.max(*last);
        }
    }
    let core_ms = wasted.values().fold(0_u64, |sum, &ms| sum.saturating_add(ms)) as f64;
    let others = ends.iter().filter(|(partition, _)| !wasted.contains_key(partition)).map(|(_, &end)| end).max();
    let others = others.or_else(|| stage.first_launch.map(|first| first.0));
    let late = wasted.iter().filter_map(|(partition, &ms)| {
        let later = Timestamp(*ends.get(partition)?).since(Timestamp(others?)).0;
        Some(later.min(ms))
    });
    let spread = core_ms / stage.slots.unwrap_or(1).max(1) as f64;
    let own = spread.max(late.max().unwrap_or(0) as f64);
    Loss { wall_clock_ms: stage.wall_clock_saving(own).round(), core_ms }
}

/// What repeating a stage cost in one of its later attempts: tasks of partitions that an earlier attempt had done.
pub(crate) fn loss_in_retry(ctx: &Context<'_>, stage: &StageSummary) -> Loss {
    if stage.key.attempt == 0 {
        return Loss::default();
    }
    let Some(own) = ctx.run.stages.get(&stage.key) else { return Loss::default() };
    let mut done: BTreeSet<u64> = BTreeSet::new();
    let first = StageKey { attempt: 0, ..stage.key };
    let mut total = own.num_tasks;
    for (_, earlier) in ctx.run.stages.range(first..stage.key) {
        total = total.max(earlier.num_tasks);
        let succeeded = earlier.tasks.rows().filter(|row| row.status() == Some(TaskStatus::Success));
        done.extend(
            succeeded.filter_map(|row| row.get(TaskColumn::PartitionId).or_else(|| row.get(TaskColumn::Partition))),
        );
    }
    if own.tasks.rows().all(|row| row.get(TaskColumn::PartitionId).is_some()) {
        return loss_in_stage(ctx, stage, |row| row.get(TaskColumn::PartitionId).is_some_and(|id| done.contains(&id)));
    }
    // Before Spark 3.3 a task of a later attempt does not say which partition it is: as many of them were done before as
    // the stage has too few partitions for.
    let again = (done.len() as u64).saturating_add(own.num_tasks).saturating_sub(total).min(own.num_tasks);
    if own.num_tasks == 0 {
        return Loss::default();
    }
    let share = again as f64 / own.num_tasks as f64;
    Loss { wall_clock_ms: stage.wall_clock_ms * share, core_ms: stage.task_ms() as f64 * share }
}

/// Whether an executor went within the last moments of the run, when all of them go.
pub(crate) fn went_at_the_end(run: &Run, removed_at: Option<Timestamp>) -> bool {
    /// Spark gives executors a few seconds to stop, and YARN reports them with its next heartbeat.
    const CLOSING_MS: u64 = 2_000;
    let last_task = run.stages.values().filter_map(|stage| stage.completed_at).max();
    match (removed_at, run.application.ended_at, last_task) {
        (Some(at), Some(end), last) => end.since(at).0 <= CLOSING_MS && last.is_none_or(|last| last <= at),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executors_that_were_given_back_are_told_from_those_that_died() {
        use Departure::{Died, Heartbeat, Intended, Memory, Taken};
        for (reason, expected) in [
            ("Executor 3 is removed. Remove reason: Executor idle timeout", Intended),
            (
                "Container container_e18_1628109047826_1317105_01_000010 exited from explicit termination request.",
                Intended,
            ),
            ("Executor killed by driver.", Intended),
            ("Command exited with code 0", Intended),
            ("worker shutting down", Intended),
            ("Dynamic allocation", Intended),
            ("Executor decommission: spot instance interruption", Taken),
            ("Container container_1 on host: h was preempted.", Taken),
            ("Executor heartbeat timed out after 125000 ms", Heartbeat),
            ("Executor Process Lost", Died),
            (
                "Remote RPC client disassociated. Likely due to containers exceeding thresholds, or network issues.",
                Died,
            ),
            ("worker lost: 10.59.184.228:46767 got disassociated", Died),
            ("Command exited with code 1", Died),
            ("Command exited with code 52", Memory(MemoryKind::Heap)),
            ("Container from a bad node: container_1 on host: h. Exit status: 143.", Memory(MemoryKind::Terminated)),
            (
                "Container killed by YARN for exceeding memory limits. 5.5 GB of 5.5 GB physical memory used.",
                Memory(MemoryKind::Container),
            ),
            (
                "The executor with id 4 exited with exit code 137(SIGKILL, possible container OOM).",
                Memory(MemoryKind::Killed),
            ),
            ("exit code 1 reason: OOMKilled", Memory(MemoryKind::Killed)),
            (
                "Unable to create executor due to java.lang.OutOfMemoryError: unable to create new native thread",
                Memory(MemoryKind::Threads),
            ),
            ("java.lang.OutOfMemoryError: GC overhead limit exceeded", Memory(MemoryKind::Heap)),
            ("java.lang.OutOfMemoryError: Direct buffer memory", Memory(MemoryKind::Direct)),
            ("java.lang.OutOfMemoryError: Metaspace", Memory(MemoryKind::Metaspace)),
        ] {
            assert_eq!(departure(reason), expected, "{reason}");
        }
    }
}
