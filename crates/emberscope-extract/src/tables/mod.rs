//! Feature tables as files: Parquet, CSV, Arrow IPC and NDJSON.
//!
//! Design constraints:
//!
//! - one file a table; the rows of several runs follow each other, told apart by the keys that every row begins with;
//! - rows are written in batches, so that memory does not grow with the number of rows;
//! - tasks go from the packed store into columns, never through one value at a time;
//! - equal input gives equal bytes: no times, no versions but those of the formats, every order fixed;
//! - a file appears under its name when it is complete, and not before.

mod batch;
mod file;
mod frame;
mod ndjson;
mod parquet;
mod read;
mod tasks;

use std::path::{Path, PathBuf};

use emberscope_run::Run;

use crate::features::Features;
use crate::features::catalogue::{RunRef, Table};
use batch::Batch;
use file::TableFile;
pub use read::{ReadTable, read_table};
use tasks::TaskRows;

/// Rows of a batch: a row group of a Parquet file, a record batch of an Arrow file.
const BATCH_ROWS: usize = 8 * 1024;

/// Values of a batch: tables with many columns have fewer rows in one, so that a batch takes some 20 MB at most.
const BATCH_VALUES: usize = 3 * 1024 * 1024;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Apache Parquet: integers as packed differences, texts by dictionary, floats and dictionaries compressed with Snappy. Zstd
    /// sets up a context for each of a thousand columns, which costs more than all else in small tables.
    #[default]
    Parquet,
    /// Comma-separated values with a header; null is empty.
    Csv,
    /// Arrow IPC (Feather 2), compressed with LZ4.
    Arrow,
    /// One JSON object a line; null is written out.
    Ndjson,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Parquet, Self::Csv, Self::Arrow, Self::Ndjson];

    /// Its name, which is also the extension of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
            Self::Ndjson => "ndjson",
        }
    }

    /// The format called `name`; `None` when there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableOptions {
    /// The tables, each once.
    pub tables: Vec<Table>,
    /// Their format.
    pub format: Format,
    /// Threads that encode the columns of a large batch; one when it is 0.
    pub threads: usize,
}

impl Default for TableOptions {
    /// All tables as Parquet, on one thread.
    fn default() -> Self {
        Self { tables: Table::ALL.to_vec(), format: Format::default(), threads: 1 }
    }
}

/// A table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A file or the directory could not be created, written or renamed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or the directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is no such table.
    #[error("{}: {message}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The rows could not be brought into the format.
    #[error("{}: cannot be written as {format}: {message}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: &'static str,
        /// What the encoder says.
        message: String,
    },
}

/// A table that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The table.
    pub table: Table,
    /// Its file.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// The size of the file in bytes.
    pub bytes: u64,
}

/// Writes the tables of one run after the other into a directory.
///
/// Until [`TableWriter::finish`] the files have other names, and they are removed when the writer is dropped before.
pub struct TableWriter {
    open: Vec<OpenTable>,
}

struct OpenTable {
    table: Table,
    file: TableFile,
    batch: Batch,
    batch_rows: usize,
    rows: u64,
}

impl TableWriter {
    /// Begins the files in `directory`, which is made when it is not there.
    ///
    /// # Errors
    ///
    /// When the directory or a file cannot be created.
    pub fn create(directory: &Path, options: &TableOptions) -> Result<Self, TableError> {
        std::fs::create_dir_all(directory).map_err(|source| TableError::Io { path: directory.to_owned(), source })?;
        let mut tables = options.tables.clone();
        tables.sort_unstable();
        tables.dedup();
        let open = |table: Table| {
            let path = directory.join(format!("{table}.{}", options.format.name()));
            let columns = table.features().len().max(1);
            let batch_rows = BATCH_ROWS.min(BATCH_VALUES / columns);
            Ok(OpenTable {
                table,
                file: TableFile::create(path, table, options)?,
                batch: Batch::new(table),
                batch_rows,
                rows: 0,
            })
        };
        Ok(Self { open: tables.into_iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Adds the rows of a run. `name` is what the run was read from: it tells runs with equal ids apart.
    ///
    /// # Errors
    ///
    /// When a batch cannot be written.
    pub fn add(&mut self, name: &str, run: &Run, features: &Features) -> Result<(), TableError> {
        let of = RunRef { name, run, features };
        for table in &mut self.open {
            if table.table == Table::Tasks {
                table.add_tasks(of)?;
            } else {
                table.add_rows(of)?;
            }
        }
        Ok(())
    }

    /// Writes what is left and gives the files their names.
    ///
    /// # Errors
    ///
    /// When a file cannot be written or renamed.
    pub fn finish(self) -> Result<Vec<Written>, TableError> {
        let finish = |mut table: OpenTable| {
            table.flush()?;
            let (path, bytes) = table.file.finish()?;
            Ok(Written { table: table.table, path, rows: table.rows, bytes })
        };
        self.open.into_iter().map(finish).collect()
    }
}

impl OpenTable {
    fn add_rows(&mut self, of: RunRef<'_>) -> Result<(), TableError> {
        of.rows(self.table, |row| {
            self.batch.push(row);
            self.flush_when_full()
        })
    }

    fn add_tasks(&mut self, of: RunRef<'_>) -> Result<(), TableError> {
        let mut rows = TaskRows::new(of);
        for (key, stage) in &of.run.stages {
            let Some(summary) = of.features.stages.get(key) else { continue };
            for part in stage.tasks.parts() {
                rows.read(part);
                rows.append(stage, summary, &mut self.batch);
                self.flush_when_full()?;
            }
        }
        Ok(())
    }

    fn flush_when_full(&mut self) -> Result<(), TableError> {
        if self.batch.rows() >= self.batch_rows { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), TableError> {
        if self.batch.rows() > 0 {
            self.rows += self.batch.rows() as u64;
            self.file.write(&mut self.batch)?;
        }
        Ok(())
    }
}
