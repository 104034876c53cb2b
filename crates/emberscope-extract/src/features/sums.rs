//! Sums of every metric over a group of tasks, and how the attempts of the group ended.

use emberscope_run::TaskStatus;

use super::metric::Metric;

/// The sum of each metric over the attempts of a group; unknown where no attempt reports the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    values: [u64; Metric::COUNT],
    known: u64,
}

const _: () = assert!(Metric::COUNT <= 64, "one bit a metric");

impl Default for Sums {
    fn default() -> Self {
        Self { values: [0; Metric::COUNT], known: 0 }
    }
}

impl Sums {
    /// The sum of a metric in its unit; `None` when no attempt reports it.
    pub fn get(&self, metric: Metric) -> Option<u64> {
        (self.known >> metric as u32 & 1 == 1).then(|| self.values[metric as usize])
    }

    /// The sum of one metric over the sum of another; `None` when either is unknown or the second is 0.
    pub fn share(&self, part: Metric, whole: Metric) -> Option<f64> {
        ratio(self.get(part)?, self.get(whole)?)
    }

    /// CPU time over run time; `None` when either is unknown or no time was spent.
    pub fn cpu_ratio(&self) -> Option<f64> {
        Some(self.share(Metric::ExecutorCpuTime, Metric::ExecutorRunTime)? / 1e6)
    }

    /// Adds a value.
    pub(super) fn add(&mut self, metric: Metric, value: u64) {
        let sum = &mut self.values[metric as usize];
        *sum = sum.saturating_add(value);
        self.known |= 1 << metric as u32;
    }

    /// Adds the sums of another group.
    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, value) in self.values.iter_mut().zip(other.values) {
            *sum = sum.saturating_add(value);
        }
        self.known |= other.known;
    }
}

/// One number over another; `None` when the second is 0.
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Attempts of a group by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// All attempts that ended, without resubmissions.
    pub ended: u64,
    /// Successful.
    pub succeeded: u64,
    /// Failed, resubmissions not among them.
    pub failed: u64,
    /// Killed on purpose.
    pub killed: u64,
    /// Resubmitted after their output was lost.
    pub resubmitted: u64,
    /// Started and not ended.
    pub running: u64,
    /// Speculative copies among the ended.
    pub speculative: u64,
}

impl TaskCounts {
    /// Counts an attempt by the code of its status.
    pub(super) fn count(&mut self, code: u64) {
        match TaskStatus::from_code(code) {
            Some(TaskStatus::Success) => self.succeeded += 1,
            Some(TaskStatus::Failed) => self.failed += 1,
            Some(TaskStatus::Killed) => self.killed += 1,
            Some(TaskStatus::Resubmitted) => self.resubmitted += 1,
            None => {}
        }
        self.ended += u64::from(code != TaskStatus::Resubmitted.code());
    }

    /// Adds the counts of another group.
    pub(super) fn merge(&mut self, other: &Self) {
        self.ended += other.ended;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.killed += other.killed;
        self.resubmitted += other.resubmitted;
        self.running += other.running;
        self.speculative += other.speculative;
    }
}
