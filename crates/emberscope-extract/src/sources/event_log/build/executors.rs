//! Executors, their metrics and exclusions.

use compact_str::CompactString;
use emberscope_run::{Exclusion, ExecutorId, ExecutorMetrics, StageKey, Timestamp};

use super::{Builder, Position};
use crate::sources::event_log::events::{BlockManager, ExecutorAdded};

/// Executors that are looked at for the cost of one question.
const EXECUTORS_A_QUESTION: usize = 1_000;

impl Builder {
    pub(super) fn executor_added(&mut self, added: ExecutorAdded, at: Position<'_>) {
        self.saw(added.at);
        if self.executor_index(&added.id, at).is_none() {
            return;
        }
        if let Some(executor) = self.executor(&added.id, at) {
            executor.added_at = added.at;
            executor.removed_at = None;
            executor.removed_reason = None;
            executor.host = added.host.or(executor.host.take());
            executor.cores = added.cores.or(executor.cores);
            executor.resource_profile = added.resource_profile;
            executor.resources = added.resources;
        }
    }

    pub(super) fn executor_removed(
        &mut self,
        id: &CompactString,
        time: Option<Timestamp>,
        reason: Option<String>,
        at: Position<'_>,
    ) {
        self.saw(time);
        self.blocks.executor_gone(id);
        if let Some(executor) = self.executor(id, at)
            // A decommissioned executor is removed again when its process ends. The first removal counts, as in
            // `AppStatusListener`: its reason says why.
            && executor.removed_at.is_none()
        {
            executor.removed_at = time;
            executor.removed_reason = reason;
        }
    }

    pub(super) fn block_manager_added(&mut self, manager: BlockManager, at: Position<'_>) {
        self.saw(manager.at);
        if let Some(executor) = self.executor(&manager.executor, at) {
            executor.host = executor.host.take().or(manager.host);
            executor.added_at = executor.added_at.or(manager.at);
            executor.max_memory = manager.max_memory;
            executor.max_on_heap_memory = manager.max_on_heap;
            executor.max_off_heap_memory = manager.max_off_heap;
        }
    }

    /// Peaks of an executor, while a stage ran or (without one) at a heartbeat.
    pub(super) fn stage_metrics(
        &mut self,
        id: &CompactString,
        stage: Option<StageKey>,
        metrics: &ExecutorMetrics,
        at: Position<'_>,
    ) {
        if metrics.is_empty() {
            return;
        }
        if let Some(executor) = self.executor(id, at) {
            executor.peaks.merge(metrics);
        }
        // Heartbeats name stage -1 for what belongs to none; only stages that are there take it.
        if let Some(stage) = stage.and_then(|key| self.run.stages.get_mut(&key)) {
            stage.executor_peaks.entry(ExecutorId(id.clone())).or_default().merge(metrics);
        }
    }

    pub(super) fn exclude(
        &mut self,
        id: &CompactString,
        time: Timestamp,
        stage: Option<StageKey>,
        task_failures: Option<u64>,
        whole_host: bool,
        at: Position<'_>,
    ) {
        self.saw(Some(time));
        if !self.room(self.exclusions, "exclusions", at) {
            return;
        }
        if let Some(executor) = self.executor(id, at) {
            executor.exclusions.push(Exclusion { at: time, stage, whole_host, task_failures, until: None });
            self.exclusions += 1;
        }
    }

    pub(super) fn include(&mut self, id: &CompactString, time: Timestamp) {
        if let Some(executor) = self.run.executors.get_mut(&ExecutorId(id.clone())) {
            // Those of the application end together: behind the last that has ended there is none that has not.
            let of_application = executor.exclusions.iter_mut().rev().filter(|exclusion| exclusion.stage.is_none());
            for exclusion in of_application.take_while(|exclusion| exclusion.until.is_none()) {
                exclusion.until = Some(time);
            }
        }
    }

    /// The executors on a host; the driver is none that could be excluded. Asking costs a look at every executor, so a log
    /// may ask only so often.
    pub(super) fn executors_of(&mut self, host: &str, at: Position<'_>) -> Vec<CompactString> {
        if !self.room(self.host_questions, "exclusions of hosts", at) {
            return Vec::new();
        }
        self.host_questions += 1 + self.run.executors.len() / EXECUTORS_A_QUESTION;
        let on_host =
            |executor: &&emberscope_run::Executor| executor.host.as_deref() == Some(host) && !executor.id.is_driver();
        self.run.executors.values().filter(on_host).map(|executor| executor.id.0.clone()).collect()
    }
}
