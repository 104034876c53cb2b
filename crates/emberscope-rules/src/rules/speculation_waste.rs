//! Speculative copies do work that is thrown away.

use emberscope_run::{StageKey, TaskColumn, TaskStatus, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::SpeculationWaste,
    summary: "Speculative copies of tasks were started and mostly lost against the original.",
    documentation: include_str!("speculation_waste.md"),
    thresholds: &[FLOOR, WON_SHARE, MIN_COPIES],
    explained_by: &[],
    check,
};

const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.03,
    unit: Unit::Ratio,
    reason: "share of the run's task time spent in copies that were thrown away (they cost cores first, \
             wall-clock time only where tasks waited for them). Set by judgement, not contradicted by the \
             training families of datasets/lab (`emberscope calibrate`)",
};
const WON_SHARE: Threshold = Threshold {
    name: "won_share",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "share of copies that won below which speculation guesses wrong more often than right. Set by judgement",
};

const MIN_COPIES: Threshold = Threshold {
    name: "min_copies",
    value: 3.0,
    unit: Unit::Count,
    reason: "copies that were started: one that lost proves nothing about the settings. Set by judgement",
};

#[derive(Default)]
struct Copies {
    won: u64,
    lost: u64,
    lost_ms: u64,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if ctx.features.application.tasks.ended == 0 {
        return Outcome::missing("ended tasks");
    }
    let mut all = Copies::default();
    let mut wall = 0.0;
    let mut stages: Vec<(u64, StageKey)> = Vec::new();
    for (key, stage) in ctx.features.stages.iter().filter(|(_, stage)| stage.tasks.speculative > 0) {
        let Some(attempt) = ctx.run.stages.get(key) else { continue };
        let mut own = Copies::default();
        for row in attempt.tasks.rows().filter(|row| row.get(TaskColumn::Speculative) == Some(1)) {
            match row.status() {
                Some(TaskStatus::Success) => own.won += 1,
                Some(TaskStatus::Killed) => {
                    own.lost += 1;
                    own.lost_ms = own.lost_ms.saturating_add(row.duration_ms().unwrap_or(0));
                }
                _ => {}
            }
        }
        if let Some(slots) = stage.slots {
            wall += stage.wall_clock_saving(own.lost_ms as f64 / slots as f64);
        }
        if own.lost > 0 {
            stages.push((own.lost_ms, *key));
        }
        all.won += own.won;
        all.lost += own.lost;
        all.lost_ms = all.lost_ms.saturating_add(own.lost_ms);
    }
    let copies = all.won + all.lost;
    let task_ms = ctx.features.timeline.task_ms.max(1);
    let share = all.lost_ms as f64 / task_ms as f64;
    if !ctx.reaches(copies as f64, &MIN_COPIES)
        || !ctx.reaches(share, &FLOOR)
        || all.won as f64 / copies as f64 >= ctx.threshold(&WON_SHARE)
    {
        return Outcome::Clear;
    }
    stages.sort_by_key(|&(ms, key)| (std::cmp::Reverse(ms), key));
    Outcome::Found(vec![finding(ctx, &all, share, wall, &stages)])
}

fn finding(ctx: &Context<'_>, copies: &Copies, share: f64, wall: f64, stages: &[(u64, StageKey)]) -> Finding {
    let total = copies.won + copies.lost;
    let mut finding = Finding::new(
        Problem::SpeculationWaste,
        0.9,
        Subject::run(),
        format!(
            "{} of {} speculative copies were killed because the original was faster: {} of task time, {} of the run's",
            copies.lost,
            total,
            words::duration(copies.lost_ms as f64),
            words::percent(share)
        ),
    );
    finding.more_subjects = stages.iter().take(10).map(|&(_, key)| ctx.stage_subject(key)).collect();
    finding.evidence = vec![
        Evidence::number("speculative_copies_count", total as f64, Unit::Count),
        Evidence::number("speculative_copies_killed_count", copies.lost as f64, Unit::Count),
        Evidence::number("speculative_copies_killed_ms", copies.lost_ms as f64, Unit::Ms)
            .over(ctx.threshold(&FLOOR) * ctx.features.timeline.task_ms as f64),
    ];
    finding.savings = Savings {
        wall_clock_ms: Some(wall.round() as u64),
        core_ms: Some(copies.lost_ms),
        how: format!(
            "killed copies worked {}; spread over the slots of their stages that is at most {} of the run, less where slots were \
             free anyway",
            words::duration(copies.lost_ms as f64),
            words::duration(wall)
        ),
    };
    let multiplier = ctx.settings.number("spark.speculation.multiplier").unwrap_or(1.5);
    let quantile = ctx.settings.number("spark.speculation.quantile").unwrap_or(0.75);
    let new = (multiplier * 2.0).max(3.0);
    let mut advice = Advice::text(format!(
        "Copies are started when {} of a stage's tasks are done and a task runs {multiplier} times their median: too eager for these \
         stages, whose tasks differ by their data. Wait for {new} times the median and for 90 % of the tasks (the defaults of \
         Spark 4 are 3 and 90 %).",
        words::percent(quantile)
    ))
    .set("spark.speculation.multiplier", format!("{new}"));
    if quantile < 0.9 {
        advice = advice.set("spark.speculation.quantile", "0.9");
    }
    finding.advice = vec![advice];
    if ctx.features.stages.values().all(|stage| stage.hosts <= 1) {
        finding.advice.push(
            Advice::text("All tasks ran on one host, where a copy is as slow as the original: speculation has nothing to gain there.")
                .set("spark.speculation", "false"),
        );
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};
    use crate::testing_failures::Fail;

    /// 20 tasks of 10 s, and `lost` copies killed after 5 s and `won` copies that succeeded after 5 s.
    fn copies(lost: u64, won: u64) -> RunBuilder {
        run().set("spark.speculation", "true").executor("1", 4).executor("2", 4).stage(0, |stage| {
            for partition in 0..20 {
                stage.task(partition).duration_ms(10_000);
            }
            for partition in 0..lost {
                stage.task(partition).duration_ms(5_000).killed().set(TaskColumn::Speculative, 1);
            }
            for partition in 0..won {
                stage.task(partition).duration_ms(5_000).set(TaskColumn::Speculative, 1);
            }
        })
    }

    #[test]
    fn copies_that_mostly_lose_are_waste() {
        let findings = check(&RULE, &copies(8, 1));
        // 8 x 5 s are 40 s of the 245 s of task time, 16 %; over 8 slots 5 s.
        assert_eq!((findings[0].savings.core_ms, findings[0].savings.wall_clock_ms), (Some(40_000), Some(5_000)));
        // Spark 3.5: 1.5 times, 75 %.
        assert_eq!(findings[0].advice[0].config["spark.speculation.multiplier"], "3");
        assert_eq!(findings[0].advice[0].config["spark.speculation.quantile"], "0.9");
    }

    #[test]
    fn copies_that_win_half_of_the_time_are_not() {
        assert_eq!(check(&RULE, &copies(8, 8)), []);
    }

    #[test]
    fn a_copy_or_two_cost_nothing() {
        // With one winner and a stage of 200 s besides, 2 x 5 s are 10 s of 415 s, 2.4 %; 3 x 5 s alone are 15 of 220, 6.8 %.
        let besides = copies(2, 1).stage(1, |stage| {
            (0..20).for_each(|partition| {
                stage.task(partition).duration_ms(10_000);
            });
        });
        assert_eq!(check(&RULE, &besides), []);
        assert_eq!(check(&RULE, &copies(3, 1)).len(), 1);
        // One copy alone proves nothing however long it worked.
        let one = run().executor("1", 4).stage(0, |stage| {
            stage.task(0).duration_ms(50_000);
            stage.task(0).duration_ms(40_000).killed().set(TaskColumn::Speculative, 1);
        });
        assert_eq!(check(&RULE, &one), []);
    }

    #[test]
    fn a_run_without_ended_tasks_is_skipped() {
        assert!(matches!(outcome(&RULE, &run()), Outcome::Skipped { .. }));
    }
}
