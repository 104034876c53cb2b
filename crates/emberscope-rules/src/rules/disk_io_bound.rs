//! Tasks wait for the disk.

use emberscope_extract::features::Metric;
use emberscope_run::Unit;

use crate::finding::{Advice, Evidence, Finding};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::blocked::{self, Blocked, Cause, StageBlocked};
use crate::support::loss::{HALF_A_SECOND, Losses, StageLoss, stage_subject};
use crate::support::partitioning::set_new;
use crate::support::traced::{TRACED_SHARE, Waited};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::DiskIoBound,
    summary: "Tasks were off the CPU while they moved bytes to or from files, and for no other reason that the log names.",
    documentation: include_str!("disk_io_bound.md"),
    thresholds: &[WAIT_RATIO, WRITE_RATIO, ELSEWHERE, HAD_CPU, FLOOR, HALF_A_SECOND, TRACED_SHARE],
    explained_by: &[Problem::MemorySpill, Problem::SchedulerDelay, Problem::SmallFiles],
    check,
};

const WAIT_RATIO: Threshold = Threshold {
    name: "wait_ratio",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "time off the CPU with files over run time, of warm tasks; reading ahead hides most of a healthy disk's latency. Set on \
             the training families of datasets/lab (`emberscope calibrate`)",
};
const WRITE_RATIO: Threshold = Threshold {
    name: "write_ratio",
    value: 0.1,
    unit: Unit::Ratio,
    reason: "time off the CPU in writing shuffle files over run time, of the stages that write any: from here on \
             the disk is taken to be slow, and what other stages wait with files to be its doing as well. Set on \
             the training families of datasets/lab (`emberscope calibrate`)",
};
const ELSEWHERE: Threshold = Threshold {
    name: "elsewhere_ratio",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "when stages without files are off the CPU for this much of what the stage is, files are not the cause but the host is. \
             Set by judgement",
};
const HAD_CPU: Threshold = Threshold {
    name: "deserialize_cpu_ratio",
    value: 0.7,
    unit: Unit::Ratio,
    reason: "CPU time over time of deserializing warm tasks, which needs no disk: below it the host had no CPU to give, unless stages \
             without files show that it had. In a healthy run on a busy machine it was 0.3 while half of all run time was off the CPU",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.08,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent waiting; higher than others, as the log shows the cause only \
             by exclusion. Set on the training families of datasets/lab (`emberscope calibrate`)",
};

fn check(ctx: &Context<'_>) -> Outcome {
    if let Some(waited) = Waited::of(ctx, emberscope_run::Cause::Disk) {
        return Outcome::of(proven(ctx, &waited).into_iter().collect());
    }
    if let Some(missing) = blocked::missing(ctx) {
        return missing;
    }
    let stages = blocked::stages(ctx);
    let without_files =
        Blocked::sum(stages.iter().filter(|stage| !stage.blocked.io_explains_rest()).map(|stage| Some(stage.blocked)));
    let elsewhere = without_files.map(|blocked| blocked.share(blocked.rest_ms));
    let had_cpu = blocked::deserialize_cpu_ratio(stages.iter());
    let writing = blocked::writing_share(&stages).filter(|&share| ctx.reaches(share, &WRITE_RATIO));
    if elsewhere.is_none() && had_cpu.is_none() && writing.is_none() {
        // Nothing shows that the hosts had a CPU to give: a busy host looks the same as a busy disk.
        return Outcome::missing(
            "stages without files, or enough deserialize time, to tell a busy disk from a busy host",
        );
    }
    let hits: Vec<(&StageBlocked<'_>, StageLoss)> = stages
        .iter()
        .filter_map(|stage| {
            let waits = stage.blocked.share(stage.blocked.disk_ms());
            let by_exclusion = waits >= ctx.threshold(&WAIT_RATIO)
                && elsewhere.is_none_or(|elsewhere| elsewhere < ctx.threshold(&ELSEWHERE) * waits)
                && (elsewhere.is_some() || had_cpu.is_some_and(|ratio| ratio >= ctx.threshold(&HAD_CPU)));
            let busy = had_cpu.is_some_and(|ratio| ratio < blocked::BUSY_HOST_RATIO);
            let by_writing = writing.is_some() && !busy && waits >= ctx.threshold(&WRITE_RATIO);
            let is_disk = stage.blocked.main_cause() == Cause::Disk && (by_exclusion || by_writing);
            let loss = StageLoss::of_task_time(stage.stage, waits * stage.stage.sum(Metric::ExecutorRunTime)? as f64)?;
            is_disk.then_some((stage, loss))
        })
        .collect();
    Outcome::of(finding(ctx, &hits).into_iter().collect())
}

fn finding(ctx: &Context<'_>, hits: &[(&StageBlocked<'_>, StageLoss)]) -> Option<Finding> {
    let losses = Losses::of(hits.iter().map(|hit| hit.1.clone()).collect());
    if losses.negligible(ctx, &FLOOR, &HALF_A_SECOND) {
        return None;
    }
    let worst = hits.iter().find(|hit| Some(hit.0.stage.key) == losses.worst())?.0;
    let total = Blocked::sum(hits.iter().map(|hit| Some(hit.0.blocked)))?;
    let wait = total.disk_ms();
    let written = total.write_ms >= total.rest_ms;
    let mut finding = Finding::new(
        Problem::DiskIoBound,
        // Shuffle writing has a metric of its own; the rest is known by exclusion only.
        if written { 0.7 } else { 0.45 },
        stage_subject(ctx, worst.stage.key),
        format!(
            "warm tasks of {} were off the CPU for {} of their run time while they moved {} to and from files{}",
            losses.name(),
            words::percent(total.share(wait)),
            words::bytes(total.io_bytes),
            if written {
                ", mostly in writing shuffle data"
            } else {
                "; the log does not prove that they waited for them"
            },
        ),
    );
    finding.evidence = vec![
        Evidence::number("off_cpu_with_files_over_run_time_ratio", total.share(wait), Unit::Ratio)
            .over(ctx.threshold(if written { &WRITE_RATIO } else { &WAIT_RATIO })),
        Evidence::number("shuffle_write_wait_time_ms", total.write_ms, Unit::Ms),
        Evidence::number("off_cpu_without_metric_ms", total.rest_ms, Unit::Ms),
        Evidence::number(
            "file_bytes_over_waited_time_per_second",
            total.io_bytes / (wait / 1_000.0).max(0.001),
            Unit::PerSecond,
        ),
    ];
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "{} of {} of warm run time was off the CPU with files; that share of each stage's time, over {}, each at its share \
         of the clock; an upper bound, as the bytes still have to be moved",
        words::duration(wait),
        words::duration(total.run_ms),
        losses.stage_attempts(),
    ));
    finding.advice = advice(ctx, worst, &total);
    Some(finding)
}

/// What the kernel's trace shows; the event log's guess is not asked then.
fn proven(ctx: &Context<'_>, waited: &Waited<'_>) -> Option<Finding> {
    let what = |who: Option<&str>| {
        who.map_or_else(|| "for a disk".to_owned(), |who| format!("for a disk, most of all through {who}"))
    };
    let mut finding = waited.finding(ctx, Problem::DiskIoBound, &what, &FLOOR, &HALF_A_SECOND)?;
    let stages = blocked::stages(ctx);
    if let Some(worst) = stages.iter().max_by(|a, b| a.blocked.io_bytes.total_cmp(&b.blocked.io_bytes)) {
        finding.advice = advice(ctx, worst, &worst.blocked);
        // What would tell the causes apart is told.
        finding.advice.retain(|advice| !advice.text.starts_with("What tells it apart"));
    }
    if finding.advice.is_empty() {
        finding.advice.push(Advice::text(
            "Read and write less, or give the executors' local directories and their input faster disks; `iostat -x` on the host shows \
             which disk it is.",
        ));
    }
    Some(finding)
}

fn advice(ctx: &Context<'_>, worst: &StageBlocked<'_>, total: &Blocked) -> Vec<Advice> {
    let settings = ctx.settings.for_stage(worst.stage.key);
    let sum = |metric| worst.stage.sum(metric).unwrap_or(0) as f64;
    let kinds = [
        (sum(Metric::InputBytes), "reading input"),
        (sum(Metric::OutputBytes), "writing output"),
        (sum(Metric::ShuffleLocalBytes), "reading shuffle data of the same host"),
        (sum(Metric::ShuffleWriteBytes), "writing shuffle data"),
        (2.0 * sum(Metric::DiskBytesSpilled), "spilling"),
    ];
    let most = kinds.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
    let mut all = Vec::new();
    if let Some((bytes, what)) = most {
        all.push(Advice::text(format!(
            "Most of the bytes are of {what} ({} of stage {}). {}",
            words::bytes(bytes),
            worst.stage.key,
            match what {
                "reading input" => "Read less: fewer columns, partition filters, a compressed columnar format; or from faster storage.",
                "writing output" => "Write less or in a compressed columnar format; look at the storage that is written to.",
                "spilling" => "Mend the spill first (see memory-spill).",
                _ => "Shuffle less (filter and aggregate before), and give the local directories faster disks.",
            },
        )));
    }
    if settings.boolean("spark.shuffle.compress") == Some(false) {
        all.push(set_new(
            Advice::text("Shuffle data is written without compression: compressed it is mostly a third to a half."),
            &settings,
            "spark.shuffle.compress",
            "true",
        ));
    }
    if total.write_ms > 0.0 && settings.set_by_user("spark.local.dir").is_some_and(|dirs| !dirs.contains(',')) {
        all.push(Advice::text(
            "spark.local.dir names one directory: with one on each disk, separated by commas, shuffle data and spills go to all of them.",
        ));
    }
    all.push(Advice::text(
        "What tells it apart from a busy host or a lock: disk utilisation and latency on the hosts at that time (iostat -x: %util, await), \
         or a kernel trace, which shows threads blocked in block I/O.",
    ));
    all
}

#[cfg(test)]
mod tests {
    use emberscope_run::TaskColumn;

    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    const MIB: u64 = 1 << 20;

    /// 16 tasks of 10 s on 4 cores that read 200 MiB each, with `cpu` ms of CPU; they were deserialized in 50 ms, all on the CPU.
    fn reading(cpu: u64) -> RunBuilder {
        reading_after(cpu, 50)
    }

    /// The same with `deserialize` ms of CPU time in the 50 ms.
    fn reading_after(cpu: u64, deserialize: u64) -> RunBuilder {
        run().executor("1", 4).stage(0, |stage| {
            for partition in 0..16 {
                stage
                    .task(partition)
                    .duration_ms(10_000)
                    .metrics(10_000, cpu, 0)
                    .input(200 * MIB, 1_000)
                    .set(TaskColumn::ExecutorDeserializeTime, 50)
                    .set(TaskColumn::ExecutorDeserializeCpuTime, deserialize * 1_000_000);
            }
        })
    }

    #[test]
    fn a_host_without_a_cpu_to_give_is_not_taken_for_a_slow_disk() {
        assert_eq!(check(&RULE, &reading_after(5_000, 15)), []);
    }

    #[test]
    fn without_anything_to_tell_a_busy_host_by_the_rule_is_skipped() {
        let run = reading(5_000).with(|run| {
            for stage in run.stages.values_mut() {
                let mut rows: Vec<_> = stage.tasks.rows().collect();
                stage.tasks = emberscope_run::TaskStore::default();
                for row in &mut rows {
                    row.set(TaskColumn::ExecutorDeserializeTime, 1);
                    stage.tasks.push(row.clone());
                }
            }
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }

    #[test]
    fn tasks_that_wait_while_they_read_are_found_with_modest_confidence() {
        let findings = check(&RULE, &reading(5_000));
        assert_eq!(findings.len(), 1);
        // Half of the stage's 40 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(20_000));
        assert!(findings[0].confidence < 0.5);
        assert!(findings[0].advice[0].text.contains("reading input (3.1 GiB of stage 0.0)"));
    }

    #[test]
    fn writing_shuffle_data_has_a_metric_and_more_confidence() {
        let run = run().executor("1", 4).stage(0, |stage| {
            for partition in 0..16 {
                stage
                    .task(partition)
                    .duration_ms(10_000)
                    .metrics(10_000, 5_000, 0)
                    .set(TaskColumn::ExecutorDeserializeTime, 50)
                    .set(TaskColumn::ExecutorDeserializeCpuTime, 50_000_000)
                    .set(TaskColumn::ShuffleWriteTime, 4_500_000_000)
                    .set(TaskColumn::ShuffleBytesWritten, 200 * MIB);
            }
        });
        let findings = check(&RULE, &run);
        assert!((findings[0].confidence - 0.7).abs() < 1e-9);
    }

    #[test]
    fn tasks_on_the_cpu_for_two_thirds_of_the_time_are_clear() {
        assert_eq!(check(&RULE, &reading(6_600)), []);
    }

    #[test]
    fn where_stages_without_files_wait_as_much_the_host_is_the_cause() {
        let run = reading(5_000).stage(1, |stage| {
            for partition in 0..16 {
                stage.task(partition).duration_ms(10_000).metrics(10_000, 5_000, 0);
            }
        });
        assert_eq!(check(&RULE, &run), []);
    }

    #[test]
    fn garbage_collection_and_fetching_are_not_taken_for_the_disk() {
        let run = run().executor("1", 4).stage(0, |stage| {
            for partition in 0..16 {
                stage
                    .task(partition)
                    .duration_ms(10_000)
                    .metrics(10_000, 5_000, 4_000)
                    .input(200 * MIB, 1_000)
                    .set(TaskColumn::ExecutorDeserializeTime, 50)
                    .set(TaskColumn::ExecutorDeserializeCpuTime, 50_000_000);
            }
        });
        assert_eq!(check(&RULE, &run), []);
    }

    #[test]
    fn old_logs_without_cpu_times_are_skipped() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0).set(TaskColumn::ExecutorRunTime, 100).input(200 * MIB, 1_000);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
