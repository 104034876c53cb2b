//! Features of a run made by hand, against figures worked out by hand.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]

use emberscope_extract::features::Features;
use emberscope_extract::features::catalogue::{self, Row, RunRef, Table, Value};
use emberscope_run::{
    AccumulatorId, Executor, ExecutorId, Job, JobId, JobResult, MicroBatch, PlanMetric, PlanNode, Run, SqlExecution,
    SqlExecutionId, StageAttempt, StageId, StageKey, StreamingQuery, TaskColumn as C, TaskRow, TaskStatus, Timestamp,
};

const START: i64 = 1_700_000_000_000;

fn at(second: i64) -> Option<Timestamp> {
    Some(Timestamp(START + second * 1_000))
}

/// A task: partition, executor's index, seconds of launch and end, status, bytes taken in.
fn task(id: u64, partition: u64, executor: u64, launch: i64, end: i64, status: TaskStatus, bytes: u64) -> TaskRow {
    let mut row = TaskRow::default();
    let ms = ((end - launch) * 1_000) as u64;
    for (column, value) in [
        (C::TaskId, id),
        (C::Partition, partition),
        (C::Executor, executor),
        (C::Host, executor),
        (C::Status, status.code()),
        (C::Locality, 0),
        (C::LaunchTime, (START + launch * 1_000) as u64),
        (C::FinishTime, (START + end * 1_000) as u64),
        (C::ExecutorDeserializeTime, 100),
        (C::ExecutorRunTime, ms - 500),
        (C::ResultSerializationTime, 0),
        (C::ExecutorCpuTime, (ms - 500) * 500_000),
        (C::JvmGcTime, (ms - 500) / 10),
        (C::InputBytes, bytes),
        (C::InputRecords, bytes / 10),
    ] {
        row.set(column, value);
    }
    row
}

/// 100 seconds on two executors of two cores. One stage from second 10 to 50: three tasks of 10 s, one of 40 s at its
/// second attempt, after a first one of 5 s that failed; and a task that ran again for its lost output.
fn run() -> Run {
    let mut run = Run::default();
    run.application.id = Some("app-1".into());
    (run.application.started_at, run.application.ended_at) = (at(0), at(100));
    for id in ["1", "2"] {
        let id = ExecutorId::from(id);
        run.executor_names.push(id.clone());
        run.host_names.push(format!("host-{id}"));
        run.executors.insert(id.clone(), Executor { id, cores: Some(2), added_at: at(0), ..Executor::default() });
    }
    let key = StageKey { stage_id: StageId(7), attempt: 0 };
    let mut stage =
        StageAttempt { key, num_tasks: 4, submitted_at: at(9), completed_at: at(51), ..StageAttempt::default() };
    stage.job_ids.insert(JobId(0));
    for row in [
        task(0, 0, 0, 10, 20, TaskStatus::Success, 100),
        task(1, 1, 0, 10, 20, TaskStatus::Success, 100),
        task(2, 2, 1, 10, 20, TaskStatus::Success, 100),
        task(3, 3, 0, 20, 25, TaskStatus::Failed, 50),
        task(0, 0, 0, 10, 22, TaskStatus::Resubmitted, 100),
        task(4, 3, 1, 10, 50, TaskStatus::Success, 800),
    ] {
        stage.tasks.push(row);
    }
    run.stages.insert(key, stage);
    let skipped = StageKey { stage_id: StageId(6), attempt: 0 };
    let mut stage = StageAttempt { key: skipped, num_tasks: 30, ..StageAttempt::default() };
    stage.job_ids.insert(JobId(0));
    run.stages.insert(skipped, stage);
    run.jobs.insert(
        JobId(0),
        Job {
            submitted_at: at(10),
            completed_at: at(60),
            result: Some(JobResult::Succeeded),
            stage_ids: vec![StageId(6), StageId(7)],
            sql_execution_id: Some(SqlExecutionId(3)),
            ..Job::default()
        },
    );
    let metric = |name: &str, value| PlanMetric {
        name: name.into(),
        accumulator_id: AccumulatorId(1),
        kind: "sum".into(),
        value: Some(value),
    };
    let scan = PlanNode {
        id: 2,
        name: "Scan parquet db.t".into(),
        metrics: vec![metric("number of files read", 10), metric("size of files read", 1_000)],
        ..PlanNode::default()
    };
    let exchange = PlanNode {
        id: 1,
        name: "Exchange".into(),
        metrics: vec![metric("data size", 4_096)],
        children: vec![scan],
        ..PlanNode::default()
    };
    let sort = PlanNode { id: 0, name: "Sort".into(), children: vec![exchange], ..PlanNode::default() };
    run.sql_executions.insert(
        SqlExecutionId(3),
        SqlExecution {
            id: SqlExecutionId(3),
            started_at: at(8),
            ended_at: at(70),
            plan: Some(sort),
            job_ids: [JobId(0)].into(),
            ..SqlExecution::default()
        },
    );
    let batch = MicroBatch {
        batch_id: 5,
        duration_ms: [("triggerExecution".into(), 5_000), ("addBatch".into(), 4_000)].into(),
        input_rows_per_second: Some(200.0),
        processed_rows_per_second: Some(100.0),
        ..MicroBatch::default()
    };
    let query = StreamingQuery {
        id: "q".into(),
        run_id: "r".into(),
        batches: [(5, batch)].into(),
        ..StreamingQuery::default()
    };
    run.streaming_queries.insert("r".into(), query);
    run
}

/// Checks features of the only row of a table, or of the one that `choose` takes.
fn check(table: Table, choose: &dyn Fn(&Row<'_>) -> bool, expected: &[(&str, Option<f64>)]) {
    let run = run();
    let features = Features::of(&run);
    let of = RunRef { name: "logs/app-1", run: &run, features: &features };
    let mut rows = 0;
    let visited = of.rows(table, |row| {
        if choose(row) {
            rows += 1;
            for (name, expected) in expected {
                let feature = catalogue::find(table, name).unwrap_or_else(|| panic!("no {table}.{name}"));
                let ours = feature.value(row).as_f64();
                let equal = match (ours, expected) {
                    (Some(ours), Some(expected)) => (ours - expected).abs() <= expected.abs() * 1e-12,
                    (ours, expected) => ours.is_none() && expected.is_none(),
                };
                assert!(equal, "{table}.{name} is {ours:?}, not {expected:?}");
            }
        }
        Ok::<_, ()>(())
    });
    assert_eq!((visited, rows), (Ok(()), 1), "{table}");
}

fn any(_: &Row<'_>) -> bool {
    true
}

#[test]
fn a_stage_sums_over_all_attempts_and_takes_quantiles_over_the_successful() {
    check(
        Table::StageAttempts,
        &|row| matches!(row, Row::Stage(stage) if stage.stage.key.stage_id.0 == 7),
        &[
            // 10 + 10 + 10 + 5 + 40 s: the failed attempt counts, the resubmitted one does not.
            ("task_duration_sum_ms", Some(75_000.0)),
            // Of 10, 10, 10, 40: index floor(0.5 * 4) = 2, floor(0.75 * 4) = 3, floor(0.95 * 4) = 3.
            ("task_duration_p50_ms", Some(10_000.0)),
            ("task_duration_p75_ms", Some(40_000.0)),
            ("task_duration_mean_ms", Some(17_500.0)),
            ("task_duration_max_over_p50_ratio", Some(4.0)),
            ("task_duration_iqr_over_p50_ratio", Some(3.0)),
            ("task_duration_max_over_sum_ratio", Some(40.0 / 70.0)),
            ("bytes_in_sum_bytes", Some(1_150.0)),
            ("bytes_in_max_over_p50_ratio", Some(8.0)),
            // 10 s less 100 ms deserialize and 9,500 ms run.
            ("scheduler_delay_p50_ms", Some(400.0)),
            ("tasks_ended_count", Some(5.0)),
            ("tasks_failed_count", Some(1.0)),
            ("tasks_resubmitted_count", Some(1.0)),
            ("tasks_failed_ratio", Some(0.2)),
            ("partitions_done_count", Some(4.0)),
            ("executors_count", Some(2.0)),
            ("hosts_count", Some(2.0)),
            ("locality_process_local_ratio", Some(1.0)),
            ("locality_any_ratio", Some(0.0)),
            ("stage_duration_ms", Some(42_000.0)),
            ("first_task_wait_ms", Some(1_000.0)),
            ("after_last_task_ms", Some(1_000.0)),
            ("tasks_span_ms", Some(40_000.0)),
            ("wall_clock_ms", Some(40_000.0)),
            ("wall_clock_share_ratio", Some(0.4)),
            ("slots_count", Some(4.0)),
            ("waves_ratio", Some(1.0)),
            // 75 s on 4 slots.
            ("balanced_ms", Some(18_750.0)),
            ("imbalance_ratio", Some(40_000.0 / 18_750.0)),
            ("slot_utilisation_ratio", Some(75.0 / 160.0)),
            ("tail_ratio", Some(1.0)),
            ("wasted_task_time_ms", Some(5_000.0)),
            ("wasted_task_time_ratio", Some(5.0 / 75.0)),
            ("gc_ratio", Some(0.1)),
            ("cpu_ratio", Some(0.5)),
            ("longest_task_id", Some(4.0)),
            ("longest_task_partition", Some(3.0)),
            ("longest_task_bytes_in_over_p50_ratio", Some(8.0)),
            ("task_duration_share_of_run_ratio", Some(1.0)),
            // What this log does not say is unknown, not 0.
            ("shuffle_read_sum_bytes", None),
            ("disk_spill_ratio", None),
            ("peak_execution_memory_p50_bytes", None),
            ("peak_jvm_heap_memory_max_bytes", None),
            ("warm_task_duration_p50_ms", None),
        ],
    );
}

#[test]
fn a_skipped_stage_has_no_figures_of_tasks() {
    check(
        Table::StageAttempts,
        &|row| matches!(row, Row::Stage(stage) if stage.stage.key.stage_id.0 == 6),
        &[
            ("tasks_wanted_count", Some(30.0)),
            ("tasks_ended_count", Some(0.0)),
            ("task_duration_sum_ms", None),
            ("stage_duration_ms", None),
            ("gc_ratio", None),
            ("wall_clock_ms", Some(0.0)),
        ],
    );
}

#[test]
fn a_task_is_held_against_the_median_of_its_stage() {
    check(
        Table::Tasks,
        &|row| matches!(row, Row::Task(task) if task.task.get(C::TaskId) == Some(4)),
        &[
            ("stage_id", Some(7.0)),
            ("task_duration_ms", Some(40_000.0)),
            ("task_duration_over_p50_ratio", Some(4.0)),
            ("bytes_in_over_p50_ratio", Some(8.0)),
            ("launch_delay_ms", Some(0.0)),
            ("gc_ratio", Some(0.1)),
            ("cpu_ratio", Some(0.5)),
            ("scheduler_delay_ms", Some(400.0)),
            ("shuffle_read_bytes", None),
        ],
    );
}

#[test]
fn an_executor_is_summed_up_over_its_tasks() {
    check(
        Table::Executors,
        &|row| matches!(row, Row::Executor(executor) if executor.summary.id.0 == "1"),
        &[
            ("tasks_ended_count", Some(3.0)),
            ("tasks_resubmitted_count", Some(1.0)),
            ("task_duration_sum_ms", Some(25_000.0)),
            ("task_time_mean_ms", Some(25_000.0 / 3.0)),
            ("lifetime_ms", Some(100_000.0)),
            ("core_time_held_ms", Some(200_000.0)),
            ("utilisation_ratio", Some(0.125)),
            ("first_task_wait_ms", Some(10_000.0)),
            ("task_duration_share_of_run_ratio", Some(1.0 / 3.0)),
            ("bytes_in_sum_bytes", Some(250.0)),
            // Two successful tasks are too few to say that it is slow.
            ("relative_duration_ratio", None),
        ],
    );
}

#[test]
fn a_job_and_a_sql_execution_say_how_long_no_task_ran() {
    let of_work = [
        ("task_duration_sum_ms", Some(75_000.0)),
        ("stage_attempts_count", Some(1.0)),
        ("stages_skipped_count", Some(1.0)),
        ("tasks_skipped_count", Some(30.0)),
        ("wall_clock_ms", Some(40_000.0)),
        ("longest_stage_id", Some(7.0)),
        ("wasted_task_time_ms", Some(5_000.0)),
    ];
    check(Table::Jobs, &any, &of_work);
    check(Table::SqlExecutions, &any, &of_work);
    check(
        Table::Jobs,
        &any,
        &[
            ("job_duration_ms", Some(50_000.0)),
            ("first_task_wait_ms", Some(0.0)),
            // Seconds 50 to 60.
            ("no_task_ms", Some(10_000.0)),
            ("no_task_ratio", Some(0.2)),
            ("job_failed", Some(0.0)),
        ],
    );
    check(
        Table::SqlExecutions,
        &any,
        &[
            ("sql_duration_ms", Some(62_000.0)),
            ("before_first_job_ms", Some(2_000.0)),
            // Seconds 8 to 10 and 50 to 70.
            ("no_task_ms", Some(22_000.0)),
            ("plan_nodes_count", Some(3.0)),
            ("plan_depth_count", Some(3.0)),
            ("scans_count", Some(1.0)),
            ("exchanges_count", Some(1.0)),
            ("sorts_count", Some(1.0)),
            ("joins_count", Some(0.0)),
            ("files_read_count", Some(10.0)),
            ("bytes_per_file_ratio", Some(100.0)),
            ("exchanged_bytes", Some(4_096.0)),
            ("plan_spill_bytes", None),
        ],
    );
}

#[test]
fn a_plan_node_knows_its_parent_and_its_metrics() {
    check(
        Table::SqlPlanNodes,
        &|row| matches!(row, Row::Node(node) if node.node.id == 2),
        &[
            ("parent_node_id", Some(1.0)),
            ("depth_count", Some(2.0)),
            ("metrics_count", Some(2.0)),
            ("files_read_count", Some(10.0)),
            ("files_read_bytes", Some(1_000.0)),
            ("output_rows_count", None),
        ],
    );
    check(
        Table::SqlNodeMetrics,
        &|row| matches!(row, Row::NodeMetric(metric) if metric.metric.name == "data size"),
        &[("node_id", Some(1.0)), ("metric_value", Some(4_096.0)), ("accumulator_id", Some(1.0))],
    );
}

#[test]
fn a_batch_says_whether_it_keeps_up() {
    check(
        Table::StreamingBatches,
        &any,
        &[
            ("batch_id", Some(5.0)),
            ("trigger_execution_ms", Some(5_000.0)),
            ("add_batch_ratio", Some(0.8)),
            ("arrived_over_processed_ratio", Some(2.0)),
            ("wal_commit_ms", None),
            ("state_rows_count", None),
            ("jobs_count", Some(0.0)),
        ],
    );
}

#[test]
fn a_run_says_how_its_time_and_its_cores_were_used() {
    check(
        Table::Application,
        &any,
        &[
            ("wall_clock_ms", Some(100_000.0)),
            ("busy_ms", Some(40_000.0)),
            ("busy_ratio", Some(0.4)),
            ("before_first_task_ms", Some(10_000.0)),
            ("after_last_task_ms", Some(50_000.0)),
            ("driver_gaps_ms", Some(0.0)),
            ("driver_gap_max_ms", None),
            ("no_task_ratio", Some(0.6)),
            ("tasks_at_once_max_count", Some(4.0)),
            ("core_time_held_ms", Some(400_000.0)),
            ("core_time_used_ms", Some(75_000.0)),
            ("utilisation_ratio", Some(75.0 / 400.0)),
            ("slots_max_count", Some(4.0)),
            ("jobs_count", Some(1.0)),
            ("stage_attempts_count", Some(1.0)),
            ("stages_skipped_count", Some(1.0)),
            ("longest_stage_share_ratio", Some(0.4)),
            ("longest_stage_id", Some(7.0)),
            ("task_duration_skew_max_ratio", Some(4.0)),
            ("executors_without_task_count", Some(0.0)),
            ("hosts_count", Some(0.0)),
        ],
    );
}

#[test]
fn every_row_carries_the_keys_of_its_run() {
    let run = run();
    let features = Features::of(&run);
    let of = RunRef { name: "logs/app-1", run: &run, features: &features };
    for &table in Table::ALL {
        let visited = of.rows(table, |row| {
            let keys: Vec<Value<'_>> = table.features().iter().take(3).map(|feature| feature.value(row)).collect();
            let expected = [Value::Text("app-1".into()), Value::Null, Value::Text("logs/app-1".into())];
            if keys == expected { Ok(()) } else { Err(format!("{keys:?}")) }
        });
        assert_eq!(visited, Ok(()), "{table}");
    }
}
