//! The first pass: what the Spark plugin tells.

use std::collections::{BTreeMap, HashMap};

use emberscope_ctf::{Event, Events, Selection, Trace};

/// One task attempt, as its thread told it.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) pid: u32,
    /// The thread's id as it knows itself.
    pub(super) tid: u32,
    /// The CPU on which it told its begin.
    pub(super) cpu: Option<u32>,
    /// The CPU on which it told its end.
    pub(super) end_cpu: Option<u32>,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
}

/// A stop of a JVM.
#[derive(Debug, Clone)]
pub(super) struct JvmStop {
    pub(super) pid: u32,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) operation: String,
}

/// What the plugin told on one host.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) tasks: Vec<Task>,
    /// In the order of their begin.
    pub(super) stops: Vec<JvmStop>,
    /// Application ids by process.
    pub(super) applications: BTreeMap<u32, String>,
    pub(super) events: u64,
}

const PROCESS: &str = "emberscope:process";
const TASK_START: &str = "emberscope:task_start";
const TASK_END: &str = "emberscope:task_end";
const GC_START: &str = "emberscope:gc_start";
const GC_END: &str = "emberscope:gc_end";
const SAFEPOINT: &str = "emberscope:safepoint";

/// Whether a trace is the plugin's.
pub(super) fn is_of_plugin(trace: &Trace) -> bool {
    trace.has_event(TASK_START) || trace.has_event(PROCESS)
}

/// Reads the plugin's traces of one host. `offset_ns` goes from CLOCK_MONOTONIC to the time of events. Errors of streams go to
/// `fault`.
pub(super) fn read(traces: &[Trace], offset_ns: i64, fault: &mut dyn FnMut(String)) -> Told {
    let mut selection = Selection::new();
    let start = selection.event(TASK_START, &["task_id", "context.vpid", "context.vtid", "packet.cpu_id"]);
    let end = selection.event(TASK_END, &["task_id", "context.vpid", "packet.cpu_id"]);
    let process = selection.event(PROCESS, &["app_id", "context.vpid"]);
    let gc_start = selection.event(GC_START, &["context.vpid"]);
    let gc_end = selection.event(GC_END, &["context.vpid"]);
    let safepoint = selection.event(SAFEPOINT, &["operation", "context.vpid", "begin_ns", "end_ns"]);
    let mut events = Events::open(traces, &selection);
    let mut told = Told::default();
    let mut open: HashMap<(u32, u64), Task> = HashMap::new();
    let mut collecting: HashMap<u32, i64> = HashMap::new();
    loop {
        let event = match events.next() {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) => {
                fault(error.to_string());
                continue;
            }
        };
        told.events += 1;
        let (which, time) = (event.which(), event.time_ns());
        if which == start {
            let (Some(task_id), Some(pid), Some(tid)) = (event.value(0).as_u64(), id(&event, 1), id(&event, 2)) else {
                continue;
            };
            let task = Task { id: task_id, pid, tid, cpu: id(&event, 3), end_cpu: None, start_ns: time, end_ns: time };
            open.insert((pid, task_id), task);
        } else if which == end {
            let (Some(task_id), Some(pid)) = (event.value(0).as_u64(), id(&event, 1)) else { continue };
            if let Some(mut task) = open.remove(&(pid, task_id)) {
                (task.end_ns, task.end_cpu) = (time, id(&event, 2));
                told.tasks.push(task);
            }
        } else if which == process {
            let (Some(pid), Some(application)) = (id(&event, 1), event.value(0).as_text().map(str::to_owned)) else {
                continue;
            };
            if !application.is_empty() {
                told.applications.insert(pid, application);
            }
        } else if which == gc_start {
            collecting.extend(id(&event, 0).map(|pid| (pid, time)));
        } else if which == gc_end {
            let Some(pid) = id(&event, 0) else { continue };
            if let Some(start_ns) = collecting.remove(&pid) {
                told.stops.push(JvmStop { pid, start_ns, end_ns: time, operation: "garbage collection".to_owned() });
            }
        } else if which == safepoint {
            let (Some(pid), Some(begin), Some(end)) = (id(&event, 1), event.value(2).as_i64(), event.value(3).as_i64())
            else {
                continue;
            };
            let operation = event.value(0).as_text().unwrap_or("").to_owned();
            let [start_ns, end_ns] = [begin, end].map(|moment| moment.saturating_add(offset_ns));
            told.stops.push(JvmStop { pid, start_ns, end_ns, operation });
        }
    }
    told.tasks.sort_by_key(|task| (task.start_ns, task.id));
    told.stops.sort_by(|a, b| (a.start_ns, a.end_ns, &a.operation).cmp(&(b.start_ns, b.end_ns, &b.operation)));
    told
}

fn id(event: &Event<'_>, index: usize) -> Option<u32> {
    event.value(index).as_u64().and_then(|id| u32::try_from(id).ok())
}

/// Stops of one JVM as ranges that do not overlap.
pub(super) fn ranges(stops: &[JvmStop], pid: u32) -> Vec<(i64, i64)> {
    let mut all: Vec<(i64, i64)> = Vec::new();
    for stop in stops.iter().filter(|stop| stop.pid == pid && stop.end_ns > stop.start_ns) {
        match all.last_mut() {
            Some(last) if stop.start_ns <= last.1 => last.1 = last.1.max(stop.end_ns),
            _ => all.push((stop.start_ns, stop.end_ns)),
        }
    }
    all
}
