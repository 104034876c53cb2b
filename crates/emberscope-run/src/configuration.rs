//! Configuration values, read as Spark reads them (`JavaUtils.byteStringAs`, `timeStringAs`).

use std::collections::BTreeMap;
use std::fmt;

/// A value that Spark would refuse too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key.
    pub key: String,
    /// The value as it stands.
    pub value: String,
    /// What it should have been: `a size`, `a time`, `a number`, `true or false`.
    pub expected: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:?}, which is not {}", self.key, self.value, self.expected)
    }
}

impl std::error::Error for ConfigError {}

/// Spark properties. A key that is absent was not set: its default holds, which the reader of the key must know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    values: BTreeMap<String, String>,
}

impl Configuration {
    /// Sets a key.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.values.insert(key.into(), value.into());
    }

    /// The value of a key as text; `None` when it was not set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// All that was set, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A whole number, also negative.
    ///
    /// # Errors
    ///
    /// When the value is set and is no number.
    pub fn integer(&self, key: &str) -> Result<Option<i64>, ConfigError> {
        self.parse(key, "a whole number", |value| value.parse().ok())
    }

    /// A number.
    ///
    /// # Errors
    ///
    /// When the value is set and is no finite number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        self.parse(key, "a number", |value| value.parse().ok().filter(|number: &f64| number.is_finite()))
    }

    /// `true` or `false`, in any case.
    ///
    /// # Errors
    ///
    /// When the value is set and is neither.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.parse(key, "true or false", |value| match value.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// A size in bytes; a number without unit is in `default_unit` bytes (1 for most keys, 1 MiB for
    /// `spark.executor.memory` and the like). Negative values (`-1` for "off") are kept.
    ///
    /// # Errors
    ///
    /// When the value is set and is no size.
    pub fn bytes(&self, key: &str, default_unit: u64) -> Result<Option<i64>, ConfigError> {
        self.parse(key, "a size", |value| parse_bytes(value, default_unit))
    }

    /// A time in milliseconds; a number without unit is in `default_unit` ms. Negative values are kept.
    ///
    /// # Errors
    ///
    /// When the value is set and is no time.
    pub fn time_ms(&self, key: &str, default_unit: u64) -> Result<Option<i64>, ConfigError> {
        self.parse(key, "a time", |value| parse_time(value, default_unit))
    }

    fn parse<T>(
        &self,
        key: &str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        parse(value.trim()).map(Some).ok_or_else(|| ConfigError {
            key: key.to_owned(),
            value: value.to_owned(),
            expected,
        })
    }
}

impl FromIterator<(String, String)> for Configuration {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self { values: pairs.into_iter().collect() }
    }
}

/// A size as Spark reads it: digits and one of `b k kb m mb g gb t tb p pb`, in any case, powers of 1024; also `kib` and
/// so on, which Spark's own messages print. Without a unit the number counts `default_unit` bytes.
pub fn parse_bytes(text: &str, default_unit: u64) -> Option<i64> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit.as_str() {
        "" => default_unit,
        "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        "p" | "pb" | "pib" => 1 << 50,
        _ => return None,
    };
    number.checked_mul(i64::try_from(factor).ok()?)
}

/// A time as Spark reads it, in ms: digits and one of `us ms s m min h d`. Without a unit the number counts `default_unit`
/// ms. Microseconds are rounded down.
pub fn parse_time(text: &str, default_unit: u64) -> Option<i64> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit.as_str() {
        "us" => return Some(number / 1_000),
        "" => default_unit,
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(i64::try_from(factor).ok()?)
}

fn split_unit(text: &str) -> Option<(i64, String)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim().to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn sizes_read_as_spark_reads_them() {
        for (text, unit, expected) in [
            ("10m", 1, Some(10_485_760)),
            ("1g", 1, Some(1_073_741_824)),
            ("1G", MIB, Some(1_073_741_824)),
            ("-1", 1, Some(-1)),
            ("10485760b", 1, Some(10_485_760)),
            ("512", MIB, Some(536_870_912)),
            ("64KB", 1, Some(65_536)),
            ("134217728", 1, Some(134_217_728)),
            ("1.5g", 1, None),
            ("ten", 1, None),
            ("", 1, None),
            ("9999999999p", 1, None),
        ] {
            assert_eq!(parse_bytes(text, unit), expected, "{text:?}");
        }
    }

    #[test]
    fn times_read_as_spark_reads_them() {
        for (text, unit, expected) in [
            ("10s", 1, Some(10_000)),
            ("120", 1_000, Some(120_000)),
            ("3min", 1, Some(180_000)),
            ("3m", 1, Some(180_000)),
            ("1h", 1, Some(3_600_000)),
            ("500us", 1, Some(0)),
            ("-1", 1_000, Some(-1_000)),
            ("5 s", 1, Some(5_000)),
            ("1w", 1, None),
        ] {
            assert_eq!(parse_time(text, unit), expected, "{text:?}");
        }
    }

    #[test]
    fn an_unset_key_is_none_and_a_wrong_one_names_itself() {
        let mut configuration = Configuration::default();
        configuration.set("spark.sql.shuffle.partitions", "lots");
        assert_eq!(configuration.integer("spark.task.cpus"), Ok(None));
        let error = configuration.integer("spark.sql.shuffle.partitions").unwrap_err();
        assert_eq!(error.to_string(), "spark.sql.shuffle.partitions is \"lots\", which is not a whole number");
    }
}
