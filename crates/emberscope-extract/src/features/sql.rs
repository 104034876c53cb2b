//! A SQL execution, summed up over its jobs and its plan.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{JobId, JobResult, PlanNode, Run, SqlExecution, SqlExecutionId, StageKey};

use super::job::{Work, idle_ms, keys_by_job};
use super::plan_rows::{PlanRows, is_scan};
use super::stage::StageSummary;
use super::timeline::Timeline;

/// A SQL execution in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SqlSummary {
    /// Its id.
    pub id: SqlExecutionId,
    /// From start to end in ms; `None` when either is not known.
    pub duration_ms: Option<u64>,
    /// Whether it, or a job of it, failed; `None` when it did not end in this log.
    pub failed: Option<bool>,
    /// Jobs it ran.
    pub jobs: u64,
    /// Jobs of it that failed.
    pub failed_jobs: u64,
    /// From its start to the submission of its first job in ms: analysis, planning, and what the driver did besides.
    pub before_first_job_ms: Option<u64>,
    /// Time from start to end in which no task of the run ran, in ms; `None` when either is not known.
    pub no_task_ms: Option<u64>,
    /// What the stage attempts of its jobs did.
    pub work: Work,
    /// The nodes of its final plan; `None` when the log has no plan.
    pub plan: Option<PlanSummary>,
}

/// The nodes of a plan by kind, wrappers (code generation, query stages, adapters) left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanSummary {
    /// Nodes that are no wrappers.
    pub nodes: u64,
    /// Nodes on the longest way from the root to a leaf, wrappers among them.
    pub depth: u64,
    /// Scans of files and tables.
    pub scans: u64,
    /// Scans of what is cached in memory.
    pub cached_scans: u64,
    /// Shuffle exchanges.
    pub exchanges: u64,
    /// Broadcast exchanges.
    pub broadcasts: u64,
    /// Exchanges used again.
    pub reused_exchanges: u64,
    /// Sort-merge joins.
    pub sort_merge_joins: u64,
    /// Shuffled hash joins.
    pub shuffled_hash_joins: u64,
    /// Broadcast hash joins.
    pub broadcast_hash_joins: u64,
    /// Nested loops and cartesian products.
    pub nested_loop_joins: u64,
    /// Sorts.
    pub sorts: u64,
    /// Aggregates.
    pub aggregates: u64,
    /// Window functions.
    pub windows: u64,
    /// Nodes that send rows to Python.
    pub python_nodes: u64,
    /// Writes.
    pub writes: u64,
    /// Files that scans read; `None` when no scan says.
    pub files_read: Option<u64>,
    /// Bytes of those files; `None` when no scan says.
    pub files_read_bytes: Option<u64>,
    /// Rows that scans gave; `None` when no scan says.
    pub rows_scanned: Option<u64>,
    /// Bytes of data sent through exchanges and broadcasts; `None` when none says.
    pub exchanged_bytes: Option<u64>,
    /// Files that writes wrote; `None` when none says.
    pub files_written: Option<u64>,
    /// Bytes that sorts, aggregates and joins spilled; `None` when none says.
    pub spill_bytes: Option<u64>,
    /// What became of rows on their way through it.
    pub rows: PlanRows,
}

impl PlanSummary {
    /// Counts the nodes of a plan.
    pub fn of(plan: &PlanNode) -> Self {
        let mut summary = Self { rows: PlanRows::of(plan), ..Self::default() };
        let mut open = vec![(plan, 1_u64)];
        while let Some((node, depth)) = open.pop() {
            summary.depth = summary.depth.max(depth);
            open.extend(node.children.iter().map(|child| (child, depth + 1)));
            if node.name == "ReusedExchange" {
                summary.reused_exchanges += 1;
            }
            if !node.is_wrapper() {
                summary.nodes += 1;
                summary.count(node);
            }
        }
        summary
    }

    fn count(&mut self, node: &PlanNode) {
        // GPU and native operators are named after Spark's: `GpuHashAggregate`, `PhotonGroupingAgg`, `CometSort`.
        let name = node.name.as_str();
        let add = |sum: &mut Option<u64>, metric: &str| {
            if let Some(value) = node.metric(metric).and_then(|value| u64::try_from(value).ok()) {
                *sum = Some(sum.unwrap_or(0).saturating_add(value));
            }
        };
        add(&mut self.spill_bytes, "spill size");
        let counter = if name.contains("InMemoryTableScan") || name.contains("InMemoryTable Scan") {
            &mut self.cached_scans
        } else if is_scan(node) {
            add(&mut self.files_read, "number of files read");
            add(&mut self.files_read_bytes, "size of files read");
            add(&mut self.rows_scanned, "number of output rows");
            &mut self.scans
        } else if name.contains("BroadcastExchange") {
            add(&mut self.exchanged_bytes, "data size");
            &mut self.broadcasts
        } else if name.contains("Exchange") || name.contains("ShuffleMapStage") {
            add(&mut self.exchanged_bytes, "data size");
            &mut self.exchanges
        } else if name.contains("SortMergeJoin") {
            &mut self.sort_merge_joins
        } else if name.contains("BroadcastHashJoin") || name.contains("BroadcastedJoin") {
            &mut self.broadcast_hash_joins
        } else if name.contains("HashJoin") || name.contains("ShuffledJoin") {
            &mut self.shuffled_hash_joins
        } else if name.contains("NestedLoopJoin") || name.contains("CartesianProduct") {
            &mut self.nested_loop_joins
        } else if name.contains("Window") {
            &mut self.windows
        } else if name.contains("Agg") {
            &mut self.aggregates
        } else if name.contains("Sort") {
            &mut self.sorts
        } else if name.contains("Python") || name.contains("Pandas") || name.contains("ArrowEval") {
            &mut self.python_nodes
        } else if name.contains("Insert")
            || name.contains("WriteFiles")
            || name.starts_with("Write")
            || name.contains("AppendData")
        {
            add(&mut self.files_written, "number of written files");
            &mut self.writes
        } else {
            return;
        };
        *counter += 1;
    }

    /// Joins of every kind.
    pub fn joins(&self) -> u64 {
        self.sort_merge_joins + self.shuffled_hash_joins + self.broadcast_hash_joins + self.nested_loop_joins
    }
}

/// All SQL executions of a run.
pub(super) fn summarise(
    run: &Run,
    stages: &BTreeMap<StageKey, StageSummary>,
    timeline: &Timeline,
) -> BTreeMap<SqlExecutionId, SqlSummary> {
    if run.sql_executions.is_empty() {
        return BTreeMap::new();
    }
    let keys = keys_by_job(run);
    let one = |sql: &SqlExecution| {
        let jobs = || sql.job_ids.iter().filter_map(|id| run.jobs.get(id));
        let failed_jobs = jobs().filter(|job| matches!(job.result, Some(JobResult::Failed(_)))).count() as u64;
        let first_job = jobs().filter_map(|job| job.submitted_at).min();
        let of_jobs: BTreeSet<StageKey> =
            sql.job_ids.iter().filter_map(|id: &JobId| keys.get(id)).flatten().copied().collect();
        SqlSummary {
            id: sql.id,
            duration_ms: sql.duration().map(|duration| duration.0),
            failed: sql.failed().map(|failed| failed || failed_jobs > 0),
            jobs: sql.job_ids.len() as u64,
            failed_jobs,
            before_first_job_ms: first_job.zip(sql.started_at).map(|(job, start)| job.since(start).0),
            no_task_ms: idle_ms(timeline, sql.started_at, sql.ended_at),
            work: Work::of(of_jobs, run, stages),
            plan: sql.plan.as_ref().map(PlanSummary::of),
        }
    };
    run.sql_executions.iter().map(|(&id, sql)| (id, one(sql))).collect()
}
