//! SQL executions and Spark Connect operations.

use emberscope_run::{ConnectOperation, PlanMetric, SqlExecution, SqlExecutionId, Timestamp};

use super::{Builder, Position};
use crate::sources::event_log::events::{SqlPlan, SqlStart};

impl Builder {
    fn sql(&mut self, id: SqlExecutionId, at: Position<'_>) -> Option<&mut SqlExecution> {
        if !self.run.sql_executions.contains_key(&id) {
            if !self.room(self.run.sql_executions.len(), "SQL executions", at) {
                return None;
            }
            self.run.sql_executions.insert(id, SqlExecution { id, ..SqlExecution::default() });
        }
        self.run.sql_executions.get_mut(&id)
    }

    fn plan_was_cut(&mut self, nodes: u64, at: Position<'_>) {
        self.run.issues.add_many(
            emberscope_run::IssueCode::LimitReached,
            nodes,
            || at.text(),
            || "a plan is deeper than 300 levels or has more than 20,000 nodes; the rest of it is left out".to_owned(),
        );
    }

    pub(super) fn sql_start(&mut self, start: SqlStart, at: Position<'_>) {
        self.saw(start.at);
        if let Some(plan) = &start.plan {
            self.plan_was_cut(plan.cut, at);
        }
        self.plan_metrics = None;
        if let Some(sql) = self.sql(start.id, at) {
            sql.root_id = start.root_id;
            sql.description = start.description;
            sql.details = start.details;
            sql.started_at = start.at;
            sql.plan = start.plan.map(|plan| plan.root);
            sql.modified_configs = start.modified_configs;
            sql.tags = start.tags;
        }
    }

    pub(super) fn sql_end(
        &mut self,
        id: SqlExecutionId,
        time: Option<Timestamp>,
        error: Option<String>,
        at: Position<'_>,
    ) {
        self.saw(time);
        if let Some(sql) = self.sql(id, at) {
            sql.ended_at = time;
            sql.error_message = error;
        }
    }

    pub(super) fn sql_replan(&mut self, id: SqlExecutionId, plan: SqlPlan, at: Position<'_>) {
        self.plan_was_cut(plan.cut, at);
        self.plan_metrics = None;
        if let Some(sql) = self.sql(id, at) {
            if sql.replans == 0 {
                sql.initial_nodes = sql
                    .nodes()
                    .iter()
                    .map(|node| node.name.clone())
                    .filter(|name| name.contains("Join") || name.contains("Exchange"))
                    .collect();
            }
            sql.replans += 1;
            sql.plan = Some(plan.root);
        }
    }

    /// Metrics that adaptive execution added: they belong to the node that has none of that name yet.
    pub(super) fn sql_metrics(&mut self, id: SqlExecutionId, metrics: Vec<PlanMetric>) {
        if let Some(plan) = self.run.sql_executions.get_mut(&id).and_then(|sql| sql.plan.as_mut()) {
            let known = match self.plan_metrics.take() {
                Some((of, known)) if of == id => known,
                _ => plan.nodes().iter().flat_map(|node| &node.metrics).map(|metric| metric.accumulator_id).collect(),
            };
            let (_, known) = self.plan_metrics.insert((id, known));
            // The event does not say which node; the root stands for the execution.
            plan.metrics.extend(metrics.into_iter().filter(|metric| known.insert(metric.accumulator_id)));
        }
    }

    pub(super) fn connect(&mut self, operation: ConnectOperation, at: Position<'_>) {
        self.saw(operation.started_at);
        self.saw(operation.ended_at);
        if !self.run.connect_operations.contains_key(&operation.id)
            && !self.room(self.run.connect_operations.len(), "Spark Connect operations", at)
        {
            return;
        }
        let known = self.run.connect_operations.entry(operation.id.clone()).or_default();
        known.id = operation.id;
        known.job_tag = operation.job_tag.or(known.job_tag.take());
        known.user = operation.user.or(known.user.take());
        known.statement = operation.statement.or(known.statement.take());
        known.started_at = operation.started_at.or(known.started_at);
        known.ended_at = operation.ended_at.or(known.ended_at);
        known.error = operation.error.or(known.error.take());
        known.canceled |= operation.canceled;
    }
}
