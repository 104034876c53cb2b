//! The stages that ran a part of a plan, and what they cost.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_run::{AccumulatorId, SqlExecutionId, StageKey};

use crate::finding::Finding;
use crate::plan::{self, Operator};
use crate::rule::Context;

/// What stages cost, or what of it would be saved.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cost {
    /// Wall-clock time of the run in ms, shared with the stages that ran beside them.
    pub(crate) wall_ms: f64,
    /// Task time in ms.
    pub(crate) task_ms: f64,
}

impl Cost {
    /// Both together.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { wall_ms: self.wall_ms + other.wall_ms, task_ms: self.task_ms + other.task_ms }
    }

    /// A share of it, at least none and at most all.
    #[must_use]
    pub(crate) fn share(self, share: f64) -> Self {
        // Written so that NaN is none.
        let share = if share > 0.0 { share.min(1.0) } else { 0.0 };
        Self { wall_ms: self.wall_ms * share, task_ms: self.task_ms * share }
    }

    /// The part that so many ms of task time are, in proportion; none when no task time is known.
    #[must_use]
    pub(crate) fn of_task_ms(self, task_ms: f64) -> Self {
        if self.task_ms > 0.0 { self.share(task_ms / self.task_ms) } else { Self::default() }
    }
}

/// The stages of SQL executions that ran, by the accumulators they updated.
#[derive(Debug, Clone, Default)]
pub(crate) struct SqlStages<'a> {
    by_execution: BTreeMap<SqlExecutionId, Vec<(StageKey, &'a BTreeSet<AccumulatorId>)>>,
}

impl<'a> SqlStages<'a> {
    /// The stages of a run's SQL executions of which a task ended.
    pub(crate) fn of(ctx: &Context<'a>) -> Self {
        let mut by_execution: BTreeMap<SqlExecutionId, Vec<_>> = BTreeMap::new();
        for (&key, stage) in ctx.run.stages.iter().filter(|(_, stage)| !stage.tasks.is_empty()) {
            if let Some(execution) = stage.sql_execution_id {
                by_execution.entry(execution).or_default().push((key, &stage.accumulators));
            }
        }
        Self { by_execution }
    }

    /// All stages of an execution that ran.
    pub(crate) fn all(&self, execution: SqlExecutionId) -> BTreeSet<StageKey> {
        self.by_execution.get(&execution).into_iter().flatten().map(|&(key, _)| key).collect()
    }

    /// The stages of an execution that updated one of the accumulators; all of them when no stage of it says what it
    /// updated.
    pub(crate) fn updating(
        &self,
        execution: SqlExecutionId,
        accumulators: &BTreeSet<AccumulatorId>,
    ) -> BTreeSet<StageKey> {
        let stages = self.by_execution.get(&execution).map(Vec::as_slice).unwrap_or_default();
        if stages.iter().all(|(_, updated)| updated.is_empty()) {
            return stages.iter().map(|&(key, _)| key).collect();
        }
        stages.iter().filter(|(_, updated)| !updated.is_disjoint(accumulators)).map(|&(key, _)| key).collect()
    }

    /// The stages whose rows are collected to be broadcast.
    pub(crate) fn broadcasting(ctx: &Context<'_>) -> BTreeSet<StageKey> {
        let stages = SqlStages::of(ctx);
        let plans = plan::plans(ctx.run);
        let broadcasts = plans.iter().flat_map(|plan| {
            let nodes = plan.nodes().filter(|node| plan::operator(node) == Operator::Broadcast);
            nodes.map(move |node| (plan.execution.id, node))
        });
        broadcasts
            .flat_map(|(id, node)| {
                stages.updating(id, &node.children.iter().flat_map(plan::accumulators_below).collect())
            })
            .collect()
    }

    /// Charges a finding's saving of `wall_ms` to the stages it comes from, in proportion to their time.
    pub(crate) fn charge<'s>(
        ctx: &Context<'_>,
        finding: &mut Finding,
        stages: impl IntoIterator<Item = &'s StageKey>,
        wall_ms: f64,
    ) {
        let times: Vec<(StageKey, f64)> =
            stages.into_iter().filter_map(|&key| Some((key, ctx.features.stages.get(&key)?.wall_clock_ms))).collect();
        let all: f64 = times.iter().map(|(_, ms)| ms).sum();
        if all > 0.0 {
            for (key, ms) in times {
                *finding.charged.entry(key).or_default() += wall_ms * ms / all;
            }
        }
    }

    /// What stages cost.
    pub(crate) fn cost(ctx: &Context<'_>, stages: &BTreeSet<StageKey>) -> Cost {
        stages.iter().filter_map(|key| ctx.features.stages.get(key)).fold(Cost::default(), |sum, stage| {
            sum.plus(Cost { wall_ms: stage.wall_clock_ms, task_ms: stage.task_ms() as f64 })
        })
    }
}
