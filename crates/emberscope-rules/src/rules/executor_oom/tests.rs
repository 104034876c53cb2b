//! Firing, just-below and skipped cases.

use super::*;
use crate::testing::{START, check, outcome, run};
use crate::testing_failures::Fail;
use emberscope_run::Timestamp;

const YARN: &str = "Container killed by YARN for exceeding memory limits. 5.5 GB of 4.4 GB physical memory used.";

/// 8 tasks of 10 s on two executors of 2 cores; executor 2 dies 5 s into its first two tasks.
fn killed(reason: &str) -> crate::testing::RunBuilder {
    let mut builder =
        run().set("spark.master", "yarn").set("spark.executor.memory", "4g").executor("1", 2).executor("2", 2);
    let failure = builder.failure(TaskEndKind::ExecutorLostFailure, "ExecutorLostFailure", reason, None);
    let reason = reason.to_owned();
    builder
        .stage(0, |stage| {
            for partition in 0..2 {
                stage.task(partition).duration_ms(5_000).on("2").fails(failure);
            }
            for partition in 0..8 {
                stage.task(partition).duration_ms(10_000).on("1");
            }
        })
        .with(move |run| {
            if let Some(executor) = run.executors.get_mut(&ExecutorId::from("2")) {
                executor.removed_at = Some(Timestamp(START + 5_000));
                executor.removed_reason = Some(reason);
            }
        })
}

#[test]
fn a_container_over_its_limit_is_found_with_what_it_would_have_needed() {
    let findings = check(&RULE, &killed(YARN));
    assert_eq!(findings.len(), 1);
    let finding = &findings[0];
    assert_eq!(finding.subject.executor_id.as_deref(), Some("2"));
    assert_eq!(finding.harm, Harm::LostWork);
    // Two attempts of 5 s were lost, 10 s of core time. There were 4 slots for 5 s and 2 for the other 35: 2.25, rounded 2,
    // so that is 5 s. Partitions 0 and 1 ended no later than the others.
    assert_eq!(finding.savings.core_ms, Some(10_000));
    assert_eq!(finding.savings.wall_clock_ms, Some(5_000));
    // Overhead was max(384 MiB, 10 % of 4 GiB) = 409.6 MiB. 5.5 GiB x 1.2 = 6.6 GiB, less 4 GiB of heap: 2.6 GiB.
    assert_eq!(finding.advice[0].config["spark.executor.memoryOverhead"], "2663m");
    assert_eq!(finding.advice[1].config["spark.executor.cores"], "1");
}

#[test]
fn a_kill_where_there_is_no_container_says_nothing_of_memory() {
    for master in ["local-cluster[2,1,1024]", "spark://host:7077"] {
        assert_eq!(check(&RULE, &killed("Command exited with code 137").set("spark.master", master)), [], "{master}");
    }
    // On YARN, and where the reason speaks of a container, its limit can be what killed it.
    for (master, reason) in [
        ("yarn", "Command exited with code 137"),
        ("", "The executor with id 4 exited with exit code 137(SIGKILL, possible container OOM)."),
    ] {
        let findings = check(&RULE, &killed(reason).set("spark.master", master));
        assert!(findings[0].advice[0].config.contains_key("spark.executor.memoryOverhead"), "{reason}");
        assert!(findings[0].advice[0].text.starts_with("If it was the limit"), "{}", findings[0].advice[0].text);
    }
}

#[test]
fn a_request_to_end_says_nothing_of_memory_where_there_is_no_container() {
    let terminated = killed("Command exited with code 143");
    assert_eq!(check(&RULE, &terminated).len(), 1);
    assert_eq!(check(&RULE, &terminated.set("spark.master", "spark://host:7077")), []);
}

#[test]
fn a_full_heap_asks_for_heap_and_not_for_overhead() {
    let mut builder = run().set("spark.executor.memory", "4g").executor("1", 2);
    let stack = "java.lang.OutOfMemoryError: Java heap space\n\tat com.acme.Big.fill(Big.scala:7)";
    let failure =
        builder.failure(TaskEndKind::ExceptionFailure, "java.lang.OutOfMemoryError", "Java heap space", Some(stack));
    let findings = check(
        &RULE,
        &builder.stage(0, |stage| {
            stage.task(0).duration_ms(4_000).fails(failure);
            stage.task(0).duration_ms(4_000);
        }),
    );
    assert_eq!(findings[0].advice[0].config["spark.executor.memory"], "6g");
    assert_eq!(
        findings[0].because.as_deref(),
        Some("OutOfMemoryError: Java heap space, at com.acme.Big.fill(Big.scala:7)")
    );
    assert!(findings[0].advice.iter().all(|advice| !advice.config.contains_key("spark.executor.memoryOverhead")));
}

#[test]
fn a_loss_below_the_floor_is_silent() {
    // 10 s over 2 slots were lost; 5 s are 0.1 % of 5,000 s, and less of a longer run.
    assert_eq!(check(&RULE, &killed(YARN).idle(5_200_000)), []);
}

#[test]
fn executors_that_end_with_the_application_or_are_given_back_did_not_run_out_of_memory() {
    assert_eq!(check(&RULE, &killed("Executor 2 is removed. Remove reason: Executor idle timeout")), []);
    let terminated = run().executor("1", 2).stage(0, |stage| {
        stage.task(0).duration_ms(10_000);
    });
    let terminated = terminated.with(|run| {
        if let Some(executor) = run.executors.get_mut(&ExecutorId::from("1")) {
            executor.removed_at = Some(Timestamp(START + 10_000));
            executor.removed_reason = Some("Container exited with a non-zero exit code 143.".to_owned());
        }
    });
    assert_eq!(check(&RULE, &terminated), []);
}

#[test]
fn without_executors_and_tasks_the_rule_is_skipped() {
    assert!(matches!(outcome(&RULE, &run()), Outcome::Skipped { .. }));
}
