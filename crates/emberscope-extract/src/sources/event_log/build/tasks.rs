//! Tasks and why they failed.

use std::hash::{DefaultHasher, Hash, Hasher};

use compact_str::CompactString;
use emberscope_run::{
    Executor, ExecutorId, Failure, IssueCode, RunningTask, StageKey, TaskColumn as C, TaskEndKind, TaskId, TaskRow,
};

use super::{Builder, Position};
use crate::sources::event_log::events::{FailureText, TaskEnd, TaskStart};

/// Task ids above this are not looked at for duplicates: Spark counts them up from 0.
const MAX_DENSE_ID: u64 = 1 << 28;

/// Tasks after which all stage attempts pack what they hold: many attempts of few tasks would else hold it unpacked.
const TASKS_UNPACKED: usize = 1 << 15;

/// Tasks that may run at a time: what has started and never ended is kept as it is, and unpacked.
const MAX_RUNNING: usize = 1_000_000;

/// Which tasks have ended, a bit each.
#[derive(Debug, Default)]
pub(super) struct EndedTasks {
    bits: Vec<u64>,
}

impl EndedTasks {
    /// Marks a task; whether it was marked before. Ids beyond the bound never were.
    fn mark(&mut self, id: u64) -> bool {
        if id >= MAX_DENSE_ID {
            return false;
        }
        let (word, bit) = ((id / 64) as usize, 1_u64 << (id % 64));
        if word >= self.bits.len() {
            self.bits.resize((word + 1).next_power_of_two(), 0);
        }
        let Some(word) = self.bits.get_mut(word) else { return false };
        let before = *word & bit != 0;
        *word |= bit;
        before
    }
}

/// What makes two failures the same cause: stage, kind, class and the message without its numbers.
pub(super) type FailureKey = (StageKey, TaskEndKind, u64);

impl Builder {
    pub(super) fn task_start(&mut self, start: TaskStart, at: Position<'_>) {
        self.saw(start.launched_at);
        self.task_executor(&start.executor, &start.host, at);
        let limit = self.limits.max_tasks.min(MAX_RUNNING);
        let full = self.running_count >= limit;
        if let Some(stage) = self.stage(start.stage, at) {
            stage.tasks_started += 1;
            if full {
                let detail = || format!("more than {limit} running tasks");
                self.run.issues.add(IssueCode::LimitReached, || at.text(), detail);
                return;
            }
            let task = RunningTask {
                partition: start.partition,
                attempt: start.attempt,
                launched_at: start.launched_at,
                executor: ExecutorId(start.executor),
                speculative: start.speculative,
            };
            let before = stage.running.insert(start.task_id, task);
            self.running_count += usize::from(before.is_none());
        }
    }

    pub(super) fn task_end(&mut self, mut end: TaskEnd, at: Position<'_>) {
        let id = end.row.get(C::TaskId).unwrap_or(0);
        let resubmitted = end.kind == TaskEndKind::Resubmitted;
        if !resubmitted && self.ended.mark(id) {
            self.run.issues.add(IssueCode::DuplicateTaskEnd, || at.text(), || format!("task {id}"));
            return;
        }
        if self.task_count >= self.limits.max_tasks {
            let limit = self.limits.max_tasks;
            self.run.issues.add(IssueCode::LimitReached, || at.text(), || format!("more than {limit} tasks"));
            return;
        }
        self.saw(end.row.launched_at());
        self.saw(end.row.finished_at());
        if let Some((executor, host)) = self.task_executor(&end.executor, &end.host, at) {
            end.row.set(C::Executor, executor);
            if let Some(host) = host {
                end.row.set(C::Host, host);
            }
            self.raise_peaks(executor, &end.row);
        }
        if let Some(text) = end.failure.take() {
            let failure = self.failure(&end, *text, TaskId(id), at);
            if let Some(failure) = failure {
                end.row.set(C::Failure, u64::from(failure));
            }
        }
        for block in &end.updated_blocks {
            self.block_update(block, at);
        }
        let stages = self.run.stages.len();
        let Some(stage) = self.stage(end.stage, at) else { return };
        let started = stage.running.remove(&TaskId(id)).is_some();
        if stage.task_type.is_none() {
            stage.task_type =
                end.result_task.map(|result| if result { "ResultTask" } else { "ShuffleMapTask" }.to_owned());
        }
        stage.tasks.push(end.row);
        self.running_count -= usize::from(started);
        self.task_count += 1;
        if self.task_count.is_multiple_of(TASKS_UNPACKED) {
            self.run.stages.values_mut().for_each(|stage| stage.tasks.seal());
        }
        if self.run.stages.len() > stages {
            let detail = || format!("task {id} of stage {}", end.stage);
            self.run.issues.add(IssueCode::TaskOfUnknownStage, || at.text(), detail);
        } else if !started && !resubmitted {
            self.run.issues.add(IssueCode::TaskWithoutStart, || at.text(), || format!("task {id}"));
        }
    }

    /// The indices of a task's executor and host; the executor is noted where no other event says that it is there.
    fn task_executor(
        &mut self,
        id: &CompactString,
        host: &CompactString,
        at: Position<'_>,
    ) -> Option<(u64, Option<u64>)> {
        let named = self.run.executor_names.len();
        let index = self.executor_index(id, at)?;
        let host_index = self.host_index(host, at);
        if self.run.executor_names.len() > named {
            let name = (!host.is_empty()).then(|| host.to_string());
            self.run.executors.entry(ExecutorId(id.clone())).or_insert_with_key(|id| Executor {
                id: id.clone(),
                host: name,
                ..Executor::default()
            });
        }
        Some((index, host_index))
    }

    fn raise_peaks(&mut self, executor: u64, row: &TaskRow) {
        let columns = Self::peak_columns();
        if columns.first().is_none_or(|&first| row.get(first).is_none()) {
            return;
        }
        let index = executor as usize;
        if index >= self.task_peaks.len() {
            self.task_peaks.resize(index + 1, None);
        }
        let Some(slot) = self.task_peaks.get_mut(index) else { return };
        let peaks = slot.get_or_insert_with(|| vec![emberscope_run::NULL; columns.len()]);
        for (peak, &column) in peaks.iter_mut().zip(columns) {
            if let Some(value) = row.get(column) {
                *peak = if *peak == emberscope_run::NULL { value } else { value.max(*peak) };
            }
        }
    }

    /// The index of a failure's cause, new or seen before.
    fn failure(&mut self, end: &TaskEnd, text: FailureText, task: TaskId, at: Position<'_>) -> Option<u32> {
        let mut hasher = DefaultHasher::new();
        text.class.hash(&mut hasher);
        // Task, partition and stage numbers, addresses and times differ between occurrences of one cause.
        for byte in text.message.bytes().take(400).filter(|byte| !byte.is_ascii_digit()) {
            byte.hash(&mut hasher);
        }
        let key = (end.stage, end.kind, hasher.finish());
        if let Some(&index) = self.failures.get(&key) {
            if let Some(failure) = self.run.failures.get_mut(index as usize) {
                failure.count += 1;
            }
            return Some(index);
        }
        if self.run.failures.len() >= self.limits.max_failures {
            let limit = self.limits.max_failures;
            let detail = || format!("more than {limit} causes of failures");
            self.run.issues.add(IssueCode::TooManyIds, || at.text(), detail);
            return None;
        }
        let index = u32::try_from(self.run.failures.len()).ok()?;
        self.failures.insert(key, index);
        self.run.failures.push(Failure {
            kind: end.kind,
            class: text.class,
            message: text.message,
            stack_trace: text.stack_trace,
            stage: end.stage,
            first_task: task,
            executor: ExecutorId(end.executor.clone()),
            caused_by_app: text.caused_by_app,
            count: 1,
        });
        Some(index)
    }
}
