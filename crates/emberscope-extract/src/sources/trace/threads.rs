//! CPUs and threads: a state machine over scheduler, wake-up, interrupt and block events.
//!
//! As Trace Compass' critical path analysis (Giraldeau and Dagenais, "Wait analysis of distributed systems using kernel tracing",
//! IEEE TPDS 2016), a wait is known by what ended it: the thread that woke the waiting one, or the interrupt in which it was woken.

use std::collections::{HashMap, VecDeque};

use compact_str::CompactString;
use foldhash::fast::RandomState;

/// The most stretches of the past that are kept for a thread or a CPU.
const MAX_HISTORY: usize = 4096;
/// A soft interrupt that begins so soon after a hardware interrupt on its CPU is on its behalf, not on that of the thread that
/// it interrupts.
const AFTER_IRQ_NS: i64 = 20_000;

/// How long after the last packet a thread that comes from nowhere may have been woken by it.
const LATE_NS: i64 = 50_000_000;

pub(super) type Tid = u32;

/// States of a task as `sched_switch` reports them (`include/linux/sched.h`); 0 is one that could go on.
const INTERRUPTIBLE: u64 = 0x1;
pub(super) const UNINTERRUPTIBLE: u64 = 0x2;
/// By a signal, or by a debugger.
pub(super) const STOPPED: u64 = 0x4 | 0x8;
const REPORTED: u64 = 0xff;

/// What a thread did for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    Run {
        cpu: u32,
    },
    /// Waited for this CPU.
    Queue {
        cpu: u32,
    },
    Disk,
    Network,
    Timer,
    Stopped,
    /// Waited for what this thread did.
    Wait {
        waker: Tid,
    },
    /// The trace does not tell.
    Unknown,
}

/// A stretch of a thread's past, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) did: Did,
    /// Whether it slept so that a signal could have woken it; such a wait may be a stop of its JVM.
    pub(super) sleeping: bool,
}

/// What a thread does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Now {
    Unknown,
    Running {
        cpu: u32,
    },
    Runnable {
        cpu: u32,
    },
    /// The state that it left the CPU with, as the kernel has it: 1 interruptible, 2 uninterruptible, 4 and 8 stopped.
    Blocked {
        state: u64,
    },
}

#[derive(Debug)]
pub(super) struct Thread {
    pub(super) name: CompactString,
    /// Its process, where the trace tells.
    pub(super) pid: Option<u32>,
    pub(super) now: Now,
    pub(super) since: i64,
    pub(super) past: VecDeque<Past>,
    /// The traced task that it runs.
    pub(super) task: Option<usize>,
    last_cpu: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Cpu {
    pub(super) current: Option<Tid>,
    pub(super) since: i64,
    pub(super) past: VecDeque<(i64, i64, Tid)>,
    last_event: i64,
    irq_at: Option<i64>,
    in_irq: bool,
    softirq: Option<(u64, bool)>,
}

impl Cpu {
    fn keep(&mut self, start: i64, end: i64, tid: Tid) {
        if self.past.len() >= MAX_HISTORY {
            self.past.pop_front();
        }
        if start < end {
            self.past.push_back((start, end, tid));
        }
    }
}

/// Who or what woke a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waker {
    Thread(Tid),
    Network,
    Timer,
    Disk,
    Unknown,
}

/// A stretch that ended, for who accounts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) tid: Tid,
    pub(super) past: Past,
    /// It lost the CPU while it could run.
    pub(super) preempted: bool,
    /// It went on on another CPU than before.
    pub(super) migrated: bool,
}

/// Soft interrupts by their number (`include/linux/interrupt.h`).
mod softirq {
    pub(super) const TIMER: u64 = 1;
    pub(super) const NET_TX: u64 = 2;
    pub(super) const NET_RX: u64 = 3;
    pub(super) const BLOCK: u64 = 4;
    pub(super) const IRQ_POLL: u64 = 5;
    pub(super) const HRTIMER: u64 = 8;
}

#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) cpus: Vec<Cpu>,
    pub(super) threads: HashMap<Tid, Thread, RandomState>,
    /// Moments at which events must have been lost, as the scheduler's do not fit together.
    pub(super) gaps: u64,
    /// When the last packet was received on any CPU.
    last_net_rx: Option<i64>,
}

impl Machine {
    /// More CPUs than any machine has are a damaged trace.
    const MAX_CPUS: u32 = 1 << 14;

    pub(super) fn cpu(&mut self, cpu: u32) -> &mut Cpu {
        let index = cpu.min(Self::MAX_CPUS) as usize;
        if self.cpus.len() <= index {
            self.cpus.resize_with(index + 1, Cpu::default);
        }
        &mut self.cpus[index]
    }

    pub(super) fn thread(&mut self, tid: Tid, time: i64) -> &mut Thread {
        self.threads.entry(tid).or_insert_with(|| Thread {
            name: CompactString::default(),
            pid: None,
            now: Now::Unknown,
            since: time,
            past: VecDeque::new(),
            task: None,
            last_cpu: None,
        })
    }

    /// Notes a thread's name and process.
    pub(super) fn named(&mut self, tid: Tid, name: &str, pid: Option<u32>, time: i64) {
        let thread = self.thread(tid, time);
        if !name.is_empty() && thread.name != name {
            thread.name = CompactString::from(name);
        }
        thread.pid = pid.or(thread.pid);
    }

    /// Ends what a thread does now, and says what it was.
    fn end(&mut self, tid: Tid, time: i64, did: Did, next: Now) -> Past {
        let thread = self.thread(tid, time);
        let sleeping = matches!(thread.now, Now::Blocked { state } if state & INTERRUPTIBLE != 0);
        let past = Past { start: thread.since.min(time), end: time, did, sleeping };
        if thread.past.len() >= MAX_HISTORY {
            thread.past.pop_front();
        }
        if past.end > past.start {
            thread.past.push_back(past);
        }
        (thread.now, thread.since) = (next, time);
        past
    }

    /// An event in a thread on a CPU that was last seen to have become idle, or to have another thread: the switch to it is
    /// missing. Gives what ended.
    ///
    /// Some kernels do not trace what happens in the idle task (seen in virtual machines: four of five switches from it are
    /// missing in perf's traces). A thread that was woken had the idle CPU at once. One that nobody was seen to wake was woken by an
    /// interrupt of the idle CPU, as a thread that wakes another is traced.
    pub(super) fn present(&mut self, cpu: u32, time: i64, tid: Tid) -> [Option<Ended>; 2] {
        let of_cpu = self.cpu(cpu);
        let last = std::mem::replace(&mut of_cpu.last_event, time);
        let (current, since) = (of_cpu.current, of_cpu.since);
        let Some(before) = current.filter(|&before| before != tid && tid != 0) else { return [None; 2] };
        let mut ended = [None; 2];
        if before != 0 {
            self.gaps += 1;
            if self.thread(before, time).now == (Now::Running { cpu }) {
                let past = self.end(before, last.clamp(since, time.max(since)), Did::Run { cpu }, Now::Unknown);
                ended[1] = Some(Ended { tid: before, past, preempted: false, migrated: false });
            }
        }
        let now = self.thread(tid, time).now;
        let at = match now {
            Now::Runnable { .. } if before == 0 => self.thread(tid, time).since.max(since).min(time),
            _ => time,
        };
        let did = match now {
            Now::Runnable { .. } if before == 0 => Did::Queue { cpu },
            Now::Blocked { state } => self.unseen(state, at),
            Now::Unknown | Now::Running { .. } | Now::Runnable { .. } => Did::Unknown,
        };
        let of_cpu = self.cpu(cpu);
        if before == 0 {
            of_cpu.keep(since, at, 0);
        }
        (of_cpu.current, of_cpu.since) = (Some(tid), at);
        let past = self.end(tid, at, did, Now::Running { cpu });
        let thread = self.thread(tid, time);
        let migrated = thread.last_cpu.replace(cpu).is_some_and(|last| last != cpu);
        ended[0] = Some(Ended { tid, past, preempted: false, migrated });
        ended
    }

    /// What a thread waited for that nobody was seen to wake: an interrupt of an idle CPU did, as all else is traced.
    fn unseen(&self, state: u64, at: i64) -> Did {
        let of_network = self.last_net_rx.is_some_and(|last| (0..LATE_NS).contains(&(at - last)));
        if state & UNINTERRUPTIBLE != 0 {
            Did::Disk
        } else if state & STOPPED != 0 {
            Did::Stopped
        } else if of_network {
            Did::Network
        } else {
            Did::Timer
        }
    }

    /// `sched_switch`: gives what ended, of the thread that leaves and of the one that comes.
    pub(super) fn switch(&mut self, cpu: u32, time: i64, prev: Tid, state: u64, next: Tid) -> [Option<Ended>; 3] {
        let mut ended = [None; 3];
        let of_cpu = self.cpu(cpu);
        let (current, since, last) = (of_cpu.current, of_cpu.since, of_cpu.last_event);
        if let Some(other) = current.filter(|&current| current != prev) {
            // What is said to leave is not what came: events between are missing.
            self.gaps += 1;
            if other != 0 && self.thread(other, time).now == (Now::Running { cpu }) {
                let until = last.max(since).min(time);
                let past = self.end(other, until, Did::Run { cpu }, Now::Unknown);
                ended[2] = Some(Ended { tid: other, past, preempted: false, migrated: false });
            }
        }
        let begin = if current == Some(prev) { since } else { last.max(since) };
        let of_cpu = self.cpu(cpu);
        if begin > 0 {
            of_cpu.keep(begin, time, prev);
        }
        (of_cpu.current, of_cpu.since, of_cpu.last_event) = (Some(next), time, time);
        if prev != 0 {
            let runs = matches!(self.thread(prev, time).now, Now::Running { .. });
            let known = runs || self.thread(prev, time).now == Now::Unknown && current.is_none();
            let did = if known { Did::Run { cpu } } else { Did::Unknown };
            let preempted = state & REPORTED == 0;
            let now = if preempted { Now::Runnable { cpu } } else { Now::Blocked { state: state & REPORTED } };
            let past = self.end(prev, time, did, now);
            self.thread(prev, time).last_cpu = Some(cpu);
            ended[0] = Some(Ended { tid: prev, past, preempted, migrated: false });
        }
        if next != 0 {
            let thread = self.thread(next, time);
            let migrated = thread.last_cpu.is_some_and(|last| last != cpu);
            let did = match thread.now {
                Now::Runnable { .. } => Did::Queue { cpu },
                // Its wake-up is missing.
                Now::Blocked { state } => self.unseen(state, time),
                Now::Unknown | Now::Running { .. } => Did::Unknown,
            };
            let past = self.end(next, time, did, Now::Running { cpu });
            self.thread(next, time).last_cpu = Some(cpu);
            ended[1] = Some(Ended { tid: next, past, preempted: false, migrated });
        }
        ended
    }

    /// `sched_waking` or `sched_wakeup` on a CPU: gives the wait that ended.
    pub(super) fn wake(&mut self, cpu: u32, time: i64, tid: Tid, target: Option<u32>) -> Option<Ended> {
        self.cpu(cpu).last_event = time;
        let thread = self.thread(tid, time);
        let to = target.or(thread.last_cpu).unwrap_or(cpu);
        let Now::Blocked { state } = thread.now else {
            if thread.now == Now::Unknown {
                let past = self.end(tid, time, Did::Unknown, Now::Runnable { cpu: to });
                return Some(Ended { tid, past, preempted: false, migrated: false });
            }
            return None;
        };
        let waker = self.waker(cpu, state);
        let did = if state & STOPPED != 0 {
            Did::Stopped
        } else if state & UNINTERRUPTIBLE != 0 {
            match waker {
                Waker::Thread(waker) if !self.is_of_kernel(waker) => Did::Wait { waker },
                _ => Did::Disk,
            }
        } else {
            match waker {
                Waker::Thread(waker) => Did::Wait { waker },
                Waker::Network => Did::Network,
                Waker::Timer => Did::Timer,
                Waker::Disk => Did::Disk,
                Waker::Unknown => Did::Unknown,
            }
        };
        let past = self.end(tid, time, did, Now::Runnable { cpu: to });
        Some(Ended { tid, past, preempted: false, migrated: false })
    }

    fn waker(&self, cpu: u32, state: u64) -> Waker {
        let Some(of_cpu) = self.cpus.get(cpu as usize) else { return Waker::Unknown };
        let current = of_cpu.current.filter(|&tid| tid != 0);
        if of_cpu.in_irq {
            return if state & UNINTERRUPTIBLE != 0 { Waker::Disk } else { Waker::Timer };
        }
        match of_cpu.softirq {
            Some((softirq::TIMER | softirq::HRTIMER, _)) => Waker::Timer,
            Some((softirq::BLOCK | softirq::IRQ_POLL, _)) => Waker::Disk,
            // What a thread sends to its own host is received in its own name.
            Some((softirq::NET_RX | softirq::NET_TX, own)) => match current {
                Some(tid) if own && !self.is_of_kernel(tid) => Waker::Thread(tid),
                _ => Waker::Network,
            },
            Some(_) => Waker::Unknown,
            // Nothing else wakes anybody on an idle CPU but the timer's interrupt, whose events are seldom recorded.
            None => current.map_or(Waker::Timer, Waker::Thread),
        }
    }

    /// Whether a thread is the kernel's own: its work for disks and networks is theirs.
    pub(super) fn is_of_kernel(&self, tid: Tid) -> bool {
        const NAMES: [&str; 12] = [
            "kworker/",
            "ksoftirqd/",
            "jbd2/",
            "loop",
            "kswapd",
            "kcompactd",
            "migration/",
            "rcu_",
            "xfs",
            "btrfs",
            "kblockd",
            "kthrotld",
        ];
        self.threads.get(&tid).is_some_and(|thread| NAMES.iter().any(|name| thread.name.starts_with(name)))
    }

    pub(super) fn irq(&mut self, cpu: u32, time: i64, enter: bool) {
        let of_cpu = self.cpu(cpu);
        (of_cpu.in_irq, of_cpu.irq_at, of_cpu.last_event) = (enter, Some(time), time);
    }

    pub(super) fn softirq(&mut self, cpu: u32, time: i64, vector: Option<u64>) {
        if vector == Some(softirq::NET_RX) {
            self.last_net_rx = Some(time);
        }
        let of_cpu = self.cpu(cpu);
        let after_irq = of_cpu.irq_at.is_some_and(|at| (0..AFTER_IRQ_NS).contains(&time.saturating_sub(at)));
        of_cpu.softirq = vector.map(|vector| (vector, !after_irq));
        of_cpu.last_event = time;
    }

    /// `sched_migrate_task`: a thread that waits for a CPU waits for another one now.
    pub(super) fn migrate(&mut self, time: i64, tid: Tid, to: u32) {
        if let Now::Runnable { cpu } = &mut self.thread(tid, time).now {
            *cpu = to;
        }
    }

    /// `sched_process_exit`.
    pub(super) fn exit(&mut self, tid: Tid) {
        // Its number may come again; who waited for it may still ask what it did.
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.task = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(found: Option<Ended>) -> (i64, i64, Did) {
        let past = found.unwrap().past;
        (past.start, past.end, past.did)
    }

    #[test]
    fn a_thread_runs_waits_for_another_and_for_the_cpu() {
        let mut machine = Machine::default();
        machine.switch(0, 100, 0, 0, 7);
        machine.switch(1, 100, 0, 0, 8);
        // 7 blocks at 150; 8 wakes it at 400; 9 has the CPU until 450.
        let out = machine.switch(0, 150, 7, 1, 9);
        assert_eq!(ended(out[0]), (100, 150, Did::Run { cpu: 0 }));
        assert_eq!(ended(machine.wake(1, 400, 7, Some(0))), (150, 400, Did::Wait { waker: 8 }));
        let back = machine.switch(0, 450, 9, 0, 7);
        assert_eq!(ended(back[1]), (400, 450, Did::Queue { cpu: 0 }));
        assert!(back[0].unwrap().preempted);
        assert_eq!(machine.gaps, 0);
    }

    #[test]
    fn what_wakes_says_what_was_waited_for() {
        let wait = |state: u64, wake: &mut dyn FnMut(&mut Machine)| {
            let mut machine = Machine::default();
            machine.switch(0, 1_000, 0, 0, 7);
            machine.switch(0, 2_000, 7, state, 0);
            wake(&mut machine);
            ended(machine.wake(1, 90_000, 7, None)).2
        };
        assert_eq!(wait(1, &mut |m| m.softirq(1, 80_000, Some(1))), Did::Timer);
        assert_eq!(
            wait(1, &mut |m| {
                m.irq(1, 80_000, false);
                m.softirq(1, 80_500, Some(3));
            }),
            Did::Network
        );
        assert_eq!(wait(2, &mut |m| m.softirq(1, 80_000, Some(4))), Did::Disk);
        assert_eq!(wait(4, &mut |_| ()), Did::Stopped);
        // A packet that a thread sends to its own host is received in its name.
        let sender = &mut |m: &mut Machine| {
            m.switch(1, 10_000, 0, 0, 5);
            m.softirq(1, 80_000, Some(3));
        };
        assert_eq!(wait(1, sender), Did::Wait { waker: 5 });
    }

    #[test]
    fn a_thread_that_comes_to_an_idle_cpu_unseen_ran_since_it_was_woken() {
        let mut machine = Machine::default();
        machine.switch(0, 1_000, 0, 0, 7);
        machine.switch(0, 2_000, 7, 1, 0);
        machine.switch(1, 1_500, 0, 0, 8);
        machine.wake(1, 5_000, 7, Some(0));
        assert_eq!(ended(machine.present(0, 9_000, 7)[0]), (5_000, 5_000, Did::Queue { cpu: 0 }));
        let out = machine.switch(0, 9_000, 7, 2, 0);
        assert_eq!(ended(out[0]), (5_000, 9_000, Did::Run { cpu: 0 }));
        // Nobody was seen to wake it: it waited for the disk until it is seen again.
        assert_eq!(ended(machine.present(0, 12_000, 7)[0]), (9_000, 12_000, Did::Disk));
        assert_eq!(machine.gaps, 0);
        // Its CPU was taken by 9, and 9 was not seen to leave it.
        machine.switch(0, 13_000, 7, 0, 9);
        assert_eq!(ended(machine.present(0, 20_000, 7)[0]), (13_000, 20_000, Did::Unknown));
        assert_eq!(machine.gaps, 1);
    }

    #[test]
    fn a_switch_that_does_not_fit_is_a_gap_and_not_a_time_on_the_cpu() {
        let mut machine = Machine::default();
        machine.switch(0, 100, 0, 0, 7);
        // 7 left at some time, and 9 came.
        let out = machine.switch(0, 900, 9, 1, 0);
        assert_eq!(machine.gaps, 1);
        assert_eq!(ended(out[2]), (100, 100, Did::Run { cpu: 0 }));
        assert_eq!(machine.thread(7, 900).now, Now::Unknown);
        assert_eq!(ended(out[0]).2, Did::Unknown);
    }
}
