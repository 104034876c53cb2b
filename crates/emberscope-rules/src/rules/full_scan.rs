//! Most rows that are read are thrown away at once.

use std::collections::BTreeMap;

use emberscope_run::{PlanNode, SqlExecutionId, StageKey, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::plan::{self, Cost, Operator, Plan, Scan, SqlStages};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::FullScan,
    summary: "A filter right above a scan throws most rows away, and no filter reached the files.",
    documentation: include_str!("full_scan.md"),
    thresholds: &[DISCARDED, MIN_ROWS, ROWS_PER_SECOND, FLOOR],
    explained_by: &[],
    check,
};

const DISCARDED: Threshold = Threshold {
    name: "discarded_share",
    value: 0.6,
    unit: Unit::Ratio,
    reason: "share of the rows read that the filter drops: six in ten are read for nothing. Set on the training \
             families of datasets/lab (`emberscope calibrate`)",
};
const MIN_ROWS: Threshold = Threshold {
    name: "min_rows",
    value: 700_000.0,
    unit: Unit::Count,
    reason: "rows read of one table in all; smaller tables are read in a second whatever the layout. Set by judgement, not \
             contradicted by the training families of datasets/lab (`emberscope calibrate`)",
};
const ROWS_PER_SECOND: Threshold = Threshold {
    name: "rows_per_second",
    value: 5_000_000.0,
    unit: Unit::PerSecond,
    reason: "rows that a core decodes, tests and drops in a second, beside fetching them. Set by judgement on \
             runs of datasets/lab whose condition called a function of a date",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.01,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that reading the dropped rows took; below it nobody gains by \
             mending. Set on the training families of datasets/lab (`emberscope calibrate`)",
};

/// A scan whose rows are thrown away.
struct Discard<'a> {
    execution: SqlExecutionId,
    scan: Scan<'a>,
    filter: &'a PlanNode,
    read: u64,
    kept: u64,
    scan_ms: Option<f64>,
    stages: Vec<StageKey>,
    cost: Cost,
    saved: Cost,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if let Some(outcome) = plan::unable(ctx.run) {
        return outcome;
    }
    let plans = plan::plans(ctx.run);
    let stages = SqlStages::of(ctx);
    let mut groups: BTreeMap<String, Vec<Discard<'_>>> = BTreeMap::new();
    let (mut seen, mut measured) = (0, 0);
    for plan in &plans {
        for filter in plan.nodes().filter(|node| plan::operator(node) == Operator::Filter) {
            let Some(scan) = scan_below(filter) else { continue };
            seen += 1;
            let (Some(read), Some(kept)) = (scan.rows(), plan::own_rows(filter)) else { continue };
            measured += 1;
            if let Some(found) = measure(ctx, &stages, plan, (scan, filter), (read, kept)) {
                groups
                    .entry(format!("{}\n{}", found.scan.name(), plan::columns(&filter.description).join(",")))
                    .or_default()
                    .push(found);
            }
        }
    }
    if seen > 0 && measured == 0 {
        return Outcome::missing("plan metrics of scans and filters (number of output rows)");
    }
    Outcome::of(groups.into_values().filter_map(|group| finding(ctx, group)).collect())
}

/// The scan right below a filter; `None` when something else lies between them, or it reads no table or files.
fn scan_below(filter: &PlanNode) -> Option<Scan<'_>> {
    let mut node = plan::input(filter)?;
    while matches!(plan::operator(node), Operator::Wrapper | Operator::PassThrough) {
        node = plan::input(node)?;
    }
    Scan::of(node).filter(|scan| scan.reads_files() || scan.table().is_some())
}

fn measure<'a>(
    ctx: &Context<'_>,
    stages: &SqlStages<'_>,
    plan: &Plan<'a>,
    (scan, filter): (Scan<'a>, &'a PlanNode),
    (read, kept): (u64, u64),
) -> Option<Discard<'a>> {
    let discarded = 1.0 - kept as f64 / read.max(1) as f64;
    if discarded < ctx.threshold(&DISCARDED) {
        return None;
    }
    // Directories were chosen, or the reader had the condition and could not use it: the layout was not ignored.
    if scan.partition_filters().is_some_and(|filters| !filters.is_empty()) {
        return None;
    }
    if scan.skips_by_statistics() && scan.pushed_a_condition() != Some(false) {
        return None;
    }
    let execution = plan.execution.id;
    let ran = stages.updating(execution, &plan.accumulators_near(scan.node));
    let cost = SqlStages::cost(ctx, &ran);
    let scan_ms = plan::metric_ms(scan.node, "scan time").filter(|&ms| ms > 0.0);
    let reading = scan_ms.map_or(cost, |ms| cost.of_task_ms(ms));
    // The scan's own time is that of fetching batches: decoding and testing each row is in none.
    let testing =
        cost.of_task_ms(read.saturating_sub(kept) as f64 / ctx.threshold(&ROWS_PER_SECOND).max(1.0) * 1_000.0);
    let saved = reading.share(discarded).plus(testing);
    let saved = if saved.task_ms > cost.task_ms * discarded { cost.share(discarded) } else { saved };
    Some(Discard { execution, scan, filter, read, kept, scan_ms, stages: ran.into_iter().collect(), cost, saved })
}

fn finding(ctx: &Context<'_>, mut group: Vec<Discard<'_>>) -> Option<Finding> {
    // A table that is read four times for nothing costs as much as one four times its size.
    let read = total(group.iter().map(|found| found.read));
    if (read as f64) < ctx.threshold(&MIN_ROWS) {
        return None;
    }
    let saved = group.iter().fold(Cost::default(), |sum, found| sum.plus(found.saved));
    if ctx.below_floor(saved.wall_ms, &FLOOR) {
        return None;
    }
    group.sort_by(|a, b| b.saved.wall_ms.total_cmp(&a.saved.wall_ms));
    let first = group.first()?;
    let dropped = 1.0 - first.kept as f64 / first.read.max(1) as f64;
    let repeated =
        if group.len() > 1 { format!("; {} more scans do the same", group.len() - 1) } else { String::new() };
    let mut finding = Finding::new(
        Problem::FullScan,
        if first.scan_ms.is_some() { 0.8 } else { 0.65 },
        subject(first),
        format!(
            "SQL execution {} read {} rows of {} and kept {} ({} were read for nothing){repeated}",
            first.execution,
            words::count(first.read),
            first.scan.name(),
            words::count(first.kept),
            share_words(dropped),
        ),
    );
    finding.evidence = vec![
        Evidence::number("scan_output_rows_count", read as f64, Unit::Count).over(ctx.threshold(&MIN_ROWS)),
        Evidence::number("filter_output_rows_count", total(group.iter().map(|found| found.kept)) as f64, Unit::Count),
        Evidence::number("discarded_rows_ratio", dropped, Unit::Ratio).over(ctx.threshold(&DISCARDED)),
        Evidence::text("filter", condition(first.filter)),
    ];
    if let Some(bytes) = first.scan.bytes() {
        finding.evidence.push(Evidence::number("files_read_bytes", bytes as f64, Unit::Bytes));
    }
    if let Some(pushed) = first.scan.pushed_filters() {
        finding.evidence.push(Evidence::text("pushed_filters", if pushed.is_empty() { "none" } else { pushed }));
    }
    let basis = match first.scan_ms {
        Some(ms) => format!("{} of scan time", words::duration(ms)),
        None => format!(
            "the {} of task time in the scan's stage (its scan time is not in the log, so this is an upper bound)",
            words::duration(first.cost.task_ms)
        ),
    };
    plan::more_subjects(&mut finding, group.iter().skip(1).map(subject));
    finding.savings = Savings {
        wall_clock_ms: Some(saved.wall_ms.round() as u64),
        core_ms: Some(saved.task_ms.round() as u64),
        how: format!(
            "{} of {basis}, the share of the rows that were dropped, and decoding and testing them at {} rows a second, as far \
             as the stage took so long{}",
            share_words(dropped),
            words::count(ctx.threshold(&ROWS_PER_SECOND) as u64),
            if group.len() > 1 { format!("; and so for {} scans", group.len()) } else { String::new() },
        ),
    };
    for found in &group {
        SqlStages::charge(ctx, &mut finding, &found.stages, found.saved.wall_ms);
    }
    finding.advice = advice(ctx, first);
    Some(finding)
}

/// A share near one with the digits that matter: `99.98 %`.
fn share_words(share: f64) -> String {
    if share > 0.99 && share < 1.0 {
        format!("{:.2} %", (share * 10_000.0).floor() / 100.0)
    } else {
        words::percent(share)
    }
}

fn subject(found: &Discard<'_>) -> Subject {
    let mut subject = Subject::sql(found.execution, Some(found.scan.node.id)).named(found.scan.name());
    if let [only] = found.stages.as_slice() {
        subject.stage_id = Some(only.stage_id.0);
        subject.stage_attempt = Some(only.attempt);
    }
    subject
}

/// The condition of a filter, cut for people.
fn condition(filter: &PlanNode) -> String {
    let text = filter.description.strip_prefix(filter.name.trim()).unwrap_or(&filter.description).trim();
    plan::normalised(text).chars().take(200).collect()
}

fn advice(ctx: &Context<'_>, found: &Discard<'_>) -> Vec<Advice> {
    let settings = ctx.settings.for_sql(found.execution);
    let format = found.scan.format();
    let name = found.scan.name();
    let columns = plan::columns(&found.filter.description);
    let by = columns.first().map_or_else(|| "the filter's column".to_owned(), Clone::clone);
    let mut all = Vec::new();
    if found.scan.skips_by_statistics() {
        let key = format!("spark.sql.{format}.filterPushdown");
        if settings.boolean(&key) == Some(false) {
            all.push(Advice::text(format!("{key} is false: the reader never gets the filter.")).set(key, "true"));
        } else {
            all.push(Advice::text(format!(
                "The filter `{}` did not reach the {format} reader: a function, cast or UDF around the column keeps it out. \
                 Compare the bare column with a constant of its own type (`ts >= timestamp'2024-01-01'`, not `year(ts) = \
                 2024`).",
                condition(found.filter),
            )));
        }
    } else if format == "jdbc" {
        all.push(Advice::text(format!(
            "The database sent every row of {name}. Write the filter so that it can be pushed down (bare columns and \
             constants), or give the `query` option a statement with the WHERE clause.",
        )));
    } else {
        all.push(Advice::text(format!(
            "{format} files have no statistics, so every row is read and parsed to be filtered. Convert {name} to Parquet or \
             ORC once; written sorted by {by}, most row groups are passed over.",
        )));
    }
    let kept = found.read as f64 / found.kept.max(1) as f64;
    all.push(Advice::text(format!(
        "If {by} has few distinct values and most queries filter by it, partition the table by it: this query would read about \
         one row in {}{}. A column with many values is better clustered (sort, Z-order, bucketing) than partitioned.",
        words::count(kept.floor().max(1.0) as u64),
        found.scan.bytes().map_or_else(String::new, |bytes| format!(", {} instead of {}", words::bytes(bytes as f64 / kept), words::bytes(bytes as f64))),
    )));
    if columns.len() > 1 {
        all.push(Advice::text(format!(
            "The filter names {}: partition by the one that most queries give.",
            columns.join(", ")
        )));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlanNodeExt, RunBuilder, check, node, outcome, run};

    fn scan(format: &str, pushed: &str, partitions: &str, kept: i64) -> RunBuilder {
        run().executor("1", 4).sql(0, filtered(format, pushed, partitions, (2_000_000, kept))).sql_stage(
            0,
            0,
            &[0, 3],
            four_tasks,
        )
    }

    fn four_tasks(stage: &mut crate::testing::StageBuilder) {
        (0..4).for_each(|partition| {
            stage.task(partition).duration_ms(10_000);
        });
    }

    fn filtered(format: &str, pushed: &str, partitions: &str, (read, kept): (i64, i64)) -> PlanNode {
        let scan = node(&format!(
            "Scan {format}  | FileScan {format} [day#1,v#2] Batched: true, DataFilters: [], Format: {format}, Location: \
             InMemoryFileIndex(1 paths)[s3://lake/t], PartitionFilters: [{partitions}], PushedFilters: [{pushed}], ReadSchema: \
             struct<day:int>"
        ))
        .metric("number of output rows", read)
        .metric("scan time", 20_000);
        node("Filter | Filter (cast(day#1 as string) = 7)")
            .metric("number of output rows", kept)
            .over(node("ColumnarToRow").over(node("InputAdapter").over(scan)))
    }

    #[test]
    fn a_small_table_that_is_read_again_and_again_counts_by_all_its_reads() {
        let plan = || filtered("parquet", "", "", (400_000, 40_000));
        let once = run().executor("1", 4).sql(0, plan()).sql_stage(0, 0, &[0, 3], four_tasks);
        assert_eq!(check(&RULE, &once), []);
        let twice = once.sql(1, plan()).sql_stage(1, 1, &[0, 3], four_tasks);
        let findings = check(&RULE, &twice);
        assert_eq!((findings.len(), findings[0].subjects().count()), (1, 2));
        assert_eq!(findings[0].evidence[0].value, crate::finding::Value::Number(800_000.0));
    }

    #[test]
    fn a_filter_that_never_reached_the_parquet_reader_is_found() {
        let findings = check(&RULE, &scan("parquet", "IsNotNull(day)", "", 100_000));
        assert_eq!(findings.len(), 1);
        // 95 % of 20 s of scan time, and 1.9 million rows at 5 million a second: 19.38 of 40 s of task time, of 10 s of wall clock.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(4_845));
        assert_eq!(findings[0].subject.name.as_deref(), Some("s3://lake/t"));
        assert!(findings[0].advice[0].text.contains("function, cast or UDF"));
    }

    #[test]
    fn a_filter_that_keeps_just_over_four_tenths_is_left_alone() {
        assert_eq!(check(&RULE, &scan("parquet", "", "", 800_001)), []);
        assert_eq!(check(&RULE, &scan("parquet", "", "", 800_000)).len(), 1);
    }

    #[test]
    fn a_pushed_or_a_partition_filter_is_no_full_scan() {
        assert_eq!(check(&RULE, &scan("parquet", "IsNotNull(day), EqualTo(day,7)", "", 100_000)), []);
        assert_eq!(check(&RULE, &scan("parquet", "", "isnotnull(day#1)", 100_000)), []);
    }

    #[test]
    fn text_is_parsed_in_full_whatever_was_pushed() {
        let findings = check(&RULE, &scan("json", "EqualTo(day,7)", "", 100_000));
        assert!(findings[0].advice[0].text.contains("Parquet"));
    }

    #[test]
    fn scans_without_rows_are_skipped() {
        let scan = node("Scan parquet db.t").metric("number of files read", 3);
        let plan = node("Filter | Filter (a#1 = 7)").over(scan);
        assert!(matches!(outcome(&RULE, &run().sql(0, plan)), Outcome::Skipped { .. }));
    }
}
