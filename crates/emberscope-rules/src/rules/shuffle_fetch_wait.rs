//! Tasks wait for remote shuffle blocks.

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::Unit;

use crate::finding::{Advice, Evidence, Finding};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::loss::{Losses, StageLoss, stage_subject};
use crate::support::partitioning::set_new;
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::ShuffleFetchWait,
    summary: "Tasks were blocked on shuffle blocks of other executors for a large part of their run time.",
    documentation: include_str!("shuffle_fetch_wait.md"),
    thresholds: &[WAIT_RATIO, SMALL_BLOCK, FLOOR, LEAST],
    explained_by: &[Problem::SlowExecutor, Problem::GcPressure],
    check,
};

const WAIT_RATIO: Threshold = Threshold {
    name: "wait_ratio",
    value: 0.04,
    unit: Unit::Ratio,
    reason: "fetch wait over run time of a stage attempt; a pipelined fetch should hide nearly all of it. Set on \
             the training families of datasets/lab (`emberscope calibrate`)",
};
const SMALL_BLOCK: Threshold = Threshold {
    name: "small_block_bytes",
    value: 65_536.0,
    unit: Unit::Bytes,
    reason: "mean size of a remote block below which the number of requests counts and not the bytes: a disk seek of 10 ms \
             reads about as much as 1 MiB in sequence, a network round trip about 64 KiB. Set by judgement",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.015,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent waiting; below it nobody gains by mending",
};
const LEAST: Threshold = Threshold {
    name: "floor_ms",
    value: 350.0,
    unit: Unit::Ms,
    reason: "the first connections between executors take some hundred ms in every run",
};

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = match ctx.stages_that_ran(
        |stage| stage.metric(Metric::ExecutorRunTime).is_some(),
        "task run times (no task metrics in this log)",
    ) {
        Ok(ran) => ran,
        Err(skipped) => return skipped,
    };
    let reads = |stage: &&&StageSummary| stage.sum(Metric::ShuffleReadBytes).is_some_and(|bytes| bytes > 0);
    if ran.iter().filter(reads).count() > 0
        && ran.iter().filter(reads).all(|stage| stage.metric(Metric::ShuffleFetchWaitTime).is_none())
    {
        return Outcome::missing("shuffle fetch wait times");
    }
    let hits: Vec<(&StageSummary, StageLoss)> =
        ran.into_iter().filter_map(|stage| Some((stage, look(ctx, stage)?))).collect();
    Outcome::of(finding(ctx, &hits).into_iter().collect())
}

fn look(ctx: &Context<'_>, stage: &StageSummary) -> Option<StageLoss> {
    if !ctx.reaches(stage.share(Metric::ShuffleFetchWaitTime, Metric::ExecutorRunTime)?, &WAIT_RATIO) {
        return None;
    }
    StageLoss::of_task_time(stage, stage.sum(Metric::ShuffleFetchWaitTime)? as f64)
}

fn finding(ctx: &Context<'_>, hits: &[(&StageSummary, StageLoss)]) -> Option<Finding> {
    let losses = Losses::of(hits.iter().map(|hit| hit.1.clone()).collect());
    if losses.negligible(ctx, &FLOOR, &LEAST) {
        return None;
    }
    let stage = hits.iter().find(|hit| Some(hit.0.key) == losses.worst())?.0;
    let sum = |metric| total(hits.iter().filter_map(|hit| hit.0.sum(metric))) as f64;
    let (wait, run) = (sum(Metric::ShuffleFetchWaitTime), sum(Metric::ExecutorRunTime));
    let (remote, blocks) = (sum(Metric::ShuffleRemoteBytes), sum(Metric::ShuffleRemoteBlocks));
    let ratio = wait / run.max(1.0);
    let mut finding = Finding::new(
        Problem::ShuffleFetchWait,
        (0.7 + 0.5 * (ratio - 0.2)).clamp(0.7, 0.95),
        stage_subject(ctx, stage.key),
        format!(
            "tasks of {} waited {} of their run time for {} of shuffle blocks from other executors",
            losses.name(),
            words::percent(ratio),
            words::bytes(remote),
        ),
    );
    finding.evidence = vec![
        Evidence::number("shuffle_fetch_wait_over_run_time_ratio", ratio, Unit::Ratio).over(ctx.threshold(&WAIT_RATIO)),
        Evidence::number(Metric::ShuffleFetchWaitTime.statistic("sum"), wait, Unit::Ms),
        Evidence::number(Metric::ShuffleRemoteBytes.statistic("sum"), remote, Unit::Bytes),
    ];
    if blocks > 0.0 {
        finding.evidence.push(Evidence::number("shuffle_remote_block_mean_bytes", remote / blocks, Unit::Bytes));
    }
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "{} of {} of run time was waiting, over the slots of {}, each at its share of the clock; an upper bound, as \
         the bytes still have to come",
        words::duration(wait),
        words::duration(run),
        losses.stage_attempts(),
    ));
    finding.advice = advice(ctx, stage, remote, blocks, wait);
    Some(finding)
}

fn advice(ctx: &Context<'_>, stage: &StageSummary, remote: f64, blocks: f64, wait: f64) -> Vec<Advice> {
    let settings = ctx.settings.for_stage(stage.key);
    let mean = if blocks > 0.0 { remote / blocks } else { f64::INFINITY };
    let mut all = Vec::new();
    if mean < ctx.threshold(&SMALL_BLOCK) {
        all.push(Advice::text(format!(
            "The blocks are small: {} / {} blocks = {}. A shuffle has map tasks x reduce tasks blocks, so halving both makes blocks \
             four times as large: fewer partitions before and after this shuffle.",
            words::bytes(remote),
            words::count(blocks as u64),
            words::bytes(mean),
        )));
        if settings.boolean("spark.shuffle.service.enabled") == Some(true)
            && settings.boolean("spark.shuffle.push.enabled") == Some(false)
            && settings.set_by_user("spark.master").is_some_and(|master| master.starts_with("yarn"))
        {
            all.push(
                Advice::text("Push-based shuffle merges small blocks on YARN's external shuffle service before they are fetched.")
                    .set("spark.shuffle.push.enabled", "true"),
            );
        }
    } else {
        all.push(Advice::text(format!(
            "{} came in {} of waiting, {}/s for each waiting task. Move less: filter and project before the shuffle, aggregate \
             before it, broadcast a small side of a join.",
            words::bytes(remote),
            words::duration(wait),
            words::bytes(remote / (wait / 1_000.0).max(0.001)),
        )));
        if let Some(flight) =
            settings.bytes("spark.reducer.maxSizeInFlight").filter(|&bytes| bytes > 0 && bytes < 96 << 20)
            // A task that fetches less has all of it in flight already.
            && stage.quantiles(Metric::ShuffleRemoteBytes).is_none_or(|bytes| bytes.max > flight.unsigned_abs())
        {
            let doubled = words::spark_memory(flight as f64 * 2.0);
            let advice = Advice::text(format!(
                "Let each task ask for more at once ({} instead of {}, of its executor's memory): this helps when the round trip is \
                 the limit and not the bandwidth.",
                words::bytes(flight as f64 * 2.0),
                words::bytes(flight as f64),
            ));
            all.push(set_new(advice, &settings, "spark.reducer.maxSizeInFlight", &doubled));
        }
    }
    let mut apart = "What tells the causes apart: garbage collection on the executors that serve blocks (they answer nothing while \
                     they collect), network throughput of the hosts near the card's limit, or busy disks where the blocks lie."
        .to_owned();
    if settings.boolean("spark.shuffle.service.enabled") == Some(false) {
        apart.push_str(
            " If the serving executors collect or are busy, the external shuffle service takes the serving from them.",
        );
    }
    all.push(Advice::text(apart));
    all
}

#[cfg(test)]
mod tests {
    use emberscope_run::TaskColumn;

    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// 16 tasks of 10 s on 4 cores that wait `wait` ms for 1,000 blocks of `block` bytes each.
    fn waiting(wait: u64, block: u64) -> RunBuilder {
        run().executor("1", 4).stage(0, |stage| {
            for partition in 0..16 {
                stage
                    .task(partition)
                    .duration_ms(10_000)
                    .metrics(10_000, 5_000, 0)
                    .set(TaskColumn::ShuffleFetchWaitTime, wait)
                    .set(TaskColumn::ShuffleRemoteBlocksFetched, 1_000)
                    .set(TaskColumn::ShuffleLocalBytesRead, 0)
                    .set(TaskColumn::ShuffleRemoteBytesRead, 1_000 * block);
            }
        })
    }

    #[test]
    fn waiting_for_a_third_of_the_time_is_found() {
        let findings = check(&RULE, &waiting(3_000, 1 << 20));
        assert_eq!(findings.len(), 1);
        // 30 % of the stage's 40 s; 16 x 3 s of core time.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(12_000));
        assert_eq!(findings[0].savings.core_ms, Some(48_000));
        assert_eq!(findings[0].advice[1].config.get("spark.reducer.maxSizeInFlight").map(String::as_str), Some("96m"));
    }

    #[test]
    fn small_blocks_call_for_fewer_partitions() {
        let findings = check(&RULE, &waiting(3_000, 10_000));
        assert!(findings[0].advice[0].text.contains("16,000 blocks = 9.8 KiB"), "{}", findings[0].advice[0].text);
    }

    #[test]
    fn just_under_four_percent_is_clear() {
        assert_eq!(check(&RULE, &waiting(399, 1 << 20)), []);
        assert_eq!(check(&RULE, &waiting(400, 1 << 20)).len(), 1);
    }

    #[test]
    fn without_task_metrics_the_rule_says_so() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
