//! Which kernel events are recorded, by profile, under perf's names and LTTng's.

use crate::options::Profile;

/// An event: `subsystem:name` of the kernel's tracepoint, and what LTTng calls it. A system call has `syscall:name` there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) perf: &'static str,
    pub(crate) lttng: &'static str,
}

const fn event(perf: &'static str, lttng: &'static str) -> Event {
    Event { perf, lttng }
}

/// Who ran, who waited for a CPU, who woke whom, and the disk. Some 5,000 events a second of two busy cores, each of
/// 120 bytes.
///
/// perf says with every event whether it came from an interrupt (`common_flags`), which tells wake-ups by timers; LTTng
/// does not, and needs the timers themselves.
const LIGHT: &[Event] = &[
    event("sched:sched_switch", "sched_switch"),
    event("sched:sched_waking", "sched_waking"),
    event("sched:sched_wakeup_new", "sched_wakeup_new"),
    event("sched:sched_process_fork", "sched_process_fork"),
    event("sched:sched_process_exec", "sched_process_exec"),
    event("sched:sched_process_exit", "sched_process_exit"),
    event("sched:sched_migrate_task", "sched_migrate_task"),
    event("irq:softirq_entry", "irq_softirq_entry"),
    event("irq:softirq_exit", "irq_softirq_exit"),
    event("irq:irq_handler_entry", "irq_handler_entry"),
    event("irq:irq_handler_exit", "irq_handler_exit"),
    event("block:block_rq_insert", "block_rq_insert"),
    event("block:block_rq_issue", "block_rq_issue"),
    event("block:block_rq_complete", "block_rq_complete"),
];

/// What LTTng needs besides: timers, and the threads that were there before.
const LIGHT_LTTNG: &[&str] = &["timer_hrtimer_expire_entry", "lttng_statedump_process_state"];

/// Page faults, packets, signals, timers and futexes: four times the bytes of the light profile. All system calls would be seventy
/// times those, and are in no profile.
const MORE: &[Event] = &[
    event("exceptions:page_fault_user", "x86_exceptions_page_fault_user"),
    event("net:net_dev_queue", "net_dev_queue"),
    event("net:netif_receive_skb", "net_if_receive_skb"),
    event("net:netif_rx", "net_if_rx"),
    event("signal:signal_deliver", "signal_deliver"),
    event("timer:hrtimer_expire_entry", "timer_hrtimer_expire_entry"),
    event("syscalls:sys_enter_futex", "syscall:futex"),
    // LTTng records both sides of a system call at once.
    event("syscalls:sys_exit_futex", "syscall:futex"),
];

fn events(profile: Profile) -> impl Iterator<Item = Event> {
    let more = match profile {
        Profile::Light => &[],
        Profile::Full => MORE,
    };
    LIGHT.iter().chain(more).copied()
}

/// Names for `perf record -e`.
pub(crate) fn perf(profile: Profile) -> Vec<&'static str> {
    events(profile).map(|event| event.perf).collect()
}

/// Names for `lttng enable-event --kernel`: tracepoints, then system calls.
pub(crate) fn lttng(profile: Profile) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut tracepoints, mut calls) = (Vec::new(), Vec::new());
    for name in events(profile).map(|event| event.lttng).chain(LIGHT_LTTNG.iter().copied()) {
        match name.strip_prefix("syscall:") {
            Some(call) if !calls.contains(&call) => calls.push(call),
            None if !tracepoints.contains(&name) => tracepoints.push(name),
            _ => {}
        }
    }
    (tracepoints, calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_grow_and_name_nothing_twice() {
        let (light, full) = (perf(Profile::Light), perf(Profile::Full));
        assert!(full.starts_with(&light) && full.len() > light.len());
        let (tracepoints, calls) = lttng(Profile::Full);
        assert_eq!(calls, ["futex"]);
        let unique: std::collections::BTreeSet<_> = tracepoints.iter().collect();
        assert_eq!(unique.len(), tracepoints.len());
        assert!(lttng(Profile::Light).1.is_empty());
    }
}
