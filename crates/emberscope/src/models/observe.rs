//! Observations: what models see of a run.

use std::collections::BTreeMap;
use std::convert::Infallible;

use emberscope_extract::features::Features;
use emberscope_extract::features::catalogue::{Feature, Row, RunRef, Table, find};
use emberscope_run::{ExecutorId, MicroBatch, Run, StreamingQuery, Unit};
use ndarray::Array2;

use super::inputs::{Input, LEAST_SHARE, Scale, Source, inputs};
use super::level::{Level, RowKey};

/// The rows of a level in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Observations {
    /// What each row is.
    pub keys: Vec<RowKey>,
    /// Rows x inputs of the level; `NaN` is unknown.
    pub values: Array2<f64>,
}

/// A run with what is worked out once for all its levels: the rows of its tables, from a log that was read or from files.
#[derive(Debug, Clone, Default)]
pub struct Whole {
    pub(super) tables: BTreeMap<Table, Values>,
    /// The micro-batches of each streaming query in order: start and duration in ms.
    pub(super) queries: Vec<Vec<(i64, i64)>>,
    /// Major and minor version of Spark; `None` where the log does not say.
    pub(super) spark_version: Option<String>,
}

/// What the features of a table are in a run, row by row.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    pub(super) keys: Vec<RowKey>,
    /// Task time of each row in ms.
    pub(super) task_ms: Vec<f64>,
    /// By name of the feature.
    pub(super) columns: BTreeMap<&'static str, Vec<f64>>,
}

/// What is worked out from a whole run.
pub(super) struct Derived {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) value: fn(&Whole) -> Option<f64>,
}

/// What no feature of the catalogue says by itself.
pub(super) static DERIVED: &[Derived] = &[
    Derived {
        name: "executors_removed_over_executors",
        meaning: "Executors that went before the end, of those that were added.",
        value: |whole| whole.quotient("executors_removed_count", "executors_count"),
    },
    Derived {
        name: "executors_without_task_over_executors",
        meaning: "Executors that never had a task, of those that were added.",
        value: |whole| whole.quotient("executors_without_task_count", "executors_count"),
    },
    Derived {
        name: "stages_retried_over_stage_attempts",
        meaning: "Stages that ran again, of all stage attempts.",
        value: |whole| whole.quotient("stages_retried_count", "stage_attempts_count"),
    },
    Derived {
        name: "jobs_failed_over_jobs",
        meaning: "Jobs that failed, of all jobs.",
        value: |whole| whole.quotient("jobs_failed_count", "jobs_count"),
    },
    Derived {
        name: "sql_executions_failed_over_sql_executions",
        meaning: "SQL executions that failed, of all.",
        value: |whole| whole.quotient("sql_executions_failed_count", "sql_executions_count"),
    },
    Derived {
        name: "tasks_speculative_over_tasks",
        meaning: "Speculative copies, of all task attempts.",
        value: |whole| whole.quotient("tasks_speculative_count", "tasks_ended_count"),
    },
    Derived {
        name: "streaming_busy_ratio",
        meaning: "Time in which a micro-batch ran, from the start of the first to the end of the last.",
        value: |whole| streaming(whole).map(|batches| batches.busy),
    },
    Derived {
        name: "streaming_batch_max_over_p50_ratio",
        meaning: "The longest micro-batch over the median one.",
        value: |whole| streaming(whole).map(|batches| batches.longest),
    },
    Derived {
        name: "streaming_back_to_back_ratio",
        meaning: "Micro-batches that began within 20 ms of the end of the one before, of all but the first.",
        value: |whole| streaming(whole).map(|batches| batches.back_to_back),
    },
];

/// Features of the application that say how large a run is.
const SIZES: [&str; 3] = ["wall_clock_ms", "slots_max_count", "tasks_ended_count"];

struct Streaming {
    busy: f64,
    longest: f64,
    back_to_back: f64,
}

/// What the micro-batches of the run's busiest streaming query show; `None` with fewer than three.
fn streaming(whole: &Whole) -> Option<Streaming> {
    const AT_ONCE_MS: i64 = 20;
    let of_query = |batches: &Vec<(i64, i64)>| {
        let (first, last) = (batches.first()?, batches.last()?);
        let span = last.0.saturating_add(last.1).saturating_sub(first.0);
        if batches.len() < 3 || span <= 0 {
            return None;
        }
        let busy = batches.iter().map(|batch| batch.1 as f64).sum::<f64>();
        let mut durations: Vec<i64> = batches.iter().map(|batch| batch.1).collect();
        durations.sort_unstable();
        let median = durations.get(durations.len() / 2).copied().unwrap_or_default().max(1) as f64;
        let longest = durations.last().copied().unwrap_or_default() as f64;
        let next = batches.windows(2).filter(|pair| match pair {
            [(start, ran), (after, _)] => after.saturating_sub(start.saturating_add(*ran)) <= AT_ONCE_MS,
            _ => false,
        });
        let back_to_back = next.count() as f64 / (batches.len() - 1) as f64;
        Some((busy, Streaming { busy: busy / span as f64, longest: longest / median, back_to_back }))
    };
    whole.queries.iter().filter_map(of_query).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, streaming)| streaming)
}

impl Whole {
    /// Takes what models need of a run that was read.
    pub fn of(run: &Run, features: &Features) -> Self {
        let row = RunRef { name: "", run, features };
        let tables = Level::ALL.iter().map(|level| (level.table(), Values::of(row, level.table()))).collect();
        let batches = |query: &StreamingQuery| {
            let timed =
                |batch: &MicroBatch| Some((batch.started_at?.0, i64::try_from(batch.trigger_execution_ms()?).ok()?));
            query.batches.values().filter_map(timed).collect()
        };
        Self {
            tables,
            queries: run.streaming_queries.values().map(batches).collect(),
            spark_version: run.application.spark_major_minor().map(|(major, minor)| format!("{major}.{minor}")),
        }
    }

    /// Every row of a level.
    pub(super) fn keys(&self, level: Level) -> Vec<RowKey> {
        self.tables.get(&level.table()).map(|values| values.keys.clone()).unwrap_or_default()
    }

    /// How large the run is: features of the application that say so, those that are known.
    pub fn sizes(&self) -> BTreeMap<&'static str, f64> {
        SIZES.iter().filter_map(|&name| Some((name, self.of_run(name)?))).collect()
    }

    /// The row of another table by which a mean of the run is most as it is, and not typical: the largest difference by task time.
    pub(super) fn most_of(&self, source: Source, typical: f64, above: bool) -> Option<RowKey> {
        let Source::Mean(table, feature, scale) = source else { return None };
        let values = self.tables.get(&table)?;
        let column = self.scaled(table, feature, scale);
        let side = if above { 1.0 } else { -1.0 };
        let parts = column.iter().zip(&values.task_ms).map(|(value, weight)| side * (value - typical) * weight);
        let (at, _) = parts.enumerate().filter(|(_, part)| *part > 0.0).max_by(|a, b| a.1.total_cmp(&b.1))?;
        values.keys.get(at).cloned()
    }

    /// The rows of a level that can be the problem of a run: stage attempts and SQL executions without a failed task have to have
    /// [`LEAST_SHARE`] of its task time.
    pub fn observations(&self, level: Level) -> Observations {
        let list = inputs(level);
        let Some(own) = self.tables.get(&level.table()) else {
            return Observations { keys: Vec::new(), values: Array2::zeros((0, list.len())) };
        };
        let rows = own.judged(level);
        let mut values = Array2::from_elem((rows.len(), list.len()), f64::NAN);
        for (mut column, input) in values.columns_mut().into_iter().zip(list) {
            let numbers = self.column(level, input, own.keys.len());
            for (slot, &row) in column.iter_mut().zip(&rows) {
                *slot = numbers.get(row).copied().unwrap_or(f64::NAN);
            }
        }
        Observations { keys: rows.iter().filter_map(|&row| own.keys.get(row).cloned()).collect(), values }
    }

    fn column(&self, level: Level, input: &Input, rows: usize) -> Vec<f64> {
        let same = |value: Option<f64>| vec![value.filter(|value| value.is_finite()).unwrap_or(f64::NAN); rows];
        match input.source {
            Source::Own(feature, scale) => self.scaled(level.table(), feature, scale),
            Source::OfRun(feature) => same(self.of_run(&feature.name)),
            Source::Largest(table, feature, scale) => same(self.largest(table, feature, scale)),
            Source::Mean(table, feature, scale) => same(self.mean(table, feature, scale)),
            Source::Derived(value) => same(value(self)),
        }
    }

    /// A feature of all rows of a table, made comparable.
    fn scaled(&self, table: Table, feature: &Feature, scale: Scale) -> Vec<f64> {
        let raw = self.tables.get(&table).and_then(|values| values.columns.get(feature.name.as_str()));
        let mut column = raw.cloned().unwrap_or_default();
        let divisor = match scale {
            Scale::AsIs => return column,
            Scale::OverWallClock => {
                let a_ms = if feature.unit == Unit::Ns { 1e6 } else { 1.0 };
                self.of_run("wall_clock_ms").filter(|&ms| ms > 0.0).map(|ms| ms * a_ms)
            }
            Scale::OverSiblings => mean_of_several(&column),
        };
        for value in &mut column {
            *value = divisor.map_or(f64::NAN, |divisor| *value / divisor);
        }
        column
    }

    fn of_run(&self, name: &str) -> Option<f64> {
        self.tables.get(&Table::Application)?.columns.get(name)?.first().copied().filter(|value| !value.is_nan())
    }

    fn quotient(&self, part: &str, whole: &str) -> Option<f64> {
        let whole = self.of_run(whole).filter(|&whole| whole > 0.0)?;
        Some(self.of_run(part)? / whole)
    }

    /// The values of a table's rows with their task time, those that are known.
    fn weighed(&self, table: Table, feature: &Feature, scale: Scale) -> Vec<(f64, f64)> {
        let weights = self.tables.get(&table).map(|values| values.task_ms.as_slice()).unwrap_or_default();
        let column = self.scaled(table, feature, scale);
        column.into_iter().zip(weights.iter().copied()).filter(|(value, _)| !value.is_nan()).collect()
    }

    fn largest(&self, table: Table, feature: &Feature, scale: Scale) -> Option<f64> {
        let whole: f64 = self.tables.get(&table)?.task_ms.iter().sum();
        let heavy =
            self.weighed(table, feature, scale).into_iter().filter(|(_, weight)| *weight >= LEAST_SHARE * whole);
        heavy.map(|(value, _)| value).max_by(f64::total_cmp)
    }

    fn mean(&self, table: Table, feature: &Feature, scale: Scale) -> Option<f64> {
        let rows = self.weighed(table, feature, scale);
        let weight: f64 = rows.iter().map(|(_, weight)| weight).sum();
        (weight > 0.0).then(|| rows.iter().map(|(value, weight)| value * weight).sum::<f64>() / weight)
    }
}

/// The mean of the numbers that are known; `None` where fewer than two are, or it is 0.
fn mean_of_several(column: &[f64]) -> Option<f64> {
    let known: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    (known.len() > 1 && mean > 0.0 && mean.is_finite()).then_some(mean)
}

impl Values {
    /// The places of the rows that models judge.
    fn judged(&self, level: Level) -> Vec<usize> {
        if matches!(level, Level::Run | Level::Executor) {
            return (0..self.keys.len()).collect();
        }
        let least = LEAST_SHARE * self.task_ms.iter().sum::<f64>();
        let failed = self.columns.get("tasks_failed_count");
        let failed = |row: usize| failed.and_then(|counts| counts.get(row)).is_some_and(|&count| count > 0.0);
        let heavy = |row: usize| self.task_ms.get(row).is_some_and(|&ms| ms >= least);
        (0..self.keys.len()).filter(|&row| heavy(row) || failed(row)).collect()
    }

    fn of(row: RunRef<'_>, table: Table) -> Self {
        let features: Vec<&'static Feature> = table.features().iter().filter(|feature| feature.is_measure()).collect();
        let task_time = find(table, "task_duration_sum_ms");
        let workers: Vec<&ExecutorId> = row.run.worker_executors().map(|executor| &executor.id).collect();
        let mut values = Self { keys: Vec::new(), task_ms: Vec::new(), columns: BTreeMap::new() };
        let mut columns: Vec<Vec<f64>> = vec![Vec::new(); features.len()];
        let visited: Result<(), Infallible> = row.rows(table, |row| {
            let task_ms = task_time.and_then(|feature| feature.value(row).as_f64()).unwrap_or(0.0);
            if let Some(key) = key_of(row, &workers, task_ms) {
                values.keys.push(key);
                values.task_ms.push(task_ms);
                for (column, feature) in columns.iter_mut().zip(&features) {
                    column.push(feature.value(row).as_f64().unwrap_or(f64::NAN));
                }
            }
            Ok(())
        });
        match visited {
            Ok(()) => values.columns = features.iter().map(|feature| feature.name.as_str()).zip(columns).collect(),
            Err(never) => match never {},
        }
        values
    }
}

/// What a row is; `None` for those that models do not judge: stage attempts and SQL executions without a task, and the driver of a
/// cluster.
fn key_of(row: &Row<'_>, workers: &[&ExecutorId], task_ms: f64) -> Option<RowKey> {
    match row {
        Row::Stage(row) => (task_ms > 0.0).then_some(RowKey::StageAttempt(row.stage.key)),
        Row::Executor(row) => workers.contains(&&row.summary.id).then(|| RowKey::Executor(row.summary.id.clone())),
        Row::Sql(row) => (task_ms > 0.0).then_some(RowKey::SqlExecution(row.sql.id)),
        Row::Application(_) => Some(RowKey::Run),
        _ => None,
    }
}
