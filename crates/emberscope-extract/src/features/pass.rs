//! One pass over the tasks of a stage attempt: each column is unpacked once, and only while it is needed.
//!
//! The buffers are kept from stage to stage. At its most a pass holds 60 bytes a task of one stage attempt, whatever
//! the number of columns.

use std::collections::BTreeSet;

use emberscope_run::{NULL, StageAttempt, TaskColumn, TaskStatus};

use super::distribution::Distribution;
use super::metric::Metric;

/// The tasks of one stage attempt, by column.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Codes of how each ended.
    pub(super) status: Vec<u64>,
    /// Indices into [`emberscope_run::Run::executor_names`].
    pub(super) executor: Vec<u64>,
    /// Launch times.
    pub(super) launch: Vec<u64>,
    /// Finish times.
    pub(super) finish: Vec<u64>,
    /// The metric or column asked for last.
    pub(super) values: Vec<u64>,
    /// Values of successful tasks, put in any order by who takes quantiles of them.
    pub(super) successful: Vec<u64>,
    /// For anybody, while nothing is computed.
    pub(super) scratch: Vec<u64>,
    /// What comes of a metric that is 0 in every task of the stage attempt, and the places of the executors it counts for.
    pub(super) zeros: Option<(Option<Distribution>, BTreeSet<usize>)>,
}

impl Pass {
    /// Turns to another stage attempt.
    pub(super) fn start(&mut self, stage: &StageAttempt) {
        self.zeros = None;
        read(stage, TaskColumn::Status, &mut self.status);
        read(stage, TaskColumn::Executor, &mut self.executor);
        read(stage, TaskColumn::LaunchTime, &mut self.launch);
        read(stage, TaskColumn::FinishTime, &mut self.finish);
    }

    /// Unpacks a column into `values`.
    pub(super) fn column(&mut self, stage: &StageAttempt, column: TaskColumn) {
        read(stage, column, &mut self.values);
    }

    /// Computes a metric into `values`.
    pub(super) fn metric(&mut self, stage: &StageAttempt, metric: Metric) {
        use TaskColumn as C;
        if let Some(column) = metric.column() {
            return self.column(stage, column);
        }
        match metric {
            Metric::ShuffleReadBytes => self.sum(stage, &[C::ShuffleLocalBytesRead, C::ShuffleRemoteBytesRead]),
            Metric::BytesIn => {
                self.sum(stage, &[C::InputBytes, C::ShuffleLocalBytesRead, C::ShuffleRemoteBytesRead]);
            }
            Metric::RecordsIn => self.sum(stage, &[C::InputRecords, C::ShuffleRecordsRead]),
            Metric::GettingResultTime => self.getting_result(stage),
            Metric::SchedulerDelay => {
                self.getting_result(stage);
                for (delay, (&launch, &finish)) in self.values.iter_mut().zip(self.launch.iter().zip(&self.finish)) {
                    *delay = minus(duration(launch, finish), *delay);
                }
                for column in [C::ExecutorDeserializeTime, C::ExecutorRunTime, C::ResultSerializationTime] {
                    read(stage, column, &mut self.scratch);
                    self.values.iter_mut().zip(&self.scratch).for_each(|(delay, &part)| *delay = minus(*delay, part));
                }
            }
            _ => {
                self.values.clear();
                self.values
                    .extend(self.launch.iter().zip(&self.finish).map(|(&launch, &finish)| duration(launch, finish)));
            }
        }
    }

    /// The tasks as (value, status, executor).
    pub(super) fn rows(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.values
            .iter()
            .zip(self.status.iter().zip(&self.executor))
            .map(|(&value, (&status, &executor))| (value, status, executor))
    }

    /// The index of the successful task with the largest of `values`, the first of equals; `None` when none is known.
    pub(super) fn largest(&self) -> Option<usize> {
        let mut best: Option<(usize, u64)> = None;
        for (index, (value, status, _)) in self.rows().enumerate() {
            if status == TaskStatus::Success.code() && value != NULL && best.is_none_or(|(_, most)| value > most) {
                best = Some((index, value));
            }
        }
        best.map(|(index, _)| index)
    }

    /// Sums of columns, of which those unknown count nothing; unknown where all are.
    fn sum(&mut self, stage: &StageAttempt, columns: &[TaskColumn]) {
        self.values.clear();
        self.values.resize(self.status.len(), NULL);
        for &column in columns {
            read(stage, column, &mut self.scratch);
            self.values.iter_mut().zip(&self.scratch).for_each(|(sum, &value)| *sum = plus(*sum, value));
        }
    }

    fn getting_result(&mut self, stage: &StageAttempt) {
        read(stage, TaskColumn::GettingResultAt, &mut self.values);
        for (value, &finish) in self.values.iter_mut().zip(&self.finish) {
            *value = match (*value, finish) {
                (_, NULL) => NULL,
                (NULL, _) => 0,
                (at, finish) => finish.saturating_sub(at),
            };
        }
    }
}

fn read(stage: &StageAttempt, column: TaskColumn, out: &mut Vec<u64>) {
    out.clear();
    stage.tasks.read_column(column, out);
}

fn duration(launch: u64, finish: u64) -> u64 {
    minus(finish, launch)
}

fn minus(a: u64, b: u64) -> u64 {
    if a == NULL || b == NULL { NULL } else { a.saturating_sub(b) }
}

fn plus(a: u64, b: u64) -> u64 {
    match (a, b) {
        (NULL, other) | (other, NULL) => other,
        (a, b) => a.saturating_add(b).min(NULL - 1),
    }
}

#[cfg(test)]
mod tests {
    use emberscope_run::TaskRow;
    use proptest::prelude::*;

    use super::*;

    fn cell() -> impl Strategy<Value = u64> {
        prop_oneof![2 => Just(NULL), 5 => 0..2_000_u64, 1 => any::<u64>()]
    }

    proptest! {
        #[test]
        fn a_metric_by_column_is_the_metric_by_task(
            tasks in proptest::collection::vec(proptest::collection::vec(cell(), TaskColumn::COUNT), 1..20),
        ) {
            let mut stage = StageAttempt::default();
            let mut rows = Vec::new();
            for values in tasks {
                let mut row = TaskRow::default();
                TaskColumn::ALL.iter().zip(values).for_each(|(&column, value)| row.set(column, value));
                rows.push(row.clone());
                stage.tasks.push(row);
            }
            let mut pass = Pass::default();
            pass.start(&stage);
            for &metric in Metric::ALL {
                pass.metric(&stage, metric);
                let expected: Vec<_> = rows.iter().map(|row| metric.of(row).map_or(NULL, |v| v.min(NULL - 1))).collect();
                prop_assert_eq!(&pass.values, &expected, "{:?}", metric);
            }
        }
    }
}
