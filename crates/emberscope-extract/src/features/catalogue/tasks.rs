//! The columns of `tasks`.

use std::borrow::Cow;

use emberscope_run::{Locality, TaskColumn, TaskEndKind, TaskStatus, TraceColumn, Unit};

use super::Feature;
use super::list::{NEVER, NO_RATIO, Tasks, entry};
use super::row::TaskRef;
use super::value::{Cell, Kind, Value};
use crate::features::Metric;

/// What a column of `tasks` is, so that it can be computed for one task or for all of a stage attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TaskValue {
    /// The stage.
    StageId,
    /// The attempt of the stage.
    StageAttempt,
    /// A column of the store; names for those that hold indices or codes.
    Column(TaskColumn),
    /// The class of its failure, by the index that [`TaskColumn::Failure`] holds.
    FailureClass,
    /// What a kernel trace tells.
    Trace(TraceColumn),
    /// A metric.
    Metric(Metric),
    /// A metric over another, the quotient divided by the number given (1e6 brings ns over ms to 1).
    Quotient(Metric, Metric, f64),
    /// A metric over its median over the successful tasks of the stage attempt.
    OverMedian(Metric),
    /// Launch after the first launch of the stage attempt, in ms.
    LaunchDelay,
}

impl TaskValue {
    /// The type of its values.
    pub fn kind(self) -> Kind {
        match self {
            Self::FailureClass => Kind::Text,
            Self::Column(column) => match column.unit() {
                Unit::Text => Kind::Text,
                Unit::Flag => Kind::Flag,
                _ => Kind::Integer,
            },
            Self::StageId | Self::StageAttempt | Self::Trace(_) | Self::Metric(_) | Self::LaunchDelay => Kind::Integer,
            Self::Quotient(..) | Self::OverMedian(_) => Kind::Float,
        }
    }

    /// Its value for one task.
    pub fn of<'a>(self, row: &TaskRef<'a>) -> Value<'a> {
        match self {
            Self::StageId => row.stage.key.stage_id.0.cell(),
            Self::StageAttempt => u64::from(row.stage.key.attempt).cell(),
            Self::Column(column) => match self.kind() {
                Kind::Text => {
                    row.task.get(column).and_then(|code| name(column, code, row)).map_or(Value::Null, Value::Text)
                }
                Kind::Flag => row.task.get(column).map(|flag| flag == 1).cell(),
                _ => row.task.get(column).cell(),
            },
            Self::FailureClass => row
                .task
                .get(TaskColumn::Failure)
                .and_then(|code| name(TaskColumn::Failure, code, row))
                .map_or(Value::Null, Value::Text),
            Self::Trace(column) => {
                let traced = row.of.run.trace.as_ref().zip(row.task.get(TaskColumn::TaskId));
                traced.and_then(|(trace, id)| trace.tasks.get(&id)?.get(column)).cell()
            }
            Self::Metric(metric) => metric.of(row.task).cell(),
            Self::Quotient(part, whole, scale) => part
                .of(row.task)
                .zip(whole.of(row.task).filter(|&whole| whole > 0))
                .map(|(part, whole)| part as f64 / whole as f64 / scale)
                .cell(),
            Self::OverMedian(metric) => {
                let median = row.summary.quantiles(metric).map(|quantiles| quantiles.p50).filter(|&median| median > 0);
                metric.of(row.task).zip(median).map(|(value, median)| value as f64 / median as f64).cell()
            }
            Self::LaunchDelay => row
                .task
                .launched_at()
                .zip(row.summary.first_launch)
                .map(|(launched, first)| launched.since(first).0)
                .cell(),
        }
    }
}

/// The name behind an index or a code.
fn name<'a>(column: TaskColumn, code: u64, row: &TaskRef<'a>) -> Option<Cow<'a, str>> {
    let index = usize::try_from(code).ok()?;
    let run = row.of.run;
    Some(Cow::Borrowed(match column {
        TaskColumn::Executor => run.executor_names.get(index)?.0.as_str(),
        TaskColumn::Host => run.host_names.get(index)?.as_str(),
        TaskColumn::Locality => Locality::from_code(code)?.name(),
        TaskColumn::Status => TaskStatus::from_code(code)?.name(),
        TaskColumn::EndReason => TaskEndKind::from_code(code)?.name(),
        TaskColumn::Failure => run.failures.get(index)?.class.as_str(),
        _ => return None,
    }))
}

pub(super) fn features() -> Vec<Feature> {
    let mut list = Tasks::new();
    list.task(entry("stage_id", Unit::Id, "Stage ID", "The stage.", NEVER), TaskValue::StageId);
    list.task(
        entry("stage_attempt", Unit::Id, "Stage Attempt ID", "The attempt of the stage.", NEVER),
        TaskValue::StageAttempt,
    );
    for &column in TaskColumn::ALL {
        let null = match column {
            TaskColumn::TaskId | TaskColumn::Partition | TaskColumn::Status => NEVER,
            TaskColumn::GettingResultAt => "the result was sent directly",
            TaskColumn::Failure => "it did not fail",
            column if column >= TaskColumn::PeakJvmHeap => {
                "it was never polled while the task ran, or this Spark does not report it"
            }
            _ => "the event does not say: the attempt ended without metrics, or this Spark does not report it",
        };
        list.task(
            entry(column.name(), column.unit(), column.spark_field(), column.meaning(), null),
            TaskValue::Column(column),
        );
    }
    list.task(
        entry(
            "failure_class",
            Unit::Text,
            "Task End Reason.Class Name, Loss Reason or Kill Reason",
            "Class of the exception, or the reason of the loss or the kill.",
            "it did not fail",
        ),
        TaskValue::FailureClass,
    );
    for &metric in Metric::ALL.iter().filter(|metric| metric.column().is_none()) {
        let suffix = metric.suffix();
        list.task(
            entry(
                format!("{}{suffix}", metric.stem()),
                metric.unit(),
                metric.spark_field(),
                metric.meaning(),
                "a part of it is not known",
            ),
            TaskValue::Metric(metric),
        );
    }
    list.task(
        entry(
            "launch_delay_ms",
            Unit::Ms,
            "Task Info.Launch Time",
            "Launch after the first launch of the stage attempt.",
            "the launch is not known",
        ),
        TaskValue::LaunchDelay,
    );
    for (name, part, whole, scale, meaning) in [
        (
            "gc_ratio",
            Metric::JvmGcTime,
            Metric::ExecutorRunTime,
            1.0,
            "Garbage collection of its JVM over its run time.",
        ),
        ("cpu_ratio", Metric::ExecutorCpuTime, Metric::ExecutorRunTime, 1e6, "CPU time over run time."),
        (
            "shuffle_fetch_wait_ratio",
            Metric::ShuffleFetchWaitTime,
            Metric::ExecutorRunTime,
            1.0,
            "Waiting for shuffle blocks over run time.",
        ),
        ("scheduler_delay_ratio", Metric::SchedulerDelay, Metric::Duration, 1.0, "Scheduler delay over duration."),
        (
            "disk_spill_ratio",
            Metric::DiskBytesSpilled,
            Metric::BytesIn,
            1.0,
            "Bytes spilled to disk over bytes taken in.",
        ),
    ] {
        let field = format!("{} / {}", part.spark_field(), whole.spark_field());
        list.task(entry(name, Unit::Ratio, field, meaning, NO_RATIO), TaskValue::Quotient(part, whole, scale));
    }
    // Floats are most of the file's bytes: no more than what says at once how a task differs from its siblings.
    for metric in [Metric::Duration, Metric::BytesIn, Metric::RecordsIn] {
        list.task(
            entry(
                format!("{}_over_p50_ratio", metric.stem()),
                Unit::Ratio,
                metric.spark_field(),
                format!("Over the median of the stage attempt's successful tasks: {}", metric.meaning()),
                NO_RATIO,
            ),
            TaskValue::OverMedian(metric),
        );
    }
    for &column in TraceColumn::ALL {
        let null = match column {
            TraceColumn::BlockLatencyMax => "it asked no disk, or no kernel trace was given that has such events",
            _ => "no kernel trace was given, or it lost events while the task ran",
        };
        list.task(
            entry(column.name(), column.unit(), column.events(), column.meaning(), null),
            TaskValue::Trace(column),
        );
    }
    list.done()
}
