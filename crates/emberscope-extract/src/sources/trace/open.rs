//! The account of one task while it runs.

use emberscope_run::{Blame, Cause, TaskTrace, ThreadState, TraceColumn};

use super::threads::{Past, Tid};

/// The most parts of blame that are kept of a task.
const MAX_BLAME: usize = 12;

/// The account of a task that runs.
pub(super) struct Open {
    pub(super) tid: Tid,
    /// Its process as the kernel names it.
    pub(super) pid: Option<u32>,
    pub(super) start: i64,
    /// What is accounted up to here.
    pub(super) until: i64,
    pub(super) values: TaskTrace,
    pub(super) blame: Vec<(Cause, Option<u32>, i64)>,
    /// Waits that a timer ended, of which it is not known yet whether they were looks at a lock.
    pub(super) looks: Vec<Past>,
}

impl Open {
    /// Adds time for which the task did not run.
    pub(super) fn add(&mut self, cause: Cause, culprit: Option<u32>, ns: i64) {
        self.values.add(cause.column(), ns.max(0) as u64);
        match self.blame.iter_mut().find(|blame| (blame.0, blame.1) == (cause, culprit)) {
            Some(blame) => blame.2 += ns,
            None => self.blame.push((cause, culprit, ns)),
        }
    }

    /// Ends the account: what did not happen is 0 where it would have been seen.
    pub(super) fn close(&mut self, time: i64, has_page_faults: bool, has_block: bool) {
        let values = &mut self.values;
        values.add(TraceColumn::Preemptions, 0);
        values.add(TraceColumn::Migrations, 0);
        if has_page_faults {
            values.add(TraceColumn::PageFaults, 0);
        }
        if has_block {
            for column in [TraceColumn::BlockReadBytes, TraceColumn::BlockWriteBytes, TraceColumn::BlockRequests] {
                values.add(column, 0);
            }
        }
        ThreadState::ALL.iter().for_each(|state| values.add(state.column(), 0));
        Cause::ALL.iter().for_each(|cause| values.add(cause.column(), 0));
        values.set(TraceColumn::Traced, (time - self.start).max(0) as u64);
        self.blame.sort_by_key(|&(cause, culprit, ns)| (std::cmp::Reverse(ns), cause, culprit));
        self.blame.truncate(MAX_BLAME);
        let blame = |&(cause, culprit, ns): &(Cause, Option<u32>, i64)| Blame { cause, culprit, ns: ns.max(0) as u64 };
        values.blame = self.blame.iter().map(blame).collect();
    }
}
