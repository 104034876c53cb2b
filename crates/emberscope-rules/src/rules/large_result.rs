//! Large results are sent to the driver.

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{StageKey, TaskColumn, Unit};

use crate::finding::{Advice, Evidence, Finding, Harm};
use crate::plan::SqlStages;
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::loss::{LEAST, Losses, StageLoss, stage_subject};
use crate::support::tasks;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::LargeResult,
    summary: "A stage sent large results to the driver, which the run waited for or which came near the driver's limit.",
    documentation: include_str!("large_result.md"),
    thresholds: &[MIN_RESULT, LIMIT_SHARE, FLOOR, LEAST],
    explained_by: &[],
    check,
};

const MIN_RESULT: Threshold = Threshold {
    name: "min_result_bytes",
    value: 16_777_216.0,
    unit: Unit::Bytes,
    reason: "results of a stage from which it is looked at; statuses and small collects are a few KiB a task. Set \
             on the training families of datasets/lab (`emberscope calibrate`)",
};
const LIMIT_SHARE: Threshold = Threshold {
    name: "limit_share",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "results of a stage over spark.driver.maxResultSize, at which Spark fails the job: from half of it, twice the data \
             is a failed run",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.015,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that it waited for results; below it only the limit counts",
};

/// A stage with large results.
struct Hit<'a> {
    stage: &'a StageSummary,
    loss: StageLoss,
    bytes: f64,
    waited_ms: f64,
    taken_in_ms: f64,
    serialized_ms: f64,
    limit: Option<f64>,
}

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = match ctx.stages_that_ran(
        |stage| stage.metric(Metric::ResultSize).is_some(),
        "result sizes (no task metrics in this log)",
    ) {
        Ok(ran) => ran,
        Err(skipped) => return skipped,
    };
    let mut hits: Vec<Hit<'_>> = ran.into_iter().filter_map(|stage| look(ctx, stage)).collect();
    if !hits.is_empty() {
        // What comes to the driver to be broadcast is that rule's, but for the limit, which counts it as well.
        let broadcasting = SqlStages::broadcasting(ctx);
        hits.retain(|hit| near_limit(ctx, hit) || !broadcasting.contains(&hit.stage.key));
    }
    Outcome::of(finding(ctx, &hits).into_iter().collect())
}

fn look<'a>(ctx: &Context<'_>, stage: &'a StageSummary) -> Option<Hit<'a>> {
    let bytes = stage.sum(Metric::ResultSize)? as f64;
    if !ctx.reaches(bytes, &MIN_RESULT) {
        return None;
    }
    let waited_ms = waited(ctx, stage.key)?;
    let serialized_ms = stage.sum(Metric::ResultSerializationTime).unwrap_or(0) as f64;
    let spread = stage.slots.map_or(0.0, |slots| serialized_ms / slots as f64);
    let taken_in_ms = taken_in(ctx, stage, bytes);
    let loss = StageLoss::of_span(stage, waited_ms + spread, serialized_ms);
    let limit = ctx.settings.for_stage(stage.key).bytes("spark.driver.maxResultSize").filter(|&limit| limit > 0);
    Some(Hit { stage, loss, bytes, waited_ms, taken_in_ms, serialized_ms, limit: limit.map(|limit| limit as f64) })
}

/// Bytes of results that a driver takes in, in a second: it decompresses and decodes them, and hands them on to Python or to
/// the user's objects. Longer than that the driver is at something else.
/// Set by judgement on runs of datasets/lab.
const TAKEN_IN_PER_SECOND: f64 = 100e6;

/// Time in ms after a stage in which nothing runs but the driver, as far as taking its results in explains it.
fn taken_in(ctx: &Context<'_>, stage: &StageSummary, bytes: f64) -> f64 {
    // After a stage that only prepares the next one the driver takes in nothing.
    if stage.sum(Metric::ShuffleWriteBytes).is_some_and(|bytes| bytes > 0) {
        return 0.0;
    }
    let Some(end) = stage.last_finish else { return 0.0 };
    let others = || ctx.features.stages.values().filter(|other| other.key != stage.key);
    if others().any(|other| other.first_launch.is_some_and(|at| at <= end) && other.last_finish > Some(end)) {
        return 0.0;
    }
    let next = others().filter_map(|other| other.first_launch).filter(|&at| at > end).min();
    let Some(until) = next.or(ctx.run.application.ended_at) else { return 0.0 };
    (until.since(end).0 as f64).min(bytes / TAKEN_IN_PER_SECOND * 1_000.0)
}

/// From when the last task had done its work to when the last result was there, in ms: the time in which the stage did
/// nothing but wait for results.
fn waited(ctx: &Context<'_>, key: StageKey) -> Option<f64> {
    let all = tasks::successful(ctx.run, ctx.run.stages.get(&key)?);
    let fetched = all.iter().map(|task| task.finish).max()?;
    let worked = all.iter().map(|task| match task.row.get(TaskColumn::GettingResultAt) {
        Some(at) if at > 0 => i64::try_from(at).unwrap_or(task.finish).min(task.finish),
        _ => task.finish,
    });
    Some(fetched.saturating_sub(worked.max()?).max(0) as f64)
}

fn near_limit(ctx: &Context<'_>, hit: &Hit<'_>) -> bool {
    hit.limit.is_some_and(|limit| hit.bytes >= ctx.threshold(&LIMIT_SHARE) * limit)
}

fn finding(ctx: &Context<'_>, hits: &[Hit<'_>]) -> Option<Finding> {
    let losses = Losses::of(hits.iter().map(|hit| hit.loss.clone()).collect());
    // The driver takes results in when their stage is over: that is no part of the stage's time.
    let taken_in_ms: f64 = hits.iter().map(|hit| hit.taken_in_ms).sum();
    let lost_ms = losses.wall_ms() + taken_in_ms;
    let costly = !ctx.below_floor(lost_ms, &FLOOR) && ctx.reaches(lost_ms, &LEAST);
    let near = hits.iter().filter(|hit| near_limit(ctx, hit)).max_by(|a, b| a.bytes.total_cmp(&b.bytes));
    if !costly && near.is_none() {
        return None;
    }
    let lost_by = |hit: &Hit<'_>| hit.loss.wall_ms + hit.taken_in_ms;
    let worst = match near {
        Some(near) => near,
        None => hits.iter().max_by(|a, b| lost_by(a).total_cmp(&lost_by(b)).then(b.stage.key.cmp(&a.stage.key)))?,
    };
    let mut finding = Finding::new(
        Problem::LargeResult,
        0.85,
        stage_subject(ctx, worst.stage.key),
        format!(
            "stage {} sent {} of results to the driver{}",
            worst.stage.key,
            words::bytes(worst.bytes),
            match (near.is_some(), worst.limit) {
                (true, Some(limit)) => format!(
                    ", {} of spark.driver.maxResultSize, at which the job fails",
                    words::percent(worst.bytes / limit)
                ),
                _ => format!(
                    ", and the run waited {} until they were there and taken in",
                    words::duration(worst.waited_ms + worst.taken_in_ms)
                ),
            },
        ),
    );
    if near.is_some() {
        finding.harm = Harm::RiskOfFailure;
    }
    finding.evidence = vec![
        Evidence::number(Metric::ResultSize.statistic("sum"), worst.bytes, Unit::Bytes)
            .over(ctx.threshold(&MIN_RESULT)),
        Evidence::number("results_awaited_ms", worst.waited_ms, Unit::Ms),
        Evidence::number("results_taken_in_ms", worst.taken_in_ms, Unit::Ms),
        Evidence::number(Metric::ResultSerializationTime.statistic("sum"), worst.serialized_ms, Unit::Ms),
    ];
    finding
        .evidence
        .extend(worst.limit.map(|limit| Evidence::number("spark.driver.maxResultSize", limit, Unit::Bytes)));
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "stage {}: {} in which only results were fetched, {} in which only the driver worked afterwards, and {} of result \
         serialization over the slots; summed over {}, each at its share of the clock",
        worst.stage.key,
        words::duration(worst.waited_ms),
        words::duration(worst.taken_in_ms),
        words::duration(worst.serialized_ms),
        losses.stage_attempts(),
    ));
    finding.savings.wall_clock_ms = Some(lost_ms.round() as u64);
    finding.advice = advice(ctx, worst, near.is_some());
    Some(finding)
}

fn advice(ctx: &Context<'_>, worst: &Hit<'_>, near: bool) -> Vec<Advice> {
    let name = ctx.stage_called(worst.stage.key);
    let mut all = vec![Advice::text(format!(
        "{} brings {} to the driver, through one process: write the result to storage instead, aggregate or limit it before, or take \
         it in pieces (toLocalIterator).",
        if name.is_empty() { "This stage".to_owned() } else { format!("\"{name}\"") },
        words::bytes(worst.bytes),
    ))];
    if let Some(limit) = worst.limit.filter(|_| near) {
        let wanted = (worst.bytes * 2.0).max(limit * 2.0);
        let settings = ctx.settings.for_stage(worst.stage.key);
        let heap = settings.bytes("spark.driver.memory").unwrap_or(0).max(0) as f64;
        let mut advice = Advice::text(format!(
            "If the driver must have it all: raise the limit to twice the results ({} x 2), and the driver's heap with it, as results \
             are several times as large once deserialized.",
            words::bytes(worst.bytes),
        ))
        .set("spark.driver.maxResultSize", words::spark_memory(wanted));
        if heap > 0.0 && heap < wanted * 3.0 {
            advice = advice.set("spark.driver.memory", words::spark_memory(wanted * 3.0));
        }
        all.push(advice);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, START, check, outcome, run};

    const MIB: u64 = 1 << 20;

    /// 8 tasks of 10 s on 8 cores that send `mib` MiB each; the driver fetches from second `at` on.
    fn collecting(mib: u64, at: u64) -> RunBuilder {
        run().executor("1", 8).stage(0, |stage| {
            for partition in 0..8 {
                stage
                    .task(partition)
                    .duration_ms(10_000)
                    .metrics(at * 1_000, at * 1_000, 0)
                    .set(TaskColumn::ResultSize, mib * MIB)
                    .set(TaskColumn::GettingResultAt, START as u64 + at * 1_000);
            }
        })
    }

    #[test]
    fn a_stage_that_waits_for_its_results_is_found() {
        let findings = check(&RULE, &collecting(10, 6));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].savings.wall_clock_ms, Some(4_000));
        assert_eq!(findings[0].harm, Harm::None);
        assert!(findings[0].advice.iter().all(|advice| advice.config.is_empty()));
    }

    #[test]
    fn results_near_the_limit_are_a_risk_even_when_they_are_quick() {
        // 8 x 80 = 640 MiB of the default 1 GiB.
        let findings = check(&RULE, &collecting(80, 10));
        assert_eq!(findings[0].harm, Harm::RiskOfFailure);
        assert!(findings[0].summary.contains("62 % of spark.driver.maxResultSize"), "{}", findings[0].summary);
        assert_eq!(findings[0].advice[1].config["spark.driver.maxResultSize"], "2g");
        assert_eq!(findings[0].advice[1].config["spark.driver.memory"], "6g");
    }

    #[test]
    fn without_a_limit_or_below_half_of_it_quick_results_are_clear() {
        assert_eq!(check(&RULE, &collecting(80, 10).set("spark.driver.maxResultSize", "0")), []);
        assert_eq!(check(&RULE, &collecting(63, 10)), []);
    }

    #[test]
    fn small_results_are_clear_however_long_they_took() {
        assert_eq!(check(&RULE, &collecting(1, 6)), []);
    }

    #[test]
    fn without_task_metrics_the_rule_says_so() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
