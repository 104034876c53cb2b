//! A file of a table: written under another name, and renamed when it is complete.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use polars_core::prelude::{CompatLevel, PolarsError};
use polars_core::utils::arrow::io::ipc::IpcField;
use polars_io::SerWriter;
use polars_io::csv::write::CsvWriter;
use polars_io::ipc::{IpcCompression, IpcWriter};

use super::batch::Batch;
use super::parquet::ParquetFile;
use super::{Format, TableError, TableOptions, frame, ndjson};
use crate::features::catalogue::Table;

pub(super) struct TableFile {
    path: PathBuf,
    temporary: Temporary,
    format: Format,
    encoder: Encoder,
}

enum Encoder {
    Parquet(Box<ParquetFile>),
    Csv(Box<polars_io::csv::write::BatchedWriter<BufWriter<File>>>),
    Arrow(Box<polars_io::ipc::BatchedWriter<BufWriter<File>>>),
    Ndjson(BufWriter<File>),
}

/// A file that is removed unless it has got its name.
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // The writer has failed or was given up: there is nobody to tell.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl TableFile {
    pub(super) fn create(path: PathBuf, table: Table, options: &TableOptions) -> Result<Self, TableError> {
        let format = options.format;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary).map_err(|source| TableError::Io { path: path.clone(), source })?;
        let temporary = Temporary(Some(temporary));
        let out = BufWriter::with_capacity(1 << 18, file);
        let encoder = match format {
            Format::Parquet => {
                ParquetFile::create(out, table, options.threads).map(|writer| Encoder::Parquet(Box::new(writer)))
            }
            Format::Csv => {
                CsvWriter::new(out).batched(&frame::schema(table)).map(|writer| Encoder::Csv(Box::new(writer)))
            }
            // The oldest layout of texts is the one that every reader knows.
            Format::Arrow => {
                let schema = frame::schema(table);
                IpcWriter::new(out)
                    .with_compression(Some(IpcCompression::LZ4))
                    .with_compat_level(CompatLevel::oldest())
                    .batched(&schema, schema.iter().map(|_| IpcField::default()).collect())
                    .map(|writer| Encoder::Arrow(Box::new(writer)))
            }
            Format::Ndjson => Ok(Encoder::Ndjson(out)),
        };
        let encoder = encoder.map_err(|error| encode_error(&path, format, &error))?;
        Ok(Self { path, temporary, format, encoder })
    }

    /// Writes a batch and empties it.
    pub(super) fn write(&mut self, batch: &mut Batch) -> Result<(), TableError> {
        let result = match &mut self.encoder {
            Encoder::Ndjson(out) => ndjson::write(batch, out).map_err(PolarsError::from),
            Encoder::Parquet(writer) => writer.write(batch),
            Encoder::Csv(writer) => frame::of(batch).and_then(|frame| writer.write_batch(&frame)),
            Encoder::Arrow(writer) => frame::of(batch).and_then(|frame| writer.write_batch(&frame)),
        };
        batch.clear();
        result.map_err(|error| encode_error(&self.path, self.format, &error))
    }

    /// Ends the file and gives it its name; returns that and its size.
    pub(super) fn finish(self) -> Result<(PathBuf, u64), TableError> {
        let Self { path, mut temporary, format, encoder } = self;
        let ended = match encoder {
            Encoder::Parquet(writer) => writer.finish(),
            Encoder::Csv(mut writer) => writer.finish(),
            Encoder::Arrow(mut writer) => writer.finish(),
            Encoder::Ndjson(mut out) => out.flush().map_err(PolarsError::from),
        };
        ended.map_err(|error| encode_error(&path, format, &error))?;
        let Some(written) = temporary.0.as_ref() else { return Ok((path, 0)) };
        let named = std::fs::rename(written, &path).and_then(|()| std::fs::metadata(&path));
        let bytes = named.map_err(|source| TableError::Io { path: path.clone(), source })?.len();
        temporary.0 = None;
        Ok((path, bytes))
    }
}

fn encode_error(path: &Path, format: Format, error: &PolarsError) -> TableError {
    TableError::Encode { path: path.to_owned(), format: format.name(), message: error.to_string() }
}
