//! Where and how a run was deployed, as far as its log tells: what advice and settings can have an effect there.

use emberscope_run::{Executor, ExecutorId, Run};

use crate::settings::Settings;

/// What gives the run its executors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    /// `local`, `local[n]`: tasks run in the driver.
    Local,
    /// `local-cluster[...]`: executors are processes on the driver's host.
    LocalCluster,
    /// Hadoop YARN, also on EMR and Dataproc.
    Yarn,
    /// Kubernetes.
    Kubernetes,
    /// Spark's own standalone cluster.
    Standalone,
    /// Databricks.
    Databricks,
    /// Not known.
    Unknown,
}

/// The cluster manager of a run, from `spark.master`, else from its executors.
pub(crate) fn manager(run: &Run) -> Manager {
    if run.application.databricks || run.environment.spark.get("spark.databricks.clusterUsageTags.clusterId").is_some()
    {
        return Manager::Databricks;
    }
    let master = run.environment.spark.get("spark.master").unwrap_or_default();
    if master.starts_with("local-cluster") {
        Manager::LocalCluster
    } else if master.starts_with("local") {
        Manager::Local
    } else if master.starts_with("yarn") {
        Manager::Yarn
    } else if master.starts_with("k8s") {
        Manager::Kubernetes
    } else if master.starts_with("spark://") {
        Manager::Standalone
    } else if only_driver(run) {
        Manager::Local
    } else {
        Manager::Unknown
    }
}

/// Whether tasks run in the driver: settings of executors have no effect then.
pub(crate) fn is_local(run: &Run) -> bool {
    manager(run) == Manager::Local || (run.environment.spark.get("spark.master").is_none() && only_driver(run))
}

/// Whether executors are plain processes of a standalone master (a local cluster has one of its own): it deals out cores and
/// not executors, and nothing ends a process that outgrows what was asked for.
pub(crate) fn is_standalone(run: &Run) -> bool {
    matches!(manager(run), Manager::Standalone | Manager::LocalCluster)
}

fn only_driver(run: &Run) -> bool {
    let mut ids = run.executors.keys().chain(&run.executor_names).peekable();
    // Before Spark 1.5 the driver of a local run called its executor `localhost`.
    ids.peek().is_some() && ids.all(|id| id.is_driver() || *id == ExecutorId::from("localhost"))
}

/// Whether a person starts the actions one by one: then the time between them is theirs, not the driver's.
pub(crate) fn is_interactive(run: &Run) -> bool {
    const NAMES: &[&str] = &[
        "spark shell",
        "pysparkshell",
        "sparkr",
        "databricks shell",
        "zeppelin",
        "livy-session",
        "jupyter",
        "notebook",
        "thrift jdbc/odbc server",
        "spark connect server",
        "sparksql::",
        "kyuubi",
        "almond",
    ];
    const COMMANDS: &[&str] = &[
        "spark-shell",
        "pyspark-shell",
        "org.apache.spark.repl.Main",
        "sparkr-shell",
        "zeppelin",
        "SparkSQLCLIDriver",
        "HiveThriftServer2",
        "SparkConnectServer",
    ];
    let spark = &run.environment.spark;
    let name =
        run.application.name.as_deref().or_else(|| spark.get("spark.app.name")).unwrap_or_default().to_lowercase();
    let command = run.environment.system.get("sun.java.command").map(String::as_str).unwrap_or_default();
    manager(run) == Manager::Databricks && spark.get("spark.databricks.job.id").is_none()
        || NAMES.iter().any(|known| name.contains(known))
        || COMMANDS.iter().any(|known| command.contains(known))
        || spark.get("spark.repl.class.uri").is_some()
}

/// Whether it is a streaming application, which waits for data and triggers by nature.
pub(crate) fn is_streaming(run: &Run) -> bool {
    !run.streaming_queries.is_empty()
        || run.jobs.values().any(|job| {
            job.streaming_query_id.is_some()
                // DStreams mark their jobs by description only.
                || job.description.as_deref().is_some_and(|text| text.contains("Streaming job from"))
                || job.properties.contains_key("spark.streaming.internal.batchTime")
        })
}

/// What was asked for an executor's process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AskedMemory {
    /// The heap (`-Xmx`).
    pub(crate) heap: u64,
    /// What the container has beyond the heap for the JVM itself, Python and direct buffers; `None` in local mode, where
    /// no container limits the process.
    pub(crate) overhead: Option<u64>,
    /// Off-heap memory for execution and storage; 0 when it is off.
    pub(crate) off_heap: u64,
    /// Memory of Python workers that is asked for apart; 0 when it is not.
    pub(crate) python: u64,
}

impl AskedMemory {
    /// The limit of the container; `None` where there is none.
    pub(crate) fn container(&self) -> Option<u64> {
        Some(self.heap.saturating_add(self.overhead?).saturating_add(self.off_heap).saturating_add(self.python))
    }
}

const MIB: u64 = 1 << 20;
/// `spark.executor.minMemoryOverhead`: what Spark asks for at least.
const MIN_OVERHEAD: u64 = 384 * MIB;
/// What Spark reserves of a heap before it divides the rest (`UnifiedMemoryManager.RESERVED_SYSTEM_MEMORY_BYTES`).
const RESERVED: u64 = 300 * MIB;
/// A default heap is not believed when the executor's memory for execution and storage needs a heap this many times larger:
/// it was set where the log does not show it (`SPARK_EXECUTOR_MEMORY`, `SPARK_DRIVER_MEMORY`, the cluster's own files).
const NOT_THE_DEFAULT: f64 = 1.2;

/// The memory asked for executors; `None` when it is not known.
pub(crate) fn asked_memory(run: &Run, settings: &Settings<'_>) -> Option<AskedMemory> {
    let local = is_local(run);
    let key = heap_key(run);
    let heap = settings.bytes(key).and_then(positive)?;
    if settings.set_by_user(key).is_none() {
        let fraction = settings.number("spark.memory.fraction").filter(|&f| f > 0.0).unwrap_or(0.6);
        let managed = run.worker_executors().filter_map(on_heap_memory).max()?;
        let implied = managed as f64 / fraction + RESERVED as f64;
        if implied > NOT_THE_DEFAULT * heap as f64 {
            return None;
        }
    }
    let off_heap = if settings.boolean("spark.memory.offHeap.enabled") == Some(true) {
        settings.bytes("spark.memory.offHeap.size").and_then(positive).unwrap_or(0)
    } else {
        0
    };
    let python = settings.bytes("spark.executor.pyspark.memory").and_then(positive).unwrap_or(0);
    let overhead = (!local).then(|| overhead(settings, heap));
    Some(AskedMemory { heap, overhead, off_heap, python })
}

fn overhead(settings: &Settings<'_>, heap: u64) -> u64 {
    let set = ["spark.executor.memoryOverhead", "spark.yarn.executor.memoryOverhead"]
        .iter()
        .find_map(|key| settings.bytes(key).and_then(positive));
    set.unwrap_or_else(|| {
        let factor = settings.number("spark.executor.memoryOverheadFactor").filter(|&f| f > 0.0).unwrap_or(0.1);
        let least = settings.bytes("spark.executor.minMemoryOverhead").and_then(positive).unwrap_or(MIN_OVERHEAD);
        ((heap as f64 * factor) as u64).max(least)
    })
}

/// The key of the heap that tasks run in.
pub(crate) fn heap_key(run: &Run) -> &'static str {
    if is_local(run) { "spark.driver.memory" } else { "spark.executor.memory" }
}

/// The key of the overhead of executors by Spark's version: renamed in 2.3.
pub(crate) fn overhead_key(run: &Run) -> &'static str {
    match run.application.spark_major_minor() {
        Some(version) if version < (2, 3) => "spark.yarn.executor.memoryOverhead",
        _ => "spark.executor.memoryOverhead",
    }
}

fn on_heap_memory(executor: &Executor) -> Option<u64> {
    executor.max_on_heap_memory.or(executor.max_memory).map(|bytes| bytes.0)
}

fn positive(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|&value| value > 0)
}

/// Whether a copy of a task could run elsewhere: Spark makes none on the host of the original
/// (`TaskSetManager.dequeueTaskFromList`). True where hosts are not known.
pub(crate) fn on_several_hosts(run: &Run) -> bool {
    let mut hosts = run.worker_executors().map(|executor| executor.host.as_deref());
    let Some(first) = hosts.next() else { return true };
    first.is_none() || hosts.any(|host| host != first)
}

/// The cores of an executor: the most that any worker has; `None` when none says.
pub(crate) fn cores_per_executor(run: &Run) -> Option<u64> {
    run.worker_executors().filter_map(|executor| executor.cores).max().filter(|&cores| cores > 0)
}
