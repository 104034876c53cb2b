//! Where a stage's partitions come from, and which setting makes them more or fewer.

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{PlanNode, StageKey};

use crate::finding::Advice;
use crate::plan::{Plan, Scan};
use crate::rule::Context;
use crate::settings::Settings;
use crate::support::shuffle::{self, Origin};
use crate::words;

const MIB: f64 = 1_048_576.0;
/// Bytes of a partition to aim at where nothing else is set: Spark's split size (`spark.sql.files.maxPartitionBytes`).
pub(crate) const TARGET_BYTES: f64 = 128.0 * MIB;

/// What decides how many tasks a stage has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DataSource {
    /// A shuffle of a SQL plan.
    SqlShuffle,
    /// One partition by the plan's demand: a global aggregate, limit, sort-less window or `coalesce(1)`.
    SqlSinglePartition,
    /// Files read by a SQL scan.
    SqlScan,
    /// A table read over JDBC.
    Jdbc,
    /// Cached partitions.
    Cached,
    /// A shuffle of RDDs.
    RddShuffle,
    /// Files read by `textFile`, `hadoopFile` or a Hive table scan.
    RddInput,
    /// A collection of the driver (`parallelize`) or a range.
    Collection,
    /// The log does not tell.
    Unknown,
}

impl DataSource {
    /// Where a stage gets its data, from its RDDs and bytes.
    pub(crate) fn of(ctx: &Context<'_>, stage: &StageSummary) -> Self {
        let Some(attempt) = ctx.run.stages.get(&stage.key) else { return Self::Unknown };
        let has = |names: &[&str]| attempt.rdds.iter().any(|rdd| names.contains(&rdd.name.as_str()));
        // Before Spark 2 a SQL exchange was an ordinary ShuffledRDD, within the exchange's scope.
        let exchange =
            attempt.rdds.iter().any(|rdd| rdd.scope.as_deref().is_some_and(|scope| scope.contains("Exchange")));
        let sql_shuffle = exchange || has(&["ShuffledRowRDD", "CustomShuffledRowRDD"]);
        let rdd_shuffle = !sql_shuffle && has(&["ShuffledRDD", "CoGroupedRDD", "SubtractedRDD"]);
        let sql = sql_shuffle || attempt.sql_execution_id.is_some() || has(&["FileScanRDD"]);
        let shuffle_bytes = stage.sum(Metric::ShuffleReadBytes).unwrap_or(0);
        let shuffle_records = stage.sum(Metric::ShuffleReadRecords).unwrap_or(0);
        let input_bytes = stage.sum(Metric::InputBytes).unwrap_or(0);
        let cached = attempt.rdds.iter().any(|rdd| rdd.cached && rdd.cached_partitions > 0);
        let shuffles = shuffle_bytes > 0 || shuffle_records > 0;
        if shuffles && shuffle_bytes >= input_bytes {
            return match (sql && !rdd_shuffle, attempt.num_tasks) {
                (true, 1) if single_partition(ctx, stage.key) => Self::SqlSinglePartition,
                (true, _) => Self::SqlShuffle,
                (false, _) => Self::RddShuffle,
            };
        }
        if cached {
            Self::Cached
        } else if has(&["FileScanRDD", "DataSourceRDD"]) {
            Self::SqlScan
        } else if has(&["JDBCRDD", "JdbcRDD"]) {
            Self::Jdbc
        } else if has(&["HadoopRDD", "NewHadoopRDD"]) {
            Self::RddInput
        } else if input_bytes > 0 {
            if sql { Self::SqlScan } else { Self::RddInput }
        } else if has(&["ParallelCollectionRDD"]) {
            Self::Collection
        } else if sql_shuffle {
            Self::SqlShuffle
        } else if rdd_shuffle {
            Self::RddShuffle
        } else {
            Self::Unknown
        }
    }

    /// In words, to follow "the stage reads".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::SqlShuffle => "a SQL shuffle",
            Self::SqlSinglePartition => "a shuffle into a single partition",
            Self::SqlScan => "files through a SQL scan",
            Self::Jdbc => "a table over JDBC",
            Self::Cached => "cached partitions",
            Self::RddShuffle => "a shuffle of RDDs",
            Self::RddInput => "files through Hadoop's input format",
            Self::Collection => "a collection or range made on the driver",
            Self::Unknown => "data whose source the log does not tell",
        }
    }
}

/// Whether the plan of a stage's SQL execution asks for a single partition somewhere.
fn single_partition(ctx: &Context<'_>, key: StageKey) -> bool {
    let sql = ctx.run.stages.get(&key).and_then(|stage| stage.sql_execution_id);
    let Some(sql) = sql.and_then(|id| ctx.run.sql_executions.get(&id)) else { return false };
    sql.nodes().iter().any(|node| {
        node.description.contains("SinglePartition")
            || node.name.starts_with("CollectLimit")
            || node.name == "TakeOrderedAndProject"
    })
}

/// Bytes that a stage took in; `None` when no task says.
pub(crate) fn bytes_in(stage: &StageSummary) -> Option<f64> {
    stage.sum(Metric::BytesIn).map(|bytes| bytes as f64)
}

/// A size for the configuration: whole MiB, at least 1.
fn mib(bytes: f64) -> String {
    format!("{:.0}m", (bytes / MIB).floor().max(1.0))
}

/// Puts a setting into the advice unless it holds already.
#[must_use]
pub(crate) fn set_new(advice: Advice, settings: &Settings<'_>, key: &str, value: &str) -> Advice {
    if settings.get(key).value().is_some_and(|held| held.eq_ignore_ascii_case(value)) {
        return advice;
    }
    advice.set(key, value)
}

/// How adaptive execution treats the shuffle partitions of a stage.
struct Adaptive {
    enabled: bool,
    coalesces: bool,
    parallelism_first: Option<bool>,
    advisory: f64,
    /// How many partitions a shuffle has before coalescing; `None` when not known.
    initial: Option<i64>,
}

impl Adaptive {
    fn of(settings: &Settings<'_>) -> Self {
        let enabled = settings.boolean("spark.sql.adaptive.enabled") == Some(true);
        let initial = settings.integer("spark.sql.adaptive.coalescePartitions.initialPartitionNum");
        Self {
            enabled,
            coalesces: enabled && settings.boolean("spark.sql.adaptive.coalescePartitions.enabled") == Some(true),
            parallelism_first: settings.boolean("spark.sql.adaptive.coalescePartitions.parallelismFirst"),
            advisory: settings
                .bytes("spark.sql.adaptive.advisoryPartitionSizeInBytes")
                .map_or(64.0 * MIB, |bytes| bytes.max(1) as f64),
            initial: initial.filter(|_| enabled).or_else(|| settings.integer("spark.sql.shuffle.partitions")),
        }
    }
}

/// How to give a stage `wanted` partitions, more than it has; `why` is the arithmetic behind the number.
pub(crate) fn more(ctx: &Context<'_>, stage: &StageSummary, wanted: u64, why: &str) -> Advice {
    let settings = &ctx.settings.for_stage(stage.key);
    let tasks = ctx.run.stages.get(&stage.key).map_or(0, |attempt| attempt.num_tasks);
    let bytes = bytes_in(stage).unwrap_or(0.0);
    let each = bytes / wanted.max(1) as f64;
    let size = if bytes > 0.0 {
        format!(", {} / {wanted} = {} each", words::bytes(bytes), words::bytes(each))
    } else {
        String::new()
    };
    let head =
        format!("Use about {} partitions instead of {} ({why}{size}).", words::count(wanted), words::count(tasks));
    match DataSource::of(ctx, stage) {
        DataSource::SqlShuffle => match shuffle::origin(ctx, stage) {
            Origin::Number(number) => Advice::text(format!(
                "{head} The stage reads a shuffle that the program asked for with a number of its own, repartition({number}) in the \
                 code: write {wanted} in place of {number}. No setting changes it."
            )),
            origin => more_sql_shuffle(settings, tasks, wanted, each, &head, origin == Origin::Rebalance),
        },
        DataSource::SqlSinglePartition => Advice::text(
            "The plan sends all rows to one partition: a window without PARTITION BY, a global sort or limit over many rows, \
             or repartition(1) / coalesce(1). Partition the window by a key, aggregate before the single partition, or write \
             several files; no setting changes it.",
        ),
        DataSource::SqlScan => more_sql_scan(settings, stage, each, &head),
        DataSource::Jdbc => Advice::text(format!(
            "{head} The stage reads over JDBC: give the reader partitionColumn, lowerBound, upperBound and numPartitions = \
             {wanted}; without them one connection reads the whole table."
        )),
        DataSource::Cached => Advice::text(format!(
            "{head} The partitions are those with which the dataset was cached: call repartition({wanted}) before it is cached."
        )),
        DataSource::RddShuffle => {
            let advice = Advice::text(format!(
                "{head} The stage reads a shuffle of RDDs: pass {wanted} as the number of partitions to the operation that \
                 shuffles (reduceByKey, groupByKey, join, repartition), or raise the default that those without one take."
            ));
            set_new(advice, settings, "spark.default.parallelism", &wanted.to_string())
        }
        DataSource::RddInput => Advice::text(format!(
            "{head} The stage reads files through Hadoop's input format: pass {wanted} as minPartitions to textFile or \
             sequenceFile, or call repartition({wanted}) after reading when the files cannot be split (gzip)."
        )),
        DataSource::Collection => {
            let advice = Advice::text(format!(
                "{head} The stage begins with a collection or range made on the driver: pass {wanted} as numSlices to \
                 parallelize (numPartitions to range), or raise the default that they take."
            ));
            set_new(advice, settings, "spark.default.parallelism", &wanted.to_string())
        }
        DataSource::Unknown => Advice::text(format!(
            "{head} The log does not tell where the stage gets its data: call repartition({wanted}) before it."
        )),
    }
}

fn more_sql_shuffle(
    settings: &Settings<'_>,
    tasks: u64,
    wanted: u64,
    each: f64,
    head: &str,
    rebalance: bool,
) -> Advice {
    let adaptive = Adaptive::of(settings);
    if rebalance && adaptive.enabled && each > 0.0 && each < adaptive.advisory {
        let advice = Advice::text(format!(
            "{head} The stage reads a rebalanced shuffle (a REBALANCE hint), which adaptive execution splits and merges towards \
             {} each.",
            words::bytes(adaptive.advisory)
        ));
        return set_new(advice, settings, "spark.sql.adaptive.advisoryPartitionSizeInBytes", &mib(each));
    }
    let coalesced = adaptive.coalesces && adaptive.initial.is_some_and(|initial| (tasks as i64) < initial);
    if !coalesced {
        let key = if adaptive.enabled
            && settings.set_by_user("spark.sql.adaptive.coalescePartitions.initialPartitionNum").is_some()
        {
            "spark.sql.adaptive.coalescePartitions.initialPartitionNum"
        } else {
            "spark.sql.shuffle.partitions"
        };
        let mut text = format!("{head} The stage reads a SQL shuffle");
        match adaptive.initial {
            Some(initial) if initial != tasks as i64 => {
                text.push_str(&format!(
                    ", and {tasks} is not {key} = {initial}: look for a repartition(n), coalesce(n) or bucketed table that fixes it."
                ));
                return Advice::text(text);
            }
            _ => text.push('.'),
        }
        let mut advice = Advice::text(text);
        // More partitions than that are merged back.
        if adaptive.coalesces && each > 0.0 && each < adaptive.advisory {
            let size = mib(each);
            advice.text.push_str(&format!(
                " Adaptive execution would merge partitions of {} back towards {} each \
                 (spark.sql.adaptive.advisoryPartitionSizeInBytes), so that must come down to what a partition then has: {size}.",
                words::bytes(each),
                words::bytes(adaptive.advisory),
            ));
            advice = set_new(advice, settings, "spark.sql.adaptive.advisoryPartitionSizeInBytes", &size);
        }
        return set_new(advice, settings, key, &wanted.to_string());
    }
    let initial = adaptive.initial.unwrap_or(0);
    let mut advice = Advice::text(format!(
        "{head} Adaptive execution merged the shuffle's {initial} partitions to {tasks}, towards {} each.",
        words::bytes(adaptive.advisory)
    ));
    if adaptive.parallelism_first == Some(false) {
        advice.text.push_str(" With parallelismFirst it keeps at least as many as there are cores.");
        advice = set_new(advice, settings, "spark.sql.adaptive.coalescePartitions.parallelismFirst", "true");
    }
    if each < adaptive.advisory {
        advice = set_new(advice, settings, "spark.sql.adaptive.advisoryPartitionSizeInBytes", &mib(each));
    }
    if (initial as u64) < wanted {
        advice = set_new(advice, settings, "spark.sql.shuffle.partitions", &wanted.to_string());
    }
    advice
}

fn more_sql_scan(settings: &Settings<'_>, stage: &StageSummary, each: f64, head: &str) -> Advice {
    let split = settings.bytes("spark.sql.files.maxPartitionBytes").map_or(TARGET_BYTES, |bytes| bytes.max(1) as f64);
    let largest =
        stage.metric(Metric::InputBytes).and_then(emberscope_extract::features::Distribution::max).unwrap_or(0) as f64;
    if largest > 1.2 * split {
        return Advice::text(format!(
            "{head} The stage scans files, and one task read {} although a split is at most {}: the files cannot be split there \
             (gzip, or Parquet row groups that large). Write them in splittable form with row groups of at most {}, or call \
             repartition after reading.",
            words::bytes(largest),
            words::bytes(split),
            words::bytes(split.min(each.max(MIB))),
        ));
    }
    let advice = Advice::text(format!(
        "{head} The stage scans files, which Spark cuts into splits of at most {}.",
        words::bytes(split)
    ));
    if each >= MIB && each < split {
        return set_new(advice, settings, "spark.sql.files.maxPartitionBytes", &mib(each));
    }
    let mut advice = advice;
    advice.text.push_str(" Splits are not the limit here; call repartition after reading.");
    advice
}

/// Why the tasks of a stage that scans files are uneven, and what to do; `None` where the plan does not name the format.
pub(crate) fn uneven_scan(ctx: &Context<'_>, stage: &StageSummary) -> Option<Advice> {
    let attempt = ctx.run.stages.get(&stage.key)?;
    let plan = Plan::of(ctx.run.sql_executions.get(&attempt.sql_execution_id?)?);
    let updated = |node: &PlanNode| node.metrics.iter().any(|m| attempt.accumulators.contains(&m.accumulator_id));
    let scans: Vec<Scan<'_>> = plan.nodes().filter(|node| updated(node)).filter_map(Scan::of).collect();
    let format = scans.iter().map(|scan| scan.format()).find(|format| format == "parquet" || format == "orc")?;
    let (part, option) =
        if format == "orc" { ("stripe", "orc.stripe.size") } else { ("row group", "parquet.block.size") };
    let input = stage.metric(Metric::InputBytes)?;
    let (largest, typical) = (words::bytes(input.max()? as f64), words::bytes(input.p50()? as f64));
    Some(Advice::text(format!(
        "The files are {format}: Spark splits them by length, but a {part} is read whole by the task whose split has its middle. \
         Here one task read {largest} and the median {typical}, so splits are smaller than {part}s, and most tasks find none. \
         Write the files with {part}s well under {largest} ({option}), or call repartition right after reading; smaller splits \
         only make more empty tasks.",
    )))
}

/// How to give a stage `wanted` partitions, fewer than it has; `why` is the arithmetic behind the number.
pub(crate) fn fewer(ctx: &Context<'_>, stage: &StageSummary, wanted: u64, why: &str) -> Advice {
    let settings = &ctx.settings.for_stage(stage.key);
    let tasks = ctx.run.stages.get(&stage.key).map_or(0, |attempt| attempt.num_tasks);
    let head = format!("Use about {} partitions instead of {} ({why}).", words::count(wanted), words::count(tasks));
    match DataSource::of(ctx, stage) {
        DataSource::SqlShuffle | DataSource::SqlSinglePartition => match shuffle::origin(ctx, stage) {
            Origin::Number(number) => Advice::text(format!(
                "{head} The stage reads a shuffle that the program asked for with a number of its own, repartition({number}) in the \
                 code, which adaptive execution does not merge: lower it to {wanted}, or leave it out."
            )),
            _ => fewer_sql_shuffle(ctx, settings, tasks, wanted, &head),
        },
        DataSource::SqlScan => {
            let split =
                settings.bytes("spark.sql.files.maxPartitionBytes").map_or(TARGET_BYTES, |bytes| bytes.max(1) as f64);
            let each = bytes_in(stage).unwrap_or(0.0) / tasks.max(1) as f64;
            if each > 0.5 * split {
                let raised = mib((bytes_in(stage).unwrap_or(0.0) / wanted.max(1) as f64).max(split));
                return set_new(
                    Advice::text(format!("{head} Its splits are cut at {}: allow larger ones.", words::bytes(split))),
                    settings,
                    "spark.sql.files.maxPartitionBytes",
                    &raised,
                );
            }
            let cost = settings.bytes("spark.sql.files.openCostInBytes").map_or(4.0 * MIB, |bytes| bytes.max(0) as f64);
            let mut advice = Advice::text(format!(
                "{head} The stage scans {} a task where a split may have {}: the files are small, and each counts {} more than its \
                 size when Spark packs them. Compact the table, or let Spark pack more files into a task.",
                words::bytes(each),
                words::bytes(split),
                words::bytes(cost),
            ));
            if cost > MIB {
                advice = set_new(advice, settings, "spark.sql.files.openCostInBytes", "1m");
            }
            advice
        }
        DataSource::Jdbc => {
            Advice::text(format!("{head} The stage reads over JDBC: lower numPartitions of the reader to {wanted}."))
        }
        DataSource::Cached => Advice::text(format!(
            "{head} The partitions are those with which the dataset was cached: call coalesce({wanted}) before it is cached."
        )),
        DataSource::RddShuffle => {
            let advice = Advice::text(format!(
                "{head} The stage reads a shuffle of RDDs: pass {wanted} as the number of partitions to the operation that \
                 shuffles (reduceByKey, groupByKey, join)."
            ));
            match settings.set_by_user("spark.default.parallelism") {
                Some(_) => set_new(advice, settings, "spark.default.parallelism", &wanted.to_string()),
                None => advice,
            }
        }
        DataSource::RddInput => Advice::text(format!(
            "{head} The stage reads files through Hadoop's input format, at least one task a file: compact small files, or call \
             coalesce({wanted}) after reading."
        )),
        DataSource::Collection => Advice::text(format!(
            "{head} The stage begins with a collection or range made on the driver: pass {wanted} as numSlices to parallelize \
             (numPartitions to range)."
        )),
        DataSource::Unknown => Advice::text(format!("{head} Call coalesce({wanted}) before this stage.")),
    }
}

fn fewer_sql_shuffle(ctx: &Context<'_>, settings: &Settings<'_>, tasks: u64, wanted: u64, head: &str) -> Advice {
    let adaptive = Adaptive::of(settings);
    let has_adaptive = ctx.run.application.spark_major_minor().is_some_and(|version| version >= (3, 0));
    let head = format!("{head} The stage reads a SQL shuffle");
    if !has_adaptive {
        return set_new(
            Advice::text(format!("{head}, whose partitions are fixed before the data is known.")),
            settings,
            "spark.sql.shuffle.partitions",
            &wanted.to_string(),
        );
    }
    if !adaptive.enabled {
        return Advice::text(format!(
            "{head}, and adaptive execution is off: turned on, it merges small partitions after each shuffle by itself. Without it, \
             spark.sql.shuffle.partitions = {wanted} fits this stage, but then every other shuffle has as many."
        ))
        .set("spark.sql.adaptive.enabled", "true");
    }
    if !adaptive.coalesces {
        return Advice::text(format!("{head}, and adaptive execution is kept from merging small partitions."))
            .set("spark.sql.adaptive.coalescePartitions.enabled", "true");
    }
    if adaptive.initial.is_some_and(|initial| tasks as i64 > initial) {
        return Advice::text(format!(
            "{head} of more partitions than spark.sql.shuffle.partitions: a repartition(n) in the code, which adaptive execution \
             does not merge. Leave out the n there, or lower it to {wanted}."
        ));
    }
    if adaptive.parallelism_first == Some(true) {
        return Advice::text(format!(
            "{head}, and adaptive execution merges only down to the cluster's parallelism (parallelismFirst); let it aim at {} a \
             partition instead.",
            words::bytes(adaptive.advisory)
        ))
        .set("spark.sql.adaptive.coalescePartitions.parallelismFirst", "false");
    }
    Advice::text(format!(
        "{head} that adaptive execution did not merge although it may: a repartition(n) in the code, or a cached plan, keeps the \
         number. Leave out the n there, or lower it to {wanted}."
    ))
}
