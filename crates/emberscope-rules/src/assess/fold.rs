//! Tells consequences with their cause: findings of one cause are one finding.

use std::collections::BTreeMap;

use super::surely;
use crate::finding::{Consequence, Finding, Harm, Subject};
use crate::problem::Problem;
use crate::rules::RULES;

/// Problems of the chain from memory to a failed job. For these a subject that is the run explains nothing.
pub(super) const FAILURES: &[Problem] =
    &[Problem::ExecutorOom, Problem::ExecutorLoss, Problem::TaskFailures, Problem::StageRetry, Problem::JobFailure];

/// Tells a finding with its cause when a finding that explains it points at the same thing.
pub(super) fn fold_consequences(findings: Vec<Finding>) -> Vec<Finding> {
    // Each finding goes to its first explanation, and on to that one's, so that a chain of causes ends at its root.
    let parents: Vec<Option<usize>> =
        findings.iter().enumerate().map(|(index, finding)| parent(&findings, index, finding)).collect();
    let roots: Vec<usize> = (0..findings.len()).map(|index| root(&parents, index)).collect();
    let mut kept: BTreeMap<usize, Finding> = BTreeMap::new();
    let mut folded = Vec::new();
    for (index, finding) in findings.into_iter().enumerate() {
        match roots.get(index) {
            Some(&root) if root != index => folded.push((root, finding)),
            _ => {
                kept.insert(index, finding);
            }
        }
    }
    // The job that failed is told first among what follows from a cause.
    folded.sort_by_key(|(root, finding)| (*root, finding.harm != Harm::Failure));
    for (root, finding) in folded {
        if let Some(cause) = kept.get_mut(&root) {
            absorb(cause, finding);
        }
    }
    kept.into_values().collect()
}

/// The finding that explains this one: the first problem that its rule names, and of several findings of it the first.
fn parent(findings: &[Finding], index: usize, finding: &Finding) -> Option<usize> {
    let rule = RULES.iter().find(|rule| rule.problem == finding.problem)?;
    rule.explained_by.iter().find_map(|&cause| {
        findings
            .iter()
            .enumerate()
            .position(|(other, candidate)| other != index && candidate.problem == cause && explains(candidate, finding))
    })
}

/// The end of a chain of causes. In a circle it is the first finding of the circle, so that one of them is always kept.
fn root(parents: &[Option<usize>], start: usize) -> usize {
    let mut path = vec![start];
    let mut index = start;
    while let Some(Some(parent)) = parents.get(index).copied() {
        if let Some(from) = path.iter().position(|&seen| seen == parent) {
            return path.iter().skip(from).copied().min().unwrap_or(start);
        }
        path.push(parent);
        index = parent;
    }
    index
}

/// Problems that slow many things down at once: they explain no more time than they cost themselves.
const SPREADING: &[Problem] = &[Problem::SchedulerDelay, Problem::SlowExecutor, Problem::GcPressure];

fn explains(cause: &Finding, finding: &Finding) -> bool {
    // What is more likely wrong than right explains nothing.
    if !surely(cause) {
        return false;
    }
    if SPREADING.contains(&cause.problem) && finding.savings.wall_clock_ms > cause.savings.wall_clock_ms {
        return false;
    }
    // Small files make small tasks where they are read, and small tasks make small files where they write: the wider one is the cause.
    match (cause.problem, finding.problem) {
        (Problem::SmallFiles, Problem::TooManyPartitions) if !mostly_at(finding, cause) => return false,
        (Problem::TooManyPartitions, Problem::SmallFiles) if mostly_at(cause, finding) => return false,
        _ => {}
    }
    // What collects garbage all the time is a heap that is full: the one is told of stages, the other of their executors.
    if (cause.problem, finding.problem) == (Problem::GcPressure, Problem::MemoryNearLimit) {
        return true;
    }
    let failures = FAILURES.contains(&cause.problem) && FAILURES.contains(&finding.problem);
    // A job that failed is a consequence and never a cause; one that was cancelled is a cause and never a consequence.
    if cause.problem == Problem::JobFailure && cause.harm == Harm::Failure
        || finding.problem == Problem::JobFailure && finding.harm != Harm::Failure
    {
        return false;
    }
    let related = |run: bool| cause.subjects().any(|a| finding.subjects().any(|b| overlap(a, b, run)));
    if !failures {
        return related(true);
    }
    let share_executor =
        cause.subjects().any(|a| finding.subjects().any(|b| a.executor_id.is_some() && a.executor_id == b.executor_id));
    // Two failures in one stage can have nothing to do with each other: they must share a root cause or an executor.
    let agree = cause.causes.is_empty() || finding.causes.is_empty() || !cause.causes.is_disjoint(&finding.causes);
    share_executor || agree && related(false)
}

/// Whether at least half of what a finding points at is what another one points at.
fn mostly_at(finding: &Finding, other: &Finding) -> bool {
    let shared = finding.subjects().filter(|a| other.subjects().any(|b| overlap(a, b, true))).count();
    2 * shared >= finding.subjects().count()
}

/// Whether two subjects are the same thing: a shared stage, executor, SQL execution or job, or (`run`) either is the run.
fn overlap(a: &Subject, b: &Subject, run: bool) -> bool {
    let same = |a: Option<u64>, b: Option<u64>| a.is_some() && a == b;
    run && (a.kind == "run" || b.kind == "run")
        || same(a.stage_id, b.stage_id)
        || same(a.sql_execution_id, b.sql_execution_id)
        || same(a.job_id, b.job_id)
        || (a.executor_id.is_some() && a.executor_id == b.executor_id)
}

fn absorb(cause: &mut Finding, finding: Finding) {
    cause.severity = cause.severity.max(finding.severity);
    // That the run failed is what a person must read first, also when the finding is about the cause.
    if finding.harm == Harm::Failure && cause.harm != Harm::Failure {
        // One exception is told once.
        let own = match &finding.because {
            Some(because) if finding.because == cause.because => cause.summary.replace(&format!(" with {because}"), ""),
            _ => std::mem::take(&mut cause.summary),
        };
        cause.summary = format!("{}. The cause: {own}", finding.summary);
    }
    cause.harm = cause.harm.max(finding.harm);
    // The consequence's time is lost because of the cause: the larger of the two, never their sum.
    if finding.savings.wall_clock_ms > cause.savings.wall_clock_ms {
        cause.savings = finding.savings;
        cause.charged = finding.charged;
    }
    if cause.because.is_none() {
        cause.because = finding.because;
    }
    let mut subjects = vec![finding.subject];
    subjects.extend(finding.more_subjects);
    cause.consequences.push(Consequence { problem: finding.problem, summary: finding.summary, subjects });
    cause.consequences.extend(finding.consequences);
}
