//! Executors go away while they are needed.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{Executor, ExecutorId, StageKey, TaskColumn, TaskEndKind, Unit};

use crate::deployment::{self, Manager};
use crate::failures::{self, Departure, FailedTasks, Loss, MemoryKind};
use crate::finding::{Advice, Evidence, Finding, Harm, Savings, Subject};
use crate::problem::Problem;
use crate::root_cause::RootCause;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::{killed, total};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::ExecutorLoss,
    summary: "Executors went with work or shuffle data that was still needed.",
    documentation: include_str!("executor_loss.md"),
    thresholds: &[FLOOR],
    explained_by: &[Problem::ExecutorOom, Problem::JobFailure],
    check,
};

const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.005,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that was lost with the executors; a loss that a stage failed by \
             is told below it too. Set by judgement, which no labelled run of datasets/lab decides (`emberscope \
             calibrate`)",
};

/// Executors that went for one kind of reason.
#[derive(Default)]
struct Losses<'a> {
    executors: Vec<&'a Executor>,
    groups: Vec<FailedTasks>,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if deployment::is_local(ctx.run) {
        return Outcome::Clear;
    }
    if ctx.run.executors.is_empty() {
        return Outcome::missing("executors (the log has none of their events)");
    }
    let failed = failures::failed_tasks(ctx);
    let mut by_kind: BTreeMap<&'static str, Losses<'_>> = BTreeMap::new();
    for executor in ctx.run.worker_executors() {
        let own: Vec<&FailedTasks> = failed
            .iter()
            .filter(|group| group.executor.as_ref() == Some(&executor.id))
            .filter(|group| matches!(group.kind, TaskEndKind::ExecutorLostFailure | TaskEndKind::Resubmitted))
            .collect();
        if own.is_empty() && !missed_by_a_fetch(ctx, executor, &failed) {
            continue;
        }
        let losses = by_kind.entry(kind_word(departure_of(ctx, executor, &own))).or_default();
        losses.executors.push(executor);
        losses.groups.extend(own.into_iter().cloned());
    }
    Outcome::of(by_kind.iter().filter_map(|(word, losses)| finding(ctx, word, losses)).collect())
}

/// The reason of the executor's end, else that of the tasks it failed.
fn departure_of(ctx: &Context<'_>, executor: &Executor, own: &[&FailedTasks]) -> Departure {
    let from_tasks =
        own.iter().filter_map(|group| group.cause(ctx.run)).map(|f| failures::departure(&failures::words_of(f)));
    let from_reason = executor.removed_reason.as_deref().map(failures::departure);
    let all: Vec<Departure> = from_reason.into_iter().chain(from_tasks).collect();
    // The most telling: a memory kill is often reported as a lost process by one of the two.
    let telling = all
        .iter()
        .find(|departure| matches!(departure, Departure::Memory(_) | Departure::Taken | Departure::Heartbeat));
    telling.or(all.first()).copied().unwrap_or(Departure::Died)
}

fn kind_word(departure: Departure) -> &'static str {
    match departure {
        Departure::Intended => "was given back",
        Departure::Taken => "was taken away by the cluster",
        Departure::Memory(MemoryKind::Killed) => "was killed from outside (SIGKILL)",
        Departure::Memory(MemoryKind::Terminated) => "was told to end from outside (SIGTERM)",
        Departure::Memory(_) => "ran out of memory",
        Departure::Heartbeat => "stopped answering",
        Departure::Died => "died",
    }
}

/// Whether a fetch failed after this executor, which had done work, went.
fn missed_by_a_fetch(ctx: &Context<'_>, executor: &Executor, failed: &[FailedTasks]) -> bool {
    let Some(removed) = executor.removed_at.filter(|_| !failures::went_at_the_end(ctx.run, executor.removed_at)) else {
        return false;
    };
    let worked = ctx.features.executors.get(&executor.id).is_some_and(|summary| summary.tasks.succeeded > 0);
    let fetches = || failed.iter().filter(|group| group.kind == TaskEndKind::FetchFailed);
    let named = fetches()
        .filter_map(|group| group.cause(ctx.run))
        .any(|failure| names_executor(&failures::words_of(failure), executor));
    let any_named =
        fetches().filter_map(|group| group.cause(ctx.run)).any(|failure| says_executor(&failures::words_of(failure)));
    worked && fetches().any(|group| group.last_at.is_some_and(|at| removed <= at)) && (named || !any_named)
}

/// Whether a failed fetch says which executor it asked.
fn says_executor(words: &str) -> bool {
    words.contains("fetch from executor ") || words.contains("BlockManagerId(")
}

/// Whether a failed fetch says that it asked this executor.
fn names_executor(words: &str, executor: &Executor) -> bool {
    words.contains(&format!("fetch from executor {} failed", executor.id))
        || words.contains(&format!("BlockManagerId({},", executor.id))
}

fn finding(ctx: &Context<'_>, word: &str, losses: &Losses<'_>) -> Option<Finding> {
    let ids: BTreeSet<ExecutorId> = losses.executors.iter().map(|executor| executor.id.clone()).collect();
    let stages: BTreeSet<StageKey> = losses.groups.iter().map(|group| group.stage).collect();
    let loss = loss(ctx, &ids, &stages);
    let stage_failed = stages
        .iter()
        .any(|key| ctx.run.stages.get(key).is_some_and(|stage| stage.status() == emberscope_run::StageStatus::Failed));
    if ctx.below_floor(loss.wall_clock_ms, &FLOOR) && !stage_failed {
        return None;
    }
    let first = losses.executors.first()?;
    let count =
        |kind: TaskEndKind| total(losses.groups.iter().filter(|group| group.kind == kind).map(|group| group.count));
    let (lost_tasks, resubmitted) = (count(TaskEndKind::ExecutorLostFailure), count(TaskEndKind::Resubmitted));
    let whom = match losses.executors.as_slice() {
        [one] => format!("executor {}", one.id),
        [a, b] => format!("executors {} and {}", a.id, b.id),
        many => format!("{} executors", many.len()),
    };
    let verb = if losses.executors.len() == 1 { word.to_owned() } else { word.replacen("was ", "were ", 1) };
    let mut parts = Vec::new();
    if lost_tasks > 0 {
        parts.push(format!("{} running {}", words::count(lost_tasks), if lost_tasks == 1 { "task" } else { "tasks" }));
    }
    if resubmitted > 0 {
        parts.push(format!(
            "the shuffle output of {} finished {}",
            words::count(resubmitted),
            if resubmitted == 1 { "task" } else { "tasks" }
        ));
    }
    if parts.is_empty() {
        parts.push("shuffle data that could not be fetched afterwards".to_owned());
    }
    let mut finding = Finding::new(
        Problem::ExecutorLoss,
        if losses.groups.is_empty() { 0.7 } else { 0.95 },
        Subject::executor(&first.id),
        format!("{whom} {verb} and took along {}", parts.join(" and ")),
    );
    finding.more_subjects = losses.executors.iter().skip(1).map(|executor| Subject::executor(&executor.id)).collect();
    finding.more_subjects.extend(stages.iter().map(|&key| ctx.stage_subject(key)));
    finding.harm = Harm::LostWork;
    finding.causes =
        losses.groups.iter().filter_map(|group| group.cause(ctx.run)).map(|f| RootCause::of_failure(f).key()).collect();
    let reason = losses.executors.iter().find_map(|executor| executor.removed_reason.as_deref());
    finding.because = reason.and_then(RootCause::of_text).map(|root| root.sentence()).or_else(|| {
        let failure = losses.groups.iter().find_map(|group| group.cause(ctx.run))?;
        Some(RootCause::of_failure(failure).sentence())
    });
    finding.evidence = vec![
        Evidence::number("executors_lost_count", losses.executors.len() as f64, Unit::Count),
        Evidence::number("executor_lost_tasks_count", lost_tasks as f64, Unit::Count),
        Evidence::number("resubmitted_tasks_count", resubmitted as f64, Unit::Count),
        Evidence::text("removed_reason", finding.because.clone().unwrap_or_else(|| "not said".to_owned())),
    ];
    finding.savings = Savings {
        wall_clock_ms: Some(loss.wall_clock_ms.round() as u64),
        core_ms: Some(loss.core_ms.round() as u64),
        how: format!(
            "{} of task time was lost or had to be done again; spread over the slots of the stages, or by how much later those \
             partitions ended, that is {} of the run",
            words::duration(loss.core_ms),
            words::duration(loss.wall_clock_ms)
        ),
    };
    let kind = losses.executors.first().map(|executor| {
        departure_of(
            ctx,
            executor,
            &losses.groups.iter().filter(|g| g.executor.as_ref() == Some(&executor.id)).collect::<Vec<_>>(),
        )
    });
    finding.advice =
        advice(ctx, kind.unwrap_or(Departure::Died), reason.unwrap_or_default(), resubmitted > 0 || lost_tasks == 0);
    Some(finding)
}

/// Attempts that died with the executors, and finished tasks of theirs that had to run again.
fn loss(ctx: &Context<'_>, ids: &BTreeSet<ExecutorId>, stages: &BTreeSet<StageKey>) -> Loss {
    let mut loss = Loss::default();
    for key in stages {
        let (Some(stage), Some(attempt)) = (ctx.features.stages.get(key), ctx.run.stages.get(key)) else { continue };
        let on_lost = |row: &emberscope_run::TaskRow| ctx.run.executor_of(row).is_some_and(|id| ids.contains(id));
        let again: BTreeSet<u64> = attempt
            .tasks
            .rows()
            .filter(|row| row.get(TaskColumn::EndReason) == Some(TaskEndKind::Resubmitted.code()) && on_lost(row))
            .filter_map(|row| row.get(TaskColumn::Partition))
            .collect();
        loss += failures::loss_in_stage(ctx, stage, |row| match row.status() {
            Some(emberscope_run::TaskStatus::Failed) => {
                row.get(TaskColumn::EndReason) == Some(TaskEndKind::ExecutorLostFailure.code()) && on_lost(row)
            }
            Some(emberscope_run::TaskStatus::Success) => {
                on_lost(row) && row.get(TaskColumn::Partition).is_some_and(|partition| again.contains(&partition))
            }
            _ => false,
        });
    }
    loss
}

fn advice(ctx: &Context<'_>, departure: Departure, reason: &str, shuffle_lost: bool) -> Vec<Advice> {
    let mut all = Vec::new();
    let manager = deployment::manager(ctx.run);
    match departure {
        Departure::Intended => all.push(Advice::text(
            "The executors were given back while others still wanted their shuffle files: that is what shuffle tracking, a \
             longer idle timeout or an external shuffle service are for.",
        )),
        Departure::Taken => all.push(Advice::text(
            "The cluster took the hosts or containers: preemption by another queue or spot instances. Guaranteed capacity for \
             the run ends it; where it has to be lived with, let executors hand their blocks on before they go.",
        )),
        Departure::Memory(kind @ MemoryKind::Killed) if !killed::in_container(ctx, kind, reason) => {
            all.extend(killed::advice(ctx, deployment::asked_memory(ctx.run, ctx.settings)));
        }
        Departure::Memory(MemoryKind::Killed | MemoryKind::Terminated) => all.push(Advice::text(
            "A signal from outside ended it. Where a container has a limit, the cluster manager's log of it says whether memory \
             was the reason; else the kernel's log of the host (`dmesg -T`) names the process when memory was short.",
        )),
        Departure::Memory(_) => all.push(Advice::text("It ran out of memory: see the finding on that.")),
        Departure::Heartbeat => all.push(Advice::text(
            "The executor did not answer for spark.network.timeout (120s by default): mostly one long garbage collection (its GC \
             log or the GC time of its tasks tells), else a host that hung or was cut off the network. Mend the memory \
             rather than raising the timeout.",
        )),
        Departure::Died => all.push(Advice::text(match manager {
            Manager::Yarn => {
                "Spark does not say why. What would tell: the NodeManager's log of that container (killed for memory, or \
                 preempted), the executor's stderr (a crash leaves an hs_err file), or the host's log when all of its \
                 executors went at once."
            }
            Manager::Kubernetes => {
                "Spark does not say why. What would tell: `kubectl describe pod` (OOMKilled, Evicted, node lost) and the pod's \
                 previous log."
            }
            _ => {
                "Spark does not say why. What would tell: the executor's stderr (an exception, or an hs_err file of a crash), \
                 and the host's kernel log (oom-kill)."
            }
        })),
    }
    if shuffle_lost && ctx.settings.boolean("spark.shuffle.service.enabled") == Some(false) {
        match manager {
            Manager::Kubernetes
                if ctx.settings.boolean("spark.storage.decommission.shuffleBlocks.enabled") != Some(true) =>
            {
                all.push(
                    Advice::text("Let executors that are told to go hand their shuffle files on (Spark 3.1 on).")
                        .set("spark.decommission.enabled", "true")
                        .set("spark.storage.decommission.enabled", "true")
                        .set("spark.storage.decommission.shuffleBlocks.enabled", "true"),
                );
            }
            Manager::Yarn | Manager::Standalone => all.push(
                Advice::text(
                    "With an external shuffle service on the hosts, finished tasks keep their output when the executor dies \
                     (not when its host does).",
                )
                .set("spark.shuffle.service.enabled", "true"),
            ),
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};
    use crate::testing_failures::Fail;
    use emberscope_run::TaskStatus;

    /// 8 partitions of 4 s on 2 executors of 2 cores. Executor 2 goes after 6 s: 2 finished tasks are resubmitted and 2
    /// running ones are lost after 2 s.
    fn lost(reason: &str) -> RunBuilder {
        let mut builder = run().set("spark.master", "yarn").executor("1", 2).executor("2", 2);
        let failure = builder.failure(TaskEndKind::ExecutorLostFailure, "", reason, None);
        builder
            .stage(0, |stage| {
                (0..4).for_each(|partition| {
                    stage.task(partition).duration_ms(4_000);
                });
                for partition in [1, 3] {
                    stage.task(partition).duration_ms(0).on("2").resubmitted();
                }
                for partition in [5, 7] {
                    stage
                        .task(partition)
                        .duration_ms(2_000)
                        .on("2")
                        .fails(failure)
                        .status(TaskStatus::Failed, TaskEndKind::ExecutorLostFailure);
                }
                for partition in [4, 6, 5, 7, 1, 3] {
                    stage.task(partition).duration_ms(4_000).on("1");
                }
            })
            .removed("2", 6_000, reason)
    }

    #[test]
    fn an_executor_that_died_with_work_and_shuffle_output_is_one_finding() {
        let findings = check(&RULE, &lost("Executor Process Lost"));
        assert_eq!(findings.len(), 1);
        let finding = &findings[0];
        assert_eq!(
            finding.summary,
            "executor 2 died and took along 2 running tasks and the shuffle output of 2 finished tasks"
        );
        // Lost: two running attempts of 2 s. Done again: partitions 1 and 3, twice 4 s each on executor 2's first wave.
        assert_eq!(finding.savings.core_ms, Some(4_000 + 8_000));
        assert_eq!(finding.harm, Harm::LostWork);
        assert!(finding.advice.iter().any(|advice| advice.config.contains_key("spark.shuffle.service.enabled")));
    }

    #[test]
    fn executors_that_dynamic_allocation_removed_are_no_loss() {
        for reason in [
            "Executor 2 is removed. Remove reason: Executor idle timeout",
            "Executor killed by driver.",
            "Command exited with code 0",
        ] {
            let builder = run().executor("1", 2).executor("2", 2).stage(0, |stage| {
                (0..4).for_each(|partition| {
                    stage.task(partition).duration_ms(4_000);
                });
            });
            assert_eq!(check(&RULE, &builder.idle(60_000).removed("2", 30_000, reason)), [], "{reason}");
        }
    }

    #[test]
    fn an_executor_that_dies_idle_harms_nobody() {
        let builder = run().executor("1", 2).executor("2", 2).stage(0, |stage| {
            stage.task(0).duration_ms(4_000).on("1");
        });
        assert_eq!(check(&RULE, &builder.removed("2", 2_000, "Executor Process Lost")), []);
    }

    #[test]
    fn a_loss_below_the_floor_is_silent() {
        // At most 12 s of core time: 0.5 % of more than 40 minutes.
        assert_eq!(check(&RULE, &lost("Executor Process Lost").idle(2_500_000)), []);
    }

    #[test]
    fn without_executors_the_rule_is_skipped() {
        assert!(matches!(outcome(&RULE, &run().set("spark.master", "yarn")), Outcome::Skipped { .. }));
    }
}
