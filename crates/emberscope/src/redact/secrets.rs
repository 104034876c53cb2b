//! What a run names of people, places and data.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{PlanNode, Run};

use super::{Kind, forms};

/// Shorter table names of one word are common words, and are left alone.
const TABLE_WORD: usize = 5;
/// Shorter literals of a statement say nothing by themselves.
const LITERAL: usize = 3;

/// Every secret of a run by its text; a text that is several things is the first of them.
pub(super) fn of_run(run: &Run) -> Secrets {
    let mut secrets = Secrets::default();
    let settings = |key: &str| run.environment.spark.get(key);
    secrets.add_all(Kind::Application, [run.application.name.as_deref(), settings("spark.app.name")]);
    let system = |key: &str| run.environment.system.get(key).map(String::as_str);
    secrets.add_all(Kind::User, [run.application.user.as_deref(), system("user.name"), system("SPARK_USER")]);
    secrets.add_all(Kind::Path, [system("user.home"), system("user.dir")]);
    for operation in run.connect_operations.values() {
        secrets.add_all(Kind::User, [operation.user.as_deref()]);
        secrets.statement(operation.statement.as_deref().unwrap_or_default());
    }
    secrets.add_all(Kind::Host, run.host_names.iter().map(|host| Some(host.as_str())));
    secrets.add_all(Kind::Host, run.executors.values().map(|executor| executor.host.as_deref()));
    secrets.add_all(Kind::Host, ["spark.driver.host", "spark.driver.bindAddress"].map(settings));
    secrets.add_all(Kind::Host, [settings("spark.master").and_then(host_of_url)]);
    for source in &run.sources {
        secrets.add(Kind::Path, &source.path);
    }
    for sql in run.sql_executions.values() {
        secrets.statement(&sql.description);
        for node in sql.nodes() {
            secrets.plan_node(node);
        }
    }
    for job in run.jobs.values() {
        secrets.statement(job.description.as_deref().unwrap_or_default());
        secrets.statement(job.group.as_deref().unwrap_or_default());
    }
    for query in run.streaming_queries.values() {
        secrets.add_all(Kind::Query, [query.name.as_deref()]);
        for batch in query.batches.values() {
            secrets.add_all(Kind::Source, [batch.sink.as_deref()]);
            secrets.add_all(Kind::Source, batch.sources.iter().map(|source| Some(source.description.as_str())));
        }
    }
    for rdd in run.rdds.values() {
        if let Some(table) = rdd.name.strip_prefix("In-memory table ") {
            secrets.table(table);
        } else if !rdd.name.ends_with("RDD") {
            // Spark calls an RDD by its class; whatever else it is called, somebody wrote it.
            secrets.add(Kind::Table, &rdd.name);
        }
    }
    secrets.program(run);
    secrets
}

/// Secrets by their text.
#[derive(Default)]
pub(super) struct Secrets {
    pub(super) values: BTreeMap<String, Kind>,
    /// Columns that are common words: they are secrets where a text speaks of the keys of a join.
    pub(super) words: BTreeSet<String>,
}

impl Secrets {
    pub(super) fn add(&mut self, kind: Kind, value: &str) {
        let value = value.trim();
        if !value.is_empty() {
            self.values.entry(value.to_owned()).or_insert(kind);
        }
    }

    fn add_all<'a>(&mut self, kind: Kind, values: impl IntoIterator<Item = Option<&'a str>>) {
        values.into_iter().flatten().for_each(|value| self.add(kind, value));
    }

    /// SQL text, or whatever a user wrote to describe a job; a call site (`count at Main.scala:12`) is neither.
    fn statement(&mut self, text: &str) {
        if is_call_site(text) {
            return;
        }
        self.add(Kind::Sql, text);
        // As one line, which is how sentences quote it.
        self.add(Kind::Sql, &text.split_whitespace().collect::<Vec<_>>().join(" "));
        // A condition may be quoted without the statement: its literals are people and places most of all.
        let literals = text.split('\'').skip(1).step_by(2).filter(|literal| literal.trim().len() >= LITERAL);
        literals.for_each(|literal| self.add(Kind::Sql, literal));
    }

    fn table(&mut self, name: &str) {
        let name = name.trim().trim_matches('`');
        if name.contains('.') || name.len() >= TABLE_WORD {
            self.add(Kind::Table, name);
        }
    }

    /// A column, if it cannot be taken for a common word: sentences quote columns without their numbers.
    fn column(&mut self, name: &str) {
        let name = name.rsplit('.').next().unwrap_or(name);
        let joined = name.trim_matches('_').contains('_') || name.chars().skip(1).any(char::is_uppercase);
        if joined && !name.starts_with('_') {
            self.add(Kind::Column, name);
        } else if !name.is_empty() {
            self.words.insert(name.to_owned());
        }
    }

    fn plan_node(&mut self, node: &PlanNode) {
        // `Scan parquet db.table`, `Scan hive db.table`, `BatchScan catalog.db.table`.
        let mut words = node.name.split_whitespace();
        let table = match words.next() {
            Some("Scan") => words.nth(1),
            Some("BatchScan") => words.next(),
            _ => None,
        };
        if let Some(table) = table {
            self.table(table);
        }
        // Names in back quotes, as commands write them.
        node.description.split('`').skip(1).step_by(2).for_each(|name| self.table(name));
        self.functions(node);
        let mut columns = Vec::new();
        forms::columns(&node.description, &mut columns);
        for column in columns {
            self.column(node.description.get(column.start..column.end).unwrap_or_default());
        }
        if let Some(location) = node.metadata.get("Location")
            && let Some((_, paths)) = location.split_once('[')
        {
            for path in paths.trim_end_matches(']').split(", ") {
                self.add(Kind::Path, path);
            }
        }
    }
}

/// `count at Main.scala:12`: a method and where it was called.
fn is_call_site(text: &str) -> bool {
    let Some((method, place)) = text.trim().split_once(" at ") else { return false };
    let line = place.rsplit_once(':').map(|(_, line)| line);
    !method.contains(char::is_whitespace)
        && !place.contains(char::is_whitespace)
        && line.is_some_and(|line| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The host of `spark://host:7077`.
fn host_of_url(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', ',']).next()?;
    Some(authority.split(':').next().unwrap_or(authority)).filter(|host| !host.is_empty())
}
