//! Labelled runs from feature tables instead of logs.

use std::collections::BTreeMap;
use std::path::Path;

use emberscope_extract::features::catalogue::Table;
use emberscope_extract::tables::{ReadTable, read_table};
use emberscope_run::{ExecutorId, SqlExecutionId, StageId, StageKey};

use super::examples::ObservedRun;
use super::level::{Level, RowKey};
use super::observe::{Values, Whole};
use super::train::TrainError;
use crate::evaluate::LabelledRun;

/// Takes what models see of labelled runs from the tables that `emberscope extract` wrote as Parquet. A run is known by the name of its
/// log, without folder and endings.
///
/// # Errors
///
/// When a table is not there or is of another version, and when a labelled run is not in the tables, or twice.
pub fn observe_tables(directory: &Path, runs: &[LabelledRun]) -> Result<Vec<ObservedRun>, TrainError> {
    let tables: Vec<(Table, ReadTable)> = Level::ALL
        .iter()
        .map(|level| level.table())
        .chain([Table::StreamingBatches])
        .map(|table| Ok((table, read_table(directory, table)?)))
        .collect::<Result<_, TrainError>>()?;
    let mut wholes: BTreeMap<String, Whole> = BTreeMap::new();
    for (table, read) in &tables {
        for (name, rows) in by_run(read) {
            let whole = wholes.entry(name).or_default();
            if *table == Table::StreamingBatches {
                whole.queries = queries(read, &rows);
            } else {
                if *table == Table::Application {
                    let version = rows.first().and_then(|&row| text(read, "spark_version", row));
                    let known = version.and_then(emberscope_run::major_minor);
                    whole.spark_version = known.map(|(major, minor)| format!("{major}.{minor}"));
                }
                whole.tables.insert(*table, values(*table, read, &rows));
            }
        }
    }
    let mut by_stem: BTreeMap<String, Vec<&Whole>> = BTreeMap::new();
    for (name, whole) in &wholes {
        by_stem.entry(stem(Path::new(name))).or_default().push(whole);
    }
    let mut wrong = Vec::new();
    let mut observed = Vec::new();
    for run in runs {
        match by_stem.get(&stem(&run.log)).map(Vec::as_slice) {
            Some([whole]) => observed.push(ObservedRun::of(run.clone(), whole, None)),
            Some(several) => {
                wrong.push(format!("{}: {} runs of the tables are called {}", run.said_at, several.len(), run.run));
            }
            None => wrong.push(format!("{}: {} is not in the tables of {}", run.said_at, run.run, directory.display())),
        }
    }
    if wrong.is_empty() { Ok(observed) } else { Err(TrainError::Unreadable(wrong)) }
}

/// The name of a file without folder and endings.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split_once('.').map_or(name.clone(), |(stem, _)| stem.to_owned())
}

/// The places of each run's rows.
fn by_run(read: &ReadTable) -> BTreeMap<String, Vec<usize>> {
    let mut rows: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, name) in read.texts.get("run").into_iter().flatten().enumerate() {
        rows.entry(name.clone().unwrap_or_default()).or_default().push(at);
    }
    rows
}

fn number(read: &ReadTable, column: &str, row: usize) -> f64 {
    read.numbers.get(column).and_then(|values| values.get(row)).copied().unwrap_or(f64::NAN)
}

fn text<'a>(read: &'a ReadTable, column: &str, row: usize) -> Option<&'a str> {
    read.texts.get(column)?.get(row)?.as_deref()
}

/// The rows of a table that models judge, as they are taken from a run that was read.
fn values(table: Table, read: &ReadTable, rows: &[usize]) -> Values {
    let is_driver = |row: &usize| number(read, "is_driver", *row) > 0.5;
    let only_driver = rows.iter().all(is_driver);
    let key = |row: usize| {
        let task_ms = number(read, "task_duration_sum_ms", row);
        match table {
            Table::StageAttempts => (task_ms > 0.0).then(|| {
                let stage_id = StageId(number(read, "stage_id", row) as u64);
                RowKey::StageAttempt(StageKey { stage_id, attempt: number(read, "stage_attempt", row) as u32 })
            }),
            Table::Executors => (only_driver || !is_driver(&row))
                .then(|| RowKey::Executor(ExecutorId::from(text(read, "executor_id", row).unwrap_or_default()))),
            Table::SqlExecutions => (task_ms > 0.0)
                .then(|| RowKey::SqlExecution(SqlExecutionId(number(read, "sql_execution_id", row) as u64))),
            _ => Some(RowKey::Run),
        }
    };
    let (kept, keys): (Vec<usize>, Vec<RowKey>) = rows.iter().filter_map(|&row| Some((row, key(row)?))).unzip();
    let column = |values: &Vec<f64>| kept.iter().filter_map(|&row| values.get(row).copied()).collect::<Vec<f64>>();
    let measures = table.features().iter().filter(|feature| feature.is_measure());
    let columns: BTreeMap<&'static str, Vec<f64>> = measures
        .filter_map(|feature| Some((feature.name.as_str(), column(read.numbers.get(feature.name.as_str())?))))
        .collect();
    let task_ms = columns.get("task_duration_sum_ms").cloned().unwrap_or_default();
    let known = |ms: &f64| if ms.is_nan() { 0.0 } else { *ms };
    Values { keys, task_ms: task_ms.iter().map(known).collect(), columns }
}

/// The micro-batches of each streaming query in order.
fn queries(read: &ReadTable, rows: &[usize]) -> Vec<Vec<(i64, i64)>> {
    let mut queries: BTreeMap<String, BTreeMap<u64, (i64, i64)>> = BTreeMap::new();
    for &row in rows {
        let (started, ran) = (number(read, "started_at", row), number(read, "trigger_execution_ms", row));
        if started.is_nan() || ran.is_nan() {
            continue;
        }
        let query = text(read, "query_run_id", row).unwrap_or_default().to_owned();
        let batch = number(read, "batch_id", row) as u64;
        queries.entry(query).or_default().insert(batch, (started as i64, ran as i64));
    }
    queries.into_values().map(|batches| batches.into_values().collect()).collect()
}
