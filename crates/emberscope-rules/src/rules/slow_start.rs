//! The run waits for its first or further executors.

use emberscope_run::{NULL, Run, StageKey, TaskColumn, Timestamp, Unit};

use crate::deployment::{self, Manager};
use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::SlowStart,
    summary: "The run waited for executors: for the first, or for the others while tasks were pending.",
    documentation: include_str!("slow_start.md"),
    thresholds: &[USUAL, USUAL_PROCESS, DRIVER_STARTS, FLOOR],
    explained_by: &[Problem::ExecutorChurn, Problem::SlowExecutor],
    check,
};

const USUAL: Threshold = Threshold {
    name: "usual_start_ms",
    value: 15_000.0,
    unit: Unit::Ms,
    reason: "a container and its JVM take 5 to 15 s to start on a cluster with room; only what is longer is a \
             wait. Set by judgement, not contradicted by the training families of datasets/lab (`emberscope \
             calibrate`)",
};
const USUAL_PROCESS: Threshold = Threshold {
    name: "usual_process_start_ms",
    value: 3_000.0,
    unit: Unit::Ms,
    reason: "the same at least where workers that are there already only start a JVM (standalone, local-cluster). \
             Set on the training families of datasets/lab (`emberscope calibrate`)",
};
const DRIVER_STARTS: Threshold = Threshold {
    name: "driver_start_factor",
    value: 5.5,
    unit: Unit::Ratio,
    reason: "and the time until the driver's block manager was there, so many times: executors do as much on that \
             host, and beside each other. Set by judgement on runs of datasets/lab and datasets/demo",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent waiting for executors. Set by judgement, not contradicted \
             by the training families of datasets/lab (`emberscope calibrate`)",
};
/// The driver counts as waiting when its first stage comes within this time of an executor: Spark itself waits for
/// `spark.scheduler.minRegisteredResourcesRatio` of them before it lets the program go on.
const PROMPT_MS: u64 = 5_000;

fn check(ctx: &Context<'_>) -> Outcome {
    if deployment::is_local(ctx.run) {
        return Outcome::Clear;
    }
    if ctx.run.worker_executors().all(|executor| executor.added_at.is_none()) {
        return Outcome::missing("when executors came");
    }
    let Some(first_launch) = ctx.features.timeline.first_launch else { return Outcome::missing("tasks with times") };
    let usual_ms = usual_ms(ctx);
    let first = first_wait(ctx, first_launch).map_or(0.0, |ms| (ms as f64 - usual_ms).max(0.0));
    let further = ramp(ctx, usual_ms);
    if ctx.below_floor(first + further.cost_ms, &FLOOR) {
        return Outcome::Clear;
    }
    Outcome::Found(vec![finding(ctx, first, &further, first_launch, usual_ms)])
}

/// How long executors usually take to come, in ms.
fn usual_ms(ctx: &Context<'_>) -> f64 {
    if !deployment::is_standalone(ctx.run) {
        return ctx.threshold(&USUAL);
    }
    let driver = driver_start_ms(ctx.run).unwrap_or(0.0);
    let usual = ctx.threshold(&USUAL_PROCESS).max(ctx.threshold(&DRIVER_STARTS) * driver);
    usual.min(ctx.threshold(&USUAL).max(ctx.threshold(&USUAL_PROCESS)))
}

/// From the application's start until the driver's block manager was there, in ms: as fast as JVMs start on its host.
fn driver_start_ms(run: &Run) -> Option<f64> {
    let driver = run.executors.values().find(|executor| executor.id.is_driver())?;
    Some(driver.added_at?.since(run.application.start()?).0 as f64)
}

/// From the application's start to its first executor, when the driver was waiting for it; `None` when it was not.
fn first_wait(ctx: &Context<'_>, first_launch: Timestamp) -> Option<u64> {
    let run = ctx.run;
    let start = run.application.start()?;
    let came: Vec<Timestamp> = run.worker_executors().filter_map(|executor| executor.added_at).collect();
    let first = came.iter().copied().min()?.min(first_launch);
    let submitted = run.stages.values().filter_map(|stage| stage.submitted_at).min().unwrap_or(first_launch);
    // A fixed number of executors is asked for at the start; dynamic allocation may ask for the first when a task needs it,
    // and a person may not have wanted anything before.
    let asked_at_start =
        ctx.settings.boolean("spark.dynamicAllocation.enabled") == Some(false) && !deployment::is_interactive(run);
    if submitted <= first {
        return Some(first.since(if asked_at_start { start } else { submitted.max(start) }).0);
    }
    if !asked_at_start {
        return None;
    }
    // Spark waits for most of the executors before the first stage: the last one that came before it is what it waited for.
    let awaited = came.iter().copied().filter(|&at| at <= submitted).max()?;
    (submitted.since(awaited).0 <= PROMPT_MS).then(|| awaited.since(start).0)
}

/// What it cost that executors came while tasks were pending.
#[derive(Debug, Clone, Copy, Default)]
struct Ramp {
    /// Wall-clock time in ms that the stages would have been spared had the slots that they ended with been there from
    /// their start.
    cost_ms: f64,
    /// The most slots that one of them ended with.
    slots: u64,
}

fn ramp(ctx: &Context<'_>, usual_ms: f64) -> Ramp {
    let mut ramp = Ramp::default();
    for (key, stage) in &ctx.features.stages {
        let Some(last_launch) = last_launch(ctx.run, *key) else { continue };
        let Some(first) = stage.first_launch.filter(|first| *first < last_launch) else { continue };
        let Some(end_slots) = ctx.run.slots_at(last_launch).filter(|&slots| slots > 0) else { continue };
        let mut at = first;
        let mut lost = 0.0;
        for came in arrivals(ctx.run, first, last_launch) {
            let missing = end_slots.saturating_sub(ctx.run.slots_at(at).unwrap_or(end_slots));
            lost += came.since(at).0 as f64 * missing as f64 / end_slots as f64;
            at = came;
        }
        // The executors would have come at the usual pace anyway.
        if lost > 0.0 && at.since(first).0 as f64 > usual_ms {
            ramp.cost_ms += stage.wall_clock_saving(lost);
            ramp.slots = ramp.slots.max(end_slots);
        }
    }
    ramp
}

fn arrivals(run: &Run, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let mut times: Vec<Timestamp> =
        run.worker_executors().filter_map(|executor| executor.added_at).filter(|&at| from < at && at <= to).collect();
    times.sort_unstable();
    times.dedup();
    times
}

fn last_launch(run: &Run, key: StageKey) -> Option<Timestamp> {
    let launches = run.stages.get(&key)?.tasks.column(TaskColumn::LaunchTime);
    let last = launches.into_iter().filter(|&at| at != NULL).max()?;
    Some(Timestamp(i64::try_from(last).ok()?))
}

fn finding(ctx: &Context<'_>, first: f64, ramp: &Ramp, first_launch: Timestamp, usual_ms: f64) -> Finding {
    let further = ramp.cost_ms;
    let usual = words::duration(usual_ms);
    let mut parts = Vec::new();
    if first > 0.0 {
        parts.push(format!("its first executors {} beyond the usual {usual}", words::duration(first)));
    }
    if further > 0.0 {
        parts.push(format!("further executors while tasks were pending, which cost {}", words::duration(further)));
    }
    let mut finding = Finding::new(
        Problem::SlowStart,
        if first > further { 0.8 } else { 0.7 },
        Subject::run(),
        format!("the run waited for {}", parts.join(", and for ")),
    );
    let start = ctx.run.application.start();
    let came = ctx.run.worker_executors().filter_map(|executor| executor.added_at).min();
    if let (Some(start), Some(came)) = (start, came) {
        finding
            .evidence
            .push(Evidence::number("first_executor_after_ms", came.since(start).0 as f64, Unit::Ms).over(usual_ms));
    }
    if let Some(start) = start {
        finding.evidence.push(Evidence::number("first_task_after_ms", first_launch.since(start).0 as f64, Unit::Ms));
    }
    if further > 0.0 {
        finding.evidence.push(Evidence::number("ramp_cost_ms", further, Unit::Ms));
    }
    let mut how = Vec::new();
    if first > 0.0 {
        how.push(format!("{} before the first executor beyond the usual {usual}", words::duration(first)));
    }
    if further > 0.0 {
        how.push(format!(
            "{} that stages would have been spared had the slots that they ended with (up to {}) been there from their start",
            words::duration(further),
            ramp.slots,
        ));
    }
    finding.savings =
        Savings { wall_clock_ms: Some((first + further).round() as u64), core_ms: Some(0), how: how.join(", and ") };
    finding.advice = advice(ctx, first, further);
    finding
}

fn advice(ctx: &Context<'_>, first: f64, further: f64) -> Vec<Advice> {
    let mut all = Vec::new();
    let manager = deployment::manager(ctx.run);
    if first >= further {
        all.push(Advice::text(match manager {
            Manager::Yarn => {
                "The time from the request to the first container is the queue's: what would tell is the application's page of the \
                 ResourceManager (pending containers, the queue's share). A queue with guaranteed capacity, or a start at a \
                 quieter hour, shortens it."
            }
            Manager::Kubernetes => {
                "`kubectl get events` tells what the pods waited for: nodes to be added (keep some warm), a large image to be \
                 pulled (a smaller one, or one that is on the nodes already), or a quota."
            }
            Manager::Databricks => "A cluster that starts with the run takes minutes: a pool of warm instances, or a running cluster, spares them.",
            _ => "What would tell the cause: whether other applications held the cores, or the processes took long to start (large jars or images).",
        }));
    }
    if further > 0.0 && ctx.settings.boolean("spark.dynamicAllocation.enabled") == Some(true) {
        let most = ctx.run.worker_executors().count().min(
            usize::try_from(ctx.settings.integer("spark.dynamicAllocation.maxExecutors").unwrap_or(i64::MAX))
                .unwrap_or(usize::MAX),
        );
        let initial = ctx
            .settings
            .integer("spark.dynamicAllocation.initialExecutors")
            .or_else(|| ctx.settings.integer("spark.dynamicAllocation.minExecutors"))
            .unwrap_or(0);
        let wanted = (most / 2).max(1) as i64;
        if initial < wanted {
            all.push(
                Advice::text(format!(
                    "Dynamic allocation began with {initial} executors and doubled its requests up to {most}: begin with half of \
                     them, {wanted}."
                ))
                .set("spark.dynamicAllocation.initialExecutors", wanted.to_string()),
            );
        }
    }
    if all.is_empty() {
        all.push(Advice::text(
            "Executors came one after another although all were asked for at once: the cluster had no room for them. Fewer and \
             larger, or guaranteed capacity, would come sooner.",
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, START, check, outcome, run};

    /// The first executor (2 cores) comes after `ms`; a stage of two tasks of 100 s was ready after 2 s.
    fn first_after(ms: i64) -> RunBuilder {
        let mut builder = run().set("spark.master", "yarn").executor_at("1", 2, ms);
        builder.now = ms;
        builder.stage(0, |stage| {
            (0..2).for_each(|partition| {
                stage.task(partition).duration_ms(100_000);
            });
            stage.with(|stage| stage.submitted_at = Some(Timestamp(START + 2_000)));
        })
    }

    #[test]
    fn a_minute_to_the_first_executor_is_a_slow_start() {
        let findings = check(&RULE, &first_after(60_000));
        // 60 s less the usual 15 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(45_000));
        assert_eq!(findings[0].summary, "the run waited for its first executors 45.0 s beyond the usual 15.0 s");
        // No executor came later: nothing is said of that half.
        assert!(findings[0].evidence.iter().all(|fact| fact.feature != "ramp_cost_ms"));
        assert_eq!(findings[0].savings.how, "45.0 s before the first executor beyond the usual 15.0 s");
    }

    #[test]
    fn twenty_seconds_are_below_the_floor() {
        // 5 s beyond the usual, of 120 s: 4.2 %. 21.5 s: 6.5 of 121.5 s, 5.3 %.
        assert_eq!(check(&RULE, &first_after(20_000)), []);
        assert_eq!(check(&RULE, &first_after(21_500)).len(), 1);
    }

    #[test]
    fn a_shell_that_asks_for_executors_with_its_first_action_waits_from_then_on() {
        let shell = |ready: i64| {
            first_after(60_000).with(move |run| {
                run.application.name = Some("Spark shell".to_owned());
                if let Some(stage) = run.stages.values_mut().next() {
                    stage.submitted_at = Some(Timestamp(START + ready));
                }
            })
        };
        assert_eq!(check(&RULE, &shell(50_000)), []);
        // 60 s less 20 s less the usual 15 s.
        assert_eq!(check(&RULE, &shell(20_000))[0].savings.wall_clock_ms, Some(25_000));
    }

    #[test]
    fn a_driver_that_reads_files_for_a_minute_did_not_wait_for_executors() {
        let mut builder = run().set("spark.master", "yarn").executor_at("1", 2, 30_000);
        builder.now = 90_000;
        let builder = builder.stage(0, |stage| {
            stage.task(0).duration_ms(10_000);
        });
        assert_eq!(check(&RULE, &builder), []);
    }

    #[test]
    fn executors_that_come_late_to_a_long_stage_cost_its_time() {
        // 20 tasks of 20 s. Executor 1 (2 cores) is there from the start, executor 2 (2 cores) from 60 s on: 6 tasks are done
        // by then, the other 14 take 4 rounds on 4 cores, to 140 s; the last launch is at 120 s.
        let mut builder = run()
            .set("spark.master", "yarn")
            .set("spark.dynamicAllocation.enabled", "true")
            .executor("1", 2)
            .executor_at("2", 2, 60_000);
        builder = builder.stage(0, |stage| {
            for partition in 0..6 {
                stage.task(partition).duration_ms(20_000).on("1");
            }
            for partition in 6..14 {
                stage.task(partition).duration_ms(20_000).on("1");
            }
        });
        let findings = check(&RULE, &builder);
        // For 60 s two of four slots were missing: 30 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(30_000));
        assert_eq!(
            findings[0].savings.how,
            "30.0 s that stages would have been spared had the slots that they ended with (up to 4) been there from their start"
        );
        assert_eq!(findings[0].advice.last().unwrap().config["spark.dynamicAllocation.initialExecutors"], "1");
    }

    #[test]
    fn without_times_of_executors_the_rule_is_skipped() {
        assert!(matches!(outcome(&RULE, &run().set("spark.master", "yarn")), Outcome::Skipped { .. }));
    }
}
