//! A batch of rows by column, before it takes the shape of a format.

use std::collections::HashMap;

use crate::features::catalogue::{Feature, Kind, Row, Table, Value};

/// The null of an integer column: values at the border are moved by one.
pub(super) const NULL_INTEGER: i64 = i64::MIN;
/// The null of a text column.
pub(super) const NULL_CODE: u32 = u32::MAX;

/// A column of a batch.
#[derive(Debug)]
pub(super) enum Column {
    /// [`NULL_INTEGER`] where unknown.
    Integers(Vec<i64>),
    /// Not a number where unknown: values are finite.
    Floats(Vec<f64>),
    /// 0, 1, or anything else where unknown.
    Flags(Vec<u8>),
    Texts(Texts),
}

/// Texts, each distinct one kept once.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Places in `distinct`; [`NULL_CODE`] where unknown.
    pub(super) codes: Vec<u32>,
    pub(super) distinct: Vec<String>,
    places: HashMap<String, u32>,
}

impl Texts {
    /// The code of a text.
    pub(super) fn code(&mut self, text: &str) -> u32 {
        if let Some(&place) = self.places.get(text) {
            return place;
        }
        let place = self.distinct.len() as u32;
        self.distinct.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }

    fn clear(&mut self) {
        self.codes.clear();
        self.distinct.clear();
        self.places.clear();
    }
}

/// Rows of a table, by column.
#[derive(Debug)]
pub(super) struct Batch {
    features: &'static [Feature],
    columns: Vec<Column>,
    rows: usize,
    /// How often it was emptied: codes of texts are good until then.
    generation: u64,
}

impl Batch {
    pub(super) fn new(table: Table) -> Self {
        let features = table.features();
        let column = |feature: &Feature| match feature.kind {
            Kind::Integer => Column::Integers(Vec::new()),
            Kind::Float => Column::Floats(Vec::new()),
            Kind::Flag => Column::Flags(Vec::new()),
            Kind::Text => Column::Texts(Texts::default()),
        };
        Self { features, columns: features.iter().map(column).collect(), rows: 0, generation: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The columns with what they are.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&'static Feature, &Column)> {
        self.features.iter().zip(&self.columns)
    }

    pub(super) fn columns_mut(&mut self) -> impl Iterator<Item = (&'static Feature, &mut Column)> {
        self.features.iter().zip(&mut self.columns)
    }

    /// Says that every column has got `rows` more.
    pub(super) fn grow(&mut self, rows: usize) {
        self.rows += rows;
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: &Row<'_>) {
        for (feature, column) in self.features.iter().zip(&mut self.columns) {
            column.push(feature.value(row));
        }
        self.rows += 1;
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        for column in &mut self.columns {
            match column {
                Column::Integers(values) => values.clear(),
                Column::Floats(values) => values.clear(),
                Column::Flags(values) => values.clear(),
                Column::Texts(texts) => texts.clear(),
            }
        }
        self.rows = 0;
        self.generation += 1;
    }
}

impl Column {
    fn push(&mut self, value: Value<'_>) {
        match self {
            Self::Integers(values) => values.push(match value {
                Value::Integer(value) => value.max(NULL_INTEGER + 1),
                _ => NULL_INTEGER,
            }),
            Self::Floats(values) => values.push(if let Value::Float(value) = value { value } else { f64::NAN }),
            Self::Flags(values) => values.push(if let Value::Flag(value) = value { u8::from(value) } else { u8::MAX }),
            Self::Texts(texts) => {
                let code = if let Value::Text(text) = value { texts.code(&text) } else { NULL_CODE };
                texts.codes.push(code);
            }
        }
    }
}
