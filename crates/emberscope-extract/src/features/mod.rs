//! Features: a run in numbers, at the levels of the application, jobs, stage attempts, executors and SQL executions.
//!
//! [`Features::of`] computes typed summaries straight from the packed tasks; rules and models read those. The
//! catalogue names every feature with unit, meaning, Spark's field and what null means; the tables are made from it.

mod application;
mod distribution;
mod executor;
mod metric;
mod stage;
mod timeline;

use std::collections::BTreeMap;

use emberscope_run::{ExecutorId, Run, StageKey};

pub use application::ApplicationSummary;
pub use distribution::{Distribution, Quantiles};
pub use executor::ExecutorSummary;
pub use metric::Metric;
pub use stage::{NotableTask, StageSummary, TaskCounts};
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
}

impl Features {
    /// The features of a run.
    pub fn of(run: &Run) -> Self {
        let timeline = Timeline::of(run);
        let mut stages: BTreeMap<StageKey, StageSummary> =
            run.stages.iter().map(|(&key, stage)| (key, StageSummary::of(run, stage))).collect();
        for (key, ms) in &timeline.stage_ms {
            if let Some(stage) = stages.get_mut(key) {
                stage.wall_clock_ms = *ms;
            }
        }
        let executors = executor::summarise(run, &stages);
        let application = ApplicationSummary::of(run, &stages, &executors, &timeline);
        Self { application, timeline, stages, executors }
    }
}
