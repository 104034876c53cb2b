//! Ids are types, so that a stage id is never taken for a job id. An executor id is text: `driver` is one.

use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

macro_rules! numeric_id {
    ($(#[$doc:meta] $name:ident),+ $(,)?) => {$(
        #[$doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

numeric_id! {
    /// A Spark job's id, unique in its application.
    JobId,
    /// A stage's id, unique in its application; a retried stage keeps it (see [`StageKey`]).
    StageId,
    /// A task's id, unique in its application: every attempt of a partition has its own.
    TaskId,
    /// A SQL execution's id.
    SqlExecutionId,
    /// An RDD's id.
    RddId,
    /// An accumulator's id; SQL metrics are accumulators.
    AccumulatorId,
    /// A resource profile's id; 0 is the default profile.
    ResourceProfileId,
}

/// The key of every stage feature: the stage and which attempt of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct StageKey {
    /// The stage.
    pub stage_id: StageId,
    /// 0 for the first attempt, counted up when fetch failures make the stage run again.
    pub attempt: u32,
}

impl fmt::Display for StageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.stage_id, self.attempt)
    }
}

/// An executor's id as Spark writes it: `driver`, `0`, `17`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutorId(pub CompactString);

impl ExecutorId {
    /// The id that Spark gives to the driver's own block manager, and to the one executor of `local[n]`.
    pub const DRIVER: &'static str = "driver";

    /// Whether this is the driver.
    pub fn is_driver(&self) -> bool {
        // Before Spark 1.5 the driver called itself `<driver>`.
        self.0 == Self::DRIVER || self.0 == "<driver>"
    }

    fn order(&self) -> (u64, &str) {
        (self.0.parse().unwrap_or(u64::MAX), &self.0)
    }
}

impl PartialOrd for ExecutorId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Numeric ids in the order of their numbers, then the others by name.
impl Ord for ExecutorId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl From<&str> for ExecutorId {
    fn from(id: &str) -> Self {
        Self(CompactString::from(id))
    }
}

impl fmt::Display for ExecutorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
