//! Import issues: trouble in reading, registered and counted, so that what was lost reaches every report.

use std::collections::BTreeMap;

use serde::Serialize;

/// How bad an import issue is for what the diagnosis says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IssueSeverity {
    /// Nothing that counts was lost.
    Info,
    /// Something was lost, and said how much.
    Warning,
    /// So much was lost that the diagnosis may be wrong.
    Error,
}

macro_rules! issue_codes {
    ($($variant:ident $name:literal $severity:ident $meaning:literal),+ $(,)?) => {
        /// What went wrong in reading.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum IssueCode {
            $(#[doc = $meaning] $variant),+
        }

        impl IssueCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in JSON and reports.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// How bad it is.
            pub fn severity(self) -> IssueSeverity {
                match self { $(Self::$variant => IssueSeverity::$severity),+ }
            }

            /// What it means for the reader of the report.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

issue_codes! {
    UnknownEvent "unknown-event" Info "An event of a kind that is not known; it was counted and passed over.",
    MalformedLine "malformed-line" Warning "A line is not a JSON event; what it said is lost.",
    MalformedEvent "malformed-event" Warning "An event lacks fields that it cannot be understood without; it is lost.",
    CutLine "cut-line" Warning "The log ends in the middle of a line: the run was still writing, or the file was cut.",
    LineTooLong "line-too-long" Warning "A line is longer than the limit; it was passed over.",
    TruncatedStream "truncated-stream" Warning "Compressed data end in the middle of a frame: the run was still writing, or the file was cut.",
    CorruptStream "corrupt-stream" Error "Compressed data are damaged; what the damaged part held is lost.",
    LimitReached "limit-reached" Error "A limit that protects memory was reached; what came after it was not read.",
    MissingPart "missing-part" Error "A part of a rolling log is missing; its events are lost.",
    UnreadablePart "unreadable-part" Error "A part of the log could not be opened; its events are lost.",
    CompactedLog "compacted-log" Info "The History Server compacted this log: events of finished jobs may have been removed.",
    TaskWithoutStart "task-without-start" Info "A task ended that was never seen to start.",
    TaskOfUnknownStage "task-of-unknown-stage" Warning "A task belongs to a stage that was never submitted in this log.",
    DuplicateTaskEnd "duplicate-task-end" Info "A task ended more than once; the later end was counted and passed over.",
    DroppedEvents "dropped-events" Warning "Tasks have no end although their stage is complete: the driver dropped events.",
    NoApplicationStart "no-application-start" Info "The log has no start of the application: its name and id are not known.",
    NoApplicationId "no-application-id" Info "The start of the application names no id: the run cannot be told from others by it.",
    NoApplicationEnd "no-application-end" Info "The log has no end of the application: it was still running, or it died.",
    NoEnvironment "no-environment" Info "The log has no environment, or one without Spark's properties: what was configured is not known.",
    MixedApplications "mixed-applications" Warning "The log has events of more than one application start.",
    ImplausibleTimes "implausible-times" Warning "The times in the log lie more than a year apart: a clock was wrong, or times of several runs were mixed. The length of the run, and every share of it, is doubtful.",
    UnreadableTrace "unreadable-trace" Warning "A trace, or a stream of one, could not be read to its end; what it told after that is lost.",
    TraceEventsLost "trace-events-lost" Warning "A tracer could not keep up and discarded events: tasks of that time have no kernel features.",
    TraceWithoutTasks "trace-without-tasks" Warning "A folder of traces has no events of Emberscope's Spark plugin: which thread ran which task is not known, and the traces were not used.",
    TraceWithoutClock "trace-without-clock" Warning "The clock of a trace cannot be brought together with the others; it was not used.",
    TraceOfOtherApplication "trace-of-other-application" Info "Traced tasks are of another application; they were passed over.",
    TooManyIds "too-many-ids" Error "More ids than the limit; those beyond it were not tracked.",
}

impl Serialize for IssueCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One kind of trouble and how often it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportIssue {
    /// What went wrong.
    pub code: IssueCode,
    /// How bad it is.
    pub severity: IssueSeverity,
    /// How often.
    pub count: u64,
    /// Where it came first: `path:line` for a line of an event log, `path: byte n` for compressed data.
    pub first_at: Option<String>,
    /// What it means, with the detail of the first case.
    pub meaning: String,
}

/// All import issues of a run, one entry a code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportIssues {
    by_code: BTreeMap<IssueCode, ImportIssue>,
}

impl ImportIssues {
    /// Counts an issue; position and detail are kept of the first of its code.
    pub fn add(&mut self, code: IssueCode, at: impl FnOnce() -> Option<String>, detail: impl FnOnce() -> String) {
        self.add_many(code, 1, at, detail);
    }

    /// Counts `count` issues of one code at once; none when it is 0.
    pub fn add_many(
        &mut self,
        code: IssueCode,
        count: u64,
        at: impl FnOnce() -> Option<String>,
        detail: impl FnOnce() -> String,
    ) {
        if count == 0 {
            return;
        }
        let issue = self.by_code.entry(code).or_insert_with(|| {
            let detail = detail();
            let meaning = if detail.is_empty() {
                code.meaning().to_owned()
            } else {
                format!("{} First: {detail}.", code.meaning())
            };
            ImportIssue { code, severity: code.severity(), count: 0, first_at: at(), meaning }
        });
        issue.count = issue.count.saturating_add(count);
    }

    /// The issues, by code.
    pub fn iter(&self) -> impl Iterator<Item = &ImportIssue> {
        self.by_code.values()
    }

    /// How often a code came.
    pub fn count(&self, code: IssueCode) -> u64 {
        self.by_code.get(&code).map_or(0, |issue| issue.count)
    }

    /// Whether nothing went wrong.
    pub fn is_empty(&self) -> bool {
        self.by_code.is_empty()
    }
}
