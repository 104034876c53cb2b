//! The application and what it was configured with.

use std::collections::BTreeMap;

use crate::configuration::Configuration;
use crate::ids::ResourceProfileId;
use crate::units::{Millis, Timestamp};

/// One attempt of a Spark application.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Application {
    /// The id that the cluster manager gave (`application_1516285256255_0012`, `local-1422981759269`).
    pub id: Option<String>,
    /// Which attempt of it, as YARN counts: text, from `1`.
    pub attempt_id: Option<String>,
    /// `spark.app.name`.
    pub name: Option<String>,
    /// The user who started it.
    pub user: Option<String>,
    /// Spark's version as the log says it (`3.5.1`, `2.1.1-amzn-0`); `None` before Spark 1.3.
    pub spark_version: Option<String>,
    /// Whether the log comes from Databricks.
    pub databricks: bool,
    /// Start of the application.
    pub started_at: Option<Timestamp>,
    /// End of the application; `None` when the log has none.
    pub ended_at: Option<Timestamp>,
    /// Exit code of the driver (Spark 4.1 on).
    pub exit_code: Option<i64>,
    /// The last time that any event names: the best known end of a run without one.
    pub last_event_at: Option<Timestamp>,
    /// The first time that any event names.
    pub first_event_at: Option<Timestamp>,
}

impl Application {
    /// Whether the end of the application was seen.
    pub fn complete(&self) -> bool {
        self.ended_at.is_some()
    }

    /// Start of the application, or the first time known.
    pub fn start(&self) -> Option<Timestamp> {
        self.started_at.or(self.first_event_at)
    }

    /// End of the application, or the last time known.
    pub fn end(&self) -> Option<Timestamp> {
        self.ended_at.or(self.last_event_at)
    }

    /// Wall-clock time from start to end, as far as it was seen; `None` when no time is known.
    pub fn wall_clock(&self) -> Option<Millis> {
        Some(self.end()?.since(self.start()?))
    }

    /// Major and minor version of Spark; `None` when the version is not known.
    pub fn spark_major_minor(&self) -> Option<(u32, u32)> {
        major_minor(self.spark_version.as_deref()?)
    }
}

/// Major and minor number of a version as Spark writes it (`3.5.9`, `4.0.0-preview2`).
pub fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What `SparkListenerEnvironmentUpdate` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Environment {
    /// Whether an environment was in the log: without one nothing is known to be unset.
    pub known: bool,
    /// Spark properties as set by the user, the defaults file or the cluster manager.
    pub spark: Configuration,
    /// Hadoop properties.
    pub hadoop: BTreeMap<String, String>,
    /// System properties of the driver.
    pub system: BTreeMap<String, String>,
    /// Java home, Java version, Scala version.
    pub jvm: BTreeMap<String, String>,
}

/// An amount of a resource that a profile asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceRequest {
    /// The amount: MiB for `memory` and `memoryOverhead`, a number of them for `cores` and custom resources.
    pub amount: f64,
}

/// What the executors and tasks of some stages ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceProfile {
    /// Its id.
    pub id: ResourceProfileId,
    /// By resource: `cores`, `memory`, `memoryOverhead`, `offHeap`, `gpu`.
    pub executor: BTreeMap<String, ResourceRequest>,
    /// By resource: `cpus`, `gpu`.
    pub task: BTreeMap<String, ResourceRequest>,
}
