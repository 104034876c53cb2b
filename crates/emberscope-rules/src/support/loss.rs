//! Losses of many stages by one cause, told as one finding.

use emberscope_extract::features::StageSummary;
use emberscope_run::{StageKey, Unit};

use crate::finding::{Evidence, Finding, Savings, Subject};
use crate::rule::{Context, Threshold};
use crate::words;

/// Time below which a rule is silent whatever its share of the run.
pub(crate) const LEAST: Threshold = Threshold {
    name: "floor_ms",
    value: 200.0,
    unit: Unit::Ms,
    reason: "a run that would be shorter by less than a fifth of a second is as it should be. Set on the training families of \
             datasets/lab (`emberscope calibrate`)",
};

/// The same for rules whose causes come and go for a moment in any run.
pub(crate) const HALF_A_SECOND: Threshold = Threshold {
    name: "floor_ms",
    value: 500.0,
    unit: Unit::Ms,
    reason: "a run that would be shorter by less than half a second is as it should be. Set on the training families of datasets/lab \
             (`emberscope calibrate`)",
};

/// A finding lists this many subjects; the number of the others is in its evidence.
const MAX_SUBJECTS: usize = 10;

/// What a stage attempt loses by a pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StageLoss {
    /// The stage attempt.
    pub(crate) key: StageKey,
    /// Wall-clock time of the run that mending it would save, in ms.
    pub(crate) wall_ms: f64,
    /// Core time lost, in ms.
    pub(crate) core_ms: f64,
}

impl StageLoss {
    /// The loss of a stage of whose task time `lost_ms` is lost, evenly over its tasks: the stage would be shorter by the
    /// same share. `None` when no time is lost.
    pub(crate) fn of_task_time(stage: &StageSummary, lost_ms: f64) -> Option<Self> {
        let task_ms = stage.task_ms() as f64;
        let span = span_ms(stage)?;
        if !(lost_ms > 0.0 && task_ms > 0.0) {
            return None;
        }
        let lost_ms = lost_ms.min(task_ms);
        Some(Self { key: stage.key, wall_ms: stage.wall_clock_saving(span * lost_ms / task_ms), core_ms: lost_ms })
    }

    /// The loss of a stage that would be shorter by `saved_ms`, in which `core_ms` are lost.
    pub(crate) fn of_span(stage: &StageSummary, saved_ms: f64, core_ms: f64) -> Self {
        Self { key: stage.key, wall_ms: stage.wall_clock_saving(saved_ms), core_ms: core_ms.max(0.0) }
    }
}

/// From the first launch to the last finish of a stage in ms; `None` when no task of it has times.
pub(crate) fn span_ms(stage: &StageSummary) -> Option<f64> {
    Some(stage.last_finish?.since(stage.first_launch?).0 as f64)
}

/// Losses by one cause, the largest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Losses {
    stages: Vec<StageLoss>,
}

impl Losses {
    /// The losses, sorted.
    pub(crate) fn of(mut stages: Vec<StageLoss>) -> Self {
        stages.sort_by(|a, b| b.wall_ms.total_cmp(&a.wall_ms).then(a.key.cmp(&b.key)));
        Self { stages }
    }

    /// How many stage attempts.
    pub(crate) fn len(&self) -> usize {
        self.stages.len()
    }

    /// How many in words: `1 stage attempt`, `3 stage attempts`.
    pub(crate) fn stage_attempts(&self) -> String {
        words::plural(self.len() as u64, "stage attempt")
    }

    /// The stage attempt that loses most; `None` when there is none.
    pub(crate) fn worst(&self) -> Option<StageKey> {
        self.stages.first().map(|loss| loss.key)
    }

    /// The stage attempts, the worst first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = StageKey> + '_ {
        self.stages.iter().map(|loss| loss.key)
    }

    /// Wall-clock time of the run in ms: each stage's saving is its own share of the clock, so they add up.
    pub(crate) fn wall_ms(&self) -> f64 {
        self.stages.iter().map(|loss| loss.wall_ms).sum()
    }

    /// Core time in ms.
    pub(crate) fn core_ms(&self) -> f64 {
        self.stages.iter().map(|loss| loss.core_ms).sum()
    }

    /// Whether the loss is too small for a finding: below the floor's share of the run, or below `least` ms.
    pub(crate) fn negligible(&self, ctx: &Context<'_>, floor: &Threshold, least: &Threshold) -> bool {
        let saved = self.wall_ms();
        ctx.below_floor(saved, floor) || !ctx.reaches(saved, least)
    }

    /// The savings, with how they were estimated.
    pub(crate) fn savings(&self, how: impl Into<String>) -> Savings {
        Savings {
            wall_clock_ms: Some(self.wall_ms().round() as u64),
            core_ms: Some(self.core_ms().round() as u64),
            how: how.into(),
        }
    }

    /// `stage 3.0`, or `stage 3.0 and 4 others`.
    pub(crate) fn name(&self) -> String {
        match (self.worst(), self.len().saturating_sub(1)) {
            (None, _) => String::new(),
            (Some(key), 0) => format!("stage {key}"),
            (Some(key), 1) => format!("stage {key} and one other"),
            (Some(key), others) => format!("stage {key} and {} others", words::count(others as u64)),
        }
    }

    /// Puts the stages behind the finding's first subject, ten at most, and says how many more there are.
    pub(crate) fn list(&self, ctx: &Context<'_>, finding: &mut Finding) {
        finding.charged = self.stages.iter().map(|loss| (loss.key, loss.wall_ms)).collect();
        let first = finding.subject.clone();
        let rest = self
            .keys()
            .filter(|key| first.stage_id != Some(key.stage_id.0) || first.stage_attempt != Some(key.attempt));
        let rest: Vec<StageKey> = rest.collect();
        finding.more_subjects.extend(rest.iter().take(MAX_SUBJECTS - 1).map(|&key| ctx.stage_subject(key)));
        if rest.len() > MAX_SUBJECTS - 1 {
            let others = rest.len() - (MAX_SUBJECTS - 1);
            finding.evidence.push(Evidence::number("further_stage_attempts_count", others as f64, Unit::Count));
        }
    }
}

/// The stage attempt as a subject, with its call site as the name.
pub(crate) fn stage_subject(ctx: &Context<'_>, key: StageKey) -> Subject {
    ctx.stage_subject(key)
}
