//! The vocabulary of problems: one list for labels, rules, models, advice and documentation.

use std::fmt;

macro_rules! problems {
    ($($variant:ident $name:literal $subject:literal $meaning:literal $event_log:literal $trace:literal $advice:literal),+ $(,)?) => {
        /// A problem that a run can have. A name says the pattern, not the cure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Problem {
            $(#[doc = $meaning] $variant),+
        }

        impl Problem {
            /// Every problem, in the order of the vocabulary.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in labels, findings and the command line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The smallest thing a finding of it points at.
            pub fn subject(self) -> &'static str {
                match self { $(Self::$variant => $subject),+ }
            }

            /// What is true when it is there.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }

            /// How it is seen in an event log.
            pub fn in_event_log(self) -> &'static str {
                match self { $(Self::$variant => $event_log),+ }
            }

            /// How it is seen in a kernel trace; `None` where a trace shows nothing more.
            pub fn in_trace(self) -> Option<&'static str> {
                let text = match self { $(Self::$variant => $trace),+ };
                (text != "-").then_some(text)
            }

            /// The usual advice; what a finding advises depends on what is set already.
            pub fn usual_advice(self) -> &'static str {
                match self { $(Self::$variant => $advice),+ }
            }
        }
    };
}

problems! {
    DataSkew "data-skew" "stage attempt (partition)"
        "A few partitions hold most of the data, and their tasks set the stage's end."
        "max or p95 against median of task duration together with bytes or records read, per stage attempt"
        "one thread on CPU while its siblings idle"
        "AQE skew join on or its factors, salt the hot key (name it where the plan shows it), repartition, broadcast the small side",
    StragglerTask "straggler-task" "task"
        "A task is slow for its amount of data, not because of it."
        "duration high, bytes like its siblings'"
        "the thread runnable or blocked, not running"
        "speculation, look at the host, see the blocked-on cause",
    SlowExecutor "slow-executor" "executor / host"
        "The tasks of one executor are slower than others' of the same stages at equal data."
        "duration per byte by executor, across stages"
        "run-queue wait or disk wait high on that host only"
        "exclude the host, check neighbours, disk, throttling",
    TooFewPartitions "too-few-partitions" "stage attempt"
        "Fewer tasks than cores while there is work for all."
        "tasks < cores, long tasks, idle cores"
        "idle cores"
        "more partitions (which setting depends on how the stage gets its data)",
    TooManyPartitions "too-many-partitions" "stage attempt"
        "Tasks so small that starting them costs more than running them."
        "median task run time near the scheduler delay and deserialize time"
        "short on-CPU bursts, many wake-ups"
        "fewer partitions, AQE coalescing, larger split size",
    SmallFiles "small-files" "stage attempt (SQL scan)"
        "Input comes in many files far under the split size, or a write leaves such files."
        "files read and bytes per file in the scan's SQL metrics; files written"
        "many opens and short reads"
        "compact the table, larger `maxPartitionBytes`/`openCostInBytes`, repartition before the write",
    MemorySpill "memory-spill" "stage attempt"
        "Execution memory ran out and data went to disk."
        "memory and disk bytes spilled"
        "write bursts in task threads"
        "more partitions, more memory per core, fewer cores per executor",
    GcPressure "gc-pressure" "executor, stage attempt"
        "The JVM spends its time collecting garbage."
        "GC time / run time"
        "task threads stopped while GC threads run"
        "larger heap or fewer cores, serialized or off-heap caching, other collector",
    ExecutorOom "executor-oom" "executor"
        "Executors die for lack of memory."
        "exit codes 137/52/143, container-killed and OutOfMemoryError reasons"
        "oom-kill events"
        "memory or overhead up, cores down, smaller partitions; which of them depends on who killed it",
    CacheEviction "cache-eviction" "RDD / cached table"
        "Cached blocks are dropped and computed again."
        "block updates from memory to none or disk, partial cached fraction"
        "-"
        "smaller cache, MEMORY_AND_DISK, serialized, unpersist",
    RepeatedComputation "repeated-computation" "stage / SQL plan"
        "The same lineage is computed again and again and nothing is cached."
        "equal stage signatures or plans recurring"
        "-"
        "cache or checkpoint that dataset",
    PythonUdfOverhead "python-udf-overhead" "SQL execution / stage"
        "Rows cross to Python workers one by one."
        "Python eval nodes in the plan with their time and data-sent metrics; run time far over CPU time"
        "pipe/socket waits in task threads, busy python processes"
        "built-in functions, Arrow / pandas UDF",
    MissedBroadcast "missed-broadcast" "SQL execution"
        "A shuffle join with one side small enough to broadcast."
        "sort-merge or shuffled hash join whose smaller side's data size is under what fits"
        "-"
        "broadcast hint or threshold, statistics",
    JoinExplosion "join-explosion" "SQL execution"
        "A join puts out many times the rows it takes in, or is a cartesian product."
        "output rows against input rows; CartesianProduct, BroadcastNestedLoopJoin"
        "-"
        "missing or non-unique key: aggregate before the join, fix the condition",
    FullScan "full-scan" "SQL execution"
        "Most rows or partitions that are read are thrown away at once."
        "scan rows against the filter's rows, no partition filters, no pushed filters"
        "-"
        "partition, push the filter down, prune columns",
    LargeBroadcast "large-broadcast" "SQL execution"
        "Building or sending a broadcast takes long or risks the driver."
        "broadcast data size, collect/build/broadcast time"
        "driver thread busy"
        "lower the threshold, shuffle join for that side",
    ShuffleFetchWait "shuffle-fetch-wait" "stage attempt"
        "Tasks wait for remote shuffle blocks."
        "fetch wait time / run time, remote bytes"
        "blocked in network receive"
        "fewer or larger blocks, external or push-based shuffle service, locality",
    DiskIoBound "disk-io-bound" "stage attempt / host"
        "Tasks wait for the disk."
        "run time far over CPU time, with shuffle write time or input"
        "blocked in block I/O, request latency"
        "faster local dirs, several of them, compression, less spill",
    CpuContention "cpu-contention" "host / run"
        "Tasks are ready to run and have no CPU."
        "CPU time / run time low on all executors, no I/O that explains it"
        "runnable (wait for CPU) time high; foreign processes on CPU"
        "fewer cores per host, quotas, move neighbours",
    LockContention "lock-contention" "stage attempt"
        "Task threads wait for each other."
        "as cpu-contention, without foreign load"
        "blocked on futex"
        "fewer cores per executor, look at the shared object",
    TaskFailures "task-failures" "stage attempt"
        "Tasks fail and are tried again."
        "failed attempts by reason, time lost in them"
        "-"
        "the first failing cause with its own stack frame",
    StageRetry "stage-retry" "stage"
        "Fetch failures make a stage run again."
        "attempts > 1, FetchFailed"
        "-"
        "shuffle service, decommissioning, executor memory",
    ExecutorLoss "executor-loss" "executor"
        "Executors go away while they are needed."
        "removed with work or shuffle data on them, time lost"
        "exit of the process"
        "depends on the reason: preemption, memory, heartbeat",
    JobFailure "job-failure" "job / run"
        "The run did not do its work."
        "JobFailed, the error of a SQL execution or streaming query, the exit code of the driver"
        "-"
        "the root cause in one sentence, with the frame of user code",
    DriverBottleneck "driver-bottleneck" "run"
        "Executors idle while the driver works."
        "gaps between jobs with no task running"
        "driver threads on CPU while executors sleep"
        "move the work to executors, submit jobs in parallel",
    LargeResult "large-result" "stage attempt"
        "Large results are sent to the driver."
        "result size, getting-result time"
        "-"
        "aggregate or write instead of collecting",
    SchedulerDelay "scheduler-delay" "stage attempt"
        "The time from launch to run is long."
        "scheduler delay, deserialize time"
        "-"
        "see large-closure; driver cores",
    LargeClosure "large-closure" "stage"
        "A big object is sent with every task."
        "task binary size (warning in the log), deserialize time against run time"
        "-"
        "broadcast variable",
    IdleCores "idle-cores" "run"
        "More cores are held than the work can use."
        "core-seconds held against used"
        "-"
        "dynamic allocation, fewer executors: with the simulated run time for each count",
    UnusedMemory "unused-memory" "run"
        "Executors hold memory that nothing ever used."
        "peak JVM, execution, storage and off-heap use against what was asked for"
        "-"
        "smaller executors, with the number that the peaks support and a margin",
    MemoryNearLimit "memory-near-limit" "executor"
        "Peak use comes close to what kills the process."
        "peak heap, off-heap and process-tree memory against heap + overhead"
        "RSS growth"
        "more overhead or heap (which of them), fewer cores",
    PoorLocality "poor-locality" "stage attempt"
        "Tasks run away from their data and pay for it."
        "share and extra time of RACK_LOCAL / ANY tasks, locality wait"
        "network waits"
        "locality wait, replication, placement",
    ExecutorChurn "executor-churn" "run"
        "Executors come and go faster than they do work."
        "lives of executors against their start-up time and idle timeout"
        "-"
        "idle timeout, minimum executors, shuffle tracking",
    SlowStart "slow-start" "run"
        "The run waits for its first or further executors."
        "time to first executor, pending tasks with no free core"
        "-"
        "minimum executors, queue, image size",
    SpeculationWaste "speculation-waste" "run"
        "Speculative copies do work that is thrown away."
        "killed speculative attempts' time"
        "-"
        "multiplier and quantile of speculation",
    StreamingLag "streaming-lag" "streaming query"
        "Batches take longer than their trigger, or input outruns processing."
        "query progress: batch duration against trigger, input against processed rate"
        "-"
        "rate limits, partitions, state store",
    Regression "regression" "run"
        "This run is worse than its own earlier runs."
        "features against the history of the same application name, with data volume taken into account"
        "-"
        "says which stage, which metric, since which run",
    UnknownAnomaly "unknown-anomaly" "task / stage / run"
        "Unlike anything in the training set, and no rule or class fits."
        "isolation-forest score, with the features that made it stand out"
        "-"
        "shows those features; asks for a label",
}

impl Problem {
    /// The problem of a name; `None` for a name that is not in the vocabulary: an error, not a new class.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|problem| problem.name() == name)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl schemars::JsonSchema for Problem {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Problem".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names: Vec<&str> = Self::ALL.iter().map(|problem| problem.name()).collect();
        schemars::json_schema!({ "type": "string", "enum": names })
    }
}
