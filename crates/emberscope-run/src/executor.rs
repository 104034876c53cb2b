//! Executors, their memory and when they were there.

use std::collections::BTreeMap;

use crate::ids::{ExecutorId, ResourceProfileId, StageKey};
use crate::task_column::TaskColumn;
use crate::units::{Bytes, Millis, Timestamp};

/// Peaks of an executor's metrics (`ExecutorMetrics`), by [`TaskColumn::executor_metrics`].
///
/// All zero is what Spark writes when it never polled: sources turn that into an empty value, and a process tree of zeros, which
/// it does not measure by default, into no value for any of its metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutorMetrics {
    values: BTreeMap<TaskColumn, u64>,
}

impl ExecutorMetrics {
    /// The peak of a metric in its column's unit; `None` when it was never polled.
    pub fn get(&self, column: TaskColumn) -> Option<u64> {
        self.values.get(&column).copied()
    }

    /// Raises a peak.
    pub fn raise(&mut self, column: TaskColumn, value: u64) {
        let peak = self.values.entry(column).or_insert(value);
        *peak = value.max(*peak);
    }

    /// Forgets a metric.
    pub fn clear(&mut self, column: TaskColumn) {
        self.values.remove(&column);
    }

    /// Raises every peak to those of `other`.
    pub fn merge(&mut self, other: &Self) {
        other.values.iter().for_each(|(&column, &value)| self.raise(column, value));
    }

    /// Whether nothing was polled.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The known metrics in Spark's order.
    pub fn iter(&self) -> impl Iterator<Item = (TaskColumn, u64)> + '_ {
        self.values.iter().map(|(&column, &value)| (column, value))
    }
}

/// A time during which an executor (or its host) was excluded from running tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// When it began.
    pub at: Timestamp,
    /// The stage attempt it was excluded for; `None` when for the whole application.
    pub stage: Option<StageKey>,
    /// Whether the whole host was excluded.
    pub whole_host: bool,
    /// Failed tasks that led to it, where Spark says.
    pub task_failures: Option<u64>,
    /// When it ended; `None` when it never did.
    pub until: Option<Timestamp>,
}

/// An executor; also the driver, whose block manager looks like one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Executor {
    /// Its id.
    pub id: ExecutorId,
    /// Its host.
    pub host: Option<String>,
    /// Cores for tasks; `None` for the driver of a cluster.
    pub cores: Option<u64>,
    /// Its resource profile.
    pub resource_profile: Option<ResourceProfileId>,
    /// Its custom resources by name: how many addresses.
    pub resources: BTreeMap<String, u64>,
    /// When it registered; `None` where only its tasks are known.
    pub added_at: Option<Timestamp>,
    /// When it went; `None` when it stayed to the end.
    pub removed_at: Option<Timestamp>,
    /// Spark's reason for its going.
    pub removed_reason: Option<String>,
    /// Memory of its block manager for execution and storage.
    pub max_memory: Option<Bytes>,
    /// The part of it on the heap.
    pub max_on_heap_memory: Option<Bytes>,
    /// The part of it off the heap.
    pub max_off_heap_memory: Option<Bytes>,
    /// Peaks over its life, from stage metrics, heartbeats and tasks.
    pub peaks: ExecutorMetrics,
    /// Its exclusions in the order of time.
    pub exclusions: Vec<Exclusion>,
}

impl Executor {
    /// How long it was held, to `end` when it was not removed; `None` when its start is not known.
    pub fn lifetime(&self, end: Option<Timestamp>) -> Option<Millis> {
        Some(self.removed_at.or(end)?.since(self.added_at?))
    }
}
