//! What a rule is, and what it may look at.

use std::collections::BTreeMap;

use emberscope_extract::features::{Features, StageSummary};
use emberscope_run::{Run, StageKey, TaskId, Unit};

use crate::finding::{Finding, Subject};
use crate::naming;
use crate::problem::Problem;
use crate::settings::Settings;

/// A threshold of a rule: a named constant with its unit and reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Its name in the configuration file: `[rules.data-skew] task_factor = 4`.
    pub name: &'static str,
    /// Its default.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// Why this value, and how it was set.
    pub reason: &'static str,
}

impl Threshold {
    /// The largest value that it can have: 1 for a share, none for times, sizes, counts and factors.
    pub fn largest(&self) -> Option<f64> {
        let share = self.unit == Unit::Ratio && (self.name.ends_with("share") || self.name.ends_with("ratio"));
        (share && self.value <= 1.0).then_some(1.0)
    }
}

/// A rule: written by hand, one file each, a pure function of a run.
#[derive(Debug)]
pub struct Rule {
    /// The problem that it finds; also the rule's name.
    pub problem: Problem,
    /// What it looks for, in one sentence.
    pub summary: &'static str,
    /// Its documentation in Markdown: `## What it means`, `## How it is found`, `## What to do`, `## When not to`.
    pub documentation: &'static str,
    /// Its thresholds.
    pub thresholds: &'static [Threshold],
    /// Problems that explain this one: when one of them is found on the same subject, this is told as its consequence.
    pub explained_by: &'static [Problem],
    /// The check.
    pub check: fn(&Context<'_>) -> Outcome,
}

/// What a rule says of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It looked, and the problem is not there.
    Clear,
    /// The problem is there.
    Found(Vec<Finding>),
    /// It could not look: what it needs is missing.
    Skipped {
        /// What is missing, in words (`executor cores`, `plan metrics (SQL metrics were not logged)`).
        missing: Vec<String>,
    },
}

impl Outcome {
    /// [`Self::Found`] with the findings, or [`Self::Clear`] without any.
    pub fn of(findings: Vec<Finding>) -> Self {
        if findings.is_empty() { Self::Clear } else { Self::Found(findings) }
    }

    /// [`Self::Skipped`] for one missing thing.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::Skipped { missing: vec![what.into()] }
    }
}

/// What a rule may look at: the run, its features, its own thresholds.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its features.
    pub features: &'a Features,
    /// The configuration that held, with Spark's defaults.
    pub settings: &'a Settings<'a>,
    overrides: &'a BTreeMap<String, f64>,
}

impl<'a> Context<'a> {
    /// A context; `overrides` are the thresholds of this rule that the user set, by name.
    pub fn new(
        run: &'a Run,
        features: &'a Features,
        settings: &'a Settings<'a>,
        overrides: &'a BTreeMap<String, f64>,
    ) -> Self {
        Self { run, features, settings, overrides }
    }

    /// The value of a threshold: the user's, or its default.
    pub fn threshold(&self, threshold: &Threshold) -> f64 {
        self.overrides.get(threshold.name).copied().unwrap_or(threshold.value)
    }

    /// Whether a value is at least a threshold; NaN is not.
    pub fn reaches(&self, value: f64, threshold: &Threshold) -> bool {
        value >= self.threshold(threshold)
    }

    /// The run's wall-clock time in ms; `None` when no time is known.
    pub fn wall_clock_ms(&self) -> Option<f64> {
        self.features.application.wall_clock_ms.filter(|&ms| ms > 0).map(|ms| ms as f64)
    }

    /// `ms` as a share of the run's wall-clock time; 0 when that is not known.
    pub fn share(&self, ms: f64) -> f64 {
        self.wall_clock_ms().map_or(0.0, |wall| (ms / wall).clamp(0.0, 1.0))
    }

    /// Whether `ms` of wall-clock time is below a rule's floor, a share of the run: such a pattern costs nobody anything.
    pub fn below_floor(&self, ms: f64, floor: &Threshold) -> bool {
        !self.reaches(self.share(ms), floor)
    }

    /// The stage attempts with successful tasks, in order.
    ///
    /// # Errors
    ///
    /// [`Outcome::Skipped`] when there is none, or when none of them has what the rule needs: `what` says what that is.
    pub fn stages_that_ran(
        &self,
        has: impl Fn(&StageSummary) -> bool,
        what: &str,
    ) -> Result<Vec<&'a StageSummary>, Outcome> {
        let ran: Vec<_> = self.features.stages.values().filter(|stage| stage.tasks.succeeded > 0).collect();
        if ran.is_empty() {
            return Err(Outcome::missing("successful tasks"));
        }
        if ran.iter().any(|stage| has(stage)) { Ok(ran) } else { Err(Outcome::missing(what)) }
    }

    /// A stage attempt as a subject: with its call site, and with a label where that says nothing.
    pub fn stage_subject(&self, key: StageKey) -> Subject {
        Subject::stage(key).named(self.stage_name(key)).labelled(naming::stage_label(self.run, key))
    }

    /// A task as a subject, named as its stage.
    pub fn task_subject(&self, key: StageKey, task: TaskId, partition: u64) -> Subject {
        Subject::task(key, task, partition).named(self.stage_name(key)).labelled(naming::stage_label(self.run, key))
    }

    /// A stage attempt in a sentence: `stage 3.0 (count at Main.scala:12)`, `stage 3.0 (SQL 5: count at job.py:31)`.
    pub fn stage_words(&self, key: StageKey) -> String {
        match self.stage_called(key) {
            called if called.is_empty() => format!("stage {key}"),
            called => format!("stage {key} ({called})"),
        }
    }

    /// What people call a stage: its call site, or where that says nothing its SQL execution; empty when neither is known.
    pub fn stage_called(&self, key: StageKey) -> String {
        naming::stage_label(self.run, key)
            .map_or_else(|| self.stage_name(key).to_owned(), |label| naming::in_sentence(&label).to_owned())
    }

    /// The call site of a stage; empty when it has none.
    pub fn stage_name(&self, key: StageKey) -> &'a str {
        self.run.stages.get(&key).map_or("", |stage| stage.name.as_str())
    }
}
