//! Batches as Polars' data frames.

use polars_core::prelude::*;
use polars_core::utils::arrow::array::PrimitiveArray;
use polars_core::utils::arrow::bitmap::Bitmap;

use super::batch::{Batch, Column as Cells, NULL_CODE, NULL_INTEGER};
use crate::features::catalogue::{Kind, Table};

/// The schema of a table.
pub(super) fn schema(table: Table) -> Schema {
    let dtype = |kind| match kind {
        Kind::Integer => DataType::Int64,
        Kind::Float => DataType::Float64,
        Kind::Flag => DataType::Boolean,
        Kind::Text => DataType::String,
    };
    table.features().iter().map(|feature| Field::new(feature.name.as_str().into(), dtype(feature.kind))).collect()
}

/// A batch as a data frame; its numbers move there.
pub(super) fn of(batch: &mut Batch) -> PolarsResult<DataFrame> {
    let rows = batch.rows();
    let columns: Vec<Column> = batch
        .columns_mut()
        .map(|(feature, cells)| {
            let name: PlSmallStr = feature.name.as_str().into();
            let series = match cells {
                Cells::Integers(values) => {
                    let validity = validity(values.iter().map(|&value| value != NULL_INTEGER), rows);
                    let values = std::mem::replace(values, Vec::with_capacity(rows));
                    Int64Chunked::with_chunk(name, PrimitiveArray::from_vec(values).with_validity(validity))
                        .into_series()
                }
                Cells::Floats(values) => {
                    let validity = validity(values.iter().map(|value| !value.is_nan()), rows);
                    let mut values = std::mem::replace(values, Vec::with_capacity(rows));
                    if validity.is_some() {
                        // What stands behind a null shows in no file.
                        values.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
                    }
                    Float64Chunked::with_chunk(name, PrimitiveArray::from_vec(values).with_validity(validity))
                        .into_series()
                }
                Cells::Flags(values) => BooleanChunked::from_iter_options(
                    name,
                    values.iter().map(|&value| (value < 2).then_some(value == 1)),
                )
                .into_series(),
                Cells::Texts(texts) => {
                    let distinct = StringChunked::from_slice(name, &texts.distinct);
                    let code = |&code: &u32| (code != NULL_CODE).then_some(code);
                    let places = IdxCa::from_iter_options(PlSmallStr::EMPTY, texts.codes.iter().map(code));
                    if texts.distinct.is_empty() {
                        StringChunked::full_null(distinct.name().clone(), rows).into_series()
                    } else {
                        distinct.take(&places)?.into_series()
                    }
                }
            };
            Ok(series.into_column())
        })
        .collect::<PolarsResult<_>>()?;
    DataFrame::new(rows, columns)
}

/// The bits of what is known; `None` when all is.
fn validity(known: impl Iterator<Item = bool> + Clone, rows: usize) -> Option<Bitmap> {
    if known.clone().all(|known| known) {
        return None;
    }
    let bits: Bitmap = known.collect();
    debug_assert_eq!(bits.len(), rows);
    Some(bits)
}
