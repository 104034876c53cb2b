//! Input comes in many files far under the split size, or a write leaves such files.

use std::collections::BTreeMap;

use emberscope_run::{PlanNode, SqlExecutionId, StageKey, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::plan::{self, Cost, Plan, Scan, SqlStages};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::settings::Settings;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::SmallFiles,
    summary: "A scan opens many files of few bytes each, or a write leaves such files.",
    documentation: include_str!("small_files.md"),
    thresholds: &[FILE_BYTES, MIN_FILES, OPEN_COST, OPEN_MS, TARGET_BYTES, FLOOR],
    explained_by: &[Problem::TooManyPartitions],
    check,
};

const FILE_BYTES: Threshold = Threshold {
    name: "file_bytes",
    value: 16_777_216.0,
    unit: Unit::Bytes,
    reason: "mean size of a file under which opening it costs as much as a quarter of reading it, by Spark's own reckoning of \
             4 MiB an opening (spark.sql.files.openCostInBytes). Not yet calibrated on labelled runs",
};
const MIN_FILES: Threshold = Threshold {
    name: "min_files",
    value: 80.0,
    unit: Unit::Count,
    reason: "fewer files than this are opened in a few waves of tasks on any cluster. Set by judgement, not \
             contradicted by the training families of datasets/lab (`emberscope calibrate`)",
};
const OPEN_COST: Threshold = Threshold {
    name: "open_cost_bytes",
    value: 4_194_304.0,
    unit: Unit::Bytes,
    reason: "bytes that could be read in the time it takes to open a file: Spark's default of \
             spark.sql.files.openCostInBytes",
};
const OPEN_MS: Threshold = Threshold {
    name: "open_ms",
    value: 100.0,
    unit: Unit::Ms,
    reason: "the most task time that one file more is charged with: a request for the footer and one for the data \
             on an object store. Set by judgement, not contradicted by the training families of datasets/lab \
             (`emberscope calibrate`)",
};
const TARGET_BYTES: Threshold = Threshold {
    name: "target_bytes",
    value: 134_217_728.0,
    unit: Unit::Bytes,
    reason: "size of the files that are advised: one split, Spark's default of spark.sql.files.maxPartitionBytes",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.02,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that larger files would save; below it nobody gains by mending",
};

/// A scan or a write of small files.
struct Access<'a> {
    writes: bool,
    name: String,
    execution: SqlExecutionId,
    node: &'a PlanNode,
    files: u64,
    bytes: u64,
    /// Driver time that grows with the files: listing before a scan, committing after a write.
    driver_ms: f64,
    in_tasks_ms: f64,
    /// Directories that a dynamic partition write made.
    directories: Option<u64>,
    stages: Vec<StageKey>,
    cost: Cost,
    saved: Cost,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if let Some(outcome) = plan::unable(ctx.run) {
        return outcome;
    }
    let plans = plan::plans(ctx.run);
    let known = plans.iter().flat_map(Plan::nodes).any(|node| read(node).is_some() || written(node).is_some());
    if !known {
        let touches_files =
            plans.iter().flat_map(Plan::nodes).any(|node| Scan::of(node).is_some_and(Scan::reads_files));
        return if touches_files {
            Outcome::missing("plan metrics of files (number of files read, size of files read)")
        } else {
            Outcome::Clear
        };
    }
    let stages = SqlStages::of(ctx);
    let mut groups: BTreeMap<(bool, String), Vec<Access<'_>>> = BTreeMap::new();
    for plan in &plans {
        for node in plan.nodes() {
            if let Some(files) = measure(ctx, &stages, plan, node) {
                groups.entry((files.writes, files.name.clone())).or_default().push(files);
            }
        }
    }
    Outcome::of(groups.into_values().filter_map(|group| finding(ctx, group)).collect())
}

/// Files and bytes that a node read.
fn read(node: &PlanNode) -> Option<(u64, u64)> {
    let scan = Scan::of(node)?;
    Some((scan.files()?, scan.bytes()?))
}

/// Files and bytes that a node wrote.
fn written(node: &PlanNode) -> Option<(u64, u64)> {
    let bytes = plan::metric(node, "written output").or_else(|| plan::metric(node, "bytes of written output"))?;
    Some((plan::metric(node, "number of written files")?, bytes))
}

fn measure<'a>(ctx: &Context<'_>, stages: &SqlStages<'_>, plan: &Plan<'a>, node: &'a PlanNode) -> Option<Access<'a>> {
    let (writes, (files, bytes)) = match read(node) {
        Some(read) => (false, read),
        None => (true, written(node)?),
    };
    let mean = bytes as f64 / files.max(1) as f64;
    if !(files as f64 >= ctx.threshold(&MIN_FILES) && mean < ctx.threshold(&FILE_BYTES)) {
        return None;
    }
    let execution = plan.execution.id;
    // A write's own metrics are set by the driver: its tasks are those of the node below it.
    let near = if writes {
        plan::input(node).map_or_else(Default::default, |input| plan.accumulators_near(input))
    } else {
        plan.accumulators_near(node)
    };
    let ran = stages.updating(execution, &near);
    let cost = SqlStages::cost(ctx, &ran);
    let (open, target) = (ctx.threshold(&OPEN_COST), ctx.threshold(&TARGET_BYTES));
    let fewer = (bytes as f64 / target).ceil().max(1.0);
    let share = (files as f64 - fewer).max(0.0) * open / (bytes as f64 + files as f64 * open);
    let most = (files as f64 - fewer).max(0.0) * ctx.threshold(&OPEN_MS);
    let in_tasks = cost.of_task_ms((cost.task_ms * share).min(most));
    let driver_ms =
        if writes { plan::metric_ms(node, "job commit time") } else { plan::metric_ms(node, "metadata time") }
            .unwrap_or(0.0);
    let saved_driver = driver_ms * (1.0 - fewer / files as f64).max(0.0);
    Some(Access {
        writes,
        name: if writes { write_target(node) } else { Scan::of(node)?.name() },
        execution,
        node,
        files,
        bytes,
        driver_ms,
        in_tasks_ms: in_tasks.wall_ms,
        directories: plan::metric(node, "number of dynamic part").filter(|&parts| parts > 0),
        stages: ran.into_iter().collect(),
        cost,
        saved: in_tasks.plus(Cost { wall_ms: saved_driver, task_ms: 0.0 }),
    })
}

/// `1 file`, `12 files`.
fn files_words(files: u64) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{} files", words::count(files)) }
}

/// What a write goes to: the path or table of the command, as far as its description tells it.
fn write_target(node: &PlanNode) -> String {
    let rest = node.description.strip_prefix("Execute ").unwrap_or(&node.description);
    let words = rest.split_once(' ').map_or(rest, |(_, words)| words);
    let target = words.split([',', '[']).next().unwrap_or("").trim();
    if target.is_empty() { node.name.trim().to_owned() } else { target.to_owned() }
}

fn finding(ctx: &Context<'_>, mut group: Vec<Access<'_>>) -> Option<Finding> {
    let saved = group.iter().fold(Cost::default(), |sum, files| sum.plus(files.saved));
    if ctx.below_floor(saved.wall_ms, &FLOOR) {
        return None;
    }
    group.sort_by(|a, b| b.saved.wall_ms.total_cmp(&a.saved.wall_ms));
    let first = group.first()?;
    let mean = first.bytes as f64 / first.files.max(1) as f64;
    let fewer = (first.bytes as f64 / ctx.threshold(&TARGET_BYTES)).ceil().max(1.0) as u64;
    let verb = if first.writes { "the write to" } else { "the scan of" };
    let repeated = if group.len() > 1 { format!(", and {} more like it", group.len() - 1) } else { String::new() };
    let mut finding = Finding::new(
        Problem::SmallFiles,
        // Half the size or twice the files do not make it surer: what they cost is reckoned, not measured.
        if first.driver_ms > 0.5 * saved.wall_ms { 0.8 } else { 0.7 },
        subject(first),
        format!(
            "{verb} {} in SQL execution {} {} {} files of {} on average ({} in all){repeated}",
            first.name,
            first.execution,
            if first.writes { "left" } else { "opened" },
            words::count(first.files),
            words::bytes(mean),
            words::bytes(first.bytes as f64),
        ),
    );
    let (count, bytes) =
        if first.writes { ("files_written_count", "written_bytes") } else { ("files_read_count", "files_read_bytes") };
    finding.evidence = vec![
        Evidence::number(count, first.files as f64, Unit::Count).over(ctx.threshold(&MIN_FILES)),
        Evidence::number(bytes, first.bytes as f64, Unit::Bytes),
        Evidence::number("mean_file_bytes", mean, Unit::Bytes).over(ctx.threshold(&FILE_BYTES)),
    ];
    if first.driver_ms > 0.0 {
        let name = if first.writes { "job_commit_time_ms" } else { "metadata_time_ms" };
        finding.evidence.push(Evidence::number(name, first.driver_ms, Unit::Ms));
    }
    plan::more_subjects(&mut finding, group.iter().skip(1).map(subject));
    finding.savings = Savings {
        wall_clock_ms: Some(saved.wall_ms.round() as u64),
        core_ms: Some(saved.task_ms.round() as u64),
        how: format!(
            "{} instead of {}: each opening less is charged as {} of reading, and at most {} of the {} of task time{}",
            files_words(fewer),
            words::count(first.files),
            words::bytes(ctx.threshold(&OPEN_COST)),
            words::duration(ctx.threshold(&OPEN_MS)),
            words::duration(first.cost.task_ms),
            if first.driver_ms > 0.0 {
                format!(
                    ", with the same share of the driver's {} of {}",
                    words::duration(first.driver_ms),
                    if first.writes { "committing" } else { "listing" },
                )
            } else {
                String::new()
            },
        ),
    };
    for found in &group {
        SqlStages::charge(ctx, &mut finding, &found.stages, found.in_tasks_ms);
    }
    finding.advice =
        if first.writes { advice_for_write(ctx, first, fewer) } else { advice_for_scan(ctx, first, fewer) };
    Some(finding)
}

fn subject(files: &Access<'_>) -> Subject {
    let mut subject = Subject::sql(files.execution, Some(files.node.id)).named(files.name.as_str());
    // The stage that read or wrote them, so that what its tasks suffer is told as a consequence.
    if let [only] = files.stages.as_slice() {
        subject.stage_id = Some(only.stage_id.0);
        subject.stage_attempt = Some(only.attempt);
    }
    subject
}

fn advice_for_scan(ctx: &Context<'_>, files: &Access<'_>, fewer: u64) -> Vec<Advice> {
    let target = ctx.threshold(&TARGET_BYTES);
    let mut all = vec![Advice::text(format!(
        "Compact {}: {} in {} of about {} instead of {} (Delta and Iceberg: OPTIMIZE or rewrite_data_files; other \
         tables: read it once and write it with `repartition({})`). Mend the job that writes it, or the files come back.",
        files.name,
        words::bytes(files.bytes as f64),
        files_words(fewer),
        words::bytes(target.min(files.bytes as f64 / fewer.max(1) as f64)),
        words::count(files.files),
        fewer,
    ))];
    let settings = ctx.settings.for_sql(files.execution);
    all.extend(larger_splits(ctx, &settings, files));
    all
}

/// Larger splits put more files into a task; worth it only where tasks are many times the slots.
fn larger_splits(ctx: &Context<'_>, settings: &Settings<'_>, files: &Access<'_>) -> Option<Advice> {
    let [stage] = files.stages.as_slice() else { return None };
    let summary = ctx.features.stages.get(stage)?;
    let (tasks, slots) = (summary.tasks.succeeded, summary.slots?);
    let most = settings.bytes("spark.sql.files.maxPartitionBytes").filter(|&bytes| bytes > 0)? as f64;
    let open = settings.bytes("spark.sql.files.openCostInBytes").filter(|&bytes| bytes >= 0)? as f64;
    let weight = files.bytes as f64 + files.files as f64 * open;
    // Two waves of tasks keep every slot busy.
    let wanted = weight / (2.0 * slots as f64);
    let value = (wanted / f64::from(1 << 26)).floor() * f64::from(1 << 26);
    let value = value.min(1_073_741_824.0);
    if tasks <= 4 * slots || value < 2.0 * most {
        return None;
    }
    let text = format!(
        "Until then put more files into each task: Spark counts {} of data and {} for opening each file, {} in all, and \
         makes tasks of at most {}; {} makes about {} tasks instead of {} for {} slots. It saves starting tasks, not \
         opening files.",
        words::bytes(files.bytes as f64),
        words::bytes(open),
        words::bytes(weight),
        words::bytes(most),
        words::bytes(value),
        words::count((weight / value).ceil() as u64),
        words::count(tasks),
        slots,
    );
    Some(Advice::text(text).set("spark.sql.files.maxPartitionBytes", words::spark_memory(value)))
}

fn advice_for_write(ctx: &Context<'_>, files: &Access<'_>, fewer: u64) -> Vec<Advice> {
    let target = ctx.threshold(&TARGET_BYTES);
    let arithmetic =
        format!("{} / {} = {}", words::bytes(files.bytes as f64), words::bytes(target), words::count(fewer));
    let mut all = Vec::new();
    match files.directories {
        Some(directories) if files.files >= 2 * directories => all.push(Advice::text(format!(
            "Every task writes a file into each partition directory it has rows for: {} files in {} directories. Repartition \
             by the partition columns before the write, so that each directory is written by one task.",
            words::count(files.files),
            words::count(directories),
        ))),
        Some(directories) if directories > fewer => all.push(Advice::text(format!(
            "The table has {} partition directories for {}, {} each: partition by a coarser column (month instead of day), \
             or by none, and let the files' statistics do the pruning.",
            words::count(directories),
            words::bytes(files.bytes as f64),
            words::bytes(files.bytes as f64 / directories as f64),
        ))),
        _ => all.push(Advice::text(format!(
            "Write {} instead of {}: `repartition({fewer})` before the write ({arithmetic}); `coalesce({fewer})` \
             saves the shuffle, but what comes before it then runs in as few tasks.",
            files_words(fewer),
            words::count(files.files),
        ))),
    }
    all.extend(adaptive_coalescing(ctx, files, target));
    all
}

/// Where a shuffle comes before the write, adaptive execution can make its partitions as large as the files should be.
fn adaptive_coalescing(ctx: &Context<'_>, files: &Access<'_>, target: f64) -> Option<Advice> {
    let settings = ctx.settings.for_sql(files.execution);
    let shuffled = files.node.nodes().iter().any(|node| plan::operator(node) == plan::Operator::Exchange);
    if !shuffled || files.directories.is_some() || ctx.run.application.spark_major_minor()? < (3, 2) {
        return None;
    }
    let adaptive = settings.boolean("spark.sql.adaptive.enabled")?;
    let parallelism_first = settings.boolean("spark.sql.adaptive.coalescePartitions.parallelismFirst")?;
    let size = settings.bytes("spark.sql.adaptive.advisoryPartitionSizeInBytes")? as f64;
    let mut advice = Advice::text(format!(
        "Or let adaptive execution join small shuffle partitions up to {} before the write; by default it keeps as many as \
         there are cores.",
        words::bytes(target),
    ));
    if !adaptive {
        advice = advice.set("spark.sql.adaptive.enabled", "true");
    }
    if parallelism_first {
        advice = advice.set("spark.sql.adaptive.coalescePartitions.parallelismFirst", "false");
    }
    if size < target {
        advice = advice.set("spark.sql.adaptive.advisoryPartitionSizeInBytes", words::spark_memory(target));
    }
    Some(advice).filter(|advice| !advice.config.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlanNodeExt, RunBuilder, check, node, outcome, run};

    const SCAN: &str = "Scan parquet db.events | FileScan parquet db.events[a#1] Format: Parquet, Location: InMemoryFileIndex(1 \
                        paths)[s3://lake/events], PartitionFilters: [], PushedFilters: [], ReadSchema: struct<a:int>";

    /// A scan of files of 1 MiB: 40 tasks of 1 s on 4 slots, 10 s of wall clock, all of them the scan's.
    fn scan(files: i64) -> RunBuilder {
        let plan = node(SCAN)
            .metric("number of files read", files)
            .metric("size of files read", files * 1_048_576)
            .metric("number of output rows", 1_000);
        run().executor("1", 4).sql(0, plan).sql_stage(0, 0, &[0], |stage| {
            (0..40).for_each(|partition| {
                stage.task(partition).duration_ms(1_000).metrics(1_000, 1_000, 0);
            });
        })
    }

    #[test]
    fn many_files_of_a_megabyte_are_found_and_their_table_named() {
        let findings = check(&RULE, &scan(256));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].subject.name.as_deref(), Some("db.events"));
        // 256 MiB fit in 2 files: 254 openings less at 4 MiB are 1,016 of 256 + 1,024 MiB, 79.4 % of 40 s. But 254 openings
        // at 100 ms are 25.4 s at most, and those in proportion to 10 s of wall clock are 6.35 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(6_350));
        assert_eq!(findings[0].savings.core_ms, Some(25_400));
        assert!(findings[0].advice[0].text.contains("repartition(2)"), "{}", findings[0].advice[0].text);
    }

    #[test]
    fn a_scan_in_twenty_executions_is_one_finding() {
        let mut twice = scan(256);
        let plan = twice.run.sql_executions[&SqlExecutionId(0)].plan.clone().unwrap();
        twice = twice.sql(1, plan).sql_stage(1, 1, &[0], |stage| {
            stage.task(0).duration_ms(1_000);
        });
        let findings = check(&RULE, &twice);
        assert_eq!((findings.len(), findings[0].more_subjects.len()), (1, 1));
    }

    #[test]
    fn just_under_eighty_files_and_files_of_sixteen_megabytes_are_left_alone() {
        assert_eq!(check(&RULE, &scan(79)), []);
        let mut large = scan(256);
        let plan = large.run.sql_executions.get_mut(&SqlExecutionId(0)).unwrap().plan.as_mut().unwrap();
        plan.metrics[1].value = Some(256 * 16_777_216);
        assert_eq!(check(&RULE, &large), []);
    }

    #[test]
    fn a_write_of_small_files_is_found_with_the_number_of_files_to_write() {
        let plan = node("Execute InsertIntoHadoopFsRelationCommand | Execute InsertIntoHadoopFsRelationCommand s3://lake/out, false, Parquet, [a]")
            .metric("number of written files", 1_000)
            .metric("written output", 1_000 * 1_048_576)
            .metric("job commit time", 4_000)
            .over(node("Exchange").metric("shuffle records written", 10));
        let run = run().executor("1", 4).sql(0, plan).sql_stage(0, 0, &[1], |stage| {
            (0..40).for_each(|partition| {
                stage.task(partition).duration_ms(1_000);
            });
        });
        let findings = check(&RULE, &run);
        assert_eq!(
            findings[0].subject.name.as_deref(),
            Some("InsertIntoHadoopFsRelationCommand s3://lake/out").map(|_| "s3://lake/out")
        );
        // 1,000 MiB / 128 MiB = 7.8.
        assert!(findings[0].advice[0].text.contains("repartition(8)"), "{}", findings[0].advice[0].text);
        // 992 openings less: 3,968 of 5,000 MiB are 79.36 % of 40 s = 31.7 s of task time, 7,936 ms of wall clock;
        // and 99.2 % of the commit's 4 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(7_936 + 3_968));
        let settings: Vec<_> = findings[0].advice[1].config.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            settings,
            [
                "spark.sql.adaptive.advisoryPartitionSizeInBytes=128m",
                "spark.sql.adaptive.coalescePartitions.parallelismFirst=false",
            ]
        );
    }

    #[test]
    fn without_sql_there_is_nothing_to_find_unless_spark_is_too_old_to_tell() {
        let mut run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0);
        });
        assert_eq!(outcome(&RULE, &run), Outcome::Clear);
        run.run.application.spark_version = Some("1.6.0".to_owned());
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }

    #[test]
    fn a_scan_without_its_metrics_is_skipped() {
        let plan = node(SCAN).metric("number of output rows", 10);
        assert!(matches!(outcome(&RULE, &run().sql(0, plan)), Outcome::Skipped { .. }));
    }
}
