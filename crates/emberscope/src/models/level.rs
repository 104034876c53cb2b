//! What a model looks at: a stage attempt, an executor, a SQL execution or the whole run.

use std::fmt;

use emberscope_extract::features::catalogue::Table;
use emberscope_rules::Problem;
use emberscope_run::{ExecutorId, SqlExecutionId, StageKey};
use serde::{Deserialize, Serialize};

use crate::evaluate::LabelSubject;

/// What each row that a model judges stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A stage attempt that ran tasks.
    StageAttempt,
    /// An executor that runs tasks.
    Executor,
    /// A SQL execution.
    SqlExecution,
    /// The whole run.
    Run,
}

impl Level {
    /// Every level.
    pub const ALL: &'static [Self] = &[Self::StageAttempt, Self::Executor, Self::SqlExecution, Self::Run];

    /// The level at which a problem is told: that of what its labels name.
    pub fn of(problem: Problem) -> Self {
        use Problem as P;
        match problem {
            P::DataSkew
            | P::StragglerTask
            | P::TooFewPartitions
            | P::TooManyPartitions
            | P::MemorySpill
            | P::ShuffleFetchWait
            | P::DiskIoBound
            | P::LockContention
            | P::TaskFailures
            | P::StageRetry
            | P::LargeResult
            | P::SchedulerDelay
            | P::LargeClosure
            | P::PoorLocality => Self::StageAttempt,
            P::SlowExecutor | P::GcPressure | P::ExecutorOom | P::ExecutorLoss | P::MemoryNearLimit => Self::Executor,
            P::SmallFiles
            | P::PythonUdfOverhead
            | P::MissedBroadcast
            | P::JoinExplosion
            | P::FullScan
            | P::LargeBroadcast
            | P::RepeatedComputation => Self::SqlExecution,
            _ => Self::Run,
        }
    }

    /// The word in artefacts and reports; that of [`emberscope_rules::Subject::kind`].
    pub fn name(self) -> &'static str {
        match self {
            Self::StageAttempt => "stage-attempt",
            Self::Executor => "executor",
            Self::SqlExecution => "sql-execution",
            Self::Run => "run",
        }
    }

    /// The table whose rows are those of this level.
    pub(super) fn table(self) -> Table {
        match self {
            Self::StageAttempt => Table::StageAttempts,
            Self::Executor => Table::Executors,
            Self::SqlExecution => Table::SqlExecutions,
            Self::Run => Table::Application,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a row is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// A stage attempt.
    StageAttempt(StageKey),
    /// An executor.
    Executor(ExecutorId),
    /// A SQL execution.
    SqlExecution(SqlExecutionId),
    /// The run.
    Run,
}

impl RowKey {
    /// Whether a label's subject names it; a label of a stage means all its attempts.
    pub(super) fn is_named_by(&self, subject: &LabelSubject) -> bool {
        match self {
            Self::StageAttempt(key) => subject.stage_id == Some(key.stage_id.0),
            Self::Executor(id) => subject.executor_id.as_deref() == Some(id.0.as_str()),
            Self::SqlExecution(id) => subject.sql_execution_id == Some(id.0),
            Self::Run => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_of_the_vocabulary_is_told_at_a_level_with_a_table() {
        for &problem in Problem::ALL {
            let level = Level::of(problem);
            assert!(level.table().features().len() > 20, "{problem:?}");
        }
        assert_eq!(Level::of(Problem::DataSkew), Level::StageAttempt);
        assert_eq!(Level::of(Problem::CpuContention), Level::Run);
    }
}
