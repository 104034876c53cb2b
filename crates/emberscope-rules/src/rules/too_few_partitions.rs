//! Fewer tasks than cores while there is work for all.

use std::collections::BTreeMap;

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{StageKey, Timestamp, Unit};

use crate::finding::{Evidence, Finding};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::loss::{HALF_A_SECOND, Losses, StageLoss, span_ms, stage_subject};
use crate::support::partitioning::{self, DataSource};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::TooFewPartitions,
    summary: "A long stage has fewer tasks than there are cores, and its data could be divided.",
    documentation: include_str!("too_few_partitions.md"),
    thresholds: &[MIN_TASK, MIN_BYTES, MIN_RECORDS, MIN_TASK_WITHOUT_BYTES, FLOOR, HALF_A_SECOND],
    explained_by: &[],
    check,
};

const MIN_TASK: Threshold = Threshold {
    name: "min_task_ms",
    value: 600.0,
    unit: Unit::Ms,
    reason: "mean task duration from which dividing pays: below it a new wave of tasks costs as much as it gains. \
             Set on the training families of datasets/lab (`emberscope calibrate`)",
};
const MIN_BYTES: Threshold = Threshold {
    name: "min_partition_bytes",
    value: 8_388_608.0,
    unit: Unit::Bytes,
    reason: "bytes that a task takes in from which its data can be divided; the single partition of a global \
             aggregate or a limit is far smaller. Set by judgement, which no labelled run of datasets/lab decides \
             (`emberscope calibrate`)",
};
const MIN_RECORDS: Threshold = Threshold {
    name: "min_partition_records",
    value: 200_000.0,
    unit: Unit::Count,
    reason: "the same in records: columns that few bytes hold, and files of which Spark does not count the bytes. Set on \
             the training families of datasets/lab (`emberscope calibrate`)",
};
const MIN_TASK_WITHOUT_BYTES: Threshold = Threshold {
    name: "min_task_without_bytes_ms",
    value: 20_000.0,
    unit: Unit::Ms,
    reason: "mean task duration from which tasks that take in few or no bytes (ranges, generated or parsed data) \
             are judged by time alone. Set by judgement, which no labelled run of datasets/lab decides \
             (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.04,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that dividing the work over all slots would save; perfect \
             division is never reached, so this floor is higher than others. Set by judgement, not contradicted \
             by the training families of datasets/lab (`emberscope calibrate`)",
};

/// A stage with too few partitions.
struct Hit<'a> {
    stage: &'a StageSummary,
    loss: StageLoss,
    tasks: u64,
    slots: u64,
    mean_ms: f64,
    bytes_each: f64,
}

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = match ctx.stages_that_ran(|stage| stage.slots.is_some(), "executor cores") {
        Ok(ran) => ran,
        Err(skipped) => return skipped,
    };
    let spans: Vec<Span> = ctx.features.stages.values().filter_map(Span::of).collect();
    let mut causes: BTreeMap<DataSource, Vec<Hit<'_>>> = BTreeMap::new();
    for hit in ran.into_iter().filter_map(|stage| look(ctx, stage, &spans)) {
        causes.entry(DataSource::of(ctx, hit.stage)).or_default().push(hit);
    }
    Outcome::of(causes.into_iter().filter_map(|(source, hits)| finding(ctx, source, &hits)).collect())
}

fn look<'a>(ctx: &Context<'_>, stage: &'a StageSummary, spans: &[Span]) -> Option<Hit<'a>> {
    let slots = stage.slots?;
    let tasks = ctx.run.stages.get(&stage.key)?.num_tasks.max(stage.tasks.succeeded);
    if tasks == 0 || tasks >= slots {
        return None;
    }
    let duration = stage.quantiles(Metric::Duration)?;
    let mean_ms = duration.mean();
    let records = stage.quantiles(Metric::RecordsIn);
    if records.is_some_and(|records| records.sum > 0 && records.max <= 1) {
        return None;
    }
    let bytes_each = partitioning::bytes_in(stage).unwrap_or(0.0) / tasks as f64;
    let records_each = records.map_or(0.0, |records| records.sum as f64) / tasks as f64;
    let divisible = if ctx.reaches(bytes_each, &MIN_BYTES) || ctx.reaches(records_each, &MIN_RECORDS) {
        mean_ms >= ctx.threshold(&MIN_TASK)
    } else {
        // A single task with little data is what the plan asks for: a limit, a global aggregate, a driver-side action.
        tasks > 1 && mean_ms >= ctx.threshold(&MIN_TASK_WITHOUT_BYTES)
    };
    if !divisible {
        return None;
    }
    let slots = free_slots(stage, spans, slots)?;
    if tasks >= slots {
        return None;
    }
    // The mean, not the span: what a longer task adds is skew, and told as that.
    let span = span_ms(stage)?.min(mean_ms);
    let even = stage.task_ms() as f64 / slots as f64;
    let saved = span - even.max(ctx.threshold(&MIN_TASK) / 3.0);
    if saved <= 0.0 {
        return None;
    }
    let idle = saved * (slots - tasks) as f64;
    Some(Hit { stage, loss: StageLoss::of_span(stage, saved, idle), tasks, slots, mean_ms, bytes_each })
}

/// When tasks of a stage ran, and for how long in all. A run may have a hundred thousand of them, each held against each.
struct Span {
    key: StageKey,
    first: Timestamp,
    last: Timestamp,
    task_ms: u64,
}

impl Span {
    fn of(stage: &StageSummary) -> Option<Self> {
        let (first, last) = (stage.first_launch?, stage.last_finish?);
        (last > first).then(|| Self { key: stage.key, first, last, task_ms: stage.task_ms() })
    }
}

/// Slots that other stages did not use while this one ran, on average; `None` when its times are not known.
fn free_slots(stage: &StageSummary, spans: &[Span], slots: u64) -> Option<u64> {
    let (first, last) = (stage.first_launch?, stage.last_finish?);
    let span = last.since(first).0 as f64;
    let busy: f64 = spans
        .iter()
        .filter(|other| other.key != stage.key && other.first < last && other.last > first)
        .map(|other| {
            let overlap = other.last.min(last).since(other.first.max(first)).0 as f64;
            let length = other.last.since(other.first).0 as f64;
            other.task_ms as f64 * overlap / length
        })
        .sum();
    (span > 0.0).then(|| (slots as f64 - busy / span).round().max(0.0) as u64)
}

fn finding(ctx: &Context<'_>, source: DataSource, hits: &[Hit<'_>]) -> Option<Finding> {
    let losses = Losses::of(hits.iter().map(|hit| hit.loss.clone()).collect());
    if losses.negligible(ctx, &FLOOR, &HALF_A_SECOND) {
        return None;
    }
    let worst = hits.iter().find(|hit| Some(hit.stage.key) == losses.worst())?;
    let by_bytes = worst.bytes_each >= ctx.threshold(&MIN_BYTES);
    let mut finding = Finding::new(
        Problem::TooFewPartitions,
        if by_bytes { 0.85 } else { 0.55 },
        stage_subject(ctx, worst.stage.key),
        format!(
            "{} ran {} {} of {} on average while {} of {} slots that were free for it stood idle",
            losses.name(),
            worst.tasks,
            if worst.tasks == 1 { "task" } else { "tasks" },
            words::duration(worst.mean_ms),
            worst.slots - worst.tasks,
            worst.slots,
        ),
    );
    finding.evidence = vec![
        Evidence::number("tasks_succeeded_count", worst.tasks as f64, Unit::Count).over(worst.slots as f64),
        Evidence::number("task_duration_mean_ms", worst.mean_ms, Unit::Ms),
        Evidence::number("bytes_in_mean_bytes", worst.bytes_each, Unit::Bytes),
        Evidence::text("partitions_from", source.words()),
    ];
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "stage {}: {} tasks of {} are {} of task time; over {} slots they would take {} instead of {}; summed over {}, \
         each at its share of the clock",
        worst.stage.key,
        worst.tasks,
        words::duration(worst.mean_ms),
        words::duration(worst.stage.task_ms() as f64),
        worst.slots,
        words::duration(worst.stage.task_ms() as f64 / worst.slots as f64),
        words::duration(worst.mean_ms),
        losses.stage_attempts(),
    ));
    let (wanted, why) = wanted(ctx, worst);
    finding.advice.push(partitioning::more(ctx, worst.stage, wanted, &why));
    if !by_bytes {
        finding.advice.push(crate::finding::Advice::text(
            "This is judged by time alone, as the tasks report little input. If each task works on one thing that cannot be divided \
             (one file, one model, one request), the number of tasks is right and fewer cores are cheaper.",
        ));
    }
    Some(finding)
}

/// Tasks are not advised to be shorter than that: Spark's tuning guide calls 200 ms still efficient.
const LEAST_TASK_MS: f64 = 250.0;

/// Two tasks a slot, so that one slow task does not hold the rest; one where that would make partitions under 1 MiB or
/// tasks too short, and fewer where even those were.
fn wanted(ctx: &Context<'_>, hit: &Hit<'_>) -> (u64, String) {
    let twice = hit.slots.saturating_mul(2);
    let each_ms = hit.stage.task_ms() as f64 / twice as f64;
    let each_bytes = hit.bytes_each * hit.tasks as f64 / twice as f64;
    let small = hit.bytes_each >= ctx.threshold(&MIN_BYTES) && each_bytes < 1_048_576.0;
    if small || each_ms < LEAST_TASK_MS {
        let most = (hit.stage.task_ms() as f64 / LEAST_TASK_MS) as u64;
        if most < hit.slots {
            return (most.max(1), format!("as many as leave each {}", words::duration(LEAST_TASK_MS)));
        }
        (hit.slots, format!("1 for each of the {} slots", hit.slots))
    } else {
        (twice, format!("2 for each of the {} slots", hit.slots))
    }
}

#[cfg(test)]
mod tests {
    use emberscope_run::{RddInfo, SqlExecutionId};

    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    const MIB: u64 = 1 << 20;

    /// `tasks` tasks of 10 s on 8 cores, each reading `mib` MiB of a SQL shuffle; then 10 s of nothing.
    fn few(tasks: u64, mib: u64) -> RunBuilder {
        run()
            .executor("1", 8)
            .stage(0, |stage| {
                for partition in 0..tasks {
                    stage.task(partition).duration_ms(10_000).metrics(10_000, 10_000, 0).shuffle_read(mib * MIB, 1_000);
                }
                stage.with(|stage| {
                    stage.sql_execution_id = Some(SqlExecutionId(0));
                    stage.rdds = vec![RddInfo { name: "ShuffledRowRDD".to_owned(), ..RddInfo::default() }];
                });
            })
            .idle(10_000)
    }

    #[test]
    fn two_long_tasks_on_eight_cores_are_found_with_the_setting_that_fits() {
        let findings = check(&RULE, &few(2, 512).set("spark.sql.shuffle.partitions", "2"));
        assert_eq!(findings.len(), 1);
        // 20 s of task time over 8 slots is 2.5 s instead of 10 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(7_500));
        assert_eq!(findings[0].advice[0].config.get("spark.sql.shuffle.partitions").map(String::as_str), Some("16"));
    }

    #[test]
    fn where_adaptive_execution_merged_too_far_its_size_is_lowered() {
        let findings = check(&RULE, &few(2, 512).set("spark.sql.adaptive.advisoryPartitionSizeInBytes", "512m"));
        // 1 GiB / 16 = 64 MiB.
        let config = &findings[0].advice[0].config;
        assert_eq!(config.get("spark.sql.adaptive.advisoryPartitionSizeInBytes").map(String::as_str), Some("64m"));
        assert_eq!(config.get("spark.sql.shuffle.partitions"), None);
    }

    #[test]
    fn as_many_tasks_as_cores_are_clear() {
        assert_eq!(check(&RULE, &few(8, 512)), []);
    }

    #[test]
    fn slots_that_another_stage_used_meanwhile_were_not_idle() {
        let mut builder = few(2, 512);
        // Another stage of 6 tasks over the same 10 s: together they use all 8 slots.
        builder.now = 0;
        let builder = builder
            .stage(1, |stage| {
                for partition in 0..6 {
                    stage.task(partition).duration_ms(10_000).metrics(10_000, 10_000, 0).shuffle_read(512 * MIB, 1_000);
                }
            })
            .idle(10_000);
        assert_eq!(check(&RULE, &builder), []);
    }

    #[test]
    fn one_task_with_little_data_is_what_the_plan_asks_for() {
        assert_eq!(check(&RULE, &few(1, 1)), []);
    }

    #[test]
    fn many_records_can_be_divided_whatever_their_bytes() {
        let of = |records: u64| {
            run()
                .executor("1", 8)
                .stage(0, |stage| {
                    stage.task(0).duration_ms(10_000).metrics(10_000, 10_000, 0).shuffle_read(MIB, records);
                })
                .idle(10_000)
        };
        assert_eq!(check(&RULE, &of(199_999)), []);
        assert_eq!(check(&RULE, &of(200_000)).len(), 1);
    }

    #[test]
    fn below_the_floor_nothing_is_said() {
        // 7.5 s of 210 s are 3.6 %.
        assert_eq!(check(&RULE, &few(2, 512).idle(190_000)), []);
    }

    #[test]
    fn without_executor_cores_the_rule_says_so() {
        let run = few(2, 512).with(|run| run.executors.values_mut().for_each(|executor| executor.cores = None));
        assert_eq!(outcome(&RULE, &run), Outcome::missing("executor cores"));
    }
}
