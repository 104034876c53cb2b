//! The tasks of one executor are slower than others' of the same stages at equal data.

use std::collections::BTreeMap;

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{ExecutorId, StageKey, TaskColumn, TaskRow, Unit};

use crate::deployment;
use crate::finding::{Advice, Evidence, Finding, Subject};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::loss::{HALF_A_SECOND, Losses, StageLoss};
use crate::support::partitioning::set_new;
use crate::support::tasks::{self, Task};
use crate::support::traced::prove;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::SlowExecutor,
    summary: "Tasks of one executor took much longer than others' of the same stages with as much data.",
    documentation: include_str!("slow_executor.md"),
    thresholds: &[SLOW_FACTOR, MIN_TASKS, FEW_TASKS, FEW_FACTOR, MIN_TASK, FLOOR, HALF_A_SECOND],
    explained_by: &[],
    check,
};

const SLOW_FACTOR: Threshold = Threshold {
    name: "slow_factor",
    value: 1.4,
    unit: Unit::Ratio,
    reason: "median over an executor's tasks of duration, without waits for blocks, against the others' median of the same stage, less what \
             more data explains. Equal hosts differ by 10 to 20 %. Set on the training families of datasets/lab \
             (`emberscope calibrate`)",
};
const MIN_TASKS: Threshold = Threshold {
    name: "min_tasks",
    value: 5.0,
    unit: Unit::Count,
    reason: "compared tasks of the executor below which it was unlucky rather than slow. Set on the training \
             families of datasets/lab (`emberscope calibrate`)",
};
const FEW_TASKS: Threshold = Threshold {
    name: "few_tasks",
    value: 2.0,
    unit: Unit::Count,
    reason: "so few tasks are enough where every one of them was far slower: an executor that stands still gets few. Set by \
             judgement on runs of datasets/lab",
};
const FEW_FACTOR: Threshold = Threshold {
    name: "few_factor",
    value: 3.0,
    unit: Unit::Ratio,
    reason: "least of their durations over the others' medians, where medians below the least duration count as that; and the product \
             of all is at least that of three such tasks. Set by judgement on runs of datasets/lab",
};
const MIN_TASK: Threshold = Threshold {
    name: "min_task_ms",
    value: 100.0,
    unit: Unit::Ms,
    reason: "median duration of the others' tasks below which the clock's grain and the driver's distance decide. Set by \
             judgement",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.03,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that it cost; below it nobody gains by mending. Set by judgement, \
             not contradicted by the training families of datasets/lab (`emberscope calibrate`)",
};

/// What one executor's tasks took, held against the others'.
#[derive(Debug, Default)]
struct Compared {
    durations: Vec<f64>,
    /// The same for all tasks but each core's first, others' medians below the least counted as the least.
    strictly: Vec<f64>,
    /// Tasks of other executors that they were held against.
    against: usize,
    bytes: Vec<f64>,
    cpu: Vec<f64>,
    gc: Vec<f64>,
    losses: Vec<StageLoss>,
}

impl Compared {
    /// Whether a median of its tasks says something.
    fn enough(&self, ctx: &Context<'_>) -> bool {
        ctx.reaches(self.durations.len().min(self.against) as f64, &MIN_TASKS)
    }
}

fn check(ctx: &Context<'_>) -> Outcome {
    let mut executors: BTreeMap<u64, Compared> = BTreeMap::new();
    let mut comparable = false;
    let settled = tasks::settled_from(ctx.run, 2);
    let stages: Vec<_> = ctx.features.stages.values().filter(|stage| stage.executors > 1).collect();
    for stage in &stages {
        comparable |= compare(ctx, stage, &settled, &mut executors);
    }
    // Tasks are gone through once more only where there are such executors.
    let mut few: Vec<_> = executors.iter_mut().filter(|(_, compared)| !compared.enough(ctx)).collect();
    if !few.is_empty() {
        let begun = tasks::settled_from(ctx.run, 1);
        for stage in stages.iter().filter(|stage| stage.executors <= MANY_EXECUTORS as u64) {
            strictly(ctx, stage, &begun, &mut few);
        }
    }
    if !comparable {
        return Outcome::missing("tasks of one stage on two executors or more that had run some before");
    }
    // By host: all executors of a slow host are one finding.
    let mut hosts: BTreeMap<Option<&str>, Vec<(ExecutorId, Compared)>> = BTreeMap::new();
    for (index, compared) in executors {
        let Some(id) = usize::try_from(index).ok().and_then(|index| ctx.run.executor_names.get(index)) else {
            continue;
        };
        if is_slow(ctx, &compared) {
            let host = ctx.run.executors.get(id).and_then(|executor| executor.host.as_deref());
            hosts.entry(host).or_default().push((id.clone(), compared));
        }
    }
    Outcome::of(hosts.into_iter().filter_map(|(host, slow)| finding(ctx, host, slow)).collect())
}

/// What a task took in ms without its waits for blocks of other executors, which are the doing of those.
fn own_ms(task: &Task) -> f64 {
    (task.duration() - task.number(TaskColumn::ShuffleFetchWaitTime).unwrap_or(0.0)).max(0.0)
}

/// From so many executors on each is held against all.
const MANY_EXECUTORS: usize = 32;

/// Adds a stage's tasks to their executors, each over the median of the others' tasks: cold ones over cold ones and warm ones
/// over warm ones, so that an executor that ran few tasks of each stage, because it is slow, can be compared. Says whether
/// any could be.
fn compare(
    ctx: &Context<'_>,
    stage: &StageSummary,
    settled: &BTreeMap<u64, i64>,
    executors: &mut BTreeMap<u64, Compared>,
) -> bool {
    // Where even long tasks are below the least there is nothing to compare.
    let long = stage.quantiles(Metric::Duration).map_or(0.0, |durations| durations.p95 as f64);
    let Some(attempt) = ctx.run.stages.get(&stage.key).filter(|_| ctx.reaches(long, &MIN_TASK)) else { return false };
    let mut classes: [BTreeMap<u64, Vec<Task>>; 2] = Default::default();
    for task in tasks::successful(ctx.run, attempt) {
        let Some(executor) = task.executor else { continue };
        if settled.get(&executor).is_some_and(|&from| task.launch >= from) {
            classes[usize::from(task.warm)].entry(executor).or_default().push(task);
        }
    }
    let mut comparable = false;
    let mut excesses: BTreeMap<u64, Excess> = BTreeMap::new();
    for own in &classes {
        for (&executor, tasks) in own {
            // Among many executors one does not move the median: it is that of all, not found anew for each.
            let many = own.len() > MANY_EXECUTORS;
            let others = || own.iter().filter(|(other, _)| many || **other != executor).flat_map(|(_, tasks)| tasks);
            let Some(typical) = tasks::median(others().map(own_ms)) else { continue };
            comparable = true;
            let entry = executors.entry(executor).or_default();
            excesses.entry(executor).or_default().add(tasks, typical);
            if !ctx.reaches(typical, &MIN_TASK) {
                continue;
            }
            let ratios = |value: fn(&Task) -> Option<f64>| -> Vec<f64> {
                match tasks::median(others().filter_map(value)).filter(|&typical| typical > 0.0) {
                    Some(typical) => tasks.iter().filter_map(value).map(|own| own / typical).collect(),
                    None => Vec::new(),
                }
            };
            entry.durations.extend(tasks.iter().map(|task| own_ms(task) / typical));
            entry.against = entry.against.saturating_add(others().count());
            entry.bytes.extend(ratios(|task| task.row.bytes_in().map(|bytes| bytes as f64)));
            entry.cpu.extend(ratios(Task::cpu_ms));
            let collected = |task: &Task| Some(task.number(TaskColumn::JvmGcTime)? / task.duration().max(1.0));
            entry.gc.extend(tasks.iter().filter_map(collected));
        }
    }
    for (executor, excess) in excesses {
        let ends = |own: bool| {
            let tasks = classes.iter().flatten().filter(|(other, _)| (**other == executor) == own);
            tasks.flat_map(|(_, tasks)| tasks).map(|task| task.finish).max()
        };
        if let Some(compared) = executors.get_mut(&executor) {
            compared.losses.push(excess.loss(stage, ends(true), ends(false)));
        }
    }
    comparable
}

/// Adds a stage's tasks, but for each core's first, to their executors that were compared, each over the median of the others' or
/// the least that is one.
fn strictly(
    ctx: &Context<'_>,
    stage: &StageSummary,
    begun: &BTreeMap<u64, i64>,
    executors: &mut [(&u64, &mut Compared)],
) {
    let Some(attempt) = ctx.run.stages.get(&stage.key) else { return };
    let tasks = tasks::successful(ctx.run, attempt);
    for (executor, compared) in executors {
        let (own, others): (Vec<&Task>, Vec<&Task>) = tasks.iter().partition(|task| task.executor == Some(**executor));
        let Some(typical) = tasks::median(others.into_iter().map(own_ms)) else { continue };
        let least = typical.max(ctx.threshold(&MIN_TASK));
        let own = own.into_iter().filter(|task| begun.get(executor).is_some_and(|&from| task.launch >= from));
        compared.strictly.extend(own.map(|task| own_ms(task) / least));
    }
}

/// By how much an executor's tasks of a stage were longer than the others', in ms.
#[derive(Debug, Default)]
struct Excess {
    whole: f64,
    largest: f64,
}

impl Excess {
    fn add(&mut self, tasks: &[Task], typical: f64) {
        for task in tasks {
            let excess = (own_ms(task) - typical).max(0.0);
            self.whole += excess;
            self.largest = self.largest.max(excess);
        }
    }

    /// What a stage lost: the excess spread over the slots, or its end after the others' last task, as far as one task's
    /// excess explains that.
    fn loss(&self, stage: &StageSummary, own_end: Option<i64>, others_end: Option<i64>) -> StageLoss {
        let tail = match (own_end, others_end) {
            (Some(own), Some(others)) => own.saturating_sub(others).max(0) as f64,
            _ => 0.0,
        };
        let spread = stage.slots.map_or(0.0, |slots| self.whole / slots as f64);
        StageLoss::of_span(stage, spread.max(tail.min(self.largest)), self.whole)
    }
}

/// Duration over the others', less what more data explains, and of how many tasks; `None` where too few could be compared.
fn factor(ctx: &Context<'_>, compared: &Compared) -> Option<(f64, usize)> {
    let bytes = tasks::median(compared.bytes.iter().copied()).unwrap_or(1.0).max(1.0);
    if compared.enough(ctx) {
        return Some((tasks::median(compared.durations.iter().copied())? / bytes, compared.durations.len()));
    }
    let count = compared.strictly.len();
    let least = compared.strictly.iter().copied().reduce(f64::min)? / bytes;
    let product: f64 = compared.strictly.iter().map(|ratio| ratio / bytes).product();
    let enough = ctx.reaches(count as f64, &FEW_TASKS) && product >= ctx.threshold(&FEW_FACTOR).powi(3);
    (enough && ctx.reaches(least, &FEW_FACTOR))
        .then(|| Some((tasks::median(compared.strictly.iter().copied())? / bytes, count)))?
}

fn is_slow(ctx: &Context<'_>, compared: &Compared) -> bool {
    factor(ctx, compared).is_some_and(|(factor, _)| factor >= ctx.threshold(&SLOW_FACTOR))
}

fn finding(ctx: &Context<'_>, host: Option<&str>, mut slow: Vec<(ExecutorId, Compared)>) -> Option<Finding> {
    let all_losses = slow.iter().flat_map(|(_, compared)| compared.losses.iter().cloned());
    let mut by_stage: BTreeMap<StageKey, StageLoss> = BTreeMap::new();
    for loss in all_losses {
        by_stage
            .entry(loss.key)
            .and_modify(|sum| {
                sum.wall_ms = sum.wall_ms.max(loss.wall_ms);
                sum.core_ms += loss.core_ms;
            })
            .or_insert(loss);
    }
    let losses = Losses::of(by_stage.into_values().collect());
    if losses.negligible(ctx, &FLOOR, &HALF_A_SECOND) {
        return None;
    }
    let by = |compared: &Compared| factor(ctx, compared).map_or(0.0, |(factor, _)| factor);
    slow.sort_by(|a, b| by(&b.1).total_cmp(&by(&a.1)).then(a.0.cmp(&b.0)));
    let (id, worst) = slow.first()?;
    let (factor, compared) = factor(ctx, worst)?;
    let few = !ctx.reaches(compared as f64, &MIN_TASKS);
    let host_name = host.unwrap_or("an unknown host");
    let mut subject = Subject::executor(id);
    subject.host = host.map(str::to_owned);
    let executors = ctx.features.executors.values().filter(|executor| executor.tasks.succeeded > 0).count();
    let mut finding = Finding::new(
        Problem::SlowExecutor,
        // With two executors there is nothing to say which of them is as it should be.
        (0.6 + 0.2 * (factor - 1.5)).clamp(0.6, if few { 0.7 } else { 0.9 }) - if executors < 3 { 0.15 } else { 0.0 },
        subject,
        format!(
            "executor {id} on {host_name} took {} as long as the others for tasks of the same stages and size",
            words::times(factor),
        ),
    );
    finding.more_subjects = slow.iter().skip(1).take(9).map(|(id, _)| Subject::executor(id)).collect();
    let cpu = tasks::median(worst.cpu.iter().copied());
    let gc = tasks::median(worst.gc.iter().copied());
    finding.evidence = vec![
        Evidence::number("relative_task_duration_ratio", factor, Unit::Ratio)
            .over(ctx.threshold(&SLOW_FACTOR))
            .against(1.0),
        Evidence::number("compared_tasks_count", compared as f64, Unit::Count),
        Evidence::number("compared_stages_count", worst.losses.len() as f64, Unit::Count),
    ];
    finding
        .evidence
        .extend(cpu.map(|cpu| Evidence::number("relative_executor_cpu_time_ratio", cpu, Unit::Ratio).against(1.0)));
    losses.list(ctx, &mut finding);
    finding.savings = losses.savings(format!(
        "its tasks took {} longer than the others' medians; spread over the slots, or as each stage ended later for it, over {}, \
         each at its share of the clock",
        words::duration(losses.core_ms()),
        losses.stage_attempts(),
    ));
    finding.advice = advice(ctx, host_name, factor, cpu, gc, losses.worst());
    let rows: Vec<TaskRow> = ctx.run.stages.values().flat_map(|stage| stage.tasks.rows()).collect();
    let (mine, others): (Vec<&TaskRow>, Vec<&TaskRow>) =
        rows.iter().partition(|row| ctx.run.executor_of(row) == Some(id));
    prove(ctx, &mut finding, mine, others);
    Some(finding)
}

fn advice(
    ctx: &Context<'_>,
    host: &str,
    factor: f64,
    cpu: Option<f64>,
    gc: Option<f64>,
    stage: Option<StageKey>,
) -> Vec<Advice> {
    let mut all = vec![match (cpu, gc) {
        (_, Some(gc)) if gc >= 0.2 => Advice::text(format!(
            "Its tasks spent {} of their time in garbage collection: look at what only this executor holds (cached partitions, large \
             keys) before blaming {host}.",
            words::percent(gc),
        )),
        (Some(cpu), _) if cpu >= 1.0 + 0.5 * (factor - 1.0) => Advice::text(format!(
            "Its tasks needed {} the CPU time of the others for as much data: the CPU of {host} is slower or throttled, or shares its \
             cores with neighbours (hyper-threads, an oversold virtual machine). Compare its CPU model and clock with the others'.",
            words::times(cpu),
        )),
        (Some(_), _) => Advice::text(format!(
            "Its tasks needed no more CPU time than the others: they waited. Look at {host} at that time: load (more runnable threads \
             than cores), disk latency and errors, network retransmits; and at the locality of its tasks."
        )),
        (None, _) => Advice::text(format!(
            "The log has no CPU times: compare CPU model, load, disk latency and network of {host} with the other hosts."
        )),
    }];
    let settings = stage.map_or_else(|| ctx.settings.clone(), |key| ctx.settings.for_stage(key));
    if settings.boolean("spark.speculation") == Some(false) && deployment::on_several_hosts(ctx.run) {
        let advice = Advice::text(
            "Until the host is mended, let Spark start copies of its slow tasks elsewhere, where tasks may safely run twice.",
        );
        all.push(set_new(advice, &settings, "spark.speculation", "true"));
    }
    if settings.set_by_user("spark.master").is_some_and(|master| master.starts_with("yarn")) {
        let held = settings.set_by_user("spark.yarn.exclude.nodes").unwrap_or("");
        if !held.split(',').any(|node| node.trim() == host) {
            let nodes = if held.is_empty() { host.to_owned() } else { format!("{held},{host}") };
            all.push(
                Advice::text("If it recurs there, keep YARN from placing executors on it.")
                    .set("spark.yarn.exclude.nodes", nodes),
            );
        }
    } else {
        all.push(Advice::text(format!(
            "If it recurs on {host}, take it out of the cluster (drain it, or an anti-affinity)."
        )));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// Three executors of 2 cores; 48 tasks dealt to them in turn, 1 s each, on executor 3 `ms`.
    fn three(ms: u64, cpu: u64, bytes: u64) -> RunBuilder {
        run().executor("1", 2).executor("2", 2).executor("3", 2).set("spark.master", "yarn").stage(0, |stage| {
            for partition in 0..48 {
                let slow = partition % 3 == 2;
                let (own, cpu, bytes) = if slow { (ms, cpu, bytes) } else { (1_000, 900, 10_000_000) };
                stage
                    .task(partition)
                    .on(["1", "2", "3"][partition as usize % 3])
                    .duration_ms(own)
                    .metrics(own, cpu, 0)
                    .shuffle_read(bytes, 1_000);
            }
        })
    }

    #[test]
    fn an_executor_that_takes_twice_as_long_is_found_and_its_host_named() {
        let findings = check(&RULE, &three(2_000, 900, 10_000_000));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].subject.executor_id.as_deref(), Some("3"));
        assert_eq!(findings[0].subject.host.as_deref(), Some("host-3"));
        // 16 tasks on 2 cores: 8 s on the others, 16 s here. 12 tasks, without the first four of the executor's life, are 12 s
        // over, by 6 slots 2 s; the tail of 8 s is explained by one task's excess for 1 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(2_000));
        assert!(findings[0].advice[0].text.contains("they waited"));
        assert_eq!(findings[0].advice.last().unwrap().config["spark.yarn.exclude.nodes"], "host-3");
    }

    #[test]
    fn more_cpu_time_for_as_much_data_is_a_slow_cpu() {
        let findings = check(&RULE, &three(2_000, 1_900, 10_000_000));
        assert!(findings[0].advice[0].text.contains("slower or throttled"), "{}", findings[0].advice[0].text);
    }

    #[test]
    fn just_below_the_factor_or_with_more_data_it_is_clear() {
        assert_eq!(check(&RULE, &three(1_390, 900, 10_000_000)), []);
        assert_eq!(check(&RULE, &three(2_000, 900, 20_000_000)), []);
    }

    #[test]
    fn an_executor_that_came_late_and_ran_its_first_tasks_only_is_not_slow() {
        let run = run().executor("1", 4).executor("2", 4).stage(0, |stage| {
            for partition in 0..64 {
                let late = partition >= 60;
                stage.task(partition).on(if late { "2" } else { "1" }).duration_ms(if late { 8_000 } else { 1_000 });
            }
        });
        assert!(!matches!(outcome(&RULE, &run), Outcome::Found(_)));
    }

    #[test]
    fn an_executor_that_is_too_slow_to_have_more_than_one_task_of_a_stage_is_compared_by_those() {
        let mut builder = run().executor("1", 1).executor("2", 1);
        for id in 0..8 {
            builder = builder.stage(id, |stage| {
                for partition in 0..6 {
                    let slow = partition == 0;
                    stage.task(partition).on(if slow { "2" } else { "1" }).duration_ms(if slow { 4_000 } else { 800 });
                }
            });
        }
        let findings = check(&RULE, &builder);
        // Its tasks of the first two stages are its first ones; the other six took five times as long as the first of executor 1.
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].subject.executor_id.as_deref(), Some("2"));
        assert!(findings[0].summary.contains("5.0 times"), "{}", findings[0].summary);
    }

    #[test]
    fn a_few_tasks_are_enough_where_each_took_far_longer() {
        let with = |slow: &[u64]| {
            let mut builder = run().executor("1", 1).executor("2", 1);
            // Its first task, by which nobody judges it.
            builder = builder.stage(0, |stage| {
                for partition in 0..6 {
                    stage.task(partition).on(if partition == 0 { "2" } else { "1" }).duration_ms(800);
                }
            });
            for (id, &ms) in (1..).zip(slow) {
                builder = builder.stage(id, |stage| {
                    for partition in 0..6 {
                        let own = partition == 0;
                        stage.task(partition).on(if own { "2" } else { "1" }).duration_ms(if own { ms } else { 200 });
                    }
                });
            }
            check(&RULE, &builder)
        };
        let findings = with(&[1_000, 1_000, 1_000]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].subject.executor_id.as_deref(), Some("2"));
        // Five times twice is less than three times thrice; six times twice is more.
        assert_eq!(with(&[1_000, 1_000]), []);
        assert_eq!(with(&[1_200, 1_200]).len(), 1);
        assert_eq!(with(&[1_000, 1_000, 590]), []);
    }

    #[test]
    fn a_single_executor_cannot_be_compared() {
        let run = run().executor("1", 4).stage(0, |stage| {
            (0..16).for_each(|partition| {
                stage.task(partition).duration_ms(1_000);
            });
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
