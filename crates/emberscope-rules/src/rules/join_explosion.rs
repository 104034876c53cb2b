//! A join puts out many times the rows it takes in, or tries every pair of rows.

use std::collections::BTreeMap;

use emberscope_run::{PlanNode, SqlExecutionId, StageKey, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::plan::{self, Cost, Join, Plan, Side, SqlStages};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::JoinExplosion,
    summary: "A join put out many times the rows of its larger input, or tried every pair of rows.",
    documentation: include_str!("join_explosion.md"),
    thresholds: &[FACTOR, MIN_ROWS, MIN_PAIRS, FLOOR],
    explained_by: &[],
    check,
};

const FACTOR: Threshold = Threshold {
    name: "output_factor",
    value: 2.5,
    unit: Unit::Ratio,
    reason: "rows out over rows of the larger input; a join with a dimension gives 1. A list of two or three \
             entries a key is common and a list of more may be meant: then the finding says what it costs. Set on \
             the training families of datasets/lab (`emberscope calibrate`)",
};
const MIN_ROWS: Threshold = Threshold {
    name: "min_output_rows",
    value: 1_000_000.0,
    unit: Unit::Count,
    reason: "a core puts out a million joined rows in about a second: fewer are no explosion to anybody. Set by \
             judgement, not contradicted by the training families of datasets/lab (`emberscope calibrate`)",
};
const MIN_PAIRS: Threshold = Threshold {
    name: "min_pairs",
    value: 100_000_000.0,
    unit: Unit::Count,
    reason: "pairs that a join without equal keys tried; a core tries some ten million a second. Set by \
             judgement, which no labelled run of datasets/lab decides (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.03,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time that the surplus rows took; below it nobody gains by mending",
};

/// A join that multiplies rows.
struct Explosion<'a> {
    execution: SqlExecutionId,
    node: &'a PlanNode,
    join: Join<'a>,
    left: u64,
    right: u64,
    output: Option<u64>,
    /// Pairs tried, for joins without equal keys.
    pairs: Option<f64>,
    /// Share of the stages' time that the surplus takes.
    surplus: f64,
    stages: Vec<StageKey>,
    cost: Cost,
    saved: Cost,
    spilled: u64,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if let Some(outcome) = plan::unable(ctx.run) {
        return outcome;
    }
    let plans = plan::plans(ctx.run);
    let stages = SqlStages::of(ctx);
    let mut groups: BTreeMap<String, Vec<Explosion<'_>>> = BTreeMap::new();
    let (mut seen, mut measured) = (0, 0);
    for plan in &plans {
        for node in plan.nodes() {
            let Some(join) = Join::of(node) else { continue };
            seen += 1;
            let (Some(left), Some(right)) = (join.rows(Side::Left), join.rows(Side::Right)) else { continue };
            measured += 1;
            if let Some(found) = measure(ctx, &stages, plan, node, join, (left, right)) {
                groups.entry(plan::normalised(&node.description)).or_default().push(found);
            }
        }
    }
    if seen > 0 && measured == 0 {
        return Outcome::missing("plan metrics of the inputs of joins (number of output rows)");
    }
    Outcome::of(groups.into_values().filter_map(|group| finding(ctx, group)).collect())
}

fn measure<'a>(
    ctx: &Context<'_>,
    stages: &SqlStages<'_>,
    plan: &Plan<'a>,
    node: &'a PlanNode,
    join: Join<'a>,
    (left, right): (u64, u64),
) -> Option<Explosion<'a>> {
    let larger = left.max(right).max(1) as f64;
    let output = plan::own_rows(node);
    let exploded = join.can_multiply()
        && output
            .is_some_and(|out| out as f64 >= ctx.threshold(&MIN_ROWS) && out as f64 >= ctx.threshold(&FACTOR) * larger);
    let pairs = join.kind.tries_every_pair().then_some(left as f64 * right as f64);
    let tried =
        pairs.is_some_and(|pairs| pairs >= ctx.threshold(&MIN_PAIRS) && pairs >= ctx.threshold(&FACTOR) * larger);
    if !exploded && !tried {
        return None;
    }
    // Time goes with the rows or pairs that the join handles; without the surplus it would handle its larger input.
    let handled = output.map_or(0.0, |out| out as f64).max(pairs.unwrap_or(0.0)).max(larger);
    let surplus = 1.0 - larger / handled;
    let execution = plan.execution.id;
    let ran = stages.updating(execution, &plan.accumulators_near(node));
    let cost = SqlStages::cost(ctx, &ran);
    let spilled = ran
        .iter()
        .filter_map(|key| ctx.features.stages.get(key)?.sum(emberscope_extract::features::Metric::DiskBytesSpilled))
        .fold(0_u64, u64::saturating_add);
    Some(Explosion {
        execution,
        node,
        join,
        left,
        right,
        output,
        pairs,
        surplus,
        stages: ran.into_iter().collect(),
        cost,
        saved: cost.share(surplus),
        spilled,
    })
}

fn finding(ctx: &Context<'_>, mut group: Vec<Explosion<'_>>) -> Option<Finding> {
    let saved = group.iter().fold(Cost::default(), |sum, found| sum.plus(found.saved));
    if ctx.below_floor(saved.wall_ms, &FLOOR) {
        return None;
    }
    group.sort_by(|a, b| b.saved.wall_ms.total_cmp(&a.saved.wall_ms));
    let first = group.first()?;
    let larger = first.left.max(first.right).max(1) as f64;
    let keys = first.join.keys().map_or_else(|| " without equal keys".to_owned(), |keys| format!(" on {keys}"));
    let did = match (first.output, first.pairs) {
        (Some(out), None) => {
            format!("put out {} rows, {} its larger input", words::count(out), words::times(out as f64 / larger))
        }
        (out, Some(pairs)) => format!(
            "tried {} pairs of rows{}",
            words::count(pairs as u64),
            out.map_or_else(String::new, |out| format!(" to put out {}", words::count(out))),
        ),
        (None, None) => return None,
    };
    let repeated =
        if group.len() > 1 { format!(", and so do {} more like it", group.len() - 1) } else { String::new() };
    let mut finding = Finding::new(
        Problem::JoinExplosion,
        confidence(ctx, first, larger),
        subject(first),
        format!(
            "{}{keys} in SQL execution {} took in {} and {} rows and {did}{repeated}",
            plan::canonical(&first.node.name),
            first.execution,
            words::count(first.left),
            words::count(first.right),
        ),
    );
    finding.evidence = vec![
        Evidence::number("left_input_rows_count", first.left as f64, Unit::Count),
        Evidence::number("right_input_rows_count", first.right as f64, Unit::Count),
    ];
    if let Some(output) = first.output {
        let evidence = Evidence::number("output_rows_count", output as f64, Unit::Count);
        finding.evidence.push(if first.pairs.is_none() {
            evidence.over(ctx.threshold(&FACTOR) * larger)
        } else {
            evidence
        });
    }
    if let Some(pairs) = first.pairs {
        finding
            .evidence
            .push(Evidence::number("pairs_tried_count", pairs, Unit::Count).over(ctx.threshold(&MIN_PAIRS)));
    }
    if first.spilled > 0 {
        finding.evidence.push(Evidence::number("disk_bytes_spilled_sum_bytes", first.spilled as f64, Unit::Bytes));
    }
    plan::more_subjects(&mut finding, group.iter().skip(1).map(subject));
    finding.savings = Savings {
        wall_clock_ms: Some(saved.wall_ms.round() as u64),
        core_ms: Some(saved.task_ms.round() as u64),
        how: format!(
            "{} of the {} of task time in the join's stages, as the join handled {} {} where its larger input has {}{}",
            words::percent(first.surplus),
            words::duration(first.cost.task_ms),
            words::count(first.pairs.unwrap_or(0.0).max(first.output.unwrap_or(0) as f64) as u64),
            if first.pairs.is_some() { "pairs" } else { "rows" },
            words::count(larger as u64),
            if group.len() > 1 { format!("; and so for {} joins", group.len()) } else { String::new() },
        ),
    };
    for found in &group {
        SqlStages::charge(ctx, &mut finding, &found.stages, found.saved.wall_ms);
    }
    finding.advice = advice(first);
    Some(finding)
}

/// Rows that came out are sure; pairs that were tried may be what the question needs.
fn confidence(ctx: &Context<'_>, found: &Explosion<'_>, larger: f64) -> f64 {
    match (found.pairs, found.output) {
        (None, Some(output)) => (0.65 + 0.1 * (output as f64 / larger / ctx.threshold(&FACTOR)).ln()).clamp(0.65, 0.9),
        _ => 0.75,
    }
}

fn subject(found: &Explosion<'_>) -> Subject {
    let mut subject = Subject::sql(found.execution, Some(found.node.id)).named(plan::canonical(&found.node.name));
    // The stage of the join, so that what its tasks suffer is told as a consequence.
    if let [only] = found.stages.as_slice() {
        subject.stage_id = Some(only.stage_id.0);
        subject.stage_attempt = Some(only.attempt);
    }
    subject
}

fn advice(found: &Explosion<'_>) -> Vec<Advice> {
    let (left, right) = (found.join.side_name(Side::Left), found.join.side_name(Side::Right));
    if found.pairs.is_some() {
        let condition = condition(found);
        if found.join.type_name == Some("LeftAnti") && condition.contains("isnull") {
            return vec![Advice::text(format!(
                "This is `NOT IN` over a column that can be null{condition}: one null would drop every row, so Spark tries all \
                 pairs. `NOT EXISTS`, or `NOT IN (SELECT ... WHERE key IS NOT NULL)` on a column that is not null, becomes a \
                 join by equal keys.",
            ))];
        }
        let mut all = vec![Advice::text(format!(
            "{} joins {left} and {right} without any equal key{condition}, so every row meets every row. If a condition is \
             missing, add it. If keys are compared through OR, cast or a function, bring them to one form in a column of each \
             side and compare those; split an OR into a union of two joins.",
            plan::canonical(&found.node.name),
        ))];
        all.push(Advice::text(
            "If it is a join by range (a time in an interval), add an equal key: cut the range into buckets (hour, day), put \
             the bucket in both sides and join on it as well as on the range.",
        ));
        return all;
    }
    let keys = found.join.keys().unwrap_or_else(|| "the join keys".to_owned());
    vec![
        Advice::text(format!(
            "The key {keys} is unique on neither side. Count on each, {left} and {right}: `SELECT key, count(*) ... GROUP BY key \
             ORDER BY 2 DESC LIMIT 10`. A few keys with huge counts are null, empty or default values: filter them out. Many \
             keys with a few rows each mean that a column is missing from the condition.",
        )),
        Advice::text(
            "If one side only tells whether or with what total it matches, aggregate it by the key (or drop duplicates) before \
             the join, or use a left semi join.",
        ),
    ]
}

/// The condition of a nested-loop join, from its description.
fn condition(found: &Explosion<'_>) -> String {
    let description = found.node.description.as_str();
    let from =
        description.find('(').and_then(|at| description.get(at..)).unwrap_or("").trim_end_matches(", false").trim();
    let text: String = plan::normalised(from).chars().take(160).collect();
    if text.is_empty() { String::new() } else { format!(" (its condition is {text})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PlanNodeExt, RunBuilder, check, node, outcome, run};

    fn join(text: &str, left: i64, right: i64, out: i64) -> RunBuilder {
        let side = |rows: i64| node("Project").over(node("Range").metric("number of output rows", rows));
        let plan = node(text).metric("number of output rows", out).over(side(left)).over(side(right));
        run().executor("1", 4).sql(0, plan).sql_stage(0, 0, &[0], |stage| {
            (0..4).for_each(|partition| {
                stage.task(partition).duration_ms(10_000);
            });
        })
    }

    #[test]
    fn a_join_that_puts_out_forty_times_its_larger_input_is_found() {
        let findings =
            check(&RULE, &join("SortMergeJoin | SortMergeJoin [k#1], [k#2], Inner", 100_000, 50_000, 4_000_000));
        assert_eq!(findings.len(), 1);
        // 1 - 100,000 / 4,000,000 = 97.5 % of 10 s.
        assert_eq!(findings[0].savings.wall_clock_ms, Some(9_750));
        assert_eq!(findings[0].subject.plan_node_id, Some(0));
    }

    #[test]
    fn just_under_two_and_a_half_times_is_no_explosion() {
        let text = "SortMergeJoin | SortMergeJoin [k#1], [k#2], Inner";
        assert_eq!(check(&RULE, &join(text, 800_000, 50_000, 1_999_999)), []);
        assert_eq!(check(&RULE, &join(text, 800_000, 50_000, 2_000_000)).len(), 1);
    }

    #[test]
    fn a_semi_join_cannot_explode() {
        assert_eq!(
            check(&RULE, &join("SortMergeJoin | SortMergeJoin [k#1], [k#2], LeftSemi", 100_000, 50_000, 4_000_000)),
            []
        );
    }

    #[test]
    fn a_nested_loop_is_found_for_its_pairs_whatever_it_puts_out() {
        let text = "BroadcastNestedLoopJoin | BroadcastNestedLoopJoin BuildRight, Inner, (a#1 < b#2)";
        let findings = check(&RULE, &join(text, 100_000, 1_000, 10));
        assert!(findings[0].summary.contains("100,000,000 pairs"), "{}", findings[0].summary);
        assert!(findings[0].advice[0].text.contains("(a < b)"), "{}", findings[0].advice[0].text);
        assert_eq!(check(&RULE, &join(text, 100_000, 999, 10)), []);
    }

    #[test]
    fn joins_without_rows_are_skipped() {
        let plan = node("SortMergeJoin").metric("number of output rows", 10).over(node("Expand")).over(node("Expand"));
        assert!(matches!(outcome(&RULE, &run().sql(0, plan)), Outcome::Skipped { .. }));
    }
}
