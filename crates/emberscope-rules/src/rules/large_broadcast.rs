//! Building or sending a broadcast takes long or risks the driver.

use std::collections::BTreeMap;

use emberscope_run::{PlanNode, SqlExecutionId, StageKey, Unit};

use crate::finding::{Advice, Evidence, Finding, Harm, Savings, Subject};
use crate::plan::{self, Operator, Plan, SqlStages};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::LargeBroadcast,
    summary: "Collecting, building or sending a broadcast took long, or it is large for the driver.",
    documentation: include_str!("large_broadcast.md"),
    thresholds: &[MIN_BYTES, MIN_ROWS, DRIVER_SHARE, TIMEOUT_SHARE, FLOOR],
    explained_by: &[],
    check,
};

const MIN_BYTES: Threshold = Threshold {
    name: "min_bytes",
    value: 12_582_912.0,
    unit: Unit::Bytes,
    reason: "size in memory; Spark broadcasts by itself what is up to 10 MiB in files \
             (spark.sql.autoBroadcastJoinThreshold). Set on the training families of datasets/lab (`emberscope \
             calibrate`)",
};
const MIN_ROWS: Threshold = Threshold {
    name: "min_rows",
    value: 200_000.0,
    unit: Unit::Count,
    reason: "rows from which a size of up to one page is believed: Spark counts a hash table in whole pages, of \
             up to 64 MiB where the heap is large, and the size may be that of an empty page. Set on the training \
             families of datasets/lab (`emberscope calibrate`)",
};
const DRIVER_SHARE: Threshold = Threshold {
    name: "driver_share",
    value: 0.2,
    unit: Unit::Ratio,
    reason: "rows over the driver's memory from which the broadcast risks the driver: it holds the collected \
             rows, the hash table and its serialized blocks at once, three to four times the rows. Set by \
             judgement, which no labelled run of datasets/lab decides (`emberscope calibrate`)",
};
const TIMEOUT_SHARE: Threshold = Threshold {
    name: "timeout_share",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "time of the broadcast over spark.sql.broadcastTimeout from which twice the data would fail it",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.02,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that the broadcast took on the driver; below it only a risk is worth telling",
};
const KEY: &str = "spark.sql.autoBroadcastJoinThreshold";

/// A broadcast of a run.
struct Broadcast<'a> {
    execution: SqlExecutionId,
    node: &'a PlanNode,
    name: Option<String>,
    bytes: u64,
    rows: Option<u64>,
    collect_ms: Option<f64>,
    build_ms: Option<f64>,
    send_ms: Option<f64>,
    /// What of collecting was no task's time.
    excess_ms: f64,
    /// Driver time: build and broadcast, and the excess of collecting.
    lost_ms: f64,
    /// Time in which its execution ran and no task did.
    without_tasks_ms: f64,
    risk: Option<String>,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if let Some(outcome) = plan::unable(ctx.run) {
        return outcome;
    }
    let plans = plan::plans(ctx.run);
    let mut seen = 0;
    let stages = SqlStages::of(ctx);
    let mut groups: BTreeMap<String, Vec<Broadcast<'_>>> = BTreeMap::new();
    let mut measured = false;
    for plan in &plans {
        for node in plan.nodes().filter(|node| plan::operator(node) == Operator::Broadcast) {
            seen += 1;
            measured |= plan::metric(node, "data size").is_some();
            if let Some(broadcast) = measure(ctx, &stages, plan, node) {
                let cause = broadcast.name.clone().unwrap_or_else(|| plan::normalised(&node.description));
                groups.entry(cause).or_default().push(broadcast);
            }
        }
    }
    if seen > 0 && !measured {
        return Outcome::missing("plan metrics of broadcasts (data size)");
    }
    // What costs little by itself is told together: the run pays for all of them.
    let (told, small): (Vec<_>, Vec<_>) =
        groups.into_values().partition(|group| risky(group) || !ctx.below_floor(lost_ms(ctx, group), &FLOOR));
    let together: Vec<Broadcast<'_>> = small.into_iter().flatten().collect();
    Outcome::of(told.into_iter().chain([together]).filter_map(|group| finding(ctx, group)).collect())
}

/// Whether one of them may fail with more data.
fn risky(group: &[Broadcast<'_>]) -> bool {
    group.iter().any(|broadcast| broadcast.risk.is_some())
}

/// Driver time of some broadcasts together, in ms. Those of one execution are built one after the other or beside each other:
/// no longer than no task ran.
fn lost_ms(ctx: &Context<'_>, group: &[Broadcast<'_>]) -> f64 {
    let mut by_execution: BTreeMap<SqlExecutionId, f64> = BTreeMap::new();
    for broadcast in group {
        let lost = by_execution.entry(broadcast.execution).or_default();
        *lost = (*lost + broadcast.lost_ms).min(broadcast.without_tasks_ms);
    }
    let lost: f64 = by_execution.values().sum();
    ctx.wall_clock_ms().map_or(lost, |wall| lost.min(wall))
}

/// Spark counts a hash table in whole pages, of up to 64 MiB where the heap is large (`TaskMemoryManager`); with a margin.
const LARGEST_PAGE_BYTES: f64 = 73_400_320.0;

fn measure<'a>(
    ctx: &Context<'_>,
    stages: &SqlStages<'_>,
    plan: &Plan<'a>,
    node: &'a PlanNode,
) -> Option<Broadcast<'a>> {
    let bytes = plan::metric(node, "data size")?;
    let rows = plan::rows(node);
    let enough = bytes as f64 >= ctx.threshold(&MIN_BYTES)
        && (bytes as f64 > LARGEST_PAGE_BYTES || rows.is_some_and(|rows| ctx.reaches(rows as f64, &MIN_ROWS)));
    if !enough {
        return None;
    }
    let ms = |names: [&str; 2]| names.into_iter().find_map(|name| plan::metric_ms(node, name));
    let collect = ms(["time to collect", "collect time"]);
    let build = ms(["time to build", "build time"]);
    let broadcast = ms(["time to broadcast", "broadcast time"]);
    let execution = plan.execution.id;
    // Collecting includes the job that computes the rows: that is the stages' own time.
    let below = stages.updating(execution, &node.children.iter().flat_map(plan::accumulators_below).collect());
    let excess = collect.map_or(0.0, |collect| collect - span_ms(ctx, &below)).max(0.0);
    let excess = if below.is_empty() { 0.0 } else { excess };
    let after = build.unwrap_or(0.0) + broadcast.unwrap_or(0.0);
    let without_tasks_ms = without_tasks_ms(ctx, plan);
    Some(Broadcast {
        execution,
        node,
        name: plan::data_name(node),
        bytes,
        rows,
        collect_ms: collect,
        build_ms: build,
        send_ms: broadcast,
        excess_ms: excess,
        lost_ms: (excess + after).min(without_tasks_ms),
        without_tasks_ms,
        risk: risk(ctx, execution, bytes, collect.unwrap_or(0.0) + after),
    })
}

/// Time in ms in which the execution ran and no task did: what it waited for the driver at most. Infinite when its times are
/// not known.
fn without_tasks_ms(ctx: &Context<'_>, plan: &Plan<'_>) -> f64 {
    let (Some(start), Some(end)) = (plan.execution.started_at, plan.execution.ended_at) else { return f64::INFINITY };
    let inside = |gap: &emberscope_extract::features::Gap| gap.to.min(end).since(gap.from.max(start)).0 as f64;
    ctx.features.timeline.gaps.iter().map(inside).sum()
}

/// From the first launch to the last end of stages, in ms.
fn span_ms(ctx: &Context<'_>, stages: &std::collections::BTreeSet<StageKey>) -> f64 {
    let summaries: Vec<_> = stages.iter().filter_map(|key| ctx.features.stages.get(key)).collect();
    let first = summaries.iter().filter_map(|stage| stage.first_launch).min();
    let last = summaries.iter().filter_map(|stage| stage.last_finish).max();
    match (first, last) {
        (Some(first), Some(last)) => last.since(first).0 as f64,
        _ => 0.0,
    }
}

/// What may fail with more data; `None` when nothing is near.
fn risk(ctx: &Context<'_>, execution: SqlExecutionId, bytes: u64, whole_ms: f64) -> Option<String> {
    let settings = ctx.settings.for_sql(execution);
    let driver = settings.bytes("spark.driver.memory").filter(|&bytes| bytes > 0);
    if let Some(driver) = driver
        && bytes as f64 >= ctx.threshold(&DRIVER_SHARE) * driver as f64
    {
        return Some(format!(
            "{} of rows in a driver of {} (spark.driver.memory)",
            words::bytes(bytes as f64),
            words::bytes(driver as f64),
        ));
    }
    let timeout = broadcast_timeout_ms(ctx, execution)?;
    (whole_ms >= ctx.threshold(&TIMEOUT_SHARE) * timeout).then(|| {
        format!(
            "{} of the {} that spark.sql.broadcastTimeout allows",
            words::duration(whole_ms),
            words::duration(timeout)
        )
    })
}

/// `spark.sql.broadcastTimeout` in ms: a number without unit is in seconds, 300 of them by default; negative is none.
fn broadcast_timeout_ms(ctx: &Context<'_>, execution: SqlExecutionId) -> Option<f64> {
    let settings = ctx.settings.for_sql(execution);
    let ms = match settings.set_by_user("spark.sql.broadcastTimeout") {
        Some(value) => emberscope_run::parse_time(value, 1_000)?,
        None if settings.known() => 300_000,
        None => return None,
    };
    (ms > 0).then_some(ms as f64)
}

fn finding(ctx: &Context<'_>, mut group: Vec<Broadcast<'_>>) -> Option<Finding> {
    let lost = lost_ms(ctx, &group);
    let risky = risky(&group);
    if ctx.below_floor(lost, &FLOOR) && !risky {
        return None;
    }
    group.sort_by(|a, b| b.risk.is_some().cmp(&a.risk.is_some()).then(b.lost_ms.total_cmp(&a.lost_ms)));
    let first = group.first()?;
    let name = first.name.clone().map_or_else(|| "a broadcast".to_owned(), |name| format!("the broadcast of {name}"));
    let repeated =
        if group.len() > 1 { format!(", and again in {} more places", group.len() - 1) } else { String::new() };
    let times: Vec<String> =
        [("collecting", first.collect_ms), ("building", first.build_ms), ("sending", first.send_ms)]
            .into_iter()
            .filter_map(|(what, ms)| Some(format!("{what} took {}", words::duration(ms?))))
            .collect();
    let times = if times.is_empty() { "how long it took is not in the log".to_owned() } else { times.join(", ") };
    let rows = first.rows.map_or_else(String::new, |rows| format!(" ({} rows)", words::count(rows)));
    let mut finding = Finding::new(
        Problem::LargeBroadcast,
        if first.risk.is_some() { 0.8 } else { 0.75 },
        subject(first),
        format!(
            "{name} in SQL execution {} is {}{rows}: {times}{repeated}{}",
            first.execution,
            words::bytes(first.bytes as f64),
            first.risk.as_ref().map_or_else(String::new, |risk| format!("; that is {risk}")),
        ),
    );
    finding.evidence =
        vec![Evidence::number("data_size_bytes", first.bytes as f64, Unit::Bytes).over(ctx.threshold(&MIN_BYTES))];
    let named = [
        ("collect_time_ms", first.collect_ms),
        ("build_time_ms", first.build_ms),
        ("broadcast_time_ms", first.send_ms),
    ];
    finding.evidence.extend(named.into_iter().filter_map(|(name, ms)| Some(Evidence::number(name, ms?, Unit::Ms))));
    if risky {
        finding.harm = Harm::RiskOfFailure;
    }
    plan::more_subjects(&mut finding, group.iter().skip(1).map(subject));
    finding.savings = Savings {
        wall_clock_ms: Some(lost.round() as u64),
        core_ms: None,
        how: format!(
            "{} of building, {} of sending and {} of collecting beyond the tasks that computed it, in {}, as far as no task ran \
             meanwhile; the join's stage waits for them. What shuffling this side would cost instead is not subtracted",
            words::duration(first.build_ms.unwrap_or(0.0)),
            words::duration(first.send_ms.unwrap_or(0.0)),
            words::duration(first.excess_ms),
            if group.len() == 1 {
                "one broadcast".to_owned()
            } else {
                format!("the largest of {} broadcasts", group.len())
            },
        ),
    };
    finding.advice = advice(ctx, first);
    Some(finding)
}

fn subject(broadcast: &Broadcast<'_>) -> Subject {
    let name = broadcast.name.clone().unwrap_or_else(|| broadcast.node.name.clone());
    Subject::sql(broadcast.execution, Some(broadcast.node.id)).named(name)
}

fn advice(ctx: &Context<'_>, broadcast: &Broadcast<'_>) -> Vec<Advice> {
    let settings = ctx.settings.for_sql(broadcast.execution);
    let size = broadcast.bytes as f64;
    let mut all = Vec::new();
    match settings.bytes(KEY) {
        Some(threshold) if threshold as f64 >= size => {
            let mib = (size / 2.0 / 1_048_576.0).floor().max(1.0) * 1_048_576.0;
            all.push(
                Advice::text(format!(
                    "{KEY} is {}: under {} this side is shuffled instead. A shuffle join is cheaper when the other side is \
                     not many times larger.",
                    words::bytes(threshold as f64),
                    words::bytes(size),
                ))
                .set(KEY, words::spark_memory(mib)),
            );
        }
        Some(threshold) => all.push(Advice::text(format!(
            "{} is over {KEY} ({}): either the code has a broadcast hint (`broadcast(...)`, `BROADCAST`, `MAPJOIN`), then take \
             it away; or Spark took the side to be smaller than it is, as for compressed columnar files. `EXPLAIN COST` \
             shows the size it reckons with; ANALYZE TABLE mends that.",
            words::bytes(size),
            if threshold <= 0 { "off".to_owned() } else { words::bytes(threshold as f64) },
        ))),
        None => all.push(Advice::text(
            "Either the code has a broadcast hint, or the side was taken to be small: `EXPLAIN COST` shows the size that \
             Spark reckons with. Without the hint or under a lower threshold the side is shuffled instead.",
        )),
    }
    all.push(Advice::text(
        "Make the side smaller before the join: select only the columns that are needed, filter it first, drop duplicate keys.",
    ));
    if broadcast.risk.is_some() {
        all.push(Advice::text(format!(
            "If it must be broadcast, the driver needs room for the rows, their hash table and its blocks, about 4 x {} = {}, \
             beside what it holds already, and every executor for about half of that.",
            words::bytes(size),
            words::bytes(4.0 * size),
        )));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlanNodeExt, RunBuilder, check, node, outcome, run};

    /// A broadcast of `mib` that took 12 s to collect (its stage 10 s), `build_ms` to build and 1 s to send; the run takes
    /// 10 s of tasks and 90.1 s of idling.
    fn broadcast(mib: i64, build_ms: i64) -> RunBuilder {
        let scan = node("Scan parquet dims").metric("number of output rows", 1_000);
        let exchange = node("BroadcastExchange")
            .metric("data size", mib * 1_048_576)
            .metric("time to collect", 12_000)
            .metric("time to build", build_ms)
            .metric("time to broadcast", 1_000)
            .over(scan);
        let plan = node("BroadcastHashJoin | BroadcastHashJoin [k#1], [id#2], Inner, BuildRight")
            .over(node("Range"))
            .over(exchange);
        run()
            .executor("1", 4)
            .set("spark.driver.memory", "4g")
            .sql(0, plan)
            .sql_stage(0, 0, &[3], |stage| {
                stage.task(0).duration_ms(10_000);
            })
            .idle(90_100)
    }

    #[test]
    fn a_broadcast_that_takes_ten_seconds_to_build_is_found() {
        let findings = check(&RULE, &broadcast(400, 10_000));
        assert_eq!(findings.len(), 1);
        // 10 s building, 1 s sending, 2 s of collecting beyond the stage's 10 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(13_000));
        assert_eq!(findings[0].harm, Harm::None);
        assert!(findings[0].summary.contains("dims"));
    }

    #[test]
    fn just_below_the_floor_it_is_told_only_for_a_risk() {
        // 2 s of collecting and 1 s of sending in 150.1 s are just under 2 %.
        assert_eq!(check(&RULE, &broadcast(400, -1).idle(50_000)), [], "an unknown time is no time");
        // 820 MiB are a fifth of 4 GiB.
        let findings = check(&RULE, &broadcast(820, -1));
        assert_eq!(findings[0].harm, Harm::RiskOfFailure);
    }

    #[test]
    fn only_time_without_tasks_is_lost() {
        let mut run = broadcast(400, 10_000);
        let execution = run.run.sql_executions.get_mut(&SqlExecutionId(0)).unwrap();
        // From the start to 5 s after the only stage.
        execution.started_at = Some(emberscope_run::Timestamp(crate::testing::START));
        execution.ended_at = Some(emberscope_run::Timestamp(crate::testing::START + 15_000));
        assert_eq!(check(&RULE, &run)[0].savings.wall_clock_ms, Some(5_000));
    }

    #[test]
    fn broadcasts_of_one_execution_add_up_to_no_more_than_the_time_without_tasks() {
        let twice = |ended: i64| {
            let mut run = broadcast(400, 10_000);
            let execution = run.run.sql_executions.get_mut(&SqlExecutionId(0)).unwrap();
            let plan = execution.plan.as_mut().unwrap();
            let mut second = plan.children.last().unwrap().clone();
            second.id = 99;
            plan.children.push(second);
            execution.started_at = Some(emberscope_run::Timestamp(crate::testing::START));
            execution.ended_at = Some(emberscope_run::Timestamp(crate::testing::START + ended));
            check(&RULE, &run)[0].savings.wall_clock_ms
        };
        // 13 s each, of 90 s and of 15 s in which no task ran.
        assert_eq!(twice(100_000), Some(26_000));
        assert_eq!(twice(25_000), Some(15_000));
    }

    #[test]
    fn a_side_over_the_threshold_is_told_to_have_a_hint_or_a_wrong_estimate() {
        let findings = check(&RULE, &broadcast(400, 10_000));
        assert!(findings[0].advice[0].text.contains("hint"));
        assert!(findings[0].advice[0].config.is_empty());
        let raised = check(&RULE, &broadcast(400, 10_000).set(KEY, "1g"));
        assert_eq!(raised[0].advice[0].config[KEY], "200m");
    }

    #[test]
    fn a_broadcast_without_metrics_is_skipped() {
        let plan = node("BroadcastExchange").over(node("Range").metric("number of output rows", 1));
        assert!(matches!(outcome(&RULE, &run().sql(0, plan)), Outcome::Skipped { .. }));
    }
}
