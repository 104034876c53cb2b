//! SQL executions, their plans and the metrics of each plan node.

use compact_str::CompactString;
use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{AccumulatorId, JobId, SqlExecutionId};
use crate::units::{Millis, Timestamp};

/// A metric of a plan node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMetric {
    /// Spark's name (`number of output rows`, `data size`).
    pub name: CompactString,
    /// Its accumulator.
    pub accumulator_id: AccumulatorId,
    /// `sum`, `size`, `timing` (ms), `nsTiming` (ns), `average`.
    pub kind: CompactString,
    /// The last value seen, over all tasks; `None` when it was never updated.
    pub value: Option<i64>,
}

/// A node of a physical plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlanNode {
    /// Its number in the plan: pre-order from 0.
    pub id: u64,
    /// Spark's node name (`SortMergeJoin`, `Scan parquet db.t`, `Exchange`).
    pub name: String,
    /// Spark's one-line description, cut at a limit.
    pub description: String,
    /// The metadata of a scan (`PushedFilters`, `PartitionFilters`, `ReadSchema`, `Location`).
    pub metadata: BTreeMap<String, String>,
    /// Its metrics.
    pub metrics: Vec<PlanMetric>,
    /// Its inputs.
    pub children: Vec<PlanNode>,
}

impl PlanNode {
    /// Every node of the plan, this one first, in pre-order.
    pub fn nodes(&self) -> Vec<&Self> {
        let mut nodes = Vec::new();
        let mut open = vec![self];
        while let Some(node) = open.pop() {
            nodes.push(node);
            open.extend(node.children.iter().rev());
        }
        nodes
    }

    /// The value of a metric by Spark's name; `None` when the node has no such metric or it was never updated.
    pub fn metric(&self, name: &str) -> Option<i64> {
        self.metrics.iter().find(|metric| metric.name == name)?.value
    }

    /// Whether the node only wraps others: code generation, AQE's stages, adapters. They carry no rows of their own.
    pub fn is_wrapper(&self) -> bool {
        let name = self.name.as_str();
        name.starts_with("WholeStageCodegen")
            || matches!(
                name,
                "InputAdapter"
                    | "AdaptiveSparkPlan"
                    | "ShuffleQueryStage"
                    | "BroadcastQueryStage"
                    | "TableCacheQueryStage"
                    | "ResultQueryStage"
                    | "AQEShuffleRead"
                    | "CustomShuffleReader"
                    | "ReusedExchange"
                    | "Subquery"
                    | "ReusedSubquery"
            )
    }
}

// A plan can be deep by intent of a hostile log: dropping and comparing must not recurse without bound.
// Sources bound the depth when they build plans (see the limits of the event-log source).

/// One SQL execution.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SqlExecution {
    /// Its id.
    pub id: SqlExecutionId,
    /// The outermost execution it was started in (Spark 3.3 on).
    pub root_id: Option<SqlExecutionId>,
    /// Its description: the call site or the statement, cut at a limit.
    pub description: String,
    /// The call site in full, cut at a limit.
    pub details: String,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended; `None` when it did not in this log.
    pub ended_at: Option<Timestamp>,
    /// Why it failed (Spark 3.4 on); `None` when it did not, or is not said.
    pub error_message: Option<String>,
    /// The last plan: after adaptive re-planning the final one.
    pub plan: Option<PlanNode>,
    /// How often adaptive execution changed the plan.
    pub replans: u64,
    /// Names of the join and exchange nodes of the first plan, where adaptive execution changed it.
    pub initial_nodes: Vec<String>,
    /// Settings that the session changed (Spark 3.2 on).
    pub modified_configs: BTreeMap<String, String>,
    /// Tags (Spark 3.5 on).
    pub tags: Vec<String>,
    /// The jobs it ran.
    pub job_ids: BTreeSet<JobId>,
    /// The Spark Connect operation that started it; `None` when none did.
    pub connect_operation_id: Option<String>,
}

impl SqlExecution {
    /// From start to end; `None` when either is not known.
    pub fn duration(&self) -> Option<Millis> {
        Some(self.ended_at?.since(self.started_at?))
    }

    /// Whether it failed; `None` when the log does not say.
    pub fn failed(&self) -> Option<bool> {
        self.ended_at.map(|_| self.error_message.as_deref().is_some_and(|message| !message.is_empty()))
    }

    /// Every node of the final plan in pre-order.
    pub fn nodes(&self) -> Vec<&PlanNode> {
        self.plan.as_ref().map(PlanNode::nodes).unwrap_or_default()
    }
}

/// An operation that a Spark Connect client asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectOperation {
    /// Its id.
    pub id: String,
    /// The tag that its jobs and SQL executions carry.
    pub job_tag: Option<String>,
    /// The user of the session.
    pub user: Option<String>,
    /// The plan or statement, cut at a limit.
    pub statement: Option<String>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it finished, failed or was cancelled.
    pub ended_at: Option<Timestamp>,
    /// Why it failed; `None` when it did not.
    pub error: Option<String>,
    /// Whether it was cancelled.
    pub canceled: bool,
}
