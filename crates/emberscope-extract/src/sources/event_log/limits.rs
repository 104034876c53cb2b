//! Bounds that a hostile or broken log cannot pass. Each is far above what real logs need.

use super::framing;

/// What reading a log may cost; when a limit is hit the import issue names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of the decompression.
    pub framing: framing::Limits,
    /// Bytes in a line. Default 64 MiB: plans of several MiB are seen in real logs.
    pub max_line_bytes: usize,
    /// Ids tracked of one kind: jobs, stage attempts, executors, SQL executions. Default 100,000: at about 2 kB each 200 MB.
    pub max_ids: usize,
    /// Accumulators tracked, of which only a number is kept. Default 2 million.
    pub max_accumulators: usize,
    /// Task attempts kept. Default 50 million: at about 80 bytes each.
    pub max_tasks: usize,
    /// Distinct causes of failures kept. Default 2,000.
    pub max_failures: usize,
    /// Micro-batches kept of a streaming query. Default 50,000: a batch a second for 14 hours.
    pub max_batches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            framing: framing::Limits::default(),
            max_line_bytes: 64 << 20,
            max_ids: 100_000,
            max_accumulators: 2_000_000,
            max_tasks: 50_000_000,
            max_failures: 2_000,
            max_batches: 50_000,
        }
    }
}
