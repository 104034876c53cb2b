//! Values of fields.

use std::borrow::Cow;

/// The value of a field that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// This event has no such field.
    Missing,
    /// An unsigned integer, or an enumeration's.
    Unsigned(u64),
    /// A signed integer, or an enumeration's.
    Signed(i64),
    /// A floating point number.
    Float(f64),
    /// A text; what is not UTF-8 in it is replaced.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The value as an unsigned integer; `None` if it is none or negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            Self::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The value as a signed integer; `None` if it is none or too large.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Unsigned(value) => i64::try_from(*value).ok(),
            Self::Signed(value) => Some(*value),
            _ => None,
        }
    }

    /// The value as a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The value as a text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn text(bytes: &'a [u8]) -> Self {
        Self::Text(String::from_utf8_lossy(bytes))
    }
}
