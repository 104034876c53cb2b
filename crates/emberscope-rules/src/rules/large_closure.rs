//! A big object is sent with every task.

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{TaskColumn, Unit};

use crate::finding::{Advice, Evidence, Finding};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::loss::{LEAST, Losses, StageLoss, stage_subject};
use crate::support::tasks;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::LargeClosure,
    summary: "Warm tasks spent a large part of their time on deserializing themselves: something big travels with each.",
    documentation: include_str!("large_closure.md"),
    thresholds: &[MIN_DESERIALIZE, DESERIALIZE_RATIO, CPU_RATIO, FLOOR, LEAST],
    explained_by: &[],
    check,
};

const MIN_DESERIALIZE: Threshold = Threshold {
    name: "min_deserialize_ms",
    value: 20.0,
    unit: Unit::Ms,
    reason: "median deserialize time of warm tasks; of an ordinary closure it is 1 to 10 ms. Set on the training \
             families of datasets/lab (`emberscope calibrate`)",
};
const DESERIALIZE_RATIO: Threshold = Threshold {
    name: "deserialize_ratio",
    value: 0.2,
    unit: Unit::Ratio,
    reason: "median deserialize time over median duration of warm tasks. Set by judgement, not contradicted by \
             the training families of datasets/lab (`emberscope calibrate`)",
};
const CPU_RATIO: Threshold = Threshold {
    name: "deserialize_cpu_ratio",
    value: 0.25,
    unit: Unit::Ratio,
    reason: "CPU time over deserialize time, where the log has it: below it the task waited for jars, broadcast \
             blocks or a CPU rather than deserialized. Set by judgement, not contradicted by the training \
             families of datasets/lab (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.015,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent on it; below it nobody gains by mending",
};

/// A stage with a large closure.
struct Hit<'a> {
    stage: &'a StageSummary,
    loss: StageLoss,
    deserialize_ms: f64,
    duration_ms: f64,
    cpu_ratio: Option<f64>,
}

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = match ctx.stages_that_ran(
        |stage| stage.metric(Metric::ExecutorDeserializeTime).is_some(),
        "deserialize times (no task metrics in this log)",
    ) {
        Ok(ran) => ran,
        Err(skipped) => return skipped,
    };
    let hits: Vec<Hit<'_>> = ran.into_iter().filter_map(|stage| look(ctx, stage)).collect();
    Outcome::of(finding(ctx, &hits).into_iter().collect())
}

fn look<'a>(ctx: &Context<'_>, stage: &'a StageSummary) -> Option<Hit<'a>> {
    if !ctx.reaches(stage.quantiles(Metric::ExecutorDeserializeTime)?.p95 as f64, &MIN_DESERIALIZE)
        || stage.warm_duration.is_none()
    {
        return None;
    }
    let warm = tasks::warm(ctx, stage.key);
    let deserialize_ms =
        tasks::median(warm.iter().filter_map(|task| task.number(TaskColumn::ExecutorDeserializeTime)))?;
    let duration_ms = tasks::median(warm.iter().map(tasks::Task::duration))?;
    if !(deserialize_ms >= ctx.threshold(&MIN_DESERIALIZE)
        && deserialize_ms >= ctx.threshold(&DESERIALIZE_RATIO) * duration_ms)
    {
        return None;
    }
    let cpu_ms =
        tasks::median(warm.iter().filter_map(|task| Some(task.number(TaskColumn::ExecutorDeserializeCpuTime)? / 1e6)));
    let cpu_ratio = cpu_ms.map(|cpu| cpu / deserialize_ms);
    if cpu_ratio.is_some_and(|ratio| ratio < ctx.threshold(&CPU_RATIO)) {
        return None;
    }
    let loss = StageLoss::of_task_time(stage, deserialize_ms * stage.tasks.succeeded as f64)?;
    Some(Hit { stage, loss, deserialize_ms, duration_ms, cpu_ratio })
}

fn finding(ctx: &Context<'_>, hits: &[Hit<'_>]) -> Option<Finding> {
    let losses = Losses::of(hits.iter().map(|hit| hit.loss.clone()).collect());
    if losses.negligible(ctx, &FLOOR, &LEAST) {
        return None;
    }
    let worst = hits.iter().find(|hit| Some(hit.stage.key) == losses.worst())?;
    let mut finding = Finding::new(
        Problem::LargeClosure,
        if worst.cpu_ratio.is_some() { 0.75 } else { 0.55 },
        stage_subject(ctx, worst.stage.key),
        format!(
            "the median warm task of {} spent {} of its {} on deserializing itself, which a small closure does in a few ms",
            losses.name(),
            words::duration(worst.deserialize_ms),
            words::duration(worst.duration_ms),
        ),
    );
    finding.evidence = vec![
        Evidence::number("warm_executor_deserialize_time_p50_ms", worst.deserialize_ms, Unit::Ms)
            .over(ctx.threshold(&MIN_DESERIALIZE)),
        Evidence::number("warm_task_duration_p50_ms", worst.duration_ms, Unit::Ms),
    ];
    finding.evidence.extend(
        worst
            .cpu_ratio
            .map(|ratio| Evidence::number("deserialize_cpu_over_deserialize_time_ratio", ratio, Unit::Ratio)),
    );
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "{} tasks of stage {} x {}, over its slots; summed over {}, each at its share of the clock",
        words::count(worst.stage.tasks.succeeded),
        worst.stage.key,
        words::duration(worst.deserialize_ms),
        losses.stage_attempts(),
    ));
    let sql = ctx.run.stages.get(&worst.stage.key).is_some_and(|attempt| attempt.sql_execution_id.is_some());
    finding.advice.push(Advice::text(format!(
        "Look at what the functions of {} capture: a collection or a model of the driver, or the object whose method is passed \
         (this and all its fields). Make it a broadcast variable, which each executor gets once instead of each task, or build it \
         inside mapPartitions.",
        words_of_stage(ctx, worst.stage),
    )));
    if sql {
        finding.advice.push(Advice::text(
            "In a SQL plan the large thing is a long list in IN (...), thousands of columns or expressions, or a dataset made from a \
             collection of the driver: join with a table instead, or write the plan's middle to storage and read it again.",
        ));
    }
    finding.advice.push(Advice::text(
        "To be sure: the driver's log says \"task of very large size\" with the stage and its KiB, and the size of the task's broadcast.",
    ));
    Some(finding)
}

fn words_of_stage(ctx: &Context<'_>, stage: &StageSummary) -> String {
    match ctx.stage_called(stage.key) {
        name if name.is_empty() => format!("stage {}", stage.key),
        name => format!("\"{name}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// 64 tasks of 500 ms on 4 cores that deserialize for `ms`, `cpu` ms of it on the CPU; the first four for 400 ms.
    fn closure(ms: u64, cpu: u64) -> RunBuilder {
        run().executor("1", 4).stage(0, |stage| {
            for partition in 0..64 {
                let ms = if partition < 4 { 400 } else { ms };
                stage
                    .task(partition)
                    .duration_ms(500)
                    .metrics(500 - ms, 500 - ms, 0)
                    .set(TaskColumn::ExecutorDeserializeTime, ms)
                    .set(TaskColumn::ExecutorDeserializeCpuTime, cpu * 1_000_000);
            }
        })
    }

    #[test]
    fn two_fifths_of_the_time_in_deserialization_are_found() {
        let findings = check(&RULE, &closure(200, 180));
        assert_eq!(findings.len(), 1);
        // 64 x 200 ms = 12.8 s of 32 s of task time, of a stage of 8 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(3_200));
    }

    #[test]
    fn deserializing_without_using_the_cpu_is_waiting() {
        assert_eq!(check(&RULE, &closure(200, 49)), []);
    }

    #[test]
    fn just_below_the_thresholds_or_in_the_first_wave_only_it_is_clear() {
        assert_eq!(check(&RULE, &closure(49, 49)), []);
        assert_eq!(check(&RULE, &closure(99, 99)), []);
        assert_eq!(check(&RULE, &closure(2, 2)), []);
    }

    #[test]
    fn without_task_metrics_the_rule_says_so() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
