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

    /// The mean of the slots from one time to another, rounded, at least 1 where there ever were any: executors come and go
    /// while a stage runs. `None` when there are none whose cores are known.
    pub(super) fn mean(&self, from: Timestamp, to: Timestamp) -> Option<u64> {
        let most = self.most(from, to)?;
        let length = to.since(from).0;
        if length == 0 {
            return Some(most);
        }
        let mut changes: Vec<Timestamp> = vec![from];
        changes.extend(self.added.between(from, to));
        changes.extend(self.removed.between(from, to));
        changes.sort_unstable();
        let ends = changes.iter().copied().skip(1).chain([to]);
        let sum = changes
            .iter()
            .zip(ends)
            .map(|(&at, end)| u128::from(end.since(at).0) * u128::from(self.at(at).unwrap_or(0)))
            .fold(0_u128, u128::saturating_add);
        let mean = (sum + u128::from(length) / 2) / u128::from(length);
        Some(u64::try_from(mean).unwrap_or(u64::MAX).max(most.min(1)))
    }

    /// The most slots at any time from one to another; `None` when there are none whose cores are known.
    pub(super) fn most(&self, from: Timestamp, to: Timestamp) -> Option<u64> {
        std::iter::once(from).chain(self.added.between(from, to)).filter_map(|at| self.at(at)).max()
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

    /// The times of steps after one time and up to another.
    fn between(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        let first = self.at.partition_point(|&step| step <= from);
        self.at.iter().skip(first).copied().take_while(move |&step| step < to)
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

    fn executors(lives: &[(i64, Option<i64>, u64)]) -> Slots {
        let mut run = Run::default();
        for (index, &(added, removed, cores)) in lives.iter().enumerate() {
            let id = ExecutorId::from(index.to_string().as_str());
            let executor = Executor {
                id: id.clone(),
                added_at: Some(Timestamp(added)),
                removed_at: removed.map(Timestamp),
                cores: Some(cores),
                ..Executor::default()
            };
            run.executors.insert(id, executor);
        }
        Slots::of(&run)
    }

    #[test]
    fn slots_of_executors_that_join_and_leave_count_for_their_time() {
        // 2 slots for 100 ms; 2 more join after 40 ms and leave after 90: 2 + 2 x 50 / 100 = 3.
        let slots = executors(&[(0, None, 2), (40, Some(90), 2)]);
        let over = |from, to| (slots.mean(Timestamp(from), Timestamp(to)), slots.most(Timestamp(from), Timestamp(to)));
        assert_eq!(over(0, 100), (Some(3), Some(4)));
        assert_eq!(over(90, 100), (Some(2), Some(2)));
        assert_eq!(over(95, 95), (Some(2), Some(2)));
        // Nobody is there until 40 ms later: a third of a slot is one.
        let late = executors(&[(40, None, 1)]);
        assert_eq!(late.mean(Timestamp(0), Timestamp(60)), Some(1));
        assert_eq!(executors(&[]).mean(Timestamp(0), Timestamp(60)), None);
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
