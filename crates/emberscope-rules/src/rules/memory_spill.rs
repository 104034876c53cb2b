//! Execution memory ran out and data went to disk.

use std::collections::BTreeMap;

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{StageKey, Unit};

use crate::finding::{Advice, Evidence, Finding};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::loss::{LEAST, Losses, StageLoss, stage_subject};
use crate::support::memory::Memory;
use crate::support::partitioning;
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::MemorySpill,
    summary: "Tasks had too little execution memory for their partitions and wrote part of them to disk.",
    documentation: include_str!("memory_spill.md"),
    thresholds: &[MIN_SPILLED, SPILL_RATE, MARGIN, FLOOR, LEAST],
    explained_by: &[Problem::DataSkew],
    check,
};

const MIN_SPILLED: Threshold = Threshold {
    name: "min_spilled_bytes",
    value: 4_194_304.0,
    unit: Unit::Bytes,
    reason: "bytes on disk that a stage spilled from which it is looked at: less stays in the page cache. Set on \
             the training families of datasets/lab (`emberscope calibrate`)",
};
const SPILL_RATE: Threshold = Threshold {
    name: "spill_bytes_per_second",
    value: 104_857_600.0,
    unit: Unit::PerSecond,
    reason: "what a task writes or reads back of spilled bytes in a second, with serialization and compression \
             (100 MiB/s); the log has no time for it. Set by judgement, not contradicted by the training families \
             of datasets/lab (`emberscope calibrate`)",
};
const MARGIN: Threshold = Threshold {
    name: "memory_margin",
    value: 1.25,
    unit: Unit::Ratio,
    reason: "memory that is advised over the memory that was missing: partitions differ in size. Set by \
             judgement, which no labelled run of datasets/lab decides (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.015,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that writing and reading the spills took, by estimate; below it nobody gains \
             by mending",
};

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = match ctx.stages_that_ran(
        |stage| stage.metric(Metric::DiskBytesSpilled).is_some(),
        "spilled bytes (no task metrics in this log)",
    ) {
        Ok(ran) => ran,
        Err(skipped) => return skipped,
    };
    // Where only a few tasks of a stage spill, their partitions are the cause and not the memory: told apart, by stage.
    let mut causes: BTreeMap<Option<StageKey>, Vec<(&StageSummary, StageLoss)>> = BTreeMap::new();
    for stage in ran {
        let Some(loss) = look(ctx, stage) else { continue };
        let cause = concentrated(stage).then_some(stage.key);
        causes.entry(cause).or_default().push((stage, loss));
    }
    Outcome::of(causes.into_values().filter_map(|hits| finding(ctx, &hits)).collect())
}

fn look(ctx: &Context<'_>, stage: &StageSummary) -> Option<StageLoss> {
    let disk = stage.sum(Metric::DiskBytesSpilled)? as f64;
    if !ctx.reaches(disk, &MIN_SPILLED) {
        return None;
    }
    let lost = 2.0 * disk / ctx.threshold(&SPILL_RATE).max(1.0) * 1_000.0;
    StageLoss::of_task_time(stage, lost)
}

/// Whether less than a quarter of the tasks spilled.
fn concentrated(stage: &StageSummary) -> bool {
    stage.quantiles(Metric::DiskBytesSpilled).is_some_and(|spilled| spilled.count >= 4 && spilled.p75 == 0)
}

fn finding(ctx: &Context<'_>, hits: &[(&StageSummary, StageLoss)]) -> Option<Finding> {
    let losses = Losses::of(hits.iter().map(|hit| hit.1.clone()).collect());
    if losses.negligible(ctx, &FLOOR, &LEAST) {
        return None;
    }
    let stage = hits.iter().find(|hit| Some(hit.0.key) == losses.worst())?.0;
    let sum = |metric| total(hits.iter().filter_map(|hit| hit.0.sum(metric))) as f64;
    let (disk, memory) = (sum(Metric::DiskBytesSpilled), sum(Metric::MemoryBytesSpilled));
    let few = concentrated(stage);
    let mut finding = Finding::new(
        Problem::MemorySpill,
        if few { 0.7 } else { 0.8 },
        stage_subject(ctx, stage.key),
        format!(
            "{} spilled {} to disk ({} in memory){}",
            losses.name(),
            words::bytes(disk),
            words::bytes(memory),
            if few { ", in less than a quarter of the tasks" } else { "" },
        ),
    );
    let settings = ctx.settings.for_stage(stage.key);
    let available = Memory::of_stage(ctx, stage, &settings);
    finding.evidence = vec![
        Evidence::number(Metric::DiskBytesSpilled.statistic("sum"), disk, Unit::Bytes)
            .over(ctx.threshold(&MIN_SPILLED)),
        Evidence::number(Metric::MemoryBytesSpilled.statistic("sum"), memory, Unit::Bytes),
    ];
    if let Some(spilled) = stage.quantiles(Metric::MemoryBytesSpilled) {
        finding.evidence.push(
            Evidence::number(Metric::MemoryBytesSpilled.statistic("max"), spilled.max as f64, Unit::Bytes)
                .against(spilled.p50 as f64),
        );
    }
    finding.evidence.extend(available.evidence());
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "{} written and read again at {}/s a task = {} of task time, over the slots of {}, each at its share of \
         the clock; an estimate, as the log has no time for spills",
        words::bytes(disk),
        words::bytes(ctx.threshold(&SPILL_RATE)),
        words::duration(losses.core_ms()),
        losses.stage_attempts(),
    ));
    finding.advice = advice(ctx, stage, &available, few);
    Some(finding)
}

/// Spark's default of `spark.memory.fraction`.
const USUAL_FRACTION: f64 = 0.6;
/// How many times the memory a task must get for it, for that to be told first.
const MUCH_MORE: f64 = 1.5;

fn advice(ctx: &Context<'_>, stage: &StageSummary, available: &Memory, few: bool) -> Vec<Advice> {
    let mut all = Vec::new();
    if few {
        all.push(Advice::text(
            "Most tasks of the stage did not spill: their memory is enough, and a few partitions are too large. Spread those \
             (see data-skew) before giving every executor more memory.",
        ));
    }
    let tasks = stage.tasks.succeeded;
    let wanted = wanted_bytes(ctx, stage);
    let Some((each, wanted)) = available.per_task().filter(|&each| each > 0.0).zip(wanted) else {
        all.push(Advice::text(
            "Give each task less data (more partitions) or more memory (a larger heap, or fewer cores per executor). The log does \
             not say how much memory a task had, so no number can be given.",
        ));
        return all;
    };
    let arithmetic = available.arithmetic().unwrap_or_default();
    let factor = wanted / each;
    let usual = Memory { fraction: Some(USUAL_FRACTION), ..available.clone() };
    if let Some(fraction) = available.fraction.filter(|&fraction| fraction < USUAL_FRACTION)
        && let Some(more) = usual.per_task().filter(|&more| factor > 1.0 && more >= MUCH_MORE * each)
    {
        all.push(
            Advice::text(format!(
                "spark.memory.fraction is {fraction}: of each heap, execution and storage get that share only. With Spark's default, \
                 {USUAL_FRACTION}, a task has {} instead of {}, without more memory being asked for. Find out why it was lowered.",
                words::bytes(more),
                words::bytes(each),
            ))
            .set("spark.memory.fraction", USUAL_FRACTION.to_string()),
        );
    }
    if !few && factor > 1.0 {
        let partitions = (tasks as f64 * factor).ceil() as u64;
        let why = format!(
            "a task wanted up to {} with a margin and had {arithmetic}: {tasks} x {factor:.1}",
            words::bytes(wanted),
        );
        all.push(partitioning::more(ctx, stage, partitions, &why));
    }
    if let Some(heap) = available.heap_for(wanted) {
        let memory = words::spark_memory(heap);
        let mut text = format!(
            "Or give each task the {} that it wanted: it had {arithmetic}, and {memory} would be enough.",
            words::bytes(wanted),
        );
        if available.local {
            text.push_str(" In local mode this is the driver's memory, and must be given to spark-submit, not set in the program.");
        }
        all.push(Advice::text(text).set(available.key, memory));
    } else if let Some(cores) = available.tasks_at_once.filter(|&cores| cores > 1.0 && !available.local) {
        let fewer = (cores / factor).floor().max(1.0);
        if fewer < cores {
            all.push(
                Advice::text(format!(
                    "Or let fewer tasks share an executor's memory: {cores:.0} / {factor:.1} = {fewer:.0} cores each, with as many \
                     more executors."
                ))
                .set("spark.executor.cores", format!("{fewer:.0}")),
            );
        }
    }
    if factor <= 1.0 && !few {
        all.push(Advice::text(format!(
            "By the settings each task had {arithmetic}, which is more than the {} it wanted: cached data or other tasks held the \
             memory. Look at what is cached (Storage page), unpersist it, or cache it serialized or on disk.",
            words::bytes(wanted),
        )));
    }
    all
}

/// Execution memory that the tasks of a stage wanted, in bytes: what the 95th percentile held at its peak and spilled, with
/// a margin; `None` when no task says.
fn wanted_bytes(ctx: &Context<'_>, stage: &StageSummary) -> Option<f64> {
    let spilled = stage.quantiles(Metric::MemoryBytesSpilled)?;
    let peak = stage.quantiles(Metric::PeakExecutionMemory).map_or(0, |peak| peak.p95);
    Some((spilled.p95.max(spilled.p50) as f64 + peak as f64) * ctx.threshold(&MARGIN)).filter(|&wanted| wanted > 0.0)
}

#[cfg(test)]
mod tests {
    use emberscope_run::{AccumulatorId, SqlExecutionId, TaskColumn};

    use super::*;
    use crate::testing::{PlanNodeExt, RunBuilder, check, node, outcome, run};

    const MIB: u64 = 1 << 20;

    /// 8 tasks of 10 s on 4 cores, each with `disk` MiB on disk and twice that in memory, of a SQL shuffle.
    fn spilling(disk: u64) -> RunBuilder {
        run().executor("1", 4).set("spark.executor.memory", "2g").set("spark.sql.shuffle.partitions", "8").stage(
            0,
            |stage| {
                for partition in 0..8 {
                    stage
                        .task(partition)
                        .duration_ms(10_000)
                        .metrics(10_000, 8_000, 0)
                        .shuffle_read(256 * MIB, 1_000)
                        .set(TaskColumn::DiskBytesSpilled, disk * MIB)
                        .set(TaskColumn::MemoryBytesSpilled, 2 * disk * MIB)
                        .set(TaskColumn::PeakExecutionMemory, 200 * MIB);
                }
                stage.with(|stage| stage.sql_execution_id = Some(SqlExecutionId(0)));
            },
        )
    }

    #[test]
    fn spills_are_costed_and_the_memory_that_was_missing_is_worked_out() {
        let findings = check(&RULE, &spilling(250));
        assert_eq!(findings.len(), 1);
        // 8 x 250 MiB x 2 / 100 MiB/s = 40 s of 80 s of task time: half of the stage's 20 s.
        assert_eq!(findings[0].savings.core_ms, Some(40_000));
        assert_eq!(findings[0].savings.wall_clock_ms, Some(10_000));
        // Wanted: (500 + 200) x 1.25 = 875 MiB. Had: (2048 - 300) x 0.6 / 4 = 262.2 MiB. 875 / 262.2 = 3.34 times 8 = 26.7.
        assert_eq!(findings[0].advice[0].config.get("spark.sql.shuffle.partitions").map(String::as_str), Some("27"));
        // 875 x 4 / 0.6 + 300 = 6,133 MiB, in steps of 512 MiB: 6,144.
        assert_eq!(findings[0].advice[1].config.get("spark.executor.memory").map(String::as_str), Some("6g"));
    }

    /// The same of a shuffle with this description, which the stage reads.
    fn of_exchange(description: &str) -> RunBuilder {
        let builder = spilling(250).sql(0, node(description).metric("records read", 8_000));
        builder.with(|run| {
            run.stages.values_mut().for_each(|stage| {
                stage.accumulators.insert(AccumulatorId(0));
            });
        })
    }

    #[test]
    fn a_number_that_the_program_gave_is_to_be_changed_in_the_program() {
        let builder =
            of_exchange("Exchange | Exchange hashpartitioning(user_id#3L, 8), REPARTITION_BY_NUM, [plan_id=7]");
        let advice = &check(&RULE, &builder)[0].advice[0];
        assert!(advice.text.contains("repartition(8) in the code: write 27 in place of 8."), "{}", advice.text);
        assert_eq!(advice.config, BTreeMap::new());
    }

    #[test]
    fn partitions_that_would_be_merged_back_need_a_smaller_advisory_size() {
        let builder =
            of_exchange("Exchange | Exchange hashpartitioning(user_id#3L, 8), ENSURE_REQUIREMENTS, [plan_id=7]");
        // 8 x 256 MiB / 27 = 75.9 MiB are over the advisory 64 MiB: nothing is merged.
        let advice = &check(&RULE, &builder)[0].advice[0];
        assert_eq!(advice.config.len(), 1, "{advice:?}");
        // Over 128 MiB they would be: it comes down to 75 MiB.
        let builder = builder.set("spark.sql.adaptive.advisoryPartitionSizeInBytes", "128m");
        let advice = &check(&RULE, &builder)[0].advice[0];
        assert_eq!(advice.config["spark.sql.shuffle.partitions"], "27");
        assert_eq!(advice.config["spark.sql.adaptive.advisoryPartitionSizeInBytes"], "75m");
        // Without merging there is nothing to lower.
        let off = builder.set("spark.sql.adaptive.coalescePartitions.enabled", "false");
        assert_eq!(check(&RULE, &off)[0].advice[0].config.len(), 1);
    }

    #[test]
    fn a_fraction_that_was_lowered_is_told_first() {
        let findings = check(&RULE, &spilling(250).set("spark.memory.fraction", "0.2"));
        let advice = &findings[0].advice[0];
        assert_eq!(advice.config.get("spark.memory.fraction").map(String::as_str), Some("0.6"));
        // (2048 - 300) x 0.2 / 4 = 87.4 MiB; with 0.6 it is 262.2 MiB.
        assert!(advice.text.contains("262 MiB instead of 87.4 MiB"), "{}", advice.text);
        let usual = check(&RULE, &spilling(250).set("spark.memory.fraction", "0.6"));
        assert!(usual[0].advice.iter().all(|advice| !advice.config.contains_key("spark.memory.fraction")));
    }

    #[test]
    fn in_local_mode_the_memory_is_the_drivers() {
        let findings = check(&RULE, &spilling(250).set("spark.master", "local[4]").set("spark.driver.memory", "2g"));
        assert_eq!(findings[0].advice[1].config.get("spark.driver.memory").map(String::as_str), Some("6g"));
        assert_eq!(findings[0].advice[1].config.get("spark.executor.memory"), None);
    }

    #[test]
    fn a_spill_below_the_floor_is_clear() {
        // 8 x 7 MiB = 56 MiB: 1.12 s of 80 s of task time is 1.4 %, 0.28 s.
        assert_eq!(check(&RULE, &spilling(7)), []);
    }

    #[test]
    fn a_few_spilling_tasks_are_told_by_themselves() {
        let run = spilling(0).stage(1, |stage| {
            for partition in 0..16 {
                let spilled = if partition == 3 { 2_000 * MIB } else { 0 };
                stage
                    .task(partition)
                    .duration_ms(5_000)
                    .metrics(5_000, 5_000, 0)
                    .set(TaskColumn::DiskBytesSpilled, spilled)
                    .set(TaskColumn::MemoryBytesSpilled, spilled);
            }
        });
        let findings = check(&RULE, &run);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].summary.contains("less than a quarter of the tasks"));
        assert!(findings[0].advice[0].text.contains("data-skew"));
    }

    #[test]
    fn without_task_metrics_the_rule_says_so() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
