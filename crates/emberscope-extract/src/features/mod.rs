//! Features: a run in numbers, at the levels of the application, jobs, stage attempts, executors and SQL executions.
//!
//! [`Features::of`] computes typed summaries straight from the packed tasks; rules and models read those. The
//! catalogue names every feature with unit, meaning, Spark's field and what null means; the tables are made from it.

mod application;
pub mod catalogue;
mod distribution;
mod executor;
mod job;
mod metric;
mod pass;
mod plan_rows;
mod slots;
mod sql;
mod stage;
mod streaming;
mod sums;
mod timeline;
mod warm;

use std::collections::BTreeMap;

use emberscope_run::{ExecutorId, JobId, Run, SqlExecutionId, StageKey};

use pass::Pass;
use slots::Slots;

pub use application::ApplicationSummary;
pub use distribution::{Distribution, Quantiles, quantile_index};
pub use executor::ExecutorSummary;
pub use job::{JobSummary, Work};
pub use metric::Metric;
pub use plan_rows::PlanRows;
pub use sql::{PlanSummary, SqlSummary};
pub use stage::{NotableTask, StageSummary};
pub use streaming::StreamingBatchSummary;
use streaming::over_state;
pub use sums::{Sums, TaskCounts};
pub use timeline::{Gap, Timeline};

/// All summaries of a run.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// The run as a whole.
    pub application: ApplicationSummary,
    /// When tasks ran.
    pub timeline: Timeline,
    /// Stage attempts, also those that never ran.
    pub stages: BTreeMap<StageKey, StageSummary>,
    /// Executors, the driver among them.
    pub executors: BTreeMap<ExecutorId, ExecutorSummary>,
    /// Jobs.
    pub jobs: BTreeMap<JobId, JobSummary>,
    /// SQL executions.
    pub sql_executions: BTreeMap<SqlExecutionId, SqlSummary>,
    /// Micro-batches, by start of their query and number.
    pub streaming_batches: Vec<StreamingBatchSummary>,
}

impl Features {
    /// The features of a run.
    pub fn of(run: &Run) -> Self {
        let slots = Slots::of(run);
        let timeline = Timeline::with_slots(run, &slots);
        let mut pass = Pass::default();
        let mut shares = Vec::new();
        let mut stages: BTreeMap<StageKey, StageSummary> = BTreeMap::new();
        for (&key, stage) in &run.stages {
            let mut summary = StageSummary::pass(run, stage, &slots, &mut pass, &mut shares);
            if summary.executors > 1 {
                executor::compare(&mut shares, stage, &mut pass);
            }
            summary.wall_clock_ms = timeline.stage_ms.get(&key).copied().unwrap_or(0.0);
            stages.insert(key, summary);
        }
        drop(pass);
        let executors = executor::summarise(run, shares);
        let application = ApplicationSummary::of(run, &stages, &executors, &timeline, &slots);
        let jobs = job::summarise(run, &stages, &timeline);
        let sql_executions = sql::summarise(run, &stages, &timeline);
        let streaming_batches = streaming::summarise(run, &stages);
        Self { application, timeline, stages, executors, jobs, sql_executions, streaming_batches }
    }
}
