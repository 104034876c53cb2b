//! Serializer, adaptive execution and the shuffle service.

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::TaskEndKind;

use super::{ConfigurationNote, note};
use crate::deployment::{self, Manager};
use crate::failures;
use crate::finding::Advice;
use crate::rule::Context;
use crate::support::total;
use crate::words;

/// Bytes that RDD stages shuffled from which their serializer matters. Set by judgement.
const MUCH_SHUFFLED: u64 = 1 << 30;
/// Share of the run's wall-clock time of the stages that a note is about, from which it is worth a line. Set by judgement.
const WORTH_A_NOTE: f64 = 0.05;
/// A stage has far more partitions than adaptive execution would leave from this many times on. Set by judgement.
const MANY_TIMES: u64 = 8;

pub(super) fn notes(ctx: &Context<'_>) -> Vec<ConfigurationNote> {
    [serializer(ctx), adaptive(ctx), shuffle_service(ctx)].into_iter().flatten().collect()
}

/// Java serialization of RDDs that were shuffled in bulk. SQL has its own row format, and Python pickles.
fn serializer(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let key = "spark.serializer";
    if !ctx.settings.get(key).value()?.ends_with("JavaSerializer") {
        return None;
    }
    let of_rdds = |stage: &&StageSummary| {
        ctx.run.stages.get(&stage.key).is_some_and(|attempt| {
            attempt.sql_execution_id.is_none()
                && !attempt.rdds.is_empty()
                && !attempt.rdds.iter().any(|rdd| {
                    rdd.name.contains("Python")
                        || rdd.name.contains("PairwiseRDD")
                        || rdd.name.contains("RowRDD")
                        || rdd
                            .scope
                            .as_deref()
                            .is_some_and(|scope| scope.contains("WholeStageCodegen") || scope.contains("Exchange"))
                })
        })
    };
    let stages: Vec<&StageSummary> = ctx.features.stages.values().filter(of_rdds).collect();
    let written = total(stages.iter().filter_map(|stage| stage.sum(Metric::ShuffleWriteBytes)));
    let wall: f64 = stages
        .iter()
        .filter(|stage| {
            [Metric::ShuffleWriteBytes, Metric::ShuffleReadBytes].iter().any(|&metric| stage.sum(metric) > Some(0))
        })
        .map(|stage| stage.wall_clock_ms)
        .sum();
    if written < MUCH_SHUFFLED || ctx.share(wall) < WORTH_A_NOTE {
        return None;
    }
    Some(note(
        ctx,
        key,
        format!(
            "RDD stages (not SQL) wrote {} of shuffle data with Java serialization and took {} of the run",
            words::bytes(written as f64),
            words::percent(ctx.share(wall))
        ),
        Advice::text(
            "Kryo writes the same objects in less space and time (Spark's tuning guide: often as much as 10 times); classes that \
             are registered cost least.",
        )
        .set(key, "org.apache.spark.serializer.KryoSerializer"),
    ))
}

/// Adaptive execution that is off where it would have put partitions together.
fn adaptive(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let key = "spark.sql.adaptive.enabled";
    // Before Spark 3.0 it was another thing; streaming queries never adapt.
    if ctx.run.application.spark_major_minor()? < (3, 0) || ctx.settings.boolean(key) != Some(false) {
        return None;
    }
    let advisory =
        ctx.settings.bytes("spark.sql.adaptive.advisoryPartitionSizeInBytes").filter(|&bytes| bytes > 0)? as u64;
    let cores = ctx.features.application.slots_max.unwrap_or(1).max(1);
    let (mut stages, mut tasks, mut bytes, mut wall) = (0_u64, 0_u64, 0_u64, 0.0);
    for stage in ctx.features.stages.values() {
        let Some(attempt) = ctx.run.stages.get(&stage.key) else { continue };
        let streaming =
            attempt.job_ids.iter().any(|id| ctx.run.jobs.get(id).is_some_and(|job| job.streaming_query_id.is_some()));
        if attempt.sql_execution_id.is_none() || streaming || stage.sum(Metric::InputBytes).unwrap_or(0) > 0 {
            continue;
        }
        let Some(read) = stage.sum(Metric::ShuffleReadBytes).filter(|&read| read > 0) else { continue };
        // As many as the data ask for, but no fewer than the cores can work on (coalescePartitions.parallelismFirst).
        let left = read.div_ceil(advisory).max(cores);
        if stage.tasks.succeeded >= MANY_TIMES.saturating_mul(left) {
            stages += 1;
            tasks = stage.tasks.succeeded.saturating_add(tasks);
            bytes = bytes.saturating_add(read);
            wall += stage.wall_clock_ms;
        }
    }
    if stages == 0 || ctx.share(wall) < WORTH_A_NOTE {
        return None;
    }
    Some(note(
        ctx,
        key,
        format!(
            "{stages} SQL {} read {} of shuffle data in {} tasks and took {} of the run; adaptive execution would have put these \
             partitions together up to {} each, and kept one for each of {cores} cores",
            if stages == 1 { "stage" } else { "stages" },
            words::bytes(bytes as f64),
            words::count(tasks),
            words::percent(ctx.share(wall)),
            words::bytes(advisory as f64)
        ),
        Advice::text("Let Spark adapt plans to the data: it is the default from 3.2 on.").set(key, "true"),
    ))
}

/// No shuffle service where shuffle output was lost with executors.
fn shuffle_service(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let key = "spark.shuffle.service.enabled";
    let fits = matches!(deployment::manager(ctx.run), Manager::Yarn | Manager::Standalone);
    if !fits || ctx.settings.boolean(key) != Some(false) {
        return None;
    }
    let failed = failures::failed_tasks(ctx);
    let count = |kind: TaskEndKind| total(failed.iter().filter(|group| group.kind == kind).map(|group| group.count));
    let (resubmitted, fetches) = (count(TaskEndKind::Resubmitted), count(TaskEndKind::FetchFailed));
    if resubmitted.saturating_add(fetches) == 0 {
        return None;
    }
    Some(note(
        ctx,
        key,
        format!(
            "{} finished tasks ran again because their output went with their executor, and {} tasks could not fetch shuffle data",
            words::count(resubmitted),
            words::count(fetches)
        ),
        Advice::text("An external shuffle service on the hosts keeps shuffle files when an executor goes.")
            .set(key, "true"),
    ))
}
