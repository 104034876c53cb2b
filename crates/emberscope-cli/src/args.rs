//! The arguments, from which help and completions are made.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use emberscope::Problem;

/// Finds what is wrong with Apache Spark runs, what it costs them, and what to change.
#[derive(Debug, Parser)]
#[command(
    name = "emberscope",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Examples:
  emberscope diagnose /var/log/spark/application_1700000000000_0042.zstd
  emberscope diagnose --format json --fail-on critical eventlog_v2_app-1/ > diagnosis.json
  emberscope rule data-skew

Exit codes: 0 nothing at or over --fail-on, 1 findings at or over it, 2 could not do it."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Diagnose(Diagnose),
    #[cfg(feature = "tables")]
    Extract(Extract),
    Record(crate::record::Record),
    Train(Train),
    Evaluate(Evaluate),
    Calibrate(Calibrate),
    /// Explains a rule: what it looks for, its thresholds, what to do; without a name lists them all
    #[command(after_help = "Examples:
  emberscope rule
  emberscope rule data-skew")]
    Rule {
        /// The rule's name, which is that of the problem it finds
        name: Option<String>,
    },
    /// Explains a feature: a column of the feature tables; without a name lists them all
    #[command(after_help = "Examples:
  emberscope feature task_duration_p50_ms
  emberscope feature jobs.task_duration_sum_ms
  emberscope feature executors")]
    Feature {
        /// The feature's name, alone or behind its table's (jobs.job_duration_ms); or a table's name, for its features
        name: Option<String>,
    },
    /// Explains a problem of the vocabulary; without a name lists them all
    #[command(after_help = "Examples:
  emberscope problem
  emberscope problem executor-oom")]
    Problem {
        /// The problem's name
        name: Option<String>,
    },
    /// Prints the JSON schema of what `diagnose --format json` writes
    #[command(after_help = "Examples:
  emberscope schema > diagnosis.schema.json
  emberscope schema report > report.schema.json")]
    Schema {
        /// For one run, or for several
        #[arg(value_enum, default_value_t = Schema::Diagnosis)]
        of: Schema,
    },
    /// Prints a completion script
    #[command(after_help = "Example:
  emberscope completions bash > /etc/bash_completion.d/emberscope")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Writes the pages of documentation that are made from the registries
    #[command(hide = true)]
    Docs {
        /// Writes nothing, and fails when a page is not what would be written
        #[arg(long)]
        check: bool,
        /// The folder of the documentation
        dir: PathBuf,
    },
}

/// Says what is wrong with runs: findings in the order of time saved, with evidence and advice
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  emberscope diagnose app.zstd
  emberscope diagnose eventlog_v2_application_1_0001/ other.gz history-server.zip
  emberscope diagnose --only data-skew,small-files logs/
  emberscope diagnose --format markdown --out comment.md --fail-on warning app.zstd
  zstdcat app.zstd | emberscope diagnose --redact --format json -
  emberscope diagnose --trace run/ run/eventlog

Configuration (TOML):
  disabled = [\"poor-locality\"]
  fail_on = \"critical\"
  [rules.data-skew]
  task_factor = 4
Thresholds are those that `emberscope rule NAME` lists.

JSON: of one input that holds one run, its diagnosis (`emberscope schema diagnosis`); of several runs, or of a run \
beside inputs that could not be read, one object with `diagnoses` and `unreadable` (`emberscope schema report`).

--redact replaces by tokens (host-1a2b3c4d), in every format:
- names of applications, users, hosts, streaming queries, tables and columns (join keys too)
- paths, URLs, IPv4 addresses, SQL text and its literals
- source files, classes, methods and user-defined functions of the program, and what exceptions say
It keeps ids, numbers, times, Spark's operators and settings, and the exception classes and frames of Java, Scala, \
Spark and Python. The same name has the same token in every run, so that outputs can be compared. A token is a hash \
without a key: whoever can guess a name can confirm it by hashing it. Messages on stderr are not redacted.")]
pub(crate) struct Diagnose {
    /// Event logs: files of any framing, eventlog_v2_* directories, Databricks roll-over directories, zip archives,
    /// directories of many runs, or - for standard input
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Where to write it instead of standard output; an old file is replaced when the new one is complete
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
    /// Exit with 1 when a finding is of this severity or a higher one
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(crate) fail_on: Option<Severity>,
    /// Look for these problems only; several are separated by commas
    #[arg(long, value_name = "PROBLEM,...", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Replace names of applications, users, hosts, paths, tables, columns, functions and source files, SQL text and what
    /// exceptions say by stable tokens (see below)
    #[arg(long)]
    pub(crate) redact: bool,
    /// Thresholds, and which problems to look for (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    /// Traces of a host that ran the application, as `emberscope record` leaves them: what the operating system did to each task;
    /// once for each host
    #[arg(long, value_name = "DIR")]
    pub(crate) trace: Vec<PathBuf>,
    /// Threads to use [default: EMBERSCOPE_THREADS, else one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// Which models look beside the rules.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct ModelArgs {
    /// Use the models of this folder, as `emberscope train` wrote it, instead of those built in
    #[arg(long, value_name = "DIR", conflicts_with = "no_models")]
    pub(crate) models: Option<PathBuf>,
    /// Use rules alone
    #[arg(long)]
    pub(crate) no_models: bool,
}

/// Writes feature tables: one row a task, stage attempt, executor, job, SQL execution, plan node, micro-batch, run
#[cfg(feature = "tables")]
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  emberscope extract --out tables/ app.zstd
  emberscope extract --out tables/ --tables tasks,stage_attempts --format csv logs/

`emberscope feature` says what the columns mean.")]
pub(crate) struct Extract {
    /// Event logs, as for `diagnose`
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// The folder for the files, one a table; files of the same names are replaced when the new ones are complete
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Write these tables only; several are separated by commas
    #[arg(long, value_name = "TABLE,...", value_delimiter = ',')]
    pub(crate) tables: Vec<String>,
    /// How to write them
    #[arg(long, value_enum, default_value_t = TableFormat::Parquet)]
    pub(crate) format: TableFormat,
    /// Traces of a host that ran the applications, as for `diagnose`; they fill the columns os_* of tasks
    #[arg(long, value_name = "DIR")]
    pub(crate) trace: Vec<PathBuf>,
    /// Threads to use [default: EMBERSCOPE_THREADS, else one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// Trains models on labelled runs: a tree for each problem, and a forest for what is unlike healthy runs
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  emberscope train --labels datasets/lab/labels.jsonl --split training --out models/
  emberscope diagnose --models models/ app.zstd

Writes trees.json, anomalies.json, manifest.json and card.md, which says what the models are worth on workload families that they did not
see, and how they decide. Equal runs and an equal seed give equal bytes. Labels are as for `emberscope evaluate`.")]
pub(crate) struct Train {
    /// The labels, one JSON object a line; their logs lie beside the file
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: PathBuf,
    /// Learn from these feature tables, as `emberscope extract` writes them, instead of the logs
    #[arg(long, value_name = "DIR")]
    pub(crate) features: Option<PathBuf>,
    /// Only the runs of this part of the set
    #[arg(long, value_name = "NAME")]
    pub(crate) split: Option<String>,
    /// The folder for the models; files of the same names are replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// What learns the models of the problems; the card compares all of them
    #[arg(long, value_enum, default_value_t = Learner::Best)]
    pub(crate) learner: Learner,
    /// Judge only the learners that may be used, which takes a part of the time; the card has no figures of the others
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write each model as ONNX too, into the folder `onnx` beside them. A missing value of the isolation forest goes one way there, and both
    /// ways here: its scores are equal where nothing is missing
    #[arg(long)]
    pub(crate) onnx: bool,
    /// Write each decision tree as a graph for Graphviz too, into the folder `dot` beside them
    #[arg(long)]
    pub(crate) dot: bool,
    /// Seed of all that is drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Share of healthy runs that the forests of what is usual may flag, above 0 and below 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = share)]
    pub(crate) false_alarms: f64,
    /// Threads to use [default: EMBERSCOPE_THREADS, else one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// Learners there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Learner {
    /// One decision tree a problem, or a random forest where that is better by far on families that it did not see
    Best,
    /// One decision tree a problem, at most four deep
    Tree,
    /// A random forest of decision trees
    Forest,
    /// The decision tree of linfa-trees
    LinfaTree,
    /// The random forest of smartcore
    SmartcoreForest,
}

impl Learner {
    /// The learner; `None` for the best one.
    pub(crate) fn one(self) -> Option<emberscope::models::Learner> {
        use emberscope::models::Learner as Known;
        match self {
            Self::Best => None,
            Self::Tree => Some(Known::Tree),
            Self::Forest => Some(Known::Forest),
            Self::LinfaTree => Some(Known::LinfaTree),
            Self::SmartcoreForest => Some(Known::SmartcoreForest),
        }
    }
}

/// Says how good the findings are on labelled runs: precision, recall and F1 of each problem, every miss and false alarm
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  emberscope evaluate --labels datasets/lab/labels.jsonl --split judged
  emberscope evaluate --labels labels.jsonl --at warning --format json
  emberscope evaluate --labels labels.jsonl --features tables/ --models my-models/

Labels are one JSON object a line: {\"run\", \"log\" (relative to the file), \"family\", \"split\", \"problems\": [{\"problem\",
\"strength\": 1 to 4, \"subjects\"}], \"did_not_take\": [problem]}. Strength 1 is on the curve and counts neither way.")]
pub(crate) struct Evaluate {
    #[command(flatten)]
    pub(crate) labelled: Labelled,
    /// How to write it
    #[arg(long, value_enum, default_value_t = EvaluationFormat::Text)]
    pub(crate) format: EvaluationFormat,
    /// Where to write it instead of standard output; an old file is replaced when the new one is complete
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) models: ModelArgs,
    /// Judge models alone, by feature tables (Parquet) that `emberscope extract` wrote, instead of logs
    #[arg(long, value_name = "DIR", conflicts_with_all = ["no_models", "at", "config"])]
    pub(crate) features: Option<PathBuf>,
}

/// Shows what every value of a rule's thresholds would find on labelled runs: the curves that thresholds are set from
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  emberscope calibrate --labels datasets/lab/labels.jsonl --split training
  emberscope calibrate --labels labels.jsonl --only data-skew,gc-pressure

One threshold is moved at a time, from 0 to 8 times its value. Labels are as for `emberscope evaluate`.")]
pub(crate) struct Calibrate {
    #[command(flatten)]
    pub(crate) labelled: Labelled,
    /// How to write it
    #[arg(long, value_enum, default_value_t = CurveFormat::Text)]
    pub(crate) format: CurveFormat,
    /// Only the thresholds of these problems' rules, separated by commas
    #[arg(long, value_name = "PROBLEM,...", value_delimiter = ',', value_parser = emberscope::problem)]
    pub(crate) only: Vec<Problem>,
}

/// Which labelled runs are looked at, and how.
#[derive(Debug, ClapArgs)]
pub(crate) struct Labelled {
    /// The labels, one JSON object a line; their logs lie beside the file
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: PathBuf,
    /// Only the runs of this part of the set
    #[arg(long, value_name = "NAME")]
    pub(crate) split: Option<String>,
    /// Only the runs of these workload families, separated by commas
    #[arg(long, value_name = "FAMILY", value_delimiter = ',')]
    pub(crate) family: Vec<String>,
    /// Findings below this severity do not count [default: info]
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(crate) at: Option<Severity>,
    /// Thresholds, and which problems to look for (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Threads to use [default: EMBERSCOPE_THREADS, else one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// How figures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EvaluationFormat {
    /// For a terminal
    Text,
    /// For programs
    Json,
    /// A page with the curves
    Html,
}

/// How curves of thresholds are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CurveFormat {
    /// For a terminal
    Text,
    /// For programs
    Json,
}

/// How tables are written.
#[cfg(feature = "tables")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// Apache Parquet
    Parquet,
    /// Comma-separated values, null is empty
    Csv,
    /// Arrow IPC
    Arrow,
    /// One JSON object a line
    Ndjson,
}

#[cfg(feature = "tables")]
impl From<TableFormat> for emberscope::tables::Format {
    fn from(format: TableFormat) -> Self {
        match format {
            TableFormat::Parquet => Self::Parquet,
            TableFormat::Csv => Self::Csv,
            TableFormat::Arrow => Self::Arrow,
            TableFormat::Ndjson => Self::Ndjson,
        }
    }
}

/// How a diagnosis is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a terminal
    Text,
    /// For programs; see `emberscope schema`
    Json,
    /// For a pull request
    Markdown,
}

/// Severities, as clap lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Severity {
    Info,
    Warning,
    Critical,
}

impl From<Severity> for emberscope::Severity {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }
}

/// Schemas there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Schema {
    /// What is written for one run
    Diagnosis,
    /// What is written for several runs
    Report,
}

/// A share above 0 and below 1.
fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if share > 0.0 && share < 1.0 { Ok(share) } else { Err("not above 0 and below 1".to_owned()) }
}
