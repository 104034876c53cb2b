//! Rows cross to Python workers.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{PlanNode, SqlExecutionId, StageKey, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::plan::{self, Cost, Operator, Plan, PythonTransport, SqlStages};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::PythonUdfOverhead,
    summary: "Tasks spend their time handing rows to Python workers and waiting for them.",
    documentation: include_str!("python_udf_overhead.md"),
    thresholds: &[ROWS_SHARE, ARROW_SHARE, RDD_SHARE, START_MS, FLOOR, RDD_FLOOR],
    explained_by: &[],
    check,
};

const ROWS_SHARE: Threshold = Threshold {
    name: "rows_share",
    value: 0.3,
    unit: Unit::Ratio,
    reason: "share of the stage's task time spent on Python functions that get rows one by one. Set by judgement, not yet \
             calibrated on labelled runs",
};
const ARROW_SHARE: Threshold = Threshold {
    name: "arrow_share",
    value: 0.7,
    unit: Unit::Ratio,
    reason: "the same for functions that get Arrow batches: those are told only where little else happens. Set by judgement, \
             not yet calibrated on labelled runs",
};
const RDD_SHARE: Threshold = Threshold {
    name: "rdd_share",
    value: 0.7,
    unit: Unit::Ratio,
    reason: "share of a Python RDD stage's run time in which the JVM neither computed nor waited for shuffles: Python is \
             what an RDD of PySpark is made of. Set by judgement, not yet calibrated on labelled runs",
};
const START_MS: Threshold = Threshold {
    name: "start_ms",
    value: 1_000.0,
    unit: Unit::Ms,
    reason: "time to start a Python worker and import its modules, once a slot: taken off where Spark does not measure it. Set \
             by judgement, not yet calibrated on labelled runs",
};
const RDD_FLOOR: Threshold = Threshold {
    name: "rdd_floor_share",
    value: 0.25,
    unit: Unit::Ratio,
    reason: "the floor for Python RDDs: moving a program from RDDs to DataFrames is a rewrite, and no small gain is worth it",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent in Python; below it nobody gains by rewriting a function",
};

/// Python work in one place: a plan node or the stages of Python RDDs.
struct Python {
    transport: Option<PythonTransport>,
    subject: Subject,
    functions: String,
    /// Whether it is a plain function that Arrow carries the rows of (`SQL_ARROW_BATCHED_UDF`, eval type 101).
    by_row: bool,
    execution: Option<SqlExecutionId>,
    in_python_ms: f64,
    /// Whether Spark measured the time, or it is what the JVM did not use.
    measured: bool,
    start_ms: Option<f64>,
    /// Time in the functions themselves (Spark 4.1 on).
    function_ms: Option<f64>,
    rows: Option<u64>,
    sent: Option<u64>,
    stages: BTreeSet<StageKey>,
    cost: Cost,
    spent: Cost,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if !ctx.features.stages.values().any(|stage| stage.tasks.ended > 0) {
        return Outcome::missing("tasks");
    }
    let stages = SqlStages::of(ctx);
    let mut seen = false;
    let mut known = false;
    let mut in_plans: BTreeSet<StageKey> = BTreeSet::new();
    let mut groups: BTreeMap<String, Vec<Python>> = BTreeMap::new();
    let mut rdds: Vec<Python> = Vec::new();
    for plan in &plan::plans(ctx.run) {
        for node in plan.nodes() {
            let Operator::Python(transport) = plan::operator(node) else { continue };
            seen = true;
            let ran = stages.updating(plan.execution.id, &plan.accumulators_near(node));
            in_plans.extend(&ran);
            let Some(python) = in_plan(ctx, plan, node, transport, &ran) else { continue };
            known = true;
            let share = if transport == PythonTransport::Rows { &ROWS_SHARE } else { &ARROW_SHARE };
            if python.cost.task_ms > 0.0 && python.in_python_ms / python.cost.task_ms >= ctx.threshold(share) {
                groups.entry(python.functions.clone()).or_default().push(python);
            }
        }
    }
    for (&key, stage) in &ctx.run.stages {
        if in_plans.contains(&key) || !stage.rdds.iter().any(|rdd| rdd.name == "PythonRDD") {
            continue;
        }
        let Some(summary) = ctx.features.stages.get(&key).filter(|summary| summary.tasks.ended > 0) else { continue };
        seen = true;
        let Some((python_ms, run_ms)) = outside_the_jvm(summary) else { continue };
        known = true;
        if python_ms / run_ms >= ctx.threshold(&RDD_SHARE) {
            // One program, one cause.
            rdds.push(in_rdds(ctx, key, (python_ms - starting(ctx, summary)).max(0.0)));
        }
    }
    if seen && !known {
        return Outcome::missing(
            "time in Python (neither the metrics of Python nodes nor CPU times of tasks are in the log)",
        );
    }
    let mut findings: Vec<Finding> = groups.into_values().filter_map(|group| finding(ctx, group, &FLOOR)).collect();
    findings.extend(finding(ctx, rdds, &RDD_FLOOR));
    Outcome::of(findings)
}

/// Task time in ms that starting Python workers is taken to have cost a stage: one in each slot it used.
fn starting(ctx: &Context<'_>, stage: &StageSummary) -> f64 {
    let tasks = stage.tasks.ended;
    ctx.threshold(&START_MS) * stage.slots.map_or(tasks, |slots| slots.min(tasks)) as f64
}

/// Python work of a plan node; `None` when no time is known.
fn in_plan(
    ctx: &Context<'_>,
    plan: &Plan<'_>,
    node: &PlanNode,
    transport: PythonTransport,
    ran: &BTreeSet<StageKey>,
) -> Option<Python> {
    let cost = SqlStages::cost(ctx, ran);
    let total = plan::metric_ms(node, "time to run Python workers");
    let start = plan::metric_ms(node, "time to start Python workers");
    let init = plan::metric_ms(node, "time to initialize Python workers");
    let start_ms = match (start, init) {
        (None, None) => None,
        (start, init) => Some(start.unwrap_or(0.0) + init.unwrap_or(0.0)),
    };
    let (python_ms, measured) = if let Some(total) = total {
        // The total contains starting and initializing, which has other causes than the rows.
        ((total - start_ms.unwrap_or(0.0)).max(0.0), true)
    } else {
        let part = |key| {
            let stage = ctx.features.stages.get(key)?;
            Some((outside_the_jvm(stage)?.0 - starting(ctx, stage)).max(0.0))
        };
        let parts: Option<Vec<f64>> = ran.iter().map(part).collect();
        (parts.filter(|parts| !parts.is_empty())?.iter().sum(), false)
    };
    let python_ms = python_ms.min(cost.task_ms);
    Some(Python {
        transport: Some(transport),
        subject: Subject::sql(plan.execution.id, Some(node.id)).named(plan::canonical(&node.name)),
        functions: functions(node),
        by_row: transport == PythonTransport::Arrow && node.description.trim_end().ends_with(", 101"),
        execution: Some(plan.execution.id),
        in_python_ms: python_ms,
        measured,
        start_ms,
        function_ms: plan::metric_ms(node, "time to execute Python code"),
        rows: plan::rows(node),
        sent: plan::metric(node, "data sent to Python workers"),
        stages: ran.clone(),
        cost,
        spent: cost.of_task_ms(python_ms),
    })
}

fn in_rdds(ctx: &Context<'_>, key: StageKey, python_ms: f64) -> Python {
    let name = ctx.stage_called(key);
    let cost = SqlStages::cost(ctx, &BTreeSet::from([key]));
    Python {
        transport: None,
        subject: ctx.stage_subject(key),
        functions: name,
        by_row: false,
        execution: None,
        in_python_ms: python_ms,
        measured: false,
        start_ms: None,
        function_ms: None,
        rows: None,
        sent: None,
        stages: BTreeSet::from([key]),
        cost,
        spent: cost.of_task_ms(python_ms),
    }
}

/// Run time that the JVM did not spend computing, collecting garbage or in shuffles, and run time, both in ms over all
/// tasks; `None` without CPU times.
fn outside_the_jvm(stage: &StageSummary) -> Option<(f64, f64)> {
    let run = stage.sum(Metric::ExecutorRunTime).filter(|&ms| ms > 0)? as f64;
    let cpu = stage.sum(Metric::ExecutorCpuTime).filter(|&ns| ns > 0)? as f64 / 1e6;
    let ms = |metric| stage.sum(metric).unwrap_or(0) as f64;
    let waits = ms(Metric::ShuffleFetchWaitTime) + ms(Metric::ShuffleWriteTime) / 1e6 + ms(Metric::JvmGcTime).min(run);
    Some(((run - cpu - waits).max(0.0), run))
}

/// The functions that a node calls: what stands before brackets in the first list of its description.
fn functions(node: &PlanNode) -> String {
    let description = plan::normalised(&node.description);
    let mut names: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in description.chars().skip(node.name.trim().len()) {
        if c.is_alphanumeric() || matches!(c, '_' | '.' | '<' | '>') {
            word.push(c);
            continue;
        }
        let builtin = matches!(word.as_str(), "windowspecdefinition" | "specifiedwindowframe" | "cast" | "currentrow")
            || word.ends_with("preceding$")
            || word.ends_with("following$");
        if c == '(' && !word.is_empty() && !builtin && !names.contains(&word) {
            names.push(word.clone());
        }
        word.clear();
    }
    names.truncate(4);
    if names.is_empty() { plan::canonical(&node.name).to_owned() } else { names.join(", ") }
}

fn finding(ctx: &Context<'_>, mut group: Vec<Python>, floor: &Threshold) -> Option<Finding> {
    let spent = group.iter().fold(Cost::default(), |sum, python| sum.plus(python.spent));
    if ctx.below_floor(spent.wall_ms, floor) {
        return None;
    }
    group.sort_by(|a, b| b.spent.wall_ms.total_cmp(&a.spent.wall_ms));
    let repeated = if group.len() > 1 { format!(", as in {} more places", group.len() - 1) } else { String::new() };
    let more_subjects: Vec<Subject> = group.iter().skip(1).map(|python| python.subject.clone()).collect();
    let count = group.len();
    let charges: Vec<(BTreeSet<StageKey>, f64)> =
        group.iter().map(|python| (python.stages.clone(), python.spent.wall_ms)).collect();
    let first = group.into_iter().next()?;
    let share = first.in_python_ms / first.cost.task_ms.max(1.0);
    let rows = first.rows.map_or_else(String::new, |rows| format!(" for {} rows", words::count(rows)));
    let how = if first.measured { "" } else { "about " };
    let place = match (first.transport, first.execution) {
        (Some(transport), Some(execution)) => format!(
            "{} in SQL execution {execution} {}",
            first.functions,
            if transport == PythonTransport::Rows {
                "gets its rows one by one"
            } else {
                "gets its rows in Arrow batches"
            },
        ),
        _ => format!("{} runs Python functions over an RDD", first.functions),
    };
    let mut finding = Finding::new(
        Problem::PythonUdfOverhead,
        match (first.transport, first.measured) {
            (Some(PythonTransport::Rows), true) => 0.85,
            (Some(PythonTransport::Rows), false) => 0.7,
            (Some(PythonTransport::Arrow), true) => 0.6,
            (Some(PythonTransport::Arrow), false) => 0.5,
            (None, _) => 0.45,
        },
        first.subject.clone(),
        format!(
            "{place}: {how}{} of {} of task time went to Python{rows}{repeated}",
            words::duration(first.in_python_ms),
            words::duration(first.cost.task_ms),
        ),
    );
    finding.evidence = vec![Evidence::number("python_time_over_task_time_ratio", share, Unit::Ratio)];
    let numbers = [
        (if first.measured { "python_time_ms" } else { "time_outside_jvm_ms" }, Some(first.in_python_ms), Unit::Ms),
        ("python_start_time_ms", first.start_ms, Unit::Ms),
        ("python_function_time_ms", first.function_ms, Unit::Ms),
        ("python_data_sent_bytes", first.sent.map(|bytes| bytes as f64), Unit::Bytes),
        ("output_rows_count", first.rows.map(|rows| rows as f64), Unit::Count),
    ];
    finding
        .evidence
        .extend(numbers.into_iter().filter_map(|(name, value, unit)| Some(Evidence::number(name, value?, unit))));
    plan::more_subjects(&mut finding, more_subjects.into_iter());
    finding.savings = Savings {
        wall_clock_ms: Some(spent.wall_ms.round() as u64),
        core_ms: Some(spent.task_ms.round() as u64),
        how: format!(
            "all the time in Python, {} of the task time of its stages{}{}: an upper bound, since the work must be done \
             somewhere",
            words::percent(share),
            if first.measured {
                ""
            } else {
                " (run time less the JVM's CPU time, garbage collection and shuffle waits, and less a second to start each worker)"
            },
            if count > 1 { format!(", summed over {count} places") } else { String::new() },
        ),
    };
    for (stages, wall_ms) in &charges {
        SqlStages::charge(ctx, &mut finding, stages, *wall_ms);
    }
    finding.advice = advice(ctx, &first);
    Some(finding)
}

fn advice(ctx: &Context<'_>, python: &Python) -> Vec<Advice> {
    let settings = python.execution.map_or_else(|| ctx.settings.clone(), |id| ctx.settings.for_sql(id));
    let version = ctx.run.application.spark_major_minor();
    let mut all = Vec::new();
    match python.transport {
        Some(PythonTransport::Rows) => {
            all.push(Advice::text(format!(
                "Write {} with built-in functions (`when`, `regexp_extract`, `transform`, `expr`) where it can be: they run in \
                 the JVM with generated code, and filters beside them can be pushed down again.",
                python.functions,
            )));
            let key = "spark.sql.execution.pythonUDF.arrow.enabled";
            let set = settings.set_by_user(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
            if version.is_some_and(|version| version >= (3, 5)) && !set {
                all.push(
                    Advice::text(
                        "Without touching the code, let Spark send the rows in Arrow batches instead of pickling them one by \
                         one (needs PyArrow on the executors; types are coerced a little differently). `udf(..., \
                         useArrow=True)` does it for one function.",
                    )
                    .set(key, "true"),
                );
            } else if !set {
                all.push(Advice::text(
                    "Or make it a pandas UDF (`@pandas_udf`), which gets whole columns as pandas series through Arrow.",
                ));
            }
        }
        Some(PythonTransport::Arrow) if python.by_row => all.push(Advice::text(format!(
            "Arrow carries the rows of {}, but it is a plain function and called once for each of them. Write it with built-in \
             functions where it can be, else as a pandas UDF (`@pandas_udf`) that works on whole series.",
            python.functions,
        ))),
        Some(PythonTransport::Arrow) => all.push(Advice::text(format!(
            "The rows of {} go in Arrow batches already, so the time is mostly in the function itself: vectorize it over the \
             whole series (no `apply` or loop over rows), load models and tables once per worker (iterator form of the pandas \
             UDF), send only the columns it needs.",
            python.functions,
        ))),
        None => all.push(Advice::text(
            "Every record of an RDD in PySpark goes through Python, and the DataFrame API would keep it in the JVM: \
             `spark.createDataFrame` or `spark.read` with built-in functions instead of map, filter and reduceByKey with \
             lambdas. If the function is Python's by nature, look at the function itself with \
             spark.python.profile.",
        )),
    }
    if let Some(function) = python.function_ms {
        all.push(Advice::text(format!(
            "{} of the {} were spent in the function itself; the rest went into serializing, sending and waiting for rows.",
            words::duration(function),
            words::duration(python.in_python_ms),
        )));
    }
    if let Some(start) = python.start_ms
        && start > 0.3 * python.in_python_ms
    {
        let mut advice = Advice::text(format!(
            "{} more went into starting and initializing Python workers: heavy imports at the top of the module, or many \
             short tasks. Import inside the function only what it needs, and use fewer, larger partitions.",
            words::duration(start),
        ));
        if settings.boolean("spark.python.worker.reuse") == Some(false) {
            advice = advice.set("spark.python.worker.reuse", "true");
        }
        all.push(advice);
    }
    if let (Some(sent), Some(rows)) = (python.sent, python.rows)
        && rows > 0
        && sent / rows >= 1_024
    {
        all.push(Advice::text(format!(
            "Each row carries {} to Python ({} for {} rows): pass only the columns that the function uses.",
            words::bytes(sent as f64 / rows as f64),
            words::bytes(sent as f64),
            words::count(rows),
        )));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlanNodeExt, RunBuilder, check, node, outcome, run};

    const ROWS: &str = "BatchEvalPython | BatchEvalPython [slow_name(value#1)#4], [pythonUDF0#13]";
    const ARROW: &str = "ArrowEvalPython | ArrowEvalPython [fast_name(v#1)#9], [pythonUDF0#9], 200";

    /// 4 tasks of 10 s of which `python_ms` in all went to Python; the JVM used CPU for the rest.
    fn udf(text: &str, python_ms: i64) -> RunBuilder {
        let mut eval = node(text).metric("number of output rows", 1_000_000);
        if python_ms > 0 {
            eval = eval.metric("time to run Python workers", python_ms);
        }
        let plan = node("Project").over(eval.over(node("Range").metric("number of output rows", 1_000_000)));
        run().executor("1", 4).sql(0, plan).sql_stage(0, 0, &[1, 2], |stage| {
            (0..4).for_each(|partition| {
                stage.task(partition).duration_ms(10_000).metrics(10_000, 2_000, 0);
            });
        })
    }

    #[test]
    fn a_plain_function_that_takes_most_of_the_stage_is_found_and_named() {
        let findings = check(&RULE, &udf(ROWS, 30_000));
        assert_eq!(findings.len(), 1);
        // 30 of 40 s of task time, of 10 s of wall clock.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(7_500));
        assert!(findings[0].summary.contains("slow_name"), "{}", findings[0].summary);
        assert_eq!(findings[0].advice[1].config["spark.sql.execution.pythonUDF.arrow.enabled"], "true");
    }

    #[test]
    fn below_the_share_it_is_left_alone_and_arrow_is_given_more() {
        assert_eq!(check(&RULE, &udf(ROWS, 12_000)).len(), 1);
        assert_eq!(check(&RULE, &udf(ROWS, 11_999)), []);
        assert_eq!(check(&RULE, &udf(ARROW, 27_999)), []);
        assert_eq!(check(&RULE, &udf(ARROW, 28_000)).len(), 1);
    }

    #[test]
    fn before_spark_4_the_time_is_what_the_jvm_did_not_use() {
        let findings = check(&RULE, &udf(ROWS, 0));
        // 40 s of run time less 8 s of CPU time, and 1 s to start a worker in each of 4 slots.
        assert_eq!(findings[0].savings.core_ms, Some(28_000));
    }

    #[test]
    fn starting_workers_is_not_charged_to_the_rows() {
        let mut run = udf(ROWS, 30_000);
        let plan = run.run.sql_executions.get_mut(&SqlExecutionId(0)).unwrap().plan.as_mut().unwrap();
        let start = emberscope_run::PlanMetric {
            name: "time to start Python workers".into(),
            value: Some(20_000),
            ..plan.children[0].metrics[1].clone()
        };
        plan.children[0].metrics.push(start);
        // 10 of 40 s are under the share of 0.3.
        assert_eq!(check(&RULE, &run), []);
    }

    #[test]
    fn a_stage_of_python_rdds_is_told_with_little_confidence() {
        let run = run().executor("1", 4).stage(0, |stage| {
            stage.task(0).duration_ms(10_000).metrics(10_000, 500, 0);
            stage.with(|attempt| {
                attempt.rdds.push(RddInfoForTest { name: "PythonRDD".to_owned(), ..RddInfoForTest::default() });
            });
        });
        let findings = check(&RULE, &run);
        assert!(findings[0].confidence < 0.5);
    }

    use emberscope_run::RddInfo as RddInfoForTest;

    #[test]
    fn without_times_the_rule_says_what_it_lacks() {
        let plan = node(ROWS).over(node("Range").metric("number of output rows", 1));
        let run = run().executor("1", 4).sql(0, plan).sql_stage(0, 0, &[0, 1], |stage| {
            stage.task(0).duration_ms(10_000);
        });
        assert!(matches!(outcome(&RULE, &run), Outcome::Skipped { .. }));
    }
}
