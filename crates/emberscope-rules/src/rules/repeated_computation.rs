//! The same lineage is computed again and again and nothing is cached.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{PlanNode, RddId, RddInfo, SqlExecutionId, StageAttempt, StageKey, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::naming;
use crate::plan::{self, Cost, Likeness, Part, Plan, SqlStages};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::RepeatedComputation,
    summary: "Equal parts of plans, or the same RDDs, were computed by several jobs and never cached.",
    documentation: include_str!("repeated_computation.md"),
    thresholds: &[TIMES, FLOOR],
    explained_by: &[Problem::CacheEviction],
    check,
};

const TIMES: Threshold = Threshold {
    name: "times",
    value: 3.0,
    unit: Unit::Count,
    reason: "computations of the same data; two are common and often cheaper than a cache. Set by judgement, not \
             contradicted by the training families of datasets/lab (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.05,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that all computations but the first took; below it a cache costs more care \
             than it saves",
};

fn check(ctx: &Context<'_>) -> Outcome {
    let ran = ctx.run.stages.values().any(|stage| !stage.tasks.is_empty());
    if !ran {
        return Outcome::missing("tasks");
    }
    let mut findings: Vec<Finding> = in_plans(ctx);
    findings.extend(in_rdds(ctx));
    Outcome::of(findings)
}

/// One computation of a part of a plan.
struct Computed<'a> {
    execution: SqlExecutionId,
    node: &'a PlanNode,
    nodes: u64,
    stages: BTreeSet<StageKey>,
    cost: Cost,
}

fn in_plans(ctx: &Context<'_>) -> Vec<Finding> {
    let stages = SqlStages::of(ctx);
    let streaming: BTreeSet<SqlExecutionId> = ctx
        .run
        .jobs
        .values()
        .filter(|job| job.streaming_query_id.is_some())
        .filter_map(|job| job.sql_execution_id)
        .collect();
    let mut plans = plan::plans(ctx.run);
    plans.retain(|plan| !streaming.contains(&plan.execution.id) && !stages.all(plan.execution.id).is_empty());
    // What is surely the same first; then what is alike but for the columns that each action needs.
    let mut told: BTreeSet<StageKey> = BTreeSet::new();
    let mut findings = alike(ctx, &stages, &plans, Likeness::Same, &mut told);
    findings.extend(alike(ctx, &stages, &plans, Likeness::Shape, &mut told));
    findings
}

/// Findings on parts of plans that are alike, but for stages that are told already.
fn alike(
    ctx: &Context<'_>,
    stages: &SqlStages<'_>,
    plans: &[Plan<'_>],
    likeness: Likeness,
    told: &mut BTreeSet<StageKey>,
) -> Vec<Finding> {
    let ran: Vec<(&Plan<'_>, Vec<Part<'_>>)> =
        plans.iter().filter_map(|plan| Some((plan, parts_of(plan.execution.plan.as_ref()?, likeness)))).collect();
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for part in ran.iter().flat_map(|(_, parts)| parts) {
        *counts.entry(part.signature).or_default() += 1;
    }
    let count = |signature: u64| counts.get(&signature).copied().unwrap_or(0);
    let mut repeated: BTreeMap<u64, Vec<Computed<'_>>> = BTreeMap::new();
    for (plan, parts) in &ran {
        for part in parts {
            let times = count(part.signature);
            // A part that never comes without the larger part around it is told with that.
            let within = part.parent.is_some_and(|parent| count(parent) == times);
            if (times as f64) >= ctx.threshold(&TIMES) && !within {
                let stages = stages.updating(plan.execution.id, &plan::accumulators_below(part.node));
                let cost = SqlStages::cost(ctx, &stages);
                if cost.task_ms > 0.0 {
                    let computed =
                        Computed { execution: plan.execution.id, node: part.node, nodes: part.nodes, stages, cost };
                    repeated.entry(part.signature).or_default().push(computed);
                }
            }
        }
    }
    repeated.retain(|_, computed| computed.len() as f64 >= ctx.threshold(&TIMES));
    // The largest part first; a part of a part that is told already is told with it.
    let mut groups: Vec<Vec<Computed<'_>>> = repeated.into_values().collect();
    groups.sort_by(|a, b| {
        let (saved_a, saved_b) = (saved(a).wall_ms, saved(b).wall_ms);
        let nodes = |group: &[Computed<'_>]| group.first().map_or(0, |computed| computed.nodes);
        saved_b.total_cmp(&saved_a).then(nodes(b).cmp(&nodes(a)))
    });
    let mut findings = Vec::new();
    for group in groups {
        let own: BTreeSet<StageKey> = group.iter().flat_map(|computed| &computed.stages).copied().collect();
        if !own.is_disjoint(told) {
            continue;
        }
        if let Some(finding) = plan_finding(ctx, &group, likeness) {
            told.extend(own);
            findings.push(finding);
        }
    }
    findings
}

/// The parts of a plan that do work on data which can be told to be the same, each once.
fn parts_of(plan: &PlanNode, likeness: Likeness) -> Vec<Part<'_>> {
    let mut seen = BTreeSet::new();
    let mut parts = plan::signatures(plan, likeness);
    parts.retain(|part| part.computes && part.comparable && part.reads && seen.insert(part.signature));
    if likeness == Likeness::Shape {
        // That queries with other columns read and shuffle one table is what queries do; joins and aggregates are work.
        parts.retain(|part| part.node.nodes().iter().any(|node| works(node)));
    }
    parts
}

/// Whether a node joins or aggregates.
fn works(node: &PlanNode) -> bool {
    matches!(plan::operator(node), plan::Operator::Join(_)) || node.name.contains("Aggregate")
}

/// What all computations but one cost. The stages do more than the common part, so no computation counts for more than
/// the cheapest.
fn saved(group: &[Computed<'_>]) -> Cost {
    let least =
        |cost: fn(&Cost) -> f64| group.iter().map(|computed| cost(&computed.cost)).fold(f64::INFINITY, f64::min);
    let more = group.len().saturating_sub(1) as f64;
    if group.is_empty() {
        return Cost::default();
    }
    Cost { wall_ms: more * least(|cost| cost.wall_ms), task_ms: more * least(|cost| cost.task_ms) }
}

fn plan_finding(ctx: &Context<'_>, group: &[Computed<'_>], likeness: Likeness) -> Option<Finding> {
    let saved = saved(group);
    if ctx.below_floor(saved.wall_ms, &FLOOR) {
        return None;
    }
    let first = group.first()?;
    let top = plan::canonical(&first.node.name);
    let data = plan::data_name(first.node).unwrap_or_else(|| "its input".to_owned());
    // A description that Spark cut may hide a difference.
    let cut = first.node.nodes().iter().any(|node| node.description.contains("more field"));
    let (confidence, alike) = match likeness {
        Likeness::Same => (if cut { 0.6 } else { 0.8 }, "the same"),
        Likeness::Shape => (0.55, "the same but for the columns that each needs:"),
    };
    let mut finding = Finding::new(
        Problem::RepeatedComputation,
        confidence,
        subject(first),
        format!(
            "{} SQL executions computed {alike} {top} over {data} from the start ({} plan nodes), the first in execution {}",
            group.len(),
            first.nodes,
            first.execution,
        ),
    );
    finding.evidence = vec![
        Evidence::number("equal_plans_count", group.len() as f64, Unit::Count).over(ctx.threshold(&TIMES)),
        Evidence::text("plan_node", plan::normalised(&first.node.description).chars().take(200).collect::<String>()),
    ];
    plan::more_subjects(&mut finding, group.iter().skip(1).map(subject));
    let each = saved.wall_ms / (group.len() - 1).max(1) as f64;
    finding.savings = savings(saved, group.len(), each, "executions");
    for computed in group.iter().skip(1) {
        SqlStages::charge(ctx, &mut finding, &computed.stages, each);
    }
    finding.advice = vec![
        Advice::text(format!(
            "Cache the DataFrame that ends in this {top} once (`df.cache()`, `CACHE TABLE`) before the {} executions that start \
             from it, and `unpersist()` it after the last. {}",
            group.len(),
            size_of(first.node).map_or_else(String::new, |bytes| format!(
                "Its rows were {} in the shuffle; the cache compresses columns and takes less.",
                words::bytes(bytes as f64)
            )),
        )),
        Advice::text(
            "If it does not fit in memory or is needed by another run too, write it as a table and read that. If the executions \
             differ in one constant only, compute all of them in one query with a grouping by it.",
        ),
    ];
    if likeness == Likeness::Shape {
        finding.advice.push(Advice::text(
            "Scans, filters, joins and grouping keys are equal, columns and functions are not. If the executions come from one \
             DataFrame, Spark left out what each did not need, and a cache serves them all. If they are queries of their own, \
             one query that computes all the functions reads and shuffles the data once.",
        ));
    }
    Some(finding)
}

fn subject(computed: &Computed<'_>) -> Subject {
    Subject::sql(computed.execution, Some(computed.node.id)).named(plan::canonical(&computed.node.name))
}

/// Bytes of the uppermost exchange of a part.
fn size_of(node: &PlanNode) -> Option<u64> {
    let exchange = node.nodes().into_iter().find(|node| plan::operator(node) == plan::Operator::Exchange)?;
    plan::metric(exchange, "data size")
}

fn savings(saved: Cost, times: usize, each: f64, what: &str) -> Savings {
    Savings {
        wall_clock_ms: Some(saved.wall_ms.round() as u64),
        core_ms: Some(saved.task_ms.round() as u64),
        how: format!(
            "{} of {times} {what} at {} each, the time of the cheapest of them; filling and reading the cache is not subtracted",
            times - 1,
            words::duration(each),
        ),
    }
}

/// RDDs that several stages computed.
fn in_rdds(ctx: &Context<'_>) -> Vec<Finding> {
    let mut by_rdd: BTreeMap<RddId, Vec<&StageAttempt>> = BTreeMap::new();
    let mut infos: BTreeMap<RddId, &RddInfo> = BTreeMap::new();
    let streaming = |stage: &StageAttempt| {
        stage.job_ids.iter().any(|job| ctx.run.jobs.get(job).is_some_and(|job| job.streaming_query_id.is_some()))
    };
    for stage in ctx.run.stages.values().filter(|stage| stage.key.attempt == 0 && !stage.tasks.is_empty()) {
        if streaming(stage) || samples_for_a_sort(stage) {
            continue;
        }
        for rdd in computed_in(stage) {
            by_rdd.entry(rdd.id).or_default().push(stage);
            infos.entry(rdd.id).or_insert(rdd);
        }
    }
    let times = ctx.threshold(&TIMES);
    by_rdd.retain(|_, stages| stages.len() as f64 >= times);
    // Of the RDDs that the same stages computed the last is the one to cache: it contains the others.
    let mut by_stages: BTreeMap<Vec<StageKey>, RddId> = BTreeMap::new();
    for (&id, stages) in &by_rdd {
        let keys: Vec<StageKey> = stages.iter().map(|stage| stage.key).collect();
        let last = by_stages.entry(keys).or_insert(id);
        *last = id.max(*last);
    }
    let mut found: Vec<(Cost, RddId, Vec<StageKey>)> = by_stages
        .into_iter()
        .filter_map(|(keys, id)| Some((rdd_saving(ctx, &keys)?, id, keys)))
        .filter(|(saved, ..)| !ctx.below_floor(saved.wall_ms, &FLOOR))
        .collect();
    found.sort_by(|a, b| b.0.wall_ms.total_cmp(&a.0.wall_ms).then(a.1.cmp(&b.1)));
    let mut told: BTreeSet<StageKey> = BTreeSet::new();
    let mut findings = Vec::new();
    for (saved, id, keys) in found {
        if keys.iter().all(|key| !told.contains(key))
            && let Some(rdd) = infos.get(&id)
        {
            findings.push(rdd_finding(ctx, rdd, saved, &keys));
            told.extend(keys);
        }
    }
    findings
}

/// Whether a stage only counts or samples what `sortByKey` is about to sort: Spark computes its input up to three times. A cache between
/// does not pay for that: in PySpark five pairs of a run without and with it took 7 % less to 29 % more time.
fn samples_for_a_sort(stage: &StageAttempt) -> bool {
    let sorts = ["sortByKey at ", "sortBy at "].iter().any(|call| stage.name.starts_with(call));
    sorts && stage.task_type.as_deref() == Some("ResultTask")
}

/// The RDDs that a stage computed: those from its last one down that are not cached and not below a cached one. None when
/// it ran some of the partitions only, as `take` and `show` do step by step.
fn computed_in(stage: &StageAttempt) -> Vec<&RddInfo> {
    let by_id: BTreeMap<RddId, &RddInfo> = stage.rdds.iter().map(|rdd| (rdd.id, rdd)).collect();
    let Some((&last, info)) = by_id.last_key_value() else { return Vec::new() };
    if info.partitions != stage.num_tasks {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut open = vec![last];
    let mut computed = Vec::new();
    while let Some(id) = open.pop() {
        let Some(rdd) = by_id.get(&id).filter(|_| seen.insert(id)) else { continue };
        if rdd.cached {
            continue;
        }
        computed.push(*rdd);
        open.extend(&rdd.parent_ids);
    }
    computed.sort_by_key(|rdd| rdd.id);
    computed
}

/// What all stages but one cost, none more than the cheapest.
fn rdd_saving(ctx: &Context<'_>, keys: &[StageKey]) -> Option<Cost> {
    let costs: Vec<Cost> = keys.iter().map(|&key| SqlStages::cost(ctx, &BTreeSet::from([key]))).collect();
    let least = |cost: fn(&Cost) -> f64| costs.iter().map(cost).fold(f64::INFINITY, f64::min);
    let more = costs.len().checked_sub(1)? as f64;
    Some(Cost { wall_ms: more * least(|cost| cost.wall_ms), task_ms: more * least(|cost| cost.task_ms) })
}

fn rdd_finding(ctx: &Context<'_>, rdd: &RddInfo, saved: Cost, keys: &[StageKey]) -> Finding {
    let callsite = rdd
        .callsite
        .as_deref()
        .filter(|site| !site.is_empty())
        .map_or_else(String::new, |site| format!(", made by {site}"));
    let name = naming::rdd(ctx.run, rdd.id);
    let mut subject = Subject::rdd(rdd.id).named(name.as_str());
    subject.stage_id = keys.first().map(|key| key.stage_id.0);
    let growing = lineage_grows(ctx, keys);
    let mut finding = Finding::new(
        Problem::RepeatedComputation,
        0.75,
        subject,
        format!(
            "{} stages computed RDD {} ({}{callsite}) anew, and it is not cached{}",
            keys.len(),
            rdd.id,
            name,
            if growing { "; its lineage grows from one to the next" } else { "" },
        ),
    );
    finding.evidence = vec![
        Evidence::number("stages_count", keys.len() as f64, Unit::Count).over(ctx.threshold(&TIMES)),
        Evidence::number("rdd_partitions_count", rdd.partitions as f64, Unit::Count),
    ];
    plan::more_subjects(&mut finding, keys.iter().map(|&key| ctx.stage_subject(key)));
    let each = saved.wall_ms / (keys.len() - 1).max(1) as f64;
    finding.savings = savings(saved, keys.len(), each, "stages");
    finding.charged = keys.iter().skip(1).map(|&key| (key, each)).collect();
    let python = keys
        .iter()
        .filter_map(|key| ctx.run.stages.get(key))
        .all(|stage| stage.rdds.iter().any(|rdd| rdd.name == "PythonRDD"));
    if python {
        finding.advice = vec![Advice::text(
            "PySpark runs chained functions as one step, so the log does not show where they part. In the program, find the \
             last RDD that these jobs share, `persist()` it before the first action that uses it and `unpersist()` it after the \
             last.",
        )];
        return finding;
    }
    finding.advice = vec![Advice::text(format!(
        "Keep the RDD: `persist(StorageLevel.MEMORY_AND_DISK)` on RDD {} ({}{callsite}) before the first action that uses it, \
         `unpersist()` after the last.",
        rdd.id, name,
    ))];
    if growing {
        finding.advice.push(Advice::text(
            "An algorithm in a loop makes each round's data from all rounds before. Persist every round's result and cut the \
             lineage every ten rounds or so with `checkpoint()` (after `sc.setCheckpointDir`) or `localCheckpoint()`.",
        ));
    }
    finding
}

/// Whether later stages have more RDDs than earlier ones, each than the one before.
fn lineage_grows(ctx: &Context<'_>, keys: &[StageKey]) -> bool {
    let sizes: Vec<usize> = keys.iter().filter_map(|key| Some(ctx.run.stages.get(key)?.rdds.len())).collect();
    sizes.len() >= 3 && sizes.windows(2).all(|pair| matches!(pair, [before, after] if after > before))
}

#[cfg(test)]
mod tests;
