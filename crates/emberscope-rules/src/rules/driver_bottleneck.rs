//! Executors idle while the driver works.

use std::collections::BTreeMap;

use emberscope_run::Unit;

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::gaps::{self, Doing, DriverGap};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::DriverBottleneck,
    summary: "No task ran for much of the run while executors were there, because the driver was at work.",
    documentation: include_str!("driver_bottleneck.md"),
    thresholds: &[MIN_GAP, MIN_TOTAL, FLOOR],
    explained_by: &[Problem::LargeBroadcast, Problem::SchedulerDelay],
    check,
};

const MIN_GAP: Threshold = Threshold {
    name: "min_gap_ms",
    value: 500.0,
    unit: Unit::Ms,
    reason: "shorter times without a task are the scheduler's turn between two stages or jobs (50 to 300 ms each in \
             healthy runs) and planning of a small query. Set on the training families of datasets/lab (`emberscope \
             calibrate`)",
};
const MIN_TOTAL: Threshold = Threshold {
    name: "min_total_ms",
    value: 2_000.0,
    unit: Unit::Ms,
    reason: "such gaps together: in every run the first queries of each kind take seconds on the driver while its \
             JVM loads classes and compiles. Set on the training families of datasets/lab (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.12,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time in such gaps; every run has some, and short runs have more. Set \
             by judgement",
};

fn check(ctx: &Context<'_>) -> Outcome {
    if ctx.features.timeline.first_launch.is_none() {
        return Outcome::missing("tasks with times");
    }
    let gaps = gaps::gaps(ctx, ctx.threshold(&MIN_GAP));
    let total = support::total(gaps.driver.iter().map(DriverGap::ms));
    if ctx.below_floor(total as f64, &FLOOR) || !ctx.reaches(total as f64, &MIN_TOTAL) {
        return Outcome::Clear;
    }
    Outcome::of(finding(ctx, &gaps.driver, total, gaps.between_actions_ms).into_iter().collect())
}

fn finding(ctx: &Context<'_>, gaps: &[DriverGap], total: u64, between_actions_ms: u64) -> Option<Finding> {
    let mut by_doing: BTreeMap<Doing, u64> = BTreeMap::new();
    for gap in gaps {
        let sum = by_doing.entry(gap.doing).or_default();
        *sum = sum.saturating_add(gap.ms());
    }
    let (&most, &most_ms) = by_doing.iter().max_by_key(|&(doing, ms)| (*ms, std::cmp::Reverse(*doing)))?;
    let longest = gaps.iter().max_by_key(|gap| (gap.ms(), std::cmp::Reverse(gap.from)))?;
    let slots = ctx.features.application.slots_max;
    let mut finding = Finding::new(
        Problem::DriverBottleneck,
        if most == Doing::Program { 0.7 } else { 0.85 },
        Subject::run(),
        format!(
            "no task ran for {} ({} of the run) while the driver was at work, {} of it {}; the longest time was {}{}",
            words::duration(total as f64),
            words::percent(ctx.share(total as f64)),
            words::duration(most_ms as f64),
            doing_words(most),
            words::duration(longest.ms() as f64),
            place_words(ctx, longest)
        ),
    );
    finding.more_subjects = gaps
        .iter()
        .filter_map(|gap| gap.next.or(gap.previous))
        .filter(|key| Some(*key) == longest.next.or(longest.previous))
        .take(1)
        .map(|key| ctx.stage_subject(key))
        .collect();
    finding.evidence = vec![
        Evidence::number("driver_busy_gaps_ms", total as f64, Unit::Ms)
            .over(ctx.threshold(&FLOOR) * ctx.wall_clock_ms().unwrap_or(0.0)),
        Evidence::number("driver_busy_gaps_count", gaps.len() as f64, Unit::Count),
        Evidence::number("driver_busy_gap_max_ms", longest.ms() as f64, Unit::Ms),
    ];
    for (doing, ms) in &by_doing {
        finding.evidence.push(Evidence::number(feature(*doing), *ms as f64, Unit::Ms));
    }
    if between_actions_ms > 0 {
        finding.evidence.push(Evidence::number("between_actions_ms", between_actions_ms as f64, Unit::Ms));
    }
    finding.savings = Savings {
        wall_clock_ms: Some(total),
        core_ms: slots.map(|slots| slots.saturating_mul(total)),
        how: format!(
            "at most the {} in {} of {} or more{}: what the driver does there still has to be done, beside the \
             executors or by them",
            words::duration(total as f64),
            if gaps.len() == 1 { "1 gap".to_owned() } else { format!("{} gaps", words::count(gaps.len() as u64)) },
            words::duration(ctx.threshold(&MIN_GAP)),
            slots.map_or_else(String::new, |slots| format!(", in which up to {slots} slots idled"))
        ),
    };
    finding.advice = advice(ctx, &by_doing, total);
    Some(finding)
}

fn doing_words(doing: Doing) -> &'static str {
    match doing {
        Doing::Job => "inside a job, between its tasks or after them",
        Doing::Planning => "before a query's first job (analysis, planning, listing files)",
        Doing::Commit => "after tasks that wrote output (the commit)",
        Doing::Sql => "inside a query, between its jobs",
        Doing::Program => "with no job or query open (the program's own code)",
    }
}

fn feature(doing: Doing) -> &'static str {
    match doing {
        Doing::Job => "driver_busy_gaps_in_jobs_ms",
        Doing::Planning => "driver_busy_gaps_planning_ms",
        Doing::Commit => "driver_busy_gaps_commit_ms",
        Doing::Sql => "driver_busy_gaps_in_queries_ms",
        Doing::Program => "driver_busy_gaps_in_program_ms",
    }
}

fn place_words(ctx: &Context<'_>, gap: &DriverGap) -> String {
    match (gap.next, gap.previous) {
        (Some(next), _) => format!(", before {}", ctx.stage_words(next)),
        (None, Some(previous)) => format!(", after {}", ctx.stage_words(previous)),
        (None, None) => String::new(),
    }
}

fn advice(ctx: &Context<'_>, by_doing: &BTreeMap<Doing, u64>, total: u64) -> Vec<Advice> {
    let mut parts: Vec<(Doing, u64)> = by_doing.iter().map(|(&doing, &ms)| (doing, ms)).collect();
    parts.sort_by_key(|&(doing, ms)| (std::cmp::Reverse(ms), doing));
    // A part below a fifth of the whole is not worth its lines.
    parts
        .iter()
        .filter(|(_, ms)| ms.saturating_mul(5) >= total)
        .map(|&(doing, ms)| advice_for(ctx, doing, ms))
        .collect()
}

fn advice_for(ctx: &Context<'_>, doing: Doing, ms: u64) -> Advice {
    let time = words::duration(ms as f64);
    match doing {
        Doing::Program => Advice::text(format!(
            "{time} had no job open: plain code on the driver (pandas, a loop over collected rows, calls to other services, \
             reading or writing files). Do it on executors as a DataFrame operation, or start independent actions from several \
             threads so that executors work meanwhile.",
        )),
        Doing::Planning => Advice::text(format!(
            "{time} went by between a query's start and its first job: many files or partitions to list, statistics to fetch, or \
             a plan that has grown in a loop. Fewer files, partition filters, and cutting a long lineage (checkpoint, or writing \
             it out) shorten it; a thread dump of the driver in that time tells which it is.",
        )),
        Doing::Commit => {
            let key = "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version";
            let version =
                ctx.settings.set_by_user(key).map_or("not set in this run".to_owned(), |value| format!("{value} now"));
            Advice::text(format!(
                "{time} went by after the tasks had written: the driver moves their files into place one by one. Write fewer and \
                 larger files; on an object store use its own committer (S3A magic or the EMR one, the manifest committer on \
                 ABFS and GCS) or a table format. {key} ({version}) = 2 renames in the tasks instead, at the price of partial \
                 output when a job fails.",
            ))
        }
        Doing::Job => Advice::text(format!(
            "{time} went by inside jobs with no task running: results being collected or deserialized on the driver, or shuffle \
             and broadcast bookkeeping of very many tasks. Collect less, use fewer partitions, or give the driver more cores \
             and heap; a thread dump of the driver in that time tells which it is.",
        )),
        Doing::Sql => Advice::text(format!(
            "{time} went by inside queries between their jobs: building broadcasts, re-planning, or subqueries in turn. See the \
             query's page for broadcast times.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, START, check, outcome, run};
    use emberscope_run::{JobResult, SqlExecution, SqlExecutionId, Timestamp};

    /// Two stages of 30 s with `gap` ms between them; each its own job.
    fn two_stages(gap: i64) -> RunBuilder {
        run()
            .executor("1", 2)
            .stage(0, |stage| {
                stage.task(0).duration_ms(30_000);
            })
            .idle(gap)
            .stage(1, |stage| {
                stage.task(0).duration_ms(30_000);
            })
            .job(0, 0, Some(30_000), Some(JobResult::Succeeded), &[0])
            .job(1, 30_000 + gap, Some(60_000 + gap), Some(JobResult::Succeeded), &[1])
    }

    #[test]
    fn time_without_tasks_between_two_jobs_is_the_drivers() {
        let findings = check(&RULE, &two_stages(20_000));
        assert_eq!(findings.len(), 1);
        // 20 s of 80 s; 2 slots idled.
        assert_eq!((findings[0].savings.wall_clock_ms, findings[0].savings.core_ms), (Some(20_000), Some(40_000)));
        assert!(findings[0].summary.starts_with("no task ran for 20.0 s (25 % of the run)"), "{}", findings[0].summary);
        assert!(findings[0].summary.contains("with no job or query open"));
    }

    #[test]
    fn twelve_percent_of_the_run_are_the_floor() {
        // 8.1 s of 68.1 s are 11.9 %; 8.2 s of 68.2 s are 12.02 %.
        assert_eq!(check(&RULE, &two_stages(8_100)), []);
        assert_eq!(check(&RULE, &two_stages(8_200)).len(), 1);
    }

    #[test]
    fn a_log_that_breaks_off_says_nothing_of_the_time_after_its_last_task() {
        let builder = two_stages(100).idle(60_000).job(1, 30_100, None, None, &[1]);
        assert_eq!(check(&RULE, &builder), []);
        // The same time inside a job whose end was seen is the driver's.
        let ended = two_stages(100).idle(60_000).job(1, 30_100, Some(120_100), Some(JobResult::Succeeded), &[1]);
        assert_eq!(check(&RULE, &ended)[0].savings.wall_clock_ms, Some(60_000));
    }

    #[test]
    fn a_task_that_was_still_running_at_the_end_of_the_log_filled_the_gap() {
        let builder = two_stages(20_000).with(|run| {
            let task = emberscope_run::RunningTask {
                partition: 1,
                attempt: 0,
                launched_at: Some(Timestamp(START + 5_000)),
                executor: emberscope_run::ExecutorId::from("1"),
                speculative: false,
            };
            if let Some(stage) = run.stages.values_mut().next() {
                stage.running.insert(emberscope_run::TaskId(99), task);
            }
        });
        assert_eq!(check(&RULE, &builder), []);
    }

    #[test]
    fn a_person_who_thinks_in_a_shell_is_no_bottleneck() {
        let shell = two_stages(20_000).with(|run| run.application.name = Some("Spark shell".to_owned()));
        assert_eq!(check(&RULE, &shell), []);
    }

    #[test]
    fn planning_of_a_query_counts_in_a_shell_too() {
        let shell = two_stages(20_000).with(|run| {
            run.application.name = Some("PySparkShell".to_owned());
            run.sql_executions.insert(
                SqlExecutionId(0),
                SqlExecution {
                    id: SqlExecutionId(0),
                    started_at: Some(Timestamp(START + 32_000)),
                    ended_at: Some(Timestamp(START + 80_000)),
                    ..SqlExecution::default()
                },
            );
        });
        let findings = check(&RULE, &shell);
        assert!(findings[0].summary.contains("before a query's first job"), "{}", findings[0].summary);
    }

    #[test]
    fn waiting_for_executors_is_not_the_drivers_time() {
        let builder =
            two_stages(20_000).removed("1", 30_050, "Executor idle timeout").executor_at("2", 2, 49_000).with(|run| {
                if let Some(stage) = run.stages.values_mut().last() {
                    stage.submitted_at = Some(Timestamp(START + 30_100));
                }
            });
        assert_eq!(check(&RULE, &builder), []);
    }

    #[test]
    fn without_task_times_the_rule_is_skipped() {
        assert!(matches!(outcome(&RULE, &run().executor("1", 2)), Outcome::Skipped { .. }));
    }
}
