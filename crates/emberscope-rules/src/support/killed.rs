//! Executors that somebody killed where no container limits them: what is known, what is not, and what to do in either case.

use crate::deployment::{self, AskedMemory, Manager};
use crate::failures::MemoryKind;
use crate::finding::Advice;
use crate::rule::Context;
use crate::words;

/// Whether a limit of a container can have killed an executor: the cluster manager runs executors in containers (YARN,
/// Kubernetes), or Spark's reason speaks of one.
pub(crate) fn in_container(ctx: &Context<'_>, kind: MemoryKind, reason: &str) -> bool {
    let text = reason.to_ascii_lowercase();
    kind == MemoryKind::Container
        || matches!(deployment::manager(ctx.run), Manager::Yarn | Manager::Kubernetes)
        || ["container", "oomkilled", "oom killed", "oom-kill", "pod "].iter().any(|word| text.contains(word))
}

/// What to do about a kill whose sender is not known.
pub(crate) fn advice(ctx: &Context<'_>, asked: Option<AskedMemory>) -> Vec<Advice> {
    let manager = match deployment::manager(ctx.run) {
        Manager::LocalCluster => "a local cluster runs its executors as plain processes of the driver's host",
        Manager::Standalone => "a standalone cluster runs its executors as plain processes",
        _ => "no container is known here",
    };
    let heap = asked.map(|asked| words::bytes(asked.heap as f64));
    let each = heap
        .map_or_else(String::new, |heap| format!(" ({heap} of heap each, and what the JVM and Python take beside it)"));
    vec![
        Advice::text(format!(
            "Find out who sent the signal (exit code 137 is SIGKILL; {manager}): the kernel's log of the host (`dmesg -T`, \
             `journalctl -k`) names the process when it was short of memory. If it does not, somebody else did it: `kill`, a \
             supervisor, a scheduler's limit, a shutdown of the host or of the worker.",
        )),
        Advice::text(format!(
            "If it was the kernel: all executors of a host must fit into its memory at once{each}. Run fewer of them there, or give \
             each a smaller heap or fewer tasks at once; spark.executor.memoryOverhead only counts on YARN and Kubernetes.",
        )),
        Advice::text(
            "If it was not the kernel: memory is not the cause, and no memory setting helps. Keep whoever sent the signal from \
             doing so while the run lasts.",
        ),
    ]
}
