//! What a plan node does.

use emberscope_run::PlanNode;

use super::join::JoinKind;

/// How rows cross to Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PythonTransport {
    /// One by one, pickled.
    Rows,
    /// In Arrow batches.
    Arrow,
}

/// What a plan node does, as far as rules tell nodes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    /// Wraps its child and has no rows of its own.
    Wrapper,
    /// Stands for what ran elsewhere: a reused exchange or subquery, the result of a command.
    Reused,
    /// Hands on every row.
    PassThrough,
    /// Keeps some rows.
    Filter,
    /// Reads a table, files or memory.
    Scan,
    /// Reads a cached table.
    CachedScan,
    /// A shuffle.
    Exchange,
    /// A broadcast.
    Broadcast,
    /// A join.
    Join(JoinKind),
    /// Runs Python functions.
    Python(PythonTransport),
    /// Writes a table or files.
    Write,
    /// Anything else: aggregates, windows, generators, limits.
    Other,
}

/// The CPU form of a node's name: `GpuBroadcastHashJoin` is `BroadcastHashJoin`, `WholeStageCodegen (3)` is
/// `WholeStageCodegen`.
pub(crate) fn canonical(name: &str) -> &str {
    let name = name.trim();
    let bare = ["Gpu", "Photon"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix).filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase())))
        .unwrap_or(name);
    match bare {
        "ColumnarExchange" | "ShuffleExchange" | "ShuffleExchangeSink" => "Exchange",
        "ShuffledSymmetricHashJoin" | "ShuffledSizedHashJoin" => "ShuffledHashJoin",
        _ if bare.starts_with("WholeStageCodegen") => "WholeStageCodegen",
        _ => bare,
    }
}

/// What a node does.
pub(crate) fn operator(node: &PlanNode) -> Operator {
    let name = canonical(&node.name);
    if let Some(kind) = JoinKind::of(name) {
        return Operator::Join(kind);
    }
    match name {
        "ReusedExchange" | "ReusedSubquery" | "CommandResult" => Operator::Reused,
        "ShuffleExchangeSource" | "ShuffleMapStage" | "ResultStage" => Operator::Wrapper,
        "Exchange" => Operator::Exchange,
        "BroadcastExchange" => Operator::Broadcast,
        "Filter" => Operator::Filter,
        "InMemoryTableScan" => Operator::CachedScan,
        "BatchEvalPython" | "BatchEvalPythonUDTF" => Operator::Python(PythonTransport::Rows),
        "ArrowEvalPython"
        | "ArrowEvalPythonUDTF"
        | "ArrowAggregatePython"
        | "ArrowWindowPython"
        | "AggregateInPandas"
        | "WindowInPandas"
        | "MapInPandas"
        | "PythonMapInArrow"
        | "MapInArrow"
        | "FlatMapGroupsInPandas"
        | "FlatMapGroupsInArrow"
        | "FlatMapCoGroupsInPandas"
        | "FlatMapCoGroupsInArrow"
        | "FlatMapGroupsInPandasWithState"
        | "TransformWithStateInPandas"
        | "TransformWithStateInPySpark" => Operator::Python(PythonTransport::Arrow),
        "Range" | "LocalTableScan" | "RowDataSourceScan" => Operator::Scan,
        "Project"
        | "Sort"
        | "ColumnarToRow"
        | "RowToColumnar"
        | "CoalesceBatches"
        | "ShuffleCoalesce"
        | "Coalesce"
        | "DeserializeToObject"
        | "SerializeFromObject"
        | "MapElements"
        | "Window"
        | "EventTimeWatermark"
        | "CollectMetrics" => Operator::PassThrough,
        "WriteFiles" | "AppendData" | "OverwriteByExpression" => Operator::Write,
        _ if node.is_wrapper() || name == "WholeStageCodegen" => Operator::Wrapper,
        _ if name.starts_with("Scan") || name.starts_with("FileScan") || name.starts_with("BatchScan") => {
            Operator::Scan
        }
        _ if name.starts_with("Execute ") => Operator::Write,
        _ => Operator::Other,
    }
}

/// Whether as many rows come out of a node as go in.
pub(crate) fn keeps_rows(node: &PlanNode) -> bool {
    matches!(
        operator(node),
        Operator::Wrapper | Operator::Reused | Operator::PassThrough | Operator::Exchange | Operator::Broadcast
    )
}
