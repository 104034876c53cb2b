//! Fetch failures make a stage run again.

use std::collections::BTreeMap;

use emberscope_run::{ExecutorId, Failure, StageId, StageKey, TaskEndKind, Unit};

use crate::deployment::{self, Manager};
use crate::failures::{self, Departure, FailedTasks, Loss};
use crate::finding::{Advice, Evidence, Finding, Harm, Savings, Subject};
use crate::problem::Problem;
use crate::root_cause::RootCause;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::StageRetry,
    summary: "Shuffle data could not be fetched, and stages ran again to make them.",
    documentation: include_str!("stage_retry.md"),
    thresholds: &[FLOOR],
    explained_by: &[Problem::ExecutorOom, Problem::ExecutorLoss],
    check,
};

const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.005,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent on doing work again; a stage that reached all but one of \
             its attempts is told below it too. Set by judgement, which no labelled run of datasets/lab decides \
             (`emberscope calibrate`)",
};

fn check(ctx: &Context<'_>) -> Outcome {
    if ctx.features.stages.values().all(|stage| stage.tasks.ended == 0) {
        return Outcome::missing("stages that ran");
    }
    let fetches: Vec<FailedTasks> =
        failures::failed_tasks(ctx).into_iter().filter(|group| group.kind == TaskEndKind::FetchFailed).collect();
    let mut attempts: BTreeMap<StageId, Vec<StageKey>> = BTreeMap::new();
    for (key, stage) in &ctx.features.stages {
        if stage.tasks.ended > 0 || stage.tasks.running > 0 {
            attempts.entry(key.stage_id).or_default().push(*key);
        }
    }
    attempts.retain(|_, keys| keys.iter().any(|key| key.attempt > 0));
    if fetches.is_empty() && attempts.is_empty() {
        return Outcome::Clear;
    }
    Outcome::of(finding(ctx, &fetches, &attempts).into_iter().collect())
}

fn finding(ctx: &Context<'_>, fetches: &[FailedTasks], attempts: &BTreeMap<StageId, Vec<StageKey>>) -> Option<Finding> {
    let mut loss = Loss::default();
    for (key, stage) in &ctx.features.stages {
        if fetches.iter().any(|group| group.stage == *key) {
            loss += failures::loss_in_stage(ctx, stage, |row| {
                row.get(emberscope_run::TaskColumn::EndReason) == Some(TaskEndKind::FetchFailed.code())
            });
        }
        loss += failures::loss_in_retry(ctx, stage);
    }
    let most = attempts.values().flatten().map(|key| u64::from(key.attempt) + 1).max().unwrap_or(1);
    let allowed = ctx.settings.integer("spark.stage.maxConsecutiveAttempts").filter(|&n| n > 1).map_or(4, |n| n as u64);
    let failed = fetches.iter().any(|group| {
        ctx.run.stages.get(&group.stage).is_some_and(|stage| stage.status() == emberscope_run::StageStatus::Failed)
    });
    let last_chance = most >= allowed;
    if ctx.below_floor(loss.wall_clock_ms, &FLOOR) && !last_chance && !failed {
        return None;
    }
    let failures_count = total(fetches.iter().map(|group| group.count));
    let mut stages: Vec<StageKey> = attempts.values().flatten().copied().filter(|key| key.attempt > 0).collect();
    stages.extend(fetches.iter().map(|group| group.stage));
    stages.sort_unstable();
    stages.dedup();
    let first = fetches.iter().map(|group| group.stage).min().or_else(|| stages.first().copied())?;
    let root = fetches.iter().find_map(|group| group.cause(ctx.run)).map(RootCause::of_failure);
    let again = match attempts.len() {
        0 => "no stage was run again before the log ended".to_owned(),
        1 => "1 stage ran again".to_owned(),
        several => format!("{several} stages ran again"),
    };
    let mut finding = Finding::new(
        Problem::StageRetry,
        if fetches.is_empty() { 0.7 } else { 0.95 },
        ctx.stage_subject(first),
        match failures_count {
            0 => format!("{again} (first {first}), doing {} of work anew", words::duration(loss.core_ms)),
            1 => format!("1 task of stage {first} could not fetch shuffle data; {again}"),
            many => {
                format!("{} tasks, first in stage {first}, could not fetch shuffle data; {again}", words::count(many))
            }
        },
    );
    finding.more_subjects = stages.iter().filter(|&&key| key != first).map(|&key| ctx.stage_subject(key)).collect();
    let gone = gone_with_shuffle_data(ctx, fetches);
    finding.more_subjects.extend(gone.iter().map(Subject::executor));
    finding.harm = if last_chance { Harm::RiskOfFailure } else { Harm::LostWork };
    finding.causes =
        fetches.iter().filter_map(|group| group.cause(ctx.run)).map(|f| RootCause::of_failure(f).key()).collect();
    finding.because = root.map(|root| root.sentence());
    finding.evidence = vec![
        Evidence::number("fetch_failures_count", failures_count as f64, Unit::Count),
        Evidence::number("stages_run_again_count", attempts.len() as f64, Unit::Count),
        Evidence::number("attempts_of_one_stage_count", most as f64, Unit::Count).over(allowed as f64),
        Evidence::number("work_done_again_ms", loss.core_ms, Unit::Ms),
    ];
    finding.savings = Savings {
        wall_clock_ms: Some(loss.wall_clock_ms.round() as u64),
        core_ms: Some(loss.core_ms.round() as u64),
        how: format!(
            "{} of task time went into failed fetches and into partitions that an earlier attempt had done; with the other \
             work of those stages left out, that is {} of the run",
            words::duration(loss.core_ms),
            words::duration(loss.wall_clock_ms)
        ),
    };
    let causes = fetches.iter().filter_map(|group| group.cause(ctx.run));
    let (without_files, others): (Vec<_>, Vec<_>) = causes.partition(|failure| gone.is_empty() && files_gone(failure));
    if !without_files.is_empty() {
        finding.advice.push(files_advice());
    }
    if without_files.is_empty() || !others.is_empty() {
        finding.advice.extend(advice(ctx, &gone));
    }
    Some(finding)
}

/// Executors that went, other than at the end, no later than the last failed fetch: their shuffle files may be what was missing.
fn gone_with_shuffle_data(ctx: &Context<'_>, fetches: &[FailedTasks]) -> Vec<ExecutorId> {
    let last = fetches.iter().filter_map(|group| group.last_at).max();
    let gone = ctx.run.worker_executors().filter(|executor| {
        executor.removed_at.zip(last).is_some_and(|(removed, last)| removed <= last)
            && !failures::went_at_the_end(ctx.run, executor.removed_at)
            && ctx.features.executors.get(&executor.id).is_some_and(|summary| summary.tasks.succeeded > 0)
    });
    gone.map(|executor| executor.id.clone()).collect()
}

/// Whether an executor answered that was there, but whose shuffle files were not.
fn files_gone(failure: &Failure) -> bool {
    let text = failure.stack_trace.as_deref().unwrap_or(&failure.message);
    ["NoSuchFileException", "FileNotFoundException"].iter().any(|class| text.contains(class))
}

fn files_advice() -> Advice {
    Advice::text(
        "The executor that made the data lived, but its shuffle files were gone from its local directories: look for what deletes \
         there (a cleaner of temporary folders such as systemd-tmpfiles or tmpwatch, another process, a volume that was mounted \
         anew), and put spark.local.dir where nothing else cleans up. No timeout helps.",
    )
}

fn advice(ctx: &Context<'_>, gone: &[ExecutorId]) -> Vec<Advice> {
    let mut all = Vec::new();
    if gone.is_empty() {
        all.push(Advice::text(
            "No executor is known to have gone before: the one that held the data was alive and did not answer in time. A long \
             garbage collection there, a network fault, or too many reducers at once tell themselves apart by its log (GC \
             times, connection resets, `Too many open files`).",
        ));
        if ctx.settings.set_by_user("spark.network.timeout").is_none() {
            all.push(Advice::text("If it was long garbage collection, a longer timeout bridges it until that is mended: the default is 120s.").set("spark.network.timeout", "300s"));
        }
        return all;
    }
    let intended = gone.iter().any(|id| {
        let reason = ctx.run.executors.get(id).and_then(|executor| executor.removed_reason.as_deref());
        reason.is_some_and(|reason| failures::departure(reason) == Departure::Intended)
    });
    let service = ctx.settings.boolean("spark.shuffle.service.enabled");
    if intended
        && service != Some(true)
        && ctx.settings.boolean("spark.dynamicAllocation.shuffleTracking.enabled") == Some(false)
    {
        all.push(
            Advice::text("Dynamic allocation gave back executors whose shuffle files were still wanted: let it keep track of them.")
                .set("spark.dynamicAllocation.shuffleTracking.enabled", "true"),
        );
    }
    if service == Some(false)
        && matches!(deployment::manager(ctx.run), Manager::Yarn | Manager::Standalone | Manager::Unknown)
    {
        all.push(
            Advice::text(
                "An external shuffle service keeps shuffle files when their executor goes: it has to run on the hosts \
                 (YARN's auxiliary service spark_shuffle, or the standalone worker's own).",
            )
            .set("spark.shuffle.service.enabled", "true"),
        );
    }
    if deployment::manager(ctx.run) == Manager::Kubernetes
        && ctx.settings.boolean("spark.storage.decommission.shuffleBlocks.enabled") != Some(true)
    {
        all.push(
            Advice::text("Let executors that are taken away hand their shuffle files on first (Spark 3.1 on).")
                .set("spark.decommission.enabled", "true")
                .set("spark.storage.decommission.enabled", "true")
                .set("spark.storage.decommission.shuffleBlocks.enabled", "true"),
        );
    }
    all.push(Advice::text("Find out why the executors went; work that is done again costs as often as they go."));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};
    use crate::testing_failures::Fail;
    use emberscope_run::{TaskColumn, TaskStatus};

    /// Stage 0 makes 8 partitions of 4 s on 2 executors of 2 cores; a fetch of stage 1 fails after 1 s, 4 partitions of
    /// stage 0 are made again, then stage 1 runs its 4 partitions.
    fn retried(again_ms: u64) -> RunBuilder {
        let mut builder = run().set("spark.master", "yarn").executor("1", 2).executor("2", 2);
        let failure = builder.failure(
            TaskEndKind::FetchFailed,
            "",
            "org.apache.spark.shuffle.FetchFailedException: Failed to connect to h2/10.0.0.2:7337",
            None,
        );
        builder
            .stage(0, |stage| {
                (0..8).for_each(|partition| {
                    stage.task(partition).duration_ms(4_000);
                });
            })
            .removed("2", 8_000, "Executor Process Lost")
            .stage(1, |stage| {
                stage
                    .task(0)
                    .duration_ms(1_000)
                    .on("1")
                    .fails(failure)
                    .status(TaskStatus::Failed, TaskEndKind::FetchFailed);
            })
            .stage_attempt(0, 1, |stage| {
                (4..8).for_each(|partition| {
                    stage.task(partition).duration_ms(again_ms).on("1").set(TaskColumn::PartitionId, partition);
                });
            })
            .stage_attempt(1, 1, |stage| {
                (0..4).for_each(|partition| {
                    stage.task(partition).duration_ms(1_000).on("1").set(TaskColumn::PartitionId, partition);
                });
            })
    }

    #[test]
    fn work_done_again_is_counted_and_the_lost_executor_named() {
        let findings = check(&RULE, &retried(4_000));
        assert_eq!(findings.len(), 1);
        let finding = &findings[0];
        // The failed fetch worked 1 s and stage 0.1 did 16 s again; stage 1.1 did nothing that had been done.
        assert_eq!(finding.savings.core_ms, Some(17_000));
        // 1 s of stage 1.0, and all 8 s of stage 0.1: 4 partitions of 4 s on the 2 cores that are left.
        assert_eq!(finding.savings.wall_clock_ms, Some(9_000));
        assert_eq!(finding.subject.stage_id, Some(1));
        assert!(finding.subjects().any(|subject| subject.executor_id.as_deref() == Some("2")));
        assert!(finding.because.as_deref().unwrap().contains("Failed to connect to h2"));
        assert!(finding.advice.iter().any(|advice| advice.config.contains_key("spark.shuffle.service.enabled")));
    }

    #[test]
    fn files_that_went_while_their_executor_lived_need_no_timeout() {
        let lived = |message: &'static str| {
            retried(4_000).with(move |run| {
                for executor in run.executors.values_mut() {
                    executor.removed_at = None;
                    executor.removed_reason = None;
                }
                run.failures.iter_mut().for_each(|failure| {
                    // As Spark writes it: the exception with its causes is the message.
                    failure.message = message.to_owned();
                    failure.stack_trace = None;
                });
            })
        };
        let silent = check(&RULE, &lived("org.apache.spark.shuffle.FetchFailedException: Connection reset by peer"));
        assert!(silent[0].advice.iter().any(|advice| advice.config.contains_key("spark.network.timeout")));
        let gone = check(
            &RULE,
            &lived(
                "org.apache.spark.shuffle.FetchFailedException\n\tat org.apache.spark.X.y(X.scala:1)\nCaused by: \
             java.nio.file.NoSuchFileException: /tmp/blockmgr-1/3b/shuffle_4_65_0.index",
            ),
        );
        assert!(gone[0].advice.iter().all(|advice| advice.config.is_empty()));
        assert!(gone[0].advice[0].text.contains("spark.local.dir"), "{}", gone[0].advice[0].text);
    }

    #[test]
    fn old_logs_that_do_not_name_the_partition_are_told_by_the_number_of_tasks() {
        let builder = retried(4_000).with(|run| {
            for stage in run.stages.values_mut().filter(|stage| stage.key.attempt == 1) {
                let mut tasks = emberscope_run::TaskStore::default();
                for mut row in stage.tasks.rows() {
                    row.clear(TaskColumn::PartitionId);
                    tasks.push(row);
                }
                stage.tasks = tasks;
                stage.num_tasks = 4;
            }
            for stage in run.stages.values_mut().filter(|stage| stage.key.stage_id.0 == 1) {
                stage.num_tasks = 4;
            }
        });
        // Stage 0 has 8 partitions, all done before: its 4 tasks do again. Stage 1 has 4 and none was done.
        assert_eq!(check(&RULE, &builder)[0].savings.core_ms, Some(17_000));
    }

    #[test]
    fn a_stage_without_second_attempt_and_failed_fetch_is_clear() {
        let builder = run().executor("1", 2).stage(0, |stage| {
            stage.task(0).duration_ms(1_000);
        });
        assert_eq!(check(&RULE, &builder), []);
    }

    #[test]
    fn work_done_again_below_the_floor_is_silent() {
        // 1 s + 8 s in 0.5 % of more than half an hour.
        assert_eq!(check(&RULE, &retried(4_000).idle(1_900_000)), []);
    }

    #[test]
    fn no_advice_repeats_what_is_set() {
        let findings = check(&RULE, &retried(4_000).set("spark.shuffle.service.enabled", "true"));
        assert!(findings[0].advice.iter().all(|advice| !advice.config.contains_key("spark.shuffle.service.enabled")));
    }

    #[test]
    fn without_stages_the_rule_is_skipped() {
        assert!(matches!(outcome(&RULE, &run()), Outcome::Skipped { .. }));
    }
}
