//! The second pass: the kernel's events, by LTTng's names and by perf's.

use emberscope_ctf::{Event, Selection, Trace};

use super::threads::Tid;

/// What an event says, whoever recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Switch,
    Wake,
    Migrate,
    Fork,
    Exec,
    Exit,
    SoftirqEntry,
    SoftirqExit,
    IrqEntry,
    IrqExit,
    BlockIssue,
    BlockComplete,
    PageFault,
}

/// A kind of event by its names, and its fields in an order that does not depend on the tracer.
struct Known {
    kind: Kind,
    lttng: &'static str,
    perf: &'static str,
    /// Field of LTTng and of perf.
    fields: &'static [(&'static str, &'static str)],
}

const KNOWN: &[Known] = &[
    Known {
        kind: Kind::Switch,
        lttng: "sched_switch",
        perf: "sched:sched_switch",
        fields: &[
            ("prev_tid", "prev_pid"),
            ("prev_state", "prev_state"),
            ("next_tid", "next_pid"),
            ("next_comm", "next_comm"),
            ("prev_comm", "prev_comm"),
        ],
    },
    Known {
        kind: Kind::Wake,
        lttng: "sched_waking",
        perf: "sched:sched_waking",
        fields: &[("tid", "pid"), ("target_cpu", "target_cpu"), ("comm", "comm")],
    },
    Known {
        kind: Kind::Wake,
        lttng: "sched_wakeup",
        perf: "sched:sched_wakeup",
        fields: &[("tid", "pid"), ("target_cpu", "target_cpu"), ("comm", "comm")],
    },
    Known {
        kind: Kind::Wake,
        lttng: "sched_wakeup_new",
        perf: "sched:sched_wakeup_new",
        fields: &[("tid", "pid"), ("target_cpu", "target_cpu"), ("comm", "comm")],
    },
    Known {
        kind: Kind::Migrate,
        lttng: "sched_migrate_task",
        perf: "sched:sched_migrate_task",
        fields: &[("tid", "pid"), ("dest_cpu", "dest_cpu")],
    },
    Known {
        kind: Kind::Fork,
        lttng: "sched_process_fork",
        perf: "sched:sched_process_fork",
        fields: &[("child_tid", "child_pid"), ("child_comm", "child_comm"), ("child_pid", "")],
    },
    Known {
        kind: Kind::Exec,
        lttng: "sched_process_exec",
        perf: "sched:sched_process_exec",
        fields: &[("tid", "pid"), ("filename", "filename")],
    },
    Known {
        kind: Kind::Exit,
        lttng: "sched_process_exit",
        perf: "sched:sched_process_exit",
        fields: &[("tid", "pid")],
    },
    Known {
        kind: Kind::SoftirqEntry,
        lttng: "irq_softirq_entry",
        perf: "irq:softirq_entry",
        fields: &[("vec", "vec")],
    },
    Known { kind: Kind::SoftirqExit, lttng: "irq_softirq_exit", perf: "irq:softirq_exit", fields: &[] },
    Known { kind: Kind::IrqEntry, lttng: "irq_handler_entry", perf: "irq:irq_handler_entry", fields: &[] },
    Known { kind: Kind::IrqExit, lttng: "irq_handler_exit", perf: "irq:irq_handler_exit", fields: &[] },
    Known {
        kind: Kind::IrqEntry,
        lttng: "x86_irq_vectors_local_timer_entry",
        perf: "irq_vectors:local_timer_entry",
        fields: &[],
    },
    Known {
        kind: Kind::IrqExit,
        lttng: "x86_irq_vectors_local_timer_exit",
        perf: "irq_vectors:local_timer_exit",
        fields: &[],
    },
    Known {
        kind: Kind::BlockIssue,
        lttng: "block_rq_issue",
        perf: "block:block_rq_issue",
        fields: &[
            ("dev", "dev"),
            ("sector", "sector"),
            ("nr_sector", "nr_sector"),
            ("bytes", "bytes"),
            ("rwbs", "rwbs"),
        ],
    },
    Known {
        kind: Kind::BlockComplete,
        lttng: "block_rq_complete",
        perf: "block:block_rq_complete",
        fields: &[("dev", "dev"), ("sector", "sector")],
    },
    Known {
        kind: Kind::PageFault,
        lttng: "x86_exceptions_page_fault_user",
        perf: "exceptions:page_fault_user",
        fields: &[],
    },
];

/// Fields behind an event's own: the CPU, and the thread and process that it happened in, where the tracer says.
const COMMON: [&str; 3] = ["packet.cpu_id", "perf_tid", "perf_pid"];
const LTTNG_COMMON: [&str; 3] = ["packet.cpu_id", "context.tid", "context.pid"];

/// What is asked of a kernel trace, and what the numbers of the answer mean.
pub(super) struct Asked {
    pub(super) selection: Selection,
    kinds: Vec<(Kind, usize)>,
    pub(super) has_page_faults: bool,
    pub(super) has_block: bool,
}

/// Whether a trace has the scheduler's events.
pub(super) fn is_of_kernel(trace: &Trace) -> bool {
    trace.has_event("sched_switch") || trace.has_event("sched:sched_switch")
}

impl Asked {
    pub(super) fn of(traces: &[Trace]) -> Self {
        let mut asked =
            Self { selection: Selection::new(), kinds: Vec::new(), has_page_faults: false, has_block: false };
        for known in KNOWN {
            for (name, of_perf) in [(known.lttng, false), (known.perf, true)] {
                if !traces.iter().any(|trace| trace.has_event(name)) {
                    continue;
                }
                let own = known.fields.iter().map(|field| if of_perf { field.1 } else { field.0 });
                let common = if of_perf { COMMON } else { LTTNG_COMMON };
                let fields: Vec<&str> = own.chain(common).collect();
                asked.selection.event(name, &fields);
                asked.kinds.push((known.kind, known.fields.len()));
                asked.has_page_faults |= known.kind == Kind::PageFault;
                asked.has_block |= known.kind == Kind::BlockIssue;
            }
        }
        asked
    }

    /// The kind of an event, its CPU, and the thread and process that it happened in.
    pub(super) fn read(&self, event: &Event<'_>) -> Option<(Kind, u32, Option<Tid>, Option<u32>)> {
        let &(kind, own) = self.kinds.get(event.which())?;
        let cpu = number(event, own)?;
        Some((kind, cpu, number(event, own + 1), number(event, own + 2)))
    }
}

/// A field that is an id: tids are signed in the kernel's events.
pub(super) fn number(event: &Event<'_>, index: usize) -> Option<u32> {
    event.value(index).as_u64().and_then(|value| u32::try_from(value).ok())
}
