//! What to do when a container or a heap was full.

use emberscope_run::TaskColumn;

use super::{CONTAINER_MARGIN, Deaths, HEAP_FACTOR, peak};
use crate::deployment::{self, AskedMemory, Manager};
use crate::failures::MemoryKind;
use crate::finding::Advice;
use crate::rule::Context;
use crate::words;

/// The container was too small for the process: heap, overhead or Python, as the peaks tell.
pub(super) fn of_container(
    ctx: &Context<'_>,
    kind: MemoryKind,
    reason: &str,
    asked: Option<AskedMemory>,
    deaths: &Deaths<'_>,
) -> Vec<Advice> {
    let (jvm, python) =
        (peak(ctx, deaths, TaskColumn::PeakTreeJvmRss), peak(ctx, deaths, TaskColumn::PeakTreePythonRss));
    let key = deployment::overhead_key(ctx.run);
    let mut all = Vec::new();
    let Some((asked, overhead)) = asked.and_then(|asked| Some((asked, asked.overhead?))) else {
        return vec![Advice::text(format!(
            "Raise {key} (what the container has beyond the heap); the log does not say what it is now, so start with twice \
             10 % of the heap."
        ))];
    };
    let margin = ctx.threshold(&CONTAINER_MARGIN);
    let container = asked.container().unwrap_or(asked.heap) as f64;
    let used = used_of_limit(reason).map(|(used, _)| used).or_else(|| Some((jvm? + python.unwrap_or(0)) as f64));
    // At least twice what there is: a process that was killed at its limit would have gone on growing.
    let needed = used.map(|used| used * margin - (container - overhead as f64));
    let new = needed.unwrap_or(0.0).max(2.0 * overhead as f64);
    let seen = used.map_or_else(String::new, |used| format!(" {} were in use when it was killed.", words::bytes(used)));
    let python_part = python.filter(|&python| python as f64 > 0.5 * overhead as f64);
    let full = if kind == MemoryKind::Container {
        "The heap was not what was full: the container was"
    } else {
        "If it was the limit of its container, memory beyond the heap is what it lacked, since a full heap throws instead"
    };
    let text = format!(
        "{full}. It has {} ({} of heap and {} beyond it).{seen} Give it {} beyond the heap{}.",
        words::bytes(container),
        words::bytes(asked.heap as f64),
        words::bytes(overhead as f64),
        words::bytes(new),
        python_part.map_or_else(String::new, |python| format!(
            "; Python workers took {} of it at their peak, which the heap cannot hold",
            words::bytes(python as f64)
        )),
    );
    all.push(Advice::text(text).set(key, words::spark_memory(new)));
    if let Some(cores) = deployment::cores_per_executor(ctx.run).filter(|&cores| cores > 1) {
        all.push(
            Advice::text(format!(
                "Or run fewer tasks at once in one process: with {} instead of {cores} cores per executor the memory beyond \
                 the heap is shared by half as many tasks and Python workers.",
                cores / 2
            ))
            .set("spark.executor.cores", (cores / 2).to_string()),
        );
    }
    if kind != MemoryKind::Container {
        let where_to_look = match deployment::manager(ctx.run) {
            Manager::Kubernetes => {
                "`kubectl describe pod` says OOMKilled when it was the pod's own limit; otherwise the node was short of memory"
            }
            Manager::Yarn => {
                "the NodeManager's log says so when the container was over its limit; otherwise it was preempted or the host was short of memory"
            }
            _ => "the kernel's log (`dmesg`) on the host names the process when it was short of memory",
        };
        all.push(Advice::text(format!("What would tell the cause for sure: {where_to_look}.")));
    }
    all
}

/// The heap was full.
pub(super) fn of_heap(ctx: &Context<'_>, asked: Option<AskedMemory>) -> Vec<Advice> {
    let key = deployment::heap_key(ctx.run);
    let cores = deployment::cores_per_executor(ctx.run);
    let fraction = ctx.settings.number("spark.memory.fraction").unwrap_or(0.6);
    let mut all = Vec::new();
    match asked {
        Some(asked) => {
            let new = asked.heap as f64 * ctx.threshold(&HEAP_FACTOR);
            let per_task = cores.map_or_else(String::new, |cores| {
                format!(
                    "; {cores} tasks at once share ({} - 300 MiB) x {fraction} = {}, that is {} each",
                    words::bytes(asked.heap as f64),
                    words::bytes((asked.heap as f64 - 300.0 * 1_048_576.0) * fraction),
                    words::bytes((asked.heap as f64 - 300.0 * 1_048_576.0) * fraction / cores as f64),
                )
            });
            all.push(
                Advice::text(format!(
                    "The heap of {} was full{per_task}. Raise it by half, to {}.",
                    words::bytes(asked.heap as f64),
                    words::bytes(new)
                ))
                .set(key, words::spark_memory(new)),
            );
        }
        None => all.push(Advice::text(format!("The heap was full: raise {key}; the log does not say what it is now."))),
    }
    if let Some(cores) = cores.filter(|&cores| cores > 1 && !deployment::is_local(ctx.run)) {
        all.push(
            Advice::text(format!(
                "Or halve the tasks that share the heap: {} instead of {cores} cores per executor, with twice the executors \
                 for the same cores in all.",
                cores / 2
            ))
            .set("spark.executor.cores", (cores / 2).to_string()),
        );
    }
    all.push(Advice::text(
        "If the frames of the error are in your code or in collect_list, groupByKey, a toArray or a row of huge size, more \
         partitions and more memory only put it off: the task holds one key's or one row's data at once. A heap dump \
         (-XX:+HeapDumpOnOutOfMemoryError) tells which object it is.",
    ));
    all
}

/// The two sizes of `5.5 GB of 5 GB physical memory used`.
fn used_of_limit(reason: &str) -> Option<(f64, f64)> {
    let (before, after) = reason.split_once(" of ")?;
    let size = |words: &[&str]| -> Option<f64> {
        let (number, unit) = match words {
            [number, unit] => (number.parse::<f64>().ok()?, *unit),
            _ => return None,
        };
        let factor = match unit.to_ascii_uppercase().as_str() {
            "B" => 1.0,
            "KB" => 1_024.0,
            "MB" => 1_048_576.0,
            "GB" => 1_073_741_824.0,
            "TB" => 1_099_511_627_776.0,
            _ => return None,
        };
        Some(number * factor).filter(|bytes| bytes.is_finite() && *bytes >= 0.0)
    };
    let tail: Vec<&str> = before.rsplit(' ').take(2).collect::<Vec<_>>().into_iter().rev().collect();
    let head: Vec<&str> = after.split(' ').take(2).collect();
    Some((size(&tail)?, size(&head)?))
}
