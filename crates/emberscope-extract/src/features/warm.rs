//! Durations without the first tasks of each executor.

use std::collections::{BinaryHeap, HashMap};

use emberscope_run::{NULL, Run, TaskStatus};

use super::distribution::Quantiles;
use super::pass::Pass;

/// The fewest warm tasks that quantiles are taken of: below them one task is a quartile.
const ENOUGH: usize = 4;

/// Quantiles of the durations, which `pass` holds in `values`, of successful tasks that were not among the first of
/// their executor in this stage (as many as it has cores); `None` when too few remain.
pub(super) fn durations(run: &Run, pass: &mut Pass) -> Option<Quantiles> {
    let cores_of = |executor: u64| {
        let id = usize::try_from(executor).ok().and_then(|executor| run.executor_names.get(executor));
        // Tasks without a known executor are taken as those of one more with a single core.
        id.and_then(|id| run.executors.get(id)).and_then(|executor| executor.cores).unwrap_or(1).max(1)
    };
    // Of each executor of the stage its cores and the tasks launched first, the last of them on top.
    let mut first: HashMap<u64, (u64, BinaryHeap<(u64, usize)>)> = HashMap::new();
    for (index, (&executor, &launch)) in pass.executor.iter().zip(&pass.launch).enumerate() {
        let (cores, heap) = first.entry(executor).or_insert_with(|| (cores_of(executor), BinaryHeap::new()));
        if (heap.len() as u64) < *cores {
            heap.push((launch, index));
        } else if let Some(mut last) = heap.peek_mut()
            && (launch, index) < *last
        {
            *last = (launch, index);
        }
    }
    let mut cold: Vec<usize> = first.values().flat_map(|(_, heap)| heap).map(|&(_, index)| index).collect();
    cold.sort_unstable();
    let mut cold = cold.into_iter().peekable();
    let mut successful = std::mem::take(&mut pass.successful);
    successful.clear();
    for (index, (duration, status, _)) in pass.rows().enumerate() {
        let is_cold = cold.next_if_eq(&index).is_some();
        if !is_cold && status == TaskStatus::Success.code() && duration != NULL {
            successful.push(duration);
        }
    }
    let quantiles = (successful.len() >= ENOUGH).then(|| Quantiles::of(&mut successful)).flatten();
    pass.successful = successful;
    quantiles
}
