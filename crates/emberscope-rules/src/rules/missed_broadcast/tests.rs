//! Joins of two sides on one executor.

use super::*;
use crate::testing::{PlanNodeExt, RunBuilder, check, node, outcome, run};

const MIB: i64 = 1_048_576;

/// A join of 6,000 MiB with a side of `small` MiB: 40 s of task time in each of its two stages, on 4 slots.
fn join(join_type: &str, small: i64) -> RunBuilder {
    let side = |name: &str, size: i64| {
        let scan = node(&format!("Scan parquet {name}")).metric("number of output rows", 10);
        node("Sort").metric("sort time", 2_000).over(node("Exchange").metric("data size", size * MIB).over(scan))
    };
    let plan = node(&format!("SortMergeJoin | SortMergeJoin [k#1], [id#2], {join_type}"))
        .metric("number of output rows", 10)
        .over(side("facts", 6_000))
        .over(side("dims", small));
    let tasks = |stage: &mut crate::testing::StageBuilder| {
        (0..40).for_each(|partition| {
            stage.task(partition).duration_ms(1_000);
        });
    };
    run()
        .executor("1", 4)
        .set("spark.executor.memory", "4g")
        .set("spark.driver.memory", "4g")
        .sql(0, plan)
        .sql_stage(0, 0, &[2, 3], tasks)
        .sql_stage(1, 0, &[0, 1, 4], tasks)
}

#[test]
fn a_join_with_a_side_of_twenty_three_megabytes_is_found_with_the_threshold_to_set() {
    let findings = check(&RULE, &join("Inner", 23));
    assert_eq!(findings.len(), 1);
    // Sorts 2 x 2 s; 6,023 MiB at 150 MiB/s are 40,153 ms, but the stage that wrote the large side took 40,000 and its
    // scan does not say how much of that; of 80 s of task time in 20 s of wall clock.
    assert_eq!(findings[0].savings.core_ms, Some(44_000));
    assert_eq!(findings[0].savings.wall_clock_ms, Some(11_000));
    // No wait for shuffle blocks is in the plan, and none is told.
    assert!(
        findings[0].savings.how.starts_with("4.0 s of sorting was measured; 5.9 GiB and 20 rows shuffled"),
        "{}",
        findings[0].savings.how
    );
    // 23 MiB and a quarter are 28.75, the next multiple of 8 is 32.
    assert_eq!(findings[0].advice[0].config[KEY], "32m");
    assert!(findings[0].summary.contains("dims"), "{}", findings[0].summary);
    assert!(findings[0].summary.contains("k = id"), "{}", findings[0].summary);
}

#[test]
fn a_shuffle_costs_no_more_than_its_stage_did_beyond_the_scan() {
    let mut scanning = join("Inner", 23);
    let plan = scanning.run.sql_executions.get_mut(&SqlExecutionId(0)).unwrap().plan.as_mut().unwrap();
    let scan = &mut plan.children[0].children[0].children[0];
    scan.metrics.push(emberscope_run::PlanMetric {
        name: "scan time".into(),
        kind: "timing".into(),
        value: Some(39_000),
        ..scan.metrics[0].clone()
    });
    // 40 s less 39 s of scanning, and 4 s of sorts: 5 of 80 s of task time are 1.25 of 20 s.
    let findings = check(&RULE, &scanning);
    assert_eq!((findings[0].savings.core_ms, findings[0].savings.wall_clock_ms), (Some(5_000), Some(1_250)));
    // With 39.99 s of scanning 4.01 of 80 s remain, 1 s of the run: 1 % of 100 s, and less of a longer one.
    let plan = scanning.run.sql_executions.get_mut(&SqlExecutionId(0)).unwrap().plan.as_mut().unwrap();
    plan.children[0].children[0].children[0].metrics[1].value = Some(39_990);
    assert_eq!(check(&RULE, &scanning).len(), 1);
    assert_eq!(check(&RULE, &scanning.idle(90_000)), []);
}

#[test]
fn a_side_just_too_large_is_no_missed_broadcast() {
    // A fiftieth of 4 GiB is 81.9 MiB.
    assert_eq!(check(&RULE, &join("Inner", 81)).len(), 1);
    assert_eq!(check(&RULE, &join("Inner", 82)), []);
}

#[test]
fn a_side_of_ten_million_short_rows_is_too_large_for_one_thread_to_build() {
    let mut many = join("Inner", 90);
    let plan = many.run.sql_executions.get_mut(&SqlExecutionId(0)).unwrap().plan.as_mut().unwrap();
    // 90 MiB in columns are 160 MB as rows of 16 bytes.
    plan.children[1].children[0].children[0].metrics[0].value = Some(10_000_000);
    assert_eq!(check(&RULE, &many), []);
}

#[test]
fn the_side_whose_rows_must_all_come_out_cannot_be_broadcast() {
    assert_eq!(check(&RULE, &join("LeftOuter", 23)).len(), 1);
    assert_eq!(check(&RULE, &join("RightOuter", 23)), []);
    assert_eq!(check(&RULE, &join("FullOuter", 23)), []);
}

#[test]
fn a_threshold_that_somebody_switched_off_is_said_to_be_off() {
    let findings = check(&RULE, &join("Inner", 23).set(KEY, "-1"));
    assert!(findings[0].advice[1].text.contains("switched broadcast joins off"), "{}", findings[0].advice[1].text);
}

#[test]
fn nothing_is_advised_that_is_set() {
    // 8 MiB are under the default of 10 MiB, and adaptive execution is on by default in 3.5: only the hint remains.
    let findings = check(&RULE, &join("Inner", 8));
    assert!(findings[0].advice.iter().all(|advice| advice.config.is_empty()));
    let off = check(&RULE, &join("Inner", 8).set("spark.sql.adaptive.enabled", "false"));
    assert_eq!(off[0].advice[0].config["spark.sql.adaptive.enabled"], "true");
}

#[test]
fn a_join_without_sizes_is_skipped() {
    let plan = node("SortMergeJoin | SortMergeJoin [k#1], [id#2], Inner")
        .metric("number of output rows", 10)
        .over(node("Exchange"))
        .over(node("Exchange"));
    assert!(matches!(outcome(&RULE, &run().sql(0, plan)), Outcome::Skipped { .. }));
}
