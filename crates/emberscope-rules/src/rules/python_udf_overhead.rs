//! Rows cross to Python workers.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use emberscope_extract::features::{Metric, StageSummary};
use emberscope_run::{PlanNode, SqlExecutionId, StageKey, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::plan::{self, Cost, Operator, Plan, PythonTransport, SqlStages};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::tasks::{self, Task};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::PythonUdfOverhead,
    summary: "Tasks spend their time handing rows to Python workers and waiting for them.",
    documentation: include_str!("python_udf_overhead.md"),
    thresholds: &[ROWS_SHARE, ARROW_SHARE, RDD_SHARE, START_MS, FLOOR, RDD_FLOOR],
    explained_by: &[Problem::CpuContention],
    check,
};

const ROWS_SHARE: Threshold = Threshold {
    name: "rows_share",
    value: 0.08,
    unit: Unit::Ratio,
    reason: "share of the stage's task time spent on Python functions that get rows one by one. Set on the training \
             families of datasets/lab (`emberscope calibrate`)",
};
const ARROW_SHARE: Threshold = Threshold {
    name: "arrow_share",
    value: 0.7,
    unit: Unit::Ratio,
    reason: "the same for functions that get Arrow batches: those are told only where little else happens. Set by \
             judgement, not contradicted by the training families of datasets/lab (`emberscope calibrate`)",
};
const RDD_SHARE: Threshold = Threshold {
    name: "rdd_share",
    value: 0.7,
    unit: Unit::Ratio,
    reason: "share of a Python RDD stage's run time in which the JVM neither computed nor waited for shuffles: \
             Python is what an RDD of PySpark is made of. Set by judgement, which no labelled run of datasets/lab \
             decides (`emberscope calibrate`)",
};
const START_MS: Threshold = Threshold {
    name: "start_ms",
    value: 1_000.0,
    unit: Unit::Ms,
    reason: "time to start a Python worker and import its modules, once a slot: taken off where Spark does not \
             measure it. Set by judgement, not contradicted by the training families of datasets/lab (`emberscope \
             calibrate`)",
};
const RDD_FLOOR: Threshold = Threshold {
    name: "rdd_floor_share",
    value: 0.25,
    unit: Unit::Ratio,
    reason: "the floor for Python RDDs: moving a program from RDDs to DataFrames is a rewrite, and no small gain is worth it",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.01,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent in Python; below it nobody gains by rewriting a function. Set on \
             the training families of datasets/lab (`emberscope calibrate`)",
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

impl Python {
    /// Takes in another function that the same stages call. Workers of one stage feed each other and run side by side: their
    /// time is that of the longest.
    fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        let mut names = self.functions.split(", ");
        if names.clone().count() < 4 && names.all(|name| name != other.functions) {
            self.functions = format!("{}, {}", other.functions, self.functions);
        }
        self.by_row |= other.by_row;
        self.measured &= other.measured;
        self.rows = self.rows.max(other.rows);
        self.sent = sum(self.sent, other.sent);
        if other.in_python_ms > self.in_python_ms {
            self.in_python_ms = other.in_python_ms;
            self.start_ms = other.start_ms;
            self.function_ms = other.function_ms;
            self.spent = other.spent;
        }
    }
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
        let mut own: Vec<Python> = Vec::new();
        for node in plan.nodes() {
            let Operator::Python(transport) = plan::operator(node) else { continue };
            seen = true;
            let ran = stages.updating(plan.execution.id, &plan.accumulators_near(node));
            in_plans.extend(&ran);
            let Some(python) = in_plan(ctx, plan, node, transport, &ran) else { continue };
            known = true;
            // Plain functions of one stage are one place: each alone may be little.
            let plain = transport == PythonTransport::Rows;
            match own.iter_mut().find(|other| plain && other.transport == Some(transport) && other.stages == ran) {
                Some(other) => other.add(&python),
                None => own.push(python),
            }
        }
        for python in own {
            let rows = python.transport == Some(PythonTransport::Rows);
            let share = if rows { &ROWS_SHARE } else { &ARROW_SHARE };
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
            let usual = usual_share(ctx, &BTreeSet::from([key]), Attempts::All);
            rdds.push(in_rdds(ctx, key, (python_ms * usual - starting(ctx, summary)).max(0.0)));
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
    let besides = if transport == PythonTransport::Rows { start } else { start_ms };
    let (python_ms, measured) = if let Some(total) = total {
        // The total contains starting and initializing, which has other causes than the rows; but a worker that is used again
        // is initialized while it waits for its first rows.
        ((total - besides.unwrap_or(0.0)).max(0.0) * usual_share(ctx, ran, Attempts::Successful), true)
    } else {
        let part = |key| {
            let stage = ctx.features.stages.get(key)?;
            let usual = usual_share(ctx, &BTreeSet::from([*key]), Attempts::All);
            Some((outside_the_jvm(stage)?.0 * usual - starting(ctx, stage)).max(0.0))
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
        start_ms: besides,
        function_ms: plan::metric_ms(node, "time to execute Python code"),
        rows: plan::rows(node),
        sent: plan::metric(node, "data sent to Python workers"),
        stages: ran.clone(),
        cost,
        spent: cost.of_task_ms(python_ms),
    })
}

/// Whose time a figure is: SQL metrics are those of successful attempts only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempts {
    All,
    Successful,
}

/// The share of the stages' task time that is left when failed attempts do not count, and no task for more than three times the
/// median: what one task or a failure took has another cause than the function.
fn usual_share(ctx: &Context<'_>, stages: &BTreeSet<StageKey>, of: Attempts) -> f64 {
    let (mut usual, mut whole) = (0.0, 0.0);
    for stage in stages.iter().filter_map(|key| ctx.run.stages.get(key)) {
        let durations = tasks::successful(ctx.run, stage).iter().map(Task::duration).collect::<Vec<_>>();
        let most = 3.0 * tasks::median(durations.iter().copied()).unwrap_or(0.0);
        usual += durations.iter().map(|ms| ms.min(most)).sum::<f64>();
        whole += match of {
            Attempts::Successful => durations.iter().sum(),
            Attempts::All => ctx.features.stages.get(&stage.key).map_or(0.0, |summary| summary.task_ms() as f64),
        };
    }
    if whole > 0.0 { (usual / whole).min(1.0) } else { 1.0 }
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
