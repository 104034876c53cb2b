//! Failures on executors of two cores.

use super::*;
use crate::testing::{RunBuilder, check, outcome, run};
use crate::testing_failures::Fail;

const STACK: &str =
    "java.lang.IllegalStateException: row 17\n\tat com.acme.Parse$.row(Parse.scala:8)\n\tat scala.X.y(X.scala:1)";

/// Two executors of 2 cores and 40 partitions of 1 s; `fails` of them fail once, after 1 s, with messages of their own.
fn failing(fails: u64) -> RunBuilder {
    let mut builder = run().executor("1", 2).executor("2", 2);
    let failures: Vec<u64> = (0..fails)
        .map(|row| {
            let message = format!("row {row}");
            builder.failure(
                TaskEndKind::ExceptionFailure,
                "java.lang.IllegalStateException",
                &message,
                Some(&STACK.replace("row 17", &message)),
            )
        })
        .collect();
    builder.stage(0, move |stage| {
        for (partition, &failure) in failures.iter().enumerate() {
            stage.task(partition as u64).duration_ms(1_000).fails(failure);
        }
        for partition in 0..40 {
            stage.task(partition).duration_ms(1_000);
        }
    })
}

#[test]
fn fifty_failures_of_one_cause_are_one_finding_with_the_frame_of_user_code() {
    let findings = check(&RULE, &failing(20));
    assert_eq!(findings.len(), 1);
    let finding = &findings[0];
    assert_eq!(finding.because.as_deref(), Some("IllegalStateException: row 0, at com.acme.Parse$.row(Parse.scala:8)"));
    assert!(
        finding.summary.starts_with("20 task attempts failed in stage 0.0 with IllegalStateException"),
        "{}",
        finding.summary
    );
    // 20 attempts of 1 s on 4 slots.
    assert_eq!(finding.savings.core_ms, Some(20_000));
    assert_eq!(finding.savings.wall_clock_ms, Some(5_000));
    assert_eq!(finding.harm, Harm::LostWork);
    assert!(finding.advice[0].text.contains("Parse.scala:8"));
}

#[test]
fn a_failure_that_cost_a_thousandth_of_the_run_is_silent() {
    // One attempt of 1 s over 4 slots is 250 ms: 0.5 % of 50 s, and less of the 60.5 s here.
    assert_eq!(check(&RULE, &failing(1).idle(50_000)), []);
    assert_eq!(check(&RULE, &failing(1)).len(), 1);
}

#[test]
fn a_partition_at_its_last_attempt_is_told_however_small() {
    let mut builder = run().executor("1", 4);
    let failure =
        builder.failure(TaskEndKind::ExceptionFailure, "java.lang.IllegalStateException", "row 17", Some(STACK));
    let findings = check(
        &RULE,
        &builder
            .stage(0, |stage| {
                (0..3).for_each(|_| {
                    stage.task(0).duration_ms(10).fails(failure);
                });
                stage.task(0).duration_ms(10);
            })
            .idle(3_600_000),
    );
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].harm, Harm::RiskOfFailure);
    assert_eq!(findings[0].subject.partition, Some(0));
}

#[test]
fn failures_on_one_of_several_executors_point_at_its_host() {
    let mut builder = run().executor("1", 2).executor("2", 2);
    let failure =
        builder.failure(TaskEndKind::ExceptionFailure, "java.io.IOException", "No space left on device", None);
    let findings = check(
        &RULE,
        &builder.stage(0, |stage| {
            (0..4).for_each(|partition| {
                stage.task(partition).duration_ms(1_000).on("2").fails(failure);
            });
            (0..4).for_each(|partition| {
                stage.task(partition).duration_ms(1_000).on("1");
            });
            stage.task(4).duration_ms(1_000).on("2");
        }),
    );
    assert!(findings[0].summary.ends_with("; all on executor 2"), "{}", findings[0].summary);
    let first = &findings[0].advice[0];
    assert!(first.text.starts_with("Look at executor 2 on host-2 first"), "{}", first.text);
    assert_eq!(first.config["spark.excludeOnFailure.enabled"], "true");
    let full = &findings[0].advice[1].text;
    assert!(full.contains("spark.local.dir") && full.contains("A disk was full"), "{full}");
}

/// Three failures on executor 2, which no task survived, of code that the user wrote.
fn on_one_executor(others_run_the_stage: bool) -> RunBuilder {
    let mut builder = run().executor("1", 2).executor("2", 2);
    let failure =
        builder.failure(TaskEndKind::ExceptionFailure, "java.lang.IllegalStateException", "row 17", Some(STACK));
    let builder = builder.stage(0, |stage| {
        for partition in 0..3 {
            stage.task(partition).duration_ms(1_000).on("2").fails(failure);
        }
        for partition in 0..3 {
            stage.task(partition).duration_ms(1_000).on(if others_run_the_stage { "1" } else { "2" });
        }
    });
    builder.stage(1, |stage| {
        stage.task(0).duration_ms(1_000).on("1");
    })
}

#[test]
fn the_executor_comes_before_the_input_when_its_failures_were_nobody_elses() {
    let advice = &check(&RULE, &on_one_executor(true))[0].advice;
    assert!(advice[0].text.starts_with("Look at executor 2 on host-2 first"), "{}", advice[0].text);
    assert!(advice[1].text.contains("Parse.scala:8"), "{}", advice[1].text);
    assert!(advice.iter().all(|advice| !advice.text.contains("failing partition's input")));
    // No other executor ran the stage: nothing tells the host from the code.
    let advice = &check(&RULE, &on_one_executor(false))[0].advice;
    assert!(advice[0].text.contains("failing partition's input"), "{}", advice[0].text);
}

#[test]
fn several_executors_that_did_nothing_but_fail_come_before_the_code_too() {
    let blamed = |successes_there: u64| {
        let mut builder = run().executor("1", 2).executor("2", 2).executor("3", 2);
        let failure =
            builder.failure(TaskEndKind::ExceptionFailure, "java.lang.IllegalStateException", "row 17", Some(STACK));
        let builder = builder.stage(0, |stage| {
            for partition in 0..4 {
                stage.task(partition).duration_ms(1_000).on(if partition < 2 { "2" } else { "3" }).fails(failure);
            }
            for partition in 0..8 {
                stage.task(partition).duration_ms(1_000).on(if partition < successes_there { "3" } else { "1" });
            }
        });
        check(&RULE, &builder)[0].advice[0].text.clone()
    };
    assert!(blamed(0).starts_with("Look at executors 2 and 3 first"), "{}", blamed(0));
    assert!(blamed(1).contains("failing partition's input"), "{}", blamed(1));
}

#[test]
fn killed_and_resubmitted_tasks_are_no_failures() {
    let builder = run().executor("1", 4).stage(0, |stage| {
        stage.task(0).duration_ms(1_000).killed();
        stage.task(1).duration_ms(0).resubmitted();
        stage.task(0).duration_ms(1_000);
    });
    assert_eq!(check(&RULE, &builder), []);
}

#[test]
fn a_run_without_ended_tasks_is_skipped() {
    assert!(matches!(outcome(&RULE, &run()), Outcome::Skipped { .. }));
}
