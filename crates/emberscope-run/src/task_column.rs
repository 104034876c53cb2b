//! The columns of a task: the one list that the reader fills, the store packs and the `tasks` table shows.

use serde::{Deserialize, Serialize};

/// The unit of a column or a feature; its suffix ends the name of the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Milliseconds, `_ms`.
    Ms,
    /// Nanoseconds, `_ns`.
    Ns,
    /// Bytes, `_bytes`.
    Bytes,
    /// A number of things, `_count`.
    Count,
    /// A share or a quotient without unit, `_ratio`.
    Ratio,
    /// Rows or bytes per second, `_per_second`.
    PerSecond,
    /// A point in time: milliseconds since 1970-01-01 UTC, `_at`.
    At,
    /// An id or a number that names something.
    Id,
    /// Text.
    Text,
    /// True or false.
    Flag,
}

impl Unit {
    /// The unit as reports print it behind a number; empty where there is none.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::Ns => "ns",
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::Ratio => "ratio",
            Self::PerSecond => "per second",
            Self::At => "ms since 1970",
            Self::Id | Self::Text | Self::Flag => "",
        }
    }
}

/// How a task attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// It delivered its result.
    Success,
    /// It failed and counts against `spark.task.maxFailures`, or its executor was lost.
    Failed,
    /// It was killed on purpose: a speculative twin won, the stage was cancelled, or a commit was denied.
    Killed,
    /// No run of its own: a finished task whose output was lost with its executor and that runs again under another id.
    Resubmitted,
}

impl TaskStatus {
    /// All of them, in the order of their codes in the store.
    pub const ALL: [Self; 4] = [Self::Success, Self::Failed, Self::Killed, Self::Resubmitted];

    /// The word that tables and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Resubmitted => "resubmitted",
        }
    }

    /// The code in [`TaskColumn::Status`].
    pub fn code(self) -> u64 {
        self as u64
    }

    /// The status of a code.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

/// How near a task ran to its data (Spark's `TaskLocality`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Locality {
    /// In the executor's own memory.
    ProcessLocal,
    /// On the host.
    NodeLocal,
    /// The task prefers no place.
    NoPref,
    /// In the rack.
    RackLocal,
    /// Anywhere.
    Any,
}

impl Locality {
    /// All of them, in the order of their codes in the store.
    pub const ALL: [Self; 5] = [Self::ProcessLocal, Self::NodeLocal, Self::NoPref, Self::RackLocal, Self::Any];

    /// Spark's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcessLocal => "PROCESS_LOCAL",
            Self::NodeLocal => "NODE_LOCAL",
            Self::NoPref => "NO_PREF",
            Self::RackLocal => "RACK_LOCAL",
            Self::Any => "ANY",
        }
    }

    /// The locality that Spark calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|locality| locality.name() == name)
    }

    /// The code in [`TaskColumn::Locality`].
    pub fn code(self) -> u64 {
        self as u64
    }

    /// The locality of a code.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

macro_rules! task_columns {
    ($($variant:ident $name:literal $unit:ident $field:literal $meaning:literal),+ $(,)?) => {
        /// A column of the task store; the value is a `u64` in the column's unit, or null.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum TaskColumn {
            $(#[doc = $meaning] $variant),+
        }

        impl TaskColumn {
            /// Every column, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// How many columns there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The column's name in the `tasks` table.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The column's unit.
            pub fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit),+ }
            }

            /// Where Spark writes it in the event log.
            pub fn spark_field(self) -> &'static str {
                match self { $(Self::$variant => $field),+ }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

task_columns! {
    TaskId "task_id" Id "Task Info.Task ID" "The task attempt's id, unique in the application.",
    Partition "partition" Id "Task Info.Index" "The task's index in its stage: the same for every attempt at one partition.",
    PartitionId "partition_id" Id "Task Info.Partition ID" "The RDD partition that the task computes; differs from `partition` when only some partitions are run.",
    Attempt "attempt" Id "Task Info.Attempt" "Which attempt at the partition, from 0.",
    Executor "executor_id" Text "Task Info.Executor ID" "The executor that ran it.",
    Host "host" Text "Task Info.Host" "The host that ran it.",
    Locality "locality" Text "Task Info.Locality" "How near to its data it ran.",
    Speculative "speculative" Flag "Task Info.Speculative" "Whether it is a speculative copy.",
    Status "status" Text "Task End Reason.Reason" "How the attempt ended.",
    EndReason "end_reason" Text "Task End Reason.Reason" "Spark's word for how it ended.",
    Failure "failure_id" Id "Task End Reason" "Index into the run's list of failures, where it failed.",
    LaunchTime "launched_at" At "Task Info.Launch Time" "When the driver launched it.",
    FinishTime "finished_at" At "Task Info.Finish Time" "When the driver knew that it had finished.",
    GettingResultAt "getting_result_at" At "Task Info.Getting Result Time" "When the driver began to fetch a result that was too large to be sent directly.",
    ExecutorDeserializeTime "executor_deserialize_time_ms" Ms "Task Metrics.Executor Deserialize Time" "Time to deserialize the task on the executor.",
    ExecutorDeserializeCpuTime "executor_deserialize_cpu_time_ns" Ns "Task Metrics.Executor Deserialize CPU Time" "CPU time to deserialize the task.",
    ExecutorRunTime "executor_run_time_ms" Ms "Task Metrics.Executor Run Time" "Time the executor spent running the task, with fetching shuffle data and garbage collection.",
    ExecutorCpuTime "executor_cpu_time_ns" Ns "Task Metrics.Executor CPU Time" "CPU time of the task's thread while it ran.",
    PeakExecutionMemory "peak_execution_memory_bytes" Bytes "Task Metrics.Peak Execution Memory" "Most memory that shuffles, aggregations and joins of the task held.",
    PeakOnHeapExecutionMemory "peak_on_heap_execution_memory_bytes" Bytes "Task Metrics.Peak On Heap Execution Memory" "The part of it on the heap (Spark 4.1 on).",
    PeakOffHeapExecutionMemory "peak_off_heap_execution_memory_bytes" Bytes "Task Metrics.Peak Off Heap Execution Memory" "The part of it off the heap (Spark 4.1 on).",
    ResultSize "result_size_bytes" Bytes "Task Metrics.Result Size" "Size of the result sent to the driver.",
    JvmGcTime "jvm_gc_time_ms" Ms "Task Metrics.JVM GC Time" "Garbage collection of the whole JVM while the task ran; concurrent tasks count it again.",
    ResultSerializationTime "result_serialization_time_ms" Ms "Task Metrics.Result Serialization Time" "Time to serialize the result.",
    MemoryBytesSpilled "memory_bytes_spilled" Bytes "Task Metrics.Memory Bytes Spilled" "Size in memory of what was spilled.",
    DiskBytesSpilled "disk_bytes_spilled" Bytes "Task Metrics.Disk Bytes Spilled" "Size on disk of what was spilled.",
    ShuffleRemoteBlocksFetched "shuffle_remote_blocks_fetched_count" Count "Shuffle Read Metrics.Remote Blocks Fetched" "Shuffle blocks fetched from other executors.",
    ShuffleLocalBlocksFetched "shuffle_local_blocks_fetched_count" Count "Shuffle Read Metrics.Local Blocks Fetched" "Shuffle blocks read on the same host.",
    ShuffleFetchWaitTime "shuffle_fetch_wait_time_ms" Ms "Shuffle Read Metrics.Fetch Wait Time" "Time the task was blocked on remote shuffle blocks.",
    ShuffleRemoteBytesRead "shuffle_remote_read_bytes" Bytes "Shuffle Read Metrics.Remote Bytes Read" "Shuffle bytes read from other executors.",
    ShuffleRemoteBytesReadToDisk "shuffle_remote_read_to_disk_bytes" Bytes "Shuffle Read Metrics.Remote Bytes Read To Disk" "The part of them that went to disk first.",
    ShuffleLocalBytesRead "shuffle_local_read_bytes" Bytes "Shuffle Read Metrics.Local Bytes Read" "Shuffle bytes read on the same host.",
    ShuffleRecordsRead "shuffle_read_records_count" Count "Shuffle Read Metrics.Total Records Read" "Records read from shuffles.",
    ShuffleRemoteRequestsDuration "shuffle_remote_requests_duration_ms" Ms "Shuffle Read Metrics.Remote Requests Duration" "Sum of the durations of the remote requests (Spark 3.4 on).",
    PushCorruptMergedBlockChunks "push_corrupt_merged_block_chunks_count" Count "Shuffle Push Read Metrics.Corrupt Merged Block Chunks" "Merged chunks found corrupt (push-based shuffle).",
    PushMergedFetchFallback "push_merged_fetch_fallback_count" Count "Shuffle Push Read Metrics.Merged Fetch Fallback Count" "Fallbacks from merged to original blocks.",
    PushMergedRemoteBlocks "push_merged_remote_blocks_fetched_count" Count "Shuffle Push Read Metrics.Merged Remote Blocks Fetched" "Merged blocks fetched remotely.",
    PushMergedLocalBlocks "push_merged_local_blocks_fetched_count" Count "Shuffle Push Read Metrics.Merged Local Blocks Fetched" "Merged blocks read locally.",
    PushMergedRemoteChunks "push_merged_remote_chunks_fetched_count" Count "Shuffle Push Read Metrics.Merged Remote Chunks Fetched" "Merged chunks fetched remotely.",
    PushMergedLocalChunks "push_merged_local_chunks_fetched_count" Count "Shuffle Push Read Metrics.Merged Local Chunks Fetched" "Merged chunks read locally.",
    PushMergedRemoteBytes "push_merged_remote_read_bytes" Bytes "Shuffle Push Read Metrics.Merged Remote Bytes Read" "Merged bytes fetched remotely.",
    PushMergedLocalBytes "push_merged_local_read_bytes" Bytes "Shuffle Push Read Metrics.Merged Local Bytes Read" "Merged bytes read locally.",
    PushMergedRemoteRequestsDuration "push_merged_remote_requests_duration_ms" Ms "Shuffle Push Read Metrics.Merged Remote Requests Duration" "Sum of the durations of merged remote requests.",
    ShuffleBytesWritten "shuffle_write_bytes" Bytes "Shuffle Write Metrics.Shuffle Bytes Written" "Bytes written for shuffles.",
    ShuffleWriteTime "shuffle_write_time_ns" Ns "Shuffle Write Metrics.Shuffle Write Time" "Time spent in writing shuffle data to disk or buffer cache.",
    ShuffleRecordsWritten "shuffle_write_records_count" Count "Shuffle Write Metrics.Shuffle Records Written" "Records written for shuffles.",
    InputBytes "input_bytes" Bytes "Input Metrics.Bytes Read" "Bytes read from storage or cache.",
    InputRecords "input_records_count" Count "Input Metrics.Records Read" "Records read from storage or cache.",
    OutputBytes "output_bytes" Bytes "Output Metrics.Bytes Written" "Bytes written to storage.",
    OutputRecords "output_records_count" Count "Output Metrics.Records Written" "Records written to storage.",
    PeakJvmHeap "peak_jvm_heap_memory_bytes" Bytes "Task Executor Metrics.JVMHeapMemory" "Peak heap in use of the executor while the task ran, as polled; null when it was never polled.",
    PeakJvmOffHeap "peak_jvm_off_heap_memory_bytes" Bytes "Task Executor Metrics.JVMOffHeapMemory" "Peak non-heap memory of the JVM.",
    PeakOnHeapExecution "peak_executor_on_heap_execution_memory_bytes" Bytes "Task Executor Metrics.OnHeapExecutionMemory" "Peak on-heap execution memory of the executor.",
    PeakOffHeapExecution "peak_executor_off_heap_execution_memory_bytes" Bytes "Task Executor Metrics.OffHeapExecutionMemory" "Peak off-heap execution memory of the executor.",
    PeakOnHeapStorage "peak_executor_on_heap_storage_memory_bytes" Bytes "Task Executor Metrics.OnHeapStorageMemory" "Peak on-heap storage memory of the executor.",
    PeakOffHeapStorage "peak_executor_off_heap_storage_memory_bytes" Bytes "Task Executor Metrics.OffHeapStorageMemory" "Peak off-heap storage memory of the executor.",
    PeakOnHeapUnified "peak_executor_on_heap_unified_memory_bytes" Bytes "Task Executor Metrics.OnHeapUnifiedMemory" "Peak on-heap execution and storage memory together.",
    PeakOffHeapUnified "peak_executor_off_heap_unified_memory_bytes" Bytes "Task Executor Metrics.OffHeapUnifiedMemory" "Peak off-heap execution and storage memory together.",
    PeakDirectPool "peak_direct_pool_memory_bytes" Bytes "Task Executor Metrics.DirectPoolMemory" "Peak memory of direct buffers.",
    PeakMappedPool "peak_mapped_pool_memory_bytes" Bytes "Task Executor Metrics.MappedPoolMemory" "Peak memory of mapped buffers.",
    PeakTreeJvmVirtual "peak_process_tree_jvm_virtual_memory_bytes" Bytes "Task Executor Metrics.ProcessTreeJVMVMemory" "Peak virtual memory of the JVM process; null when Spark does not measure process trees, as for all metrics of them.",
    PeakTreeJvmRss "peak_process_tree_jvm_rss_bytes" Bytes "Task Executor Metrics.ProcessTreeJVMRSSMemory" "Peak resident memory of the JVM process.",
    PeakTreePythonVirtual "peak_process_tree_python_virtual_memory_bytes" Bytes "Task Executor Metrics.ProcessTreePythonVMemory" "Peak virtual memory of the Python workers.",
    PeakTreePythonRss "peak_process_tree_python_rss_bytes" Bytes "Task Executor Metrics.ProcessTreePythonRSSMemory" "Peak resident memory of the Python workers.",
    PeakTreeOtherVirtual "peak_process_tree_other_virtual_memory_bytes" Bytes "Task Executor Metrics.ProcessTreeOtherVMemory" "Peak virtual memory of the other processes.",
    PeakTreeOtherRss "peak_process_tree_other_rss_bytes" Bytes "Task Executor Metrics.ProcessTreeOtherRSSMemory" "Peak resident memory of the other processes.",
    MinorGcCount "minor_gc_count" Count "Task Executor Metrics.MinorGCCount" "Minor collections of the executor since its start, as polled.",
    MinorGcTime "minor_gc_time_ms" Ms "Task Executor Metrics.MinorGCTime" "Time in minor collections since the executor's start.",
    MajorGcCount "major_gc_count" Count "Task Executor Metrics.MajorGCCount" "Major collections of the executor since its start.",
    MajorGcTime "major_gc_time_ms" Ms "Task Executor Metrics.MajorGCTime" "Time in major collections since the executor's start.",
    TotalGcTime "total_gc_time_ms" Ms "Task Executor Metrics.TotalGCTime" "Time in all collections since the executor's start (Spark 3.4 on).",
    ConcurrentGcCount "concurrent_gc_count" Count "Task Executor Metrics.ConcurrentGCCount" "Concurrent collections since the executor's start (Spark 4.0 on).",
    ConcurrentGcTime "concurrent_gc_time_ms" Ms "Task Executor Metrics.ConcurrentGCTime" "Time in concurrent collections since the executor's start.",
}

impl TaskColumn {
    /// The name without the suffix of its unit: what a statistic of it is named after.
    pub fn stem(self) -> &'static str {
        let name = self.name();
        let suffix = match self.unit() {
            Unit::Ms => "_ms",
            Unit::Ns => "_ns",
            Unit::Bytes => "_bytes",
            Unit::Count => "_count",
            Unit::Ratio | Unit::PerSecond | Unit::At | Unit::Id | Unit::Text | Unit::Flag => return name,
        };
        name.strip_suffix(suffix).unwrap_or(name)
    }

    /// The executor metrics among the columns, first to last in Spark's order (`ExecutorMetricType`).
    pub fn executor_metrics() -> &'static [Self] {
        Self::ALL.get(Self::PeakJvmHeap as usize..).unwrap_or_default()
    }

    /// The metrics of the process tree among them. Spark writes 0 for all of them where it does not measure the tree
    /// (`spark.executor.processTreeMetrics.enabled`, off by default, or no `/proc`): sources turn that into null. Where one of
    /// them is not 0 the tree was measured, and 0 is one.
    pub fn process_tree_metrics() -> &'static [Self] {
        Self::ALL.get(Self::PeakTreeJvmVirtual as usize..=Self::PeakTreeOtherRss as usize).unwrap_or_default()
    }

    /// The name that Spark gives an executor metric, for the columns that are one.
    pub fn executor_metric_name(self) -> Option<&'static str> {
        self.spark_field().strip_prefix("Task Executor Metrics.")
    }
}
