//! Tasks fail and are tried again.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_extract::features::Metric;
use emberscope_run::{StageKey, TaskColumn, TaskEndKind, TaskStatus, Unit};

use crate::deployment;
use crate::failures::{self, FailedTasks, Loss};
use crate::finding::{Advice, Evidence, Finding, Harm, Savings, Subject};
use crate::problem::Problem;
use crate::root_cause::RootCause;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::TaskFailures,
    summary: "Tasks failed and were tried again, by their root cause.",
    documentation: include_str!("task_failures.md"),
    thresholds: &[FLOOR],
    explained_by: &[Problem::ExecutorOom, Problem::ExecutorLoss, Problem::JobFailure],
    check,
};

const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.005,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that failed attempts cost; failures that brought a partition to \
             its last attempt, or an executor's exclusion, are told below it too. Set by judgement, which no \
             labelled run of datasets/lab decides (`emberscope calibrate`)",
};

/// Failed attempts of one cause.
struct Cause {
    root: RootCause,
    kind: TaskEndKind,
    groups: Vec<FailedTasks>,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if ctx.features.application.tasks.ended == 0 {
        return Outcome::missing("ended tasks");
    }
    let mut causes: BTreeMap<String, Cause> = BTreeMap::new();
    for group in failures::failed_tasks(ctx) {
        // A resubmission is no failure of its own, and a failed fetch makes a stage run again: other rules tell those.
        if matches!(group.kind, TaskEndKind::Resubmitted | TaskEndKind::FetchFailed) {
            continue;
        }
        let root = group.cause(ctx.run).map(RootCause::of_failure).unwrap_or_default();
        let key = format!("{}|{}", group.kind.name(), root.key());
        causes.entry(key).or_insert_with(|| Cause { root, kind: group.kind, groups: Vec::new() }).groups.push(group);
    }
    Outcome::of(causes.values().filter_map(|cause| finding(ctx, cause)).collect())
}

fn finding(ctx: &Context<'_>, cause: &Cause) -> Option<Finding> {
    let stages: BTreeSet<StageKey> = cause.groups.iter().map(|group| group.stage).collect();
    let loss = loss(ctx, cause, &stages);
    let count = total(cause.groups.iter().map(|group| group.count));
    let allowed = allowed_failures(ctx);
    let most = cause.groups.iter().map(|group| group.most_attempts).max().unwrap_or(0);
    let last_chance = cause.kind == TaskEndKind::ExceptionFailure && allowed > 1 && most + 1 >= allowed;
    let excluded = excluded_after(ctx, cause);
    if ctx.below_floor(loss.wall_clock_ms, &FLOOR) && !last_chance && excluded.is_empty() {
        return None;
    }
    let first = cause.groups.iter().min_by_key(|group| group.first.0)?;
    let attempts = if count == 1 {
        "1 task attempt failed".to_owned()
    } else {
        format!("{} task attempts failed", words::count(count))
    };
    let place = match stages.len() {
        1 => format!("in stage {}", first.stage),
        several => format!("in {several} stage attempts, first in {}", first.stage),
    };
    let mut finding = Finding::new(
        Problem::TaskFailures,
        0.95,
        ctx.stage_subject(first.stage),
        format!(
            "{attempts} {place} with {}{}{}",
            root_words(cause),
            executors_words(cause, ctx),
            excluded_words(&excluded)
        ),
    );
    finding.subject.partition = (count == 1 || partitions_of(cause) == 1).then_some(first.first.1);
    finding.more_subjects =
        stages.iter().filter(|&&key| key != first.stage).map(|&key| ctx.stage_subject(key)).collect();
    if cause.kind == TaskEndKind::ExecutorLostFailure {
        let lost: BTreeSet<_> = cause.groups.iter().filter_map(|group| group.executor.clone()).collect();
        finding.more_subjects.extend(lost.iter().map(Subject::executor));
    }
    finding.harm = if last_chance { Harm::RiskOfFailure } else { Harm::LostWork };
    finding.causes = [cause.root.key()].into();
    finding.because = Some(cause.root.sentence()).filter(|sentence| !sentence.is_empty());
    finding.evidence = vec![
        Evidence::number("failed_tasks_count", count as f64, Unit::Count),
        Evidence::number("wasted_task_time_ms", loss.core_ms, Unit::Ms),
    ];
    finding.evidence.extend(cause.root.evidence());
    if let Some(frame) = &cause.root.frame {
        finding.evidence.push(Evidence::text(if frame.user { "user_frame" } else { "frame" }, frame.text.clone()));
    }
    if most > 0 {
        finding
            .evidence
            .push(Evidence::number("failures_of_one_partition_count", most as f64, Unit::Count).over(allowed as f64));
    }
    if !excluded.is_empty() {
        finding.evidence.push(Evidence::number("executors_excluded_count", excluded.len() as f64, Unit::Count));
    }
    finding.savings = Savings {
        wall_clock_ms: Some(loss.wall_clock_ms.round() as u64),
        core_ms: Some(loss.core_ms.round() as u64),
        how: format!(
            "failed attempts worked {}; spread over the slots of their stages, or by how much later the partitions that were \
             tried again ended, that is {} of the run",
            words::duration(loss.core_ms),
            words::duration(loss.wall_clock_ms)
        ),
    };
    finding.advice = advice(ctx, cause, allowed, last_chance.then_some(most));
    Some(finding)
}

fn loss(ctx: &Context<'_>, cause: &Cause, stages: &BTreeSet<StageKey>) -> Loss {
    let mut loss = Loss::default();
    for key in stages {
        let Some(stage) = ctx.features.stages.get(key) else { continue };
        let own: BTreeSet<Option<u64>> =
            cause.groups.iter().filter(|group| group.stage == *key).map(|group| group.failure).collect();
        loss += failures::loss_in_stage(ctx, stage, |row| {
            row.status() == Some(TaskStatus::Failed)
                && row.get(TaskColumn::EndReason) == Some(cause.kind.code())
                && own.contains(&row.get(TaskColumn::Failure))
        });
    }
    loss
}

/// Attempts that a partition has: `spark.task.maxFailures`, or 1 in local mode unless `local[n, m]` says otherwise.
fn allowed_failures(ctx: &Context<'_>) -> u64 {
    if deployment::is_local(ctx.run) {
        let master = ctx.run.environment.spark.get("spark.master").unwrap_or_default();
        let given = master.trim_end_matches(']').split_once(',').and_then(|(_, failures)| failures.trim().parse().ok());
        return given.unwrap_or(1);
    }
    ctx.settings.integer("spark.task.maxFailures").filter(|&allowed| allowed > 0).map_or(4, |allowed| allowed as u64)
}

fn partitions_of(cause: &Cause) -> usize {
    cause.groups.iter().map(|group| (group.stage, group.first.1)).collect::<BTreeSet<_>>().len().max(
        // A group remembers its first partition only: several attempts with few repeats are several partitions.
        usize::from(cause.groups.iter().any(|group| group.count > group.most_attempts)) + 1,
    )
}

fn root_words(cause: &Cause) -> String {
    let sentence = cause.root.sentence();
    if sentence.is_empty() { cause.kind.name().to_owned() } else { sentence }
}

/// Says so when all failures were on one of several executors: the host is to be looked at before the code.
fn executors_words(cause: &Cause, ctx: &Context<'_>) -> String {
    if cause.kind == TaskEndKind::ExecutorLostFailure {
        return String::new();
    }
    match one_executor(cause, ctx) {
        Some(id) => format!("; all on executor {id}"),
        None => String::new(),
    }
}

fn excluded_words(excluded: &BTreeSet<String>) -> String {
    let ids: Vec<&str> = excluded.iter().map(String::as_str).collect();
    match ids.as_slice() {
        [] => String::new(),
        [one] => format!("; executor {one} was excluded for it"),
        few if few.len() <= 4 => format!("; executors {} were excluded for it", few.join(", ")),
        many => format!("; {} executors were excluded for it", many.len()),
    }
}

fn one_executor<'a>(cause: &'a Cause, ctx: &Context<'_>) -> Option<&'a emberscope_run::ExecutorId> {
    /// Failures that are all on one executor by chance are common below this.
    const AT_LEAST: u64 = 3;
    let ids: BTreeSet<_> = cause.groups.iter().map(|group| group.executor.as_ref()).collect();
    let count = total(cause.groups.iter().map(|group| group.count));
    match ids.first() {
        Some(&Some(id)) if ids.len() == 1 && count >= AT_LEAST && others_succeeded(cause, ctx, id) => Some(id),
        _ => None,
    }
}

/// The executors that a cause's failures point at: one, or several that succeeded at none of the stages' tasks while others
/// did. Empty when the failures could have been anywhere.
fn executors_to_blame<'a>(cause: &'a Cause, ctx: &Context<'_>) -> Vec<&'a emberscope_run::ExecutorId> {
    if let Some(one) = one_executor(cause, ctx) {
        return vec![one];
    }
    let ids: BTreeSet<_> = cause.groups.iter().map(|group| group.executor.as_ref()).collect();
    let known: Vec<_> = ids.iter().copied().flatten().collect();
    // Twice on each of them is hardly chance.
    let failures =
        |id| total(cause.groups.iter().filter(|group| group.executor.as_ref() == Some(id)).map(|group| group.count));
    let stages: BTreeSet<StageKey> = cause.groups.iter().map(|group| group.stage).collect();
    let rows = || stages.iter().filter_map(|key| ctx.run.stages.get(key)).flat_map(|stage| stage.tasks.rows());
    let succeeded: BTreeSet<_> = rows()
        .filter(|row| row.status() == Some(TaskStatus::Success))
        .filter_map(|row| ctx.run.executor_of(&row))
        .collect();
    let all = known.len() == ids.len() && known.iter().all(|&id| failures(id) >= 2 && !succeeded.contains(id));
    if all && !succeeded.is_empty() { known } else { Vec::new() }
}

/// Whether tasks of the stages that failed on an executor succeeded on another one.
fn others_succeeded(cause: &Cause, ctx: &Context<'_>, id: &emberscope_run::ExecutorId) -> bool {
    let stages: BTreeSet<StageKey> = cause.groups.iter().map(|group| group.stage).collect();
    let mut rows = stages.iter().filter_map(|key| ctx.run.stages.get(key)).flat_map(|stage| stage.tasks.rows());
    rows.any(|row| {
        row.status() == Some(TaskStatus::Success) && ctx.run.executor_of(&row).is_some_and(|other| other != id)
    })
}

/// What to look at when all failures of a cause were on one executor while others ran the same stage's tasks.
fn host_advice(ctx: &Context<'_>, cause: &Cause) -> Option<Advice> {
    let ids = executors_to_blame(cause, ctx);
    let hosts: BTreeSet<&str> = ids
        .iter()
        .filter_map(|id| ctx.run.executors.get(id)?.host.as_deref())
        .filter(|host| !host.is_empty())
        .collect();
    let host = match hosts.iter().next() {
        Some(host) if hosts.len() == 1 => format!(" on {host}"),
        _ => String::new(),
    };
    let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let id = match names.as_slice() {
        [] => return None,
        [one] => format!("executor {one}"),
        [first @ .., last] => format!("executors {} and {last}", first.join(", ")),
    };
    let mut advice = Advice::text(format!(
        "Look at {id}{host} first: all failures were there, while others ran tasks of the same stage. A full or broken \
         disk, a wrong clock, missing files or libraries show in its own log and its host's; the code is the same everywhere."
    ));
    let key = match ctx.run.application.spark_major_minor() {
        Some(version) if version < (3, 1) => "spark.blacklist.enabled",
        _ => "spark.excludeOnFailure.enabled",
    };
    if ctx.settings.boolean(key) != Some(true) {
        advice.text.push_str(" Spark can leave such an executor out by itself.");
        advice = advice.set(key, "true");
    }
    Some(advice)
}

fn excluded_after(ctx: &Context<'_>, cause: &Cause) -> BTreeSet<String> {
    let stages: BTreeSet<StageKey> = cause.groups.iter().map(|group| group.stage).collect();
    let executors: BTreeSet<_> = cause.groups.iter().filter_map(|group| group.executor.as_ref()).collect();
    ctx.run
        .executors
        .values()
        .filter(|executor| executors.contains(&executor.id))
        .filter(|executor| {
            executor.exclusions.iter().any(|exclusion| exclusion.stage.is_none_or(|key| stages.contains(&key)))
        })
        .map(|executor| executor.id.to_string())
        .collect()
}

/// What the system says of a full disk (ENOSPC).
const DISK_FULL: &str = "No space left on device";

fn full_disk(ctx: &Context<'_>) -> Advice {
    let sum = |metric: Metric| total(ctx.features.stages.values().filter_map(|stage| stage.sum(metric)));
    let written = [(sum(Metric::ShuffleWriteBytes), "of shuffle data"), (sum(Metric::DiskBytesSpilled), "of spills")];
    let told: Vec<String> = written
        .iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, what)| format!("{} {what}", words::bytes(*bytes as f64)))
        .collect();
    let told = if told.is_empty() { String::new() } else { format!(" (this run wrote {} in all)", told.join(" and ")) };
    Advice::text(format!(
        "A disk was full, most often that below the executors' local directories{told}. Put them on a larger one (spark.local.dir, \
         or SPARK_LOCAL_DIRS of a standalone worker; on YARN yarn.nodemanager.local-dirs, on Kubernetes the size limit of the \
         volume), delete what dead applications left there (blockmgr-*, spark-*), or write less: filter and aggregate before \
         shuffles, and spill less."
    ))
}

fn advice(ctx: &Context<'_>, cause: &Cause, allowed: u64, most: Option<u64>) -> Vec<Advice> {
    let mut all: Vec<Advice> = host_advice(ctx, cause).into_iter().collect();
    let on_one = !all.is_empty();
    let place = cause.root.frame.as_ref().filter(|frame| frame.user).map(|frame| frame.text.as_str());
    let class = cause.root.short_class();
    let disk_full = cause.root.message.contains(DISK_FULL);
    match (cause.kind, place) {
        _ if disk_full => all.push(full_disk(ctx)),
        (TaskEndKind::ExecutorLostFailure, _) => all.push(Advice::text(
            "The tasks did nothing wrong: their executor went. Mend that first; if no reason is given here, its own log \
             (stderr of the container) has the last words.",
        )),
        (TaskEndKind::TaskResultLost, _) => all.push(Advice::text(
            "Results were too large to be sent with the status and were lost with the executor that held them: aggregate or \
             write them instead of collecting them.",
        )),
        (_, Some(place)) if on_one => all.push(Advice::text(format!(
            "If its host is sound, {place} is where {class} was thrown: what it needed there (a file, a mount, a service) is what \
             the other executors had.",
        ))),
        (_, Some(place)) => all.push(Advice::text(format!(
            "Look at {place}: it threw {class} for some of its input. Run it on the failing partition's input alone, and \
             decide what such records are to become (null, a table of rejects) rather than letting them fail the task.",
        ))),
        (TaskEndKind::ExceptionFailure, None) => all.push(Advice::text(format!(
            "No frame of your own code is in the stack: {class} came from Spark or a library. {}",
            cause.root.frame.as_ref().map_or_else(
                || "The executor's log has the stack.".to_owned(),
                |frame| format!("It was thrown at {}; the executor's log shows what it worked on.", frame.text)
            )
        ))),
        _ => all.push(Advice::text("Spark gives no reason; the executors' logs at that time have it.")),
    }
    if class == "SparkOutOfMemoryError" || cause.root.condition.as_deref() == Some("UNABLE_TO_ACQUIRE_MEMORY") {
        all.push(Advice::text(
            "A task could not get execution memory while its siblings held it: more partitions make each task's share of data \
             smaller, fewer cores per executor make its share of memory larger.",
        ));
    }
    if let Some(most) = most {
        let so_far = if most >= allowed {
            format!(
                "A partition used all {allowed} attempts that spark.task.maxFailures allows, and that ended its job."
            )
        } else {
            format!(
                "A partition used all but one of the {allowed} attempts that spark.task.maxFailures allows: one more failure \
                 would have ended the job."
            )
        };
        all.push(Advice::text(format!(
            "{so_far} A larger number only hides a failure that comes again with the same data."
        )));
    }
    all
}

#[cfg(test)]
mod tests;
