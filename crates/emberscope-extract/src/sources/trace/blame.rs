//! Follows waits to their cause.

use super::threads::{Did, Machine, Now, Past, STOPPED, Tid, UNINTERRUPTIBLE};
use emberscope_run::Cause;

/// How many threads a wait is followed through.
const MAX_DEPTH: usize = 8;

/// Part of a wait: why, who had it, for how long.
pub(super) type Found<'a> = &'a mut dyn FnMut(Cause, Option<Tid>, i64);

/// What is asked: the JVM that waits, and when it was stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The thread that waits.
    pub(super) tid: Tid,
    /// Its process as the kernel names it.
    pub(super) pid: Option<u32>,
    /// The stops of its JVM by their begin, from and to.
    pub(super) stops: &'a [(i64, i64)],
}

/// A wait that began this much before the stop is told may be its own: threads stop before the JVM says so.
const STOP_SLACK_NS: i64 = 200_000;

/// The part of a wait that is a stop of the JVM: up to when, if it began in one.
pub(super) fn stopped_until(stops: &[(i64, i64)], past: &Past) -> Option<i64> {
    if !past.sleeping {
        return None;
    }
    let after = stops.partition_point(|stop| stop.0 <= past.start.saturating_add(STOP_SLACK_NS));
    let stop = stops.get(after.checked_sub(1)?)?;
    // Threads go on some time after the JVM lets them.
    (past.start < stop.1).then_some(past.end.min(stop.1.saturating_add(STOP_SLACK_NS)))
}

/// Splits a stretch in which a thread did not run by its causes; the parts sum to it.
pub(super) fn explain(machine: &Machine, asked: Asked<'_>, past: &Past, found: Found<'_>) {
    split(machine, asked, asked.tid, *past, &mut vec![asked.tid], found);
}

fn split(machine: &Machine, asked: Asked<'_>, tid: Tid, past: Past, seen: &mut Vec<Tid>, found: Found<'_>) {
    let mut past = past;
    if past.end <= past.start {
        return;
    }
    let is_wait = matches!(past.did, Did::Wait { .. } | Did::Timer | Did::Unknown);
    let own =
        machine.threads.get(&tid).and_then(|thread| thread.pid) == asked.pid && asked.pid.is_some() || tid == asked.tid;
    if is_wait
        && own
        && let Some(until) = stopped_until(asked.stops, &past)
    {
        found(Cause::Safepoint, None, until - past.start);
        past.start = until;
        if past.end <= past.start {
            return;
        }
    }
    let length = past.end - past.start;
    match past.did {
        Did::Run { .. } => found(Cause::Thread, Some(tid), length),
        Did::Queue { cpu } => holders(machine, cpu, tid, past.start, past.end, found),
        Did::Disk => found(Cause::Disk, None, length),
        Did::Network => found(Cause::Network, None, length),
        Did::Timer => found(Cause::Timer, None, length),
        Did::Stopped => found(Cause::Stopped, Some(tid), length),
        Did::Unknown => found(Cause::Unknown, None, length),
        Did::Wait { waker } => wait(machine, asked, waker, past, seen, found),
    }
}

/// Who had a CPU while a thread waited for it.
fn holders(machine: &Machine, cpu: u32, tid: Tid, start: i64, end: i64, found: Found<'_>) {
    let Some(of_cpu) = machine.cpus.get(cpu as usize) else {
        found(Cause::Cpu, None, end - start);
        return;
    };
    let mut rest = end - start;
    let mut part = |from: i64, to: i64, holder: Tid| {
        let part = to.min(end) - from.max(start);
        if part > 0 && holder != tid {
            found(Cause::Cpu, (holder != 0).then_some(holder), part);
            rest -= part;
        }
    };
    for &(from, to, holder) in of_cpu.past.iter().rev().take_while(|past| past.1 > start) {
        part(from, to, holder);
    }
    if let Some(holder) = of_cpu.current {
        part(of_cpu.since, end, holder);
    }
    if rest > 0 {
        found(Cause::Cpu, None, rest);
    }
}

fn wait(machine: &Machine, asked: Asked<'_>, waker: Tid, past: Past, seen: &mut Vec<Tid>, found: Found<'_>) {
    let length = past.end - past.start;
    let Some(thread) = machine.threads.get(&waker) else {
        found(Cause::Unknown, None, length);
        return;
    };
    let same_process = thread.pid.is_some() && thread.pid == asked.pid;
    if thread.task.is_some() && same_process && waker != asked.tid {
        // Tasks of one executor have nothing to tell each other: what one gives up and another waited for is a lock.
        found(Cause::Lock, Some(waker), length);
        return;
    }
    if same_process && (thread.name.starts_with("VM Thread") || thread.name.starts_with("GC Thread")) {
        found(Cause::Safepoint, Some(waker), length);
        return;
    }
    if seen.len() > MAX_DEPTH || seen.contains(&waker) {
        found(Cause::Thread, Some(waker), length);
        return;
    }
    seen.push(waker);
    let first = thread.past.partition_point(|other| other.end <= past.start);
    let mut covered = past.start;
    for other in thread.past.range(first..) {
        let (start, end) = (other.start.max(covered), other.end.min(past.end));
        if other.start >= past.end {
            break;
        }
        if start > covered {
            found(Cause::Thread, Some(waker), start - covered);
        }
        split(machine, asked, waker, Past { start, end, ..*other }, seen, found);
        covered = end.max(covered);
    }
    if covered < past.end {
        // What it does now began before the wait ended.
        let now = past.end - covered;
        let start = thread.since.max(covered).min(past.end);
        if start > covered {
            found(Cause::Thread, Some(waker), start - covered);
        }
        let open = now - (start - covered);
        let (did, sleeping) = match thread.now {
            Now::Running { cpu } => (Did::Run { cpu }, false),
            Now::Runnable { cpu } => (Did::Queue { cpu }, false),
            Now::Blocked { state } if state & UNINTERRUPTIBLE != 0 => (Did::Disk, false),
            Now::Blocked { state } if state & STOPPED != 0 => (Did::Stopped, false),
            Now::Blocked { .. } | Now::Unknown => (Did::Run { cpu: 0 }, false),
        };
        if open > 0 {
            split(machine, asked, waker, Past { start, end: past.end, did, sleeping }, seen, found);
        }
    }
    seen.pop();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn causes(machine: &Machine, asked: Asked<'_>, past: &Past) -> BTreeMap<(Cause, Option<Tid>), i64> {
        let mut all = BTreeMap::new();
        explain(machine, asked, past, &mut |cause, who, ns| *all.entry((cause, who)).or_default() += ns);
        assert_eq!(all.values().sum::<i64>(), past.end - past.start);
        all
    }

    fn asked(tid: Tid) -> Asked<'static> {
        Asked { tid, pid: None, stops: &[] }
    }

    #[test]
    fn a_wait_for_a_thread_that_waited_for_a_disk_and_then_computed_is_both() {
        let mut machine = Machine::default();
        machine.switch(0, 1_000, 0, 0, 7);
        machine.switch(1, 1_000, 0, 0, 8);
        machine.switch(0, 2_000, 7, 1, 0);
        machine.switch(1, 3_000, 8, 2, 0);
        machine.softirq(1, 6_000, Some(4));
        machine.wake(1, 6_000, 8, Some(1));
        machine.softirq(1, 6_001, None);
        machine.switch(1, 6_500, 0, 0, 8);
        let ended = machine.wake(1, 10_000, 7, Some(0)).unwrap();
        let all = causes(&machine, asked(7), &ended.past);
        // 8 ran from 2,000 to 3,000 and from 6,500 to 10,000, and waited for its CPU from 6,000.
        let expected = [((Cause::Cpu, None), 500), ((Cause::Disk, None), 3_000), ((Cause::Thread, Some(8)), 4_500)];
        assert_eq!(all, BTreeMap::from(expected));
    }

    #[test]
    fn who_had_the_cpu_is_named() {
        let mut machine = Machine::default();
        machine.switch(0, 1_000, 0, 0, 7);
        machine.switch(0, 2_000, 7, 0, 9);
        machine.switch(0, 5_000, 9, 0, 4);
        let ended = machine.switch(0, 6_000, 4, 1, 7)[1].unwrap();
        let all = causes(&machine, asked(7), &ended.past);
        assert_eq!(all, BTreeMap::from([((Cause::Cpu, Some(9)), 3_000), ((Cause::Cpu, Some(4)), 1_000)]));
    }

    #[test]
    fn a_wait_that_begins_in_a_stop_of_the_jvm_is_the_stop() {
        let past = Past { start: 5_000_000, end: 9_000_000, did: Did::Wait { waker: 3 }, sleeping: true };
        let stops = [(1_000_000, 2_000_000), (5_100_000, 8_000_000)];
        let asked = Asked { tid: 7, pid: None, stops: &stops };
        let all = causes(&Machine::default(), asked, &past);
        assert_eq!(all, BTreeMap::from([((Cause::Safepoint, None), 3_200_000), ((Cause::Unknown, None), 800_000)]));
        let before = Past { start: 3_000_000, end: 9_000_000, ..past };
        assert!(!causes(&Machine::default(), asked, &before).contains_key(&(Cause::Safepoint, None)));
    }

    #[test]
    fn threads_that_wait_for_each_other_end() {
        let mut machine = Machine::default();
        machine.thread(8, 0).past.push_back(Past { start: 0, end: 100, did: Did::Wait { waker: 9 }, sleeping: true });
        machine.thread(9, 0).past.push_back(Past { start: 0, end: 100, did: Did::Wait { waker: 8 }, sleeping: true });
        let past = Past { start: 0, end: 100, did: Did::Wait { waker: 8 }, sleeping: true };
        assert_eq!(causes(&machine, asked(7), &past), BTreeMap::from([((Cause::Thread, Some(8)), 100)]));
    }
}
