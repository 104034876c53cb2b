//! Many runs: read in parallel within one budget of threads, delivered in the order of the inputs.
//!
//! A thread is also the unit of memory: a run is given as many of the threads as its bytes are worth, so that a large log is
//! read alone by all of them and small ones side by side, and what is held in memory at a time does not grow with the number
//! of runs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use emberscope_extract::sources::{Limits, ReadOptions, RunInput, SourceError, read_run};

use crate::compose::diagnose_run;
use crate::config::Config;
use crate::diagnosis::Diagnosis;

/// Stored bytes of a log that are worth one thread.
const BYTES_A_THREAD: u64 = 16 << 20;
/// Finished diagnoses that may wait for an earlier one that is still read, a thread.
const WAITING_A_THREAD: usize = 64;

/// Reads a run and says what is wrong with it.
///
/// # Errors
///
/// When nothing of the input could be read as events. Damage after the first event is an import issue of the diagnosis.
pub fn diagnose(input: &RunInput, config: &Config, options: &ReadOptions<'_>) -> Result<Diagnosis, SourceError> {
    Ok(diagnose_run(&read_run(input, options)?, config))
}

/// How many runs are read.
#[derive(Clone, Copy, Default)]
pub struct BatchOptions<'a> {
    /// Threads over all runs; `None` for as many as the machine has.
    pub threads: Option<NonZeroUsize>,
    /// What reading one run may cost.
    pub limits: Limits,
    /// Is told of bytes read from files, over all runs.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
}

impl BatchOptions<'_> {
    fn threads(&self) -> usize {
        self.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }
}

/// Reads every run, gives it to `work`, and hands what that makes of it to `deliver` in the order of the inputs. A run that
/// cannot be read is delivered as its error and does not stop the others.
pub fn for_each_run<R: Send>(
    inputs: &[RunInput],
    options: &BatchOptions<'_>,
    work: impl Fn(&RunInput, &ReadOptions<'_>) -> R + Sync,
    mut deliver: impl FnMut(&RunInput, R),
) {
    let threads = options.threads();
    in_order(
        inputs,
        threads,
        |input| weight(input, threads),
        |input, weight| {
            work(input, &ReadOptions { threads: weight, limits: options.limits, progress: options.progress })
        },
        |index, result| {
            if let Some(input) = inputs.get(index) {
                deliver(input, result);
            }
        },
    );
}

/// Diagnoses every run; see [`for_each_run`].
pub fn diagnose_all(
    inputs: &[RunInput],
    config: &Config,
    options: &BatchOptions<'_>,
    deliver: impl FnMut(&RunInput, Result<Diagnosis, SourceError>),
) {
    for_each_run(inputs, options, |input, options| diagnose(input, config, options), deliver);
}

/// Threads for a run: one for each [`BYTES_A_THREAD`]; all for a stream, of which nothing is known.
fn weight(input: &RunInput, threads: usize) -> usize {
    let wanted = input.framed_bytes().map_or(threads as u64, |bytes| bytes.div_ceil(BYTES_A_THREAD));
    usize::try_from(wanted).unwrap_or(threads).clamp(1, threads.max(1))
}

/// What the workers share.
struct State<R> {
    next: usize,
    free: usize,
    delivered: usize,
    done: BTreeMap<usize, R>,
}

/// Runs `work` on every item with at most `permits` in use, and `deliver`s the results in the order of the items.
fn in_order<T: Sync, R: Send>(
    items: &[T],
    permits: usize,
    weight: impl Fn(&T) -> usize + Sync,
    work: impl Fn(&T, usize) -> R + Sync,
    mut deliver: impl FnMut(usize, R),
) {
    let permits = permits.max(1);
    let window = permits.saturating_mul(WAITING_A_THREAD);
    let state = Mutex::new(State { next: 0, free: permits, delivered: 0, done: BTreeMap::new() });
    let changed = Condvar::new();
    let worker = || {
        loop {
            let mut guard = lock(&state);
            let (index, item, need) = loop {
                let index = guard.next;
                let Some(item) = items.get(index) else { return };
                let need = weight(item).clamp(1, permits);
                if guard.free >= need && index < guard.delivered.saturating_add(window) {
                    guard.next += 1;
                    guard.free -= need;
                    break (index, item, need);
                }
                guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
            };
            drop(guard);
            // A panic in the work must free the others before it is passed on.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(item, need)));
            let mut guard = lock(&state);
            guard.free += need;
            match result {
                Ok(result) => {
                    guard.done.insert(index, result);
                    changed.notify_all();
                }
                Err(panic) => {
                    guard.next = items.len();
                    guard.delivered = items.len();
                    changed.notify_all();
                    drop(guard);
                    std::panic::resume_unwind(panic);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..permits.min(items.len()) {
            scope.spawn(worker);
        }
        let mut guard = lock(&state);
        while guard.delivered < items.len() {
            let index = guard.delivered;
            if let Some(result) = guard.done.remove(&index) {
                guard.delivered += 1;
                changed.notify_all();
                drop(guard);
                deliver(index, result);
                guard = lock(&state);
            } else {
                guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
        }
    });
}

fn lock<R>(state: &Mutex<State<R>>) -> MutexGuard<'_, State<R>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_whatever_the_order_of_the_work() {
        let items: Vec<u64> = (0..40).collect();
        let mut got = Vec::new();
        in_order(
            &items,
            4,
            |_| 1,
            |item, _| {
                thread::sleep(Duration::from_millis(if item % 7 == 0 { 9 } else { 1 }));
                item * 10
            },
            |index, result| got.push((index as u64, result)),
        );
        assert_eq!(got, items.iter().map(|&item| (item, item * 10)).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_than_the_permits_are_in_use_and_a_heavy_item_takes_them_all() {
        let (in_use, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items = [1, 1, 4, 1, 9, 2, 2];
        let mut weights = Vec::new();
        in_order(
            &items,
            4,
            |&item| item,
            |_, weight| {
                let now = in_use.fetch_add(weight, Ordering::SeqCst) + weight;
                most.fetch_max(now, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(3));
                in_use.fetch_sub(weight, Ordering::SeqCst);
                weight
            },
            |_, weight| weights.push(weight),
        );
        assert_eq!(weights, [1, 1, 4, 1, 4, 2, 2]);
        assert_eq!(most.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn without_items_nothing_is_delivered() {
        in_order(&[], 2, |(): &()| 1, |(), _| (), |_, ()| panic!("nothing to deliver"));
    }
}
