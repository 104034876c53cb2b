//! Values that Spark cannot read, and settings that contradict each other.

use emberscope_run::{ConfigError, Configuration};

use super::{ConfigurationNote, note};
use crate::deployment;
use crate::finding::Advice;
use crate::rule::Context;

const BOOLEANS: &[&str] = &[
    "spark.dynamicAllocation.enabled",
    "spark.dynamicAllocation.shuffleTracking.enabled",
    "spark.excludeOnFailure.enabled",
    "spark.memory.offHeap.enabled",
    "spark.python.worker.reuse",
    "spark.shuffle.compress",
    "spark.shuffle.service.enabled",
    "spark.speculation",
    "spark.sql.adaptive.enabled",
    "spark.sql.adaptive.coalescePartitions.enabled",
    "spark.sql.adaptive.skewJoin.enabled",
    "spark.sql.execution.arrow.pyspark.enabled",
];
const INTEGERS: &[&str] = &[
    "spark.default.parallelism",
    "spark.driver.cores",
    "spark.dynamicAllocation.initialExecutors",
    "spark.dynamicAllocation.maxExecutors",
    "spark.dynamicAllocation.minExecutors",
    "spark.executor.cores",
    "spark.executor.instances",
    "spark.sql.shuffle.partitions",
    "spark.stage.maxConsecutiveAttempts",
    "spark.task.cpus",
    "spark.task.maxFailures",
];
const SIZES: &[&str] = &[
    "spark.driver.maxResultSize",
    "spark.driver.memory",
    "spark.executor.memory",
    "spark.executor.memoryOverhead",
    "spark.memory.offHeap.size",
    "spark.reducer.maxSizeInFlight",
    "spark.shuffle.file.buffer",
    "spark.sql.adaptive.advisoryPartitionSizeInBytes",
    "spark.sql.autoBroadcastJoinThreshold",
    "spark.sql.files.maxPartitionBytes",
    "spark.sql.files.openCostInBytes",
];
const TIMES: &[&str] = &["spark.dynamicAllocation.executorIdleTimeout", "spark.locality.wait", "spark.network.timeout"];
const NUMBERS: &[&str] = &[
    "spark.memory.fraction",
    "spark.memory.storageFraction",
    "spark.speculation.multiplier",
    "spark.speculation.quantile",
];

pub(super) fn notes(ctx: &Context<'_>) -> Vec<ConfigurationNote> {
    let mut notes = unreadable(ctx);
    notes.extend(off_heap(ctx));
    notes.extend(cores_per_task(ctx));
    notes
}

fn unreadable(ctx: &Context<'_>) -> Vec<ConfigurationNote> {
    let configuration = &ctx.run.environment.spark;
    let mut errors: Vec<ConfigError> = Vec::new();
    errors.extend(BOOLEANS.iter().filter_map(|key| configuration.boolean(key).err()));
    errors.extend(INTEGERS.iter().filter_map(|key| configuration.integer(key).err()));
    errors.extend(SIZES.iter().filter_map(|key| configuration.bytes(key, 1).err()));
    errors.extend(TIMES.iter().filter_map(|key| configuration.time_ms(key, 1).err()));
    errors.extend(NUMBERS.iter().filter_map(|key| configuration.number(key).err()));
    // A value that was hidden, or that names another key, says nothing; Databricks reads `auto` as a number of partitions.
    errors.retain(|error| {
        !error.value.contains("redacted") && !error.value.contains("${") && !error.value.eq_ignore_ascii_case("auto")
    });
    errors.iter().map(|error| unreadable_note(ctx, configuration, error)).collect()
}

fn unreadable_note(ctx: &Context<'_>, _: &Configuration, error: &ConfigError) -> ConfigurationNote {
    let hint = if error.value.contains('.') && error.expected == "a size" {
        " Sizes take no fractions: write 1536m for 1.5g."
    } else {
        ""
    };
    note(
        ctx,
        &error.key,
        format!("the value is {:?}, which is not {}", error.value, error.expected),
        Advice::text(format!(
            "Spark refuses this value as soon as it reads it, and a library may take its own default instead.{hint}"
        )),
    )
}

/// Off-heap memory that is sized and not switched on, or switched on without a size.
fn off_heap(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let enabled = ctx.settings.boolean("spark.memory.offHeap.enabled")?;
    let size = ctx.settings.bytes("spark.memory.offHeap.size").unwrap_or(0);
    if enabled || size <= 0 {
        return None;
    }
    let key = "spark.memory.offHeap.size";
    Some(note(
        ctx,
        key,
        format!(
            "it is {} and spark.memory.offHeap.enabled is false: nothing of it was used",
            ctx.settings.get(key).value().unwrap_or_default()
        ),
        Advice::text("Switch off-heap memory on, or take the size away: as it is, neither has an effect.")
            .set("spark.memory.offHeap.enabled", "true"),
    ))
}

/// Cores of an executor that no task can have.
fn cores_per_task(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let key = "spark.task.cpus";
    let cpus = ctx.settings.integer(key).and_then(|cpus| u64::try_from(cpus).ok()).filter(|&cpus| cpus > 1)?;
    let cores = deployment::cores_per_executor(ctx.run)?;
    let left = cores % cpus;
    if left == 0 || ctx.features.timeline.peak_tasks == 0 {
        return None;
    }
    Some(note(
        ctx,
        key,
        format!(
            "executors have {cores} cores and a task takes {cpus}: {left} of {cores} cores of each executor could never work"
        ),
        Advice::text(format!(
            "Give executors a multiple of {cpus} cores: {} or {}.",
            cores - left,
            (cores - left).saturating_add(cpus)
        )),
    ))
}
