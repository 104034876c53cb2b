//! What file names say.

use std::cmp::Ordering;

/// Suffix of a log that is still written.
const IN_PROGRESS: &str = ".inprogress";
/// Suffix of a compacted part.
const COMPACT: &str = ".compact";
const ROLLING_DIRECTORY: &str = "eventlog_v2_";
const ROLLING_PART: &str = "events_";
const APP_STATUS: &str = "appstatus_";
const DATABRICKS_PART: &str = "eventlog";

/// Ids that a name suggests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameHint {
    /// The application id; `None` when the name has none of a known shape.
    pub application_id: Option<String>,
    /// The attempt id behind it; `None` when there is none.
    pub attempt_id: Option<String>,
}

impl NameHint {
    /// Reads `application_1656321732247_0006_2`, `app-20161116163331-0000`, `local-1430917381535_1`, `spark-<hex>` and the names
    /// of rolling directories and parts made from them.
    pub fn from_name(name: &str) -> Self {
        let name = name.strip_prefix(ROLLING_DIRECTORY).unwrap_or(name);
        let name = rolling_part(name).map_or(name, |part| part.id);
        let Some(length) = application_id_length(name) else {
            return Self::default();
        };
        let (id, rest) = name.split_at(length);
        let attempt = rest.strip_prefix('_').map(|rest| rest.split('.').next().unwrap_or(rest));
        let is_id = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        Self { application_id: Some(id.to_owned()), attempt_id: attempt.filter(is_id).map(str::to_owned) }
    }
}

/// Length of the application id at the front of `name`.
fn application_id_length(name: &str) -> Option<usize> {
    // Each shape: a prefix, and groups of characters with what stands between them.
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let hex = |text: &str| text.bytes().take_while(u8::is_ascii_hexdigit).count();
    let two_numbers = |prefix: &str, between: char| {
        let rest = name.strip_prefix(prefix)?;
        let first = digits(rest);
        let second = digits(rest.get(first..)?.strip_prefix(between)?);
        (first > 0 && second > 0).then_some(prefix.len() + first + 1 + second)
    };
    let one = |prefix: &str, count: &dyn Fn(&str) -> usize, least: usize| {
        let length = count(name.strip_prefix(prefix)?);
        (length >= least).then_some(prefix.len() + length)
    };
    let length = two_numbers("application_", '_')
        .or_else(|| two_numbers("app-", '-'))
        .or_else(|| one("local-", &digits, 10))
        .or_else(|| one("spark-application-", &digits, 10))
        .or_else(|| one("spark-", &hex, 32))?;
    let ends = name.get(length..)?.chars().next().is_none_or(|c| !c.is_ascii_alphanumeric());
    ends.then_some(length)
}

/// Whether the name says that the log is still written.
pub(super) fn is_in_progress(name: &str) -> bool {
    name.ends_with(IN_PROGRESS)
}

/// Whether a directory is a rolling log by its name.
pub(super) fn is_rolling_directory(name: &str) -> bool {
    name.starts_with(ROLLING_DIRECTORY)
}

/// A part of a rolling log, `events_<index>_<id>[.codec][.compact]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RollingPart<'a> {
    pub(super) index: u64,
    /// Application and attempt, without codec.
    pub(super) id: &'a str,
    pub(super) compact: bool,
}

pub(super) fn rolling_part(name: &str) -> Option<RollingPart<'_>> {
    let (index, id) = name.strip_prefix(ROLLING_PART)?.split_once('_')?;
    if index.is_empty() || !index.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let index = index.parse().ok()?;
    // Spark takes periods out of ids, so that what follows the first is codec and suffix.
    let bare = id.split('.').next().unwrap_or(id);
    Some(RollingPart { index, id: bare, compact: id.ends_with(COMPACT) })
}

/// The id of an `appstatus_<id>[.inprogress]` file.
pub(super) fn app_status(name: &str) -> Option<&str> {
    let id = name.strip_prefix(APP_STATUS)?;
    Some(id.strip_suffix(IN_PROGRESS).unwrap_or(id))
}

/// A part of a Databricks roll-over directory, in reading order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DatabricksPart<'a> {
    /// `eventlog-2021-06-15--15-00[.gz]`: the time in it.
    Dated(&'a str),
    /// `eventlog[.gz]`, which is still written or was when the cluster ended.
    Undated,
}

pub(super) fn databricks_part(name: &str) -> Option<DatabricksPart<'_>> {
    const SHAPE: &[u8] = b"dddd-dd-dd--dd-dd";
    let rest = name.strip_prefix(DATABRICKS_PART)?;
    if rest.is_empty() || is_codec_suffix(rest) {
        return Some(DatabricksPart::Undated);
    }
    let (time, suffix) = rest.strip_prefix('-')?.split_at_checked(SHAPE.len())?;
    let fits = time.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        other => byte == *other,
    });
    (fits && (suffix.is_empty() || is_codec_suffix(suffix))).then_some(DatabricksPart::Dated(time))
}

fn is_codec_suffix(suffix: &str) -> bool {
    matches!(suffix, ".gz" | ".zst" | ".zstd" | ".lz4" | ".snappy" | ".lzf")
}

/// Whether a file is none of the log's: hidden, a checksum, a marker.
pub(super) fn is_ignored(name: &str) -> bool {
    let crc = std::path::Path::new(name).extension().is_some_and(|extension| extension == "crc");
    name.is_empty() || name.starts_with('.') || crc || name == "_SUCCESS" || name == "__MACOSX"
}

/// The order in which people number things: `part2` before `part10`. Total: names that differ are never equal.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    loop {
        match (left.first(), right.first()) {
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, rest_x) = number(left);
                let (y, rest_y) = number(right);
                let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
                if order != Ordering::Equal {
                    return order;
                }
                (left, right) = (rest_x, rest_y);
            }
            (Some(x), Some(y)) if x == y => {
                left = left.get(1..).unwrap_or_default();
                right = right.get(1..).unwrap_or_default();
            }
            (x, y) => {
                let order = x.cmp(&y);
                return if order == Ordering::Equal { a.cmp(b) } else { order };
            }
        }
    }
}

/// The digits at the front without leading zeros, and what follows.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    (digits.get(zeros..).unwrap_or_default(), rest)
}
