//! What is known only at the end of a log.

use std::collections::HashMap;

use emberscope_run::{
    AccumulatorId, IssueCode, NULL, PlanNode, Run, SqlExecution, SqlExecutionId, StageKey, StageStatus, TaskColumn,
    Timestamp,
};

use super::{Builder, Hashing};

/// A run is doubted from here on: no JVM is known to have run a year, and a log with a wrong clock says decades.
const LONGEST_RUN_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

impl Builder {
    /// Ties jobs, stages, SQL executions and metrics together and gives the run.
    pub(in super::super) fn finish(mut self) -> Run {
        self.executor_peaks();
        let mut run = self.run;
        link_sql(&mut run);
        for sql in run.sql_executions.values_mut() {
            if let Some(plan) = &mut sql.plan {
                fill_metrics(plan, &self.accumulators);
            }
        }
        count_cached_rdd_stages(&mut run);
        settle_stages(&mut run);
        local_cores(&mut run);
        missing_events(&mut run);
        run
    }

    fn executor_peaks(&mut self) {
        for (index, peaks) in self.task_peaks.iter().enumerate() {
            let (Some(peaks), Some(id)) = (peaks, self.run.executor_names.get(index)) else { continue };
            if let Some(executor) = self.run.executors.get_mut(id) {
                for (&column, &peak) in TaskColumn::executor_metrics().iter().zip(peaks) {
                    if peak != NULL {
                        executor.peaks.raise(column, peak);
                    }
                }
            }
        }
    }
}

fn link_sql(run: &mut Run) {
    for job in run.jobs.values() {
        for id in job.sql_execution_id.iter().chain(&job.sql_root_execution_id) {
            // A job may name an execution whose start was lost: what its jobs show of it is kept.
            let sql =
                run.sql_executions.entry(*id).or_insert_with(|| SqlExecution { id: *id, ..SqlExecution::default() });
            if job.sql_execution_id == Some(*id) {
                sql.job_ids.insert(job.id);
            }
        }
    }
    let by_tag: HashMap<&str, &str> = run
        .connect_operations
        .values()
        .filter_map(|operation| Some((operation.job_tag.as_deref()?, operation.id.as_str())))
        .collect();
    for sql in run.sql_executions.values_mut() {
        let operation = sql.tags.iter().find_map(|tag| by_tag.get(tag.as_str()));
        sql.connect_operation_id = operation.map(|&id| id.to_owned());
    }
}

/// Fills the metrics of a plan with their last values. `-1` is Spark's mark for a size or time that was never set.
fn fill_metrics(node: &mut PlanNode, values: &HashMap<AccumulatorId, i64, Hashing>) {
    for metric in &mut node.metrics {
        metric.value = values.get(&metric.accumulator_id).copied().filter(|&value| value >= 0);
    }
    for child in &mut node.children {
        fill_metrics(child, values);
    }
}

fn count_cached_rdd_stages(run: &mut Run) {
    for stage in run.stages.values().filter(|stage| !stage.tasks.is_empty()) {
        for info in &stage.rdds {
            if let Some(rdd) = run.rdds.get_mut(&info.id) {
                rdd.stages += 1;
            }
        }
    }
}

fn settle_stages(run: &mut Run) {
    let open_jobs: std::collections::BTreeSet<_> =
        run.jobs.values().filter(|job| job.completed_at.is_none()).map(|job| job.id).collect();
    let complete = run.application.complete();
    let mut lost = 0;
    let mut first = None;
    for stage in run.stages.values_mut() {
        stage.tasks.seal();
        stage.pending = !complete && stage.job_ids.iter().any(|job| open_jobs.contains(job));
        let ended = matches!(stage.status(), StageStatus::Complete | StageStatus::Failed);
        if (ended || complete) && !stage.running.is_empty() {
            // Killed attempts of a finished stage may end after it; those never do in a log that goes on to its end.
            if complete {
                lost += stage.running.len() as u64;
                first.get_or_insert_with(|| format!("{} tasks of stage {}", stage.running.len(), stage.key));
            }
            stage.running.clear();
        }
    }
    let detail = || first.unwrap_or_default();
    run.issues.add_many(IssueCode::DroppedEvents, lost, || None, detail);
    let in_job: HashMap<StageKey, SqlExecutionId> = run
        .stages
        .iter()
        .filter(|(_, stage)| stage.sql_execution_id.is_none())
        .filter_map(|(key, stage)| {
            let sql = stage.job_ids.iter().find_map(|job| run.jobs.get(job)?.sql_execution_id);
            Some((*key, sql?))
        })
        .collect();
    for (key, sql) in in_job {
        if let Some(stage) = run.stages.get_mut(&key) {
            stage.sql_execution_id = Some(sql);
        }
    }
}

/// The cores of `local[n]` where no event says them (Spark before 1.3).
fn local_cores(run: &mut Run) {
    let Some(master) = run.environment.spark.get("spark.master") else { return };
    let threads = master.strip_prefix("local[").and_then(|rest| rest.split([',', ']']).next());
    let cores = match (master, threads) {
        ("local", _) => Some(1),
        (_, Some(threads)) => threads.trim().parse().ok().filter(|cores: &u64| (1..=i32::MAX as u64).contains(cores)),
        _ => None,
    };
    if run.executors.len() == 1
        && let Some(executor) = run.executors.values_mut().next()
    {
        executor.cores = executor.cores.or(cores);
    }
}

fn missing_events(run: &mut Run) {
    let issues = &mut run.issues;
    let application = &run.application;
    if application.started_at.is_none() {
        issues.add(IssueCode::NoApplicationStart, || None, String::new);
    }
    if application.started_at.is_some() && application.id.is_none() {
        issues.add(IssueCode::NoApplicationId, || None, String::new);
    }
    let length = application.wall_clock().map_or(0, |length| length.0);
    if length > LONGEST_RUN_MS {
        let between = |at: Option<Timestamp>| at.map(Timestamp::to_rfc3339).unwrap_or_default();
        let detail = || format!("from {} to {}", between(application.start()), between(application.end()));
        issues.add(IssueCode::ImplausibleTimes, || None, detail);
    }
    if application.ended_at.is_none() {
        issues.add(IssueCode::NoApplicationEnd, || None, String::new);
    }
    if !run.environment.known {
        issues.add(IssueCode::NoEnvironment, || None, String::new);
    }
}
