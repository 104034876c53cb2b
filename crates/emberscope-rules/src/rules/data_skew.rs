//! A few partitions hold most of the data, and their tasks set the stage's end.

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{StageStatus, TaskColumn, TaskId, TaskStatus, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::settings::Settings;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::DataSkew,
    summary: "The longest task of a stage took in many times the bytes of its siblings, and the stage waited for it.",
    documentation: include_str!("data_skew.md"),
    thresholds: &[TASK_FACTOR, DATA_FACTOR, MIN_TASKS, FLOOR],
    explained_by: &[],
    check,
};

const TASK_FACTOR: Threshold = Threshold {
    name: "task_factor",
    value: 2.5,
    unit: Unit::Ratio,
    reason: "longest over median task duration; with the data factor beside it this need not be large, and alone it would \
             be the first wave of any healthy stage (5 to 10 times slower: JIT, class loading). Set by judgement, not yet \
             calibrated on labelled runs",
};
const DATA_FACTOR: Threshold = Threshold {
    name: "data_factor",
    value: 3.0,
    unit: Unit::Ratio,
    reason: "bytes (or records) of that task over the stage's median; Spark's own skew join calls a partition skewed at 5 \
             times the median. Set by judgement, not yet calibrated on labelled runs",
};
const MIN_TASKS: Threshold = Threshold {
    name: "min_tasks",
    value: 3.0,
    unit: Unit::Count,
    reason: "a median of fewer tasks says nothing",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.02,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that an even spread would save; below it nobody gains by mending",
};

fn check(ctx: &Context<'_>) -> Outcome {
    let ran: Vec<_> = ctx.features.stages.values().filter(|stage| stage.tasks.succeeded > 0).collect();
    if ran.is_empty() {
        return Outcome::missing("successful tasks");
    }
    if ran.iter().all(|stage| stage.metric(Metric::BytesIn).is_none()) {
        return Outcome::missing("task input and shuffle metrics");
    }
    Outcome::of(ran.into_iter().filter_map(|stage| check_stage(ctx, stage)).collect())
}

fn check_stage(ctx: &Context<'_>, stage: &StageSummary) -> Option<Finding> {
    let duration = stage.quantiles(Metric::Duration)?;
    if (duration.count as f64) < ctx.threshold(&MIN_TASKS) {
        return None;
    }
    let longest = stage.longest.as_ref()?;
    let task_factor = duration.max_over_p50()?;
    // Records where bytes are even: a key with many small rows is skew too.
    let factor = |own: Option<u64>, metric: Metric| {
        let typical = stage.quantiles(metric)?.p50;
        Some((own? as f64 / typical.max(1) as f64, own?, typical)).filter(|_| typical > 0 || own.is_some_and(|own| own > 0))
    };
    let by_bytes = factor(longest.bytes_in, Metric::BytesIn);
    let by_records = factor(longest.records_in, Metric::RecordsIn);
    let (metric, (data_factor, own, typical)) = match (by_bytes, by_records) {
        (Some(bytes), Some(records)) if records.0 > bytes.0 => (Metric::RecordsIn, records),
        (Some(bytes), _) => (Metric::BytesIn, bytes),
        (None, Some(records)) => (Metric::RecordsIn, records),
        (None, None) => return None,
    };
    if !(task_factor >= ctx.threshold(&TASK_FACTOR) && data_factor >= ctx.threshold(&DATA_FACTOR)) {
        return None;
    }
    let span = stage.last_finish?.since(stage.first_launch?).0 as f64;
    let even = stage.balanced_ms().unwrap_or(0.0).max(duration.mean());
    let saved = stage.wall_clock_saving(span - even);
    if ctx.below_floor(saved, &FLOOR) {
        return None;
    }
    let name = ctx.stage_name(stage.key);
    let unit_words = |value: f64| match metric {
        Metric::RecordsIn => format!("{} records", words::count(value as u64)),
        _ => words::bytes(value),
    };
    let mut finding = Finding::new(
        Problem::DataSkew,
        confidence(task_factor / ctx.threshold(&TASK_FACTOR), data_factor / ctx.threshold(&DATA_FACTOR)),
        Subject::task(stage.key, TaskId(longest.task_id), longest.partition).named(name),
        format!(
            "partition {} of stage {} took {} while the median task took {}: it read {} where the median read {}",
            longest.partition,
            stage.key,
            words::duration(longest.duration_ms as f64),
            words::duration(duration.p50 as f64),
            unit_words(own as f64),
            unit_words(typical as f64),
        ),
    );
    finding.subject.kind = "stage-attempt";
    finding.evidence = vec![
        Evidence::number(Metric::Duration.statistic("max"), duration.max as f64, Unit::Ms)
            .over(ctx.threshold(&TASK_FACTOR) * duration.p50 as f64)
            .against(duration.p50 as f64),
        Evidence::number(metric.statistic("max"), own as f64, metric.unit())
            .over(ctx.threshold(&DATA_FACTOR) * typical as f64)
            .against(typical as f64),
        Evidence::number("skewed_partitions_count", skewed_partitions(ctx, stage, typical, metric) as f64, Unit::Count),
    ];
    finding.savings = Savings {
        wall_clock_ms: Some(saved.round() as u64),
        core_ms: stage.slots.map(|slots| (saved * slots as f64).round() as u64).map(|ms| ms.min(stage.slots.unwrap_or(0) * span as u64)),
        how: format!(
            "the stage took {}; its {} of task time spread evenly over {} would take {}",
            words::duration(span),
            words::duration(stage.task_ms() as f64),
            stage.slots.map_or_else(|| "its slots".to_owned(), |slots| format!("{slots} slots")),
            words::duration(even),
        ),
    };
    finding.advice = advice(ctx, stage);
    Some(finding)
}

/// How sure: at the thresholds 0.6, at twice both 0.9.
fn confidence(task: f64, data: f64) -> f64 {
    (0.6 + 0.3 * (task.min(data) - 1.0)).clamp(0.6, 0.95)
}

fn skewed_partitions(ctx: &Context<'_>, stage: &StageSummary, typical: u64, metric: Metric) -> usize {
    let limit = ctx.threshold(&DATA_FACTOR) * typical.max(1) as f64;
    let Some(attempt) = ctx.run.stages.get(&stage.key) else { return 0 };
    let skewed = attempt.tasks.rows().filter(|task| {
        task.get(TaskColumn::Status) == Some(TaskStatus::Success.code())
            && metric.of(task).is_some_and(|value| value as f64 >= limit)
    });
    skewed.count()
}

fn advice(ctx: &Context<'_>, stage: &StageSummary) -> Vec<Advice> {
    let settings = ctx.settings.for_stage(stage.key);
    let reads_shuffle = stage.sum(Metric::ShuffleReadBytes).unwrap_or(0) > stage.sum(Metric::InputBytes).unwrap_or(0);
    let sql = ctx.run.stages.get(&stage.key).and_then(|attempt| attempt.sql_execution_id);
    let plan_has = |word: &str| {
        let execution = sql.and_then(|id| ctx.run.sql_executions.get(&id));
        execution.is_some_and(|execution| execution.nodes().iter().any(|node| node.name.contains(word)))
    };
    let mut all = Vec::new();
    if !reads_shuffle {
        all.push(Advice::text(
            "The skew is in the input: some files or blocks are much larger than the others. Write them in a format that \
             can be split (Parquet, ORC, uncompressed or bzip2 text, not gzip), or repartition right after reading.",
        ));
        return all;
    }
    if sql.is_some() && (plan_has("SortMergeJoin") || plan_has("ShuffledHashJoin")) {
        all.extend(skew_join(&settings));
    }
    all.push(Advice::text(
        "Find the hot key (count rows by the join or grouping key, the largest ten) and treat it apart: add a random salt \
         of n values to the key of the large side and repeat the small side n times, or aggregate in two steps (by key \
         and salt, then by key). A null key that matches nothing is best filtered out before the join.",
    ));
    if stage.status == StageStatus::Complete && plan_has("SortMergeJoin") {
        all.push(Advice::text("If one side of the join fits in memory, broadcast it: then no key decides where rows go."));
    }
    all
}

/// What is missing for adaptive execution to split the skewed partitions by itself.
fn skew_join(settings: &Settings<'_>) -> Option<Advice> {
    let adaptive = settings.boolean("spark.sql.adaptive.enabled");
    let skew_join = settings.boolean("spark.sql.adaptive.skewJoin.enabled");
    if adaptive == Some(false) || skew_join == Some(false) {
        let mut advice = Advice::text("Let adaptive execution split skewed partitions of the join.");
        if adaptive == Some(false) {
            advice = advice.set("spark.sql.adaptive.enabled", "true");
        }
        if skew_join == Some(false) {
            advice = advice.set("spark.sql.adaptive.skewJoin.enabled", "true");
        }
        return Some(advice);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, run};

    /// 16 tasks on 4 cores: one partition has `factor` times the 10 MB and the 1,000 ms of the others.
    fn skewed(factor: u64) -> crate::testing::RunBuilder {
        run().executor("1", 4).stage(0, |stage| {
            for partition in 0..16 {
                let scale = if partition == 7 { factor } else { 1 };
                stage.task(partition).duration_ms(1_000 * scale).shuffle_read(10_000_000 * scale, 1_000 * scale);
            }
        })
    }

    #[test]
    fn a_partition_with_ten_times_the_data_is_found_and_named() {
        let findings = check(&RULE, &skewed(10));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].subject.partition, Some(7));
        // 25 s of task time over 4 slots is 6.25 s; the stage takes 11 s (partition 7 starts in the second wave).
        assert_eq!(findings[0].savings.wall_clock_ms, Some(11_000 - 6_250));
    }

    #[test]
    fn twice_the_data_is_no_skew() {
        assert_eq!(check(&RULE, &skewed(2)), []);
    }

    #[test]
    fn a_slow_task_with_as_much_data_as_the_others_is_no_skew() {
        let run = run().executor("1", 4).stage(0, |stage| {
            for partition in 0..16 {
                let scale = if partition == 7 { 10 } else { 1 };
                stage.task(partition).duration_ms(1_000 * scale).shuffle_read(10_000_000, 1_000);
            }
        });
        assert_eq!(check(&RULE, &run), []);
    }

    #[test]
    fn without_any_metrics_the_rule_says_what_it_lacks() {
        let run = run().executor("1", 4).stage(0, |stage| {
            (0..4).for_each(|partition| {
                stage.task(partition).duration_ms(1_000);
            });
        });
        assert!(matches!(crate::testing::outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
