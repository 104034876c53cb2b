//! Numbers as people read them, the same in every summary and advice.

/// A time: `850 ms`, `12.3 s`, `4 min 10 s`, `2 h 05 min`, `3 days 04 h`.
pub fn duration(ms: f64) -> String {
    let ms = ms.max(0.0);
    let seconds = ms / 1_000.0;
    if ms < 999.5 {
        format!("{ms:.0} ms")
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else if seconds < 3_599.5 {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else if seconds < 48.0 * 3_600.0 - 30.0 {
        let minutes = (seconds / 60.0).round() as u64;
        format!("{} h {:02} min", minutes / 60, minutes % 60)
    } else {
        let hours = (seconds / 3_600.0).round() as u64;
        format!("{} days {:02} h", count(hours / 24), hours % 24)
    }
}

/// A size: `512 B`, `12.5 MiB`, `3.2 GiB`.
pub fn bytes(bytes: f64) -> String {
    let mut value = bytes.max(0.0);
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1_023.95 || unit == "TiB" {
            return if unit == "B" || value >= 99.95 {
                format!("{value:.0} {unit}")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1_024.0;
    }
    String::new()
}

/// A share of one: `3 %`, `0.4 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() < 0.95 && percent != 0.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A quotient: `3.4 times`, `27 times`.
pub fn times(factor: f64) -> String {
    if factor < 9.95 { format!("{factor:.1} times") } else { format!("{factor:.0} times") }
}

/// A count with thousands separated: `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun: `1 job`, `3 stage attempts`, `12,345 tasks`.
pub fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A number with at most six significant digits behind which nothing was measured: `3.4` for `3.4000000000000004`. Whole
/// numbers stay as they are, and large ones are rounded to whole numbers only.
pub fn rounded(number: f64) -> f64 {
    if number.fract() == 0.0 || !number.is_finite() {
        return number;
    }
    if number.abs() >= 100_000.0 {
        return number.round();
    }
    format!("{number:.5e}").parse().unwrap_or(number)
}

/// A size as Spark's configuration takes it, rounded up to whole MiB, or GiB where that is exact: `1536m`, `4g`.
pub fn spark_memory(bytes: f64) -> String {
    let mib = (bytes.max(0.0) / f64::from(1 << 20)).ceil() as u64;
    if mib >= 1_024 && mib.is_multiple_of(1_024) { format!("{}g", mib / 1_024) } else { format!("{mib}m") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lose_what_arithmetic_left_behind_and_whole_numbers_nothing() {
        for (number, expected) in [
            (3.400_000_000_000_000_4, "3.4"),
            (0.123_456_789, "0.123457"),
            (-0.000_012_345_678, "-0.0000123457"),
            (1_234.567_8, "1234.57"),
            (1_234_567.8, "1234568"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (0.0, "0"),
        ] {
            assert_eq!(rounded(number).to_string(), expected);
        }
        assert!(rounded(f64::NAN).is_nan() && rounded(f64::INFINITY).is_infinite());
    }

    #[test]
    fn numbers_read_well_at_every_size() {
        assert_eq!(
            [duration(12.0), duration(12_340.0), duration(250_000.0), duration(7_500_000.0)],
            ["12 ms", "12.3 s", "4 min 10 s", "2 h 05 min"]
        );
        assert_eq!([duration(999.6), duration(59_960.0)], ["1.0 s", "1 min 00 s"]);
        let hour = 3_600_000.0;
        assert_eq!(
            [duration(47.5 * hour), duration(48.0 * hour), duration(100.0 * hour), duration(46_034.0 * hour)],
            ["47 h 30 min", "2 days 00 h", "4 days 04 h", "1,918 days 02 h"]
        );
        assert_eq!([bytes(512.0), bytes(1_536.0), bytes(3.5 * 1_073_741_824.0)], ["512 B", "1.5 KiB", "3.5 GiB"]);
        assert_eq!([percent(0.034), percent(0.004), percent(0.0)], ["3 %", "0.4 %", "0 %"]);
        assert_eq!([count(7), count(1_234), count(1_234_567)], ["7", "1,234", "1,234,567"]);
        assert_eq!(
            [plural(0, "job"), plural(1, "stage attempt"), plural(1_234, "task")],
            ["0 jobs", "1 stage attempt", "1,234 tasks"]
        );
        assert_eq!([spark_memory(1.5 * 1_073_741_824.0), spark_memory(4.0 * 1_073_741_824.0)], ["1536m", "4g"]);
    }
}
