//! The effective configuration: what was set, and Spark's defaults where nothing was, by version.

use emberscope_run::{Configuration, Run, SqlExecutionId, StageKey, parse_bytes, parse_time};

/// A default that Spark has from a version on: `(key, major, minor, value)`, later versions after earlier ones.
/// From `org.apache.spark.internal.config` and `org.apache.spark.sql.internal.SQLConf`.
const DEFAULTS: &[(&str, u32, u32, &str)] = &[
    ("spark.default.parallelism", 9, 9, ""),
    ("spark.driver.cores", 1, 0, "1"),
    ("spark.driver.maxResultSize", 1, 2, "1g"),
    ("spark.driver.memory", 1, 0, "1g"),
    ("spark.dynamicAllocation.enabled", 1, 2, "false"),
    ("spark.dynamicAllocation.executorIdleTimeout", 1, 2, "60s"),
    ("spark.dynamicAllocation.maxExecutors", 1, 2, "2147483647"),
    ("spark.dynamicAllocation.minExecutors", 1, 2, "0"),
    ("spark.dynamicAllocation.schedulerBacklogTimeout", 1, 2, "1s"),
    ("spark.dynamicAllocation.shuffleTracking.enabled", 3, 0, "false"),
    ("spark.dynamicAllocation.shuffleTracking.enabled", 3, 4, "true"),
    ("spark.eventLog.logBlockUpdates.enabled", 1, 0, "false"),
    ("spark.excludeOnFailure.enabled", 3, 1, "false"),
    ("spark.executor.memory", 1, 0, "1g"),
    ("spark.executor.memoryOverheadFactor", 1, 0, "0.1"),
    ("spark.executor.pyspark.memory", 9, 9, ""),
    ("spark.locality.wait", 1, 0, "3s"),
    ("spark.memory.fraction", 1, 6, "0.75"),
    ("spark.memory.fraction", 2, 0, "0.6"),
    ("spark.memory.offHeap.enabled", 1, 6, "false"),
    ("spark.memory.offHeap.size", 1, 6, "0"),
    ("spark.memory.storageFraction", 1, 6, "0.5"),
    ("spark.python.worker.reuse", 1, 2, "true"),
    ("spark.reducer.maxSizeInFlight", 1, 4, "48m"),
    ("spark.scheduler.mode", 1, 0, "FIFO"),
    ("spark.serializer", 1, 0, "org.apache.spark.serializer.JavaSerializer"),
    ("spark.shuffle.compress", 1, 0, "true"),
    ("spark.shuffle.file.buffer", 1, 4, "32k"),
    ("spark.shuffle.push.enabled", 3, 2, "false"),
    ("spark.shuffle.service.enabled", 1, 2, "false"),
    ("spark.speculation", 1, 0, "false"),
    ("spark.speculation.multiplier", 1, 0, "1.5"),
    ("spark.speculation.multiplier", 4, 0, "3"),
    ("spark.speculation.quantile", 1, 0, "0.75"),
    ("spark.speculation.quantile", 4, 0, "0.9"),
    ("spark.sql.adaptive.advisoryPartitionSizeInBytes", 3, 0, "64m"),
    ("spark.sql.adaptive.autoBroadcastJoinThreshold", 9, 9, ""),
    ("spark.sql.adaptive.coalescePartitions.enabled", 3, 0, "true"),
    ("spark.sql.adaptive.coalescePartitions.minPartitionSize", 3, 2, "1m"),
    ("spark.sql.adaptive.coalescePartitions.parallelismFirst", 3, 2, "true"),
    ("spark.sql.adaptive.enabled", 1, 6, "false"),
    ("spark.sql.adaptive.enabled", 3, 2, "true"),
    ("spark.sql.adaptive.skewJoin.enabled", 3, 0, "true"),
    ("spark.sql.adaptive.skewJoin.skewedPartitionFactor", 3, 0, "5"),
    ("spark.sql.adaptive.skewJoin.skewedPartitionThresholdInBytes", 3, 0, "256m"),
    ("spark.sql.autoBroadcastJoinThreshold", 1, 1, "10m"),
    ("spark.sql.execution.arrow.pyspark.enabled", 3, 0, "false"),
    ("spark.sql.files.maxPartitionBytes", 2, 0, "128m"),
    ("spark.sql.files.openCostInBytes", 2, 0, "4m"),
    ("spark.sql.shuffle.partitions", 1, 0, "200"),
    ("spark.stage.maxConsecutiveAttempts", 2, 2, "4"),
    ("spark.task.cpus", 1, 0, "1"),
    ("spark.task.maxFailures", 1, 0, "4"),
];

/// What is known of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// It was set.
    Set(String),
    /// It was not set; Spark's default for this version holds.
    Default(&'static str),
    /// Nothing is known: the log has no environment, or the key has no fixed default.
    Unknown,
}

impl Setting {
    /// The value that holds; `None` when it is not known.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Set(value) => Some(value),
            Self::Default(value) => Some(value),
            Self::Unknown => None,
        }
    }
}

/// Reads settings as they held for the run, a stage or a SQL execution.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    run: &'a Run,
    configuration: Configuration,
}

impl<'a> Settings<'a> {
    /// The settings of the run as it started.
    pub fn of_run(run: &'a Run) -> Self {
        Self { run, configuration: run.environment.spark.clone() }
    }

    /// The settings that held for a stage attempt: what its job set at run time comes first.
    #[must_use]
    pub fn for_stage(&self, key: StageKey) -> Self {
        Self { run: self.run, configuration: self.run.configuration_of_stage(key) }
    }

    /// The settings that held for a SQL execution.
    #[must_use]
    pub fn for_sql(&self, id: SqlExecutionId) -> Self {
        Self { run: self.run, configuration: self.run.configuration_of_sql(id) }
    }

    /// Whether the log says what was configured at all.
    pub fn known(&self) -> bool {
        self.run.environment.known
    }

    /// A setting: what was set, else Spark's default for the run's version.
    pub fn get(&self, key: &str) -> Setting {
        if let Some(value) = self.configuration.get(key) {
            return Setting::Set(value.to_owned());
        }
        if !self.known() {
            return Setting::Unknown;
        }
        let version = self.run.application.spark_major_minor().unwrap_or((1, 2));
        DEFAULTS
            .iter()
            .rev()
            .find(|&&(name, major, minor, _)| name == key && (major, minor) <= version)
            .map_or(Setting::Unknown, |&(.., value)| Setting::Default(value))
    }

    /// The text of a setting that was set by somebody; `None` when it holds by default or is not known.
    pub fn set_by_user(&self, key: &str) -> Option<&str> {
        self.configuration.get(key)
    }

    /// `true` or `false`; `None` when not known or not readable.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        match self.get(key).value()?.trim().to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A whole number; `None` when not known or not readable.
    pub fn integer(&self, key: &str) -> Option<i64> {
        self.get(key).value()?.trim().parse().ok()
    }

    /// A number; `None` when not known or not readable.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.get(key).value()?.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// A size in bytes, negative for "off"; a plain number is in MiB for the memory keys, as Spark reads them.
    pub fn bytes(&self, key: &str) -> Option<i64> {
        let mib_keys = [
            "spark.executor.memory",
            "spark.driver.memory",
            "spark.executor.memoryOverhead",
            "spark.driver.memoryOverhead",
            "spark.executor.pyspark.memory",
            "spark.yarn.executor.memoryOverhead",
            "spark.executor.minMemoryOverhead",
        ];
        let kib_keys = ["spark.shuffle.file.buffer"];
        let unit = if mib_keys.contains(&key) {
            1 << 20
        } else if kib_keys.contains(&key) {
            1 << 10
        } else {
            1
        };
        parse_bytes(self.get(key).value()?, unit)
    }

    /// A time in ms; a plain number is in seconds for the keys that Spark reads so (`spark.locality.wait` is in ms).
    pub fn time_ms(&self, key: &str) -> Option<i64> {
        let unit =
            if key.starts_with("spark.dynamicAllocation.") || key == "spark.network.timeout" { 1_000 } else { 1 };
        parse_time(self.get(key).value()?, unit)
    }
}
