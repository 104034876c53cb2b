//! The value of a feature.

use std::borrow::Cow;

use emberscope_run::Timestamp;
use serde::Serialize;

/// The type of a feature's values in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A signed whole number of 64 bits.
    Integer,
    /// A number of double precision, always finite.
    Float,
    /// True or false.
    Flag,
    /// Text in UTF-8.
    Text,
}

impl Kind {
    /// The word that documentation and the catalogue's hash use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Flag => "flag",
            Self::Text => "text",
        }
    }
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Unknown.
    Null,
    /// Of [`Kind::Integer`].
    Integer(i64),
    /// Of [`Kind::Float`].
    Float(f64),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Text`].
    Text(Cow<'a, str>),
}

impl Value<'_> {
    /// The value as a number, flags as 0 and 1; `None` when it is unknown or text.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Flag(value) => Some(f64::from(u8::from(*value))),
            Self::Null | Self::Text(_) => None,
        }
    }
}

/// A type that a feature can be computed as.
pub(super) trait Cell {
    /// The kind of the column.
    const KIND: Kind;

    /// The value of the cell.
    fn cell<'a>(self) -> Value<'a>;
}

impl Cell for u64 {
    const KIND: Kind = Kind::Integer;

    fn cell<'a>(self) -> Value<'a> {
        Value::Integer(i64::try_from(self).unwrap_or(i64::MAX))
    }
}

impl Cell for i64 {
    const KIND: Kind = Kind::Integer;

    fn cell<'a>(self) -> Value<'a> {
        Value::Integer(self)
    }
}

impl Cell for Timestamp {
    const KIND: Kind = Kind::Integer;

    fn cell<'a>(self) -> Value<'a> {
        Value::Integer(self.0)
    }
}

impl Cell for f64 {
    const KIND: Kind = Kind::Float;

    fn cell<'a>(self) -> Value<'a> {
        // A quotient that is no number is not known.
        if self.is_finite() { Value::Float(self) } else { Value::Null }
    }
}

impl Cell for bool {
    const KIND: Kind = Kind::Flag;

    fn cell<'a>(self) -> Value<'a> {
        Value::Flag(self)
    }
}

impl<T: Cell> Cell for Option<T> {
    const KIND: Kind = T::KIND;

    fn cell<'a>(self) -> Value<'a> {
        self.map_or(Value::Null, T::cell)
    }
}
