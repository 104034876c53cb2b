//! An audit of the configuration that held, where the run itself shows that a setting hurt, had no effect, or contradicts
//! another. It is no list of taste: without evidence in the run there is no note.

mod allocation;
mod memory;
mod shuffle;
#[cfg(test)]
mod tests;
mod values;

use schemars::JsonSchema;
use serde::Serialize;

use crate::finding::{Advice, Finding};
use crate::rule::Context;

/// What the run shows of one setting.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConfigurationNote {
    /// The configuration key.
    pub key: String,
    /// The value that held; null when it is not known.
    pub value: Option<String>,
    /// Whether somebody set it; otherwise it is Spark's default.
    pub set: bool,
    /// What was measured, in one sentence.
    pub evidence: String,
    /// What to do about it.
    pub advice: Advice,
}

/// The notes on a run's configuration, by key; none on a key that one of `findings` advises already, and none at all when
/// the log does not say what was configured.
pub fn audit(ctx: &Context<'_>, findings: &[Finding]) -> Vec<ConfigurationNote> {
    if !ctx.settings.known() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    notes.extend(values::notes(ctx));
    notes.extend(memory::notes(ctx, findings));
    notes.extend(shuffle::notes(ctx));
    notes.extend(allocation::notes(ctx));
    let advised =
        |key: &str| findings.iter().flat_map(|finding| &finding.advice).any(|advice| advice.config.contains_key(key));
    notes.retain(|note| !advised(&note.key) && !note.advice.config.keys().any(|key| advised(key)));
    notes.sort_by(|a, b| a.key.cmp(&b.key));
    notes.dedup_by(|a, b| a.key == b.key);
    for note in &mut notes {
        page(&note.key).clone_into(&mut note.advice.more);
    }
    notes
}

/// The page of Spark's documentation that explains a setting.
fn page(key: &str) -> &'static str {
    if key.starts_with("spark.sql.") {
        "https://spark.apache.org/docs/latest/sql-performance-tuning.html"
    } else if key.starts_with("spark.kubernetes.") {
        "https://spark.apache.org/docs/latest/running-on-kubernetes.html"
    } else if key.starts_with("spark.yarn.") {
        "https://spark.apache.org/docs/latest/running-on-yarn.html"
    } else {
        "https://spark.apache.org/docs/latest/configuration.html"
    }
}

fn note(ctx: &Context<'_>, key: &str, evidence: impl Into<String>, advice: Advice) -> ConfigurationNote {
    ConfigurationNote {
        key: key.to_owned(),
        value: ctx.settings.get(key).value().filter(|value| !value.is_empty()).map(str::to_owned),
        set: ctx.settings.set_by_user(key).is_some(),
        evidence: evidence.into(),
        advice,
    }
}
