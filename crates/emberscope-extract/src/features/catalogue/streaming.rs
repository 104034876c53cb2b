//! The columns of `streaming_batches`.

use emberscope_run::Unit;

use super::Feature;
use super::list::{Batches, NEVER, NO_RATIO, NOT_SET, entry, some_text, text};
use super::statistics::over;
use crate::features::over_state;

/// The phases of a micro-batch: column, Spark's key, meaning.
const PHASES: &[(&str, &str, &str)] = &[
    ("trigger_execution_ms", "triggerExecution", "The whole batch."),
    ("add_batch_ms", "addBatch", "Running the batch's query and writing its result."),
    ("get_batch_ms", "getBatch", "Describing the data of the batch."),
    ("get_offset_ms", "getOffset", "Asking sources for their newest offsets."),
    ("latest_offset_ms", "latestOffset", "Asking sources for their newest offsets (Spark 3.0 on)."),
    ("query_planning_ms", "queryPlanning", "Planning the query."),
    ("wal_commit_ms", "walCommit", "Writing the offsets to the log."),
    ("commit_offsets_ms", "commitOffsets", "Writing the end of the batch to the log (Spark 3.5 on)."),
    ("commit_batch_ms", "commitBatch", "Committing the batch (asynchronous progress)."),
];

pub(super) fn features() -> Vec<Feature> {
    let mut list = Batches::new();
    list.text(
        entry("query_id", Unit::Text, "progress.id", "The query, the same over restarts from a checkpoint.", NEVER),
        |row| text(&row.query.id),
    );
    list.text(entry("query_run_id", Unit::Text, "progress.runId", "The start of the query.", NEVER), |row| {
        text(&row.query.run_id)
    });
    list.text(entry("query_name", Unit::Text, "progress.name", "The name that the user gave.", NOT_SET), |row| {
        some_text(row.query.name.as_ref())
    });
    list.add(entry("batch_id", Unit::Id, "progress.batchId", "Its number.", NEVER), |row| row.batch.batch_id);
    list.add(entry("started_at", Unit::At, "progress.timestamp", "When it began.", NOT_SET), |row| {
        row.batch.started_at
    });
    for &(name, key, meaning) in PHASES {
        list.add(
            entry(
                name,
                Unit::Ms,
                format!("progress.durationMs.{key}"),
                meaning,
                "this Spark or this trigger does not report it",
            ),
            move |row| row.batch.duration_ms.get(key).copied(),
        );
    }
    list.add(
        entry(
            "add_batch_ratio",
            Unit::Ratio,
            "addBatch / triggerExecution",
            "The share of the batch's time in its query.",
            NO_RATIO,
        ),
        |row| over(row.batch.duration_ms.get("addBatch").map(|&ms| ms as f64), row.summary.duration_ms),
    );
    list.add(entry("input_rows_count", Unit::Count, "progress.sources.numInputRows", "Rows read.", NOT_SET), |row| {
        row.batch.input_rows
    });
    list.add(
        entry(
            "input_rows_per_second",
            Unit::PerSecond,
            "progress.sources.inputRowsPerSecond",
            "Rows that arrived a second.",
            "not known, as in the first batch",
        ),
        |row| row.batch.input_rows_per_second,
    );
    list.add(
        entry(
            "processed_rows_per_second",
            Unit::PerSecond,
            "progress.sources.processedRowsPerSecond",
            "Rows processed a second.",
            NOT_SET,
        ),
        |row| row.batch.processed_rows_per_second,
    );
    list.add(
        entry(
            "arrived_over_processed_ratio",
            Unit::Ratio,
            "inputRowsPerSecond / processedRowsPerSecond",
            "Above 1 the query falls behind.",
            NO_RATIO,
        ),
        |row| Some(row.batch.input_rows_per_second? / row.batch.processed_rows_per_second?),
    );
    list.add(entry("sources_count", Unit::Count, "progress.sources", "Its sources.", NEVER), |row| {
        row.batch.sources.len() as u64
    });
    list.add(
        entry(
            "offsets_behind_latest_count",
            Unit::Count,
            "progress.sources.metrics.avgOffsetsBehindLatest",
            "How far behind the newest offsets it is, the largest over the sources.",
            "no source says",
        ),
        |row| row.batch.sources.iter().filter_map(|source| source.offsets_behind_latest).max_by(f64::total_cmp),
    );
    list.add(
        entry("state_operators_count", Unit::Count, "progress.stateOperators", "Its stateful operators.", NEVER),
        |row| row.batch.state_operators.len() as u64,
    );
    let stateless = "it has no stateful operator, or they do not say";
    let state = |name, unit, field: &str, meaning| {
        entry(name, unit, format!("progress.stateOperators.{field}"), meaning, stateless)
    };
    list.add(state("state_rows_count", Unit::Count, "numRowsTotal", "Keys held by its stateful operators."), |row| {
        row.summary.state_rows
    });
    list.add(state("state_rows_updated_count", Unit::Count, "numRowsUpdated", "Keys updated by the batch."), |row| {
        over_state(row.batch, |operator| operator.rows_updated)
    });
    list.add(
        state(
            "state_rows_dropped_count",
            Unit::Count,
            "numRowsDroppedByWatermark",
            "Rows that came too late for the watermark.",
        ),
        |row| row.summary.dropped_rows,
    );
    list.add(state("state_memory_bytes", Unit::Bytes, "memoryUsedBytes", "Memory of the state."), |row| {
        row.summary.state_bytes
    });
    list.add(state("state_commit_ms", Unit::Ms, "commitTimeMs", "Time to commit the state."), |row| {
        over_state(row.batch, |operator| operator.commit_time_ms)
    });
    list.text(entry("sink", Unit::Text, "progress.sink.description", "The sink.", NOT_SET), |row| {
        some_text(row.batch.sink.as_ref())
    });
    list.add(
        entry(
            "query_failed",
            Unit::Flag,
            "QueryTerminatedEvent.exception",
            "Whether an exception ended the query.",
            "its end is not in the log",
        ),
        |row| row.query.terminated.then_some(row.query.exception.is_some()),
    );
    list.add(
        entry("jobs_count", Unit::Count, "Job Start.Properties.streaming.sql.batchId", "Jobs it ran.", NEVER),
        |row| row.summary.jobs,
    );
    list.work(|row| &row.summary.work);
    list.done()
}
