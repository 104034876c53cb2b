//! Accounts of tasks: milliseconds in each state, and why they did not run.

use std::collections::{BTreeMap, HashMap};

use emberscope_ctf::{Events, Trace as Ctf};
use emberscope_run::{
    Cause, Culprit, ImportIssues, IssueCode, Stop, Stretch, TaskTrace, ThreadState, Trace, TraceColumn,
};

use super::blame::{Asked as Waits, explain, stopped_until};
use super::kernel::{Asked, Kind, number};
use super::open::Open;
use super::spark::{JvmStop, Task, ranges};
use super::threads::{Did, Ended, Machine, Now, Past, Tid};

/// A thread that a timer wakes and that blocks again so soon looked only whether it may go on: HotSpot's threads do that while
/// they wait for a lock (`ObjectMonitor::enter`).
const LOOK_NS: i64 = 100_000;

/// What the kernel's traces of a host were.
#[derive(Debug, Default)]
pub(super) struct KernelFacts {
    pub(super) events: u64,
    pub(super) discarded_events: u64,
    pub(super) lost_packets: u64,
    pub(super) gaps: u64,
}

/// Accounts of all hosts.
#[derive(Debug)]
pub(super) struct Accounts {
    with_stretches: bool,
    host: u32,
    ahead_ns: i64,
    tasks: BTreeMap<u64, TaskTrace>,
    culprits: Vec<Culprit>,
    by_culprit: HashMap<Culprit, u32>,
    stops: Vec<Stop>,
    stretches: Vec<Stretch>,
}

impl Accounts {
    pub(super) fn new(with_stretches: bool) -> Self {
        Self {
            with_stretches,
            host: 0,
            ahead_ns: 0,
            tasks: BTreeMap::new(),
            culprits: Vec::new(),
            by_culprit: HashMap::new(),
            stops: Vec::new(),
            stretches: Vec::new(),
        }
    }

    /// Begins a host: its tasks without what the kernel tells.
    pub(super) fn host(&mut self, host: u32, tasks: &[Task], stops: &[JvmStop], ahead_ns: i64) {
        (self.host, self.ahead_ns) = (host, ahead_ns);
        for task in tasks {
            let trace = TaskTrace::new(host, task.pid, task.tid, task.start_ns - ahead_ns, task.end_ns - ahead_ns);
            self.tasks.insert(task.id, trace);
        }
        self.stops.extend(stops.iter().map(|stop| Stop {
            host,
            pid: stop.pid,
            start_ns: stop.start_ns - ahead_ns,
            end_ns: stop.end_ns - ahead_ns,
            operation: stop.operation.clone(),
        }));
    }

    pub(super) fn finish(mut self, trace: &mut Trace) {
        self.stops.sort_by_key(|stop| (stop.start_ns, stop.host, stop.pid));
        self.stretches.sort_by_key(|stretch| (stretch.task_id, stretch.start_ns));
        trace.tasks = self.tasks;
        trace.culprits = self.culprits;
        trace.stops = self.stops;
        trace.stretches = self.stretches;
    }

    /// Reads the kernel's traces of the host that was begun.
    pub(super) fn kernel(
        &mut self,
        traces: &[Ctf],
        tasks: &[Task],
        stops: &[JvmStop],
        issues: &mut ImportIssues,
    ) -> KernelFacts {
        let asked = Asked::of(traces);
        let mut events = Events::open(traces, &asked.selection);
        let mut replay = Replay::new(self, tasks, stops, &asked);
        let mut facts = KernelFacts::default();
        loop {
            let event = match events.next() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    issues.add(IssueCode::UnreadableTrace, || None, || error.to_string());
                    continue;
                }
            };
            facts.events += 1;
            let time = event.time_ns();
            replay.seen(time);
            replay.boundaries(time);
            let Some((kind, cpu, tid, pid)) = asked.read(&event) else { continue };
            if let (Some(tid), Some(pid)) = (tid, pid) {
                replay.machine.thread(tid, time).pid = Some(pid);
            }
            let here = if kind == Kind::Switch { number(&event, 0) } else { tid };
            if let Some(tid) = here {
                replay.present(cpu, time, tid);
            }
            match kind {
                Kind::Switch => {
                    let (Some(prev), Some(next)) = (number(&event, 0), number(&event, 2)) else { continue };
                    let state = event.value(1).as_i64().map_or(0, |state| state.max(0) as u64);
                    if next != 0 {
                        replay.machine.named(next, event.value(3).as_text().unwrap_or(""), None, time);
                    }
                    if prev != 0 {
                        replay.machine.named(prev, event.value(4).as_text().unwrap_or(""), None, time);
                    }
                    let ended = replay.machine.switch(cpu, time, prev, state, next);
                    ended.into_iter().flatten().for_each(|ended| replay.ended(&ended));
                }
                Kind::Wake => {
                    let Some(tid) = number(&event, 0) else { continue };
                    replay.machine.named(tid, event.value(2).as_text().unwrap_or(""), None, time);
                    if let Some(ended) = replay.machine.wake(cpu, time, tid, number(&event, 1)) {
                        replay.ended(&ended);
                    }
                }
                Kind::Migrate => {
                    if let (Some(tid), Some(to)) = (number(&event, 0), number(&event, 1)) {
                        replay.machine.migrate(time, tid, to);
                    }
                }
                Kind::Fork => {
                    if let Some(tid) = number(&event, 0) {
                        replay.machine.named(tid, event.value(1).as_text().unwrap_or(""), number(&event, 2), time);
                    }
                }
                Kind::Exec => {
                    if let (Some(tid), Some(path)) = (number(&event, 0), event.value(1).as_text()) {
                        let name = path.rsplit('/').next().unwrap_or(path);
                        replay.machine.named(tid, name, None, time);
                    }
                }
                Kind::Exit => number(&event, 0).into_iter().for_each(|tid| replay.machine.exit(tid)),
                Kind::SoftirqEntry => replay.machine.softirq(cpu, time, event.value(0).as_u64()),
                Kind::SoftirqExit => replay.machine.softirq(cpu, time, None),
                Kind::IrqEntry => replay.machine.irq(cpu, time, true),
                Kind::IrqExit => replay.machine.irq(cpu, time, false),
                Kind::BlockIssue => {
                    let sectors = event.value(2).as_u64().unwrap_or(0).saturating_mul(512);
                    let bytes = event.value(3).as_u64().filter(|&bytes| bytes > 0).unwrap_or(sectors);
                    let writes = event.value(4).as_text().is_some_and(|flags| flags.contains('W'));
                    replay.issue(cpu, time, (event.value(0).as_u64(), event.value(1).as_u64()), bytes, writes);
                }
                Kind::BlockComplete => replay.complete(time, (event.value(0).as_u64(), event.value(1).as_u64())),
                Kind::PageFault => replay.page_fault(cpu),
            }
        }
        replay.boundaries(i64::MAX);
        let lost = events.lost();
        facts.discarded_events = lost.iter().map(|stream| stream.discarded_events).sum();
        facts.lost_packets = lost.iter().map(|stream| stream.lost_packets).sum();
        let windows: Vec<(i64, i64)> = lost
            .iter()
            .flat_map(|stream| &stream.intervals)
            .map(|interval| (interval.from_ns.unwrap_or(i64::MIN), interval.to_ns.unwrap_or(i64::MAX)))
            .collect();
        facts.gaps = replay.machine.gaps;
        if facts.discarded_events + facts.lost_packets > 0 {
            let first = lost.iter().find(|stream| !stream.intervals.is_empty());
            let place = first.map(|stream| stream.path.display().to_string());
            issues.add(IssueCode::TraceEventsLost, || place, String::new);
        }
        self.forget(tasks, &windows);
        facts
    }

    /// Of tasks at a time of which events were lost nothing is told.
    fn forget(&mut self, tasks: &[Task], windows: &[(i64, i64)]) {
        for task in tasks {
            if windows.iter().any(|&(from, to)| from <= task.end_ns && task.start_ns <= to)
                && let Some(trace) = self.tasks.get_mut(&task.id)
            {
                trace.forget();
            }
        }
    }

    fn culprit(&mut self, machine: &Machine, tid: Tid, own: Option<u32>) -> u32 {
        let thread = machine.threads.get(&tid);
        let pid = thread.and_then(|thread| thread.pid);
        let name =
            |tid: Tid| machine.threads.get(&tid).map(|thread| thread.name.to_string()).filter(|name| !name.is_empty());
        let unnamed = || format!("thread {tid}");
        let culprit = if pid.is_some() && pid == own {
            Culprit { name: name(tid).unwrap_or_else(unnamed), pid, tid: Some(tid) }
        } else {
            let process = pid.and_then(name).or_else(|| name(tid)).unwrap_or_else(unnamed);
            Culprit { name: process, pid: pid.or(Some(tid)), tid: None }
        };
        let next = self.culprits.len() as u32;
        let index = *self.by_culprit.entry(culprit.clone()).or_insert(next);
        if index == next {
            self.culprits.push(culprit);
        }
        index
    }
}

/// The second pass over one host.
struct Replay<'a> {
    accounts: &'a mut Accounts,
    machine: Machine,
    tasks: &'a [Task],
    /// Begins and ends of tasks: time, whether it is an end, index of the task.
    boundaries: Vec<(i64, bool, usize)>,
    next: usize,
    open: HashMap<usize, Open>,
    stops: HashMap<u32, Vec<(i64, i64)>>,
    first: Option<i64>,
    last: i64,
    requests: HashMap<(Option<u64>, Option<u64>), (i64, usize)>,
    has_page_faults: bool,
    has_block: bool,
    /// JVMs whose threads have other numbers in the kernel than in themselves, as in a container.
    renumbered: HashMap<u32, bool>,
}

impl<'a> Replay<'a> {
    fn new(accounts: &'a mut Accounts, tasks: &'a [Task], stops: &[JvmStop], asked: &Asked) -> Self {
        let mut boundaries = Vec::with_capacity(tasks.len() * 2);
        let mut of_pids = HashMap::new();
        for (index, task) in tasks.iter().enumerate() {
            boundaries.push((task.start_ns, false, index));
            boundaries.push((task.end_ns, true, index));
            of_pids.entry(task.pid).or_insert_with(|| ranges(stops, task.pid));
        }
        // A thread ends a task before it begins the next.
        boundaries.sort_by_key(|&(time, end, index)| (time, !end, index));
        Self {
            accounts,
            machine: Machine::default(),
            tasks,
            boundaries,
            next: 0,
            open: HashMap::new(),
            stops: of_pids,
            first: None,
            last: i64::MIN,
            requests: HashMap::new(),
            has_page_faults: asked.has_page_faults,
            has_block: asked.has_block,
            renumbered: HashMap::new(),
        }
    }

    fn seen(&mut self, time: i64) {
        self.first.get_or_insert(time);
        self.last = self.last.max(time);
    }

    /// Begins and ends tasks up to a time.
    fn boundaries(&mut self, until: i64) {
        while let Some(&(time, end, index)) = self.boundaries.get(self.next).filter(|boundary| boundary.0 <= until) {
            self.next += 1;
            if end { self.end(time, index) } else { self.begin(time, index) }
        }
    }

    /// The kernel's number of the thread that begins a task: its own, or in a container that of the thread which runs on the
    /// CPU on which it said so.
    fn thread_of(&mut self, task: &Task) -> Tid {
        let on_cpu = task.cpu.and_then(|cpu| self.machine.cpus.get(cpu as usize)).and_then(|cpu| cpu.current);
        let Some(on_cpu) = on_cpu.filter(|&tid| tid != 0) else { return task.tid };
        let renumbered = *self
            .renumbered
            .entry(task.pid)
            .or_insert(on_cpu != task.tid && !self.machine.threads.contains_key(&task.tid));
        if renumbered { on_cpu } else { task.tid }
    }

    fn begin(&mut self, time: i64, index: usize) {
        let Some(task) = self.tasks.get(index) else { return };
        // Before the kernel's first event nothing is known.
        if self.first.is_none() {
            return;
        }
        let tid = self.thread_of(task);
        let renumbered = self.renumbered.get(&task.pid).copied().unwrap_or(false);
        let thread = self.machine.thread(tid, time);
        if thread.pid.is_none() && !renumbered {
            thread.pid = Some(task.pid);
        }
        thread.task = Some(index);
        let pid = thread.pid;
        let Some(values) = self.accounts.tasks.get(&task.id).cloned() else { return };
        let mut open = Open { tid, pid, start: time, until: time, values, blame: Vec::new(), looks: Vec::new() };
        open.values.tid = tid;
        self.open.insert(index, open);
    }

    fn end(&mut self, time: i64, index: usize) {
        let Some(tid) = self.open.get(&index).map(|open| open.tid) else { return };
        let cpu = self.tasks.get(index).and_then(|task| task.end_cpu);
        if let Some(cpu) = cpu {
            self.present(cpu, time, tid);
        }
        let thread = self.machine.thread(tid, time);
        if thread.task == Some(index) {
            thread.task = None;
        }
        let did = match thread.now {
            Now::Running { cpu } => Did::Run { cpu },
            Now::Runnable { .. } | Now::Blocked { .. } | Now::Unknown => Did::Unknown,
        };
        let past = Past { start: thread.since, end: time, did, sleeping: false };
        self.account(index, &past);
        let Some(mut open) = self.open.remove(&index) else { return };
        self.blame_looks(&mut open, None);
        // The trace ended before the task did.
        if time > self.last {
            return;
        }
        open.close(time, self.has_page_faults, self.has_block);
        if let Some(task) = self.tasks.get(index) {
            self.accounts.tasks.insert(task.id, open.values);
        }
    }

    fn present(&mut self, cpu: u32, time: i64, tid: Tid) {
        self.machine.present(cpu, time, tid).iter().flatten().for_each(|ended| self.ended(ended));
    }

    fn ended(&mut self, ended: &Ended) {
        let Some(index) = self.machine.threads.get(&ended.tid).and_then(|thread| thread.task) else { return };
        self.account(index, &ended.past);
        if let Some(open) = self.open.get_mut(&index) {
            open.values.add(TraceColumn::Preemptions, u64::from(ended.preempted));
            open.values.add(TraceColumn::Migrations, u64::from(ended.migrated));
        }
    }

    /// Adds a stretch of its thread's time to a task's account.
    fn account(&mut self, index: usize, past: &Past) {
        let Some(mut open) = self.open.remove(&index) else { return };
        let mut past = Past { start: past.start.max(open.until), ..*past };
        if past.end > past.start {
            open.until = past.end;
            if matches!(past.did, Did::Run { .. }) && past.end - past.start >= LOOK_NS {
                self.blame_looks(&mut open, None);
            }
            let stops = self.stops.get(&open.values.pid).map_or(&[][..], Vec::as_slice);
            let is_wait = matches!(past.did, Did::Wait { .. } | Did::Timer | Did::Unknown);
            if is_wait && let Some(until) = stopped_until(stops, &past) {
                self.state(&mut open, index, past.start, until, ThreadState::Safepoint, None);
                open.add(Cause::Safepoint, None, until - past.start);
                past.start = until;
            }
            if past.end > past.start {
                self.spend(&mut open, index, &past);
            }
        }
        self.open.insert(index, open);
    }

    fn spend(&mut self, open: &mut Open, index: usize, past: &Past) {
        let (state, cpu) = match past.did {
            Did::Run { cpu } => (ThreadState::OnCpu, Some(cpu)),
            Did::Queue { cpu } => (ThreadState::Runnable, Some(cpu)),
            Did::Disk => (ThreadState::Disk, None),
            Did::Network => (ThreadState::Network, None),
            Did::Timer => (ThreadState::Timer, None),
            Did::Stopped => (ThreadState::Stopped, None),
            Did::Wait { .. } => (ThreadState::Thread, None),
            Did::Unknown => (ThreadState::Unknown, None),
        };
        self.state(open, index, past.start, past.end, state, cpu);
        match past.did {
            Did::Run { .. } => {}
            Did::Timer => open.looks.push(*past),
            Did::Wait { waker } => {
                self.blame_looks(open, Some(waker));
                self.blame(open, past);
            }
            Did::Queue { .. } => self.blame(open, past),
            Did::Disk | Did::Network | Did::Stopped | Did::Unknown => {
                self.blame_looks(open, None);
                self.blame(open, past);
            }
        }
    }

    fn state(&mut self, open: &mut Open, index: usize, start: i64, end: i64, state: ThreadState, cpu: Option<u32>) {
        open.values.add(state.column(), (end - start).max(0) as u64);
        if self.accounts.with_stretches
            && let Some(task) = self.tasks.get(index)
        {
            let ahead = self.accounts.ahead_ns;
            let (start_ns, end_ns) = (start - ahead, end - ahead);
            self.accounts.stretches.push(Stretch { task_id: task.id, start_ns, end_ns, state, cpu });
        }
    }

    /// Tells waits that a timer ended: to the thread that ended the wait after them, or else to the timer.
    fn blame_looks(&mut self, open: &mut Open, waker: Option<Tid>) {
        for look in std::mem::take(&mut open.looks) {
            let did = waker.map_or(Did::Timer, |waker| Did::Wait { waker });
            if waker.is_some() {
                let ns = (look.end - look.start).max(0) as u64;
                let timer = open.values.get(TraceColumn::Timer).unwrap_or(0);
                open.values.set(TraceColumn::Timer, timer.saturating_sub(ns));
                open.values.add(TraceColumn::Thread, ns);
            }
            self.blame(open, &Past { did, ..look });
        }
    }

    fn blame(&mut self, open: &mut Open, past: &Past) {
        let stops = self.stops.get(&open.values.pid).map_or(&[][..], Vec::as_slice);
        let asked = Waits { tid: open.tid, pid: open.pid, stops };
        let mut found = Vec::new();
        explain(&self.machine, asked, past, &mut |cause, tid, ns| found.push((cause, tid, ns)));
        for (cause, tid, ns) in found {
            let culprit = tid.map(|tid| self.accounts.culprit(&self.machine, tid, open.pid));
            open.add(cause, culprit, ns);
        }
    }

    fn current_task(&self, cpu: u32) -> Option<usize> {
        let tid = self.machine.cpus.get(cpu as usize)?.current?;
        self.machine.threads.get(&tid)?.task
    }

    fn issue(&mut self, cpu: u32, time: i64, request: (Option<u64>, Option<u64>), bytes: u64, writes: bool) {
        let Some(index) = self.current_task(cpu) else { return };
        let Some(open) = self.open.get_mut(&index) else { return };
        open.values.add(if writes { TraceColumn::BlockWriteBytes } else { TraceColumn::BlockReadBytes }, bytes);
        open.values.add(TraceColumn::BlockRequests, 1);
        self.requests.insert(request, (time, index));
    }

    fn complete(&mut self, time: i64, request: (Option<u64>, Option<u64>)) {
        let Some((issued, index)) = self.requests.remove(&request) else { return };
        if let Some(open) = self.open.get_mut(&index) {
            let ns = (time - issued).max(0) as u64;
            let longest = open.values.get(TraceColumn::BlockLatencyMax).unwrap_or(0).max(ns);
            open.values.set(TraceColumn::BlockLatencyMax, longest);
        }
    }

    fn page_fault(&mut self, cpu: u32) {
        if let Some(open) = self.current_task(cpu).and_then(|index| self.open.get_mut(&index)) {
            open.values.add(TraceColumn::PageFaults, 1);
        }
    }
}
