//! The metrics of a task that stages, executors, jobs and runs are summed up by.

use emberscope_run::{TaskColumn, TaskRow, Unit};

macro_rules! metrics {
    ($($variant:ident = $kind:ident($($arg:tt)*)),+ $(,)?) => {
        /// A metric of a task: a column as Spark writes it, or derived from several.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Metric {
            $(#[doc = "See [`Metric::meaning`]."] $variant),+
        }

        impl Metric {
            /// Every metric.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            fn definition(self) -> Definition {
                match self { $(Self::$variant => metrics!(@$kind $($arg)*)),+ }
            }
        }
    };
    (@column $column:ident) => { Definition::Column(TaskColumn::$column) };
    (@derived $stem:literal, $unit:ident, $value:expr, $field:literal, $meaning:literal) => {
        Definition::Derived { stem: $stem, unit: Unit::$unit, value: $value, field: $field, meaning: $meaning }
    };
}

enum Definition {
    Column(TaskColumn),
    Derived {
        stem: &'static str,
        unit: Unit,
        value: fn(&TaskRow) -> Option<u64>,
        field: &'static str,
        meaning: &'static str,
    },
}

metrics! {
    Duration = derived("task_duration", Ms, TaskRow::duration_ms, "Task Info.Finish Time - Launch Time", "Time from launch to finish as the driver saw it."),
    SchedulerDelay = derived("scheduler_delay", Ms, TaskRow::scheduler_delay_ms, "computed as AppStatusUtils.schedulerDelay", "Time between launch and finish that is none of deserialize, run, result serialization and getting the result."),
    GettingResultTime = derived("getting_result_time", Ms, TaskRow::getting_result_time_ms, "Task Info.Finish Time - Getting Result Time", "Time to fetch a large result."),
    ExecutorDeserializeTime = column(ExecutorDeserializeTime),
    ExecutorDeserializeCpuTime = column(ExecutorDeserializeCpuTime),
    ExecutorRunTime = column(ExecutorRunTime),
    ExecutorCpuTime = column(ExecutorCpuTime),
    PeakExecutionMemory = column(PeakExecutionMemory),
    ResultSize = column(ResultSize),
    JvmGcTime = column(JvmGcTime),
    ResultSerializationTime = column(ResultSerializationTime),
    MemoryBytesSpilled = column(MemoryBytesSpilled),
    DiskBytesSpilled = column(DiskBytesSpilled),
    InputBytes = column(InputBytes),
    InputRecords = column(InputRecords),
    OutputBytes = column(OutputBytes),
    OutputRecords = column(OutputRecords),
    ShuffleReadBytes = derived("shuffle_read", Bytes, TaskRow::shuffle_read_bytes, "Shuffle Read Metrics.Local Bytes Read + Remote Bytes Read", "Shuffle bytes read, local and remote together."),
    ShuffleReadRecords = column(ShuffleRecordsRead),
    ShuffleRemoteBytes = column(ShuffleRemoteBytesRead),
    ShuffleRemoteBytesToDisk = column(ShuffleRemoteBytesReadToDisk),
    ShuffleLocalBytes = column(ShuffleLocalBytesRead),
    ShuffleRemoteBlocks = column(ShuffleRemoteBlocksFetched),
    ShuffleLocalBlocks = column(ShuffleLocalBlocksFetched),
    ShuffleFetchWaitTime = column(ShuffleFetchWaitTime),
    ShuffleRemoteRequestsDuration = column(ShuffleRemoteRequestsDuration),
    PushCorruptMergedBlockChunks = column(PushCorruptMergedBlockChunks),
    PushMergedFetchFallback = column(PushMergedFetchFallback),
    PushMergedRemoteBlocks = column(PushMergedRemoteBlocks),
    PushMergedLocalBlocks = column(PushMergedLocalBlocks),
    PushMergedRemoteChunks = column(PushMergedRemoteChunks),
    PushMergedLocalChunks = column(PushMergedLocalChunks),
    PushMergedRemoteBytes = column(PushMergedRemoteBytes),
    PushMergedLocalBytes = column(PushMergedLocalBytes),
    PushMergedRemoteRequestsDuration = column(PushMergedRemoteRequestsDuration),
    ShuffleWriteBytes = column(ShuffleBytesWritten),
    ShuffleWriteTime = column(ShuffleWriteTime),
    ShuffleWriteRecords = column(ShuffleRecordsWritten),
    BytesIn = derived("bytes_in", Bytes, TaskRow::bytes_in, "Input Metrics.Bytes Read + shuffle bytes read", "All bytes the task took in, from storage, cache and shuffles."),
    RecordsIn = derived("records_in", Count, TaskRow::records_in, "Input Metrics.Records Read + Total Records Read", "All records the task took in."),
}

impl Metric {
    /// The stem of the names of its statistics (`task_duration` of `task_duration_p50_ms`).
    pub fn stem(self) -> &'static str {
        match self.definition() {
            Definition::Column(column) => column.stem(),
            Definition::Derived { stem, .. } => stem,
        }
    }

    /// Its unit.
    pub fn unit(self) -> Unit {
        match self.definition() {
            Definition::Column(column) => column.unit(),
            Definition::Derived { unit, .. } => unit,
        }
    }

    /// Where Spark writes it.
    pub fn spark_field(self) -> &'static str {
        match self.definition() {
            Definition::Column(column) => column.spark_field(),
            Definition::Derived { field, .. } => field,
        }
    }

    /// What it means.
    pub fn meaning(self) -> &'static str {
        match self.definition() {
            Definition::Column(column) => column.meaning(),
            Definition::Derived { meaning, .. } => meaning,
        }
    }

    /// The column it is, unless it is derived from several.
    pub fn column(self) -> Option<TaskColumn> {
        match self.definition() {
            Definition::Column(column) => Some(column),
            Definition::Derived { .. } => None,
        }
    }

    /// Its value for a task; `None` when unknown.
    pub fn of(self, task: &TaskRow) -> Option<u64> {
        match self.definition() {
            Definition::Column(column) => task.get(column),
            Definition::Derived { value, .. } => value(task),
        }
    }

    /// The catalogue's name of a statistic of this metric (`task_duration_p50_ms`).
    pub fn statistic(self, statistic: &str) -> String {
        format!("{}_{statistic}{}", self.stem(), self.suffix())
    }

    /// The suffix that its unit gives to names.
    pub fn suffix(self) -> &'static str {
        match self.unit() {
            Unit::Ms => "_ms",
            Unit::Ns => "_ns",
            Unit::Bytes => "_bytes",
            _ => "_count",
        }
    }
}
