//! Reads tables back that were written as Parquet.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use polars_core::prelude::{Column, DataType, PolarsError};
use polars_io::SerReader;
use polars_io::parquet::read::ParquetReader;

use super::{Format, TableError};
use crate::features::catalogue::{Kind, Table};

/// A table that was read: as many values in each column as there are rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadTable {
    /// Rows.
    pub rows: usize,
    /// Numbers by column, flags as 0 and 1; `NaN` is unknown.
    pub numbers: BTreeMap<&'static str, Vec<f64>>,
    /// Texts by column.
    pub texts: BTreeMap<&'static str, Vec<Option<String>>>,
}

/// Reads a table from a directory that `TableWriter` wrote as Parquet.
///
/// # Errors
///
/// When the file is not there or is no Parquet, or lacks a column of the catalogue: it was then written by another version.
pub fn read_table(directory: &Path, table: Table) -> Result<ReadTable, TableError> {
    let path = directory.join(format!("{table}.{}", Format::Parquet.name()));
    let file = File::open(&path).map_err(|source| TableError::Io { path: path.clone(), source })?;
    let wrong = |message: String| TableError::Decode { path: path.clone(), message };
    let frame = ParquetReader::new(file).finish().map_err(|error: PolarsError| wrong(error.to_string()))?;
    let mut read = ReadTable { rows: frame.height(), ..ReadTable::default() };
    for feature in table.features() {
        let name = feature.name.as_str();
        let column = frame.column(name).map_err(|_| {
            wrong(format!(
                "has no column {name:?}: it was written by another version (`emberscope extract` writes it again)"
            ))
        })?;
        let failed = |error: PolarsError| wrong(format!("column {name:?}: {error}"));
        if feature.kind == Kind::Text {
            read.texts.insert(name, texts(column).map_err(failed)?);
        } else {
            read.numbers.insert(name, numbers(column).map_err(failed)?);
        }
    }
    Ok(read)
}

fn numbers(column: &Column) -> Result<Vec<f64>, PolarsError> {
    let column = column.cast(&DataType::Float64)?;
    Ok(column.f64()?.iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

fn texts(column: &Column) -> Result<Vec<Option<String>>, PolarsError> {
    let column = column.cast(&DataType::String)?;
    Ok(column.str()?.iter().map(|text| text.map(ToOwned::to_owned)).collect())
}
