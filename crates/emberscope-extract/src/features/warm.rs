//! Durations without the first tasks of each executor.

use std::collections::BinaryHeap;

use emberscope_run::{NULL, Run, TaskStatus};

use super::distribution::Quantiles;
use super::pass::Pass;

/// The fewest warm tasks that quantiles are taken of: below them one task is a quartile.
const ENOUGH: usize = 4;

/// Quantiles of the durations, which `pass` holds in `values`, of successful tasks that were not among the first of
/// their executor in this stage (as many as it has cores); `None` when too few remain.
pub(super) fn durations(run: &Run, pass: &mut Pass) -> Option<Quantiles> {
    let cores: Vec<u64> = run
        .executor_names
        .iter()
        .map(|id| run.executors.get(id).and_then(|executor| executor.cores).unwrap_or(1).max(1))
        // Tasks without a known executor are taken as those of one more with a single core.
        .chain([1])
        .collect();
    // Of each executor the tasks launched first, the last of them on top.
    let mut first: Vec<BinaryHeap<(u64, usize)>> = vec![BinaryHeap::new(); cores.len()];
    for (index, (&executor, &launch)) in pass.executor.iter().zip(&pass.launch).enumerate() {
        let place = usize::try_from(executor).unwrap_or(usize::MAX).min(cores.len() - 1);
        let (heap, cores) = (&mut first[place], cores[place]);
        if (heap.len() as u64) < cores {
            heap.push((launch, index));
        } else if let Some(mut last) = heap.peek_mut()
            && (launch, index) < *last
        {
            *last = (launch, index);
        }
    }
    let mut cold: Vec<usize> = first.iter().flatten().map(|&(_, index)| index).collect();
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
