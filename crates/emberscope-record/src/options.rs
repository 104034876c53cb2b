//! What is asked for.

use std::path::PathBuf;
use std::time::Duration;

/// How much the kernel tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// The scheduler, interrupts and disks.
    #[default]
    Light,
    /// Page faults, packets, signals, timers and futexes besides.
    Full,
}

impl Profile {
    /// The name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Full => "full",
        }
    }
}

/// What is asked for; defaults are those of the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the recording goes: a folder that is not there yet, or empty. Absolute.
    pub out: PathBuf,
    /// How much the kernel tells.
    pub profile: Profile,
    /// Whether the kernel is traced.
    pub kernel: bool,
    /// Whether Spark is traced: without, nothing is added to the command but the event log.
    pub user: bool,
    /// One task in so many emits tracepoints; 1 or more.
    pub sample: u64,
    /// Bytes of memory for the kernel's events when they are kept there until something goes wrong; None writes all.
    pub ring_buffer: Option<u64>,
    /// With a ring buffer: a run that takes longer is written as a failed one is.
    pub slow_after: Option<Duration>,
    /// Bytes of all traces after which tracing stops; the job goes on.
    pub max_size: Option<u64>,
    /// The plugin's jar, where the command line names one.
    pub plugin: Option<PathBuf>,
    /// The name of the LTTng sessions.
    pub session: String,
    /// The user's command.
    pub job: Vec<String>,
}

impl Options {
    /// The defaults for a folder and a command.
    pub fn new(out: impl Into<PathBuf>, job: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            out: out.into(),
            profile: Profile::Light,
            kernel: true,
            user: true,
            sample: 1,
            ring_buffer: None,
            slow_after: None,
            max_size: None,
            plugin: None,
            session: "emberscope".to_owned(),
            job: job.into_iter().map(Into::into).collect(),
        }
    }
}

/// A size: a whole number of bytes, or one with K, M or G (powers of 1024).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size over 0, such as 64M");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

/// A duration: a whole number with ms, s, m or h; without a unit, seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration over 0, such as 90s or 10m");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit_ms).filter(|&ms| ms > 0).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(["1", "64K", "64m", "2GiB"].map(parse_size), [Ok(1), Ok(65_536), Ok(67_108_864), Ok(2_147_483_648)]);
        for text in ["", "0", "M", "-1", "1.5G", "1T", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(
            ["90", "90s", "250ms", "10m", "2h"].map(|text| parse_duration(text).map(|time| time.as_millis())),
            [Ok(90_000), Ok(90_000), Ok(250), Ok(600_000), Ok(7_200_000)]
        );
        for text in ["", "0s", "s", "-1s", "1d", "1.5h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
