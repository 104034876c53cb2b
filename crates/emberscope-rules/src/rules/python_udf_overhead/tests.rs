//! What the rule promises of runs made by hand.

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
    assert_eq!(check(&RULE, &udf(ROWS, 3_200)).len(), 1);
    assert_eq!(check(&RULE, &udf(ROWS, 3_199)), []);
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
        value: Some(27_000),
        ..plan.children[0].metrics[1].clone()
    };
    plan.children[0].metrics.push(start);
    // 3 of 40 s are under the share of 0.08.
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
