//! A task is slow for its amount of data, not because of it.

use std::collections::BTreeMap;

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{StageKey, TaskColumn, TaskId, TaskRow, Unit};

use crate::deployment;
use crate::finding::{Advice, Evidence, Finding};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::blocked::{Blocked, runs_python};
use crate::support::loss::{Losses, StageLoss};
use crate::support::partitioning::set_new;
use crate::support::tasks::{self, Task};
use crate::support::traced::prove;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::StragglerTask,
    summary: "A warm task took many times as long as its warm siblings with as much data, and the stage waited for it.",
    documentation: include_str!("straggler_task.md"),
    thresholds: &[TASK_FACTOR, DATA_FACTOR, MIN_SIBLINGS, MIN_EXCESS, FLOOR],
    explained_by: &[Problem::DataSkew, Problem::SlowExecutor],
    check,
};

const TASK_FACTOR: Threshold = Threshold {
    name: "task_factor",
    value: 3.0,
    unit: Unit::Ratio,
    reason: "duration over what the warm siblings' median would be for its data. Spark's speculation copies a task from 1.5 \
             times the median (3 times from Spark 4.0), which this follows",
};
const DATA_FACTOR: Threshold = Threshold {
    name: "data_factor",
    value: 2.0,
    unit: Unit::Ratio,
    reason: "bytes or records of the task over its siblings' median up to which it is slow despite its data; \
             above it the data is the cause. Set by judgement, not contradicted by the training families of \
             datasets/lab (`emberscope calibrate`)",
};
const MIN_SIBLINGS: Threshold = Threshold {
    name: "min_siblings",
    value: 4.0,
    unit: Unit::Count,
    reason: "warm tasks of a stage below which a median says little. Set by judgement",
};
const MIN_EXCESS: Threshold = Threshold {
    name: "min_excess_ms",
    value: 1_500.0,
    unit: Unit::Ms,
    reason: "time over what was expected: one full collection, one lost packet or one JIT compilation take up to \
             a second and come and go. Set by judgement, not contradicted by the training families of \
             datasets/lab (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.02,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time by which stages ended later for it; below it nobody gains by mending",
};

/// A slow task.
#[derive(Debug, Clone)]
struct Straggler {
    key: StageKey,
    task: Task,
    expected_ms: f64,
    typical_cpu_ms: Option<f64>,
}

impl Straggler {
    fn excess(&self) -> f64 {
        self.task.duration() - self.expected_ms
    }
}

/// The stragglers of one cause: of an executor.
#[derive(Default)]
struct Group {
    losses: Vec<StageLoss>,
    stragglers: Vec<Straggler>,
}

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = match ctx.stages_that_ran(
        |stage| stage.metric(Metric::BytesIn).is_some() || stage.metric(Metric::ExecutorRunTime).is_some(),
        "task metrics: a slow task cannot be told from one with more data",
    ) {
        Ok(ran) => ran,
        Err(skipped) => return skipped,
    };
    let mut groups: BTreeMap<Option<u64>, Group> = BTreeMap::new();
    for stage in ran {
        let Some((loss, stragglers)) = look(ctx, stage) else { continue };
        let Some(worst) = stragglers.first() else { continue };
        let group = groups.entry(worst.task.executor).or_default();
        group.losses.push(loss);
        group.stragglers.extend(stragglers);
    }
    Outcome::of(groups.into_values().filter_map(|group| finding(ctx, group)).collect())
}

fn look(ctx: &Context<'_>, stage: &StageSummary) -> Option<(StageLoss, Vec<Straggler>)> {
    // What the summary says already: no warm task can be that slow, or none is.
    let warm = stage.warm_duration?;
    if !(warm.count as f64 >= ctx.threshold(&MIN_SIBLINGS)
        && warm.max as f64 - warm.p50 as f64 >= ctx.threshold(&MIN_EXCESS))
    {
        return None;
    }
    let attempt = ctx.run.stages.get(&stage.key)?;
    let all = tasks::successful(ctx.run, attempt);
    let siblings = || all.iter().filter(|task| task.warm);
    let typical_ms = tasks::median(siblings().map(Task::duration))?;
    let typical = |column: fn(&emberscope_run::TaskRow) -> Option<u64>| {
        tasks::median(siblings().filter_map(|task| column(&task.row)).map(|value| value as f64))
    };
    let sizes: [(SizeOf, Option<f64>); 4] = SIZES.map(|size| (size, typical(size)));
    let typical_cpu_ms = tasks::median(siblings().filter_map(Task::cpu_ms));
    let mut stragglers: Vec<Straggler> = siblings()
        .filter_map(|task| {
            let data = data_factor(task, &sizes);
            let expected_ms = typical_ms * data.max(1.0);
            let slow = data < ctx.threshold(&DATA_FACTOR)
                && task.duration() >= ctx.threshold(&TASK_FACTOR) * expected_ms
                && task.duration() - expected_ms >= ctx.threshold(&MIN_EXCESS);
            slow.then(|| Straggler { key: stage.key, task: task.clone(), expected_ms, typical_cpu_ms })
        })
        .collect();
    // More than a tenth of the tasks are no stragglers but another kind of task.
    // In a stage that collects garbage for much of its time, tasks that stood still for it are gc-pressure's.
    if stage.share(Metric::JvmGcTime, Metric::ExecutorRunTime).is_some_and(|share| share >= GC_SHARE) {
        stragglers
            .retain(|straggler| straggler.task.number(TaskColumn::JvmGcTime).unwrap_or(0.0) < 0.5 * straggler.excess());
    }
    if stragglers.is_empty() || stragglers.len() * 10 > all.len().max(10) {
        return None;
    }
    let end = all.iter().map(|task| task.finish).max()?;
    let without = all
        .iter()
        .map(|task| {
            let straggler = stragglers
                .iter()
                .find(|straggler| straggler.task.row.get(TaskColumn::TaskId) == task.row.get(TaskColumn::TaskId));
            straggler.map_or(task.finish, |straggler| task.launch.saturating_add(straggler.expected_ms as i64))
        })
        .max()?;
    let excess: f64 = stragglers.iter().map(Straggler::excess).sum();
    stragglers.sort_by(|a, b| b.task.finish.cmp(&a.task.finish).then(b.excess().total_cmp(&a.excess())));
    Some((StageLoss::of_span(stage, end.saturating_sub(without) as f64, excess), stragglers))
}

/// From this share of garbage collection in the run time on a stage is under gc-pressure (that rule's own threshold).
const GC_SHARE: f64 = 0.1;

type SizeOf = fn(&emberscope_run::TaskRow) -> Option<u64>;

/// What a task's work can be measured by: what it takes in and what it puts out.
const SIZES: [SizeOf; 4] = [
    |row| row.bytes_in(),
    |row| row.records_in(),
    |row| row.get(TaskColumn::ShuffleBytesWritten),
    |row| row.get(TaskColumn::OutputBytes),
];

/// The largest of the task's sizes over those typical of its siblings; 1 where nothing is known.
fn data_factor(task: &Task, typical: &[(SizeOf, Option<f64>); 4]) -> f64 {
    let factors = typical.iter().filter_map(|(size, typical)| {
        let own = size(&task.row)? as f64;
        match (*typical)? {
            typical if typical > 0.0 => Some(own / typical),
            // Siblings have none of it: a task that has some does other work.
            _ if own > 0.0 => Some(f64::INFINITY),
            _ => None,
        }
    });
    factors.fold(None, |max: Option<f64>, factor| Some(max.map_or(factor, |max| max.max(factor)))).unwrap_or(1.0)
}

fn finding(ctx: &Context<'_>, group: Group) -> Option<Finding> {
    let losses = Losses::of(group.losses);
    if ctx.below_floor(losses.wall_ms(), &FLOOR) || !ctx.reaches(2.0 * losses.wall_ms(), &MIN_EXCESS) {
        return None;
    }
    let mut stragglers = group.stragglers;
    stragglers.sort_by_key(|straggler| Some(straggler.key) != losses.worst());
    let worst = stragglers.first()?.clone();
    let executor = ctx.run.executor_of(&worst.task.row);
    let more_cpu = more_cpu(&worst);
    let subject = |straggler: &Straggler| {
        let id = TaskId(straggler.task.row.get(TaskColumn::TaskId).unwrap_or_default());
        let partition = straggler.task.row.get(TaskColumn::Partition).unwrap_or_default();
        let mut subject = ctx.task_subject(straggler.key, id, partition);
        if let Some(executor) = ctx.run.executor_of(&straggler.task.row) {
            subject = subject.on_executor(executor);
        }
        subject.host = ctx.run.host_of(&straggler.task.row).map(str::to_owned);
        subject
    };
    let mut finding = Finding::new(
        Problem::StragglerTask,
        if more_cpu { 0.6 } else { 0.8 },
        subject(&worst),
        format!(
            "partition {} of stage {} took {} where its data made {} likely{}",
            worst.task.row.get(TaskColumn::Partition).unwrap_or_default(),
            worst.key,
            words::duration(worst.task.duration()),
            words::duration(worst.expected_ms),
            executor.map_or_else(String::new, |id| format!(", on executor {id}")),
        ),
    );
    finding.more_subjects = stragglers.iter().skip(1).take(9).map(subject).collect();
    if stragglers.len() > 10 {
        finding.evidence.push(Evidence::number("further_tasks_count", (stragglers.len() - 10) as f64, Unit::Count));
    }
    finding.evidence.insert(
        0,
        Evidence::number(Metric::Duration.statistic("max"), worst.task.duration(), Unit::Ms)
            .over(ctx.threshold(&TASK_FACTOR) * worst.expected_ms)
            .against(worst.expected_ms),
    );
    let rows: Vec<TaskRow> = ctx.run.stages.get(&worst.key).into_iter().flat_map(|stage| stage.tasks.rows()).collect();
    let its = worst.task.row.get(TaskColumn::TaskId);
    let (mine, others): (Vec<&TaskRow>, Vec<&TaskRow>) =
        rows.iter().partition(|row| row.get(TaskColumn::TaskId) == its);
    prove(ctx, &mut finding, mine, others);
    let parts = Blocked::of_task(&worst.task.row);
    if let Some(parts) = parts {
        finding.evidence.extend(
            [
                ("executor_cpu_time_ns", parts.cpu_ms, Unit::Ns),
                ("shuffle_fetch_wait_time_ms", parts.fetch_ms, Unit::Ms),
                ("jvm_gc_time_ms", parts.gc_ms, Unit::Ms),
                ("shuffle_write_wait_time_ms", parts.write_ms, Unit::Ms),
                ("blocked_without_metric_ms", parts.rest_ms, Unit::Ms),
            ]
            .into_iter()
            .filter(|(_, ms, _)| *ms >= 1.0)
            .map(|(name, ms, unit)| Evidence::number(name, if unit == Unit::Ns { ms * 1e6 } else { ms }, unit)),
        );
    }
    if parts.is_none() {
        // Without CPU time these may overlap, and are told as Spark wrote them.
        finding.evidence.extend(
            [TaskColumn::JvmGcTime, TaskColumn::ShuffleFetchWaitTime]
                .into_iter()
                .filter_map(|column| Some(Evidence::number(column.name(), worst.task.number(column)?, column.unit()))),
        );
    }
    finding.savings = losses.savings(format!(
        "without the excess of {}, {} would have ended earlier by that much, each at its share of the clock",
        words::plural(stragglers.len() as u64, "task"),
        losses.stage_attempts(),
    ));
    finding.advice = advice(ctx, &worst, parts.as_ref(), more_cpu);
    Some(finding)
}

/// Whether the task's CPU time grew with its duration: it computed more, rather than waited.
fn more_cpu(straggler: &Straggler) -> bool {
    let (Some(cpu), Some(typical)) = (straggler.task.cpu_ms(), straggler.typical_cpu_ms) else { return false };
    typical > 0.0 && cpu - typical >= 0.5 * straggler.excess()
}

fn advice(ctx: &Context<'_>, worst: &Straggler, parts: Option<&Blocked>, more_cpu: bool) -> Vec<Advice> {
    let settings = ctx.settings.for_stage(worst.key);
    let host = ctx.run.host_of(&worst.task.row).unwrap_or("its host").to_owned();
    let excess = worst.excess();
    let mut all = Vec::new();
    if more_cpu {
        all.push(Advice::text(format!(
            "Its CPU time grew with its duration, at as much data as its siblings had: either its rows are dearer to compute (look at \
             partition {}: a long loop, a regular expression, a nested structure), or the CPU of {host} was slower. A copy \
             elsewhere helps in the second case only.",
            worst.task.row.get(TaskColumn::Partition).unwrap_or_default(),
        )));
    } else if let Some(parts) = parts {
        let what = [
            (parts.fetch_ms, "It waited for shuffle blocks of other executors: look at the executors that served it"),
            (
                parts.gc_ms,
                "Its executor collected garbage meanwhile: look at the memory of that executor and what is cached there",
            ),
            (parts.write_ms, "It waited to write shuffle data: look at the local disks"),
            (
                parts.rest_ms,
                if runs_python(ctx, worst.key) {
                    "Its thread waited for its Python worker: either the rows are dearer to compute there, or the worker was \
                     held up. A stack of the worker while it lasts tells (py-spy dump)"
                } else {
                    "It was off the CPU for a reason that no metric names: a slow disk or storage server, a busy host, a lock, or \
                     a call to another service. A thread dump of the executor while it lasts tells them apart"
                },
            ),
        ];
        if let Some((ms, text)) =
            what.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(ms, _)| *ms >= 0.3 * excess)
        {
            all.push(Advice::text(format!(
                "{text} ({host}). This makes {} of the {} over what was likely.",
                words::duration(ms.min(excess)),
                words::duration(excess)
            )));
        }
    }
    if settings.boolean("spark.speculation") == Some(false)
        && ctx.features.executors.len() > 1
        && deployment::on_several_hosts(ctx.run)
    {
        let advice = Advice::text(
            "Let Spark start a copy of a task that is much slower than its siblings, elsewhere, and take the first that ends. Only \
             where tasks may safely run twice (no writes to outside systems).",
        );
        all.push(set_new(advice, &settings, "spark.speculation", "true"));
    }
    if all.is_empty() {
        all.push(Advice::text(format!(
            "Look at {host} at that time: other processes, disk errors, throttling. If it recurs there, exclude the host; if it recurs \
             in this partition, look at its rows."
        )));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// 32 tasks of 1 s on 2 executors of 2 cores; partition 30, launched among the last, takes `ms` and reads `bytes`.
    fn slow_last(ms: u64, bytes: u64) -> RunBuilder {
        run().executor("1", 2).executor("2", 2).stage(0, |stage| {
            for partition in 0..32 {
                let (own, read) = if partition == 30 { (ms, bytes) } else { (1_000, 10_000_000) };
                stage.task(partition).duration_ms(own).metrics(own, 900, 0).shuffle_read(read, 1_000);
            }
        })
    }

    #[test]
    fn a_warm_task_that_is_slow_at_equal_data_is_found_with_its_executor() {
        let findings = check(&RULE, &slow_last(9_000, 10_000_000));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].subject.partition, Some(30));
        assert_eq!(findings[0].subject.executor_id.as_deref(), Some("1"));
        // Eight waves of 1 s; it is launched at 7 s and ends at 16 s instead of 8 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(8_000));
        assert_eq!(
            findings[0].advice.last().unwrap().config.get("spark.speculation").map(String::as_str),
            Some("true")
        );
    }

    #[test]
    fn a_first_wave_ten_times_slower_than_the_rest_is_healthy() {
        let run = run().executor("1", 4).executor("2", 4).stage(0, |stage| {
            for partition in 0..64 {
                let ms = if partition < 8 { 10_000 + partition * 500 } else { 1_000 };
                stage.task(partition).duration_ms(ms).metrics(ms, 900, 0).shuffle_read(10_000_000, 1_000);
            }
        });
        assert_eq!(check(&RULE, &run), []);
    }

    #[test]
    fn a_slow_task_with_more_data_is_no_straggler() {
        assert_eq!(check(&RULE, &slow_last(9_000, 90_000_000)), []);
    }

    #[test]
    fn just_below_the_factor_or_the_excess_is_clear() {
        assert_eq!(check(&RULE, &slow_last(2_999, 10_000_000)), []);
        let short = run().executor("1", 2).stage(0, |stage| {
            for partition in 0..32 {
                let ms = if partition == 30 { 1_590 } else { 100 };
                stage.task(partition).duration_ms(ms).metrics(ms, 90, 0).shuffle_read(10_000_000, 1_000);
            }
        });
        assert_eq!(check(&RULE, &short), []);
    }

    #[test]
    fn cpu_time_that_grew_with_the_duration_is_said() {
        let run = run().executor("1", 2).stage(0, |stage| {
            for partition in 0..32 {
                let ms = if partition == 30 { 9_000 } else { 1_000 };
                stage.task(partition).duration_ms(ms).metrics(ms, ms, 0).shuffle_read(10_000_000, 1_000);
            }
        });
        let findings = check(&RULE, &run);
        assert!(findings[0].advice[0].text.starts_with("Its CPU time grew"));
        assert!((findings[0].confidence - 0.6).abs() < 1e-9);
    }

    #[test]
    fn executors_of_one_host_are_not_told_to_copy_tasks() {
        let one_host = slow_last(9_000, 10_000_000).with(|run| {
            run.executors.values_mut().for_each(|executor| executor.host = Some("only".to_owned()));
        });
        assert!(check(&RULE, &one_host)[0].advice.iter().all(|advice| advice.config.is_empty()));
    }

    #[test]
    fn where_rows_go_to_python_it_is_the_worker_that_is_to_be_looked_at() {
        let findings = check(&RULE, &slow_last(9_000, 10_000_000));
        assert!(findings[0].advice[0].text.contains("thread dump"), "{}", findings[0].advice[0].text);
        let python = slow_last(9_000, 10_000_000).with(|run| {
            for stage in run.stages.values_mut() {
                stage.rdds.push(emberscope_run::RddInfo { name: "PythonRDD".to_owned(), ..Default::default() });
            }
        });
        let text = &check(&RULE, &python)[0].advice[0].text;
        assert!(text.contains("Python worker") && !text.contains("thread dump"), "{text}");
    }

    #[test]
    fn a_task_that_stood_still_in_a_stage_full_of_collections_is_left_to_gc_pressure() {
        let run = run().executor("1", 2).stage(0, |stage| {
            for partition in 0..32 {
                let (ms, gc) = if partition == 30 { (9_000, 6_000) } else { (1_000, 100) };
                stage.task(partition).duration_ms(ms).metrics(ms, 900, gc).shuffle_read(10_000_000, 1_000);
            }
        });
        // 9.1 s of collections in 40 s.
        assert_eq!(check(&RULE, &run), []);
    }

    #[test]
    fn without_task_metrics_the_rule_says_so() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
