//! A shuffle join with one side small enough to broadcast.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{PlanNode, SqlExecutionId, StageKey, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::plan::{self, Cost, Join, Operator, Plan, Side, SqlStages};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::settings::{Setting, Settings};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::MissedBroadcast,
    summary: "A join shuffled both sides although one is small enough to be sent to every executor.",
    documentation: include_str!("missed_broadcast.md"),
    thresholds: &[MAX_BYTES, MEMORY_SHARE, SHUFFLE_RATE, ROW_RATE, FLOOR],
    explained_by: &[],
    check,
};

const MAX_BYTES: Threshold = Threshold {
    name: "max_side_bytes",
    value: 104_857_600.0,
    unit: Unit::Bytes,
    reason: "data size of the largest side that is called small: ten times Spark's default of \
             spark.sql.autoBroadcastJoinThreshold. Set by judgement, not contradicted by the training families of \
             datasets/lab (`emberscope calibrate`)",
};
const MEMORY_SHARE: Threshold = Threshold {
    name: "memory_share",
    value: 0.02,
    unit: Unit::Ratio,
    reason: "share of an executor's and of the driver's memory that the side may take as rows; its hash table takes \
             two to three times as much. Set on the training families of datasets/lab (`emberscope calibrate`)",
};
const SHUFFLE_RATE: Threshold = Threshold {
    name: "shuffle_bytes_per_second",
    value: 157_286_400.0,
    unit: Unit::Bytes,
    reason: "rows in memory that one core can serialize, compress, write, fetch and read back in a second: what \
             no metric measures of a shuffle. Set by judgement, which no labelled run of datasets/lab decides \
             (`emberscope calibrate`)",
};
const ROW_RATE: Threshold = Threshold {
    name: "shuffle_rows_per_second",
    value: 1_500_000.0,
    unit: Unit::Count,
    reason: "the same in rows, which is what counts where rows are small. Set by judgement, not contradicted by \
             the training families of datasets/lab (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.01,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that shuffling and sorting the sides took, by rates that this run \
             did not measure. Set on the training families of datasets/lab (`emberscope calibrate`)",
};
const KEY: &str = "spark.sql.autoBroadcastJoinThreshold";

/// A join that could have been a broadcast join.
struct Missed<'a> {
    execution: SqlExecutionId,
    node: &'a PlanNode,
    join: Join<'a>,
    small: Side,
    small_bytes: u64,
    large_bytes: u64,
    executors: u64,
    sort_ms: f64,
    shuffle_ms: f64,
    /// Whether the rates would have given more than the stages took.
    bounded: bool,
    rows: f64,
    stages: BTreeSet<StageKey>,
    cost: Cost,
    saved: Cost,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if let Some(outcome) = plan::unable(ctx.run) {
        return outcome;
    }
    let plans = plan::plans(ctx.run);
    let joins: Vec<(&Plan<'_>, &PlanNode, Join<'_>)> = plans
        .iter()
        .flat_map(|plan| plan.nodes().map(move |node| (plan, node)))
        .filter_map(|(plan, node)| Some((plan, node, Join::of(node).filter(|join| join.kind.shuffles())?)))
        .collect();
    if joins.is_empty() {
        return Outcome::Clear;
    }
    if joins.iter().all(|(_, _, join)| join.data_size(Side::Left).is_none() && join.data_size(Side::Right).is_none()) {
        return Outcome::missing("plan metrics of exchanges (data size)");
    }
    let stages = SqlStages::of(ctx);
    let mut groups: BTreeMap<String, Vec<Missed<'_>>> = BTreeMap::new();
    for (plan, node, join) in joins {
        if let Some(missed) = measure(ctx, &stages, plan, node, join) {
            let cause = plan::data_name(missed.join.input(missed.small)).unwrap_or_default();
            let keys = missed.join.keys().unwrap_or_default();
            groups.entry(format!("{cause}\n{keys}")).or_default().push(missed);
        }
    }
    Outcome::of(groups.into_values().filter_map(|group| finding(ctx, group)).collect())
}

fn measure<'a>(
    ctx: &Context<'_>,
    stages: &SqlStages<'_>,
    plan: &Plan<'a>,
    node: &'a PlanNode,
    join: Join<'a>,
) -> Option<Missed<'a>> {
    let in_memory = |side: Side| {
        // A row takes at least 16 bytes; columnar accelerators count less.
        let rows = join.rows(side).unwrap_or(0).saturating_mul(16);
        join.data_size(side).map(|size| size.max(rows))
    };
    let (left, right) = (in_memory(Side::Left), in_memory(Side::Right));
    let fits = |side: Side, size: Option<u64>| {
        size.filter(|&size| join.can_broadcast(side) == Some(true) && size as f64 <= room(ctx, plan.execution.id))
    };
    let (small, small_bytes, large_bytes) = match (fits(Side::Left, left), fits(Side::Right, right)) {
        (Some(l), Some(r)) if l < r => (Side::Left, l, right?),
        (_, Some(r)) => (Side::Right, r, left?),
        (Some(l), None) => (Side::Left, l, right?),
        (None, None) => return None,
    };
    let large = if small == Side::Left { Side::Right } else { Side::Left };
    let execution = plan.execution.id;
    let sorts: Vec<&PlanNode> = [join.left, join.right].into_iter().flat_map(sorts_of).collect();
    let mut touched: BTreeSet<_> = plan.accumulators_near(node);
    touched.extend(sorts.iter().flat_map(|sort| plan::accumulators(sort)));
    touched.extend(join.exchange(large).map(plan::accumulators).unwrap_or_default());
    let ran = stages.updating(execution, &touched);
    let cost = SqlStages::cost(ctx, &ran);
    let executors =
        ran.iter().filter_map(|key| ctx.features.stages.get(key)).map(|stage| stage.executors).max()?.max(1);
    // Sending the small side to every executor must move less than shuffling both.
    if small_bytes.saturating_mul(executors) > small_bytes.saturating_add(large_bytes) {
        return None;
    }
    let sort_ms: f64 = sorts.iter().filter_map(|sort| plan::metric_ms(sort, "sort time")).sum();
    let shuffled = small_bytes as f64 + large_bytes as f64;
    let rows =
        join.rows(Side::Left).zip(join.rows(Side::Right)).map_or(0.0, |(left, right)| left as f64 + right as f64);
    let by_rates = (shuffled / ctx.threshold(&SHUFFLE_RATE)).max(rows / ctx.threshold(&ROW_RATE)) * 1_000.0;
    let most_ms = beyond_scan(ctx, stages, execution, join.exchange(large));
    let shuffle_ms = most_ms.map_or(by_rates, |most| by_rates.min(most));
    let mut saved = cost.of_task_ms(sort_ms + shuffle_ms + waits(&join));
    // One thread of the driver builds the hash table, while the join waits.
    let build_ms = join.rows(small).unwrap_or(0) as f64 / ctx.threshold(&ROW_RATE) * 1_000.0;
    saved.wall_ms = (saved.wall_ms - build_ms).max(0.0);
    Some(Missed {
        execution,
        node,
        join,
        small,
        small_bytes,
        large_bytes,
        executors,
        sort_ms,
        shuffle_ms,
        bounded: shuffle_ms < by_rates,
        rows,
        stages: ran,
        cost,
        saved,
    })
}

/// Task time in ms of the stages that wrote a side's shuffle, less the time of the scans in them: what writing it took at
/// most. Reading it back is not counted. `None` where the stages are not known.
fn beyond_scan(
    ctx: &Context<'_>,
    stages: &SqlStages<'_>,
    execution: SqlExecutionId,
    exchange: Option<&PlanNode>,
) -> Option<f64> {
    const WRITTEN: &[&str] = &["data size", "shuffle records written", "shuffle bytes written", "shuffle write time"];
    let exchange = exchange?;
    let written = exchange.metrics.iter().filter(|metric| WRITTEN.contains(&plan::plain_name(&metric.name)));
    let written: BTreeSet<_> = written.map(|metric| metric.accumulator_id).collect();
    let cost = SqlStages::cost(ctx, &stages.updating(execution, &written));
    let mut scans_ms = 0.0;
    let mut open: Vec<&PlanNode> = exchange.children.iter().collect();
    while let Some(node) = open.pop() {
        match plan::operator(node) {
            Operator::Exchange | Operator::Broadcast | Operator::Reused => {}
            _ => {
                scans_ms += plan::metric_ms(node, "scan time").unwrap_or(0.0);
                open.extend(&node.children);
            }
        }
    }
    (cost.task_ms > 0.0).then(|| (cost.task_ms - scans_ms).max(0.0))
}

/// The sorts that a join asks for on its side, above the exchange.
fn sorts_of(side: &PlanNode) -> Vec<&PlanNode> {
    let mut found = Vec::new();
    let mut node = Some(side);
    while let Some(at) = node.filter(|at| plan::keeps_rows(at) && plan::operator(at) != Operator::Exchange) {
        if plan::canonical(&at.name) == "Sort" {
            found.push(at);
        }
        node = plan::input(at);
    }
    found
}

/// Task time in ms that was blocked on fetching the sides.
fn waits(join: &Join<'_>) -> f64 {
    let wait = |side| plan::metric_ms(join.exchange(side)?, "fetch wait time");
    wait(Side::Left).unwrap_or(0.0) + wait(Side::Right).unwrap_or(0.0)
}

/// The largest side in bytes that the executors and the driver have room for.
fn room(ctx: &Context<'_>, execution: SqlExecutionId) -> f64 {
    let settings = ctx.settings.for_sql(execution);
    ["spark.executor.memory", "spark.driver.memory"]
        .iter()
        .filter_map(|key| settings.bytes(key).filter(|&bytes| bytes > 0))
        .map(|bytes| bytes as f64 * ctx.threshold(&MEMORY_SHARE))
        .fold(ctx.threshold(&MAX_BYTES), f64::min)
}

fn finding(ctx: &Context<'_>, mut group: Vec<Missed<'_>>) -> Option<Finding> {
    let saved = group.iter().fold(Cost::default(), |sum, missed| sum.plus(missed.saved));
    if ctx.below_floor(saved.wall_ms, &FLOOR) {
        return None;
    }
    group.sort_by(|a, b| b.saved.wall_ms.total_cmp(&a.saved.wall_ms));
    let first = group.first()?;
    let large = if first.small == Side::Left { Side::Right } else { Side::Left };
    let keys = first.join.keys().map_or_else(String::new, |keys| format!(" on {keys}"));
    let repeated =
        if group.len() > 1 { format!("; {} more joins do the same", group.len() - 1) } else { String::new() };
    let mut finding = Finding::new(
        Problem::MissedBroadcast,
        if first.small_bytes as f64 * 10.0 < first.large_bytes as f64 { 0.85 } else { 0.7 },
        subject(first),
        format!(
            "the {} {}{keys} in SQL execution {} shuffled {} of {} although {} is only {}{repeated}",
            first.join.type_name.unwrap_or(""),
            plan::canonical(&first.node.name),
            first.execution,
            words::bytes(first.large_bytes as f64),
            first.join.side_name(large),
            first.join.side_name(first.small),
            words::bytes(first.small_bytes as f64),
        ),
    );
    finding.evidence = vec![
        Evidence::number("small_side_data_size_bytes", first.small_bytes as f64, Unit::Bytes)
            .over(room(ctx, first.execution)),
        Evidence::number("large_side_data_size_bytes", first.large_bytes as f64, Unit::Bytes),
        Evidence::number("sort_time_ms", first.sort_ms, Unit::Ms),
        Evidence::text("join_type", first.join.type_name.unwrap_or("unknown")),
    ];
    if let Some(threshold) = ctx.settings.for_sql(first.execution).get(KEY).value() {
        finding.evidence.push(Evidence::text(KEY, threshold));
    }
    let shuffled = first.small_bytes as f64 + first.large_bytes as f64;
    plan::more_subjects(&mut finding, group.iter().skip(1).map(subject));
    finding.savings = Savings {
        wall_clock_ms: Some(saved.wall_ms.round() as u64),
        core_ms: Some(saved.task_ms.round() as u64),
        how: format!(
            "{}{}, at {} or {} rows a second and core, are {}{}; of the {} of task time in the join's stages; building the \
             broadcast, as many rows a second, is taken off{}",
            measured(first),
            if first.rows > 0.0 {
                format!("{} and {} rows shuffled", words::bytes(shuffled), words::count(first.rows as u64))
            } else {
                format!("{} shuffled", words::bytes(shuffled))
            },
            words::bytes(ctx.threshold(&SHUFFLE_RATE)),
            words::count(ctx.threshold(&ROW_RATE) as u64),
            words::duration(first.shuffle_ms),
            if first.bounded {
                " at most, the task time of the stages that wrote the larger side beyond their scans"
            } else {
                ""
            },
            words::duration(first.cost.task_ms),
            if group.len() > 1 { format!("; and so for {} joins", group.len()) } else { String::new() },
        ),
    };
    for found in &group {
        SqlStages::charge(ctx, &mut finding, &found.stages, found.saved.wall_ms);
    }
    finding.advice = advice(ctx, first);
    Some(finding)
}

/// What the metrics of the join measured, without what they have at nothing: `287 ms of sorting was measured; `.
fn measured(missed: &Missed<'_>) -> String {
    let times = [(missed.sort_ms, "sorting"), (waits(&missed.join), "waiting for shuffle blocks")];
    let told: Vec<String> = times
        .iter()
        .filter(|(ms, _)| *ms > 0.0)
        .map(|(ms, what)| format!("{} of {what}", words::duration(*ms)))
        .collect();
    match told.len() {
        0 => String::new(),
        1 => format!("{} was measured; ", told.join("")),
        _ => format!("{} were measured; ", told.join(" and ")),
    }
}

fn subject(missed: &Missed<'_>) -> Subject {
    Subject::sql(missed.execution, Some(missed.node.id)).named(plan::canonical(&missed.node.name))
}

fn advice(ctx: &Context<'_>, missed: &Missed<'_>) -> Vec<Advice> {
    let settings = ctx.settings.for_sql(missed.execution);
    let size = missed.small_bytes as f64;
    let side = missed.join.side_name(missed.small);
    let cost = format!(
        "It costs up to {} on the driver and each of {} executors ({} of rows, two to three times that as a hash table).",
        words::bytes(3.0 * size),
        missed.executors,
        words::bytes(size),
    );
    let hint = Advice::text(format!(
        "Broadcast {side} by a hint: `broadcast(df)` in the DataFrame API or `/*+ BROADCAST(t) */` in SQL. It concerns this \
         join only. {cost}",
    ));
    let threshold = settings.bytes(KEY);
    let set = matches!(settings.get(KEY), Setting::Set(_));
    let mut all = Vec::new();
    match threshold {
        Some(threshold) if threshold <= 0 => {
            all.push(hint);
            all.push(Advice::text(format!(
                "{KEY} is {threshold}: somebody switched broadcast joins off. Find out why (an out-of-memory error of the \
                 driver, a broadcast timeout) before switching them on again; {} covers this side of {} with a quarter to \
                 spare.",
                raised(size),
                words::bytes(size),
            ))
            .set(KEY, raised(size)));
        }
        Some(threshold) if size > threshold as f64 => {
            all.push(Advice::text(format!(
                "{side} is {} and {KEY} is {}{}: raise it to {} (a quarter to spare). {cost} It holds for every join of \
                 the session.",
                words::bytes(size),
                words::bytes(threshold as f64),
                if set { "" } else { " by default" },
                raised(size),
            ))
            .set(KEY, raised(size)));
            all.push(hint);
        }
        Some(threshold) => all.extend(under_the_threshold(&settings, threshold as f64, size, hint)),
        None => all.push(hint),
    }
    all
}

/// The side was under the threshold all along: Spark did not know it when it planned.
fn under_the_threshold(settings: &Settings<'_>, threshold: f64, size: f64, hint: Advice) -> Vec<Advice> {
    let known = format!("The side came out at {}, under {KEY} ({})", words::bytes(size), words::bytes(threshold));
    if settings.boolean("spark.sql.adaptive.enabled") == Some(false) {
        let adaptive = Advice::text(format!(
            "{known}, but Spark plans by the size of the files before filters. Adaptive execution plans again by what the \
             shuffle wrote, and turns such joins into broadcast joins.",
        ));
        let statistics = Advice::text(
            "Or collect statistics, so that the first plan is right and nothing is shuffled: ANALYZE TABLE ... COMPUTE \
             STATISTICS FOR ALL COLUMNS, with spark.sql.cbo.enabled.",
        );
        return vec![adaptive.set("spark.sql.adaptive.enabled", "true"), hint, statistics];
    }
    vec![
        Advice { text: format!("{known}, but Spark did not know that when it planned. {}", hint.text), ..hint },
        Advice::text(
            "Adaptive execution left the join as it is. It does so when the code has a MERGE or SHUFFLE_HASH hint (look for \
             one), when the other side had finished its shuffle and was sorted already, or when most partitions of the side \
             were empty (spark.sql.adaptive.nonEmptyPartitionRatioForBroadcastJoin): the SQL page of the UI shows the number \
             of partitions beside the join.",
        ),
    ]
}

/// A threshold that covers a side with a quarter to spare, in whole 8 MiB.
fn raised(size: f64) -> String {
    let step = 8.0 * 1_048_576.0;
    words::spark_memory((size * 1.25 / step).ceil().max(1.0) * step)
}
