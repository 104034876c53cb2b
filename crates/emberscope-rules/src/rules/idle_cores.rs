//! More cores are held than the work can use.

use emberscope_run::{NULL, Run, TaskColumn, TaskStatus, Unit};

use crate::deployment;
use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::gaps;
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::IdleCores,
    summary: "Executors held far more core time than tasks used.",
    documentation: include_str!("idle_cores.md"),
    thresholds: &[FLOOR, MIN_CORE_TIME, SLOWER],
    explained_by: &[Problem::DriverBottleneck, Problem::TooFewPartitions, Problem::ExecutorChurn],
    check,
};

const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.2,
    unit: Unit::Ratio,
    reason: "share of the core time held that fewer cores would not hold without making the run longer (this \
             costs money, not wall-clock time). Set on the training families of datasets/lab (`emberscope \
             calibrate`)",
};
const MIN_CORE_TIME: Threshold = Threshold {
    name: "min_core_ms",
    value: 15_000.0,
    unit: Unit::Ms,
    reason: "core time held: below it a run is over before its executors have come to work. It is told as an info, since it costs \
             no wall-clock time",
};
const SLOWER: Threshold = Threshold {
    name: "slower_share",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "how much longer the run may take with fewer cores: as much as it varies by itself. Set by judgement",
};

fn check(ctx: &Context<'_>) -> Outcome {
    if deployment::is_local(ctx.run) {
        return Outcome::Clear;
    }
    let Some(held) = ctx.features.application.core_ms_held.filter(|&held| held > 0) else {
        return Outcome::missing("executors' cores and times");
    };
    let Some(wall) = ctx.wall_clock_ms() else { return Outcome::missing("the run's times") };
    // What a shell or a stream holds between two actions is held for whoever asks next.
    let between = gaps::gaps(ctx, 1_000.0).between_actions_ms as f64;
    let (held, wall) = ((held as f64 * (1.0 - (between / wall).min(1.0))) as u64, (wall - between).max(1.0));
    let used = ctx.features.application.core_ms_used;
    let cores = held as f64 / wall;
    if (held as f64) < ctx.threshold(&MIN_CORE_TIME) || used == 0 {
        return Outcome::Clear;
    }
    let per_executor = deployment::cores_per_executor(ctx.run).unwrap_or(1);
    let enough =
        enough_cores(ctx.run, wall, ctx.threshold(&SLOWER)).div_ceil(per_executor).saturating_mul(per_executor);
    let saved = (held as f64 - enough as f64 * wall * (1.0 + ctx.threshold(&SLOWER))).max(0.0);
    if !ctx.reaches(saved / held as f64, &FLOOR) {
        return Outcome::Clear;
    }
    Outcome::Found(vec![finding(
        ctx,
        &Use { held, used, cores, busy: used as f64 / wall, enough, per_executor, saved },
    )])
}

/// Core time and cores of a run.
struct Use {
    /// Core-milliseconds held.
    held: u64,
    /// Core-milliseconds used.
    used: u64,
    /// Cores held on average.
    cores: f64,
    /// Cores at work on average.
    busy: f64,
    /// Cores that would have been enough.
    enough: u64,
    /// Cores of one executor.
    per_executor: u64,
    /// Core-milliseconds that those would not have held.
    saved: f64,
}

/// The fewest cores with which the work that more of them did at once, done afterwards, takes at most `slower` of the run.
fn enough_cores(run: &Run, wall: f64, slower: f64) -> u64 {
    let cpus = run.environment.spark.integer("spark.task.cpus").ok().flatten().unwrap_or(1).max(1) as u64;
    let busy = time_at_concurrency(run);
    // From the most tasks down: the work beyond `n` at once grows by the time in which at least that many ran.
    let most = busy.len().saturating_sub(1).max(1);
    let (mut enough, mut beyond, mut at_least) = (most, 0.0, 0.0);
    for n in (1..most).rev() {
        at_least += busy.get(n + 1).copied().unwrap_or(0) as f64;
        beyond += at_least;
        if beyond / n as f64 > slower * wall {
            break;
        }
        enough = n;
    }
    (enough as u64).saturating_mul(cpus)
}

/// How many ms exactly `n` tasks ran at once, by `n`.
fn time_at_concurrency(run: &Run) -> Vec<u64> {
    let mut edges: Vec<(u64, i64)> = Vec::new();
    for stage in run.stages.values() {
        let launches = stage.tasks.column(TaskColumn::LaunchTime);
        let finishes = stage.tasks.column(TaskColumn::FinishTime);
        let statuses = stage.tasks.column(TaskColumn::Status);
        for ((&launch, &finish), &status) in launches.iter().zip(&finishes).zip(&statuses) {
            if launch != NULL && finish != NULL && finish > launch && status != TaskStatus::Resubmitted.code() {
                edges.push((launch, 1));
                edges.push((finish, -1));
            }
        }
    }
    edges.sort_unstable();
    let mut times: Vec<u64> = vec![0];
    let (mut now, mut running) = (edges.first().map_or(0, |edge| edge.0), 0_i64);
    for (at, change) in edges {
        if let Some(time) = usize::try_from(running).ok().and_then(|n| times.get_mut(n)) {
            *time = time.saturating_add(at.saturating_sub(now));
        }
        now = at;
        running += change;
        if usize::try_from(running).is_ok_and(|n| n >= times.len()) {
            times.push(0);
        }
    }
    times
}

fn finding(ctx: &Context<'_>, cores: &Use) -> Finding {
    let Use { held, used, cores, busy, enough, per_executor, saved } = *cores;
    let executors = enough / per_executor.max(1);
    let mut finding = Finding::new(
        Problem::IdleCores,
        0.85,
        Subject::run(),
        format!(
            "{} of the core time held was idle: {cores:.0} cores were held on average and {busy:.1} worked; {enough} would have \
             been enough",
            words::percent(1.0 - (used as f64 / held as f64).min(1.0)),
        ),
    );
    finding.evidence = vec![
        Evidence::number("core_time_held_ms", held as f64, Unit::Ms),
        Evidence::number("core_time_used_ms", used as f64, Unit::Ms),
        Evidence::number("cores_held_mean_count", cores, Unit::Count).against(busy),
        Evidence::number("tasks_at_once_max_count", ctx.features.timeline.peak_tasks as f64, Unit::Count),
    ];
    finding.savings = Savings {
        wall_clock_ms: Some(0),
        core_ms: Some(saved.round() as u64),
        how: format!(
            "{} of core time was held; {} for the whole run and {} more would hold {} (this saves cores, not time)",
            words::duration(held as f64),
            words::plural(enough, "core"),
            words::percent(ctx.threshold(&SLOWER)),
            words::duration(held as f64 - saved),
        ),
    };
    finding.advice = advice(ctx, enough, executors);
    finding
}

fn advice(ctx: &Context<'_>, enough: u64, executors: u64) -> Vec<Advice> {
    let slower = words::percent(ctx.threshold(&SLOWER));
    let mut all = Vec::new();
    let why = format!(
        "With {} the tasks that ran beside more than that many others would have to wait, and the run would take at \
         most {slower} longer",
        words::plural(enough, "core")
    );
    if ctx.settings.boolean("spark.dynamicAllocation.enabled") == Some(true) {
        let max = ctx.settings.integer("spark.dynamicAllocation.maxExecutors").unwrap_or(i64::from(i32::MAX));
        if max > executors as i64 {
            all.push(
                Advice::text(format!(
                    "{why}: let dynamic allocation ask for no more than {}.",
                    words::plural(executors, "executor")
                ))
                .set("spark.dynamicAllocation.maxExecutors", executors.to_string()),
            );
        }
        let idle = ctx.settings.time_ms("spark.dynamicAllocation.executorIdleTimeout").unwrap_or(60_000);
        let least = ctx.settings.integer("spark.dynamicAllocation.minExecutors").unwrap_or(0);
        if least > executors as i64 {
            all.push(
                Advice::text(format!("It also holds at least {least} executors whether they work or not."))
                    .set("spark.dynamicAllocation.minExecutors", executors.to_string()),
            );
        } else if idle > 60_000 {
            all.push(
                Advice::text(format!(
                    "Idle executors are kept for {}; Spark's default is 60 s.",
                    words::duration(idle as f64)
                ))
                .set("spark.dynamicAllocation.executorIdleTimeout", "60s"),
            );
        } else if all.is_empty() {
            all.push(Advice::text(format!(
                "{why}. Dynamic allocation is on and did not give them back: cached data or shuffle files that are tracked keep \
                 executors (see spark.dynamicAllocation.cachedExecutorIdleTimeout and shuffleTracking.timeout)."
            )));
        }
        return all;
    }
    // A standalone cluster gives an application all its cores unless it asks for fewer; it knows no number of executors.
    let standalone = deployment::is_standalone(ctx.run);
    let mut fixed = Advice::text(format!("{why}: ask for {}.", words::plural(executors, "executor")));
    let more_than = |key: &str, wanted: u64| {
        ctx.settings.integer(key).filter(|&now| now > 0).is_none_or(|now| now.unsigned_abs() > wanted)
    };
    match deployment::cores_per_executor(ctx.run).filter(|_| standalone) {
        Some(cores) if more_than("spark.cores.max", executors.saturating_mul(cores)) => {
            fixed = fixed.set("spark.cores.max", executors.saturating_mul(cores).to_string());
            // Without it they are dealt out to all workers, one by one, each with a heap of its own.
            if ctx.settings.set_by_user("spark.executor.cores").is_none() {
                fixed = fixed.set("spark.executor.cores", cores.to_string());
            }
        }
        None if !standalone && more_than("spark.executor.instances", executors) => {
            fixed = fixed.set("spark.executor.instances", executors.to_string());
        }
        _ => {}
    }
    all.push(fixed);
    let mut dynamic = Advice::text(
        "Or let dynamic allocation give idle executors back while the driver works or few tasks run; it needs a shuffle \
         service or shuffle tracking (Spark 3.0 on).",
    )
    .set("spark.dynamicAllocation.enabled", "true");
    if ctx.settings.boolean("spark.shuffle.service.enabled") == Some(false)
        && ctx.settings.boolean("spark.dynamicAllocation.shuffleTracking.enabled") == Some(false)
    {
        dynamic = dynamic.set("spark.dynamicAllocation.shuffleTracking.enabled", "true");
    }
    all.push(dynamic);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// 10 executors of 4 cores for 100 s: 4,000 core seconds. `tasks` tasks of 100 s work.
    fn holding(tasks: u64) -> RunBuilder {
        let mut builder = run().set("spark.master", "yarn").set("spark.executor.instances", "10");
        for id in 1..=10 {
            builder = builder.executor(&id.to_string(), 4);
        }
        builder.stage(0, |stage| {
            (0..tasks).for_each(|partition| {
                stage.task(partition).duration_ms(100_000);
            });
        })
    }

    #[test]
    fn eight_tasks_on_forty_cores_need_two_executors() {
        let findings = check(&RULE, &holding(8));
        assert_eq!(findings.len(), 1);
        // 8 cores for 105 s are 840 core seconds of the 4,000 held.
        assert_eq!(findings[0].savings.core_ms, Some(3_160_000));
        assert_eq!(findings[0].savings.wall_clock_ms, Some(0));
        assert_eq!(findings[0].advice[0].config["spark.executor.instances"], "2");
        assert!(
            findings[0]
                .summary
                .starts_with("80 % of the core time held was idle: 40 cores were held on average and 8.0 worked"),
            "{}",
            findings[0].summary
        );
    }

    #[test]
    fn a_standalone_cluster_is_asked_for_cores_and_not_for_executors() {
        let findings = check(&RULE, &holding(8).set("spark.master", "spark://h:7077"));
        let config = &findings[0].advice[0].config;
        // Two executors of four cores.
        assert_eq!(config.get("spark.cores.max").map(String::as_str), Some("8"));
        assert_eq!(config.get("spark.executor.cores").map(String::as_str), Some("4"));
        assert_eq!(config.get("spark.executor.instances"), None);
        let asked = check(&RULE, &holding(8).set("spark.master", "spark://h:7077").set("spark.cores.max", "8"));
        assert!(asked.iter().all(|finding| !finding.advice[0].config.contains_key("spark.cores.max")));
    }

    #[test]
    fn eight_tenths_of_the_cores_at_work_is_below_the_floor() {
        // 32 cores for 105 s are 3,360 of 4,000: 16 % could be given back. 28 cores: 26.5 %.
        assert_eq!(check(&RULE, &holding(32)), []);
        assert_eq!(check(&RULE, &holding(28)).len(), 1);
    }

    #[test]
    fn a_short_burst_beyond_the_cores_is_allowed_to_take_longer() {
        // 4 tasks for 100 s and 40 for 1 s: with 8 cores the 32 beyond would take 32 x 1 s / 8 = 4 s, under 5 % of 101 s;
        // with 7 it would be 33 / 7 = 4.7 s, with 6 5.7 s.
        let mut builder = run();
        for id in 1..=10 {
            builder = builder.executor(&id.to_string(), 4);
        }
        let builder = builder
            .stage(0, |stage| {
                (0..4).for_each(|partition| {
                    stage.task(partition).duration_ms(100_000);
                });
            })
            .stage(1, |stage| {
                (0..40).for_each(|partition| {
                    stage.task(partition).duration_ms(1_000);
                });
            });
        assert_eq!(enough_cores(&builder.build(), 101_000.0, 0.05), 7);
    }

    #[test]
    fn a_shell_holds_its_cores_between_actions_for_whoever_asks_next() {
        // 32 of 40 cores work for 100 s, then an hour goes by: 98 % of the core time held, and nobody's fault.
        let shell = holding(32).with(|run| run.application.name = Some("PySparkShell".to_owned())).idle(3_600_000);
        let ended = shell.job(0, 0, Some(100_000), Some(emberscope_run::JobResult::Succeeded), &[0]);
        assert_eq!(check(&RULE, &ended), []);
        let batch =
            holding(32).idle(3_600_000).job(0, 0, Some(100_000), Some(emberscope_run::JobResult::Succeeded), &[0]);
        assert_eq!(check(&RULE, &batch).len(), 1);
    }

    #[test]
    fn local_mode_holds_no_executors() {
        let local = run().set("spark.master", "local[40]").executor("driver", 40).stage(0, |stage| {
            stage.task(0).duration_ms(100_000);
        });
        assert_eq!(check(&RULE, &local), []);
    }

    #[test]
    fn without_executors_cores_the_rule_is_skipped() {
        let builder = run().set("spark.master", "yarn").stage(0, |stage| {
            stage.task(0).duration_ms(100_000);
        });
        assert!(matches!(outcome(&RULE, &builder), Outcome::Skipped { .. }));
    }
}
