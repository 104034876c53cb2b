//! Cached blocks are dropped and computed again.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{NULL, RddId, RddInfo, RddStorage, StageAttempt, StageKey, TaskColumn, TaskStatus, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::naming;
use crate::plan::{self, Cost, SqlStages};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::support::total;
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
    reason: "partitions that were not in the cache when they were needed, over all partitions: a block or two of \
             many cost nobody anything. Set by judgement, not contradicted by the training families of \
             datasets/lab (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.005,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time spent computing them again; below it nobody gains by mending. Set \
             on the training families of datasets/lab (`emberscope calibrate`)",
};

fn check(ctx: &Context<'_>) -> Outcome {
    let used: Vec<(&RddStorage, Vec<Use<'_>>)> =
        ctx.run.rdds.values().map(|rdd| (rdd, uses(ctx, rdd))).filter(|(_, uses)| uses.len() > 1).collect();
    if used.is_empty() {
        return Outcome::Clear;
    }
    let measured: Vec<_> =
        used.into_iter().filter_map(|(rdd, uses)| lost(rdd, &uses).map(|lost| (rdd, uses, lost))).collect();
    if measured.is_empty() {
        return Outcome::missing(
            "block updates (spark.eventLog.logBlockUpdates.enabled; since Spark 1.6 stage infos do not count cached partitions)",
        );
    }
    Outcome::of(measured.into_iter().filter_map(|(rdd, uses, lost)| finding(ctx, rdd, &uses, &lost)).collect())
}

/// A stage that ran every partition of an RDD that is asked to be cached.
struct Use<'a> {
    key: StageKey,
    /// Partitions that this stage computed although it was not the first; `None` when its tasks cannot tell.
    computed: Option<u64>,
    stage: &'a StageAttempt,
}

/// The stages that ran with all of an RDD, in order. Steps of `take` and `show` need some partitions only; a union has tasks of its
/// other sides besides.
fn uses<'a>(ctx: &Context<'a>, rdd: &RddStorage) -> Vec<Use<'a>> {
    let whole = |stage: &StageAttempt| {
        let info = stage.rdds.iter().find(|info| info.id == rdd.id && info.cached);
        info.is_some_and(|info| info.partitions <= stage.num_tasks)
            && stage.tasks.len() as u64 >= stage.num_tasks.max(1)
    };
    ctx.run
        .stages
        .iter()
        .filter(|(_, stage)| whole(stage))
        .map(|(&key, stage)| Use { key, computed: computed(stage, rdd.id), stage })
        .collect()
}

/// Tasks of a stage that computed their partition of a cached RDD: where all that the stage reads from shuffles is read to
/// compute that RDD, a task that found its block cached reads none. `None` for any other stage.
fn computed(stage: &StageAttempt, rdd: RddId) -> Option<u64> {
    let by_id: BTreeMap<RddId, &RddInfo> = stage.rdds.iter().map(|info| (info.id, info)).collect();
    let mut below = BTreeSet::new();
    let mut open = vec![rdd];
    while let Some(id) = open.pop() {
        if let Some(info) = by_id.get(&id).filter(|_| below.insert(id)) {
            open.extend(&info.parent_ids);
        }
    }
    // A parent that is not in the stage is on the other side of a shuffle.
    let mut readers =
        stage.rdds.iter().filter(|info| info.parent_ids.iter().any(|id| !by_id.contains_key(id))).peekable();
    readers.peek()?;
    if !readers.all(|info| below.contains(&info.id)) {
        return None;
    }
    let read = stage.tasks.column(TaskColumn::ShuffleRecordsRead);
    let status = stage.tasks.column(TaskColumn::Status);
    let computed = read
        .iter()
        .zip(&status)
        .filter(|&(&records, &status)| records != NULL && records > 0 && status == TaskStatus::Success.code());
    Some(computed.count() as u64)
}

/// Partitions that were computed again, and how that is known.
struct Lost {
    partitions: f64,
    how: &'static str,
    confidence: f64,
}

/// What was computed again of an RDD for want of room; `None` when the log does not tell. What was stored again without having been
/// dropped went with its executor, or with the attempt of a task that failed after it.
fn lost(rdd: &RddStorage, uses: &[Use<'_>]) -> Option<Lost> {
    let later = uses.len().saturating_sub(1) as f64;
    if let Some(updates) = rdd.updates {
        // Blocks of one RDD never make room for each other: what does not fit is computed at each use.
        let stored =
            updates.stored_in_memory.saturating_add(updates.stored_on_disk).saturating_sub(updates.stored_again);
        let stored = stored.max(rdd.cached_partitions_max);
        let never = if rdd.use_disk { 0 } else { rdd.partitions.saturating_sub(stored) };
        let again = updates.stored_again.min(updates.dropped);
        let partitions = again as f64 + never as f64 * later;
        return Some(Lost { partitions, how: "block updates", confidence: 0.85 });
    }
    if rdd.cached_partitions_max > 0 {
        let never = if rdd.use_disk { 0 } else { rdd.partitions.saturating_sub(rdd.cached_partitions_max) };
        return Some(Lost { partitions: never as f64 * later, how: "counts of cached partitions", confidence: 0.65 });
    }
    let known: Option<Vec<u64>> = uses.iter().skip(1).map(|using| using.computed).collect();
    let partitions = total(known?.into_iter()) as f64;
    Some(Lost { partitions, how: "tasks that read the shuffle below the cache again", confidence: 0.75 })
}

fn finding(ctx: &Context<'_>, rdd: &RddStorage, uses: &[Use<'_>], lost: &Lost) -> Option<Finding> {
    let (first, later) = uses.split_first()?;
    let maker = first.key;
    let partitions = rdd.partitions.max(first.stage.num_tasks).max(1) as f64;
    let enough = lost.partitions / partitions >= ctx.threshold(&LOST_SHARE);
    if !enough {
        return None;
    }
    // A partition costs what it cost the stage that made it first.
    let made = SqlStages::cost(ctx, &std::iter::once(maker).collect());
    let again = made.task_ms / partitions * lost.partitions;
    let users = SqlStages::cost(ctx, &later.iter().map(|using| using.key).collect());
    let saved: Cost = users.of_task_ms(again.min(users.task_ms));
    if ctx.below_floor(saved.wall_ms, &FLOOR) {
        return None;
    }
    let name = naming::rdd(ctx.run, rdd.id);
    let mut subject = Subject::rdd(rdd.id).named(name.as_str());
    subject.stage_id = Some(maker.stage_id.0);
    let summary = match rdd.updates {
        Some(updates) if updates.stored_again > 0 => format!(
            "{} blocks of the cached {name} ({} partitions) were dropped from memory and {} computed again",
            words::count(updates.dropped),
            words::count(rdd.partitions),
            words::count(lost.partitions as u64),
        ),
        _ => format!(
            "{} later stages computed {} partitions of the cached {name} again ({} in all): they found no room in memory or \
             were dropped",
            later.len(),
            words::count(lost.partitions as u64),
            words::count(partitions as u64),
        ),
    };
    let mut finding = Finding::new(Problem::CacheEviction, lost.confidence, subject, summary);
    finding.evidence = evidence(ctx, rdd, lost, partitions);
    let subjects = later.iter().map(|using| ctx.stage_subject(using.key));
    plan::more_subjects(&mut finding, subjects);
    finding.savings = Savings {
        wall_clock_ms: Some(saved.wall_ms.round() as u64),
        core_ms: Some(saved.task_ms.round() as u64),
        how: format!(
            "{} partitions computed again (from {}) at {} each, the mean of stage {maker} that made them first, within the {} of task \
             time of the {} stages that used them later",
            words::count(lost.partitions as u64),
            lost.how,
            words::duration(made.task_ms / partitions),
            words::duration(users.task_ms),
            later.len(),
        ),
    };
    finding.advice = advice(ctx, rdd, &name);
    Some(finding)
}

fn evidence(ctx: &Context<'_>, rdd: &RddStorage, lost: &Lost, partitions: f64) -> Vec<Evidence> {
    let mut all = vec![
        Evidence::number("recomputed_partitions_count", lost.partitions, Unit::Count)
            .over(ctx.threshold(&LOST_SHARE) * partitions),
        Evidence::number("rdd_partitions_count", partitions, Unit::Count),
    ];
    if let Some(updates) = rdd.updates {
        all.push(Evidence::number("blocks_dropped_count", updates.dropped as f64, Unit::Count));
        all.push(Evidence::number("evicted_bytes", updates.evicted_bytes as f64, Unit::Bytes));
    }
    if rdd.memory_bytes_max.0 > 0 {
        all.push(Evidence::number("memory_max_bytes", rdd.memory_bytes_max.0 as f64, Unit::Bytes));
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
    use emberscope_run::BlockUpdateCounts;

    /// RDD 7 of 10 partitions, made in 10 tasks of 1 s and used twice more. The second and third use read from the shuffle below it in `again` tasks.
    fn cached(updates: Option<BlockUpdateCounts>, cached_max: u64) -> RunBuilder {
        cached_over_shuffle(updates, cached_max, None)
    }

    fn cached_over_shuffle(updates: Option<BlockUpdateCounts>, cached_max: u64, again: Option<u64>) -> RunBuilder {
        let mut builder = run().executor("1", 2);
        for id in 0..3 {
            builder = builder.stage(id, |stage| {
                (0..10).for_each(|partition| {
                    let read = if id == 0 || again.is_some_and(|again| partition < again) { 5 } else { 0 };
                    stage.task(partition).duration_ms(1_000).shuffle_read(read, read);
                });
                stage.with(move |attempt| {
                    let info = |id, parent| RddInfo {
                        id: RddId(id),
                        partitions: 10,
                        parent_ids: vec![RddId(parent)],
                        ..RddInfo::default()
                    };
                    attempt.rdds.push(RddInfo { cached: true, ..info(7, 6) });
                    // RDD 6 reads the shuffle of RDD 5, which is another stage's; without it nothing is known to be shuffled.
                    attempt.rdds.push(if again.is_some() {
                        info(6, 5)
                    } else {
                        RddInfo { parent_ids: Vec::new(), ..info(6, 5) }
                    });
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

    fn stored_again(blocks: u64) -> BlockUpdateCounts {
        BlockUpdateCounts {
            stored_in_memory: 10 + blocks,
            dropped: blocks,
            stored_again: blocks,
            ..BlockUpdateCounts::default()
        }
    }

    #[test]
    fn blocks_that_were_stored_again_are_found_and_charged_what_they_cost_first() {
        let findings = check(&RULE, &cached(Some(stored_again(6)), 10));
        assert_eq!(findings.len(), 1);
        // 6 partitions at 1 s of task time; two tasks run at a time.
        assert_eq!(findings[0].savings.core_ms, Some(6_000));
        assert_eq!(findings[0].savings.wall_clock_ms, Some(3_000));
        assert!(findings[0].advice[0].text.contains("MEMORY_AND_DISK"));
    }

    #[test]
    fn blocks_that_were_stored_again_and_never_dropped_were_not_evicted() {
        // They went with an executor, or the task that had stored them failed and was tried again.
        let without_drops = BlockUpdateCounts { dropped: 0, ..stored_again(6) };
        assert_eq!(check(&RULE, &cached(Some(without_drops), 10)), []);
    }

    #[test]
    fn a_union_with_a_cached_side_uses_all_of_it() {
        // Eight of the ten tasks of each stage are those of the cached RDD.
        let union = cached(Some(stored_again(6)), 8).with(|run| {
            for info in run.stages.values_mut().flat_map(|stage| &mut stage.rdds) {
                info.partitions = 8;
            }
        });
        assert_eq!(check(&RULE, &union).len(), 1);
        // A step that needs one partition of ten is no use of the whole.
        let taken = cached(Some(stored_again(6)), 8).with(|run| {
            for info in run.stages.values_mut().flat_map(|stage| &mut stage.rdds) {
                info.partitions = 100;
            }
        });
        assert_eq!(check(&RULE, &taken), []);
    }

    #[test]
    fn a_cache_that_keeps_its_blocks_is_left_alone() {
        assert_eq!(check(&RULE, &cached(Some(stored_again(0)), 10)), []);
    }

    #[test]
    fn partitions_that_never_found_room_are_computed_in_every_later_stage() {
        let findings = check(&RULE, &cached(None, 4));
        // 6 partitions in each of two later stages.
        assert_eq!(findings[0].savings.core_ms, Some(12_000));
    }

    #[test]
    fn blocks_that_never_found_room_are_known_from_block_updates_too() {
        let updates = Some(BlockUpdateCounts { stored_in_memory: 4, ..BlockUpdateCounts::default() });
        assert_eq!(check(&RULE, &cached(updates, 0))[0].savings.core_ms, Some(12_000));
    }

    #[test]
    fn tasks_that_read_the_shuffle_below_the_cache_again_tell_without_block_updates() {
        let findings = check(&RULE, &cached_over_shuffle(None, 0, Some(3)));
        // 3 tasks in each of two later stages.
        assert_eq!(findings[0].savings.core_ms, Some(6_000));
        assert_eq!(check(&RULE, &cached_over_shuffle(None, 0, Some(0))), []);
    }

    #[test]
    fn without_block_updates_and_cached_counts_the_rule_is_skipped() {
        assert!(matches!(outcome(&RULE, &cached(None, 0)), Outcome::Skipped { .. }));
    }
}
