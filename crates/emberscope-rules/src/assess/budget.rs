//! Shares the time of each stage out among the findings on it: together they may not save more than the stage takes.

use std::collections::BTreeMap;

use emberscope_extract::features::Features;
use emberscope_run::{StageId, StageKey};

use super::fold::FAILURES;
use crate::finding::Finding;
use crate::words;

/// Less than this is lost in rounding, in ms.
const ROUNDING_MS: f64 = 1.0;

/// Lowers the savings of findings on stages whose time findings before them take already. `findings` are in their order: the
/// one that saves most keeps its whole.
pub(super) fn share_out(findings: &mut [Finding], features: &Features) {
    let mut left: BTreeMap<StageKey, f64> =
        features.stages.iter().map(|(&key, stage)| (key, stage.wall_clock_ms)).collect();
    for finding in findings {
        let Some(saved) = finding.savings.wall_clock_ms.filter(|&ms| ms > 0).map(|ms| ms as f64) else { continue };
        let claims = claims(finding, saved);
        // What is no stage's time (a wait of the driver's within the same finding) is nobody else's either.
        let mut granted = (saved - claims.values().sum::<f64>()).max(0.0);
        for (key, claim) in &claims {
            if let Some(left) = left.get_mut(key) {
                let own = claim.min(*left);
                *left -= own;
                granted += own;
            }
        }
        if !claims.is_empty() && granted + ROUNDING_MS < saved {
            finding.savings.wall_clock_ms = Some(granted.round() as u64);
            finding.savings.core_ms =
                finding.savings.core_ms.map(|core| (core as f64 * granted / saved).round() as u64);
            finding.savings.how.push_str(&format!(
                "; alone that is {} of the run, but findings before this one take other parts of the same stages, and {} is left \
                 for it",
                words::duration(saved),
                words::duration(granted),
            ));
        }
    }
}

/// The time of each stage that a finding's saving comes from; empty where it is not the time of stages.
fn claims(finding: &Finding, saved: f64) -> BTreeMap<StageKey, f64> {
    let sum: f64 = finding.charged.values().sum();
    if sum > 0.0 {
        // The run's length may have cut the saving.
        let kept = (saved / sum).min(1.0);
        return finding.charged.iter().map(|(&key, ms)| (key, ms * kept)).collect();
    }
    // A job that failed loses more than its last stage.
    if FAILURES.contains(&finding.problem) {
        return BTreeMap::new();
    }
    let first = finding.subject.stage_id.zip(finding.subject.stage_attempt);
    let alone = finding.more_subjects.iter().all(|other| match other.stage_id.zip(other.stage_attempt) {
        Some(stage) => Some(stage) == first,
        None => other.sql_execution_id.is_none() || other.sql_execution_id == finding.subject.sql_execution_id,
    });
    first
        .filter(|_| alone)
        .map(|(stage, attempt)| (StageKey { stage_id: StageId(stage), attempt }, saved))
        .into_iter()
        .collect()
}
