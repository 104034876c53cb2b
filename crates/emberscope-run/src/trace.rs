//! What the operating system did to tasks, as kernel traces tell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::task_column::Unit;
use crate::task_store::NULL;

/// What a thread does at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThreadState {
    /// It runs.
    OnCpu,
    /// It could run, and something else has the CPU.
    Runnable,
    /// It waits for a disk.
    Disk,
    /// It waits for something from the network.
    Network,
    /// It waits for another thread: a lock, a pipe, a local socket.
    Thread,
    /// It waits for a time.
    Timer,
    /// The JVM has stopped all its threads.
    Safepoint,
    /// A signal has stopped it.
    Stopped,
    /// The trace does not tell.
    Unknown,
}

impl ThreadState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::OnCpu,
        Self::Runnable,
        Self::Disk,
        Self::Network,
        Self::Thread,
        Self::Timer,
        Self::Safepoint,
        Self::Stopped,
        Self::Unknown,
    ];

    /// The word in reports and pictures.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnCpu => "on CPU",
            Self::Runnable => "waiting for a CPU",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Thread => "another thread",
            Self::Timer => "timer",
            Self::Safepoint => "safepoint",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }

    /// The column with the time in this state.
    pub fn column(self) -> TraceColumn {
        match self {
            Self::OnCpu => TraceColumn::OnCpu,
            Self::Runnable => TraceColumn::Runnable,
            Self::Disk => TraceColumn::Disk,
            Self::Network => TraceColumn::Network,
            Self::Thread => TraceColumn::Thread,
            Self::Timer => TraceColumn::Timer,
            Self::Safepoint => TraceColumn::Safepoint,
            Self::Stopped => TraceColumn::Stopped,
            Self::Unknown => TraceColumn::Unknown,
        }
    }
}

/// Why a task did not run, when wake-ups are followed to the thread that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Something else had the CPU.
    Cpu,
    /// A disk.
    Disk,
    /// The network.
    Network,
    /// A thread that had something to compute first.
    Thread,
    /// A lock, or something else, that another task of the same executor held.
    Lock,
    /// A time that had to pass.
    Timer,
    /// The JVM had stopped all its threads.
    Safepoint,
    /// A signal had stopped the task, or whom it waited for.
    Stopped,
    /// The trace does not tell.
    Unknown,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Cpu,
        Self::Disk,
        Self::Network,
        Self::Thread,
        Self::Lock,
        Self::Timer,
        Self::Safepoint,
        Self::Stopped,
        Self::Unknown,
    ];

    /// The word in tables and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Thread => "thread",
            Self::Lock => "lock",
            Self::Timer => "timer",
            Self::Safepoint => "safepoint",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }

    /// The column with the time of this cause.
    pub fn column(self) -> TraceColumn {
        match self {
            Self::Cpu => TraceColumn::BehindCpu,
            Self::Disk => TraceColumn::BehindDisk,
            Self::Network => TraceColumn::BehindNetwork,
            Self::Thread => TraceColumn::BehindThread,
            Self::Lock => TraceColumn::BehindLock,
            Self::Timer => TraceColumn::BehindTimer,
            Self::Safepoint => TraceColumn::BehindSafepoint,
            Self::Stopped => TraceColumn::BehindStopped,
            Self::Unknown => TraceColumn::BehindUnknown,
        }
    }
}

macro_rules! trace_columns {
    ($($variant:ident $name:literal $unit:ident $field:literal $meaning:literal),+ $(,)?) => {
        /// A column of `tasks` that a kernel trace fills.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum TraceColumn {
            $(#[doc = $meaning] $variant),+
        }

        impl TraceColumn {
            /// Every column, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// How many columns there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The column's name in the `tasks` table.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The column's unit.
            pub fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit),+ }
            }

            /// The events that it is from.
            pub fn events(self) -> &'static str {
                match self { $(Self::$variant => $field),+ }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

trace_columns! {
    Traced "os_traced_time_ns" Ns "emberscope:task_start, task_end" "Time from the task's first line to its last, in its own thread: the sum of the nine states.",
    OnCpu "os_on_cpu_time_ns" Ns "sched_switch" "Time that the task's thread ran.",
    Runnable "os_runnable_time_ns" Ns "sched_switch, sched_waking" "Time that it could have run and waited for a CPU.",
    Disk "os_disk_time_ns" Ns "sched_switch, sched_waking" "Time that it waited for a disk.",
    Network "os_network_time_ns" Ns "sched_switch, sched_waking, softirq_entry" "Time that it waited for packets from the network itself.",
    Thread "os_thread_time_ns" Ns "sched_switch, sched_waking" "Time that it waited for another thread: a lock, a pipe, a socket of this host.",
    Timer "os_timer_time_ns" Ns "sched_switch, sched_waking, softirq_entry" "Time that it waited for a time to pass.",
    Safepoint "os_safepoint_time_ns" Ns "sched_switch, emberscope:safepoint, gc_start, gc_end" "Time that it waited because the JVM had stopped all its threads.",
    Stopped "os_stopped_time_ns" Ns "sched_switch" "Time that a signal had stopped it.",
    Unknown "os_unknown_time_ns" Ns "sched_switch" "Time of which the trace does not tell the state.",
    BehindCpu "os_behind_cpu_time_ns" Ns "sched_switch, sched_waking" "Time that it did not run because something else had a CPU, with what it waited for followed to its cause.",
    BehindDisk "os_behind_disk_time_ns" Ns "sched_switch, sched_waking" "Time that it did not run because of a disk, with what it waited for followed to its cause.",
    BehindNetwork "os_behind_network_time_ns" Ns "sched_switch, sched_waking, softirq_entry" "Time that it did not run because of the network, with what it waited for followed to its cause.",
    BehindThread "os_behind_thread_time_ns" Ns "sched_switch, sched_waking" "Time that it did not run because another thread, such as a Python worker, computed first.",
    BehindLock "os_behind_lock_time_ns" Ns "sched_switch, sched_waking, emberscope:task_start" "Time that it did not run because another task of its executor held what it needed.",
    BehindTimer "os_behind_timer_time_ns" Ns "sched_switch, sched_waking, softirq_entry" "Time that it did not run because a time had to pass.",
    BehindSafepoint "os_behind_safepoint_time_ns" Ns "sched_switch, emberscope:safepoint, gc_start, gc_end" "Time that it did not run because the JVM had stopped its threads, as for a collection.",
    BehindStopped "os_behind_stopped_time_ns" Ns "sched_switch" "Time that it did not run because a signal had stopped it or whom it waited for.",
    BehindUnknown "os_behind_unknown_time_ns" Ns "sched_switch" "Time that it did not run, of which the trace does not tell why.",
    Preemptions "os_preemptions_count" Count "sched_switch" "How often it lost the CPU while it could run.",
    Migrations "os_migrations_count" Count "sched_switch" "How often it went on on another CPU.",
    BlockReadBytes "os_block_read_bytes" Bytes "block_rq_issue" "Bytes that its thread itself asked a disk for; what the kernel writes later is not among them.",
    BlockWriteBytes "os_block_write_bytes" Bytes "block_rq_issue" "Bytes that its thread itself wrote to a disk.",
    BlockRequests "os_block_requests_count" Count "block_rq_issue" "Requests to a disk by its thread itself.",
    BlockLatencyMax "os_block_latency_max_ns" Ns "block_rq_issue, block_rq_complete" "The longest of these requests; null without one.",
    PageFaults "os_page_faults_count" Count "page_fault_user" "Page faults of its thread; null where they were not recorded.",
}

/// Who had what a task waited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Culprit {
    /// The name of the process, or of the thread where it is one of the task's own process.
    pub name: String,
    /// Its process id; `None` when the trace does not tell.
    pub pid: Option<u32>,
    /// Its thread id, where it is a thread of the task's own process.
    pub tid: Option<u32>,
}

/// A part of the time that a task did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blame {
    /// Why.
    pub cause: Cause,
    /// Who, as index into [`Trace::culprits`].
    pub culprit: Option<u32>,
    /// For how long, in ns.
    pub ns: u64,
}

/// What the operating system did to one task attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskTrace {
    /// Index into [`Trace::hosts`].
    pub host: u32,
    /// The JVM's process id, as it knows itself.
    pub pid: u32,
    /// The thread, as the kernel's trace names it.
    pub tid: u32,
    /// Its first line, in ns since 1970.
    pub started_ns: i64,
    /// Its last line, in ns since 1970.
    pub ended_ns: i64,
    values: [u64; TraceColumn::COUNT],
    /// Why it did not run, the longest first.
    pub blame: Vec<Blame>,
}

impl TaskTrace {
    /// A task of which only begin and end are known.
    pub fn new(host: u32, pid: u32, tid: u32, started_ns: i64, ended_ns: i64) -> Self {
        Self { host, pid, tid, started_ns, ended_ns, values: [NULL; TraceColumn::COUNT], blame: Vec::new() }
    }

    /// A value in the column's unit; `None` when unknown.
    pub fn get(&self, column: TraceColumn) -> Option<u64> {
        let value = self.values[column as usize];
        (value != NULL).then_some(value)
    }

    /// Sets a value.
    pub fn set(&mut self, column: TraceColumn, value: u64) {
        self.values[column as usize] = value;
    }

    /// Adds to a value; what was unknown is 0 before.
    pub fn add(&mut self, column: TraceColumn, value: u64) {
        self.set(column, self.get(column).unwrap_or(0).saturating_add(value));
    }

    /// Forgets all values: of this task the trace does not tell enough.
    pub fn forget(&mut self) {
        self.values = [NULL; TraceColumn::COUNT];
        self.blame.clear();
    }

    /// Time for which a cause kept it from running, in ns; `None` without a kernel trace.
    pub fn behind(&self, cause: Cause) -> Option<u64> {
        self.get(cause.column())
    }

    /// The cause that kept it from running longest, and for how long in ns; `None` without a kernel trace, or when it always ran.
    pub fn main_cause(&self) -> Option<(Cause, u64)> {
        let times = Cause::ALL.into_iter().filter_map(|cause| Some((cause, self.behind(cause)?)));
        times.filter(|(_, ns)| *ns > 0).max_by_key(|(_, ns)| *ns)
    }
}

/// A stretch of a traced task, for pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The task attempt.
    pub task_id: u64,
    /// From, in ns since 1970.
    pub start_ns: i64,
    /// To.
    pub end_ns: i64,
    /// What its thread did.
    pub state: ThreadState,
    /// On which CPU, where it ran or waited for one.
    pub cpu: Option<u32>,
}

/// A host of which traces were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TracedHost {
    /// Its name, as its tracer has it.
    pub name: String,
    /// The folder.
    pub folder: String,
    /// Events of the Spark plugin.
    pub user_events: u64,
    /// Events of the kernel; `None` without a kernel trace.
    pub kernel_events: Option<u64>,
    /// Events that tracers discarded, as far as they counted them.
    pub discarded_events: u64,
    /// Packets that were lost, with an unknown number of events.
    pub lost_packets: u64,
    /// Switches from another thread than the one that was switched to before: how often an event must be missing that no tracer
    /// counted. What is not known for that is time in the state unknown.
    pub gaps: u64,
    /// How far its clock is ahead of the driver's in ns, where task starts and ends show that it is.
    pub clock_ahead_ns: i64,
}

/// A stop of all threads of a JVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Index into [`Trace::hosts`].
    pub host: u32,
    /// The JVM.
    pub pid: u32,
    /// From, in ns since 1970.
    pub start_ns: i64,
    /// To.
    pub end_ns: i64,
    /// What for, as the JVM names it.
    pub operation: String,
}

/// What traces tell of a run.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Task attempts by id.
    pub tasks: BTreeMap<u64, TaskTrace>,
    /// Who had what tasks waited for.
    pub culprits: Vec<Culprit>,
    /// The hosts.
    pub hosts: Vec<TracedHost>,
    /// Stops of JVMs in the order of their begin.
    pub stops: Vec<Stop>,
    /// What traced tasks did when, if it was asked for.
    pub stretches: Vec<Stretch>,
}

impl Trace {
    /// The culprit of a part of the time that a task did not run.
    pub fn culprit(&self, blame: &Blame) -> Option<&Culprit> {
        self.culprits.get(blame.culprit? as usize)
    }
}
