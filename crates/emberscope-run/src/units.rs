//! Units are types at the edge: Spark mixes milliseconds and nanoseconds, and a source converts once.

use serde::{Deserialize, Serialize};

macro_rules! unit {
    ($(#[$doc:meta] $name:ident($inner:ty)),+ $(,)?) => {$(
        #[$doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    )+};
}

unit! {
    /// A length of time in milliseconds.
    Millis(u64),
    /// A length of time in nanoseconds.
    Nanos(u64),
    /// A size in bytes.
    Bytes(u64),
    /// A point in time: milliseconds since 1970-01-01 UTC, by the clock of the driver unless stated.
    Timestamp(i64),
}

impl Timestamp {
    /// The time from `earlier` to `self`; 0 when the clock went backwards.
    pub fn since(self, earlier: Self) -> Millis {
        Millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This instant as `2026-11-23T03:32:34.123Z` (RFC 3339, UTC).
    pub fn to_rfc3339(self) -> String {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        // Days to civil date, after Howard Hinnant, "chrono-compatible low-level date algorithms".
        let z = days.saturating_add(719_468);
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        let (h, m, s, milli) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{milli:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_rfc3339_in_utc() {
        // `date -u -d @1594091479.271 +%FT%T.%3NZ` and the like.
        assert_eq!(Timestamp(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(1_594_091_479_271).to_rfc3339(), "2020-07-07T03:11:19.271Z");
        assert_eq!(Timestamp(951_782_400_000).to_rfc3339(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Timestamp(-1).to_rfc3339(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_clock_that_goes_backwards_gives_no_time() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Millis(0));
        assert_eq!(Timestamp(i64::MAX).since(Timestamp(i64::MIN)), Millis(i64::MAX as u64));
    }
}
