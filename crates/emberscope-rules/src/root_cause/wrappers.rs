//! The first line of an exception, without what Spark wraps around it.

/// Layers that are taken off a line: Spark nests three or four.
const MAX_LAYERS: usize = 12;

/// Class, condition and message of an exception.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The class in full; empty when the line names none.
    pub(super) class: String,
    /// Spark's error condition.
    pub(super) condition: Option<String>,
    /// The rest of the line.
    pub(super) message: String,
}

/// Messages that say more than the exceptions beneath them, which are only how Spark noticed.
const FINAL: &[&str] =
    &["Python worker exited unexpectedly", "Python worker failed to connect back", "Total size of serialized results"];

/// What stands before the exception in Spark's messages: text up to the end of `after` goes when the line starts so.
const LAYERS: &[(&str, &str)] = &[
    ("Job aborted due to stage failure: ", "Job aborted due to stage failure: "),
    ("Aborting TaskSet ", "Most recent failure: "),
    ("Task ", "most recent failure: "),
    ("Lost task ", "): "),
    ("ShuffleMapStage ", "Most recent failure reason:"),
    ("ResultStage ", "Most recent failure reason:"),
    ("Could not recover from a failed barrier ResultStage", "Most recent failure reason:"),
    ("Exception in thread ", "\" "),
    ("FetchFailed(", "message="),
];

/// Reads the first line of an exception.
pub(super) fn header(line: &str) -> Header {
    let mut rest = line.trim();
    for _ in 0..MAX_LAYERS {
        let layer = LAYERS.iter().find_map(|(start, after)| {
            if !rest.starts_with(start) {
                return None;
            }
            let (_, inner) = rest.split_once(after)?;
            Some(inner.trim_start())
        });
        if let Some(inner) = layer {
            rest = inner;
            continue;
        }
        match split_class(rest) {
            Some((class, message)) if is_wrapper(class, message) => rest = message,
            _ => break,
        }
    }
    if let Some(inner) = rest.strip_prefix("ExecutorLostFailure (") {
        let reason = inner.split_once("Reason: ").map_or_else(|| inner.trim_end_matches(')'), |(_, reason)| reason);
        return Header { class: "ExecutorLostFailure".to_owned(), condition: None, message: reason.trim().to_owned() };
    }
    let (class, message) = split_class(rest).unwrap_or(("", rest));
    let (condition, message) = split_condition(message);
    Header { class: class.to_owned(), condition, message: message.to_owned() }
}

/// An exception of Spark whose message is another layer.
fn is_wrapper(class: &str, message: &str) -> bool {
    class.starts_with("org.apache.spark.")
        && LAYERS.iter().any(|(start, after)| message.starts_with(start) && message.contains(after))
        || class == "py4j.protocol.Py4JJavaError" && message.starts_with(':')
}

impl Header {
    /// Whether no exception beneath it says more.
    pub(super) fn is_final(&self) -> bool {
        // The message of a failed fetch names the block or the host; what is beneath it is only the socket's word.
        (self.class.ends_with("FetchFailedException") && !self.message.is_empty())
            || FINAL.iter().any(|text| self.message.contains(text))
    }

    /// The cause that Spark quotes in the message of `FAILED_EXECUTE_UDF` and its like, else itself.
    pub(super) fn unwrapped(&self) -> Self {
        const QUOTED: &str = " failed due to: ";
        // Spark 4.1 matches an error with cases that have no place for it: `java.lang.OutOfMemoryError: m (of class
        // java.lang.OutOfMemoryError)` is then the message.
        if self.class.ends_with("MatchError")
            && let Some((inner, class)) = self.message.rsplit_once(" (of class ")
            && let Some((first, message)) = split_class(inner)
            && class.trim_end_matches(')') == first
            && is_class(first)
        {
            let (condition, message) = split_condition(message);
            return Self { class: first.to_owned(), condition, message: message.to_owned() };
        }
        let quoted = self.class.starts_with("org.apache.spark.").then(|| self.message.split_once(QUOTED)).flatten();
        match quoted.and_then(|(_, inner)| split_class(inner)) {
            Some((class, message)) => {
                let (condition, message) = split_condition(message);
                Self { class: class.to_owned(), condition, message: message.to_owned() }
            }
            None => self.clone(),
        }
    }
}

/// `java.lang.RuntimeException: message`, `ValueError`, `a.b.C`; `None` where the line does not begin with a class.
fn split_class(line: &str) -> Option<(&str, &str)> {
    let end = line.find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '$'))).unwrap_or(line.len());
    let (class, rest) = line.split_at(end);
    if !is_class(class) {
        return None;
    }
    match rest.trim_start() {
        "" => Some((class, "")),
        rest => Some((class, rest.strip_prefix(':')?.trim())),
    }
}

/// Whether a word is the name of an exception: with a package, or by its ending.
pub(super) fn is_class(word: &str) -> bool {
    let last = word.rsplit('.').next().unwrap_or_default();
    let starts_upper = last.starts_with(|c: char| c.is_uppercase() || c == '_' || c == '$');
    let package = word.contains('.') && !word.ends_with('.') && !word.starts_with('.');
    let ending = ["Error", "Exception", "Exit", "Interrupt", "Warning", "Failure", "Iteration", "Throwable", "Fault"];
    starts_upper && (package || ending.iter().any(|ending| last.ends_with(ending)))
}

/// `[CONDITION] message SQLSTATE: 22012` without brackets and state.
fn split_condition(message: &str) -> (Option<String>, &str) {
    let plain = match message.rfind("SQLSTATE: ") {
        Some(at) if message.len() - at <= 16 => message.get(..at).unwrap_or(message).trim_end(),
        _ => message,
    };
    let found = plain.strip_prefix('[').and_then(|rest| rest.split_once(']')).filter(|(name, _)| {
        !name.is_empty()
            && name.len() <= 120
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_.".contains(&b))
    });
    match found {
        Some((name, rest)) => (Some(name.to_owned()), rest.trim_start()),
        None => (None, plain),
    }
}
