//! Task threads wait for each other.

use std::collections::BTreeMap;

use emberscope_extract::features::Metric;
use emberscope_run::Unit;

use super::cpu_contention::waits;
use crate::finding::{Advice, Evidence, Finding};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::blocked::{self, Blocked, Settled, StageBlocked};
use crate::support::loss::{Losses, StageLoss, stage_subject};
use crate::support::traced::{TRACED_SHARE, Waited};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::LockContention,
    summary: "Tasks of one stage waited for no named reason while many ran in an executor, and not while few did.",
    documentation: include_str!("lock_contention.md"),
    thresholds: &[WAIT_RATIO, ALONE_FACTOR, OTHERS_FACTOR, MIN_ALONE, FLOOR, LEAST, TRACED_SHARE],
    explained_by: &[Problem::CpuContention],
    check,
};

const WAIT_RATIO: Threshold = Threshold {
    name: "wait_ratio",
    value: 0.3,
    unit: Unit::Ratio,
    reason: "time off the CPU without an explanation over run time, of warm tasks. Set by judgement, which no \
             labelled run of datasets/lab decides (`emberscope calibrate`)",
};
const ALONE_FACTOR: Threshold = Threshold {
    name: "alone_factor",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "tasks that ran with at most half as many siblings in their executor wait at most this much of what the others do: a wait \
             for a service does not depend on siblings. Set by judgement",
};
const OTHERS_FACTOR: Threshold = Threshold {
    name: "other_stages_factor",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "other stages on as many cores wait at most this much of what this one does: a busy host slows all of them. Set by \
             judgement",
};
const MIN_ALONE: Threshold = Threshold {
    name: "min_tasks",
    value: 4.0,
    unit: Unit::Count,
    reason: "tasks of either kind below which the comparison says little",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent waiting; higher than others, as the log shows the cause only by exclusion",
};
const LEAST: Threshold = Threshold {
    name: "floor_ms",
    value: 5_000.0,
    unit: Unit::Ms,
    reason: "in the first seconds of a run threads wait for each other to load classes",
};

fn check(ctx: &Context<'_>) -> Outcome {
    if let Some(waited) = Waited::of(ctx, emberscope_run::Cause::Lock) {
        return Outcome::of(proven(ctx, &waited).into_iter().collect());
    }
    if let Some(missing) = blocked::missing(ctx) {
        return missing;
    }
    let stages = blocked::stages(ctx);
    Outcome::of(stages.iter().filter_map(|stage| finding(ctx, stage, &stages)).collect())
}

/// What the kernel's trace shows; the event log's guess is not asked then.
fn proven(ctx: &Context<'_>, waited: &Waited<'_>) -> Option<Finding> {
    let what = |_: Option<&str>| "for what other tasks of the same executor held".to_owned();
    let mut finding = waited.finding(ctx, Problem::LockContention, &what, &FLOOR, &LEAST)?;
    finding.advice = vec![Advice::text(
        "Look for what the tasks share in one JVM: a synchronized method, a static formatter or parser, a connection pool, a logger, a \
         cache with one lock. A thread dump of an executor while it runs names it: BLOCKED threads, and the one that holds the lock.",
    )];
    let cores = ctx.run.worker_executors().filter_map(|executor| executor.cores).max().unwrap_or(0);
    if cores > 1 && !crate::deployment::is_local(ctx.run) {
        let half = (cores / 2).max(1);
        let text = format!(
            "Until then, fewer tasks in each JVM wait less: {half} instead of {cores} cores per executor, with twice the executors.",
        );
        finding.advice.push(Advice::text(text).set("spark.executor.cores", half.to_string()));
    }
    Some(finding)
}

fn finding(ctx: &Context<'_>, stage: &StageBlocked<'_>, stages: &[StageBlocked<'_>]) -> Option<Finding> {
    if !waits(ctx, stage, &WAIT_RATIO) {
        return None;
    }
    let share = stage.blocked.share(stage.blocked.unexplained_ms());
    let others = Blocked::sum(
        stages.iter().filter(|other| other.stage.key != stage.stage.key).map(|other| Some(other.blocked)),
    )?;
    if others.share(others.rest_ms) > ctx.threshold(&OTHERS_FACTOR) * share {
        return None;
    }
    let (crowd, crowded, alone) = by_company(&stage.tasks);
    let least = ctx.threshold(&MIN_ALONE);
    if !(crowd >= 2.0 && crowded.len() as f64 >= least && alone.len() as f64 >= least) {
        return None;
    }
    let sum = |tasks: &[&Settled]| Blocked::sum(tasks.iter().map(|task| task.blocked));
    let (crowded, alone) = (sum(&crowded)?, sum(&alone)?);
    let (crowded, alone) = (crowded.share(crowded.rest_ms), alone.share(alone.rest_ms));
    if alone > ctx.threshold(&ALONE_FACTOR) * crowded {
        return None;
    }
    let loss = StageLoss::of_task_time(
        stage.stage,
        (share - alone).max(0.0) * stage.stage.sum(Metric::ExecutorRunTime)? as f64,
    )?;
    let losses = Losses::of(vec![loss]);
    if losses.negligible(ctx, &FLOOR, &LEAST) {
        return None;
    }
    let mut finding = Finding::new(
        Problem::LockContention,
        0.45,
        stage_subject(ctx, stage.stage.key),
        format!(
            "warm tasks of stage {} were off the CPU for {} of their run time without a named reason when {crowd:.0} ran in an executor, \
             and {} when few did: the event log suggests that they wait for each other and does not prove it",
            stage.stage.key,
            words::percent(crowded),
            words::percent(alone),
        ),
    );
    finding.evidence = vec![
        Evidence::number("unexplained_off_cpu_over_run_time_ratio", share, Unit::Ratio)
            .over(ctx.threshold(&WAIT_RATIO))
            .against(others.share(others.rest_ms)),
        Evidence::number("crowded_off_cpu_ratio", crowded, Unit::Ratio).against(alone),
        Evidence::number("tasks_at_once_in_an_executor_max_count", crowd, Unit::Count),
    ];
    finding.savings = losses.savings(format!(
        "{} of the run time was off the CPU without an explanation, {} with few siblings; the difference, as a share of the stage's time",
        words::percent(share),
        words::percent(alone),
    ));
    let half = (crowd / 2.0).floor().max(1.0);
    let name = ctx.stage_called(stage.stage.key);
    finding.advice = vec![
        Advice::text(format!(
            "Look for what the tasks of {} share in one JVM: a synchronized method, a static formatter or parser, a connection pool, a \
             logger, a cache with one lock. A thread dump of an executor while it runs names it: BLOCKED threads, and the one that holds \
             the lock.",
            if name.is_empty() { "the stage".to_owned() } else { format!("\"{name}\"") },
        )),
        Advice::text(format!(
            "Until then, fewer tasks in each JVM wait less: {half:.0} instead of {crowd:.0} cores per executor, with twice the executors. \
             A kernel trace proves it: threads blocked on a futex, and who woke them."
        ))
        .set("spark.executor.cores", format!("{half:.0}")),
    ];
    if crate::deployment::is_local(ctx.run) {
        finding.advice.pop();
    }
    Some(finding)
}

/// The most tasks at once in an executor, the tasks that ran in at least three quarters of that company, and those that ran in at
/// most half of it; by the mean over each task's life.
fn by_company(tasks: &[Settled]) -> (f64, Vec<&Settled>, Vec<&Settled>) {
    let mut executors: BTreeMap<Option<u64>, Vec<&Settled>> = BTreeMap::new();
    for task in tasks {
        executors.entry(task.executor).or_default().push(task);
    }
    let mut all: Vec<(f64, &Settled)> = Vec::with_capacity(tasks.len());
    for tasks in executors.into_values() {
        let company = Company::of(&tasks);
        all.extend(tasks.into_iter().map(|task| (company.mean(task), task)));
    }
    let most = all.iter().map(|(company, _)| *company).fold(0.0, f64::max);
    let pick = |wanted: &dyn Fn(f64) -> bool| {
        all.iter().filter(|(company, _)| wanted(*company)).map(|(_, task)| *task).collect()
    };
    (most, pick(&|company| company >= 0.75 * most), pick(&|company| company <= 0.5 * most))
}

/// How many tasks of a stage an executor ran at each time.
struct Company {
    /// `(time, tasks from then on, task-milliseconds up to then)`.
    steps: Vec<(i64, f64, f64)>,
}

impl Company {
    fn of(tasks: &[&Settled]) -> Self {
        let mut edges: Vec<(i64, f64)> =
            tasks.iter().flat_map(|task| [(task.launch, 1.0), (task.finish, -1.0)]).collect();
        edges.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut steps: Vec<(i64, f64, f64)> = Vec::with_capacity(edges.len());
        for (at, delta) in edges {
            let (before, running, sum) = steps.last().copied().unwrap_or((at, 0.0, 0.0));
            steps.push((at, running + delta, sum + running * at.saturating_sub(before) as f64));
        }
        Self { steps }
    }

    /// Task-milliseconds up to `at`.
    fn until(&self, at: i64) -> f64 {
        let after = self.steps.partition_point(|step| step.0 <= at);
        match after.checked_sub(1).and_then(|index| self.steps.get(index)) {
            Some(&(from, running, sum)) => sum + running * at.saturating_sub(from) as f64,
            None => 0.0,
        }
    }

    /// The mean number of tasks during a task's life, itself among them.
    fn mean(&self, task: &Settled) -> f64 {
        (self.until(task.finish) - self.until(task.launch)) / task.duration().max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// On an executor of 4 cores 16 tasks of 4 s at once by four, with `cpu` ms, then on one of 1 core 6 tasks with `alone` ms; and
    /// a second stage that is always on the CPU.
    fn locked(cpu: u64, alone: u64, other: u64) -> RunBuilder {
        run()
            .executor("1", 4)
            .executor("2", 1)
            .stage(0, |stage| {
                for partition in 0..16 {
                    stage.task(partition).on("1").duration_ms(4_000).metrics(4_000, cpu, 0);
                }
                for partition in 16..22 {
                    stage.task(partition).on("2").duration_ms(2_000).metrics(2_000, alone, 0);
                }
            })
            .stage(1, |stage| {
                for partition in 0..20 {
                    stage.task(partition).duration_ms(2_000).metrics(2_000, other, 0);
                }
            })
    }

    #[test]
    fn tasks_that_wait_in_company_and_not_alone_are_found_with_low_confidence() {
        let findings = check(&RULE, &locked(1_000, 1_950, 1_950));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].subject.stage_id, Some(0));
        assert!(findings[0].confidence < 0.5);
        // Warm tasks: 12 of 4 s with 3 s off the CPU and 5 of 2 s with 50 ms: 36.25 of 58 s are 62.5 %; alone 2.5 %. 60 % of
        // 76 s of run time in a stage of 16 s (76 s of task time).
        assert_eq!(findings[0].savings.wall_clock_ms, Some(9_600));
        assert_eq!(findings[0].advice[1].config["spark.executor.cores"], "2");
    }

    #[test]
    fn waiting_alone_as_in_company_is_a_service_and_not_a_lock() {
        assert_eq!(check(&RULE, &locked(1_000, 500, 1_950)), []);
    }

    #[test]
    fn other_stages_that_wait_as_much_make_it_the_hosts_fault() {
        assert_eq!(check(&RULE, &locked(1_000, 1_950, 800)), []);
    }

    #[test]
    fn a_quarter_of_waiting_is_clear() {
        assert_eq!(check(&RULE, &locked(3_000, 1_950, 1_950)), []);
    }

    #[test]
    fn old_logs_without_cpu_times_are_skipped() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0).set(emberscope_run::TaskColumn::ExecutorRunTime, 100);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
