//! Rows of `tasks`, a part of the packed store at a time.

use std::borrow::Cow;

use emberscope_run::{NULL, StageAttempt, TaskColumn, TaskPart, TaskRow};

use super::batch::{Batch, Column, NULL_CODE, NULL_INTEGER, Texts};
use crate::features::catalogue::{Feature, Kind, Row, RunRef, TaskRef, TaskValue, Value};
use crate::features::{Metric, StageSummary};

/// The tasks of a part, by column, and what was looked up for the columns of a batch.
pub(super) struct TaskRows<'a> {
    of: RunRef<'a>,
    columns: Vec<Vec<u64>>,
    metrics: Vec<Vec<u64>>,
    len: usize,
    /// By column of the table: the batch's code of each index or code of the store, as far as it was met.
    codes: Vec<Vec<Option<u32>>>,
    generation: Option<u64>,
}

impl<'a> TaskRows<'a> {
    pub(super) fn new(of: RunRef<'a>) -> Self {
        Self {
            of,
            columns: vec![Vec::new(); TaskColumn::COUNT],
            metrics: vec![Vec::new(); Metric::COUNT],
            len: 0,
            codes: Vec::new(),
            generation: None,
        }
    }

    /// Unpacks a part.
    pub(super) fn read(&mut self, part: TaskPart<'_>) {
        self.len = part.len();
        self.columns.iter_mut().for_each(Vec::clear);
        part.read(&mut self.columns);
        let column = |column: TaskColumn| self.columns[column as usize].iter().copied();
        for &metric in Metric::ALL.iter().filter(|metric| metric.column().is_none()) {
            let out = &mut self.metrics[metric as usize];
            out.clear();
            derive(metric, column, out);
        }
    }

    /// Appends them to a batch of `tasks`.
    pub(super) fn append(&mut self, stage: &'a StageAttempt, summary: &'a StageSummary, batch: &mut Batch) {
        if self.generation != Some(batch.generation()) {
            self.generation = Some(batch.generation());
            self.codes.clear();
        }
        let mut codes = std::mem::take(&mut self.codes);
        codes.resize_with(batch.columns().count(), Vec::new);
        for ((feature, column), codes) in batch.columns_mut().zip(&mut codes) {
            match (feature.task_value(), column) {
                (Some(value), Column::Integers(out)) => self.integers(value, stage, summary, out),
                (Some(value), Column::Floats(out)) => self.floats(value, summary, out),
                (Some(TaskValue::Column(column)), Column::Flags(out)) => {
                    out.extend(
                        self.column(column)
                            .iter()
                            .map(|&value| if value == NULL { u8::MAX } else { u8::from(value == 1) }),
                    );
                }
                (Some(value), Column::Texts(out)) => self.texts(feature, value, stage, summary, out, codes),
                (None, Column::Texts(out)) => {
                    // A key: the same for the whole run.
                    let code =
                        codes.first().copied().flatten().unwrap_or_else(|| self.key(feature, stage, summary, out));
                    codes.resize(1, Some(code));
                    out.codes.resize(out.codes.len() + self.len, code);
                }
                (_, Column::Flags(out)) => out.resize(out.len() + self.len, u8::MAX),
                (None, Column::Integers(out)) => out.resize(out.len() + self.len, NULL_INTEGER),
                (None, Column::Floats(out)) => out.resize(out.len() + self.len, f64::NAN),
            }
        }
        self.codes = codes;
        batch.grow(self.len);
    }

    fn column(&self, column: TaskColumn) -> &[u64] {
        &self.columns[column as usize]
    }

    fn metric(&self, metric: Metric) -> &[u64] {
        metric.column().map_or_else(|| self.metrics[metric as usize].as_slice(), |column| self.column(column))
    }

    fn integers(&self, value: TaskValue, stage: &StageAttempt, summary: &StageSummary, out: &mut Vec<i64>) {
        let integer = |value: u64| if value == NULL { NULL_INTEGER } else { i64::try_from(value).unwrap_or(i64::MAX) };
        match value {
            TaskValue::StageId => out.resize(out.len() + self.len, integer(stage.key.stage_id.0.min(NULL - 1))),
            TaskValue::StageAttempt => out.resize(out.len() + self.len, i64::from(stage.key.attempt)),
            TaskValue::Column(column) => out.extend(self.column(column).iter().map(|&value| integer(value))),
            TaskValue::Metric(metric) => out.extend(self.metric(metric).iter().map(|&value| integer(value))),
            TaskValue::Trace(column) => match &self.of.run.trace {
                Some(trace) => out.extend(self.column(TaskColumn::TaskId).iter().map(|id| {
                    let value = trace.tasks.get(id).and_then(|task| task.get(column));
                    integer(value.unwrap_or(NULL))
                })),
                None => out.resize(out.len() + self.len, NULL_INTEGER),
            },
            TaskValue::LaunchDelay => {
                let first = summary.first_launch.map_or(NULL, |first| first.0 as u64);
                out.extend(self.column(TaskColumn::LaunchTime).iter().map(|&launch| {
                    if launch == NULL || first == NULL || i64::try_from(launch).is_err() {
                        NULL_INTEGER
                    } else {
                        integer(launch.saturating_sub(first))
                    }
                }));
            }
            TaskValue::FailureClass | TaskValue::Quotient(..) | TaskValue::OverMedian(_) => {
                out.resize(out.len() + self.len, NULL_INTEGER);
            }
        }
    }

    fn floats(&self, value: TaskValue, summary: &StageSummary, out: &mut Vec<f64>) {
        match value {
            TaskValue::Quotient(part, whole, scale) => {
                let pairs = self.metric(part).iter().zip(self.metric(whole));
                out.extend(pairs.map(|(&part, &whole)| {
                    if part == NULL || whole == NULL || whole == 0 {
                        f64::NAN
                    } else {
                        part as f64 / whole as f64 / scale
                    }
                }));
            }
            TaskValue::OverMedian(metric) => {
                let median = summary.quantiles(metric).map(|quantiles| quantiles.p50).filter(|&median| median > 0);
                let median = median.map_or(f64::NAN, |median| median as f64);
                out.extend(
                    self.metric(metric)
                        .iter()
                        .map(|&value| if value == NULL { f64::NAN } else { value as f64 / median }),
                );
            }
            _ => out.resize(out.len() + self.len, f64::NAN),
        }
    }

    fn texts(
        &self,
        feature: &'static Feature,
        value: TaskValue,
        stage: &'a StageAttempt,
        summary: &'a StageSummary,
        out: &mut Texts,
        known: &mut Vec<Option<u32>>,
    ) {
        let column = match value {
            TaskValue::Column(column) => column,
            TaskValue::FailureClass => TaskColumn::Failure,
            _ => return out.codes.resize(out.codes.len() + self.len, NULL_CODE),
        };
        debug_assert_eq!(feature.kind, Kind::Text);
        let mut task = TaskRow::default();
        for &index in self.column(column) {
            let place = usize::try_from(index).ok().filter(|&place| place < NAMES);
            let code = place.and_then(|place| known.get(place).copied().flatten()).unwrap_or_else(|| {
                task.set(column, index);
                let text = match value.of(&TaskRef { of: self.of, stage, summary, task: &task }) {
                    Value::Text(text) => text,
                    _ => Cow::Borrowed(""),
                };
                let code = if text.is_empty() { NULL_CODE } else { out.code(&text) };
                if let Some(place) = place {
                    known.resize(known.len().max(place + 1), None);
                    known[place] = Some(code);
                }
                code
            });
            out.codes.push(code);
        }
    }

    fn key(
        &self,
        feature: &'static Feature,
        stage: &'a StageAttempt,
        summary: &'a StageSummary,
        out: &mut Texts,
    ) -> u32 {
        match feature.value(&Row::Task(TaskRef { of: self.of, stage, summary, task: &TaskRow::default() })) {
            Value::Text(text) => out.code(&text),
            _ => NULL_CODE,
        }
    }
}

/// Names whose codes are remembered by their index in the run; there are never that many.
const NAMES: usize = 1 << 20;

/// A metric that is derived from several columns.
fn derive<I: Iterator<Item = u64>>(metric: Metric, column: impl Fn(TaskColumn) -> I, out: &mut Vec<u64>) {
    use TaskColumn as C;
    let minus = |a: u64, b: u64| if a == NULL || b == NULL { NULL } else { a.saturating_sub(b) };
    let plus = |a: u64, b: u64| match (a, b) {
        (NULL, other) | (other, NULL) => other,
        (a, b) => a.saturating_add(b).min(NULL - 1),
    };
    let getting = |at: u64, finish: u64| match (at, finish) {
        (_, NULL) => NULL,
        (NULL, _) => 0,
        (at, finish) => finish.saturating_sub(at),
    };
    let zip = |a: C, b: C| column(a).zip(column(b));
    match metric {
        Metric::Duration => out.extend(zip(C::FinishTime, C::LaunchTime).map(|(finish, launch)| minus(finish, launch))),
        Metric::GettingResultTime => {
            out.extend(zip(C::GettingResultAt, C::FinishTime).map(|(at, finish)| getting(at, finish)));
        }
        Metric::SchedulerDelay => {
            let times = zip(C::FinishTime, C::LaunchTime).zip(column(C::GettingResultAt));
            let parts = zip(C::ExecutorDeserializeTime, C::ExecutorRunTime).zip(column(C::ResultSerializationTime));
            out.extend(times.zip(parts).map(|(((finish, launch), at), ((deserialize, run), serialize))| {
                let rest = minus(minus(minus(minus(finish, launch), deserialize), run), serialize);
                minus(rest, getting(at, finish))
            }));
        }
        Metric::ShuffleReadBytes => {
            out.extend(zip(C::ShuffleLocalBytesRead, C::ShuffleRemoteBytesRead).map(|(a, b)| plus(a, b)));
        }
        Metric::BytesIn => {
            let shuffled = zip(C::ShuffleLocalBytesRead, C::ShuffleRemoteBytesRead);
            out.extend(
                column(C::InputBytes).zip(shuffled).map(|(input, (local, remote))| plus(input, plus(local, remote))),
            );
        }
        Metric::RecordsIn => out.extend(zip(C::InputRecords, C::ShuffleRecordsRead).map(|(a, b)| plus(a, b))),
        _ => {}
    }
}
