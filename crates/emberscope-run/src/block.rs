//! Cached blocks: what was stored, dropped and stored again.

use crate::ids::RddId;
use crate::units::Bytes;

/// Counts of block updates of an RDD (`SparkListenerBlockUpdated`, and `Updated Blocks` of tasks).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockUpdateCounts {
    /// Blocks put in memory.
    pub stored_in_memory: u64,
    /// Blocks put on disk only.
    pub stored_on_disk: u64,
    /// Blocks that moved from memory to disk.
    pub moved_to_disk: u64,
    /// Blocks that were dropped altogether while their executor lived and nobody had unpersisted the RDD.
    pub dropped: u64,
    /// Blocks stored again after they had been dropped: computed again.
    pub stored_again: u64,
    /// Bytes of the blocks that were dropped or moved.
    pub evicted_bytes: u64,
}

/// The storage of an RDD over the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RddStorage {
    /// Its id.
    pub id: RddId,
    /// Its name.
    pub name: String,
    /// The operator scope's name.
    pub scope: Option<String>,
    /// The call site.
    pub callsite: Option<String>,
    /// Partitions in all.
    pub partitions: u64,
    /// The largest number of partitions that any stage info showed as cached.
    pub cached_partitions_max: u64,
    /// The last number of partitions that a stage info showed as cached.
    pub cached_partitions_last: u64,
    /// The largest bytes in memory shown.
    pub memory_bytes_max: Bytes,
    /// The largest bytes on disk shown.
    pub disk_bytes_max: Bytes,
    /// Whether the storage level uses disk.
    pub use_disk: bool,
    /// Whether it is kept as objects.
    pub deserialized: bool,
    /// How many stage attempts read or made it.
    pub stages: u64,
    /// Whether the user unpersisted it.
    pub unpersisted: bool,
    /// Block updates; `None` when the log has none (`spark.eventLog.logBlockUpdates.enabled` is off by default).
    pub updates: Option<BlockUpdateCounts>,
}
