//! A few partitions hold most of the data, and their tasks set the stage's end.

mod advice;

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{TaskColumn, TaskId, TaskStatus, Unit};

use crate::finding::{Evidence, Finding, Savings};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
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
    value: 2.0,
    unit: Unit::Ratio,
    reason: "longest over median task duration; with the data factor beside it this need not be large, and alone \
             it would be the first wave of any healthy stage (5 to 10 times slower: JIT, class loading). Set by \
             judgement. The training families of datasets/lab would lose nothing by 2.8 (`emberscope calibrate`) but three \
             alarms in runs of few tasks, whose remarks say that they are true",
};
const DATA_FACTOR: Threshold = Threshold {
    name: "data_factor",
    value: 3.0,
    unit: Unit::Ratio,
    reason: "bytes (or records) of that task over the stage's median; Spark's own skew join calls a partition \
             skewed at 5 times the median. Set by judgement, not contradicted by the training families of \
             datasets/lab (`emberscope calibrate`)",
};
const MIN_TASKS: Threshold = Threshold {
    name: "min_tasks",
    value: 3.0,
    unit: Unit::Count,
    reason: "a median of fewer tasks says nothing. Skewed stages of the training families of datasets/lab have 12 tasks or \
                 more, and would be told by 8 as well (`emberscope calibrate`), with four alarms less; but where cores are few, stages have few \
                 tasks, and it costs the same",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.01,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that an even spread would save; below it nobody gains by mending. \
             Set on the training families of datasets/lab (`emberscope calibrate`)",
};

fn check(ctx: &Context<'_>) -> Outcome {
    let ran =
        match ctx.stages_that_ran(|stage| stage.metric(Metric::BytesIn).is_some(), "task input and shuffle metrics") {
            Ok(ran) => ran,
            Err(skipped) => return skipped,
        };
    Outcome::of(ran.into_iter().filter_map(|stage| check_stage(ctx, stage)).collect())
}

fn check_stage(ctx: &Context<'_>, stage: &StageSummary) -> Option<Finding> {
    // A later attempt runs only the partitions that are missing, for another reason.
    if stage.key.attempt > 0 {
        return None;
    }
    let duration = stage.quantiles(Metric::Duration)?;
    if (duration.count as f64) < ctx.threshold(&MIN_TASKS) {
        return None;
    }
    let longest = stage.longest.as_ref()?;
    let task_factor = duration.max_over_p50()?;
    // Records where bytes are even: a key with many small rows is skew too.
    let factor = |own: Option<u64>, metric: Metric| {
        let typical = stage.quantiles(metric)?.p50;
        // Where the median is empty the data are in a few partitions because there are too many, not because of a key.
        Some((own? as f64 / typical as f64, own?, typical)).filter(|_| typical > 0)
    };
    let by_bytes = factor(longest.bytes_in, Metric::BytesIn);
    // What comes from a cache counts batches as records, and what is computed instead rows.
    let from_cache = ctx.run.stages.get(&stage.key).is_some_and(|attempt| attempt.rdds.iter().any(|rdd| rdd.cached))
        && stage.sum(Metric::ShuffleReadBytes).unwrap_or(0) <= stage.sum(Metric::InputBytes).unwrap_or(0);
    let by_records = factor(longest.records_in, Metric::RecordsIn).filter(|_| !from_cache);
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
    let unit_words = |value: f64| match metric {
        Metric::RecordsIn => format!("{} records", words::count(value as u64)),
        _ => words::bytes(value),
    };
    let mut finding = Finding::new(
        Problem::DataSkew,
        confidence(task_factor / ctx.threshold(&TASK_FACTOR), data_factor / ctx.threshold(&DATA_FACTOR)),
        ctx.task_subject(stage.key, TaskId(longest.task_id), longest.partition),
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
        Evidence::number("large_partitions_count", skewed_partitions(ctx, stage, typical, metric) as f64, Unit::Count),
    ];
    finding.savings = Savings {
        wall_clock_ms: Some(saved.round() as u64),
        core_ms: stage
            .slots
            .map(|slots| (saved * slots as f64).round() as u64)
            .map(|ms| ms.min(stage.slots.unwrap_or(0).saturating_mul(span as u64))),
        how: format!(
            "the stage took {}; its {} of task time spread evenly over {} would take {}",
            words::duration(span),
            words::duration(stage.task_ms() as f64),
            stage.slots.map_or_else(|| "its slots".to_owned(), |slots| format!("{slots} slots")),
            words::duration(even),
        ),
    };
    let shuffle = advice::shuffle_of(ctx, stage);
    if let Some(shuffle) = shuffle.as_ref().filter(|shuffle| !shuffle.key.is_empty()) {
        finding.evidence.push(Evidence::text("shuffle_key", shuffle.key.join(", ")));
    }
    finding.advice = advice::advice(ctx, stage, shuffle.as_ref());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlanNodeExt, check, run};

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
    fn what_a_cache_gives_is_not_counted_in_records() {
        let scan = |cached: bool| {
            run().executor("1", 4).stage(0, |stage| {
                for partition in 0..16 {
                    // Partition 7 is computed again: rows, where the others read batches of as many bytes.
                    let (ms, records) = if partition == 7 { (10_000, 50_000) } else { (1_000, 6) };
                    stage.task(partition).duration_ms(ms).input(2_000_000, records);
                }
                stage.with(move |attempt| {
                    attempt.rdds.push(emberscope_run::RddInfo { cached, ..Default::default() });
                });
            })
        };
        assert_eq!(check(&RULE, &scan(false)).len(), 1);
        assert_eq!(check(&RULE, &scan(true)), []);
    }

    #[test]
    fn a_later_attempt_that_runs_what_is_missing_is_no_measure() {
        let retried = skewed(10).stage_attempt(0, 1, |stage| {
            for partition in 0..16 {
                let scale = if partition == 7 { 10 } else { 1 };
                stage.task(partition).duration_ms(1_000 * scale).shuffle_read(10_000_000 * scale, 1_000 * scale);
            }
        });
        assert_eq!(check(&RULE, &retried).len(), 1);
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
    fn uneven_tasks_over_parquet_are_told_by_row_groups_and_not_to_become_parquet() {
        let scan = crate::testing::node(
            "Scan parquet  | FileScan parquet [a#1] Format: Parquet, Location: InMemoryFileIndex(1 paths)[s3://t], ReadSchema: x",
        );
        let plan = scan.metric("number of output rows", 10);
        let builder = run().executor("1", 4).sql(0, plan).sql_stage(0, 0, &[0], |stage| {
            for partition in 0..16 {
                let scale = if partition == 7 { 10 } else { 1 };
                stage.task(partition).duration_ms(1_000 * scale).input(5_242_880 * scale, 1_000 * scale);
            }
        });
        let advice = &check(&RULE, &builder)[0].advice[0].text;
        assert!(
            advice.contains("Write the files with row groups well under 50.0 MiB (parquet.block.size)"),
            "{advice}"
        );
        assert!(!advice.contains("Parquet, ORC"), "{advice}");
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

    /// The skewed stage as part of a SQL execution whose plan is `consumer` over a shuffle by `user_id`.
    fn skewed_in_sql(consumer: &str) -> crate::testing::RunBuilder {
        use emberscope_run::{
            AccumulatorId, JobId, PlanMetric, PlanNode, SqlExecution, SqlExecutionId, StageId, StageKey,
        };
        let metric = PlanMetric {
            name: "records read".into(),
            accumulator_id: AccumulatorId(5),
            kind: "sum".into(),
            value: Some(25_000),
        };
        let exchange = PlanNode {
            id: 1,
            name: "Exchange".to_owned(),
            description: "Exchange hashpartitioning(user_id#12L, 200), ENSURE_REQUIREMENTS, [plan_id=7]".to_owned(),
            metrics: vec![metric],
            ..PlanNode::default()
        };
        let plan = PlanNode { name: consumer.to_owned(), children: vec![exchange], ..PlanNode::default() };
        skewed(10).with(move |run| {
            let id = SqlExecutionId(3);
            let mut execution = SqlExecution { id, plan: Some(plan), ..SqlExecution::default() };
            execution.job_ids.insert(JobId(0));
            run.sql_executions.insert(id, execution);
            let key = StageKey { stage_id: StageId(0), attempt: 0 };
            if let Some(stage) = run.stages.get_mut(&key) {
                stage.sql_execution_id = Some(id);
                stage.accumulators.insert(AccumulatorId(5));
            }
        })
    }

    #[test]
    fn the_key_is_named_where_the_plan_shows_it_and_a_window_gets_no_setting() {
        let findings = check(&RULE, &skewed_in_sql("Window"));
        let advice = &findings[0].advice;
        assert_eq!(advice.len(), 1);
        assert!(advice[0].text.contains("spread by user_id"), "{}", advice[0].text);
        assert!(advice[0].text.contains("window") && advice[0].config.is_empty());
    }

    #[test]
    fn a_join_below_the_threshold_of_adaptive_execution_is_told_a_threshold_between_median_and_largest() {
        let findings = check(&RULE, &skewed_in_sql("SortMergeJoin"));
        let config = &findings[0].advice[0].config;
        // The median reads 10 MB, the largest 100 MB: the square root of their product is 31.6 MB, 31 MiB rounded up.
        let key = "spark.sql.adaptive.skewJoin.skewedPartitionThresholdInBytes";
        assert_eq!(config.get(key).map(String::as_str), Some("31m"));
    }

    #[test]
    fn a_join_whose_partitioning_is_relied_on_has_to_be_forced() {
        const MERGING: &str = "HashAggregate(keys=[user_id#12L], functions=[merge_sum(x#3)])";
        const PARTIAL: &str = "HashAggregate(keys=[day#2], functions=[partial_sum(x#3)])";
        const DISTINCT: &str = "HashAggregate(keys=[day#2], functions=[])";
        let force = "spark.sql.adaptive.forceOptimizeSkewedJoin";
        let within = |consumer: &'static [&'static str]| {
            skewed_in_sql("SortMergeJoin").with(move |run| {
                for sql in run.sql_executions.values_mut() {
                    let plan = sql.plan.take();
                    sql.plan = consumer.iter().fold(plan, |below, node| {
                        let (name, description) = (node.split(' ').next().unwrap_or_default(), (*node).to_owned());
                        let children = below.into_iter().collect();
                        let id = 90 + node.len() as u64;
                        Some(emberscope_run::PlanNode {
                            id,
                            name: name.to_owned(),
                            description,
                            children,
                            ..Default::default()
                        })
                    });
                }
            })
        };
        let forced = |run: &crate::testing::RunBuilder| {
            check(&RULE, run)[0].advice.iter().any(|advice| advice.config.contains_key(force))
        };
        assert!(forced(&within(&[PARTIAL, MERGING])));
        // What is merged behind another shuffle relies on that one.
        assert!(!forced(&within(&[PARTIAL, "Exchange hashpartitioning(day#2, 200)", MERGING])));
        assert!(!forced(&within(&[PARTIAL, MERGING]).set(force, "true")));
        assert!(!forced(&within(&[DISTINCT, "Exchange hashpartitioning(day#2, 200)", DISTINCT])));
    }

    #[test]
    fn a_join_without_adaptive_execution_is_told_to_switch_it_on_and_nothing_that_is_on_already() {
        let run = skewed_in_sql("SortMergeJoin").set("spark.sql.adaptive.enabled", "false");
        let config = &check(&RULE, &run)[0].advice[0].config;
        assert_eq!(config.keys().collect::<Vec<_>>(), ["spark.sql.adaptive.enabled"]);
    }
}
