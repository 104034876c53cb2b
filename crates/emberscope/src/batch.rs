//! Many runs: read in parallel within one budget of threads, delivered in the order of the inputs.
//!
//! A thread is also the unit of memory: a run is given as many of the threads as its bytes are worth, so that a large log is
//! read alone by all of them and small ones side by side, and what is held in memory at a time does not grow with the number
//! of runs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use emberscope_extract::sources::{Limits, ReadOptions, RunInput, SourceError, TraceOptions, read_run};

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
    /// Folders with traces of the hosts that ran the applications, one a host.
    pub traces: &'a [std::path::PathBuf],
    /// What to keep of them.
    pub trace_options: TraceOptions,
}

impl BatchOptions<'_> {
    pub(crate) fn threads(&self) -> usize {
        self.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }
}

/// Diagnoses every run and hands what is said of it to `deliver` in the order of the inputs. A run that cannot be read is
/// delivered as its error and does not stop the others.
pub fn diagnose_all(
    inputs: &[RunInput],
    config: &Config,
    options: &BatchOptions<'_>,
    mut deliver: impl FnMut(&RunInput, Result<Diagnosis, SourceError>),
) {
    let work = |input: &RunInput, options: &ReadOptions<'_>| diagnose(input, config, options);
    for_each_run(inputs, options, Holding::WhileWorking, work, |input, result| {
        deliver(input, result);
        ControlFlow::Continue(())
    });
}

/// Reads every run, gives it to `work`, and hands what that makes of it to `deliver` in the order of the inputs, until that
/// breaks off.
pub(crate) fn for_each_run<R: Send>(
    inputs: &[RunInput],
    options: &BatchOptions<'_>,
    holding: Holding,
    work: impl Fn(&RunInput, &ReadOptions<'_>) -> R + Sync,
    mut deliver: impl FnMut(&RunInput, R) -> ControlFlow<()>,
) {
    let threads = options.threads();
    let read = |input: &RunInput, threads| {
        let BatchOptions { limits, progress, traces, trace_options, .. } = *options;
        work(input, &ReadOptions { threads, limits, progress, traces, trace_options })
    };
    in_order(
        inputs,
        threads,
        holding,
        |input| weight(input, threads),
        read,
        |index, result| inputs.get(index).map_or(ControlFlow::Break(()), |input| deliver(input, result)),
    );
}

/// Until when a run keeps its threads, and with them its share of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    /// Until the work is done: what it gives is small.
    WhileWorking,
    /// Until what it gives is delivered: it is as large as the run.
    UntilDelivered,
}

/// Threads for a run: one for each [`BYTES_A_THREAD`]; all for a stream, of which nothing is known.
fn weight(input: &RunInput, threads: usize) -> usize {
    let wanted = input.framed_bytes().map_or(threads as u64, |bytes| bytes.div_ceil(BYTES_A_THREAD));
    usize::try_from(wanted).unwrap_or(threads).clamp(1, threads.max(1))
}

/// What the workers share.
struct State<R> {
    /// The next item to work on.
    next: usize,
    /// Permits that nobody holds.
    free: usize,
    /// Items that were delivered.
    delivered: usize,
    /// Results that wait for an earlier one, with the permits they hold.
    done: BTreeMap<usize, (R, usize)>,
}

/// Runs `work` on every item with at most `permits` in use, and `deliver`s the results in the order of the items. Permits are
/// taken in that order too, so that the item that everybody waits for always has its own.
fn in_order<T: Sync, R: Send>(
    items: &[T],
    permits: usize,
    holding: Holding,
    weight: impl Fn(&T) -> usize + Sync,
    work: impl Fn(&T, usize) -> R + Sync,
    mut deliver: impl FnMut(usize, R) -> ControlFlow<()>,
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
            match result {
                Ok(result) => {
                    let held = if holding == Holding::UntilDelivered { need } else { 0 };
                    guard.free += need - held;
                    guard.done.insert(index, (result, held));
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
            if let Some((result, held)) = guard.done.remove(&index) {
                drop(guard);
                let flow = deliver(index, result);
                guard = lock(&state);
                guard.free += held;
                guard.delivered = guard.delivered.saturating_add(1);
                if flow.is_break() {
                    guard.next = items.len();
                    guard.delivered = items.len();
                }
                changed.notify_all();
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

    const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

    #[test]
    fn results_come_in_the_order_of_the_items_whatever_the_order_of_the_work() {
        let items: Vec<u64> = (0..40).collect();
        let mut got = Vec::new();
        let work = |item: &u64, _| {
            thread::sleep(Duration::from_millis(if item.is_multiple_of(7) { 9 } else { 1 }));
            item * 10
        };
        in_order(
            &items,
            4,
            Holding::WhileWorking,
            |_| 1,
            work,
            |index, result| {
                got.push((index as u64, result));
                GO_ON
            },
        );
        assert_eq!(got, items.iter().map(|&item| (item, item * 10)).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_than_the_permits_are_in_use_and_a_heavy_item_takes_them_all() {
        let (in_use, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut weights = Vec::new();
        let work = |_: &usize, weight| {
            let now = in_use.fetch_add(weight, Ordering::SeqCst) + weight;
            most.fetch_max(now, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(3));
            in_use.fetch_sub(weight, Ordering::SeqCst);
            weight
        };
        in_order(
            &[1, 1, 4, 1, 9, 2, 2],
            4,
            Holding::WhileWorking,
            |&item| item,
            work,
            |_, weight| {
                weights.push(weight);
                GO_ON
            },
        );
        assert_eq!(weights, [1, 1, 4, 1, 4, 2, 2]);
        assert_eq!(most.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn large_results_keep_their_permits_until_they_are_delivered() {
        let (alive, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<usize> = (0..30).collect();
        let work = |&item: &usize, _| {
            // The first is slow: without permits held the others would pile up behind it.
            thread::sleep(Duration::from_millis(if item == 0 { 60 } else { 1 }));
            let now = alive.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
        };
        in_order(
            &items,
            3,
            Holding::UntilDelivered,
            |_| 1,
            work,
            |_, ()| {
                alive.fetch_sub(1, Ordering::SeqCst);
                GO_ON
            },
        );
        assert!(most.load(Ordering::SeqCst) <= 3, "{most:?}");
    }

    #[test]
    fn who_breaks_off_gets_no_more() {
        let items: Vec<usize> = (0..100).collect();
        let mut got = Vec::new();
        in_order(
            &items,
            3,
            Holding::WhileWorking,
            |_| 1,
            |&item, _| item,
            |_, item| {
                got.push(item);
                if item == 5 { ControlFlow::Break(()) } else { GO_ON }
            },
        );
        assert_eq!(got, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn without_items_nothing_is_delivered() {
        in_order(&[], 2, Holding::WhileWorking, |(): &()| 1, |(), _| (), |_, ()| panic!("nothing to deliver"));
    }
}
