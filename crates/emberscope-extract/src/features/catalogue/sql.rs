//! The columns of `sql_executions`, `sql_plan_nodes` and `sql_node_metrics`.

use std::borrow::Cow;

use emberscope_run::Unit;

use super::Feature;
use super::list::{NEVER, NO_END, NO_RATIO, NOT_SET, NodeMetrics, Nodes, Number, Sqls, entry, some_text, text};
use super::statistics::over;
use crate::features::PlanSummary;

/// What is counted in a plan.
const PLAN_COUNTS: &[Number<PlanSummary>] = &[
    (
        "plan_nodes_count",
        "Nodes of the final plan without wrappers (code generation, query stages, adapters).",
        |plan| plan.nodes,
    ),
    ("plan_depth_count", "Nodes on the longest way from the root to a leaf.", |plan| plan.depth),
    ("scans_count", "Scans of files and tables.", |plan| plan.scans),
    ("cached_scans_count", "Scans of what is cached in memory.", |plan| plan.cached_scans),
    ("exchanges_count", "Shuffle exchanges.", |plan| plan.exchanges),
    ("broadcasts_count", "Broadcast exchanges.", |plan| plan.broadcasts),
    ("reused_exchanges_count", "Exchanges used again.", |plan| plan.reused_exchanges),
    ("joins_count", "Joins of every kind.", PlanSummary::joins),
    ("sort_merge_joins_count", "Sort-merge joins.", |plan| plan.sort_merge_joins),
    ("shuffled_hash_joins_count", "Shuffled hash joins.", |plan| plan.shuffled_hash_joins),
    ("broadcast_hash_joins_count", "Broadcast hash joins.", |plan| plan.broadcast_hash_joins),
    ("nested_loop_joins_count", "Nested loops and cartesian products.", |plan| plan.nested_loop_joins),
    ("sorts_count", "Sorts.", |plan| plan.sorts),
    ("aggregates_count", "Aggregates.", |plan| plan.aggregates),
    ("windows_count", "Window functions.", |plan| plan.windows),
    ("python_nodes_count", "Nodes that send rows to Python.", |plan| plan.python_nodes),
    ("writes_count", "Writes.", |plan| plan.writes),
];

/// Column, unit, Spark's name of the metric, meaning, value.
type PlanSum = (&'static str, Unit, &'static str, &'static str, fn(&PlanSummary) -> Option<u64>);

/// What a plan's metrics say over its nodes.
const PLAN_SUMS: &[PlanSum] = &[
    ("files_read_count", Unit::Count, "number of files read", "Files that its scans read.", |plan| plan.files_read),
    ("files_read_bytes", Unit::Bytes, "size of files read", "Bytes of those files.", |plan| plan.files_read_bytes),
    ("rows_scanned_count", Unit::Count, "number of output rows", "Rows that its scans gave.", |plan| plan.rows_scanned),
    (
        "exchanged_bytes",
        Unit::Bytes,
        "data size",
        "Bytes of data sent through exchanges and broadcasts, before compression.",
        |plan| plan.exchanged_bytes,
    ),
    ("files_written_count", Unit::Count, "number of written files", "Files that its writes wrote.", |plan| {
        plan.files_written
    }),
    ("scan_time_ms", Unit::Ms, "scan time", "Time of its scans, summed over tasks.", |plan| plan.rows.scan_time_ms),
    (
        "broadcast_time_ms",
        Unit::Ms,
        "time to collect, time to build, time to broadcast",
        "Time to collect, build and send its broadcasts.",
        |plan| plan.rows.broadcast_time_ms,
    ),
    ("plan_spill_bytes", Unit::Bytes, "spill size", "Bytes that its sorts, aggregates and joins spilled.", |plan| {
        plan.spill_bytes
    }),
];

pub(super) fn executions() -> Vec<Feature> {
    let mut list = Sqls::new();
    list.add(entry("sql_execution_id", Unit::Id, "executionId", "Its id.", NEVER), |row| row.sql.id.0);
    list.add(
        entry(
            "sql_root_execution_id",
            Unit::Id,
            "rootExecutionId",
            "The outermost execution it was started in.",
            "this Spark does not say",
        ),
        |row| row.sql.root_id.map(|id| id.0),
    );
    list.text(entry("description", Unit::Text, "description", "The call site or the statement.", NOT_SET), |row| {
        some_text(Some(&row.sql.description))
    });
    list.text(
        entry(
            "connect_operation_id",
            Unit::Text,
            "SparkListenerConnectOperationStarted",
            "The Spark Connect operation that started it.",
            "none did",
        ),
        |row| some_text(row.sql.connect_operation_id.as_ref()),
    );
    list.add(
        entry("sql_failed", Unit::Flag, "errorMessage, Job Result", "Whether it, or a job of it, failed.", NO_END),
        |row| row.summary.failed,
    );
    list.text(
        entry(
            "failure_reason",
            Unit::Text,
            "errorMessage",
            "The first line of why it failed.",
            "it did not fail, or this Spark does not say",
        ),
        |row| {
            row.sql
                .error_message
                .as_deref()
                .and_then(|reason| reason.lines().find(|line| !line.trim().is_empty()))
                .and_then(text)
        },
    );
    list.add(entry("started_at", Unit::At, "time", "When it started.", NOT_SET), |row| row.sql.started_at);
    list.add(entry("ended_at", Unit::At, "time", "When it ended.", NO_END), |row| row.sql.ended_at);
    list.add(entry("sql_duration_ms", Unit::Ms, "time", "From start to end.", NO_END), |row| row.summary.duration_ms);
    list.add(
        entry(
            "sql_duration_share_ratio",
            Unit::Ratio,
            "computed",
            "The same over the wall-clock time of the run.",
            NO_RATIO,
        ),
        |row| over(row.summary.duration_ms.map(|ms| ms as f64), row.of.features.application.wall_clock_ms),
    );
    list.add(
        entry(
            "before_first_job_ms",
            Unit::Ms,
            "Job Start.Submission Time - time",
            "From its start to its first job: analysis, planning, and what the driver did besides.",
            "it ran no job",
        ),
        |row| row.summary.before_first_job_ms,
    );
    list.add(
        entry("no_task_ms", Unit::Ms, "computed", "Time from start to end in which no task of the run ran.", NO_END),
        |row| row.summary.no_task_ms,
    );
    list.add(entry("no_task_ratio", Unit::Ratio, "computed", "The same over its duration.", NO_RATIO), |row| {
        over(row.summary.no_task_ms.map(|ms| ms as f64), row.summary.duration_ms)
    });
    list.add(
        entry("jobs_count", Unit::Count, "Job Start.Properties.spark.sql.execution.id", "Jobs it ran.", NEVER),
        |row| row.summary.jobs,
    );
    list.add(entry("jobs_failed_count", Unit::Count, "Job End.Job Result", "Jobs of it that failed.", NEVER), |row| {
        row.summary.failed_jobs
    });
    list.add(
        entry(
            "replans_count",
            Unit::Count,
            "SparkListenerSQLAdaptiveExecutionUpdate",
            "How often adaptive execution changed its plan.",
            NEVER,
        ),
        |row| row.sql.replans,
    );
    list.add(
        entry("settings_changed_count", Unit::Count, "modifiedConfigs", "Settings that the session changed.", NEVER),
        |row| row.sql.modified_configs.len() as u64,
    );
    let no_plan = "the log has no plan of it";
    for &(name, meaning, value) in PLAN_COUNTS {
        list.add(entry(name, Unit::Count, "sparkPlanInfo", meaning, no_plan), move |row| {
            row.summary.plan.as_ref().map(value)
        });
    }
    for &(name, unit, metric, meaning, value) in PLAN_SUMS {
        list.add(
            entry(name, unit, format!("SQL metric `{metric}`"), meaning, "no node of its plan says"),
            move |row| value(row.summary.plan.as_ref()?),
        );
    }
    list.add(
        entry(
            "bytes_per_file_ratio",
            Unit::Ratio,
            "size of files read / number of files read",
            "Bytes of a file that it read.",
            NO_RATIO,
        ),
        |row| {
            let plan = row.summary.plan.as_ref()?;
            over(plan.files_read_bytes.map(|bytes| bytes as f64), plan.files_read)
        },
    );
    shares(&mut list);
    list.work(|row| &row.summary.work);
    list.done()
}

/// Quotients of what a plan's metrics say: they mean the same in runs of any size.
fn shares(list: &mut Sqls) {
    list.add(
        entry(
            "rows_dropped_ratio",
            Unit::Ratio,
            "SQL metric `number of output rows`",
            "Rows that filters right above scans dropped, over the rows that these scans gave.",
            NO_RATIO,
        ),
        |row| {
            let rows = row.summary.plan.as_ref()?.rows;
            over(Some(rows.dropped as f64), rows.scanned_below_filters)
        },
    );
    list.add(
        entry(
            "rows_dropped_unpushed_ratio",
            Unit::Ratio,
            "SQL metric `number of output rows`, PushedFilters, PartitionFilters",
            "The same of scans that were given no condition by which they could pass over files or row groups.",
            NO_RATIO,
        ),
        |row| {
            let rows = row.summary.plan.as_ref()?.rows;
            over(Some(rows.dropped_unpushed as f64), rows.scanned_below_filters)
        },
    );
    list.add(
        entry(
            "join_output_over_input_ratio",
            Unit::Ratio,
            "SQL metric `number of output rows`",
            "Rows out of the join that put out the most, over the rows of its larger input.",
            NO_RATIO,
        ),
        |row| {
            let (output, input) = row.summary.plan.as_ref()?.rows.largest_join?;
            over(Some(output as f64), Some(input))
        },
    );
    list.add(
        entry(
            "broadcast_max_over_memory_ratio",
            Unit::Ratio,
            "SQL metric `data size` / Block Manager Added.Maximum Memory",
            "Data of its largest broadcast over what the largest executor has for execution and storage.",
            NO_RATIO,
        ),
        |row| {
            let bytes = row.summary.plan.as_ref()?.rows.broadcast_max_bytes?;
            let memory = row.of.run.worker_executors().filter_map(|executor| executor.max_memory).max()?;
            over(Some(bytes as f64), Some(memory.0))
        },
    );
    list.add(
        entry(
            "files_read_over_tasks_ratio",
            Unit::Ratio,
            "SQL metric `number of files read` / tasks",
            "Files that its scans read, over the tasks of its jobs.",
            NO_RATIO,
        ),
        |row| {
            let files = row.summary.plan.as_ref()?.files_read?;
            over(Some(files as f64), Some(row.summary.work.tasks.ended))
        },
    );
    list.add(
        entry(
            "files_written_over_tasks_ratio",
            Unit::Ratio,
            "SQL metric `number of written files` / tasks",
            "Files that its writes wrote, over the tasks of its jobs.",
            NO_RATIO,
        ),
        |row| {
            let files = row.summary.plan.as_ref()?.files_written?;
            over(Some(files as f64), Some(row.summary.work.tasks.ended))
        },
    );
    list.add(
        entry(
            "python_nodes_ratio",
            Unit::Ratio,
            "sparkPlanInfo",
            "Nodes that send rows to Python, over all nodes of its plan.",
            NO_RATIO,
        ),
        |row| {
            let plan = row.summary.plan.as_ref()?;
            over(Some(plan.python_nodes as f64), Some(plan.nodes))
        },
    );
}

/// The metrics that have columns in `sql_plan_nodes`: column, unit, Spark's names, divisor, meaning.
const NODE_METRICS: &[(&str, Unit, &[&str], &str)] = &[
    ("output_rows_count", Unit::Count, &["number of output rows", "output rows", "records read"], "Rows it gave."),
    (
        "output_batches_count",
        Unit::Count,
        &["number of output batches", "output columnar batches", "number of output columnar batches"],
        "Columnar batches it gave.",
    ),
    (
        "input_batches_count",
        Unit::Count,
        &["number of input batches", "input columnar batches"],
        "Columnar batches it took.",
    ),
    ("files_read_count", Unit::Count, &["number of files read"], "Files it read."),
    ("files_read_bytes", Unit::Bytes, &["size of files read"], "Bytes of those files."),
    ("partitions_read_count", Unit::Count, &["number of partitions read"], "Partitions of the table that it read."),
    ("metadata_time_ms", Unit::Ms, &["metadata time"], "Time to list files."),
    ("scan_time_ms", Unit::Ms, &["scan time"], "Time to read, summed over tasks."),
    ("data_size_bytes", Unit::Bytes, &["data size"], "Data it sent on, before compression."),
    ("shuffle_write_bytes", Unit::Bytes, &["shuffle bytes written"], "Bytes it wrote for a shuffle."),
    ("shuffle_write_records_count", Unit::Count, &["shuffle records written"], "Records it wrote for a shuffle."),
    ("shuffle_write_time_ns", Unit::Ns, &["shuffle write time"], "Time to write for a shuffle, summed over tasks."),
    ("shuffle_records_read_count", Unit::Count, &["records read"], "Records it read from a shuffle."),
    ("shuffle_local_read_bytes", Unit::Bytes, &["local bytes read"], "Bytes it read from a shuffle on the same host."),
    ("shuffle_remote_read_bytes", Unit::Bytes, &["remote bytes read"], "Bytes it read from a shuffle on other hosts."),
    (
        "shuffle_fetch_wait_time_ms",
        Unit::Ms,
        &["fetch wait time"],
        "Time it waited for shuffle blocks, summed over tasks.",
    ),
    ("spill_bytes", Unit::Bytes, &["spill size"], "Bytes it spilled."),
    ("peak_memory_bytes", Unit::Bytes, &["peak memory"], "Peak memory, summed over tasks."),
    ("sort_time_ms", Unit::Ms, &["sort time"], "Time to sort, summed over tasks."),
    (
        "aggregate_time_ms",
        Unit::Ms,
        &["time in aggregation build", "aggregate time"],
        "Time to build the aggregation, summed over tasks.",
    ),
    (
        "build_time_ms",
        Unit::Ms,
        &["time to build", "time to build hash map"],
        "Time to build a hash table or a broadcast.",
    ),
    ("collect_time_ms", Unit::Ms, &["time to collect"], "Time to collect a broadcast's rows."),
    ("broadcast_time_ms", Unit::Ms, &["time to broadcast"], "Time to send a broadcast."),
    ("codegen_duration_ms", Unit::Ms, &["duration"], "Time in generated code, summed over tasks."),
    ("partitions_count", Unit::Count, &["number of partitions"], "Partitions it reads or writes."),
    (
        "coalesced_partitions_count",
        Unit::Count,
        &["number of coalesced partitions"],
        "Partitions that adaptive execution put together.",
    ),
    (
        "skewed_partitions_count",
        Unit::Count,
        &["number of skewed partitions"],
        "Partitions that adaptive execution found skewed.",
    ),
    ("skewed_splits_count", Unit::Count, &["number of skewed partition splits"], "Parts that it split them into."),
    ("files_written_count", Unit::Count, &["number of written files"], "Files it wrote."),
    ("written_bytes", Unit::Bytes, &["written output"], "Bytes it wrote."),
    ("python_data_sent_bytes", Unit::Bytes, &["data sent to Python workers"], "Bytes it sent to Python."),
    (
        "python_data_received_bytes",
        Unit::Bytes,
        &["data returned from Python workers"],
        "Bytes that came back from Python.",
    ),
];

pub(super) fn nodes() -> Vec<Feature> {
    let mut list = Nodes::new();
    list.add(entry("sql_execution_id", Unit::Id, "executionId", "The SQL execution.", NEVER), |row| row.sql.id.0);
    list.add(entry("node_id", Unit::Id, "sparkPlanInfo", "Its number in the plan: pre-order from 0.", NEVER), |row| {
        row.node.id
    });
    list.add(
        entry("parent_node_id", Unit::Id, "sparkPlanInfo.children", "The node that takes its rows.", "it is the root"),
        |row| row.parent.map(|parent| parent.id),
    );
    list.add(
        entry("depth_count", Unit::Count, "sparkPlanInfo.children", "Nodes between it and the root.", NEVER),
        |row| row.depth,
    );
    list.text(entry("node_name", Unit::Text, "sparkPlanInfo.nodeName", "Spark's name of it.", NEVER), |row| {
        text(&row.node.name)
    });
    list.text(
        entry("node_description", Unit::Text, "sparkPlanInfo.simpleString", "Spark's line about it.", NOT_SET),
        |row| some_text(Some(&row.node.description)),
    );
    list.add(
        entry(
            "is_wrapper",
            Unit::Flag,
            "sparkPlanInfo.nodeName",
            "Whether it only wraps others: code generation, query stages, adapters.",
            NEVER,
        ),
        |row| row.node.is_wrapper(),
    );
    list.add(entry("children_count", Unit::Count, "sparkPlanInfo.children", "Its inputs.", NEVER), |row| {
        row.node.children.len() as u64
    });
    list.add(
        entry(
            "metrics_count",
            Unit::Count,
            "sparkPlanInfo.metrics",
            "Its metrics; all of them are in `sql_node_metrics`.",
            NEVER,
        ),
        |row| row.node.metrics.len() as u64,
    );
    for &(name, unit, metrics, meaning) in NODE_METRICS {
        let field = format!("SQL metric `{}`", metrics.join("` or `"));
        list.add(entry(name, unit, field, meaning, "it has no such metric, or it was never updated"), move |row| {
            let metric = metrics.iter().find_map(|metric| {
                row.node.metrics.iter().find(|known| known.name == *metric && known.value.is_some())
            })?;
            let value = metric.value?;
            // GPU plugins report in ns what Spark reports in ms.
            Some(match (unit, metric.kind.as_str()) {
                (Unit::Ms, "nsTiming") => value / 1_000_000,
                (Unit::Ns, "timing") => value.saturating_mul(1_000_000),
                _ => value,
            })
        });
    }
    list.done()
}

pub(super) fn node_metrics() -> Vec<Feature> {
    let mut list = NodeMetrics::new();
    list.add(entry("sql_execution_id", Unit::Id, "executionId", "The SQL execution.", NEVER), |row| row.node.sql.id.0);
    list.add(
        entry("node_id", Unit::Id, "sparkPlanInfo", "The node's number in the plan: pre-order from 0.", NEVER),
        |row| row.node.node.id,
    );
    list.text(entry("node_name", Unit::Text, "sparkPlanInfo.nodeName", "Spark's name of the node.", NEVER), |row| {
        text(&row.node.node.name)
    });
    list.text(
        entry("metric_name", Unit::Text, "sparkPlanInfo.metrics.name", "Spark's name of the metric.", NEVER),
        |row| text(&row.metric.name),
    );
    list.text(
        entry(
            "metric_kind",
            Unit::Text,
            "sparkPlanInfo.metrics.metricType",
            "Spark's kind of the metric: sum, size, timing, nsTiming, average.",
            NEVER,
        ),
        |row| text(&row.metric.kind),
    );
    list.text(
        entry(
            "metric_unit",
            Unit::Text,
            "sparkPlanInfo.metrics.metricType",
            "The unit of the value: ms, ns, bytes, tenths or count.",
            NEVER,
        ),
        |row| {
            Some(Cow::Borrowed(match row.metric.kind.as_str() {
                "timing" => "ms",
                "nsTiming" => "ns",
                "size" => "bytes",
                // Averages are kept as ten times the value (`SQLMetrics.setDoubleForAverageMetrics`).
                "average" => "tenths",
                _ => "count",
            }))
        },
    );
    list.add(
        entry("accumulator_id", Unit::Id, "sparkPlanInfo.metrics.accumulatorId", "Its accumulator.", NEVER),
        |row| row.metric.accumulator_id.0,
    );
    list.add(
        entry(
            "metric_value",
            Unit::Count,
            "Accumulables, SparkListenerDriverAccumUpdates",
            "The value over all tasks and the driver, in the unit of `metric_unit`.",
            "it was never updated",
        ),
        |row| row.metric.value,
    );
    list.done()
}
