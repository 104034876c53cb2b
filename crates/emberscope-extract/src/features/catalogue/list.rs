//! How the lists of features are written down: one builder a table, so that each getter sees its own kind of row.

use std::borrow::Cow;

use emberscope_run::Unit;

use super::row::{BatchRef, ExecutorRef, JobRef, NodeMetricRef, NodeRef, Row, RunRef, SqlRef, StageRef, TaskRef};
use super::tasks::TaskValue;
use super::value::{Cell, Kind, Value};
use super::{Feature, Table};

/// The meaning of null of a feature that is always known.
pub(super) const NEVER: &str = "never";
/// The meaning of null of what only a log with an end tells.
pub(super) const NO_END: &str = "its end is not in the log";
/// The meaning of null of a quotient.
pub(super) const NO_RATIO: &str = "a part of it is not known, or the divisor is 0";
/// The meaning of null of a sum.
pub(super) const NO_METRIC: &str = "no attempt reports it";
/// The meaning of null of a quantile.
pub(super) const NO_SUCCESS: &str = "no successful attempt reports it";
/// The meaning of null of a peak.
pub(super) const NOT_POLLED: &str = "it was never polled, or this Spark does not report it";
/// The meaning of null of an optional text or id.
pub(super) const NOT_SET: &str = "the log does not say";

/// A number of a summary that has a column: name, meaning, value.
pub(super) type Number<T> = (&'static str, &'static str, fn(&T) -> u64);

pub(super) type Text<'a> = Option<Cow<'a, str>>;

/// Text that is there.
#[expect(clippy::unnecessary_wraps, reason = "a getter of text gives an option")]
pub(super) fn text(value: &str) -> Text<'_> {
    Some(Cow::Borrowed(value))
}

/// Text that may be missing; empty text is.
pub(super) fn some_text(value: Option<&String>) -> Text<'_> {
    value.filter(|value| !value.is_empty()).map(|value| Cow::Borrowed(value.as_str()))
}

/// What is written down of a feature.
pub(super) struct Entry {
    name: String,
    unit: Unit,
    spark_field: String,
    meaning: String,
    null_meaning: &'static str,
}

/// A feature by name, unit, Spark's field, meaning, and meaning of null.
pub(super) fn entry(
    name: impl Into<String>,
    unit: Unit,
    spark_field: impl Into<String>,
    meaning: impl Into<String>,
    null_meaning: &'static str,
) -> Entry {
    Entry { name: name.into(), unit, spark_field: spark_field.into(), meaning: meaning.into(), null_meaning }
}

macro_rules! lists {
    ($($list:ident $table:ident $variant:ident $row:ident),+ $(,)?) => {$(
        #[doc = concat!("Features of `Table::", stringify!($table), "`.")]
        pub(super) struct $list {
            features: Vec<Feature>,
        }

        impl $list {
            /// The list with the keys that every table begins with.
            pub(super) fn new() -> Self {
                let mut list = Self { features: Vec::new() };
                list.keys(
                    |row| some_text(row.run.application.id.as_ref()),
                    |row| some_text(row.run.application.attempt_id.as_ref()),
                    |row| text(row.name),
                );
                list
            }

            fn keys(
                &mut self,
                id: for<'a> fn(&RunRef<'a>) -> Text<'a>,
                attempt: for<'a> fn(&RunRef<'a>) -> Text<'a>,
                name: for<'a> fn(&RunRef<'a>) -> Text<'a>,
            ) {
                let entries = [
                    (entry("application_id", Unit::Text, "Application Start.App ID", "The application's id.", "the log has no start of the application, or its Spark gave no id"), id),
                    (entry("attempt_id", Unit::Text, "Application Start.App Attempt ID", "The attempt of the application, as its cluster manager counts.", "the cluster manager counts no attempts"), attempt),
                    (entry("run", Unit::Text, "none: the name of the input", "The input that the run was read from; it tells runs with equal ids apart.", NEVER), name),
                ];
                for (entry, get) in entries {
                    self.push(entry, Kind::Text, Box::new(move |row| get(&row.run()).map_or(Value::Null, Value::Text)));
                }
            }

            fn push(&mut self, entry: Entry, kind: Kind, get: super::Get) {
                self.features.push(Feature {
                    name: entry.name,
                    table: Table::$table,
                    unit: entry.unit,
                    kind,
                    meaning: entry.meaning,
                    spark_field: entry.spark_field,
                    null_meaning: entry.null_meaning.to_owned(),
                    get,
                    task: None,
                });
            }

            /// Adds a number or a flag.
            #[allow(dead_code, reason = "the columns of `tasks` are computed by column too")]
            pub(super) fn add<T: Cell>(
                &mut self,
                entry: Entry,
                get: impl for<'a> Fn(&$row<'a>) -> T + Send + Sync + 'static,
            ) {
                self.push(entry, T::KIND, Box::new(move |row| match row {
                    Row::$variant(row) => get(row).cell(),
                    _ => Value::Null,
                }));
            }

            /// Adds a text.
            #[allow(dead_code, reason = "not every table has texts")]
            pub(super) fn text(&mut self, entry: Entry, get: impl for<'a> Fn(&$row<'a>) -> Text<'a> + Send + Sync + 'static) {
                self.push(entry, Kind::Text, Box::new(move |row| match row {
                    Row::$variant(row) => get(row).map_or(Value::Null, Value::Text),
                    _ => Value::Null,
                }));
            }

            /// The list.
            pub(super) fn done(self) -> Vec<Feature> {
                self.features
            }
        }
    )+};
}

lists! {
    Tasks Tasks Task TaskRef,
    Stages StageAttempts Stage StageRef,
    Executors Executors Executor ExecutorRef,
    Jobs Jobs Job JobRef,
    Sqls SqlExecutions Sql SqlRef,
    Nodes SqlPlanNodes Node NodeRef,
    NodeMetrics SqlNodeMetrics NodeMetric NodeMetricRef,
    Batches StreamingBatches Batch BatchRef,
    Runs Application Application RunRef,
}

impl Tasks {
    /// Adds what is computed by column too.
    pub(super) fn task(&mut self, entry: Entry, value: TaskValue) {
        self.push(
            entry,
            value.kind(),
            Box::new(move |row| match row {
                Row::Task(row) => value.of(row),
                _ => Value::Null,
            }),
        );
        if let Some(feature) = self.features.last_mut() {
            feature.task = Some(value);
        }
    }
}
