//! What a detector says: a problem on a subject, with evidence, what it costs, how sure it is and what to do.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{ExecutorId, JobId, RddId, SqlExecutionId, StageKey, TaskId, Unit};
use schemars::JsonSchema;
use serde::Serialize;

use crate::problem::Problem;
use crate::trials::Tried;
use crate::words;

/// How bad a finding is, by the share of wall-clock time at stake and by harm. A finding that is less than 50 % sure is an
/// [`Severity::Info`] whatever is at stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth mending.
    Warning,
    /// Mend it first: much time is lost, or work was lost, or the run failed.
    Critical,
}

impl Severity {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity of a word.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Critical].into_iter().find(|severity| severity.name() == name)
    }
}

/// Harm beyond lost time; it raises the severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Harm {
    /// Time at most.
    #[default]
    None,
    /// The run may fail next time with a little more data: at least a warning.
    RiskOfFailure,
    /// Work was done and lost: at least a warning.
    LostWork,
    /// The run, or a job of it, failed: critical.
    Failure,
}

/// What a finding points at; the ids that apply are set.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct Subject {
    /// `run`, `job`, `stage-attempt`, `task`, `executor`, `host`, `sql-execution`, `rdd`, `streaming-query` or `configuration`.
    pub kind: &'static str,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<u64>,
    /// The stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_id: Option<u64>,
    /// Which attempt of the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_attempt: Option<u32>,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<u64>,
    /// The partition (the task's index in its stage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u64>,
    /// The executor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor_id: Option<String>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The SQL execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql_execution_id: Option<u64>,
    /// The node of its plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_node_id: Option<u64>,
    /// The cached RDD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdd_id: Option<u64>,
    /// The streaming query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming_query_id: Option<String>,
    /// The configuration key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration_key: Option<String>,
    /// What people call it: the stage's call site, the plan node's name, the RDD's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What to call it where the name says nothing (`parquet at NativeMethodAccessorImpl.java:0`): its SQL execution with the
    /// description, or with the top node of the plan (`SQL 5: count at job.py:31`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Subject {
    /// The run.
    pub fn run() -> Self {
        Self { kind: "run", ..Self::default() }
    }

    /// A job.
    pub fn job(id: JobId) -> Self {
        Self { kind: "job", job_id: Some(id.0), ..Self::default() }
    }

    /// A stage attempt.
    pub fn stage(key: StageKey) -> Self {
        Self {
            kind: "stage-attempt",
            stage_id: Some(key.stage_id.0),
            stage_attempt: Some(key.attempt),
            ..Self::default()
        }
    }

    /// A task of a stage attempt.
    pub fn task(key: StageKey, task: TaskId, partition: u64) -> Self {
        Self { kind: "task", task_id: Some(task.0), partition: Some(partition), ..Self::stage(key) }
    }

    /// An executor.
    pub fn executor(id: &ExecutorId) -> Self {
        Self { kind: "executor", executor_id: Some(id.to_string()), ..Self::default() }
    }

    /// A host.
    pub fn host(name: &str) -> Self {
        Self { kind: "host", host: Some(name.to_owned()), ..Self::default() }
    }

    /// A SQL execution, or one node of its plan.
    pub fn sql(id: SqlExecutionId, node: Option<u64>) -> Self {
        Self { kind: "sql-execution", sql_execution_id: Some(id.0), plan_node_id: node, ..Self::default() }
    }

    /// A cached RDD.
    pub fn rdd(id: RddId) -> Self {
        Self { kind: "rdd", rdd_id: Some(id.0), ..Self::default() }
    }

    /// A streaming query.
    pub fn streaming_query(id: &str) -> Self {
        Self { kind: "streaming-query", streaming_query_id: Some(id.to_owned()), ..Self::default() }
    }

    /// A configuration key.
    pub fn configuration(key: &str) -> Self {
        Self { kind: "configuration", configuration_key: Some(key.to_owned()), ..Self::default() }
    }

    /// The subject with the name that people call it by; an empty name is none.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// The subject with a label that says more than its name; `None` leaves the name to be told.
    #[must_use]
    pub fn labelled(mut self, label: Option<String>) -> Self {
        self.label = label;
        self
    }

    /// The subject with the executor it ran on.
    #[must_use]
    pub fn on_executor(mut self, id: &ExecutorId) -> Self {
        self.executor_id = Some(id.to_string());
        self
    }
}

/// A value of evidence.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Value {
    /// A number in the evidence's unit.
    Number(f64),
    /// Text: a reason, a key's value, a plan node.
    Text(String),
}

/// One measured fact behind a finding.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Evidence {
    /// A feature of the catalogue, a key of Spark's configuration, or a name of its own where it is neither: in the style of
    /// the catalogue, with the unit as its end.
    pub feature: String,
    /// What was measured.
    pub value: Value,
    /// Its unit as in the feature's name (`ms`, `bytes`, `count`, `ratio`); empty for text.
    pub unit: &'static str,
    /// The threshold it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// What is typical: the median of its siblings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typical: Option<f64>,
}

impl Evidence {
    /// A number, rounded as [`words::rounded`] does, as are its threshold and what is typical.
    pub fn number(feature: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self {
            feature: feature.into(),
            value: Value::Number(words::rounded(value)),
            unit: unit.symbol(),
            threshold: None,
            typical: None,
        }
    }

    /// Text.
    pub fn text(feature: impl Into<String>, value: impl Into<String>) -> Self {
        Self { feature: feature.into(), value: Value::Text(value.into()), unit: "", threshold: None, typical: None }
    }

    /// The evidence with the threshold it passed.
    #[must_use]
    pub fn over(mut self, threshold: f64) -> Self {
        self.threshold = Some(words::rounded(threshold));
        self
    }

    /// The evidence with what is typical.
    #[must_use]
    pub fn against(mut self, typical: f64) -> Self {
        self.typical = Some(words::rounded(typical));
        self
    }
}

/// What mending a finding would save. This is a first estimate from shares of time, not a replay of the schedule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Savings {
    /// Wall-clock time in ms; null when it cannot be told.
    pub wall_clock_ms: Option<u64>,
    /// Core time in ms: executor cores times time; null when it cannot be told.
    pub core_ms: Option<u64>,
    /// How it was estimated, in one sentence.
    pub how: String,
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Advice {
    /// The advice, with the arithmetic behind every number in it.
    pub text: String,
    /// Configuration to paste; never a setting that already holds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// The labelled runs in which the advice was tried; absent where none were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_run: Option<String>,
    /// What came of it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
    /// Where to read more: the command that explains the rule, or the page of Spark's documentation that explains a setting.
    pub more: String,
}

impl Advice {
    /// Advice in words.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// The advice with a setting to paste.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }
}

/// Which detector found it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Detector {
    /// `rule`, `tree`, `forest` or `history`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// A problem that follows from a finding's and is told with it rather than beside it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Consequence {
    /// The problem.
    pub problem: Problem,
    /// What it says, in one sentence.
    pub summary: String,
    /// Where it shows.
    pub subjects: Vec<Subject>,
}

/// A problem on a subject, with evidence.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// The problem.
    pub problem: Problem,
    /// What found it.
    pub detector: Detector,
    /// What else found it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Detector>,
    /// How bad it is.
    pub severity: Severity,
    /// How sure the detector is that the problem is there, from 0 to 1.
    pub confidence: f64,
    /// One sentence with the numbers that matter.
    pub summary: String,
    /// What it points at first.
    pub subject: Subject,
    /// Further subjects of the same cause.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_subjects: Vec<Subject>,
    /// The measured facts.
    pub evidence: Vec<Evidence>,
    /// What mending it would save.
    pub savings: Savings,
    /// What to do, the most useful first.
    pub advice: Vec<Advice>,
    /// The root cause, where it is known: for failures the exception and the first frame of user code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Problems that follow from this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consequences: Vec<Consequence>,
    /// Harm beyond lost time.
    #[serde(skip)]
    pub harm: Harm,
    /// Keys of the root causes of failures ([`crate::RootCause::key`]): failures that share none are not told as one. Empty
    /// where no failure is told.
    #[serde(skip)]
    pub causes: BTreeSet<String>,
    /// The wall-clock time in ms that the saving takes from each stage attempt, so that findings on one stage can be kept from
    /// saving more than it takes. Empty where the saving is that of the first subject's stage, or not the time of stages.
    #[serde(skip)]
    pub charged: BTreeMap<StageKey, f64>,
}

impl Finding {
    /// A finding of a rule; the detector's name, severity and `more` of the advice are filled in by the caller of the rule.
    pub fn new(problem: Problem, confidence: f64, subject: Subject, summary: impl Into<String>) -> Self {
        Self {
            problem,
            detector: Detector { kind: "rule", name: problem.name().to_owned() },
            also: Vec::new(),
            severity: Severity::Info,
            confidence,
            summary: summary.into(),
            subject,
            more_subjects: Vec::new(),
            evidence: Vec::new(),
            savings: Savings::default(),
            advice: Vec::new(),
            because: None,
            consequences: Vec::new(),
            harm: Harm::None,
            causes: BTreeSet::new(),
            charged: BTreeMap::new(),
        }
    }

    /// All subjects, the first one first.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        std::iter::once(&self.subject).chain(&self.more_subjects)
    }
}
