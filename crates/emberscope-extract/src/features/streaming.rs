//! A micro-batch of a streaming query, summed up over its jobs.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{JobId, MicroBatch, Run, StageKey, StateOperator};

use super::job::{Work, keys_by_job};
use super::stage::StageSummary;

/// A micro-batch in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamingBatchSummary {
    /// The id of the query's start, the key in [`Run::streaming_queries`].
    pub run_id: String,
    /// Its number.
    pub batch_id: u64,
    /// The whole batch in ms; `None` when the log does not say.
    pub duration_ms: Option<u64>,
    /// Rows read.
    pub input_rows: Option<u64>,
    /// Keys held by its stateful operators; `None` when it has none or they do not say.
    pub state_rows: Option<u64>,
    /// Memory of the state in bytes.
    pub state_bytes: Option<u64>,
    /// Rows that came too late for the watermark.
    pub dropped_rows: Option<u64>,
    /// Jobs it ran.
    pub jobs: u64,
    /// What the stage attempts of its jobs did.
    pub work: Work,
}

/// All micro-batches of a run, by start of the query and number.
pub(super) fn summarise(run: &Run, stages: &BTreeMap<StageKey, StageSummary>) -> Vec<StreamingBatchSummary> {
    if run.streaming_queries.is_empty() {
        return Vec::new();
    }
    let keys = keys_by_job(run);
    let mut jobs: BTreeMap<(&str, u64), Vec<JobId>> = BTreeMap::new();
    for job in run.jobs.values() {
        if let (Some(query), Some(batch)) = (&job.streaming_query_id, job.streaming_batch_id) {
            jobs.entry((query, batch)).or_default().push(job.id);
        }
    }
    let mut batches = Vec::new();
    for (run_id, query) in &run.streaming_queries {
        for (&batch_id, batch) in &query.batches {
            let jobs = jobs.get(&(query.id.as_str(), batch_id)).map(Vec::as_slice).unwrap_or_default();
            let of_jobs: BTreeSet<StageKey> = jobs.iter().filter_map(|id| keys.get(id)).flatten().copied().collect();
            batches.push(StreamingBatchSummary {
                run_id: run_id.clone(),
                batch_id,
                duration_ms: batch.trigger_execution_ms(),
                input_rows: batch.input_rows,
                state_rows: over_state(batch, |operator| operator.rows_total),
                state_bytes: over_state(batch, |operator| operator.memory_used_bytes),
                dropped_rows: over_state(batch, |operator| operator.rows_dropped_by_watermark),
                jobs: jobs.len() as u64,
                work: Work::of(of_jobs, run, stages),
            });
        }
    }
    batches
}

/// The sum over the stateful operators of a batch; `None` when none says.
pub(super) fn over_state(batch: &MicroBatch, value: impl Fn(&StateOperator) -> Option<u64>) -> Option<u64> {
    let values = batch.state_operators.iter().filter_map(value);
    values.fold(None, |sum, value| Some(sum.unwrap_or(0_u64).saturating_add(value)))
}
