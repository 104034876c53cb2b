//! Executors die for lack of memory, or their tasks do.

mod advice;

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{ExecutorId, Failure, StageKey, TaskColumn, TaskEndKind, Unit};

use crate::deployment::{self, AskedMemory, Manager};
use crate::failures::{self, Departure, FailedTasks, Loss, MemoryKind};
use crate::finding::{Advice, Evidence, Finding, Harm, Savings, Subject};
use crate::problem::Problem;
use crate::root_cause::RootCause;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::killed;
use crate::support::memory::polled;
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::ExecutorOom,
    summary: "An executor was killed for its memory, or threw OutOfMemoryError.",
    documentation: include_str!("executor_oom.md"),
    thresholds: &[FLOOR, CONTAINER_MARGIN, HEAP_FACTOR],
    explained_by: &[],
    check,
};

const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.001,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that was lost with the executors; low, as what ran out of memory \
             once runs out again with a little more data. Set by judgement, which no labelled run of datasets/lab \
             decides (`emberscope calibrate`)",
};
const CONTAINER_MARGIN: Threshold = Threshold {
    name: "container_margin",
    value: 1.2,
    unit: Unit::Ratio,
    reason: "advised container over the peak that was seen: the peak is taken every few seconds and misses the \
             last moment. Set by judgement, which no labelled run of datasets/lab decides (`emberscope \
             calibrate`)",
};
const HEAP_FACTOR: Threshold = Threshold {
    name: "heap_factor",
    value: 1.5,
    unit: Unit::Ratio,
    reason: "advised heap over the heap that was full: how much was missing is not known. Set by judgement, which \
             no labelled run of datasets/lab decides (`emberscope calibrate`)",
};

/// The deaths of one kind.
#[derive(Default)]
struct Deaths<'a> {
    executors: BTreeSet<ExecutorId>,
    groups: Vec<FailedTasks>,
    reason: Option<String>,
    failure: Option<&'a Failure>,
    removed: usize,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if ctx.run.task_count() == 0 && ctx.run.executors.is_empty() {
        return Outcome::missing("executors and tasks");
    }
    let failed = failures::failed_tasks(ctx);
    let mut by_kind: BTreeMap<MemoryKind, Deaths<'_>> = BTreeMap::new();
    for group in &failed {
        let Some(failure) = group.cause(ctx.run) else { continue };
        let Some(kind) = kind_of_task(failure) else { continue };
        let deaths = by_kind.entry(kind).or_default();
        deaths.executors.extend(group.executor.clone());
        deaths.reason.get_or_insert_with(|| failures::words_of(failure).trim().to_owned());
        deaths.failure.get_or_insert(failure);
        deaths.groups.push(group.clone());
    }
    for executor in ctx.run.worker_executors() {
        let Some(reason) = executor.removed_reason.as_deref() else { continue };
        let Departure::Memory(kind) = failures::departure(reason) else { continue };
        // A request to end that nothing was lost by is how executors are given back.
        let lost_work = failed.iter().any(|group| group.executor.as_ref() == Some(&executor.id));
        if kind == MemoryKind::Terminated && !lost_work || failures::went_at_the_end(ctx.run, executor.removed_at) {
            continue;
        }
        let known = by_kind.iter().find(|(_, deaths)| deaths.executors.contains(&executor.id)).map(|(&kind, _)| kind);
        let deaths = by_kind.entry(known.unwrap_or(kind)).or_default();
        deaths.removed += 1;
        deaths.reason.get_or_insert_with(|| reason.to_owned());
        if deaths.executors.insert(executor.id.clone()) {
            let own = failed.iter().filter(|group| group.executor.as_ref() == Some(&executor.id));
            deaths.groups.extend(own.filter(|group| is_loss(group.kind)).cloned());
        }
    }
    Outcome::of(by_kind.into_iter().filter_map(|(kind, deaths)| finding(ctx, kind, &deaths)).collect())
}

fn is_loss(kind: TaskEndKind) -> bool {
    matches!(kind, TaskEndKind::ExecutorLostFailure | TaskEndKind::Resubmitted)
}

fn kind_of_task(failure: &Failure) -> Option<MemoryKind> {
    match failure.kind {
        TaskEndKind::ExecutorLostFailure => match failures::departure(&failures::words_of(failure)) {
            Departure::Memory(kind) => Some(kind),
            _ => None,
        },
        TaskEndKind::ExceptionFailure => {
            let root = RootCause::of_failure(failure);
            // The root must be the error itself: a message may quote one.
            if root.is("OutOfMemoryError") {
                failures::out_of_memory(&format!("OutOfMemoryError: {}", root.message))
            } else {
                None
            }
        }
        _ => None,
    }
}

fn finding(ctx: &Context<'_>, kind: MemoryKind, deaths: &Deaths<'_>) -> Option<Finding> {
    let stages: BTreeSet<StageKey> = deaths.groups.iter().map(|group| group.stage).collect();
    let mut loss = Loss::default();
    for key in &stages {
        let Some(stage) = ctx.features.stages.get(key) else { continue };
        let picked: BTreeSet<u64> =
            deaths.groups.iter().filter(|group| group.stage == *key).filter_map(|group| group.failure).collect();
        let executors = &deaths.executors;
        loss += failures::loss_in_stage(ctx, stage, |row| {
            row.get(TaskColumn::Failure).is_some_and(|failure| picked.contains(&failure))
                || row.get(TaskColumn::EndReason) == Some(TaskEndKind::Resubmitted.code())
                    && ctx.run.executor_of(row).is_some_and(|id| executors.contains(id))
        });
    }
    if ctx.below_floor(loss.wall_clock_ms, &FLOOR) {
        return None;
    }
    let tasks = total(deaths.groups.iter().map(|group| group.count));
    let ids: Vec<&ExecutorId> = deaths.executors.iter().collect();
    let first = ids.first()?;
    let reason = deaths.reason.clone().unwrap_or_default();
    let whom = executors_words(&ids);
    let with = if tasks == 0 {
        String::new()
    } else {
        format!(
            ", and {} {} with {}",
            words::count(tasks),
            if tasks == 1 { "task failed" } else { "tasks failed" },
            if ids.len() == 1 { "it" } else { "them" }
        )
    };
    let from_outside = matches!(kind, MemoryKind::Container | MemoryKind::Killed | MemoryKind::Terminated);
    let contained = !from_outside || killed::in_container(ctx, kind, &reason);
    // Where nothing limits a process a signal says nothing of memory: that the executor went is another rule's.
    let plain = deployment::is_standalone(ctx.run) || deployment::manager(ctx.run) == Manager::Local;
    if !contained && (plain || kind == MemoryKind::Terminated) {
        return None;
    }
    let mut finding = Finding::new(
        Problem::ExecutorOom,
        if contained { confidence(kind) } else { confidence(kind).min(0.5) },
        Subject::executor(first),
        format!("{whom} {}{with}", what_happened(kind)),
    );
    finding.more_subjects = ids.iter().skip(1).map(|id| Subject::executor(id)).collect();
    finding.more_subjects.extend(stages.iter().map(|&key| ctx.stage_subject(key)));
    finding.harm = Harm::LostWork;
    finding.causes =
        deaths.groups.iter().filter_map(|group| group.cause(ctx.run)).map(|f| RootCause::of_failure(f).key()).collect();
    let root = deaths.failure.map(RootCause::of_failure);
    finding.because = root.map(|root| root.sentence()).or_else(|| RootCause::of_text(&reason).map(|root| root.message));
    let asked = deployment::asked_memory(ctx.run, ctx.settings);
    finding.evidence = evidence(ctx, deaths, &reason, tasks, asked);
    finding.savings = Savings {
        wall_clock_ms: Some(loss.wall_clock_ms.round() as u64),
        core_ms: Some(loss.core_ms.round() as u64),
        how: format!(
            "attempts that worked {} were lost; spread over the slots of their stages, or by how much later the partitions \
             that had to run again ended, that is {} of the run",
            words::duration(loss.core_ms),
            words::duration(loss.wall_clock_ms)
        ),
    };
    finding.advice = advice(ctx, kind, &reason, asked, deaths);
    Some(finding)
}

/// `executor 3`, `executors 3, 4 and 5`, `12 executors`.
fn executors_words(ids: &[&ExecutorId]) -> String {
    match ids {
        [one] => format!("executor {one}"),
        [a, b] => format!("executors {a} and {b}"),
        [a, b, c] => format!("executors {a}, {b} and {c}"),
        _ => format!("{} executors", ids.len()),
    }
}

fn confidence(kind: MemoryKind) -> f64 {
    match kind {
        MemoryKind::Container | MemoryKind::Heap | MemoryKind::Metaspace | MemoryKind::Direct => 0.95,
        MemoryKind::Threads => 0.9,
        // SIGKILL is also sent by hand and by a host that goes down.
        MemoryKind::Killed => 0.8,
        // SIGTERM is sent for many reasons.
        MemoryKind::Terminated => 0.5,
    }
}

fn what_happened(kind: MemoryKind) -> &'static str {
    match kind {
        MemoryKind::Container => "used more memory than the container was given and was killed by the resource manager",
        MemoryKind::Killed => {
            "was killed from outside (exit code 137, SIGKILL), as happens at the memory limit of a container or host"
        }
        MemoryKind::Terminated => {
            "was told to end (exit code 143) while it had work, as YARN does at the limit of a container"
        }
        MemoryKind::Heap => "ran out of heap (OutOfMemoryError)",
        MemoryKind::Metaspace => "ran out of metaspace (OutOfMemoryError)",
        MemoryKind::Direct => "ran out of direct buffer memory (OutOfMemoryError)",
        MemoryKind::Threads => "could not make another thread (OutOfMemoryError)",
    }
}

fn evidence(
    ctx: &Context<'_>,
    deaths: &Deaths<'_>,
    reason: &str,
    tasks: u64,
    asked: Option<AskedMemory>,
) -> Vec<Evidence> {
    let mut all = vec![
        Evidence::number("executors_out_of_memory_count", deaths.executors.len() as f64, Unit::Count),
        Evidence::number("failed_tasks_count", tasks as f64, Unit::Count),
    ];
    let said = RootCause::of_text(reason).map(|root| root.message).filter(|message| !message.is_empty());
    all.extend(said.map(|message| Evidence::text("removed_reason", message)));
    if let Some(asked) = asked {
        all.push(Evidence::number(deployment::heap_key(ctx.run), asked.heap as f64, Unit::Bytes));
        if let Some(overhead) = asked.overhead {
            all.push(Evidence::number(deployment::overhead_key(ctx.run), overhead as f64, Unit::Bytes));
        }
    }
    for column in [TaskColumn::PeakJvmHeap, TaskColumn::PeakTreeJvmRss, TaskColumn::PeakTreePythonRss] {
        all.extend(peak(ctx, deaths, column).map(|peak| Evidence::number(column.name(), peak as f64, Unit::Bytes)));
    }
    all
}

/// The largest peak of the executors that died; `None` when it was polled of none of them.
fn peak(ctx: &Context<'_>, deaths: &Deaths<'_>, column: TaskColumn) -> Option<u64> {
    deaths.executors.iter().filter_map(|id| polled(&ctx.run.executors.get(id)?.peaks, column)).max()
}

fn advice(
    ctx: &Context<'_>,
    kind: MemoryKind,
    reason: &str,
    asked: Option<AskedMemory>,
    deaths: &Deaths<'_>,
) -> Vec<Advice> {
    match kind {
        MemoryKind::Container | MemoryKind::Killed | MemoryKind::Terminated => {
            advice::of_container(ctx, kind, reason, asked, deaths)
        }
        MemoryKind::Heap => advice::of_heap(ctx, asked),
        MemoryKind::Metaspace => vec![Advice::text(
            "The metaspace holds classes, not data: more heap does not help. Raise -XX:MaxMetaspaceSize in \
             spark.executor.extraJavaOptions if it is set there; if it is not, something loads classes without end (a new \
             class loader or generated class for each record or session).",
        )],
        MemoryKind::Direct => vec![Advice::text(
            "Direct buffers (network transfers, Parquet and Arrow readers) are outside the heap and limited by \
             -XX:MaxDirectMemorySize, by default as large as the heap. Raise it in spark.executor.extraJavaOptions and the \
             memory overhead by as much; fetching less at once (spark.reducer.maxSizeInFlight) needs fewer of them.",
        )],
        MemoryKind::Threads => vec![Advice::text(
            "The limit of threads or processes was reached, not that of the heap: raise the user's process limit \
             (`ulimit -u`, the container's pids limit) on the hosts, and look for code that starts a thread or client for \
             each record. A smaller heap or thread stack (-Xss) leaves more room for threads.",
        )],
    }
}

#[cfg(test)]
mod tests;
