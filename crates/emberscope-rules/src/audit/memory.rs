//! Heap, overhead, results and the shape of executors.

use emberscope_extract::features::Metric;
use emberscope_run::{ExecutorId, TaskColumn};

use super::{ConfigurationNote, note};
use crate::deployment::{self, Manager};
use crate::finding::{Advice, Finding};
use crate::problem::Problem;
use crate::rule::Context;
use crate::words;

/// A container that was this full is noted; from 90 % on it is a finding. Set by judgement.
const FULL_CONTAINER: f64 = 0.8;
/// Collection over run time from which a heap is too small for the tasks that share it (`executorspage.js` marks 10 %).
const MUCH_COLLECTION: f64 = 0.1;
/// Cores that share one heap from which they are called many: HDFS clients and collectors slow down beyond some 5 to 8.
const MANY_CORES: u64 = 16;
/// Share of the run's wall-clock time that collection took while tasks ran, from which it is worth a line.
const WORTH_A_NOTE: f64 = 0.05;
/// Executors of one core from which the price of a JVM for each is noted.
const MANY_SMALL_EXECUTORS: usize = 8;
/// Results of one stage over the driver's heap from which their limit matters.
const LARGE_RESULTS: f64 = 0.25;
/// A heap that was measured this much smaller than what was set: the setting had no effect.
const SMALLER_HEAP: f64 = 0.7;

pub(super) fn notes(ctx: &Context<'_>, findings: &[Finding]) -> Vec<ConfigurationNote> {
    let checks: [Option<ConfigurationNote>; 6] = [
        local_executor_memory(ctx, findings),
        driver_memory(ctx),
        overhead(ctx),
        many_cores(ctx),
        single_cores(ctx),
        max_result_size(ctx),
    ];
    checks.into_iter().flatten().collect()
}

fn gc_share(ctx: &Context<'_>) -> Option<f64> {
    let application = &ctx.features.application;
    let (gc, run) = (application.sum(Metric::JvmGcTime)?, application.sum(Metric::ExecutorRunTime)?);
    (run > 0).then(|| gc as f64 / run as f64)
}

/// Executor memory in local mode, where memory was short.
fn local_executor_memory(ctx: &Context<'_>, findings: &[Finding]) -> Option<ConfigurationNote> {
    let key = "spark.executor.memory";
    let set = ctx.settings.set_by_user(key).filter(|_| deployment::is_local(ctx.run))?;
    let spilled = ctx.features.application.sum(Metric::DiskBytesSpilled).unwrap_or(0);
    let collecting = gc_share(ctx).filter(|&share| share >= MUCH_COLLECTION);
    let short = findings.iter().any(|finding| {
        matches!(
            finding.problem,
            Problem::MemorySpill | Problem::GcPressure | Problem::ExecutorOom | Problem::MemoryNearLimit
        )
    });
    if spilled == 0 && collecting.is_none() && !short {
        return None;
    }
    let mut shortage = Vec::new();
    if spilled > 0 {
        shortage.push(format!("{} were spilled to disk", words::bytes(spilled as f64)));
    }
    if let Some(share) = collecting {
        shortage.push(format!("garbage collection took {} of the run time", words::percent(share)));
    }
    let measured = if shortage.is_empty() { "memory was short".to_owned() } else { shortage.join(" and ") };
    let advice = Advice::text(
        "Tasks run in the driver in local mode: its heap is the one that counts, and it has to be set before the driver starts.",
    );
    let wanted = ctx.settings.bytes(key).unwrap_or(0);
    let driver = ctx.settings.bytes("spark.driver.memory").unwrap_or(0);
    Some(note(
        ctx,
        key,
        format!("it is set to {set} and has no effect in local mode, while {measured}"),
        if wanted > driver { advice.set("spark.driver.memory", set) } else { advice },
    ))
}

/// A driver memory that was set when the driver's JVM had been started already.
fn driver_memory(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let key = "spark.driver.memory";
    ctx.settings.set_by_user(key)?;
    let asked = ctx.settings.bytes(key).filter(|&bytes| bytes > 0)? as f64;
    let driver = ctx.run.executors.get(&ExecutorId::from(ExecutorId::DRIVER))?;
    let managed = driver.max_on_heap_memory.or(driver.max_memory)?.0 as f64;
    let fraction = ctx.settings.number("spark.memory.fraction").filter(|&f| f > 0.0)?;
    if ctx.run.application.spark_major_minor()? < (1, 6) {
        return None;
    }
    let heap = managed / fraction + 300.0 * 1_048_576.0;
    (heap < SMALLER_HEAP * asked).then(|| {
        note(
            ctx,
            key,
            format!(
                "the driver has {} for execution and storage, which is a heap of about {}, not {}: the setting came after its \
                 JVM had started",
                words::bytes(managed),
                words::bytes(heap),
                words::bytes(asked)
            ),
            Advice::text(
                "Set it where the driver's JVM is started: `spark-submit --driver-memory`, spark-defaults.conf, or before the first \
                 session of a Python process; in SparkConf of a running driver it has no effect.",
            ),
        )
    })
}

/// A container that was nearly full, below the threshold of `memory-near-limit`.
fn overhead(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let asked = deployment::asked_memory(ctx.run, ctx.settings)?;
    let container = asked.container()?;
    let resident = ctx.run.worker_executors().filter_map(|executor| {
        let jvm = executor.peaks.get(TaskColumn::PeakTreeJvmRss).filter(|&rss| rss > 0)?;
        let python = executor.peaks.get(TaskColumn::PeakTreePythonRss).unwrap_or(0);
        Some((
            jvm.saturating_add(python).saturating_add(executor.peaks.get(TaskColumn::PeakTreeOtherRss).unwrap_or(0)),
            python,
        ))
    });
    let (peak, python) = resident.max()?;
    let share = peak as f64 / container as f64;
    if share < FULL_CONTAINER {
        return None;
    }
    let key = deployment::overhead_key(ctx.run);
    let now = asked.overhead?;
    let new = (peak as f64 * 1.2 - (container - now) as f64).max(now as f64 * 1.25);
    let of_python =
        if python > 0 { format!(", {} of it Python workers", words::bytes(python as f64)) } else { String::new() };
    Some(note(
        ctx,
        key,
        format!(
            "the processes of an executor had {} resident at their peak{of_python}: {} of the {} of its container",
            words::bytes(peak as f64),
            words::percent(share),
            words::bytes(container as f64)
        ),
        Advice::text(format!(
            "{} x 1.2 less {} for the heap and the rest is {}.",
            words::bytes(peak as f64),
            words::bytes((container - now) as f64),
            words::bytes(new)
        ))
        .set(key, words::spark_memory(new)),
    ))
}

/// Very many tasks in one JVM that collects much.
fn many_cores(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let cores = deployment::cores_per_executor(ctx.run)
        .filter(|&cores| cores >= MANY_CORES && !deployment::is_local(ctx.run))?;
    let share = gc_share(ctx).filter(|&share| share >= MUCH_COLLECTION)?;
    if ctx.share(ctx.features.timeline.busy_ms as f64 * share) < WORTH_A_NOTE {
        return None;
    }
    let heap = deployment::asked_memory(ctx.run, ctx.settings).map(|asked| asked.heap);
    let halved =
        heap.map_or_else(String::new, |heap| format!(" with {} of heap each", words::bytes(heap as f64 / 2.0)));
    let mut advice = Advice::text(format!(
        "Two executors of {} cores{halved} instead of one collect smaller heaps side by side.",
        cores / 2
    ));
    if deployment::manager(ctx.run) != Manager::Databricks {
        advice = advice.set("spark.executor.cores", (cores / 2).to_string());
        if let Some(heap) = heap {
            advice = advice.set("spark.executor.memory", words::spark_memory(heap as f64 / 2.0));
        }
    }
    Some(note(
        ctx,
        "spark.executor.cores",
        format!(
            "{cores} tasks at once shared a heap, and garbage collection took {} of the run time",
            words::percent(share)
        ),
        advice,
    ))
}

/// One JVM for each core, several on a host.
fn single_cores(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let executors: Vec<_> = ctx.run.worker_executors().filter(|executor| executor.cores.is_some()).collect();
    if deployment::is_local(ctx.run)
        || executors.len() < MANY_SMALL_EXECUTORS
        || executors.iter().any(|executor| executor.cores != Some(1))
    {
        return None;
    }
    let hosts: std::collections::BTreeSet<_> =
        executors.iter().filter_map(|executor| executor.host.as_deref()).collect();
    if hosts.is_empty() || hosts.len() * 2 > executors.len() {
        return None;
    }
    let asked = deployment::asked_memory(ctx.run, ctx.settings)?;
    let each = asked.overhead?.saturating_add(300 * 1_048_576);
    let per_host = (executors.len() / hosts.len()).clamp(2, 4) as u64;
    Some(note(
        ctx,
        "spark.executor.cores",
        format!(
            "{} executors of one core ran on {} hosts: {} of overhead and reserved heap for each are {} that hold no data, and \
             each fetches its own copy of every broadcast",
            executors.len(),
            hosts.len(),
            words::bytes(each as f64),
            words::bytes(each as f64 * executors.len() as f64)
        ),
        Advice::text(format!(
            "Executors of {per_host} cores with {per_host} times the heap do the same with a fraction of that."
        ))
        .set("spark.executor.cores", per_host.to_string())
        .set("spark.executor.memory", words::spark_memory((asked.heap * per_host) as f64)),
    ))
}

/// Results that the limit lets through and the driver's heap may not hold.
fn max_result_size(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let key = "spark.driver.maxResultSize";
    let limit = ctx.settings.bytes(key)?;
    let heap = ctx.settings.bytes("spark.driver.memory").filter(|&heap| heap > 0)?;
    if limit > 0 && limit < heap {
        return None;
    }
    let largest =
        ctx.features.stages.values().filter_map(|stage| Some((stage.sum(Metric::ResultSize)?, stage.key))).max()?;
    if (largest.0 as f64) < LARGE_RESULTS * heap as f64 {
        return None;
    }
    let half = heap as f64 / 2.0;
    Some(note(
        ctx,
        key,
        format!(
            "stage {} sent {} of results to a driver with {} of heap, and the limit is {}",
            largest.1,
            words::bytes(largest.0 as f64),
            words::bytes(heap as f64),
            if limit > 0 { words::bytes(limit as f64) } else { "off".to_owned() }
        ),
        Advice::text(format!(
            "Results are held serialized and again as objects: a limit above half the heap ({}) ends in the driver's \
             OutOfMemoryError instead of a job's. Raise the driver's heap with it, or collect less.",
            words::bytes(half)
        )),
    ))
}
