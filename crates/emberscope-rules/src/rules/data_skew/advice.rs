//! What to do about skew: it depends on what the stage does with the skewed rows, and on what is set already.

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{PlanNode, parse_bytes};

use crate::finding::Advice;
use crate::plan::{Operator, Plan, canonical, columns, operator};
use crate::rule::Context;
use crate::settings::Settings;
use crate::support::{partitioning, shuffle};
use crate::words;

/// A shuffle that a stage reads, and what it does with the rows.
pub(super) struct Shuffle {
    /// The columns that decide the partition of a row; empty where the plan does not name them.
    pub(super) key: Vec<String>,
    /// The first node above it that needs the rows of a key together.
    pub(super) consumer: Consumer,
    /// Whether what follows in the same stage relies on all rows of a key being in one task: Spark splits no partition of
    /// the join then unless it is forced to, as that takes one more shuffle (`OptimizeSkewedJoin`).
    pub(super) relied_on: bool,
}

/// What needs the rows of a key together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consumer {
    /// A join that shuffles.
    Join,
    /// A window function.
    Window,
    /// An aggregation.
    Aggregate,
    /// Anything else.
    Other,
}

/// The shuffle that a stage of a SQL execution reads; `None` for RDDs and where the log does not tell.
pub(super) fn shuffle_of(ctx: &Context<'_>, stage: &StageSummary) -> Option<Shuffle> {
    let (plan, read) = shuffle::exchanges_read(ctx, stage)?;
    let exchange = *read.first()?;
    let consumer = plan.above(exchange).find_map(|node| match operator(node) {
        Operator::Join(kind) if kind.shuffles() => Some(Consumer::Join),
        _ if canonical(&node.name).starts_with("Window") => Some(Consumer::Window),
        _ if node.name.contains("Aggregate") => Some(Consumer::Aggregate),
        _ => None,
    });
    let partitioning = exchange.description.split_once("hashpartitioning(").map_or("", |(_, rest)| rest);
    Some(Shuffle {
        key: columns(partitioning),
        consumer: consumer.unwrap_or(Consumer::Other),
        relied_on: relied_on(&plan, exchange),
    })
}

/// Whether a node between the join above a shuffle and the next shuffle needs the rows of a key together: one that merges
/// aggregates, a window, or another join that shuffles.
fn relied_on(plan: &Plan<'_>, exchange: &PlanNode) -> bool {
    let joins = |node: &PlanNode| matches!(operator(node), Operator::Join(kind) if kind.shuffles());
    let after_join = plan.above(exchange).skip_while(|node| !joins(node)).skip(1);
    let mut aggregates = 0;
    let mut same_stage = after_join.take_while(|node| !node.name.contains("Exchange"));
    same_stage.any(|node| {
        let merges = node.name.contains("Aggregate") && !node.description.contains("partial_") && {
            aggregates += 1;
            // The first of a `distinct` has no functions and is partial as well.
            aggregates > 1 || !node.description.contains("functions=[]")
        };
        let window = canonical(&node.name).starts_with("Window") && !node.description.contains("Partial");
        joins(node) || window || merges
    })
}

/// The advice for a skewed stage.
pub(super) fn advice(ctx: &Context<'_>, stage: &StageSummary, shuffle: Option<&Shuffle>) -> Vec<Advice> {
    let settings = ctx.settings.for_stage(stage.key);
    if stage.sum(Metric::ShuffleReadBytes).unwrap_or(0) <= stage.sum(Metric::InputBytes).unwrap_or(0) {
        return vec![partitioning::uneven_scan(ctx, stage).unwrap_or_else(|| Advice::text(
            "The skew is in the input: some files or blocks are much larger than the others. Write them in a format that \
             can be split (Parquet, ORC, uncompressed or bzip2 text, not gzip), or repartition right after reading.",
        ))];
    }
    let key = match shuffle.map(|shuffle| shuffle.key.join(", ")).filter(|key| !key.is_empty()) {
        Some(key) => format!("The rows are spread by {key}: count them by it and look at the largest ten."),
        None => "Find the hot key: count rows by the join or grouping key and look at the largest ten.".to_owned(),
    };
    let null_key = "A null or dummy key that the result does not need is best filtered out before.";
    match shuffle.map(|shuffle| shuffle.consumer) {
        Some(Consumer::Join) => skew_join(ctx, &settings, stage, shuffle.is_some_and(|shuffle| shuffle.relied_on))
            .into_iter()
            .chain([
                Advice::text(format!(
                    "{key} Treat the hot key apart: join its rows separately against the few rows of the other side that \
                     match (they can be broadcast) and unite the results, or salt: add a random number below n to the key \
                     of the large side and repeat the small side n times. {null_key}"
                )),
                Advice::text("If one side of the join fits in memory, broadcast it: then no key decides where rows go."),
            ])
            .collect(),
        Some(Consumer::Window) => vec![Advice::text(format!(
            "{key} A window needs all rows of its key in one task, and no setting splits it: process the hot key apart, or \
             add a column to PARTITION BY that divides it without changing the result (a day, a session). {null_key}"
        ))],
        Some(Consumer::Aggregate) => vec![Advice::text(format!(
            "{key} Aggregate in two steps: first by key and a random salt below n, then by key alone. Functions that cannot \
             be merged (collect_list, exact distinct counts) keep all rows of a key together: use approximate ones, or treat \
             the hot key apart. {null_key}"
        ))],
        Some(Consumer::Other) | None => vec![Advice::text(format!(
            "{key} Treat it apart, or spread it: add a random salt of n values to the key of the large side and repeat the \
             small side n times; aggregate in two steps (by key and salt, then by key). {null_key}"
        ))],
    }
}

/// What is missing for adaptive execution to split the skewed partitions of a join by itself.
fn skew_join(ctx: &Context<'_>, settings: &Settings<'_>, stage: &StageSummary, relied_on: bool) -> Option<Advice> {
    let advice = skew_join_settings(settings, stage);
    let force = "spark.sql.adaptive.forceOptimizeSkewedJoin";
    let known = ctx.run.application.spark_major_minor().is_none_or(|version| version >= (3, 3));
    if !relied_on || !known || settings.boolean(force) == Some(true) {
        return advice;
    }
    let why = "What follows the join in its stage relies on all rows of a key being in one task, so Spark splits no partition \
               unless it is told to shuffle once more for it (Spark 3.3 on).";
    let mut advice = match advice {
        Some(advice) => Advice { text: format!("{} {why}", advice.text), ..advice },
        None => Advice::text(why),
    };
    advice = advice.set(force, "true");
    Some(advice)
}

/// The settings that adaptive execution lacks for it, as far as sizes go.
fn skew_join_settings(settings: &Settings<'_>, stage: &StageSummary) -> Option<Advice> {
    let adaptive = settings.boolean("spark.sql.adaptive.enabled")?;
    let skew_join = settings.boolean("spark.sql.adaptive.skewJoin.enabled")?;
    if !adaptive || !skew_join {
        let mut advice = Advice::text("Let adaptive execution split skewed partitions of the join.");
        if !adaptive {
            advice = advice.set("spark.sql.adaptive.enabled", "true");
        }
        if !skew_join {
            advice = advice.set("spark.sql.adaptive.skewJoin.enabled", "true");
        }
        return Some(advice);
    }
    let key = "spark.sql.adaptive.skewJoin.skewedPartitionThresholdInBytes";
    let threshold = settings.bytes(key).filter(|&bytes| bytes > 0)? as f64;
    let bytes = stage.quantiles(Metric::ShuffleReadBytes)?;
    let largest = bytes.max as f64;
    // Between the typical and the skewed partition, well away from both.
    let between = words::spark_memory((bytes.p50.max(1) as f64 * largest).sqrt());
    let lower = parse_bytes(&between, 1)? as f64;
    (largest <= threshold && lower < largest && lower < threshold).then(|| {
        Advice::text(format!(
            "Adaptive execution splits skewed partitions only above {} ({key}); the largest here has {} and the median {}. \
             Lower it between the two, and the advisory size with it.",
            words::bytes(threshold),
            words::bytes(largest),
            words::bytes(bytes.p50 as f64),
        ))
        .set(key, between.clone())
        .set("spark.sql.adaptive.advisoryPartitionSizeInBytes", between)
    })
}
