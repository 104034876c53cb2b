//! Executors hold memory that nothing ever used.

use emberscope_run::{TaskColumn, Unit};

use crate::deployment::{self, Manager};
use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::memory::polled;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::UnusedMemory,
    summary: "The peak use of memory stayed far below what was asked for.",
    documentation: include_str!("unused_memory.md"),
    thresholds: &[FLOOR, MIN_UNUSED, MARGIN, MIN_LIFE],
    explained_by: &[],
    check,
};

const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.4,
    unit: Unit::Ratio,
    reason: "share of the heap asked for that could be given back with the margin kept (this costs money, not \
             wall-clock time). Set by judgement, not contradicted by the training families of datasets/lab \
             (`emberscope calibrate`)",
};
const MIN_UNUSED: Threshold = Threshold {
    name: "min_unused_bytes",
    value: 536_870_912.0,
    unit: Unit::Bytes,
    reason: "bytes of one executor that could be given back: half a GiB makes room for another task somewhere. \
             Set on the training families of datasets/lab (`emberscope calibrate`)",
};
const MARGIN: Threshold = Threshold {
    name: "margin",
    value: 1.5,
    unit: Unit::Ratio,
    reason: "advised heap over the peak in use: the peak is polled and misses moments, the next run has more \
             data, and a collector needs room. Set by judgement, not contradicted by the training families of \
             datasets/lab (`emberscope calibrate`)",
};
const MIN_LIFE: Threshold = Threshold {
    name: "min_life_ms",
    value: 60_000.0,
    unit: Unit::Ms,
    reason: "life of an executor whose peak counts: in a shorter one the heap has not been filled once. Less \
             where spark.executor.metrics.pollingInterval has it polled more often than at each heartbeat: 16 \
             polls. Set by judgement",
};

/// Polls of an executor's memory after which its peak counts.
const POLLS: f64 = 16.0;

/// The least heap that is advised: Spark's own default.
const LEAST_HEAP: f64 = 1_073_741_824.0;

fn check(ctx: &Context<'_>) -> Outcome {
    if deployment::is_local(ctx.run) {
        return Outcome::Clear;
    }
    let Some(asked) = deployment::asked_memory(ctx.run, ctx.settings) else {
        return Outcome::missing("what memory was asked for");
    };
    // Where the peak is polled more often it is known sooner.
    let polling = ctx.settings.time_ms("spark.executor.metrics.pollingInterval").filter(|&ms| ms > 0);
    let least_life_ms = polling.map_or(ctx.threshold(&MIN_LIFE), |ms| ctx.threshold(&MIN_LIFE).min(ms as f64 * POLLS));
    let mut peaks = Vec::new();
    let (mut lived, mut life_ms) = (0_u64, 0_u64);
    for executor in ctx.run.worker_executors() {
        let life = ctx.features.executors.get(&executor.id).and_then(|summary| summary.lifetime_ms).unwrap_or(0);
        if (life as f64) < least_life_ms {
            continue;
        }
        lived += 1;
        life_ms = life_ms.saturating_add(life);
        peaks.extend(polled(&executor.peaks, TaskColumn::PeakJvmHeap));
    }
    if lived == 0 && ctx.run.worker_executors().any(|executor| !executor.peaks.is_empty()) {
        return Outcome::Clear;
    }
    // The largest user may be among those that do not say.
    if (peaks.len() as u64).saturating_mul(2) <= lived || peaks.is_empty() {
        return Outcome::missing(
            "peak memory of most executors (spark.eventLog.logStageExecutorMetrics, Spark 3.0 on)",
        );
    }
    let Some(&peak) = peaks.iter().max() else { return Outcome::Clear };
    let new = (peak as f64 * ctx.threshold(&MARGIN)).max(LEAST_HEAP);
    let unused = asked.heap as f64 - new;
    if !ctx.reaches(unused / asked.heap as f64, &FLOOR) || unused < ctx.threshold(&MIN_UNUSED) {
        return Outcome::Clear;
    }
    Outcome::Found(vec![finding(ctx, asked.heap, peak, new, life_ms, peaks.len())])
}

fn finding(ctx: &Context<'_>, heap: u64, peak: u64, new: f64, life_ms: u64, known: usize) -> Finding {
    // Whole GiB where the heap is large, else quarters: nobody asks for 7,313 MiB.
    let gib = 1_073_741_824.0;
    let step = if new > 4.0 * gib { gib } else { gib / 4.0 };
    let new = (new / step).ceil() * step;
    let mut finding = Finding::new(
        Problem::UnusedMemory,
        0.8,
        Subject::run(),
        format!(
            "no executor ever had more than {} of its {} heap in use: {} would hold that with half as much again to spare",
            words::bytes(peak as f64),
            words::bytes(heap as f64),
            words::bytes(new),
        ),
    );
    finding.evidence = vec![
        Evidence::number("peak_jvm_heap_memory_max_bytes", peak as f64, Unit::Bytes).against(heap as f64),
        Evidence::number("executors_with_peaks_count", known as f64, Unit::Count),
    ];
    for column in [TaskColumn::PeakOnHeapUnified, TaskColumn::PeakTreeJvmRss] {
        if let Some(value) = ctx.run.worker_executors().filter_map(|executor| polled(&executor.peaks, column)).max() {
            finding.evidence.push(Evidence::number(column.name(), value as f64, Unit::Bytes));
        }
    }
    let gib_hours = (heap as f64 - new) / gib * life_ms as f64 / 3_600_000.0;
    finding.savings = Savings {
        wall_clock_ms: None,
        core_ms: None,
        how: format!(
            "{} less for each executor over {} of executors' lives are {gib_hours:.1} GiB hours (this saves memory, not time)",
            words::bytes(heap as f64 - new),
            words::duration(life_ms as f64)
        ),
    };
    let key = deployment::heap_key(ctx.run);
    let fits = Advice::text(format!(
        "Ask for {} of heap: the largest peak, {}, times {}, and at least 1 GiB.",
        words::bytes(new),
        words::bytes(peak as f64),
        ctx.threshold(&MARGIN)
    ));
    let mut advice = vec![if deployment::manager(ctx.run) == Manager::Databricks {
        Advice::text("Databricks sizes the heap by the worker: choose a worker type with less memory for its cores.")
    } else {
        fits.set(key, words::spark_memory(new))
    }];
    if let Some(cores) = deployment::cores_per_executor(ctx.run) {
        advice.push(Advice::text(format!(
            "Or keep the memory and use it: {cores} tasks at once never filled it, so the same executor can run more of them, \
             and fewer executors are needed.",
        )));
    }
    finding.advice = advice;
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};
    use emberscope_run::ExecutorId;

    const GIB: u64 = 1 << 30;

    /// Two executors with 16 GiB of heap for 100 s and these peaks.
    fn peaks(first: Option<u64>, second: Option<u64>) -> RunBuilder {
        run()
            .set("spark.master", "yarn")
            .set("spark.executor.memory", "16g")
            .executor("1", 4)
            .executor("2", 4)
            .stage(0, |stage| {
                stage.task(0).duration_ms(100_000);
            })
            .with(move |run| {
                for (id, peak) in [("1", first), ("2", second)] {
                    if let (Some(executor), Some(peak)) = (run.executors.get_mut(&ExecutorId::from(id)), peak) {
                        executor.peaks.raise(TaskColumn::PeakJvmHeap, peak);
                    }
                }
            })
    }

    #[test]
    fn three_of_sixteen_gibibytes_ask_for_five() {
        let findings = check(&RULE, &peaks(Some(3 * GIB), Some(2 * GIB)));
        // 3 GiB x 1.5 = 4.5 GiB, in whole GiB 5.
        assert_eq!(findings[0].advice[0].config["spark.executor.memory"], "5g");
        // (16 - 5) GiB for 200 s are 11 x 200 / 3600 = 0.6 GiB hours.
        assert!(findings[0].savings.how.contains("0.6 GiB hours"), "{}", findings[0].savings.how);
    }

    #[test]
    fn resident_memory_that_was_not_polled_is_left_out() {
        let facts = |rss: u64| {
            let builder = peaks(Some(3 * GIB), Some(2 * GIB)).with(move |run| {
                run.executors.values_mut().for_each(|one| one.peaks.raise(TaskColumn::PeakTreeJvmRss, rss));
            });
            let findings = check(&RULE, &builder);
            findings[0].evidence.iter().any(|fact| fact.feature == TaskColumn::PeakTreeJvmRss.name())
        };
        assert_eq!((facts(0), facts(4 * GIB)), (false, true));
    }

    #[test]
    fn one_executor_that_needs_its_memory_is_enough_to_keep_it() {
        // 6.5 GiB x 1.5 = 9.75 GiB: 39 % could be given back, under 40 %.
        assert_eq!(check(&RULE, &peaks(Some(13 * GIB / 2), Some(GIB))), []);
        // 5.3 GiB x 1.5 is just under 8 GiB.
        assert_eq!(check(&RULE, &peaks(Some(53 * GIB / 10), Some(GIB))).len(), 1);
    }

    #[test]
    fn without_peaks_of_most_executors_the_rule_is_skipped() {
        assert!(matches!(outcome(&RULE, &peaks(None, None)), Outcome::Skipped { .. }));
        assert!(matches!(outcome(&RULE, &peaks(Some(GIB), None)), Outcome::Skipped { .. }));
    }

    #[test]
    fn a_heap_that_the_log_does_not_show_is_not_taken_for_the_default() {
        let builder = run().set("spark.master", "yarn").executor("1", 4).stage(0, |stage| {
            stage.task(0).duration_ms(100_000);
        });
        let builder = builder.with(|run| {
            if let Some(executor) = run.executors.get_mut(&ExecutorId::from("1")) {
                executor.max_memory = Some(emberscope_run::Bytes(9 * GIB));
                executor.peaks.raise(TaskColumn::PeakJvmHeap, GIB / 2);
            }
        });
        assert!(matches!(outcome(&RULE, &builder), Outcome::Skipped { .. }));
    }
}
