//! Task slots at any time: as [`Run::slots_at`], for many questions about one run.

use emberscope_run::{Run, Timestamp};

/// The task slots of a run by the clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots {
    added: Steps,
    removed: Steps,
}

impl Slots {
    /// The slots of a run.
    pub(super) fn of(run: &Run) -> Self {
        let cpus = run.environment.spark.integer("spark.task.cpus").ok().flatten().unwrap_or(1).max(1) as u64;
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for executor in run.worker_executors() {
            let from = executor.added_at.unwrap_or(Timestamp(i64::MIN));
            let Some(slots) = executor.cores.map(|cores| cores / cpus) else { continue };
            if executor.removed_at.is_some_and(|to| to <= from) {
                continue;
            }
            added.push((from, slots));
            removed.extend(executor.removed_at.map(|to| (to, slots)));
        }
        Self { added: Steps::of(added), removed: Steps::of(removed) }
    }

    /// The slots of the executors that are there; `None` when there are none whose cores are known.
    pub(super) fn at(&self, at: Timestamp) -> Option<u64> {
        let (added, came) = self.added.until(at);
        let (removed, went) = self.removed.until(at);
        (added > removed).then(|| u64::try_from(came.saturating_sub(went)).unwrap_or(u64::MAX))
    }
}

/// What came up to a time: how many, and how much in all.
#[derive(Debug, Clone, Default)]
struct Steps {
    at: Vec<Timestamp>,
    sums: Vec<u128>,
}

impl Steps {
    fn of(mut steps: Vec<(Timestamp, u64)>) -> Self {
        steps.sort_unstable();
        let mut sum = 0_u128;
        let sums = steps.iter().map(|&(_, amount)| {
            sum += u128::from(amount);
            sum
        });
        Self { sums: sums.collect(), at: steps.iter().map(|&(at, _)| at).collect() }
    }

    fn until(&self, at: Timestamp) -> (usize, u128) {
        let count = self.at.partition_point(|&step| step <= at);
        (count, count.checked_sub(1).and_then(|last| self.sums.get(last)).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use emberscope_run::{Executor, ExecutorId};
    use proptest::prelude::*;

    use super::*;

    fn time() -> impl Strategy<Value = Option<Timestamp>> {
        proptest::option::of((0..20_i64).prop_map(Timestamp))
    }

    proptest! {
        #[test]
        fn slots_by_the_clock_are_those_of_the_run(
            executors in proptest::collection::vec((time(), time(), proptest::option::of(0..9_u64)), 0..8),
            driver in any::<bool>(),
        ) {
            let mut run = Run::default();
            for (index, (added_at, removed_at, cores)) in executors.into_iter().enumerate() {
                let id = if driver && index == 0 { "driver".to_owned() } else { index.to_string() };
                let id = ExecutorId::from(id.as_str());
                run.executors.insert(id.clone(), Executor { id, added_at, removed_at, cores, ..Executor::default() });
            }
            let slots = Slots::of(&run);
            for at in -1..21 {
                prop_assert_eq!(slots.at(Timestamp(at)), run.slots_at(Timestamp(at)), "{}", at);
            }
        }
    }
}
