//! Batches as row groups of a Parquet file.
//!
//! Columns go to the encoder below Polars' data frames, because what they hold is known here and would be guessed there: texts
//! come with their dictionary, and integers are packed as differences (`DELTA_BINARY_PACKED`), which needs no count of the
//! distinct ones. That count alone costs more than writing the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;

use polars_core::error::{PolarsError, PolarsResult};
use polars_core::utils::arrow::array::{Array, BooleanArray, DictionaryArray, PrimitiveArray, Utf8Array};
use polars_core::utils::arrow::bitmap::Bitmap;
use polars_core::utils::arrow::datatypes::{ArrowDataType, ArrowSchema, Field};
use polars_parquet::write::{
    CompressedPage, CompressionOptions, DynIter, DynStreamingIterator, Encoding, FileWriter, Nested, ParquetType,
    StatisticsOptions, Version, WriteOptions, array_to_pages, compress, fallible_streaming_iterator, to_parquet_leaves,
};

use super::batch::{Batch, Column, NULL_CODE, NULL_INTEGER, Texts};
use crate::features::catalogue::{Kind, Table};

/// A page that the file is written in one piece with: a batch's column is one.
const PAGE_BYTES: usize = 1 << 20;

/// A Parquet file that is being written.
pub(super) struct ParquetFile {
    writer: FileWriter<BufWriter<File>>,
    threads: usize,
}

impl ParquetFile {
    pub(super) fn create(out: BufWriter<File>, table: Table, threads: usize) -> PolarsResult<Self> {
        let schema: ArrowSchema = table
            .features()
            .iter()
            .map(|feature| Field::new(feature.name.as_str().into(), stored_as(feature.kind), true))
            .map(|field| (field.name.clone(), field))
            .collect();
        let writer = FileWriter::try_new(out, schema, options(Kind::Integer))?;
        Ok(Self { writer, threads: threads.max(1) })
    }

    /// Writes a batch as a row group.
    pub(super) fn write(&mut self, batch: &Batch) -> PolarsResult<()> {
        let columns = batch.columns().map(|(_, column)| column).zip(self.writer.parquet_schema().fields());
        // Columns of one and the same value, as many are, have the same pages.
        let (mut distinct, mut places, mut known) = (Vec::new(), Vec::new(), HashMap::new());
        for (column, of) in columns {
            let place = match constant(column) {
                Some(constant) => *known.entry(constant).or_insert(distinct.len()),
                None => distinct.len(),
            };
            if place == distinct.len() {
                distinct.push((column, of));
            }
            places.push(place);
        }
        // A column is some microseconds of work: few of them are not worth a thread.
        let threads = if batch.rows() * distinct.len() < 1 << 16 { 1 } else { self.threads };
        let pages = encode_all(&distinct, threads)?;
        let row_group = DynIter::new(places.iter().filter_map(|&place| pages.get(place)).map(|pages| {
            let pages = fallible_streaming_iterator::convert(pages.iter().map(PolarsResult::Ok));
            Ok(DynStreamingIterator::new(pages))
        }));
        self.writer.write(batch.rows() as u64, row_group)
    }

    /// Writes the footer. Parquet's own types say all there is: a copy of the Arrow schema is not added.
    pub(super) fn finish(mut self) -> PolarsResult<()> {
        self.writer.end(Some(Vec::new())).map(|_| ())
    }
}

/// The Arrow type that readers are told.
fn stored_as(kind: Kind) -> ArrowDataType {
    match kind {
        Kind::Integer => ArrowDataType::Int64,
        Kind::Float => ArrowDataType::Float64,
        Kind::Flag => ArrowDataType::Boolean,
        // The layout of texts that every reader knows.
        Kind::Text => ArrowDataType::LargeUtf8,
    }
}

/// How a column is written: what is packed bit by bit gains nothing from a compressor.
fn options(kind: Kind) -> WriteOptions {
    let compression = match kind {
        Kind::Integer | Kind::Flag => CompressionOptions::Uncompressed,
        Kind::Float | Kind::Text => CompressionOptions::Snappy,
    };
    WriteOptions {
        statistics: StatisticsOptions::empty(),
        version: Version::V1,
        compression,
        data_page_size: Some(PAGE_BYTES),
    }
}

/// What a column of numbers holds in every row; `None` when rows differ.
fn constant(column: &Column) -> Option<(Kind, u64)> {
    fn only<T: PartialEq>(values: &[T]) -> Option<&T> {
        values.first().filter(|first| values.iter().all(|value| value == *first))
    }
    match column {
        Column::Integers(values) => only(values).map(|&value| (Kind::Integer, value.cast_unsigned())),
        Column::Floats(values) if values.iter().all(|value| value.is_nan()) => Some((Kind::Float, f64::NAN.to_bits())),
        Column::Floats(values) => only(values).map(|value| (Kind::Float, value.to_bits())),
        Column::Flags(values) => only(values).map(|&value| (Kind::Flag, u64::from(value))),
        Column::Texts(_) => None,
    }
}

fn encode_all(columns: &[(&Column, &ParquetType)], threads: usize) -> PolarsResult<Vec<Vec<CompressedPage>>> {
    let encode_some = |columns: &[(&Column, &ParquetType)]| {
        columns.iter().map(|(column, of)| encode(column, of)).collect::<PolarsResult<Vec<_>>>()
    };
    if threads == 1 {
        return encode_some(columns);
    }
    let mut all = Vec::with_capacity(columns.len());
    std::thread::scope(|scope| {
        let workers: Vec<_> = columns
            .chunks(columns.len().div_ceil(threads).max(1))
            .map(|columns| scope.spawn(move || encode_some(columns)))
            .collect();
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

/// The pages of a column.
fn encode(column: &Column, of: &ParquetType) -> PolarsResult<Vec<CompressedPage>> {
    let (array, kind, encoding): (Box<dyn Array>, _, _) = match column {
        Column::Integers(values) => (integers(values).boxed(), Kind::Integer, Encoding::DeltaBinaryPacked),
        Column::Floats(values) => (floats(values).boxed(), Kind::Float, Encoding::Plain),
        Column::Flags(values) => (flags(values).boxed(), Kind::Flag, Encoding::Plain),
        Column::Texts(values) => (texts(values)?.boxed(), Kind::Text, Encoding::RleDictionary),
    };
    let options = options(kind);
    let nested = Nested::primitive(array.validity().cloned(), true, array.len());
    to_parquet_leaves(of.clone())
        .into_iter()
        .map(|leaf| array_to_pages(array.as_ref(), leaf, std::slice::from_ref(&nested), options, encoding))
        .collect::<PolarsResult<Vec<_>>>()?
        .into_iter()
        .flatten()
        .map(|page| compress(page?, Vec::new(), options.compression).map_err(PolarsError::from))
        .collect()
}

fn integers(values: &[i64]) -> PrimitiveArray<i64> {
    let validity = known(values, |&value| value != NULL_INTEGER);
    PrimitiveArray::from_slice(values).with_validity(validity)
}

fn floats(values: &[f64]) -> PrimitiveArray<f64> {
    let validity = known(values, |value| !value.is_nan());
    PrimitiveArray::from_slice(values).with_validity(validity)
}

fn flags(values: &[u8]) -> BooleanArray {
    let validity = known(values, |&value| value < 2);
    let values: Bitmap = values.iter().map(|&value| value == 1).collect();
    BooleanArray::new(ArrowDataType::Boolean, values, validity)
}

fn texts(texts: &Texts) -> PolarsResult<DictionaryArray<u32>> {
    let validity = known(&texts.codes, |&code| code != NULL_CODE);
    // What stands behind a null has to be a place in the dictionary nevertheless.
    let codes: Vec<u32> = texts.codes.iter().map(|&code| if code == NULL_CODE { 0 } else { code }).collect();
    let distinct = if texts.distinct.is_empty() {
        Utf8Array::<i64>::from_slice([""])
    } else {
        Utf8Array::<i64>::from_slice(&texts.distinct)
    };
    DictionaryArray::try_from_keys(PrimitiveArray::from_vec(codes).with_validity(validity), distinct.boxed(), false)
}

/// The bits of what is known; `None` when all is.
fn known<T>(values: &[T], is_known: impl Fn(&T) -> bool) -> Option<Bitmap> {
    if values.iter().all(&is_known) { None } else { Some(values.iter().map(is_known).collect()) }
}
