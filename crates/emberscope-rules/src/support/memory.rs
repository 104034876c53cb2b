//! How much memory a task of a stage had, and which setting gives it more.

use emberscope_extract::features::StageSummary;
use emberscope_run::{ExecutorMetrics, TaskColumn, Unit};

use crate::deployment::is_local;
use crate::finding::Evidence;
use crate::rule::Context;
use crate::settings::Settings;
use crate::words;

const MIB: f64 = 1_048_576.0;
/// Heap that Spark sets aside before it divides the rest (`UnifiedMemoryManager.RESERVED_SYSTEM_MEMORY_BYTES`).
const RESERVED_BYTES: f64 = 300.0 * MIB;
/// Above this heap the JVM gives up compressed object pointers and needs more memory for the same objects.
const MAX_HEAP_BYTES: f64 = 32.0 * 1_024.0 * MIB;

/// A peak of an executor; `None` when it was never polled. Spark writes 0 for whatever it did not poll: every metric of the
/// process tree where that is off or there is no `/proc`, and a heap that no poll came in time for.
pub(crate) fn polled(peaks: &ExecutorMetrics, column: TaskColumn) -> Option<u64> {
    let witness = match column {
        TaskColumn::PeakTreeJvmVirtual
        | TaskColumn::PeakTreeJvmRss
        | TaskColumn::PeakTreePythonVirtual
        | TaskColumn::PeakTreePythonRss
        | TaskColumn::PeakTreeOtherVirtual
        | TaskColumn::PeakTreeOtherRss => TaskColumn::PeakTreeJvmRss,
        // A JVM that runs has something on its heap.
        _ => TaskColumn::PeakJvmHeap,
    };
    let value = peaks.get(column)?;
    (value > 0 || peaks.get(witness).is_some_and(|witness| witness > 0)).then_some(value)
}

/// The memory of the executors that ran a stage.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Memory {
    /// Whether the driver itself ran the tasks (local mode): executor settings have no effect there.
    pub(crate) local: bool,
    /// The setting of the heap: `spark.executor.memory`, or `spark.driver.memory` in local mode.
    pub(crate) key: &'static str,
    /// The heap in bytes; `None` when it is not known.
    pub(crate) heap: Option<f64>,
    /// The share of the heap for execution and storage (`spark.memory.fraction`); `None` when not known.
    pub(crate) fraction: Option<f64>,
    /// Off-heap execution and storage memory in bytes; 0 when it is off.
    pub(crate) off_heap: f64,
    /// Tasks that an executor runs at once; `None` when its cores are not known.
    pub(crate) tasks_at_once: Option<f64>,
}

impl Memory {
    /// The memory that the tasks of a stage had.
    pub(crate) fn of_stage(ctx: &Context<'_>, stage: &StageSummary, settings: &Settings<'_>) -> Self {
        let local = is_local(ctx.run);
        let key = if local { "spark.driver.memory" } else { "spark.executor.memory" };
        let profile = ctx.run.stages.get(&stage.key).and_then(|attempt| attempt.resource_profile);
        let of_profile = profile
            .and_then(|id| ctx.run.resource_profiles.get(&id))
            .and_then(|profile| profile.executor.get("memory"))
            .map(|request| request.amount * MIB)
            .filter(|_| !local);
        let cpus = settings.integer("spark.task.cpus").unwrap_or(1).max(1) as f64;
        let off_heap = settings.boolean("spark.memory.offHeap.enabled") == Some(true);
        Self {
            local,
            key,
            heap: of_profile.or_else(|| settings.bytes(key).map(|bytes| bytes as f64)).filter(|&bytes| bytes > 0.0),
            fraction: settings.number("spark.memory.fraction").filter(|fraction| (0.0..=1.0).contains(fraction)),
            off_heap: if off_heap {
                settings.bytes("spark.memory.offHeap.size").unwrap_or(0).max(0) as f64
            } else {
                0.0
            },
            tasks_at_once: ctx
                .run
                .worker_executors()
                .filter_map(|executor| executor.cores)
                .max()
                .map(|cores| (cores as f64 / cpus).floor().max(1.0)),
        }
    }

    /// Execution and storage memory of an executor in bytes; `None` when not known.
    pub(crate) fn unified(&self) -> Option<f64> {
        if self.off_heap > 0.0 {
            return Some(self.off_heap);
        }
        Some(((self.heap? - RESERVED_BYTES) * self.fraction?).max(0.0))
    }

    /// Execution memory that each task can count on when all cores are busy and nothing is cached; `None` when not known.
    pub(crate) fn per_task(&self) -> Option<f64> {
        Some(self.unified()? / self.tasks_at_once?)
    }

    /// How `per_task` comes about, in words: `(4g - 300 MiB) x 0.6 / 4 tasks at once = 570 MiB`.
    pub(crate) fn arithmetic(&self) -> Option<String> {
        let tasks = self.tasks_at_once?;
        let each = words::bytes(self.per_task()?);
        if self.off_heap > 0.0 {
            return Some(format!("{} off the heap / {tasks:.0} tasks at once = {each}", words::bytes(self.off_heap)));
        }
        Some(format!(
            "({} - 300 MiB) x {} / {tasks:.0} {} at once = {each}",
            words::bytes(self.heap?),
            self.fraction?,
            if tasks > 1.0 { "tasks" } else { "task" },
        ))
    }

    /// The heap that gives each task `wanted` bytes of execution memory, rounded up to 512 MiB; `None` when that is more
    /// than a heap should have, or not known.
    pub(crate) fn heap_for(&self, wanted: f64) -> Option<f64> {
        let fraction = self.fraction.filter(|&fraction| fraction > 0.0)?;
        let heap = wanted * self.tasks_at_once? / fraction + RESERVED_BYTES;
        let heap = (heap / (512.0 * MIB)).ceil() * 512.0 * MIB;
        (self.off_heap <= 0.0 && heap <= MAX_HEAP_BYTES && heap > self.heap?).then_some(heap)
    }

    /// Twice the heap, where that is still one a heap should have; `None` when it is not, or not known.
    pub(crate) fn doubled(&self) -> Option<f64> {
        self.heap.map(|heap| heap * 2.0).filter(|&heap| heap <= MAX_HEAP_BYTES)
    }

    /// The memory as evidence.
    pub(crate) fn evidence(&self) -> Option<Evidence> {
        Some(Evidence::number("execution_memory_per_task_bytes", self.per_task()?, Unit::Bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tree_of_zero_bytes_was_not_polled_and_one_without_python_was() {
        let mut peaks = ExecutorMetrics::default();
        peaks.raise(TaskColumn::PeakJvmHeap, 1_000);
        peaks.raise(TaskColumn::PeakTreeJvmRss, 0);
        peaks.raise(TaskColumn::PeakTreePythonRss, 0);
        assert_eq!(polled(&peaks, TaskColumn::PeakTreeJvmRss), None);
        assert_eq!(polled(&peaks, TaskColumn::PeakTreePythonRss), None);
        peaks.raise(TaskColumn::PeakTreeJvmRss, 5_000);
        assert_eq!(polled(&peaks, TaskColumn::PeakTreeJvmRss), Some(5_000));
        assert_eq!(polled(&peaks, TaskColumn::PeakTreePythonRss), Some(0));
        assert_eq!(polled(&peaks, TaskColumn::PeakJvmHeap), Some(1_000));
        assert_eq!(polled(&peaks, TaskColumn::PeakOffHeapUnified), None);
    }

    #[test]
    fn a_heap_of_zero_bytes_was_not_polled() {
        let mut peaks = ExecutorMetrics::default();
        peaks.raise(TaskColumn::PeakJvmHeap, 0);
        assert_eq!(polled(&peaks, TaskColumn::PeakJvmHeap), None);
    }
}
