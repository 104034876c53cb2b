//! Tasks so small that starting them costs more than running them.

use std::collections::BTreeMap;

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::Unit;

use crate::finding::{Evidence, Finding};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::loss::{LEAST, Losses, StageLoss, span_ms, stage_subject};
use crate::support::partitioning::{self, DataSource};
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::TooManyPartitions,
    summary: "A stage has hundreds of tasks so small that starting them takes about as long as running them.",
    documentation: include_str!("too_many_partitions.md"),
    thresholds: &[MIN_TASKS, OVERHEAD_RATIO, TARGET_TASK, TARGET_BYTES, FLOOR, LEAST],
    explained_by: &[Problem::SmallFiles],
    check,
};

const MIN_TASKS: Threshold = Threshold {
    name: "min_tasks",
    value: 70.0,
    unit: Unit::Count,
    reason: "fewer tasks cost little whatever each costs; Spark's default of 200 shuffle partitions is above it. \
             Set by judgement, not contradicted by the training families of datasets/lab (`emberscope calibrate`)",
};
const OVERHEAD_RATIO: Threshold = Threshold {
    name: "overhead_ratio",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "median time to launch, deserialize and report a task over its median run time: at half, a third of \
             the task's life is overhead. Set by judgement, which no labelled run of datasets/lab decides \
             (`emberscope calibrate`)",
};
const TARGET_TASK: Threshold = Threshold {
    name: "target_task_ms",
    value: 1_000.0,
    unit: Unit::Ms,
    reason: "a task of a second makes an overhead of 10 to 50 ms negligible; Spark's tuning guide calls tasks as short as \
             200 ms still efficient, so this is on the safe side",
};
const TARGET_BYTES: Threshold = Threshold {
    name: "target_partition_bytes",
    value: partitioning::TARGET_BYTES,
    unit: Unit::Bytes,
    reason: "Spark's own split size for files (spark.sql.files.maxPartitionBytes): no partition is advised to be larger",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.03,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that fewer tasks would save, over all such stages; below it \
             nobody gains by mending. Set by judgement, not contradicted by the training families of datasets/lab \
             (`emberscope calibrate`)",
};

/// A stage with too many partitions.
struct Hit<'a> {
    stage: &'a StageSummary,
    loss: StageLoss,
    overhead_ms: f64,
    run_ms: f64,
    wanted: u64,
}

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = match ctx.stages_that_ran(
        |stage| stage.metric(Metric::ExecutorRunTime).is_some(),
        "task run times (no task metrics in this log)",
    ) {
        Ok(ran) => ran,
        Err(skipped) => return skipped,
    };
    if ran.iter().all(|stage| stage.slots.is_none()) {
        return Outcome::missing("executor cores");
    }
    let mut causes: BTreeMap<DataSource, Vec<Hit<'_>>> = BTreeMap::new();
    for hit in ran.into_iter().filter_map(|stage| look(ctx, stage)) {
        causes.entry(DataSource::of(ctx, hit.stage)).or_default().push(hit);
    }
    Outcome::of(causes.into_iter().filter_map(|(source, hits)| finding(ctx, source, &hits)).collect())
}

fn look<'a>(ctx: &Context<'_>, stage: &'a StageSummary) -> Option<Hit<'a>> {
    let tasks = stage.tasks.succeeded as f64;
    let slots = stage.slots? as f64;
    if !(tasks >= ctx.threshold(&MIN_TASKS) && tasks >= 2.0 * slots) {
        return None;
    }
    // Medians: the first wave's slow start is no cost of having many tasks.
    let p50 = |metric: Metric| Some(stage.quantiles(metric)?.p50 as f64);
    let run_ms = p50(Metric::ExecutorRunTime)?;
    let overhead_ms = p50(Metric::SchedulerDelay)?
        + p50(Metric::ExecutorDeserializeTime)?
        + p50(Metric::ResultSerializationTime).unwrap_or(0.0);
    if !(overhead_ms > 0.0 && overhead_ms >= ctx.threshold(&OVERHEAD_RATIO) * run_ms) {
        return None;
    }
    let by_time = (stage.sum(Metric::ExecutorRunTime)? as f64 / ctx.threshold(&TARGET_TASK).max(1.0)).ceil();
    let bytes = partitioning::bytes_in(stage).unwrap_or(0.0);
    let by_bytes = (bytes / ctx.threshold(&TARGET_BYTES).max(1.0)).ceil();
    // No fewer than keep the cores busy, while the work is worth dividing.
    let wanted = by_time.max(by_bytes).max(1.0);
    let wanted = if wanted < slots { slots.min(tasks) } else { wanted };
    let fewer = 1.0 - wanted / tasks;
    if fewer < 0.5 {
        return None;
    }
    let core_ms = overhead_ms * tasks * fewer;
    let saved = (core_ms / slots).min(span_ms(stage)?);
    Some(Hit { stage, loss: StageLoss::of_span(stage, saved, core_ms), overhead_ms, run_ms, wanted: wanted as u64 })
}

fn finding(ctx: &Context<'_>, source: DataSource, hits: &[Hit<'_>]) -> Option<Finding> {
    let losses = Losses::of(hits.iter().map(|hit| hit.loss.clone()).collect());
    if losses.negligible(ctx, &FLOOR, &LEAST) {
        return None;
    }
    let worst = hits.iter().find(|hit| Some(hit.stage.key) == losses.worst())?;
    let stage = worst.stage;
    let tasks = total(hits.iter().map(|hit| hit.stage.tasks.succeeded));
    let mut finding = Finding::new(
        Problem::TooManyPartitions,
        (0.6 + 0.2 * (worst.overhead_ms / worst.run_ms.max(1.0) - 0.5)).clamp(0.6, 0.9),
        stage_subject(ctx, stage.key),
        format!(
            "{} ran {} tasks; {}the median task ran {} and cost {} to start and report",
            losses.name(),
            words::count(tasks),
            if losses.len() > 1 { "in the worst of them " } else { "" },
            words::duration(worst.run_ms),
            words::duration(worst.overhead_ms),
        ),
    );
    finding.evidence = vec![
        Evidence::number("tasks_succeeded_count", stage.tasks.succeeded as f64, Unit::Count)
            .over(ctx.threshold(&MIN_TASKS)),
        Evidence::number("task_overhead_p50_ms", worst.overhead_ms, Unit::Ms)
            .over(ctx.threshold(&OVERHEAD_RATIO) * worst.run_ms),
        Evidence::number(Metric::ExecutorRunTime.statistic("p50"), worst.run_ms, Unit::Ms),
        Evidence::text("partitions_from", source.words()),
    ];
    if let Some(bytes) = stage.quantiles(Metric::BytesIn) {
        finding.evidence.push(Evidence::number(Metric::BytesIn.statistic("p50"), bytes.p50 as f64, Unit::Bytes));
    }
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "stage {}: {} tasks x {} overhead x (1 - {}/{}) over {} slots; summed over {}, each at its share of the clock",
        stage.key,
        words::count(stage.tasks.succeeded),
        words::duration(worst.overhead_ms),
        worst.wanted,
        stage.tasks.succeeded,
        stage.slots.unwrap_or(1),
        losses.stage_attempts(),
    ));
    let run_time = stage.sum(Metric::ExecutorRunTime).unwrap_or(0) as f64;
    let mut why = format!(
        "{} of run time at {} a task, {} slots",
        words::duration(run_time),
        words::duration(ctx.threshold(&TARGET_TASK)),
        stage.slots.unwrap_or(1),
    );
    if let Some(bytes) = partitioning::bytes_in(stage).filter(|&bytes| bytes > 0.0) {
        why.push_str(&format!(
            ", {} / {} = {} each",
            words::bytes(bytes),
            worst.wanted,
            words::bytes(bytes / worst.wanted.max(1) as f64)
        ));
    }
    finding.advice.push(partitioning::fewer(ctx, stage, worst.wanted, &why));
    Some(finding)
}

#[cfg(test)]
mod tests {
    use emberscope_run::{SqlExecutionId, TaskColumn};

    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// 1,000 tasks on 4 cores: each takes 60 ms, of which `overhead` ms are scheduler delay and deserialization.
    fn small(tasks: u64, overhead: u64) -> RunBuilder {
        run().executor("1", 4).stage(0, |stage| {
            for partition in 0..tasks {
                stage
                    .task(partition)
                    .duration_ms(60)
                    .metrics(60 - overhead, 60 - overhead, 0)
                    .set(TaskColumn::ExecutorDeserializeTime, overhead / 2)
                    .shuffle_read(10_000, 100);
            }
            stage.with(|stage| stage.sql_execution_id = Some(SqlExecutionId(0)));
        })
    }

    #[test]
    fn a_thousand_tasks_that_are_half_overhead_are_found() {
        let findings = check(&RULE, &small(1_000, 30));
        assert_eq!(findings.len(), 1);
        // 30 s of run time at 1 s a task: 30 tasks; 1,000 x 30 ms x (1 - 30/1000) / 4 slots = 7,275 ms.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(7_275));
        assert_eq!(findings[0].savings.core_ms, Some(29_100));
        assert_eq!(
            findings[0].advice[0]
                .config
                .get("spark.sql.adaptive.coalescePartitions.parallelismFirst")
                .map(String::as_str),
            None,
            "1,000 tasks are more than the 200 shuffle partitions: a repartition(n) in the code, which no setting changes"
        );
        assert!(findings[0].advice[0].text.contains("repartition(n)"));
    }

    #[test]
    fn adaptive_execution_is_advised_only_where_it_is_off() {
        let off = small(200, 30).set("spark.sql.adaptive.enabled", "false");
        let findings = check(&RULE, &off);
        assert_eq!(findings[0].advice[0].config.get("spark.sql.adaptive.enabled").map(String::as_str), Some("true"));
        let on = check(&RULE, &small(200, 30));
        assert_eq!(on[0].advice[0].config.get("spark.sql.adaptive.enabled"), None);
        assert_eq!(
            on[0].advice[0].config.get("spark.sql.adaptive.coalescePartitions.parallelismFirst").map(String::as_str),
            Some("false")
        );
    }

    #[test]
    fn sixty_nine_tasks_or_a_quarter_of_overhead_are_clear() {
        assert_eq!(check(&RULE, &small(69, 30)), []);
        // 12 of 60 ms: 12 / 48 = 0.25 of the run time.
        assert_eq!(check(&RULE, &small(1_000, 12)), []);
    }

    #[test]
    fn many_stages_of_one_cause_are_one_finding_with_ten_subjects() {
        let mut builder = run().executor("1", 4);
        for id in 0..14 {
            builder = builder.stage(id, |stage| {
                for partition in 0..200 {
                    stage.task(partition).duration_ms(60).metrics(30, 30, 0).shuffle_read(10_000, 100);
                }
            });
        }
        let findings = check(&RULE, &builder);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].subjects().count(), 10);
        assert!(findings[0].evidence.contains(&Evidence::number("further_stage_attempts_count", 4.0, Unit::Count)));
    }

    #[test]
    fn without_task_metrics_or_cores_the_rule_says_what_it_lacks() {
        let without_metrics = run().executor("1", 4).stage(0, |stage| {
            stage.task(0);
        });
        assert!(matches!(outcome(&RULE, &without_metrics), Outcome::Skipped { .. }));
        let without_cores = small(200, 30).with(|run| {
            run.executors.values_mut().for_each(|executor| executor.cores = None);
        });
        assert_eq!(outcome(&RULE, &without_cores), Outcome::missing("executor cores"));
    }
}
