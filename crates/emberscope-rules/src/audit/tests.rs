//! Each note with the measurement that calls for it, and without.

use emberscope_extract::features::Features;
use emberscope_run::{Bytes, ExecutorId, RddInfo, SqlExecutionId, TaskColumn};

use super::*;
use crate::finding::Subject;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::testing::{RunBuilder, run};
use crate::testing_failures::Fail;

const GIB: u64 = 1 << 30;

fn notes_with(builder: &RunBuilder, findings: &[Finding]) -> Vec<ConfigurationNote> {
    let run = builder.build();
    let features = Features::of(&run);
    let settings = Settings::of_run(&run);
    let none = std::collections::BTreeMap::new();
    audit(&Context::new(&run, &features, &settings, &none), findings)
}

fn notes(builder: &RunBuilder) -> Vec<ConfigurationNote> {
    notes_with(builder, &[])
}

fn keys(builder: &RunBuilder) -> Vec<String> {
    notes(builder).into_iter().map(|note| note.key).collect()
}

/// One stage of 8 tasks of 10 s on an executor of 4 cores on YARN.
fn plain() -> RunBuilder {
    run().set("spark.master", "yarn").executor("1", 4).stage(0, |stage| {
        (0..8).for_each(|partition| {
            stage.task(partition).duration_ms(10_000).metrics(10_000, 9_000, 100);
        });
    })
}

#[test]
fn defaults_that_hurt_nobody_are_not_noted() {
    assert_eq!(notes(&plain()), []);
}

#[test]
fn nothing_is_said_of_a_configuration_that_is_not_known() {
    let unknown = plain().set("spark.task.cpus", "lots").with(|run| run.environment.known = false);
    assert_eq!(notes(&unknown), []);
}

#[test]
fn values_that_spark_refuses_are_named() {
    let all = notes(
        &plain()
            .set("spark.executor.memory", "1.5g")
            .set("spark.speculation", "yes")
            .set("spark.locality.wait", "*********(redacted)")
            .set("spark.sql.shuffle.partitions", "auto"),
    );
    let said: Vec<(&str, &str)> = all.iter().map(|note| (note.key.as_str(), note.evidence.as_str())).collect();
    assert_eq!(
        said,
        [
            ("spark.executor.memory", "the value is \"1.5g\", which is not a size"),
            ("spark.speculation", "the value is \"yes\", which is not true or false"),
        ]
    );
    assert!(all[0].advice.text.contains("1536m"));
}

#[test]
fn java_serialization_counts_where_rdds_were_shuffled_in_bulk() {
    let shuffling = |bytes: u64, sql: bool| {
        run().executor("1", 4).stage(0, move |stage| {
            (0..4).for_each(|partition| {
                stage.task(partition).duration_ms(10_000).set(TaskColumn::ShuffleBytesWritten, bytes / 4);
            });
            stage.with(move |stage| {
                stage.rdds = vec![RddInfo { name: "MapPartitionsRDD".to_owned(), ..RddInfo::default() }];
                stage.sql_execution_id = sql.then_some(SqlExecutionId(0));
            });
        })
    };
    let found = notes(&shuffling(2 * GIB, false));
    assert_eq!(found[0].advice.config["spark.serializer"], "org.apache.spark.serializer.KryoSerializer");
    assert!(!found[0].set);
    assert_eq!(keys(&shuffling(2 * GIB, true)), [""; 0]);
    assert_eq!(keys(&shuffling(GIB / 2, false)), [""; 0]);
    assert_eq!(
        keys(&shuffling(2 * GIB, false).set("spark.serializer", "org.apache.spark.serializer.KryoSerializer")),
        [""; 0]
    );
}

#[test]
fn adaptive_execution_is_missed_where_small_partitions_would_have_been_put_together() {
    // 64 MiB advisory, 4 cores: of 200 partitions with 10 MiB together 4 would be left, fifty times fewer.
    let small = |tasks: u64| {
        run().set("spark.sql.adaptive.enabled", "false").executor("1", 4).stage(0, move |stage| {
            (0..tasks).for_each(|partition| {
                stage.task(partition).duration_ms(100).shuffle_read(10 * 1_048_576 / tasks, 10);
            });
            stage.with(|stage| stage.sql_execution_id = Some(SqlExecutionId(0)));
        })
    };
    assert_eq!(keys(&small(200)), ["spark.sql.adaptive.enabled"]);
    // 31 are fewer than eight times 4.
    assert_eq!(keys(&small(31)), [""; 0]);
    assert_eq!(keys(&small(32)), ["spark.sql.adaptive.enabled"]);
}

#[test]
fn a_key_that_a_finding_advises_is_not_noted_again() {
    let builder = plain().stage(1, |stage| {
        stage.task(0).duration_ms(0).resubmitted();
        stage.task(0).duration_ms(10_000);
    });
    assert_eq!(keys(&builder), ["spark.shuffle.service.enabled"]);
    let mut finding = Finding::new(Problem::ExecutorLoss, 0.9, Subject::run(), "lost");
    finding.advice = vec![Advice::text("x").set("spark.shuffle.service.enabled", "true")];
    assert_eq!(notes_with(&builder, &[finding]), []);
}

#[test]
fn executor_memory_in_local_mode_matters_only_where_memory_was_short() {
    let local = |spilled: u64| {
        run().set("spark.master", "local[4]").set("spark.executor.memory", "8g").executor("driver", 4).stage(
            0,
            move |stage| {
                stage.task(0).duration_ms(10_000).set(TaskColumn::DiskBytesSpilled, spilled);
            },
        )
    };
    assert_eq!(notes(&local(0)), []);
    let found = notes(&local(GIB));
    assert_eq!(found[0].advice.config["spark.driver.memory"], "8g");
    assert_eq!(
        found[0].evidence,
        "it is set to 8g and has no effect in local mode, while 1.0 GiB were spilled to disk"
    );
}

#[test]
fn a_driver_heap_that_was_set_too_late_is_seen_by_its_block_manager() {
    // A heap of 1 GiB leaves (1024 - 300) x 0.6 = 434.4 MiB.
    let with = |managed: u64| {
        plain().set("spark.driver.memory", "8g").with(move |run| {
            let driver = ExecutorId::from("driver");
            let executor =
                emberscope_run::Executor { id: driver.clone(), max_memory: Some(Bytes(managed)), ..Default::default() };
            run.executors.insert(driver, executor);
        })
    };
    let found = notes(&with(455_501_414));
    assert!(found[0].evidence.contains("a heap of about 1.0 GiB, not 8.0 GiB"), "{}", found[0].evidence);
    // (8192 - 300) x 0.6 MiB.
    assert_eq!(notes(&with(4_965_233_459)), []);
}

#[test]
fn many_cores_in_one_heap_are_noted_with_much_collection_only() {
    let wide = |gc: u64| {
        run().set("spark.master", "yarn").set("spark.executor.memory", "32g").executor("1", 32).stage(0, move |stage| {
            stage.task(0).duration_ms(10_000).metrics(10_000, 9_000, gc);
        })
    };
    assert_eq!(notes(&wide(900)), []);
    let found = notes(&wide(1_000));
    assert_eq!(found[0].advice.config["spark.executor.cores"], "16");
    assert_eq!(found[0].advice.config["spark.executor.memory"], "16g");
    // 1 s of collection in 30 s of run is 3 %.
    assert_eq!(notes(&wide(1_000).idle(20_000)), []);
}

#[test]
fn cores_that_no_task_can_have_are_counted() {
    let found = notes(&plain().set("spark.task.cpus", "3"));
    assert_eq!(
        found[0].evidence,
        "executors have 4 cores and a task takes 3: 1 of 4 cores of each executor could never work"
    );
    assert_eq!(notes(&plain().set("spark.task.cpus", "2")), []);
}

#[test]
fn off_heap_memory_that_is_switched_off_is_no_memory() {
    assert_eq!(keys(&plain().set("spark.memory.offHeap.size", "4g")), ["spark.memory.offHeap.size"]);
    assert_eq!(notes(&plain().set("spark.memory.offHeap.size", "4g").set("spark.memory.offHeap.enabled", "true")), []);
}

#[test]
fn executors_that_never_came_are_noted_where_they_were_wanted() {
    assert_eq!(keys(&plain().set("spark.executor.instances", "4")), ["spark.executor.instances"]);
    assert_eq!(notes(&plain().set("spark.executor.instances", "1")), []);
}

#[test]
fn a_container_at_85_percent_asks_for_overhead() {
    // 4 GiB and 409.6 MiB of overhead: 85 % of 4,505.6 MiB are 3,830 MiB. x 1.2 = 4,596 - 4,096 = 500 MiB; a quarter more
    // than now is 512 MiB.
    let with = |mib: u64| {
        plain().set("spark.executor.memory", "4g").with(move |run| {
            if let Some(executor) = run.executors.get_mut(&ExecutorId::from("1")) {
                executor.peaks.raise(TaskColumn::PeakTreeJvmRss, mib << 20);
            }
        })
    };
    assert_eq!(notes(&with(3_830))[0].advice.config["spark.executor.memoryOverhead"], "512m");
    assert_eq!(notes(&with(3_600)), []);
}
