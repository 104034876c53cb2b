//! The JVM spends its time collecting garbage.

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{TaskColumn, TaskStatus, Unit};

use crate::finding::{Advice, Evidence, Finding, Subject};
use crate::naming;
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::blocked::Blocked;
use crate::support::loss::{Losses, StageLoss, stage_subject};
use crate::support::memory::Memory;
use crate::support::memory::polled;
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::GcPressure,
    summary: "Tasks stood still for garbage collection for a large part of their run time.",
    documentation: include_str!("gc_pressure.md"),
    thresholds: &[GC_RATIO, KEPT_RATIO, FLOOR, LEAST],
    explained_by: &[],
    check,
};

const GC_RATIO: Threshold = Threshold {
    name: "gc_ratio",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "garbage collection over run time; Spark's own executors page marks an executor red from 10 % of its \
             task time. Set on the training families of datasets/lab (`emberscope calibrate`)",
};
const KEPT_RATIO: Threshold = Threshold {
    name: "kept_ratio",
    value: 0.03,
    unit: Unit::Ratio,
    reason: "garbage collection over run time that remains when the memory is right, and is not counted as saved. \
             Set by judgement",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.03,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that tasks stood still beyond what remains anyway; below it \
             nobody gains by mending. Set by judgement",
};
const LEAST: Threshold = Threshold {
    name: "floor_ms",
    value: 300.0,
    unit: Unit::Ms,
    reason: "less than that a JVM collects while it loads classes. Set on the training families of datasets/lab \
             (`emberscope calibrate`)",
};

/// A stage whose tasks stood still.
struct Hit<'a> {
    stage: &'a StageSummary,
    loss: StageLoss,
    gc_ms: f64,
    run_ms: f64,
}

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = match ctx.stages_that_ran(
        |stage| stage.metric(Metric::JvmGcTime).is_some(),
        "garbage collection times (no task metrics in this log)",
    ) {
        Ok(ran) => ran,
        Err(skipped) => return skipped,
    };
    let hits: Vec<Hit<'_>> = ran.into_iter().filter_map(|stage| look(ctx, stage)).collect();
    Outcome::of(finding(ctx, &hits).into_iter().collect())
}

fn look<'a>(ctx: &Context<'_>, stage: &'a StageSummary) -> Option<Hit<'a>> {
    if !ctx.reaches(stage.share(Metric::JvmGcTime, Metric::ExecutorRunTime)?, &GC_RATIO) {
        return None;
    }
    let (gc_ms, run_ms) = stopped(ctx, stage)?;
    if !(run_ms > 0.0 && gc_ms / run_ms >= ctx.threshold(&GC_RATIO)) {
        return None;
    }
    let loss = StageLoss::of_task_time(stage, gc_ms - ctx.threshold(&KEPT_RATIO) * run_ms)?;
    Some(Hit { stage, loss, gc_ms, run_ms })
}

/// Time that the tasks of a stage stood still for collections, and their run time, in ms summed over tasks.
///
/// A task's figure is that of its whole JVM while the task ran: a pause stops each of its tasks, so each rightly counts
/// it, but concurrent collectors work beside the tasks. No task stood still for longer than it was off the CPU.
fn stopped(ctx: &Context<'_>, stage: &StageSummary) -> Option<(f64, f64)> {
    let attempt = ctx.run.stages.get(&stage.key)?;
    if let Some(blocked) = Blocked::of_stage(attempt) {
        return Some((blocked.gc_ms, blocked.run_ms));
    }
    let (mut gc, mut run) = (0.0, 0.0);
    for row in attempt.tasks.rows().filter(|row| row.status() == Some(TaskStatus::Success)) {
        let run_ms = row.get(TaskColumn::ExecutorRunTime).unwrap_or(0) as f64;
        gc += (row.get(TaskColumn::JvmGcTime).unwrap_or(0) as f64).min(run_ms);
        run += run_ms;
    }
    Some((gc, run))
}

fn finding(ctx: &Context<'_>, hits: &[Hit<'_>]) -> Option<Finding> {
    let losses = Losses::of(hits.iter().map(|hit| hit.loss.clone()).collect());
    if losses.negligible(ctx, &FLOOR, &LEAST) {
        return None;
    }
    let worst = hits.iter().find(|hit| Some(hit.stage.key) == losses.worst())?;
    let gc_ms: f64 = hits.iter().map(|hit| hit.gc_ms).sum();
    let run_ms: f64 = hits.iter().map(|hit| hit.run_ms).sum();
    let cpu_known = worst.stage.metric(Metric::ExecutorCpuTime).is_some();
    let ratio = gc_ms / run_ms.max(1.0);
    let outlier = outlier(ctx);
    let subject =
        outlier.as_ref().map_or_else(|| stage_subject(ctx, worst.stage.key), |outlier| Subject::executor(&outlier.0));
    let mut finding = Finding::new(
        Problem::GcPressure,
        (0.65 + (ratio - 0.1)).clamp(0.6, 0.95) - if cpu_known { 0.0 } else { 0.15 },
        subject,
        format!(
            "tasks of {} stood still for garbage collection for {} of their run time{}",
            losses.name(),
            words::percent(ratio),
            outlier
                .as_ref()
                .map_or_else(String::new, |(id, ratio)| format!(", on executor {id} for {}", words::percent(*ratio))),
        ),
    );
    finding.evidence = vec![
        Evidence::number("gc_time_over_run_time_ratio", ratio, Unit::Ratio).over(ctx.threshold(&GC_RATIO)),
        Evidence::number(
            Metric::JvmGcTime.statistic("sum"),
            total(hits.iter().filter_map(|hit| hit.stage.sum(Metric::JvmGcTime))) as f64,
            Unit::Ms,
        ),
    ];
    finding.evidence.extend(collections(ctx));
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "{} of {} of run time stood still{}; {} of the run time would remain; over the slots of {}, each at its \
         share of the clock",
        words::duration(gc_ms),
        words::duration(run_ms),
        if cpu_known {
            " (no more than each task was off the CPU)"
        } else {
            " (an upper bound: the log has no CPU time)"
        },
        words::percent(ctx.threshold(&KEPT_RATIO)),
        losses.stage_attempts(),
    ));
    finding.advice = advice(ctx, worst.stage, outlier.is_some());
    Some(finding)
}

/// An executor whose tasks collected much more than those of the others: at least three times their median ratio.
fn outlier(ctx: &Context<'_>) -> Option<(emberscope_run::ExecutorId, f64)> {
    let mut ratios: Vec<(f64, &emberscope_run::ExecutorId)> =
        ctx.features.executors.values().filter_map(|executor| Some((executor.gc_ratio()?, &executor.id))).collect();
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    let median = ratios.get(ratios.len() / 2)?.0;
    let &(largest, id) = ratios.last()?;
    (ratios.len() >= 3 && largest >= 3.0 * median && largest >= ctx.threshold(&GC_RATIO)).then(|| (id.clone(), largest))
}

/// Minor and major collections of the executor that spent most time in them, where they were polled.
fn collections(ctx: &Context<'_>) -> Vec<Evidence> {
    let time = |peaks: &emberscope_run::ExecutorMetrics, column| peaks.get(column).unwrap_or(0);
    let worst = ctx.run.executors.values().max_by_key(|executor| {
        time(&executor.peaks, TaskColumn::MinorGcTime).saturating_add(time(&executor.peaks, TaskColumn::MajorGcTime))
    });
    let Some(peaks) = worst.map(|executor| &executor.peaks) else { return Vec::new() };
    [TaskColumn::MinorGcTime, TaskColumn::MajorGcTime, TaskColumn::PeakJvmHeap]
        .into_iter()
        .filter_map(|column| Some(Evidence::number(column.name(), polled(peaks, column)? as f64, column.unit())))
        .collect()
}

fn advice(ctx: &Context<'_>, stage: &StageSummary, one_executor: bool) -> Vec<Advice> {
    let settings = ctx.settings.for_stage(stage.key);
    let memory = Memory::of_stage(ctx, stage, &settings);
    let mut all = Vec::new();
    if one_executor {
        all.push(Advice::text(
            "One executor collects far more than the others: look for cached partitions or large keys that only it holds before \
             giving all of them more memory.",
        ));
    }
    if let Some((heap, doubled)) = memory.heap.zip(memory.doubled()) {
        let mut text = format!(
            "Give the JVM more heap: with {} instead of {} it fills at most half as often, so collections cost half or less.",
            words::bytes(doubled),
            words::bytes(heap),
        );
        if memory.local {
            text.push_str(" In local mode this is the driver's memory, and must be given to spark-submit, not set in the program.");
        }
        all.push(Advice::text(text).set(memory.key, words::spark_memory(doubled)));
    }
    if let Some(tasks) = memory.tasks_at_once.filter(|&tasks| tasks >= 4.0) {
        let half = (tasks / 2.0).floor();
        all.push(if memory.local {
            Advice::text(format!("Or let fewer tasks share the heap: local[{half:.0}] instead of {tasks:.0} tasks at once."))
        } else {
            Advice::text(format!(
                "Or let fewer tasks share a heap: {half:.0} instead of {tasks:.0} cores per executor, with twice the executors."
            ))
            .set("spark.executor.cores", format!("{half:.0}"))
        });
    }
    all.extend(caching(ctx, stage));
    all.extend(collector(ctx, memory.local));
    all
}

/// What to do about cached objects that fill the heap.
fn caching(ctx: &Context<'_>, stage: &StageSummary) -> Option<Advice> {
    let attempt = ctx.run.stages.get(&stage.key)?;
    let cached = attempt.rdds.iter().filter(|rdd| rdd.cached && rdd.deserialized).max_by_key(|rdd| rdd.memory_size)?;
    (cached.memory_size.0 > 0).then(|| {
        Advice::text(format!(
            "{} is cached as objects ({} in memory), which every full collection walks through: cache it serialized \
             (MEMORY_ONLY_SER, MEMORY_AND_DISK_SER) or unpersist it when it is no longer read.",
            naming::rdd(ctx.run, cached.id),
            words::bytes(cached.memory_size.0 as f64),
        ))
    })
}

/// The collector, where Java 8's throughput collector runs by default.
fn collector(ctx: &Context<'_>, local: bool) -> Option<Advice> {
    let java = ctx.run.environment.jvm.get("Java Version")?;
    let key = if local { "spark.driver.extraJavaOptions" } else { "spark.executor.extraJavaOptions" };
    let options = ctx.settings.set_by_user(key).unwrap_or("");
    let chosen = ["UseG1GC", "UseConcMarkSweepGC", "UseParallelGC", "UseZGC", "UseShenandoahGC"];
    if !java.starts_with("1.8") || chosen.iter().any(|flag| options.contains(flag)) {
        return None;
    }
    let value = format!("{options} -XX:+UseG1GC").trim().to_owned();
    Some(
        Advice::text("On heaps over 4 GiB Java 8's G1 pauses for shorter times than its default collector.")
            .set(key, value),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// 16 tasks of 10 s on 4 cores, with `gc` ms of collection and `cpu` ms of CPU each.
    fn collecting(gc: u64, cpu: u64) -> RunBuilder {
        run().executor("1", 4).set("spark.executor.memory", "4g").stage(0, |stage| {
            for partition in 0..16 {
                stage.task(partition).duration_ms(10_000).metrics(10_000, cpu, gc);
            }
        })
    }

    #[test]
    fn a_third_of_the_time_in_collections_is_found() {
        let findings = check(&RULE, &collecting(3_300, 6_000));
        assert_eq!(findings.len(), 1);
        // 33 % less the 3 % that remain, of 40 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(12_000));
        assert_eq!(findings[0].savings.core_ms, Some(48_000));
        assert_eq!(findings[0].advice[0].config.get("spark.executor.memory").map(String::as_str), Some("8g"));
    }

    #[test]
    fn collections_beside_running_tasks_cost_no_more_than_the_time_off_the_cpu() {
        // 136 % of the run time by the metric, but the threads had a CPU for 80 % of it: 20 % - 3 % of 40 s.
        let findings = check(&RULE, &collecting(13_600, 8_000));
        assert_eq!(findings[0].savings.wall_clock_ms, Some(6_800));
        assert_eq!(check(&RULE, &collecting(13_600, 9_500)), []);
    }

    #[test]
    fn just_under_six_percent_is_below_the_floor() {
        // 3 % are taken to be as they should be; the other 3 % are the floor.
        assert_eq!(check(&RULE, &collecting(599, 6_000)), []);
        assert_eq!(check(&RULE, &collecting(601, 6_000)).len(), 1);
    }

    #[test]
    fn short_tasks_of_a_long_run_are_below_the_floor() {
        // 30 % of 40 s are 12 s, of 440 s 2.7 %.
        assert_eq!(check(&RULE, &collecting(3_300, 6_000).idle(400_000)), []);
    }

    #[test]
    fn all_stages_are_one_finding() {
        let mut builder = collecting(3_300, 6_000);
        for id in 1..4 {
            builder = builder.stage(id, |stage| {
                for partition in 0..8 {
                    stage.task(partition).duration_ms(5_000).metrics(5_000, 3_000, 1_500);
                }
            });
        }
        let findings = check(&RULE, &builder);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].subjects().count(), 4);
    }

    #[test]
    fn without_task_metrics_the_rule_says_so() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
