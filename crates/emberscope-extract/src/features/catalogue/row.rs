//! What a row of each table is about.

use std::collections::BTreeMap;

use emberscope_run::{
    Executor, Job, MicroBatch, PlanMetric, PlanNode, Run, SqlExecution, StageAttempt, StreamingQuery, TaskRow,
};

use super::Table;
use crate::features::{ExecutorSummary, Features, JobSummary, SqlSummary, StageSummary, StreamingBatchSummary};

/// A run, its features, and the name it was read by.
#[derive(Debug, Clone, Copy)]
pub struct RunRef<'a> {
    /// The name of the input, which tells runs with equal ids apart.
    pub name: &'a str,
    /// The run.
    pub run: &'a Run,
    /// Its features.
    pub features: &'a Features,
}

/// A task of a run.
#[derive(Debug, Clone, Copy)]
pub struct TaskRef<'a> {
    /// The run.
    pub of: RunRef<'a>,
    /// The stage attempt.
    pub stage: &'a StageAttempt,
    /// The stage attempt in numbers.
    pub summary: &'a StageSummary,
    /// The task.
    pub task: &'a TaskRow,
}

/// A stage attempt of a run.
#[derive(Debug, Clone, Copy)]
pub struct StageRef<'a> {
    /// The run.
    pub of: RunRef<'a>,
    /// The stage attempt.
    pub stage: &'a StageAttempt,
    /// The same in numbers.
    pub summary: &'a StageSummary,
}

/// An executor of a run.
#[derive(Debug, Clone, Copy)]
pub struct ExecutorRef<'a> {
    /// The run.
    pub of: RunRef<'a>,
    /// The executor; `None` when only its tasks are known.
    pub executor: Option<&'a Executor>,
    /// The same in numbers.
    pub summary: &'a ExecutorSummary,
}

/// A job of a run.
#[derive(Debug, Clone, Copy)]
pub struct JobRef<'a> {
    /// The run.
    pub of: RunRef<'a>,
    /// The job.
    pub job: &'a Job,
    /// The same in numbers.
    pub summary: &'a JobSummary,
}

/// A SQL execution of a run.
#[derive(Debug, Clone, Copy)]
pub struct SqlRef<'a> {
    /// The run.
    pub of: RunRef<'a>,
    /// The execution.
    pub sql: &'a SqlExecution,
    /// The same in numbers.
    pub summary: &'a SqlSummary,
}

/// A node of the final plan of a SQL execution.
#[derive(Debug, Clone, Copy)]
pub struct NodeRef<'a> {
    /// The run.
    pub of: RunRef<'a>,
    /// The execution.
    pub sql: &'a SqlExecution,
    /// The node.
    pub node: &'a PlanNode,
    /// The node that takes its rows; `None` for the root.
    pub parent: Option<&'a PlanNode>,
    /// Nodes between it and the root.
    pub depth: u64,
}

/// A metric of a plan node.
#[derive(Debug, Clone, Copy)]
pub struct NodeMetricRef<'a> {
    /// The node.
    pub node: NodeRef<'a>,
    /// The metric.
    pub metric: &'a PlanMetric,
}

/// A micro-batch of a run.
#[derive(Debug, Clone, Copy)]
pub struct BatchRef<'a> {
    /// The run.
    pub of: RunRef<'a>,
    /// The query.
    pub query: &'a StreamingQuery,
    /// The micro-batch.
    pub batch: &'a MicroBatch,
    /// The same in numbers.
    pub summary: &'a StreamingBatchSummary,
}

/// A row of a table.
#[derive(Debug, Clone, Copy)]
pub enum Row<'a> {
    /// Of [`Table::Tasks`].
    Task(TaskRef<'a>),
    /// Of [`Table::StageAttempts`].
    Stage(StageRef<'a>),
    /// Of [`Table::Executors`].
    Executor(ExecutorRef<'a>),
    /// Of [`Table::Jobs`].
    Job(JobRef<'a>),
    /// Of [`Table::SqlExecutions`].
    Sql(SqlRef<'a>),
    /// Of [`Table::SqlPlanNodes`].
    Node(NodeRef<'a>),
    /// Of [`Table::SqlNodeMetrics`].
    NodeMetric(NodeMetricRef<'a>),
    /// Of [`Table::StreamingBatches`].
    Batch(BatchRef<'a>),
    /// Of [`Table::Application`].
    Application(RunRef<'a>),
}

impl<'a> Row<'a> {
    /// The run that it is of.
    pub fn run(&self) -> RunRef<'a> {
        match self {
            Self::Task(row) => row.of,
            Self::Stage(row) => row.of,
            Self::Executor(row) => row.of,
            Self::Job(row) => row.of,
            Self::Sql(row) => row.of,
            Self::Node(row) => row.of,
            Self::NodeMetric(row) => row.node.of,
            Self::Batch(row) => row.of,
            Self::Application(run) => *run,
        }
    }
}

impl<'a> RunRef<'a> {
    /// Visits every row of a table in its order, until `visit` says stop with an error.
    ///
    /// # Errors
    ///
    /// The first error of `visit`.
    pub fn rows<E>(self, table: Table, mut visit: impl FnMut(&Row<'_>) -> Result<(), E>) -> Result<(), E> {
        let (run, features) = (self.run, self.features);
        match table {
            Table::Tasks => {
                for (stage, summary) in paired(&run.stages, &features.stages) {
                    for task in stage.tasks.rows() {
                        visit(&Row::Task(TaskRef { of: self, stage, summary, task: &task }))?;
                    }
                }
            }
            Table::StageAttempts => {
                for (stage, summary) in paired(&run.stages, &features.stages) {
                    visit(&Row::Stage(StageRef { of: self, stage, summary }))?;
                }
            }
            Table::Executors => {
                for (id, summary) in &features.executors {
                    visit(&Row::Executor(ExecutorRef { of: self, executor: run.executors.get(id), summary }))?;
                }
            }
            Table::Jobs => {
                for (job, summary) in paired(&run.jobs, &features.jobs) {
                    visit(&Row::Job(JobRef { of: self, job, summary }))?;
                }
            }
            Table::SqlExecutions => {
                for (sql, summary) in paired(&run.sql_executions, &features.sql_executions) {
                    visit(&Row::Sql(SqlRef { of: self, sql, summary }))?;
                }
            }
            Table::SqlPlanNodes => self.nodes(&mut |node| visit(&Row::Node(node)))?,
            Table::SqlNodeMetrics => self.nodes(&mut |node: NodeRef<'a>| {
                node.node.metrics.iter().try_for_each(|metric| visit(&Row::NodeMetric(NodeMetricRef { node, metric })))
            })?,
            Table::StreamingBatches => {
                for summary in &features.streaming_batches {
                    let query = run.streaming_queries.get(&summary.run_id);
                    if let Some((query, batch)) =
                        query.and_then(|query| Some((query, query.batches.get(&summary.batch_id)?)))
                    {
                        visit(&Row::Batch(BatchRef { of: self, query, batch, summary }))?;
                    }
                }
            }
            Table::Application => visit(&Row::Application(self))?,
        }
        Ok(())
    }

    fn nodes<E>(self, visit: &mut dyn FnMut(NodeRef<'a>) -> Result<(), E>) -> Result<(), E> {
        for sql in self.run.sql_executions.values() {
            let mut open: Vec<NodeRef<'a>> =
                sql.plan.iter().map(|node| NodeRef { of: self, sql, node, parent: None, depth: 0 }).collect();
            while let Some(row) = open.pop() {
                visit(row)?;
                let children = row.node.children.iter().rev();
                open.extend(children.map(|node| NodeRef { node, parent: Some(row.node), depth: row.depth + 1, ..row }));
            }
        }
        Ok(())
    }
}

fn paired<'a, K: Ord, A, B>(
    all: &'a BTreeMap<K, A>,
    summaries: &'a BTreeMap<K, B>,
) -> impl Iterator<Item = (&'a A, &'a B)> {
    all.iter().filter_map(|(key, value)| Some((value, summaries.get(key)?)))
}
