//! Physical plans as rules read them: what each node does, its rows and sizes, its joins and scans, and the stages that
//! ran it.
//!
//! Names of nodes and metrics are those of `org.apache.spark.sql.execution` from Spark 2 on. The nodes of the RAPIDS
//! accelerator (`Gpu...`) and of Photon (`Photon...`) count as their CPU forms where they mean the same.

mod cost;
mod join;
mod operator;
mod scan;
mod signature;

use std::collections::BTreeSet;

use emberscope_run::{AccumulatorId, PlanNode, Run, SqlExecution, Unit};

use crate::finding::{Evidence, Finding, Subject};
use crate::rule::Outcome;

pub(crate) use cost::{Cost, SqlStages};
pub(crate) use join::{Join, Side};
pub(crate) use operator::{Operator, PythonTransport, canonical, keeps_rows, operator};
pub(crate) use scan::Scan;
pub(crate) use signature::{Likeness, Part, normalised, signatures};

/// The plan of a SQL execution with the way back from a node to the one that reads it.
#[derive(Debug, Clone)]
pub(crate) struct Plan<'a> {
    /// The execution.
    pub(crate) execution: &'a SqlExecution,
    /// The nodes that this execution ran, in pre-order: nothing below a reused exchange or a command that had run before.
    nodes: Vec<(&'a PlanNode, Option<usize>)>,
}

impl<'a> Plan<'a> {
    /// The plan of an execution; without nodes when it has none.
    pub(crate) fn of(execution: &'a SqlExecution) -> Self {
        let mut nodes = Vec::new();
        let mut open: Vec<(&PlanNode, Option<usize>)> = execution.plan.iter().map(|root| (root, None)).collect();
        while let Some((node, parent)) = open.pop() {
            let index = nodes.len();
            nodes.push((node, parent));
            if !matches!(operator(node), Operator::Reused) {
                open.extend(node.children.iter().rev().map(|child| (child, Some(index))));
            }
        }
        Self { execution, nodes }
    }

    /// Its nodes in pre-order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &'a PlanNode> + '_ {
        self.nodes.iter().map(|&(node, _)| node)
    }

    /// The nodes above a node, the nearest first.
    pub(crate) fn above(&self, node: &PlanNode) -> impl Iterator<Item = &'a PlanNode> + '_ {
        let start = self.nodes.iter().position(|&(candidate, _)| std::ptr::eq(candidate, node));
        let mut next = start.and_then(|index| self.nodes.get(index)?.1);
        std::iter::from_fn(move || {
            let &(node, parent) = self.nodes.get(next?)?;
            next = parent;
            Some(node)
        })
    }

    /// The accumulators by which the stages of a node are told: its own, else those of the nearest nodes of its stage
    /// (Spark before 3.4 gave Python nodes no metrics).
    pub(crate) fn accumulators_near(&self, node: &PlanNode) -> BTreeSet<AccumulatorId> {
        let own = accumulators(node);
        if !own.is_empty() {
            return own;
        }
        let mut ring: Vec<&PlanNode> = node.children.iter().collect();
        while !ring.is_empty() {
            ring.retain(|node| !matches!(operator(node), Operator::Exchange | Operator::Broadcast | Operator::Reused));
            let found: BTreeSet<AccumulatorId> = ring.iter().flat_map(|node| accumulators(node)).collect();
            if !found.is_empty() {
                return found;
            }
            ring = ring.iter().flat_map(|node| &node.children).collect();
        }
        for above in self.above(node) {
            if matches!(operator(above), Operator::Exchange | Operator::Broadcast) {
                break;
            }
            let found = accumulators(above);
            if !found.is_empty() {
                return found;
            }
        }
        BTreeSet::new()
    }
}

/// The plans of a run's SQL executions, in order of their ids.
pub(crate) fn plans(run: &Run) -> Vec<Plan<'_>> {
    run.sql_executions.values().filter(|execution| execution.plan.is_some()).map(Plan::of).collect()
}

/// What a rule over plans says when it cannot look: nothing to find in a run without SQL, else what is missing. `None` when
/// it can look.
pub(crate) fn unable(run: &Run) -> Option<Outcome> {
    let mut plans = run.sql_executions.values().filter_map(|execution| execution.plan.as_ref()).peekable();
    if plans.peek().is_none() {
        // Spark writes SQL executions to its log from 2.0 on.
        let would_tell =
            run.sql_executions.is_empty() && run.application.spark_major_minor().is_some_and(|v| v >= (2, 0));
        return Some(if would_tell { Outcome::Clear } else { Outcome::missing("SQL plans (the log has none)") });
    }
    let measured = |plan: &PlanNode| plan.nodes().iter().any(|node| node.metrics.iter().any(|m| m.value.is_some()));
    (!plans.any(measured)).then(|| Outcome::missing("plan metrics (no SQL metric was updated in the log)"))
}

/// The subjects of a cause beyond the first, at most ten, and the number of all of them as evidence where there are more.
pub(crate) fn more_subjects(finding: &mut Finding, all: impl Iterator<Item = Subject>) {
    let mut subjects: Vec<Subject> = Vec::new();
    let mut count = 1_u64;
    for subject in all {
        count += 1;
        if subjects.len() < 10 {
            subjects.push(subject);
        }
    }
    if count > 11 {
        finding.evidence.push(Evidence::number("subjects_count", count as f64, Unit::Count));
    }
    finding.more_subjects = subjects;
}

/// A node's accumulators.
pub(crate) fn accumulators(node: &PlanNode) -> BTreeSet<AccumulatorId> {
    node.metrics.iter().map(|metric| metric.accumulator_id).collect()
}

/// Accumulators of a node and all below it.
pub(crate) fn accumulators_below(node: &PlanNode) -> BTreeSet<AccumulatorId> {
    node.nodes().iter().flat_map(|node| accumulators(node)).collect()
}

/// The value of a metric by Spark 3's name; `None` when the node has none of that name, it was never updated, or Spark's
/// `-1` for "not known" stands in it.
pub(crate) fn metric(node: &PlanNode, name: &str) -> Option<u64> {
    let found = node.metrics.iter().find(|metric| plain_name(&metric.name) == name)?;
    u64::try_from(found.value?).ok()
}

/// A time of a node in ms, whichever unit its metric is in; `None` as in [`metric`].
pub(crate) fn metric_ms(node: &PlanNode, name: &str) -> Option<f64> {
    let found = node.metrics.iter().find(|metric| plain_name(&metric.name) == name)?;
    let value = u64::try_from(found.value?).ok()? as f64;
    Some(if found.kind == "nsTiming" { value / 1e6 } else { value })
}

/// Spark 2 wrote units and statistics into the names: `time to build (ms)`, `data size total (min, med, max)`.
pub(crate) fn plain_name(name: &str) -> &str {
    let name = name.strip_suffix(" (min, med, max)").unwrap_or(name);
    let name = name.strip_suffix(" total").unwrap_or(name);
    let name = name.strip_suffix(" (ms)").or_else(|| name.strip_suffix(" (bytes)")).unwrap_or(name);
    name.trim()
}

/// Rows that a node itself says it put out.
pub(crate) fn own_rows(node: &PlanNode) -> Option<u64> {
    let written = || metric(node, "shuffle records written").filter(|_| operator(node) == Operator::Exchange);
    metric(node, "number of output rows")
        .or_else(|| metric(node, "join output rows"))
        .or_else(|| metric(node, "output rows"))
        .or_else(written)
}

/// Rows that come out of a node: its own figure, or that of the nearest node below that hands on every row.
pub(crate) fn rows(node: &PlanNode) -> Option<u64> {
    let mut node = node;
    loop {
        if let Some(rows) = own_rows(node) {
            return Some(rows);
        }
        if !keeps_rows(node) {
            return None;
        }
        node = input(node)?;
    }
}

/// The one real input of a node: its first child that is no subquery.
pub(crate) fn input(node: &PlanNode) -> Option<&PlanNode> {
    inputs(node).next()
}

/// The real inputs of a node: its children without the subqueries that Spark lists among them.
pub(crate) fn inputs(node: &PlanNode) -> impl Iterator<Item = &PlanNode> {
    node.children
        .iter()
        .filter(|child| !canonical(&child.name).starts_with("Subquery") && child.name != "ReusedSubquery")
}

/// What people call the data below a node: the tables or paths of its scans, at most three.
pub(crate) fn data_name(node: &PlanNode) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for name in node.nodes().into_iter().filter_map(Scan::of).map(Scan::name) {
        // A scan of objects or an RDD has no name of its own.
        if !names.contains(&name) && name != "Scan" && !name.starts_with("Scan ExistingRDD") {
            names.push(name);
        }
    }
    let more = names.len().saturating_sub(3);
    names.truncate(3);
    match (names.is_empty(), more) {
        (true, _) => None,
        (_, 0) => Some(names.join(", ")),
        _ => Some(format!("{} and {more} more", names.join(", "))),
    }
}

/// The columns that an expression names (`k#12L` gives `k`), in order, each once.
pub(crate) fn columns(expression: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let name_char = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
    for (at, _) in expression.match_indices('#') {
        let Some(before) = expression.get(..at) else { continue };
        let start = before
            .rfind(|c: char| !name_char(c))
            .map_or(0, |i| i + before.get(i..).and_then(|s| s.chars().next()).map_or(1, char::len_utf8));
        let name = before.get(start..).unwrap_or("");
        let id = expression.get(at + 1..).unwrap_or("").starts_with(|c: char| c.is_ascii_digit());
        if id && !name.is_empty() && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests;
