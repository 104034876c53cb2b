//! The shuffle that a stage of a SQL execution reads, and who decided how many partitions it has.

use emberscope_extract::features::StageSummary;
use emberscope_run::PlanNode;

use crate::plan::{Operator, Plan, operator};
use crate::rule::Context;

/// Metrics of an exchange that the stage updates which reads it (`SQLShuffleReadMetricsReporter`).
const READ_METRICS: &[&str] = &[
    "records read",
    "local bytes read",
    "remote bytes read",
    "local blocks read",
    "remote blocks read",
    "fetch wait time",
];

/// Who decided how many partitions a shuffle has (`ShuffleOrigin`, in the description of the exchange).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Spark, for a join, an aggregate, a window or a sort; or `repartition(col)` without a number. Settings decide.
    Settings,
    /// The program: `repartition(n)`, `repartition(n, col)`. No setting changes it.
    Number(u64),
    /// The program asked for balance (`REBALANCE` hint): adaptive execution splits and merges towards its advisory size.
    Rebalance,
    /// The plan does not tell.
    Unknown,
}

/// The exchanges that a stage reads; none for RDDs and where the log does not tell.
pub(crate) fn exchanges_read<'a>(ctx: &Context<'a>, stage: &StageSummary) -> Option<(Plan<'a>, Vec<&'a PlanNode>)> {
    let attempt = ctx.run.stages.get(&stage.key)?;
    let plan = Plan::of(ctx.run.sql_executions.get(&attempt.sql_execution_id?)?);
    let read_here = |node: &&PlanNode| {
        operator(node) == Operator::Exchange
            && node.metrics.iter().any(|metric| {
                READ_METRICS.contains(&metric.name.as_str()) && attempt.accumulators.contains(&metric.accumulator_id)
            })
    };
    let read = plan.nodes().filter(read_here).collect();
    Some((plan, read))
}

/// Who decided the number of partitions of a stage that reads a SQL shuffle. Of several shuffles that a join reads one with a
/// number of its own decides: Spark gives the other side as many.
pub(crate) fn origin(ctx: &Context<'_>, stage: &StageSummary) -> Origin {
    let Some((_, read)) = exchanges_read(ctx, stage) else { return Origin::Unknown };
    let origins: Vec<Origin> = read.iter().map(|node| of_exchange(node)).collect();
    let fixed = origins.iter().find(|origin| matches!(origin, Origin::Number(_)));
    fixed.or_else(|| origins.iter().find(|origin| **origin != Origin::Unknown)).copied().unwrap_or(Origin::Unknown)
}

/// The origin of an exchange, from `Exchange hashpartitioning(user_id#3L, 4), REPARTITION_BY_NUM, [plan_id=7]`.
pub(crate) fn of_exchange(exchange: &PlanNode) -> Origin {
    let text = exchange.description.as_str();
    // The partitioning and its brackets come first; a column may be called anything.
    let Some((partitioning, after)) = partitioning(text) else { return Origin::Unknown };
    let number = || {
        let last = partitioning.rsplit(',').next().unwrap_or(partitioning).trim();
        last.parse().map_or(Origin::Unknown, Origin::Number)
    };
    match after.trim_start_matches([',', ' ']).split([',', ' ']).next().unwrap_or_default() {
        // Spark 3.1 called it the second, and 3.0 wrote whether the number may be changed.
        "REPARTITION_BY_NUM" | "REPARTITION_WITH_NUM" | "false" => number(),
        "ENSURE_REQUIREMENTS" | "REPARTITION_BY_COL" | "REPARTITION" | "REQUIRED_BY_STATEFUL_OPERATOR" | "true" => {
            Origin::Settings
        }
        word if word.starts_with("REBALANCE_PARTITIONS") => Origin::Rebalance,
        // Spark makes no round robin by itself.
        _ if text.contains("RoundRobinPartitioning(") => number(),
        _ => Origin::Unknown,
    }
}

/// What is within the brackets of the partitioning, and what comes after them.
fn partitioning(text: &str) -> Option<(&str, &str)> {
    let start = text.to_ascii_lowercase().find("partitioning(")?.checked_add("partitioning(".len())?;
    let rest = text.get(start..)?;
    let mut depth = 1_i64;
    let end = rest.char_indices().find_map(|(at, c)| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        (depth == 0).then_some(at)
    })?;
    Some((rest.get(..end)?, rest.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn the_origin_of_a_shuffle_is_read_in_the_words_of_every_version() {
        for (description, expected) in [
            ("Exchange hashpartitioning(user_id#3L, 4), REPARTITION_BY_NUM, [plan_id=7]", Origin::Number(4)),
            ("Exchange hashpartitioning(coalesce(a#1, 0), b#2, 12), REPARTITION_WITH_NUM, [id=#9]", Origin::Number(12)),
            ("Exchange hashpartitioning(k#1, 5), false, [id=#16]", Origin::Number(5)),
            ("Exchange RoundRobinPartitioning(10)", Origin::Number(10)),
            ("Exchange hashpartitioning(k#1, 200), ENSURE_REQUIREMENTS, [plan_id=7]", Origin::Settings),
            ("Exchange rangepartitioning(REPARTITION_BY_NUM#1 ASC NULLS FIRST, 200), true, [id=#3]", Origin::Settings),
            ("Exchange hashpartitioning(k#1, 200), REPARTITION_BY_COL, [plan_id=7]", Origin::Settings),
            ("Exchange hashpartitioning(k#1, 200), REBALANCE_PARTITIONS_BY_COL, 64MB, [plan_id=7]", Origin::Rebalance),
            ("Exchange hashpartitioning(k#1, 200)", Origin::Unknown),
            ("Exchange SinglePartition, ENSURE_REQUIREMENTS, [plan_id=7]", Origin::Unknown),
        ] {
            assert_eq!(of_exchange(&node(&format!("Exchange | {description}"))), expected, "{description}");
        }
    }
}
