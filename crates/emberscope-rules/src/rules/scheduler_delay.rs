//! The time from launch to run is long.

use std::collections::BTreeMap;

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{TaskColumn, Unit};

use crate::deployment::is_local;
use crate::finding::{Advice, Evidence, Finding};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::loss::{LEAST, Losses, StageLoss, stage_subject};
use crate::support::tasks::{self, Task};
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::SchedulerDelay,
    summary: "Warm tasks waited long between their launch by the driver and their run, or for their end to be noticed.",
    documentation: include_str!("scheduler_delay.md"),
    thresholds: &[MIN_DELAY, DELAY_RATIO, SPIKE, MIN_SPIKES, FLOOR, LEAST],
    explained_by: &[Problem::LargeClosure, Problem::TooManyPartitions, Problem::SlowExecutor],
    check,
};

const MIN_DELAY: Threshold = Threshold {
    name: "min_delay_ms",
    value: 50.0,
    unit: Unit::Ms,
    reason: "median scheduler delay of warm tasks; in healthy runs it is 1 to 20 ms. Set by judgement, not \
             contradicted by the training families of datasets/lab (`emberscope calibrate`)",
};
const DELAY_RATIO: Threshold = Threshold {
    name: "delay_ratio",
    value: 0.2,
    unit: Unit::Ratio,
    reason: "median scheduler delay over median duration of warm tasks. Set by judgement, which no labelled run \
             of datasets/lab decides (`emberscope calibrate`)",
};
const SPIKE: Threshold = Threshold {
    name: "spike_ms",
    value: 60.0,
    unit: Unit::Ms,
    reason: "scheduler delay of a single task that is out of the ordinary, its executor's first tasks aside. Set \
             on the training families of datasets/lab (`emberscope calibrate`)",
};
const MIN_SPIKES: Threshold = Threshold {
    name: "min_spikes",
    value: 3.0,
    unit: Unit::Count,
    reason: "tasks delayed like that from which it is no accident. Set on the training families of datasets/lab \
             (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.02,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that tasks were delayed; below it nobody gains by mending",
};

/// A stage whose tasks were delayed.
struct Hit<'a> {
    stage: &'a StageSummary,
    loss: StageLoss,
    /// Scheduler delay of the delayed tasks, in ms.
    lost_ms: f64,
    /// From which delay on they count, in ms.
    least_ms: f64,
    /// How many tasks were delayed, and of how many.
    delayed: usize,
    tasks: usize,
}

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = match ctx.stages_that_ran(
        |stage| stage.metric(Metric::SchedulerDelay).is_some(),
        "scheduler delays (no task metrics in this log)",
    ) {
        Ok(ran) => ran,
        Err(skipped) => return skipped,
    };
    let settled = tasks::settled_from(ctx.run, 2);
    let mut hits: Vec<Hit<'_>> = Vec::new();
    let mut spikes: Vec<Hit<'_>> = Vec::new();
    for stage in ran {
        match throughout(ctx, stage) {
            Some(hit) => hits.push(hit),
            None => spikes.extend(spiked(ctx, stage, &settled)),
        }
    }
    // One long delay comes and goes; several have a cause.
    if ctx.reaches(spikes.iter().map(|hit| hit.delayed).sum::<usize>() as f64, &MIN_SPIKES) {
        hits.append(&mut spikes);
    }
    Outcome::of(finding(ctx, &hits).into_iter().collect())
}

/// A stage most of whose tasks were delayed.
fn throughout<'a>(ctx: &Context<'_>, stage: &'a StageSummary) -> Option<Hit<'a>> {
    // Cold tasks wait for jars, classes and connections; what is judged is what remains when those are there.
    if !ctx.reaches(stage.quantiles(Metric::SchedulerDelay)?.p95 as f64, &MIN_DELAY) || stage.warm_duration.is_none() {
        return None;
    }
    let warm = tasks::warm(ctx, stage.key);
    let delay_ms = tasks::median(warm.iter().filter_map(delay))?;
    let duration_ms = tasks::median(warm.iter().map(Task::duration))?;
    if !(delay_ms >= ctx.threshold(&MIN_DELAY) && delay_ms >= ctx.threshold(&DELAY_RATIO) * duration_ms) {
        return None;
    }
    let tasks = usize::try_from(stage.tasks.succeeded).unwrap_or(usize::MAX);
    let lost_ms = delay_ms * stage.tasks.succeeded as f64;
    let least_ms = ctx.threshold(&MIN_DELAY);
    Some(Hit { stage, loss: StageLoss::of_task_time(stage, lost_ms)?, lost_ms, least_ms, delayed: tasks, tasks })
}

/// A stage with some tasks that were delayed for long, the first ones of each executor's life aside.
fn spiked<'a>(ctx: &Context<'_>, stage: &'a StageSummary, settled: &BTreeMap<u64, i64>) -> Option<Hit<'a>> {
    // Among many tasks a few delays are nothing.
    let delays = stage.quantiles(Metric::SchedulerDelay)?;
    let longest = if delays.count > 100 { delays.p95 } else { delays.max };
    if !ctx.reaches(longest as f64, &SPIKE) {
        return None;
    }
    let all = tasks::successful(ctx.run, ctx.run.stages.get(&stage.key)?);
    let is_settled = |task: &&Task| {
        task.executor.and_then(|executor| settled.get(&executor)).is_some_and(|&from| task.launch >= from)
    };
    let delays: Vec<f64> =
        all.iter().filter(is_settled).filter_map(delay).filter(|&ms| ctx.reaches(ms, &SPIKE)).collect();
    let lost_ms: f64 = delays.iter().sum();
    let loss = StageLoss::of_task_time(stage, lost_ms)?;
    Some(Hit { stage, loss, lost_ms, least_ms: ctx.threshold(&SPIKE), delayed: delays.len(), tasks: all.len() })
}

/// Scheduler delay of a task in ms.
fn delay(task: &Task) -> Option<f64> {
    task.row.scheduler_delay_ms().map(|ms| ms as f64)
}

fn finding(ctx: &Context<'_>, hits: &[Hit<'_>]) -> Option<Finding> {
    let losses = Losses::of(hits.iter().map(|hit| hit.loss.clone()).collect());
    if losses.negligible(ctx, &FLOOR, &LEAST) {
        return None;
    }
    let worst = hits.iter().find(|hit| Some(hit.stage.key) == losses.worst())?;
    let each = worst.lost_ms / worst.delayed.max(1) as f64;
    let mut finding = Finding::new(
        Problem::SchedulerDelay,
        0.7,
        stage_subject(ctx, worst.stage.key),
        format!(
            "{} of {} of stage {} waited about {} each to be run or for their end to be noticed{}",
            words::count(worst.delayed as u64),
            words::plural(worst.tasks as u64, "task"),
            worst.stage.key,
            words::duration(each),
            match losses.len() {
                0 | 1 => String::new(),
                2 => ", and some of one other stage".to_owned(),
                stages => format!(", and some of {} other stages", words::count(stages as u64 - 1)),
            },
        ),
    );
    finding.evidence = vec![
        Evidence::number("delayed_tasks_scheduler_delay_ms", each, Unit::Ms).over(worst.least_ms),
        Evidence::number("delayed_tasks_count", hits.iter().map(|hit| hit.delayed).sum::<usize>() as f64, Unit::Count),
    ];
    if let Some(gc) = driver_gc(ctx) {
        finding.evidence.push(Evidence::number("driver_total_gc_time_ms", gc, Unit::Ms));
    }
    losses.list(ctx, &mut finding);
    let task_ms = worst.stage.task_ms() as f64;
    let summed = if losses.len() > 1 {
        format!("; summed over {}, each at its share of the clock", losses.stage_attempts())
    } else {
        String::new()
    };
    finding.savings = losses.savings(format!(
        "{} of stage {} x {} of delay = {}, {} of its {} of task time; the stage would be shorter by that share of its {}{summed}",
        words::plural(worst.delayed as u64, "task"),
        worst.stage.key,
        words::duration(each),
        words::duration(worst.lost_ms),
        words::percent((worst.lost_ms / task_ms.max(1.0)).min(1.0)),
        words::duration(task_ms),
        words::duration(worst.stage.wall_clock_ms),
    ));
    finding.advice = advice(ctx, worst);
    Some(finding)
}

/// Time the driver's JVM collected garbage, in ms, where it was polled.
fn driver_gc(ctx: &Context<'_>) -> Option<f64> {
    let driver = ctx.run.executors.values().find(|executor| executor.id.is_driver())?;
    let parts = [TaskColumn::MinorGcTime, TaskColumn::MajorGcTime].map(|column| driver.peaks.get(column));
    (parts.iter().any(Option::is_some)).then(|| total(parts.into_iter().flatten()) as f64)
}

fn advice(ctx: &Context<'_>, worst: &Hit<'_>) -> Vec<Advice> {
    let settings = ctx.settings.for_stage(worst.stage.key);
    let mut all = Vec::new();
    if is_local(ctx.run) {
        all.push(Advice::text(
            "In local mode the driver's threads share the cores with the tasks: leave it one (local[n] with n below the host's cores).",
        ));
    } else if settings.set_by_user("spark.submit.deployMode") != Some("cluster") {
        all.push(Advice::text(
            "The driver ran where the application was submitted (client mode): look at the load of that host, and at what else the \
             driver's process did then.",
        ));
    } else if let Some(cores) = settings.integer("spark.driver.cores").filter(|&cores| cores <= 1) {
        all.push(
            Advice::text(format!(
                "The driver has {cores} core for launching tasks, noticing their ends and the user's program: give it more."
            ))
            .set("spark.driver.cores", "4"),
        );
    }
    all.push(Advice::text(
        "What tells the causes apart: the driver's CPU use and garbage collection at that time (a busy driver delays every task); the \
         size of the serialized task, which the driver's log warns of (\"task of very large size\"); and executors so busy that their \
         own dispatcher threads wait for a core.",
    ));
    all.push(Advice::text(
        "Fewer and longer tasks halve the delays with their number: see what makes this stage have so many.",
    ));
    if worst.stage.tasks.succeeded < 200 {
        all.pop();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// 64 tasks of 500 ms on 4 cores, of which `delay` ms are none of run, deserialize and result; the first four always 400.
    fn delayed(delay: u64) -> RunBuilder {
        run().executor("1", 4).stage(0, |stage| {
            for partition in 0..64 {
                let delay = if partition < 4 { 400 } else { delay };
                stage.task(partition).duration_ms(500).metrics(500 - delay, 500 - delay, 0);
            }
        })
    }

    #[test]
    fn delays_of_two_fifths_of_the_time_are_found() {
        let findings = check(&RULE, &delayed(200).set("spark.submit.deployMode", "cluster"));
        assert_eq!(findings.len(), 1);
        // 64 x 200 ms = 12.8 s of 32 s of task time, of a stage of 8 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(3_200));
        assert_eq!(findings[0].savings.core_ms, Some(12_800));
        assert_eq!(findings[0].advice[0].config.get("spark.driver.cores").map(String::as_str), Some("4"));
    }

    #[test]
    fn a_driver_that_has_cores_is_not_given_more() {
        let cluster = || delayed(200).set("spark.submit.deployMode", "cluster");
        let findings = check(&RULE, &cluster().set("spark.driver.cores", "4"));
        assert!(findings[0].advice.iter().all(|advice| advice.config.is_empty()));
    }

    #[test]
    fn in_client_mode_no_setting_gives_the_driver_cores() {
        let findings = check(&RULE, &delayed(200));
        assert!(findings[0].advice.iter().all(|advice| advice.config.is_empty()));
        assert!(findings[0].advice[0].text.contains("client mode"), "{}", findings[0].advice[0].text);
    }

    #[test]
    fn a_delay_just_below_a_spike_or_of_the_first_wave_only_is_clear() {
        assert_eq!(check(&RULE, &delayed(59)), []);
        assert_eq!(check(&RULE, &delayed(5)), []);
    }

    #[test]
    fn without_task_metrics_the_rule_says_so() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
