//! Tasks fail and are tried again.

use std::collections::{BTreeMap, BTreeSet};

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
    reason: "share of the run's wall-clock time that failed attempts cost; failures that brought a partition to its last \
             attempt, or an executor's exclusion, are told below it too. Set by judgement, not yet calibrated on labelled runs",
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
    let id = one_executor(cause, ctx)?;
    let host = ctx.run.executors.get(id).and_then(|executor| executor.host.as_deref()).filter(|host| !host.is_empty());
    let host = host.map_or_else(String::new, |host| format!(" on {host}"));
    let mut advice = Advice::text(format!(
        "Look at executor {id}{host} first: all failures were there, while others ran tasks of the same stage. A full or broken \
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

fn advice(ctx: &Context<'_>, cause: &Cause, allowed: u64, most: Option<u64>) -> Vec<Advice> {
    let mut all: Vec<Advice> = host_advice(ctx, cause).into_iter().collect();
    let on_one = !all.is_empty();
    let place = cause.root.frame.as_ref().filter(|frame| frame.user).map(|frame| frame.text.as_str());
    let class = cause.root.short_class();
    match (cause.kind, place) {
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
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};
    use crate::testing_failures::Fail;

    const STACK: &str =
        "java.lang.IllegalStateException: row 17\n\tat com.acme.Parse$.row(Parse.scala:8)\n\tat scala.X.y(X.scala:1)";

    /// Two executors of 2 cores and 40 partitions of 1 s; `fails` of them fail once, after 1 s, with messages of their own.
    fn failing(fails: u64) -> RunBuilder {
        let mut builder = run().executor("1", 2).executor("2", 2);
        let failures: Vec<u64> = (0..fails)
            .map(|row| {
                let message = format!("row {row}");
                builder.failure(
                    TaskEndKind::ExceptionFailure,
                    "java.lang.IllegalStateException",
                    &message,
                    Some(&STACK.replace("row 17", &message)),
                )
            })
            .collect();
        builder.stage(0, move |stage| {
            for (partition, &failure) in failures.iter().enumerate() {
                stage.task(partition as u64).duration_ms(1_000).fails(failure);
            }
            for partition in 0..40 {
                stage.task(partition).duration_ms(1_000);
            }
        })
    }

    #[test]
    fn fifty_failures_of_one_cause_are_one_finding_with_the_frame_of_user_code() {
        let findings = check(&RULE, &failing(20));
        assert_eq!(findings.len(), 1);
        let finding = &findings[0];
        assert_eq!(
            finding.because.as_deref(),
            Some("IllegalStateException: row 0, at com.acme.Parse$.row(Parse.scala:8)")
        );
        assert!(
            finding.summary.starts_with("20 task attempts failed in stage 0.0 with IllegalStateException"),
            "{}",
            finding.summary
        );
        // 20 attempts of 1 s on 4 slots.
        assert_eq!(finding.savings.core_ms, Some(20_000));
        assert_eq!(finding.savings.wall_clock_ms, Some(5_000));
        assert_eq!(finding.harm, Harm::LostWork);
        assert!(finding.advice[0].text.contains("Parse.scala:8"));
    }

    #[test]
    fn a_failure_that_cost_a_thousandth_of_the_run_is_silent() {
        // One attempt of 1 s over 4 slots is 250 ms: 0.5 % of 50 s, and less of the 60.5 s here.
        assert_eq!(check(&RULE, &failing(1).idle(50_000)), []);
        assert_eq!(check(&RULE, &failing(1)).len(), 1);
    }

    #[test]
    fn a_partition_at_its_last_attempt_is_told_however_small() {
        let mut builder = run().executor("1", 4);
        let failure =
            builder.failure(TaskEndKind::ExceptionFailure, "java.lang.IllegalStateException", "row 17", Some(STACK));
        let findings = check(
            &RULE,
            &builder
                .stage(0, |stage| {
                    (0..3).for_each(|_| {
                        stage.task(0).duration_ms(10).fails(failure);
                    });
                    stage.task(0).duration_ms(10);
                })
                .idle(3_600_000),
        );
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].harm, Harm::RiskOfFailure);
        assert_eq!(findings[0].subject.partition, Some(0));
    }

    #[test]
    fn failures_on_one_of_several_executors_point_at_its_host() {
        let mut builder = run().executor("1", 2).executor("2", 2);
        let failure =
            builder.failure(TaskEndKind::ExceptionFailure, "java.io.IOException", "No space left on device", None);
        let findings = check(
            &RULE,
            &builder.stage(0, |stage| {
                (0..4).for_each(|partition| {
                    stage.task(partition).duration_ms(1_000).on("2").fails(failure);
                });
                (0..4).for_each(|partition| {
                    stage.task(partition).duration_ms(1_000).on("1");
                });
                stage.task(4).duration_ms(1_000).on("2");
            }),
        );
        assert!(findings[0].summary.ends_with("; all on executor 2"), "{}", findings[0].summary);
        let first = &findings[0].advice[0];
        assert!(first.text.starts_with("Look at executor 2 on host-2 first"), "{}", first.text);
        assert_eq!(first.config["spark.excludeOnFailure.enabled"], "true");
    }

    /// Three failures on executor 2, which no task survived, of code that the user wrote.
    fn on_one_executor(others_run_the_stage: bool) -> RunBuilder {
        let mut builder = run().executor("1", 2).executor("2", 2);
        let failure =
            builder.failure(TaskEndKind::ExceptionFailure, "java.lang.IllegalStateException", "row 17", Some(STACK));
        let builder = builder.stage(0, |stage| {
            for partition in 0..3 {
                stage.task(partition).duration_ms(1_000).on("2").fails(failure);
            }
            for partition in 0..3 {
                stage.task(partition).duration_ms(1_000).on(if others_run_the_stage { "1" } else { "2" });
            }
        });
        builder.stage(1, |stage| {
            stage.task(0).duration_ms(1_000).on("1");
        })
    }

    #[test]
    fn the_executor_comes_before_the_input_when_its_failures_were_nobody_elses() {
        let advice = &check(&RULE, &on_one_executor(true))[0].advice;
        assert!(advice[0].text.starts_with("Look at executor 2 on host-2 first"), "{}", advice[0].text);
        assert!(advice[1].text.contains("Parse.scala:8"), "{}", advice[1].text);
        assert!(advice.iter().all(|advice| !advice.text.contains("failing partition's input")));
        // No other executor ran the stage: nothing tells the host from the code.
        let advice = &check(&RULE, &on_one_executor(false))[0].advice;
        assert!(advice[0].text.contains("failing partition's input"), "{}", advice[0].text);
    }

    #[test]
    fn killed_and_resubmitted_tasks_are_no_failures() {
        let builder = run().executor("1", 4).stage(0, |stage| {
            stage.task(0).duration_ms(1_000).killed();
            stage.task(1).duration_ms(0).resubmitted();
            stage.task(0).duration_ms(1_000);
        });
        assert_eq!(check(&RULE, &builder), []);
    }

    #[test]
    fn a_run_without_ended_tasks_is_skipped() {
        assert!(matches!(outcome(&RULE, &run()), Outcome::Skipped { .. }));
    }
}
