//! Tasks run away from their data and pay for it.

use std::collections::BTreeMap;

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{Locality, Unit};

use crate::finding::{Advice, Evidence, Finding};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::loss::{LEAST, Losses, StageLoss, stage_subject};
use crate::support::partitioning::DataSource;
use crate::support::tasks::{self, Task};
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::PoorLocality,
    summary: "Tasks that ran away from their data were slower than their siblings beside theirs, at equal data.",
    documentation: include_str!("poor_locality.md"),
    thresholds: &[REMOTE_SHARE, SLOW_FACTOR, MIN_TASKS, FLOOR, LEAST],
    explained_by: &[Problem::SlowExecutor],
    check,
};

const REMOTE_SHARE: Threshold = Threshold {
    name: "remote_share",
    value: 0.1,
    unit: Unit::Ratio,
    reason: "share of a stage's tasks that ran in another rack or anywhere (RACK_LOCAL, ANY). Set by judgement, \
             which no labelled run of datasets/lab decides (`emberscope calibrate`)",
};
const SLOW_FACTOR: Threshold = Threshold {
    name: "slow_factor",
    value: 1.5,
    unit: Unit::Ratio,
    reason: "median duration for its data of such warm tasks over that of warm tasks beside their data. Set by \
             judgement, which no labelled run of datasets/lab decides (`emberscope calibrate`)",
};
const MIN_TASKS: Threshold = Threshold {
    name: "min_tasks",
    value: 4.0,
    unit: Unit::Count,
    reason: "warm tasks of either kind below which medians say little",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.02,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that the distance cost; below it nobody gains by mending",
};

/// A stage whose remote tasks were slower.
struct Hit<'a> {
    stage: &'a StageSummary,
    loss: StageLoss,
    remote: u64,
    tasks: u64,
    factor: f64,
}

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = match ctx.stages_that_ran(|stage| !stage.locality.is_empty(), "task localities") {
        Ok(ran) => ran,
        Err(skipped) => return skipped,
    };
    let mut causes: BTreeMap<bool, Vec<Hit<'_>>> = BTreeMap::new();
    for hit in ran.into_iter().filter_map(|stage| look(ctx, stage)) {
        let shuffle = matches!(DataSource::of(ctx, hit.stage), DataSource::SqlShuffle | DataSource::RddShuffle);
        causes.entry(shuffle).or_default().push(hit);
    }
    Outcome::of(causes.into_iter().filter_map(|(shuffle, hits)| finding(ctx, shuffle, &hits)).collect())
}

/// Whether some of the stage's tasks read cached blocks: a task elsewhere may compute its block anew, which is the cache's matter,
/// and cached bytes are not comparable with those read from files.
fn reads_cache(ctx: &Context<'_>, stage: &StageSummary) -> bool {
    let Some(attempt) = ctx.run.stages.get(&stage.key) else { return false };
    attempt.rdds.iter().any(|rdd| rdd.cached && rdd.cached_partitions < rdd.partitions)
        && stage.locality.contains_key(&Locality::ProcessLocal)
}

fn remote(locality: Locality) -> bool {
    matches!(locality, Locality::RackLocal | Locality::Any)
}

fn local(locality: Locality) -> bool {
    matches!(locality, Locality::ProcessLocal | Locality::NodeLocal)
}

fn look<'a>(ctx: &Context<'_>, stage: &'a StageSummary) -> Option<Hit<'a>> {
    let count = |kind: fn(Locality) -> bool| -> u64 {
        total(stage.locality.iter().filter(|(locality, _)| kind(**locality)).map(|(_, &count)| count))
    };
    let (far, near) = (count(remote), count(local));
    let tasks = stage.tasks.succeeded;
    if reads_cache(ctx, stage) {
        return None;
    }
    let least = ctx.threshold(&MIN_TASKS);
    if !(far as f64 >= ctx.threshold(&REMOTE_SHARE) * tasks as f64 && far as f64 >= least && near as f64 >= least) {
        return None;
    }
    let warm = tasks::warm(ctx, stage.key);
    let of_kind = |kind: fn(Locality) -> bool| warm.iter().filter(move |task| task.row.locality().is_some_and(kind));
    if (of_kind(remote).count() as f64) < least || (of_kind(local).count() as f64) < least {
        return None;
    }
    let bytes = |task: &Task| task.row.bytes_in().map(|bytes| bytes as f64);
    let typical_ms = tasks::median(of_kind(local).map(Task::duration)).filter(|&ms| ms > 0.0)?;
    let typical_bytes = tasks::median(of_kind(local).filter_map(bytes)).filter(|&bytes| bytes > 0.0);
    // What a task's own data makes likely, by the tasks beside their data; a task with less is not expected to be faster.
    let expected = |task: &Task| {
        let more = bytes(task).zip(typical_bytes).map_or(1.0, |(own, typical)| (own / typical).max(1.0));
        typical_ms * more
    };
    let factor = tasks::median(of_kind(remote).map(|task| task.duration() / expected(task)))?;
    if !ctx.reaches(factor, &SLOW_FACTOR) {
        return None;
    }
    let excess: f64 = of_kind(remote).map(|task| (task.duration() - expected(task)).max(0.0)).sum();
    Some(Hit { stage, loss: StageLoss::of_task_time(stage, excess)?, remote: far, tasks, factor })
}

fn finding(ctx: &Context<'_>, shuffle: bool, hits: &[Hit<'_>]) -> Option<Finding> {
    let losses = Losses::of(hits.iter().map(|hit| hit.loss.clone()).collect());
    if losses.negligible(ctx, &FLOOR, &LEAST) {
        return None;
    }
    let worst = hits.iter().find(|hit| Some(hit.stage.key) == losses.worst())?;
    let mut finding = Finding::new(
        Problem::PoorLocality,
        (0.6 + 0.15 * (worst.factor - 1.5)).clamp(0.6, 0.85),
        stage_subject(ctx, worst.stage.key),
        format!(
            "{} of {} tasks of {} ran away from their data and took {} as long for it as those beside theirs",
            words::count(worst.remote),
            words::count(worst.tasks),
            losses.name(),
            words::times(worst.factor),
        ),
    );
    finding.evidence = vec![
        Evidence::number("remote_tasks_ratio", worst.remote as f64 / worst.tasks.max(1) as f64, Unit::Ratio)
            .over(ctx.threshold(&REMOTE_SHARE)),
        Evidence::number("remote_task_duration_over_local_ratio", worst.factor, Unit::Ratio)
            .over(ctx.threshold(&SLOW_FACTOR)),
    ];
    if let Some(bytes) = worst.stage.quantiles(Metric::BytesIn) {
        finding.evidence.push(Evidence::number(Metric::BytesIn.statistic("p50"), bytes.p50 as f64, Unit::Bytes));
    }
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "{} that remote tasks took over what their data takes beside it, over the slots of {}, each at its share of the \
         clock",
        words::duration(losses.core_ms()),
        losses.stage_attempts(),
    ));
    finding.advice = advice(ctx, worst, shuffle);
    Some(finding)
}

fn advice(ctx: &Context<'_>, worst: &Hit<'_>, shuffle: bool) -> Vec<Advice> {
    if shuffle {
        return vec![Advice::text(
            "The stage reads a shuffle whose blocks lie on few hosts, mostly because few executors wrote it: spread the stage before \
             over all executors (more partitions there), or have all executors from the start.",
        )];
    }
    let settings = ctx.settings.for_stage(worst.stage.key);
    let mut all = Vec::new();
    if let Some(wait) = settings.time_ms("spark.locality.wait") {
        let local = worst.stage.warm_duration.map_or(0, |warm| warm.p25) as i64;
        if wait < local {
            all.push(
                Advice::text(format!(
                    "A task waits {} for a place beside its data and then runs anywhere, while a slot there comes free every {}: let it wait \
                     for that.",
                    words::duration(wait as f64),
                    words::duration(local as f64),
                ))
                .set("spark.locality.wait", format!("{}s", (local as u64).div_ceil(1_000))),
            );
        }
    }
    all.push(Advice::text(
        "Place executors where the data is: more executors with fewer cores cover more hosts, and a higher replication of hot files gives \
         each block more hosts. For cached data, have all executors before the cache is filled.",
    ));
    all
}

#[cfg(test)]
mod tests {
    use emberscope_run::TaskColumn;

    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// 64 tasks on 8 cores: of the warm ones every second runs anywhere and takes `ms` instead of 1 s.
    fn apart(ms: u64, bytes: u64) -> RunBuilder {
        run().executor("1", 4).executor("2", 4).stage(0, |stage| {
            for partition in 0..64 {
                let far = partition % 2 == 1;
                let locality = if far { Locality::Any } else { Locality::NodeLocal };
                stage
                    .task(partition)
                    .duration_ms(if far { ms } else { 1_000 })
                    .input(if far { bytes } else { 10_000_000 }, 1_000)
                    .set(TaskColumn::Locality, locality.code());
            }
        })
    }

    #[test]
    fn remote_tasks_that_take_twice_as_long_are_found() {
        let findings = check(&RULE, &apart(2_000, 10_000_000));
        assert_eq!(findings.len(), 1);
        // Of 32 remote tasks 4 are cold; the 28 others are 28 s over, of 96 s of task time in a stage of 13 s:
        // 28 / 96 x 13 s.
        assert_eq!(findings[0].savings.core_ms, Some(28_000));
        assert_eq!(findings[0].savings.wall_clock_ms, Some(3_792));
        assert!(findings[0].summary.contains("32 of 64"));
    }

    #[test]
    fn remote_tasks_with_more_data_or_nearly_as_fast_are_clear() {
        assert_eq!(check(&RULE, &apart(2_000, 20_000_000)), []);
        assert_eq!(check(&RULE, &apart(1_490, 10_000_000)), []);
    }

    #[test]
    fn tasks_that_compute_a_dropped_block_anew_are_not_far_from_their_data() {
        let run = apart(2_000, 10_000_000).with(|run| {
            for stage in run.stages.values_mut() {
                let cached = emberscope_run::RddInfo {
                    cached: true,
                    partitions: 64,
                    cached_partitions: 51,
                    ..Default::default()
                };
                stage.rdds.push(cached);
                let rows: Vec<_> = stage.tasks.rows().collect();
                stage.tasks = emberscope_run::TaskStore::default();
                for mut row in rows {
                    if row.locality() == Some(Locality::NodeLocal) {
                        row.set(TaskColumn::Locality, Locality::ProcessLocal.code());
                    }
                    stage.tasks.push(row);
                }
            }
        });
        assert_eq!(check(&RULE, &run), []);
    }

    #[test]
    fn the_wait_is_raised_only_where_it_is_shorter_than_a_task() {
        let long = check(&RULE, &apart(2_000, 10_000_000).set("spark.locality.wait", "500ms"));
        assert_eq!(long[0].advice[0].config["spark.locality.wait"], "1s");
        assert!(check(&RULE, &apart(2_000, 10_000_000))[0].advice.iter().all(|advice| advice.config.is_empty()));
    }

    #[test]
    fn without_localities_the_rule_says_so() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0);
        });
        assert_eq!(outcome(&RULE, &run), Outcome::missing("task localities"));
    }
}
