//! Structured Streaming queries and their micro-batches.

use std::collections::BTreeMap;

use crate::units::Timestamp;

/// A source of a micro-batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamingSource {
    /// Its description (`KafkaV2[Subscribe[topic]]`).
    pub description: String,
    /// Rows read.
    pub input_rows: Option<u64>,
    /// Rows that arrived a second.
    pub input_rows_per_second: Option<f64>,
    /// Rows processed a second.
    pub processed_rows_per_second: Option<f64>,
    /// How far behind the newest offset it is, for sources that say (`avgOffsetsBehindLatest`).
    pub offsets_behind_latest: Option<f64>,
}

/// A stateful operator of a micro-batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateOperator {
    /// Spark's name of it (Spark 3.1 on).
    pub name: Option<String>,
    /// Keys held.
    pub rows_total: Option<u64>,
    /// Keys updated by this batch.
    pub rows_updated: Option<u64>,
    /// Rows that came too late for the watermark.
    pub rows_dropped_by_watermark: Option<u64>,
    /// Memory held in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Time to commit in ms.
    pub commit_time_ms: Option<u64>,
}

/// One micro-batch, from a progress event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MicroBatch {
    /// Its number.
    pub batch_id: u64,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// Time by phase in ms: `triggerExecution` is the whole, `addBatch`, `queryPlanning`, `walCommit` and others are parts.
    pub duration_ms: BTreeMap<String, u64>,
    /// Rows read.
    pub input_rows: Option<u64>,
    /// Rows that arrived a second; null in the first batch.
    pub input_rows_per_second: Option<f64>,
    /// Rows processed a second.
    pub processed_rows_per_second: Option<f64>,
    /// Its sources.
    pub sources: Vec<StreamingSource>,
    /// Its stateful operators.
    pub state_operators: Vec<StateOperator>,
    /// The sink's description.
    pub sink: Option<String>,
}

impl MicroBatch {
    /// The whole batch in ms.
    pub fn trigger_execution_ms(&self) -> Option<u64> {
        self.duration_ms.get("triggerExecution").copied()
    }
}

/// A run of a streaming query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamingQuery {
    /// The id that stays over restarts from a checkpoint.
    pub id: String,
    /// The id of this start.
    pub run_id: String,
    /// The name that the user gave.
    pub name: Option<String>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// Whether its end was seen.
    pub terminated: bool,
    /// The exception that ended it.
    pub exception: Option<String>,
    /// Its batches by number; a batch that reports more than once is kept with its last report.
    pub batches: BTreeMap<u64, MicroBatch>,
}
