//! Executors come and go faster than they do work.

use emberscope_extract::features::ExecutorSummary;
use emberscope_run::{Executor, Unit};

use crate::deployment;
use crate::failures::{self, Departure};
use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::gaps;
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::ExecutorChurn,
    summary: "Dynamic allocation gave executors back and asked for new ones again and again.",
    documentation: include_str!("executor_churn.md"),
    thresholds: &[MIN_RETURNED, WORKED_SHARE, FLOOR],
    explained_by: &[],
    check,
};

const MIN_RETURNED: Threshold = Threshold {
    name: "min_returned",
    value: 2.0,
    unit: Unit::Count,
    reason: "executors that were given back and replaced later: one may be chance. Set on the training families \
             of datasets/lab (`emberscope calibrate`)",
};
const WORKED_SHARE: Threshold = Threshold {
    name: "worked_share",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "core time used over held of an executor below which it hardly worked in its life. Set by judgement, \
             not contradicted by the training families of datasets/lab (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent waiting for executors to come again, or of its core time \
             held by short-lived executors without work. Set by judgement, not contradicted by the training \
             families of datasets/lab (`emberscope calibrate`)",
};

fn check(ctx: &Context<'_>) -> Outcome {
    if deployment::is_local(ctx.run) {
        return Outcome::Clear;
    }
    if ctx.run.worker_executors().all(|executor| executor.added_at.is_none()) {
        return Outcome::missing("when executors came and went");
    }
    let returned: Vec<&Executor> = ctx.run.worker_executors().filter(|executor| was_replaced(ctx, executor)).collect();
    let idle: Vec<&Executor> = returned
        .iter()
        .copied()
        .filter(|executor| {
            let summary = ctx.features.executors.get(&executor.id);
            summary.and_then(ExecutorSummary::utilisation).is_some_and(|used| used < ctx.threshold(&WORKED_SHARE))
        })
        .collect();
    if (idle.len() as f64) < ctx.threshold(&MIN_RETURNED) {
        return Outcome::Clear;
    }
    let waited = gaps::gaps(ctx, 1_000.0).no_executor_ms as f64;
    let held_idle: u64 = idle
        .iter()
        .filter_map(|executor| ctx.features.executors.get(&executor.id))
        .map(|summary| summary.core_ms.unwrap_or(0).saturating_sub(summary.task_ms))
        .fold(0, u64::saturating_add);
    let held = ctx.features.application.core_ms_held.unwrap_or(0).max(1);
    let core_share = held_idle as f64 / held as f64;
    if ctx.below_floor(waited, &FLOOR) && !ctx.reaches(core_share, &FLOOR) {
        return Outcome::Clear;
    }
    Outcome::Found(vec![finding(ctx, &idle, returned.len(), waited, held_idle)])
}

/// Whether an executor was given back on purpose, not at the end, and another came after it went.
fn was_replaced(ctx: &Context<'_>, executor: &Executor) -> bool {
    let (Some(removed), Some(reason)) = (executor.removed_at, executor.removed_reason.as_deref()) else { return false };
    failures::departure(reason) == Departure::Intended
        && !failures::went_at_the_end(ctx.run, executor.removed_at)
        && ctx.run.worker_executors().any(|other| other.added_at.is_some_and(|added| added > removed))
}

fn finding(ctx: &Context<'_>, idle: &[&Executor], returned: usize, waited: f64, held_idle: u64) -> Finding {
    let total = ctx.run.worker_executors().count();
    let mut lives: Vec<u64> =
        idle.iter().filter_map(|executor| ctx.features.executors.get(&executor.id)?.lifetime_ms).collect();
    lives.sort_unstable();
    let life = lives.get(lives.len() / 2).copied().unwrap_or(0);
    let waiting = if waited > 0.0 {
        format!("; the run waited {} for executors to come again", words::duration(waited))
    } else {
        String::new()
    };
    let mut finding = Finding::new(
        Problem::ExecutorChurn,
        0.75,
        Subject::run(),
        format!(
            "{} of {total} executors were given back after {} (median) in which they hardly worked, and others were asked for \
             afterwards{waiting}",
            idle.len(),
            words::duration(life as f64)
        ),
    );
    finding.more_subjects = idle.iter().take(20).map(|executor| Subject::executor(&executor.id)).collect();
    finding.evidence = vec![
        Evidence::number("executors_given_back_count", returned as f64, Unit::Count),
        Evidence::number("executors_hardly_used_count", idle.len() as f64, Unit::Count),
        Evidence::number("executor_lifetime_p50_ms", life as f64, Unit::Ms),
        Evidence::number("waited_for_executors_ms", waited, Unit::Ms),
    ];
    finding.savings = Savings {
        wall_clock_ms: Some(waited.round() as u64),
        core_ms: Some(held_idle),
        how: format!(
            "{} in which a stage was ready and no executor was there; the executors that were given back held {} of core time \
             without a task",
            words::duration(waited),
            words::duration(held_idle as f64)
        ),
    };
    finding.advice = advice(ctx);
    finding
}

/// Times without tasks that are longer than this are worth giving executors back for. Set by judgement.
const LONGEST_WORTH_BRIDGING_MS: i64 = 600_000;

fn advice(ctx: &Context<'_>) -> Vec<Advice> {
    let timeout = ctx.settings.time_ms("spark.dynamicAllocation.executorIdleTimeout").unwrap_or(60_000);
    let least = ctx.settings.integer("spark.dynamicAllocation.minExecutors").unwrap_or(0);
    let mut all = Vec::new();
    let typical = typical_executors(ctx);
    if typical as i64 > least {
        all.push(
            Advice::text(format!(
                "Keep {typical} executors: on average over the run as many were at work, so that they are not asked for again each time."
            ))
            .set("spark.dynamicAllocation.minExecutors", typical.to_string()),
        );
    }
    let gap = ctx.features.timeline.inner_gaps().map(emberscope_extract::features::Gap::ms).max().unwrap_or(0) as i64;
    if gap > timeout && gap <= LONGEST_WORTH_BRIDGING_MS {
        let seconds = (gap as f64 * 1.2 / 1_000.0).ceil();
        all.push(
            Advice::text(format!(
                "Or keep idle executors longer than the longest time without tasks, {}: x 1.2 is {seconds:.0} s; the timeout is {} now.",
                words::duration(gap as f64),
                words::duration(timeout as f64)
            ))
            .set("spark.dynamicAllocation.executorIdleTimeout", format!("{seconds:.0}s")),
        );
    }
    if all.is_empty() {
        all.push(Advice::text(
            "Executors came faster than work: a slower ramp (spark.dynamicAllocation.schedulerBacklogTimeout) or a lower \
             spark.dynamicAllocation.executorAllocationRatio asks for fewer at a time.",
        ));
    }
    all
}

/// Executors that the work of the run would have filled, on average over its wall-clock time, at least one.
fn typical_executors(ctx: &Context<'_>) -> u64 {
    let cores = deployment::cores_per_executor(ctx.run).unwrap_or(1) as f64;
    let wall = ctx.wall_clock_ms().unwrap_or(1.0);
    ((ctx.features.application.core_ms_used as f64 / wall / cores).ceil() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, START, check, outcome, run};
    use emberscope_run::Timestamp;

    /// `n` rounds of 100 s: an executor of 2 cores comes 10 s into it, works 10 s on two tasks, idles 60 s and is given back.
    fn rounds(n: i64) -> RunBuilder {
        let mut builder = run().set("spark.master", "yarn").set("spark.dynamicAllocation.enabled", "true");
        for round in 0..n {
            let (id, start) = ((round + 1).to_string(), round * 100_000);
            builder = builder.executor_at(&id, 2, start + 10_000);
            builder.now = start + 10_000;
            let on = id.clone();
            builder = builder
                .stage(round as u64, move |stage| {
                    for partition in 0..2 {
                        stage.task(partition).duration_ms(10_000).on(&on);
                    }
                    stage.with(move |stage| stage.submitted_at = Some(Timestamp(START + start)));
                })
                .removed(&id, start + 80_000, "Executor idle timeout");
        }
        builder.idle(80_000)
    }

    #[test]
    fn executors_that_are_given_back_before_every_stage_are_churn() {
        let findings = check(&RULE, &rounds(6));
        assert_eq!(findings.len(), 1);
        // The last of six has no successor. Five waits of 10 s between the rounds; each of the five held 2 cores for 70 s
        // and used 20 core seconds.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(50_000));
        assert_eq!(findings[0].savings.core_ms, Some(5 * 120_000));
        assert_eq!(findings[0].advice[0].config["spark.dynamicAllocation.minExecutors"], "1");
        // The longest time without tasks is 90 s: x 1.2 = 108 s.
        assert_eq!(findings[0].advice[1].config["spark.dynamicAllocation.executorIdleTimeout"], "108s");
    }

    #[test]
    fn a_few_replacements_are_what_dynamic_allocation_is_for() {
        // Of two executors one was replaced, of three two.
        assert_eq!(check(&RULE, &rounds(2)), []);
        assert_eq!(check(&RULE, &rounds(3)).len(), 1);
    }

    #[test]
    fn without_times_of_executors_the_rule_is_skipped() {
        assert!(matches!(outcome(&RULE, &run().set("spark.master", "yarn")), Outcome::Skipped { .. }));
    }
}
