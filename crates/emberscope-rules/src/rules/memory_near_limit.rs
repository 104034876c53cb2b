//! Peak use of memory comes close to what kills the process.

use std::collections::BTreeMap;

use emberscope_extract::features::ExecutorSummary;
use emberscope_run::{Executor, TaskColumn, Unit};

use crate::deployment::{self, AskedMemory};
use crate::finding::{Advice, Evidence, Finding, Harm, Savings, Subject};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::memory::polled;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::MemoryNearLimit,
    summary: "An executor's peak memory came close to its container's limit, or its heap was full and collecting.",
    documentation: include_str!("memory_near_limit.md"),
    thresholds: &[CONTAINER_SHARE, UNLIMITED_SHARE, HEAP_SHARE, GC_SHARE, MARGIN, FLOOR],
    explained_by: &[Problem::ExecutorOom, Problem::GcPressure],
    check,
};

const CONTAINER_SHARE: Threshold = Threshold {
    name: "container_share",
    value: 0.9,
    unit: Unit::Ratio,
    reason: "peak resident memory of the executor's processes over its container: the peak is polled every few seconds and \
             the limit acts at once. Set by judgement, not yet calibrated on labelled runs",
};
const UNLIMITED_SHARE: Threshold = Threshold {
    name: "unlimited_share",
    value: 1.03,
    unit: Unit::Ratio,
    reason: "the same where nothing limits a process: only what would have ended it elsewhere, and not by a hair. Set on the training \
             families of datasets/lab (`emberscope calibrate`)",
};
const HEAP_SHARE: Threshold = Threshold {
    name: "heap_share",
    value: 0.85,
    unit: Unit::Ratio,
    reason: "peak heap in use over the heap; alone it means little, as a healthy collector lets the heap fill up. \
             Set on the training families of datasets/lab (`emberscope calibrate`)",
};
const GC_SHARE: Threshold = Threshold {
    name: "gc_share",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "garbage collection over run time that makes a full heap a shortage: half of that from which Spark's own web page \
             marks executors red (`executorspage.js`, GCTimePercent). Set on the training families of datasets/lab \
             (`emberscope calibrate`)",
};
const MARGIN: Threshold = Threshold {
    name: "margin",
    value: 1.2,
    unit: Unit::Ratio,
    reason: "advised limit over the peak. Set by judgement, which no labelled run of datasets/lab decides \
             (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.01,
    unit: Unit::Ratio,
    reason: "share of the run's task time that ran on the executors near their limit, which would be lost with \
             them. Set by judgement, which no labelled run of datasets/lab decides (`emberscope calibrate`)",
};

/// Which limit is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Limit {
    Container,
    Heap,
}

struct Near<'a> {
    executor: &'a Executor,
    peak: u64,
    limit: u64,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if ctx.run.worker_executors().all(|executor| executor.peaks.is_empty()) {
        return Outcome::missing("peak memory of executors (Spark 3.0 on)");
    }
    let Some(asked) = deployment::asked_memory(ctx.run, ctx.settings) else {
        return Outcome::missing("what memory was asked for");
    };
    let mut near: BTreeMap<Limit, Vec<Near<'_>>> = BTreeMap::new();
    let share = container_share(ctx);
    for executor in ctx.run.worker_executors() {
        if let Some(container) = asked.container()
            && let Some(peak) = resident(executor)
            && peak as f64 >= share * container as f64
        {
            near.entry(Limit::Container).or_default().push(Near { executor, peak, limit: container });
            continue;
        }
        let Some(peak) = polled(&executor.peaks, TaskColumn::PeakJvmHeap) else { continue };
        let collecting = ctx.features.executors.get(&executor.id).and_then(ExecutorSummary::gc_ratio);
        if peak as f64 >= ctx.threshold(&HEAP_SHARE) * asked.heap as f64
            && collecting.is_some_and(|share| share >= ctx.threshold(&GC_SHARE))
        {
            near.entry(Limit::Heap).or_default().push(Near { executor, peak, limit: asked.heap });
        }
    }
    Outcome::of(near.into_iter().filter_map(|(limit, executors)| finding(ctx, limit, &executors, asked)).collect())
}

/// From which share of its container on an executor is near. Where nothing watches over processes, only what would have ended
/// one elsewhere is told.
fn container_share(ctx: &Context<'_>) -> f64 {
    let share = ctx.threshold(&CONTAINER_SHARE);
    if deployment::is_standalone(ctx.run) { share.max(ctx.threshold(&UNLIMITED_SHARE)) } else { share }
}

/// Resident memory of all processes of an executor at their peaks; `None` when it was not polled
/// (`spark.executor.processTreeMetrics.enabled`).
fn resident(executor: &Executor) -> Option<u64> {
    let jvm = polled(&executor.peaks, TaskColumn::PeakTreeJvmRss)?;
    let more = [TaskColumn::PeakTreePythonRss, TaskColumn::PeakTreeOtherRss];
    Some(more.iter().filter_map(|&column| executor.peaks.get(column)).fold(jvm, u64::saturating_add))
}

fn finding(ctx: &Context<'_>, limit: Limit, executors: &[Near<'_>], asked: AskedMemory) -> Option<Finding> {
    let worked: u64 = executors
        .iter()
        .filter_map(|near| ctx.features.executors.get(&near.executor.id))
        .map(|summary| summary.task_ms)
        .fold(0, u64::saturating_add);
    let all = ctx.features.timeline.task_ms.max(1);
    if !ctx.reaches(worked as f64 / all as f64, &FLOOR) {
        return None;
    }
    let worst = executors.iter().max_by(|a, b| a.peak.cmp(&b.peak).then_with(|| b.executor.id.cmp(&a.executor.id)))?;
    let share = worst.peak as f64 / worst.limit.max(1) as f64;
    let others = match executors.len() {
        1 => String::new(),
        2 => " (and another executor)".to_owned(),
        many => format!(" (and {} other executors)", many - 1),
    };
    let watched = !deployment::is_standalone(ctx.run);
    let summary = match limit {
        Limit::Container if !watched => format!(
            "executor {}{others} used {}, {} of the {} that its heap and overhead are together: nothing ends it for that here, but a \
             container of YARN or Kubernetes would have been killed",
            worst.executor.id,
            words::bytes(worst.peak as f64),
            words::percent(share),
            words::bytes(worst.limit as f64),
        ),
        Limit::Container => format!(
            "executor {}{others} used {} of the {} that its container may have ({}): beyond it the container is killed",
            worst.executor.id,
            words::bytes(worst.peak as f64),
            words::bytes(worst.limit as f64),
            words::percent(share)
        ),
        Limit::Heap => format!(
            "executor {}{others} had {} of its {} heap in use ({}) and spent {} of its run time collecting garbage: a little more \
             data ends in OutOfMemoryError",
            worst.executor.id,
            words::bytes(worst.peak as f64),
            words::bytes(worst.limit as f64),
            words::percent(share),
            words::percent(
                ctx.features.executors.get(&worst.executor.id).and_then(ExecutorSummary::gc_ratio).unwrap_or(0.0)
            )
        ),
    };
    let mut finding = Finding::new(
        Problem::MemoryNearLimit,
        if limit == Limit::Container { 0.85 } else { 0.7 },
        Subject::executor(&worst.executor.id),
        summary,
    );
    finding.more_subjects = executors
        .iter()
        .filter(|near| near.executor.id != worst.executor.id)
        .map(|near| Subject::executor(&near.executor.id))
        .collect();
    finding.harm = if limit == Limit::Container && !watched { Harm::None } else { Harm::RiskOfFailure };
    let (feature, near_from) = match limit {
        Limit::Container => ("peak_resident_memory_bytes", container_share(ctx)),
        Limit::Heap => ("peak_jvm_heap_memory_bytes", ctx.threshold(&HEAP_SHARE)),
    };
    finding.evidence = vec![
        Evidence::number(feature, worst.peak as f64, Unit::Bytes).over(near_from * worst.limit as f64),
        Evidence::number("executors_near_limit_count", executors.len() as f64, Unit::Count),
    ];
    for column in [TaskColumn::PeakJvmHeap, TaskColumn::PeakTreeJvmRss, TaskColumn::PeakTreePythonRss] {
        if let Some(value) = polled(&worst.executor.peaks, column).filter(|_| column.name() != feature) {
            finding.evidence.push(Evidence::number(column.name(), value as f64, Unit::Bytes));
        }
    }
    finding.savings = Savings {
        wall_clock_ms: Some(0),
        core_ms: None,
        how: format!(
            "nothing was lost this time; {} of task time ran on these executors and would be at risk",
            words::duration(worked as f64)
        ),
    };
    finding.advice = match limit {
        Limit::Container => container_advice(ctx, worst, asked, watched),
        Limit::Heap => heap_advice(ctx, worst),
    };
    Some(finding)
}

fn container_advice(ctx: &Context<'_>, worst: &Near<'_>, asked: AskedMemory, watched: bool) -> Vec<Advice> {
    let overhead = asked.overhead.unwrap_or(0);
    let new = worst.peak as f64 * ctx.threshold(&MARGIN) - (worst.limit - overhead.min(worst.limit)) as f64;
    let new = new.max(overhead as f64 + 268_435_456.0);
    let python = polled(&worst.executor.peaks, TaskColumn::PeakTreePythonRss).filter(|&python| python > 0);
    let give = if watched { "Give the container" } else { "Where containers are limited, give them" };
    let mut text = format!(
        "{give} more beyond the heap: peak {} x {} less {} for the heap and the rest is {}; it has {} now.",
        words::bytes(worst.peak as f64),
        ctx.threshold(&MARGIN),
        words::bytes((worst.limit - overhead.min(worst.limit)) as f64),
        words::bytes(new),
        words::bytes(overhead as f64)
    );
    if let Some(python) = python {
        text.push_str(&format!(
            " Python workers took {} of the peak, and no heap setting holds them.",
            words::bytes(python as f64)
        ));
    }
    let mut advice = Advice::text(text);
    if watched {
        advice = advice.set(deployment::overhead_key(ctx.run), words::spark_memory(new));
    }
    let mut all = vec![advice];
    let heap_peak = polled(&worst.executor.peaks, TaskColumn::PeakJvmHeap);
    if heap_peak.is_some_and(|peak| (peak as f64) < 0.6 * asked.heap as f64) {
        all.push(Advice::text(format!(
            "Or take it from the heap: at most {} of its {} were in use.",
            words::bytes(heap_peak.unwrap_or(0) as f64),
            words::bytes(asked.heap as f64)
        )));
    }
    all
}

fn heap_advice(ctx: &Context<'_>, worst: &Near<'_>) -> Vec<Advice> {
    let new = worst.limit as f64 * 1.5;
    let mut all = vec![
        Advice::text(format!(
            "Raise the heap from {} by half, to {}.",
            words::bytes(worst.limit as f64),
            words::bytes(new)
        ))
        .set(deployment::heap_key(ctx.run), words::spark_memory(new)),
    ];
    if let Some(cores) =
        deployment::cores_per_executor(ctx.run).filter(|&cores| cores > 1 && !deployment::is_local(ctx.run))
    {
        all.push(
            Advice::text(format!("Or let {} instead of {cores} tasks share it.", cores / 2))
                .set("spark.executor.cores", (cores / 2).to_string()),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};
    use emberscope_run::ExecutorId;

    const MIB: u64 = 1 << 20;

    /// One executor of 4 GiB heap and 10 % = 409.6 MiB overhead, 4505.6 MiB in all.
    fn peaks(values: &'static [(TaskColumn, u64)], gc_ms: u64) -> RunBuilder {
        run()
            .set("spark.master", "yarn")
            .set("spark.executor.memory", "4g")
            .executor("1", 4)
            .stage(0, move |stage| {
                stage.task(0).duration_ms(10_000).metrics(10_000, 8_000, gc_ms);
            })
            .with(move |run| {
                if let Some(executor) = run.executors.get_mut(&ExecutorId::from("1")) {
                    values.iter().for_each(|&(column, value)| executor.peaks.raise(column, value));
                }
            })
    }

    #[test]
    fn a_process_at_95_percent_of_its_container_is_a_risk() {
        let findings = check(
            &RULE,
            &peaks(&[(TaskColumn::PeakTreeJvmRss, 3_300 * MIB), (TaskColumn::PeakTreePythonRss, 1_000 * MIB)], 0),
        );
        assert_eq!(findings[0].harm, Harm::RiskOfFailure);
        // 4,300 MiB x 1.2 = 5,160 MiB less 4,096 MiB of heap.
        assert_eq!(findings[0].advice[0].config["spark.executor.memoryOverhead"], "1064m");
        assert!(findings[0].advice[0].text.contains("Python workers took 1000 MiB"), "{}", findings[0].advice[0].text);
    }

    #[test]
    fn where_nothing_watches_over_processes_it_is_no_risk_and_has_no_setting() {
        let near = peaks(&[(TaskColumn::PeakTreeJvmRss, 3_300 * MIB), (TaskColumn::PeakTreePythonRss, 1_000 * MIB)], 0);
        assert_eq!(check(&RULE, &near.set("spark.master", "spark://h:7077")), []);
        // 4,600 of 4,505.6 MiB are 102 %, 4,650 are 103.2 %.
        let hair = peaks(&[(TaskColumn::PeakTreeJvmRss, 3_600 * MIB), (TaskColumn::PeakTreePythonRss, 1_000 * MIB)], 0);
        assert_eq!(check(&RULE, &hair.set("spark.master", "spark://h:7077")), []);
        let over = peaks(&[(TaskColumn::PeakTreeJvmRss, 3_650 * MIB), (TaskColumn::PeakTreePythonRss, 1_000 * MIB)], 0);
        let findings = check(&RULE, &over.set("spark.master", "spark://h:7077"));
        assert_eq!(findings[0].harm, Harm::None);
        assert!(findings[0].summary.contains("nothing ends it for that here"), "{}", findings[0].summary);
        assert!(findings[0].advice.iter().all(|advice| advice.config.is_empty()));
    }

    #[test]
    fn a_process_at_89_percent_is_not() {
        // 0.89 x 4,505.6 = 4,010 MiB.
        assert_eq!(check(&RULE, &peaks(&[(TaskColumn::PeakTreeJvmRss, 4_010 * MIB)], 0)), []);
    }

    #[test]
    fn a_full_heap_counts_only_when_it_is_being_collected() {
        const FULL: &[(TaskColumn, u64)] = &[(TaskColumn::PeakJvmHeap, 4_000 * MIB)];
        assert_eq!(check(&RULE, &peaks(FULL, 499)), []);
        let findings = check(&RULE, &peaks(FULL, 500));
        assert_eq!(findings[0].advice[0].config["spark.executor.memory"], "6g");
    }

    #[test]
    fn without_peaks_the_rule_is_skipped() {
        assert!(matches!(outcome(&RULE, &peaks(&[], 0)), Outcome::Skipped { .. }));
    }
}
