//! Cached blocks are dropped and computed again.

use emberscope_run::{RddInfo, RddStorage, StageAttempt, StageKey, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::plan::{Cost, SqlStages};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::CacheEviction,
    summary: "Blocks of a cached RDD or table were dropped, or never found room, and were computed again.",
    documentation: include_str!("cache_eviction.md"),
    thresholds: &[LOST_SHARE, FLOOR],
    explained_by: &[],
    check,
};

const LOST_SHARE: Threshold = Threshold {
    name: "lost_share",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "partitions that were not in the cache when they were needed, over all partitions: a block or two of many cost \
             nobody anything. Set by judgement, not yet calibrated on labelled runs",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.02,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent computing them again; below it nobody gains by mending",
};

fn check(ctx: &Context<'_>) -> Outcome {
    let cached: Vec<&RddStorage> = ctx.run.rdds.values().filter(|rdd| !uses(ctx, rdd).is_empty()).collect();
    if cached.is_empty() {
        return Outcome::Clear;
    }
    let tell = |rdd: &RddStorage| rdd.updates.is_some() || rdd.cached_partitions_max > 0;
    if !cached.iter().any(|rdd| tell(rdd)) {
        return Outcome::missing(
            "block updates (spark.eventLog.logBlockUpdates.enabled; since Spark 1.6 stage infos do not count cached partitions)",
        );
    }
    Outcome::of(cached.into_iter().filter(|rdd| tell(rdd)).filter_map(|rdd| finding(ctx, rdd)).collect())
}

/// The stages that ran with an RDD asked to be cached, in order, each with what its info says of the RDD.
fn uses<'a>(ctx: &Context<'a>, rdd: &RddStorage) -> Vec<(StageKey, &'a RddInfo)> {
    let info = |stage: &'a StageAttempt| stage.rdds.iter().find(|info| info.id == rdd.id && info.cached);
    ctx.run
        .stages
        .iter()
        .filter(|(_, stage)| !stage.tasks.is_empty())
        .filter_map(|(&key, stage)| Some((key, info(stage)?)))
        .collect()
}

/// Partitions that were computed again, and in how they are known.
struct Lost {
    partitions: f64,
    /// Whether block updates counted them; else they follow from the cached fraction.
    counted: bool,
}

fn lost(rdd: &RddStorage, uses: &[(StageKey, &RddInfo)]) -> Lost {
    if let Some(updates) = rdd.updates {
        return Lost { partitions: updates.stored_again as f64, counted: true };
    }
    // What a stage found missing is what the last info before it lacked, and every later stage computes that again.
    let missing = rdd.partitions.saturating_sub(rdd.cached_partitions_max) as f64;
    Lost { partitions: missing * uses.len().saturating_sub(1) as f64, counted: false }
}

fn finding(ctx: &Context<'_>, rdd: &RddStorage) -> Option<Finding> {
    let uses = uses(ctx, rdd);
    let (&(maker, _), later) = uses.split_first()?;
    let lost = lost(rdd, &uses);
    let partitions = rdd.partitions.max(1) as f64;
    if !(lost.partitions / partitions >= ctx.threshold(&LOST_SHARE)) || rdd.use_disk && !lost.counted {
        return None;
    }
    // A partition costs what it cost the stage that made it first.
    let made = SqlStages::cost(ctx, &std::iter::once(maker).collect());
    let again = made.task_ms / partitions * lost.partitions;
    let users = SqlStages::cost(ctx, &later.iter().map(|&(key, _)| key).collect());
    let saved: Cost = users.of_task_ms(again.min(users.task_ms));
    if ctx.below_floor(saved.wall_ms, &FLOOR) {
        return None;
    }
    let name = if rdd.name.is_empty() { format!("RDD {}", rdd.id) } else { rdd.name.clone() };
    let mut subject = Subject::rdd(rdd.id).named(name.as_str());
    subject.stage_id = Some(maker.stage_id.0);
    let summary = match rdd.updates {
        Some(updates) => format!(
            "{} blocks of the cached {name} ({} partitions) were dropped from memory and {} computed again",
            words::count(updates.dropped),
            words::count(rdd.partitions),
            words::count(updates.stored_again),
        ),
        None => format!(
            "only {} of {} partitions of the cached {name} found room in memory; {} later stages computed the others again",
            words::count(rdd.cached_partitions_max),
            words::count(rdd.partitions),
            later.len(),
        ),
    };
    let mut finding = Finding::new(Problem::CacheEviction, if lost.counted { 0.85 } else { 0.65 }, subject, summary);
    finding.more_subjects = later.iter().map(|&(key, _)| Subject::stage(key).named(ctx.stage_name(key))).collect();
    finding.evidence = evidence(ctx, rdd, &lost);
    finding.savings = Savings {
        wall_clock_ms: Some(saved.wall_ms.round() as u64),
        core_ms: Some(saved.task_ms.round() as u64),
        how: format!(
            "{} partitions computed again at {} each, the mean of stage {maker} that made them first, within the {} of task \
             time of the {} stages that used them later",
            words::count(lost.partitions as u64),
            words::duration(made.task_ms / partitions),
            words::duration(users.task_ms),
            later.len(),
        ),
    };
    finding.advice = advice(ctx, rdd, &name);
    Some(finding)
}

fn evidence(ctx: &Context<'_>, rdd: &RddStorage, lost: &Lost) -> Vec<Evidence> {
    let mut all = vec![
        Evidence::number("recomputed_partitions_count", lost.partitions, Unit::Count)
            .over(ctx.threshold(&LOST_SHARE) * rdd.partitions as f64),
        Evidence::number("rdd_partitions_count", rdd.partitions as f64, Unit::Count),
    ];
    if let Some(updates) = rdd.updates {
        all.push(Evidence::number("blocks_dropped_count", updates.dropped as f64, Unit::Count));
        all.push(Evidence::number("evicted_bytes", updates.evicted_bytes as f64, Unit::Bytes));
    }
    if rdd.memory_bytes_max.0 > 0 {
        all.push(Evidence::number("memory_bytes_max", rdd.memory_bytes_max.0 as f64, Unit::Bytes));
    }
    all
}

fn advice(ctx: &Context<'_>, rdd: &RddStorage, name: &str) -> Vec<Advice> {
    let mut all = Vec::new();
    if !rdd.use_disk {
        all.push(Advice::text(format!(
            "{name} is kept in memory only: what is dropped must be computed again. With StorageLevel.MEMORY_AND_DISK it is \
             read back from local disk instead.",
        )));
    }
    if rdd.deserialized && !rdd.name.starts_with("In-memory table") {
        all.push(Advice::text(
            "It is kept as objects, which take two to five times the room of bytes: MEMORY_AND_DISK_SER (in Python every level is \
             serialized) with spark.serializer set to Kryo fits more of it, for some CPU time at each read.",
        ));
    }
    let (held, whole) = (rdd.memory_bytes_max.0, rdd.cached_partitions_max);
    if held > 0 && whole > 0 && whole < rdd.partitions {
        all.push(Advice::text(format!(
            "{} of {} partitions took {}: all of it needs about {}. That is room for {} more, in executor memory or by caching \
             fewer columns.",
            words::count(whole),
            words::count(rdd.partitions),
            words::bytes(held as f64),
            words::bytes(held as f64 / whole as f64 * rdd.partitions as f64),
            words::bytes(held as f64 / whole as f64 * (rdd.partitions - whole) as f64),
        )));
    }
    let others = ctx.run.rdds.values().filter(|other| other.id != rdd.id && !other.unpersisted).count();
    if others > 0 {
        all.push(Advice::text(format!(
            "{others} more cached RDDs or tables were never unpersisted and compete for the same memory: `unpersist()` each after \
             its last use.",
        )));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};
    use emberscope_run::{BlockUpdateCounts, RddId};

    /// RDD 7 of 10 partitions, made in 10 tasks of 1 s and used twice more.
    fn cached(updates: Option<BlockUpdateCounts>, cached_max: u64) -> RunBuilder {
        let mut builder = run().executor("1", 2);
        for id in 0..3 {
            builder = builder.stage(id, |stage| {
                (0..10).for_each(|partition| {
                    stage.task(partition).duration_ms(1_000);
                });
                stage.with(|attempt| {
                    attempt.rdds.push(RddInfo { id: RddId(7), partitions: 10, cached: true, ..RddInfo::default() });
                });
            });
        }
        builder.with(|run| {
            let storage = RddStorage {
                id: RddId(7),
                name: "ratings".to_owned(),
                partitions: 10,
                cached_partitions_max: cached_max,
                deserialized: true,
                updates,
                ..RddStorage::default()
            };
            run.rdds.insert(RddId(7), storage);
        })
    }

    fn stored_again(blocks: u64) -> Option<BlockUpdateCounts> {
        Some(BlockUpdateCounts { stored_in_memory: 10 + blocks, dropped: blocks, stored_again: blocks, ..BlockUpdateCounts::default() })
    }

    #[test]
    fn blocks_that_were_stored_again_are_found_and_charged_what_they_cost_first() {
        let findings = check(&RULE, &cached(stored_again(6), 10));
        assert_eq!(findings.len(), 1);
        // 6 partitions at 1 s of task time; two tasks run at a time.
        assert_eq!(findings[0].savings.core_ms, Some(6_000));
        assert_eq!(findings[0].savings.wall_clock_ms, Some(3_000));
        assert!(findings[0].advice[0].text.contains("MEMORY_AND_DISK"));
    }

    #[test]
    fn a_cache_that_keeps_its_blocks_is_left_alone() {
        assert_eq!(check(&RULE, &cached(stored_again(0), 10)), []);
    }

    #[test]
    fn partitions_that_never_found_room_are_computed_in_every_later_stage() {
        let findings = check(&RULE, &cached(None, 4));
        // 6 partitions in each of two later stages.
        assert_eq!(findings[0].savings.core_ms, Some(12_000));
    }

    #[test]
    fn without_block_updates_and_cached_counts_the_rule_is_skipped() {
        assert!(matches!(outcome(&RULE, &cached(None, 0)), Outcome::Skipped { .. }));
    }
}
