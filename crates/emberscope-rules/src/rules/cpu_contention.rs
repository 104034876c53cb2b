//! Tasks are ready to run and have no CPU.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_extract::features::Metric;
use emberscope_run::{StageKey, Unit};

use crate::deployment::is_local;
use crate::finding::{Advice, Evidence, Finding, Subject};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::blocked::{self, Blocked, Cause, StageBlocked};
use crate::support::loss::{Losses, StageLoss};
use crate::support::traced::{TRACED_SHARE, Waited};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::CpuContention,
    summary: "In nearly all stages and on all executors tasks were off the CPU for no reason that the log names.",
    documentation: include_str!("cpu_contention.md"),
    thresholds: &[
        WAIT_RATIO,
        COVERED_SHARE,
        MIN_CPU,
        FINE_DISK,
        HAD_CPU,
        STARVED,
        MIN_STAGES,
        FLOOR,
        LEAST,
        TRACED_SHARE,
    ],
    explained_by: &[],
    check,
};

const WAIT_RATIO: Threshold = Threshold {
    name: "wait_ratio",
    value: 0.25,
    unit: Unit::Ratio,
    reason: "time off the CPU without an explanation over run time, of warm tasks; on an idle host it is 0 to 10 \
             %. Set by judgement, not contradicted by the training families of datasets/lab (`emberscope \
             calibrate`)",
};
const COVERED_SHARE: Threshold = Threshold {
    name: "covered_share",
    value: 0.7,
    unit: Unit::Ratio,
    reason: "share of the run's warm task time in stages that wait like that: a busy host slows all code, a lock or \
             a service only the code that uses it. Set on the training families of datasets/lab (`emberscope \
             calibrate`)",
};
const MIN_CPU: Threshold = Threshold {
    name: "min_cpu_ratio",
    value: 0.15,
    unit: Unit::Ratio,
    reason: "CPU time over run time below which tasks hardly compute and wait for something else: hosts with seven threads for each CPU \
             are rare, calls to services are not. Set by judgement",
};
const FINE_DISK: Threshold = Threshold {
    name: "fine_disk_write_ratio",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "time off the CPU in writing shuffle files over run time below which the disk is fine: what stages \
             wait with files on hosts without a CPU to give is then no doing of the disk. Set on the training \
             families of datasets/lab (`emberscope calibrate`)",
};
const HAD_CPU: Threshold = Threshold {
    name: "deserialize_cpu_ratio",
    value: 0.65,
    unit: Unit::Ratio,
    reason: "CPU time over time of deserializing warm tasks, which needs nothing but a CPU: from here on the \
             hosts had one to give. Set on the training families of datasets/lab (`emberscope calibrate`)",
};
const STARVED: Threshold = Threshold {
    name: "starved_deserialize_cpu_ratio",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "the same ratio below which the hosts had so little CPU to give that stages that wait longer than they \
             compute wait for it, whatever they do with files. Set on the training families of datasets/lab \
             (`emberscope calibrate`)",
};
const MIN_STAGES: Threshold = Threshold {
    name: "min_stages",
    value: 2.0,
    unit: Unit::Count,
    reason: "stages of different code below which \"all stages\" says nothing",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent waiting; higher than others, as the log shows the cause only by exclusion",
};
const LEAST: Threshold = Threshold {
    name: "floor_ms",
    value: 1_000.0,
    unit: Unit::Ms,
    reason: "in the first seconds of a run the JIT compiler and class loading take CPU from the tasks. Set on the \
             training families of datasets/lab (`emberscope calibrate`)",
};

fn check(ctx: &Context<'_>) -> Outcome {
    if let Some(waited) = Waited::of(ctx, emberscope_run::Cause::Cpu) {
        return Outcome::of(proven(ctx, &waited).into_iter().collect());
    }
    if let Some(missing) = blocked::missing(ctx) {
        return missing;
    }
    let stages = blocked::stages(ctx);
    Outcome::of(finding(ctx, &stages).into_iter().collect())
}

/// What the kernel's trace shows; the event log's guess is not asked then.
fn proven(ctx: &Context<'_>, waited: &Waited<'_>) -> Option<Finding> {
    let what = |who: Option<&str>| {
        who.map_or_else(|| "for a CPU".to_owned(), |who| format!("for a CPU, which most of all {who} held"))
    };
    let mut finding = waited.finding(ctx, Problem::CpuContention, &what, &FLOOR, &LEAST)?;
    finding.advice = advice(ctx, 1.0 - waited.share());
    // What would tell the causes apart is told.
    finding.advice.retain(|advice| !advice.text.starts_with("What tells the causes apart"));
    if let Some(culprit) = waited.culprit() {
        let text = if culprit.own {
            format!(
                "More threads of the executor itself want to run than it has CPUs: {} has them most. Compilation and garbage collection \
                 do at the start of a run; threads of a library do when it has a pool of its own (OMP_NUM_THREADS, \
                 MKL_NUM_THREADS).",
                culprit.words,
            )
        } else {
            format!(
                "Look what {} is: move it to another host or time, or leave it CPUs that Spark does not use.",
                culprit.words,
            )
        };
        finding.advice.insert(0, Advice::text(text));
    }
    Some(finding)
}

/// Whether a stage waits for no reason that the log names.
pub(super) fn waits(ctx: &Context<'_>, stage: &StageBlocked<'_>, ratio: &Threshold) -> bool {
    stage.blocked.main_cause() == Cause::Unexplained
        && stage.blocked.share(stage.blocked.unexplained_ms()) >= ctx.threshold(ratio)
}

fn finding(ctx: &Context<'_>, stages: &[StageBlocked<'_>]) -> Option<Finding> {
    let total = Blocked::sum(stages.iter().map(|stage| Some(stage.blocked)))?;
    // A stage whose bytes would explain its waiting is no witness against: on a busy host it waits as well.
    let ratio = ctx.threshold(&WAIT_RATIO);
    let waiting: Vec<&StageBlocked<'_>> =
        stages.iter().filter(|stage| stage.blocked.share(stage.blocked.rest_ms) >= ratio).collect();
    let deserialize = blocked::deserialize_cpu_ratio(waiting.iter().copied());
    // That the disk is fine says nothing of other storage: the hosts must be seen to be busy as well.
    let starved = deserialize.is_some_and(|ratio| ratio < ctx.threshold(&STARVED)) && total.rest_ms > total.cpu_ms;
    let disk_is_fine = starved
        || deserialize.is_some() && blocked::writing_share(stages).is_some_and(|share| !ctx.reaches(share, &FINE_DISK));
    let is_proper = |stage: &&&StageBlocked<'_>| {
        waits(ctx, stage, &WAIT_RATIO) || disk_is_fine && stage.blocked.main_cause() == Cause::Disk
    };
    let proper: Vec<&&StageBlocked<'_>> = waiting.iter().filter(is_proper).collect();
    let names: BTreeSet<String> = proper.iter().map(|stage| code(ctx, stage.stage.key)).collect();
    let covered: f64 = waiting.iter().map(|stage| stage.blocked.run_ms).sum();
    let proper_ms: f64 = proper.iter().map(|stage| stage.blocked.run_ms).sum();
    if !(names.len() as f64 >= ctx.threshold(&MIN_STAGES)
        && covered >= ctx.threshold(&COVERED_SHARE) * total.run_ms
        && proper_ms >= 0.3 * total.run_ms)
    {
        return None;
    }
    if deserialize.is_some_and(|ratio| ratio >= ctx.threshold(&HAD_CPU)) {
        return None;
    }
    let executors = by_executor(&waiting);
    let overall = Blocked::sum(waiting.iter().map(|stage| Some(stage.blocked)))?;
    let share = overall.share(overall.rest_ms);
    if overall.share(overall.cpu_ms) < ctx.threshold(&MIN_CPU) {
        return None;
    }
    if executors.values().any(|blocked| blocked.share(blocked.rest_ms) < 0.5 * share) {
        return None;
    }
    let losses = Losses::of(
        waiting
            .iter()
            .filter_map(|stage| {
                let lost =
                    stage.blocked.share(stage.blocked.rest_ms) * stage.stage.sum(Metric::ExecutorRunTime)? as f64;
                StageLoss::of_task_time(stage.stage, lost)
            })
            .collect(),
    );
    if losses.negligible(ctx, &FLOOR, &LEAST) {
        return None;
    }
    let backed = deserialize.is_some();
    let mut finding = Finding::new(
        Problem::CpuContention,
        if backed { 0.55 } else { 0.4 },
        Subject::run(),
        format!(
            "warm tasks had a CPU for only {} of their run time, in {} of it and on all executors, and no metric says why: the event log \
             suggests busy hosts and does not prove it",
            words::percent(overall.share(overall.cpu_ms)),
            words::percent(covered / total.run_ms),
        ),
    );
    finding.evidence = vec![
        Evidence::number("unexplained_off_cpu_over_run_time_ratio", share, Unit::Ratio).over(ratio),
        Evidence::number("executor_cpu_time_over_run_time_ratio", overall.share(overall.cpu_ms), Unit::Ratio),
        Evidence::number("covered_task_time_ratio", covered / total.run_ms, Unit::Ratio)
            .over(ctx.threshold(&COVERED_SHARE)),
        Evidence::number("executors_waiting_count", executors.len() as f64, Unit::Count),
    ];
    finding.evidence.extend(
        deserialize.map(|ratio| Evidence::number("deserialize_cpu_over_deserialize_time_ratio", ratio, Unit::Ratio)),
    );
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "{} of {} of warm run time was off the CPU without an explanation; that share of each stage's time, over {}, each \
         at its share of the clock; an upper bound",
        words::duration(overall.rest_ms),
        words::duration(overall.run_ms),
        losses.stage_attempts(),
    ));
    finding.advice = advice(ctx, overall.share(overall.cpu_ms));
    Some(finding)
}

/// The code of a stage: its call site, or where that is Spark's own the description of its SQL execution without the number; and the
/// operators it runs, as all stages of an action have one call site.
fn code(ctx: &Context<'_>, key: StageKey) -> String {
    let name = ctx.stage_name(key).trim();
    let called = ctx.stage_called(key);
    let site = if !name.is_empty() && !name.contains("CompletableFuture.java") {
        name
    } else {
        called.split_once(": ").map_or(called.as_str(), |(_, rest)| rest)
    };
    let rdds = ctx.run.stages.get(&key).map(|stage| stage.rdds.as_slice()).unwrap_or_default();
    let operators: BTreeSet<&str> = rdds
        .iter()
        .map(|rdd| rdd.scope.as_deref().unwrap_or(&rdd.name))
        // `WholeStageCodegen (3)`: the number counts through the plan.
        .map(|scope| scope.split_once(" (").map_or(scope, |(operator, _)| operator))
        .collect();
    format!("{site}\n{}", operators.into_iter().collect::<Vec<_>>().join(","))
}

fn by_executor(stages: &[&StageBlocked<'_>]) -> BTreeMap<Option<u64>, Blocked> {
    let mut executors: BTreeMap<Option<u64>, Vec<Option<Blocked>>> = BTreeMap::new();
    for task in stages.iter().flat_map(|stage| &stage.tasks) {
        executors.entry(task.executor).or_default().push(task.blocked);
    }
    executors.into_iter().filter_map(|(id, parts)| Some((id, Blocked::sum(parts.into_iter())?))).collect()
}

fn advice(ctx: &Context<'_>, cpu_share: f64) -> Vec<Advice> {
    let mut all = Vec::new();
    let cores = ctx.run.worker_executors().filter_map(|executor| executor.cores).max().unwrap_or(0);
    let fit = ((cores as f64 * cpu_share).floor() as u64).max(1);
    if cores > 1 {
        let text = format!(
            "If the hosts are busy, use no more tasks at once than there are CPUs for: {cores} x {} = {fit}. The same work then takes as \
             long with fewer cores held, or faster where the neighbours can be moved.",
            words::percent(cpu_share),
        );
        all.push(if is_local(ctx.run) {
            Advice::text(format!("{text} In local mode: local[{fit}]."))
        } else {
            Advice::text(text).set("spark.executor.cores", fit.to_string())
        });
    }
    all.push(Advice::text(
        "What tells the causes apart: more runnable threads than CPUs on the hosts at that time (vmstat: r above the number of CPUs; \
         steal time st in virtual machines; nr_throttled in the container's cpu.stat) is contention. If the CPUs were idle, take a thread \
         dump of an executor: BLOCKED threads wait for a lock, threads in a socket read for a service. A kernel trace proves which thread \
         held the CPU.",
    ));
    if ctx.settings.set_by_user("spark.master").is_some_and(|master| master.starts_with("k8s")) {
        all.push(Advice::text(
            "On Kubernetes a limit lower than the cores that Spark believes to have throttles the executors: compare \
             spark.kubernetes.executor.limit.cores with spark.executor.cores.",
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use emberscope_run::TaskColumn;

    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// Four stages of 24 tasks of 2 s on two executors of 4 cores; CPU time of each stage's tasks in ms.
    fn stages(cpu: [u64; 4]) -> RunBuilder {
        let mut builder = run().executor("1", 4).executor("2", 4);
        for (id, cpu) in cpu.into_iter().enumerate() {
            builder = builder.stage(id as u64, |stage| {
                for partition in 0..24 {
                    stage.task(partition).duration_ms(2_000).metrics(2_000, cpu, 0).shuffle_read(1_000, 10);
                }
            });
        }
        builder
    }

    #[test]
    fn half_a_cpu_in_every_stage_and_on_every_executor_is_told_with_low_confidence() {
        let findings = check(&RULE, &stages([1_000; 4]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].confidence <= 0.4);
        // Each stage takes 6 s; half of 24 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(12_000));
        assert_eq!(findings[0].advice[0].config["spark.executor.cores"], "2");
        assert!(findings[0].summary.contains("does not prove it"));
    }

    #[test]
    fn tasks_that_hardly_compute_wait_for_something_else() {
        assert_eq!(check(&RULE, &stages([200; 4])), []);
    }

    #[test]
    fn warm_tasks_deserialized_on_the_cpu_show_that_there_was_one() {
        let deserialized = |cpu_ms: u64| {
            stages([1_000; 4]).with(move |run| {
                for stage in run.stages.values_mut() {
                    let rows: Vec<_> = stage.tasks.rows().collect();
                    stage.tasks = emberscope_run::TaskStore::default();
                    for mut row in rows {
                        row.set(TaskColumn::ExecutorDeserializeTime, 20);
                        row.set(TaskColumn::ExecutorDeserializeCpuTime, cpu_ms * 1_000_000);
                        stage.tasks.push(row);
                    }
                }
            })
        };
        assert_eq!(check(&RULE, &deserialized(14)), []);
        assert!((check(&RULE, &deserialized(6))[0].confidence - 0.55).abs() < 1e-9);
    }

    #[test]
    fn one_stage_that_waits_is_not_the_hosts_fault() {
        assert_eq!(check(&RULE, &stages([200, 1_950, 1_950, 1_950])), []);
    }

    #[test]
    fn stages_of_one_action_are_different_code_where_they_run_different_operators() {
        let of_one_action = |scopes: [&'static str; 4]| {
            stages([1_000; 4]).with(move |run| {
                for (stage, scope) in run.stages.values_mut().zip(scopes) {
                    stage.name = "first at job.py:7".to_owned();
                    let scope = Some(scope.to_owned());
                    stage.rdds = vec![emberscope_run::RddInfo { scope, ..Default::default() }];
                }
            })
        };
        let numbered = ["Exchange (1)", "Exchange (2)", "Exchange (3)", "Exchange (4)"];
        assert_eq!(check(&RULE, &of_one_action(numbered)), []);
        assert_eq!(check(&RULE, &of_one_action(["Scan csv", "Exchange (2)", "Scan csv", "Exchange (4)"])).len(), 1);
    }

    #[test]
    fn twenty_percent_of_waiting_is_clear() {
        assert_eq!(check(&RULE, &stages([1_600; 4])), []);
    }

    #[test]
    fn python_workers_are_no_contention() {
        let run = stages([1_000; 4]).with(|run| {
            for stage in run.stages.values_mut() {
                stage.rdds.push(emberscope_run::RddInfo { name: "PythonRDD".to_owned(), ..Default::default() });
            }
        });
        assert_eq!(check(&RULE, &run), []);
    }

    #[test]
    fn old_logs_without_cpu_times_are_skipped() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0).set(TaskColumn::ExecutorRunTime, 100);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
