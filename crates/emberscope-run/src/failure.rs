//! Why tasks failed, each distinct cause once.

use serde::Serialize;

use crate::ids::{ExecutorId, StageKey, TaskId};

/// Index of a failure in [`crate::Run::failures`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FailureId(pub u32);

macro_rules! end_kinds {
    ($($variant:ident $name:literal $meaning:literal),+ $(,)?) => {
        /// Spark's reasons for the end of a task (`org.apache.spark.TaskEndReason`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum TaskEndKind {
            $(#[doc = $meaning] $variant),+
        }

        impl TaskEndKind {
            /// All of them, in the order of their codes in the store.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Spark's word.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

end_kinds! {
    Success "Success" "The task succeeded.",
    ExceptionFailure "ExceptionFailure" "User or Spark code threw.",
    FetchFailed "FetchFailed" "Shuffle data could not be fetched; the stage that made them runs again.",
    ExecutorLostFailure "ExecutorLostFailure" "The executor that ran it went away.",
    TaskKilled "TaskKilled" "It was killed on purpose.",
    TaskCommitDenied "TaskCommitDenied" "The driver let another attempt commit its output.",
    TaskResultLost "TaskResultLost" "The result was lost before the driver had it.",
    Resubmitted "Resubmitted" "Its output was lost with an executor after it had succeeded; it runs again.",
    UnknownReason "UnknownReason" "Spark does not say, or a reason that is not known here.",
}

impl TaskEndKind {
    /// The code in [`crate::TaskColumn::EndReason`].
    pub fn code(self) -> u64 {
        self as u64
    }

    /// The reason of a code.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// The reason that Spark calls `name`; [`Self::UnknownReason`] for any other.
    pub fn from_name(name: &str) -> Self {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).unwrap_or(Self::UnknownReason)
    }
}

/// One distinct cause of failed or killed tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Spark's reason.
    pub kind: TaskEndKind,
    /// Class of the exception, the reason of the loss or of the kill; empty when Spark gives none.
    pub class: String,
    /// The message, cut at a limit.
    pub message: String,
    /// The full stack trace with its causes, cut at a limit; `None` where there is none.
    pub stack_trace: Option<String>,
    /// The stage attempt where it came first.
    pub stage: StageKey,
    /// The task that failed first with it.
    pub first_task: TaskId,
    /// The executor of that task.
    pub executor: ExecutorId,
    /// Whether Spark says that the application itself caused the loss of the executor.
    pub caused_by_app: Option<bool>,
    /// How many tasks ended with it.
    pub count: u64,
}
