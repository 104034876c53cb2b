//! Executors that were asked for and never came, and limits that dynamic allocation makes void.

use super::{ConfigurationNote, note};
use crate::deployment;
use crate::finding::Advice;
use crate::rule::Context;
use crate::words;

/// Share of the executors asked for below which the cluster is said not to have given them. Set by judgement.
const FEW_CAME: f64 = 0.8;

pub(super) fn notes(ctx: &Context<'_>) -> Option<ConfigurationNote> {
    let key = "spark.executor.instances";
    let asked = ctx.settings.integer(key).and_then(|asked| u64::try_from(asked).ok()).filter(|&asked| asked > 1)?;
    if deployment::is_local(ctx.run) || ctx.settings.boolean("spark.dynamicAllocation.enabled") != Some(false) {
        return None;
    }
    let most = most_at_once(ctx)?;
    if most as f64 >= FEW_CAME * asked as f64 || most == 0 {
        return None;
    }
    // Only where more of them would have had something to do.
    let slots = ctx.features.application.slots_max?;
    if ctx.features.timeline.peak_tasks < slots {
        return None;
    }
    Some(note(
        ctx,
        key,
        format!(
            "{} executors were asked for and at most {} were there at once, with tasks on all {} cores",
            words::count(asked),
            words::count(most),
            words::count(slots)
        ),
        Advice::text(
            "The cluster had no room for the others, or they are too large for its hosts: the resource manager's page of the \
             application shows what was pending. Smaller executors fit where large ones do not.",
        ),
    ))
}

/// The most executors at once; `None` when their times are not known.
fn most_at_once(ctx: &Context<'_>) -> Option<u64> {
    let mut edges: Vec<(i64, i64)> = Vec::new();
    for executor in ctx.run.worker_executors() {
        edges.push((executor.added_at?.0, 1));
        edges.extend(executor.removed_at.map(|at| (at.0, -1)));
    }
    edges.sort_unstable();
    let (mut now, mut most) = (0_i64, 0_i64);
    for (_, change) in edges {
        now += change;
        most = most.max(now);
    }
    u64::try_from(most).ok()
}
