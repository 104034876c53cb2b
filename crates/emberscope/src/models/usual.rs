//! What is usual: isolation forests of healthy runs.
//!
//! A forest sees what stands out only among numbers that say something of a run's health; among five hundred, one that is off is not met.
//! So it looks at quotients by which time is lost or work repeated, and at nothing that is a matter of what the run does.

use emberscope_learn::{IsolationForest, IsolationForestParams, LearnError};
use ndarray::{Array2, Axis};

use super::artefact::{AnomalyModel, ModelInput};
use super::examples::ObservedRun;
use super::inputs::inputs;
use super::level::Level;
use super::train::{TrainOptions, described};

/// Healthy runs below which nothing is promised.
const LEAST_RUNS: usize = 40;
/// Parts of the families, each of which is scored by a forest of the others.
const PARTS: usize = 5;

/// Parts of a task's time, and what it took for nothing.
const TIMES: [&str; 11] = [
    "gc_ratio",
    "run_time_ratio",
    "scheduler_delay_ratio",
    "executor_deserialize_ratio",
    "result_serialization_ratio",
    "getting_result_ratio",
    "shuffle_fetch_wait_ratio",
    "shuffle_write_time_ratio",
    "disk_spill_ratio",
    "memory_spill_ratio",
    "tasks_failed_ratio",
];
/// How evenly the tasks of a stage attempt went.
const STAGE: [&str; 8] = [
    "cpu_ratio",
    "imbalance_ratio",
    "tail_ratio",
    "wasted_task_time_ratio",
    "warm_task_duration_max_over_p50_ratio",
    "bytes_in_max_over_p50_ratio",
    "peak_unified_memory_over_max_ratio",
    "result_size_sum_bytes_over_siblings",
];
const EXECUTOR: [&str; 7] = [
    "cpu_ratio",
    "relative_duration_ratio",
    "relative_bytes_ratio",
    "utilisation_ratio",
    "task_duration_share_of_run_ratio",
    "peak_unified_memory_over_max_ratio",
    "lifetime_ms_over_wall_clock",
];
const SQL: [&str; 6] = [
    "cpu_ratio",
    "no_task_ratio",
    "wasted_task_time_ratio",
    "output_over_input_ratio",
    "records_out_over_in_ratio",
    "before_first_job_ms_over_wall_clock",
];
const RUN: [&str; 22] = [
    "cpu_ratio",
    "no_task_ratio",
    "driver_gaps_ratio",
    "driver_gap_max_ms_over_wall_clock",
    "before_first_task_ms_over_wall_clock",
    "utilisation_ratio",
    "tasks_at_once_mean_ratio",
    "longest_stage_share_ratio",
    "relative_duration_max_ratio",
    "executor_gc_max_ratio",
    "wasted_task_time_ratio",
    "tasks_killed_ratio",
    "peak_unified_memory_over_max_ratio",
    "executors_removed_over_executors",
    "stages_retried_over_stage_attempts",
    "jobs_failed_over_jobs",
    "sql_executions_failed_over_sql_executions",
    "tasks_speculative_over_tasks",
    "streaming_busy_ratio",
    "stage_attempts.largest.imbalance_ratio",
    "stage_attempts.largest.warm_task_duration_max_over_p50_ratio",
    "stage_attempts.largest.scheduler_delay_ratio",
];

/// The inputs of a level's forest, as places in its list.
fn looked_at(level: Level) -> Vec<usize> {
    let own: &[&str] = match level {
        Level::StageAttempt => &STAGE,
        Level::Executor => &EXECUTOR,
        Level::SqlExecution => &SQL,
        Level::Run => &RUN,
    };
    let place = |name: &&str| inputs(level).iter().position(|input| input.name == **name);
    TIMES.iter().chain(own).filter_map(place).collect()
}

/// A model of what is usual at a level, and the labelled runs, by their place, that forests flag which did not see the run's family; `None`
/// with too few healthy runs to promise anything.
///
/// Its threshold is the score that a further healthy run of another workload exceeds somewhere with a probability of the rate that was asked
/// for, divided among the levels (split conformal prediction; the scores are by forests that did not see the run's family).
pub(super) fn usual(
    level: Level,
    observed: &[ObservedRun],
    options: &TrainOptions,
) -> Result<Option<(AnomalyModel, Vec<usize>)>, LearnError> {
    let used = looked_at(level);
    let healthy: Vec<&ObservedRun> = observed.iter().filter(|run| run.label.healthy()).collect();
    let mut families: Vec<&str> = healthy.iter().map(|run| run.label.family.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    let part = |run: &ObservedRun| families.binary_search(&run.label.family.as_str()).unwrap_or_default() % PARTS;
    let table = |keep: &dyn Fn(&ObservedRun) -> bool| {
        let mut values = Vec::new();
        for run in healthy.iter().filter(|run| keep(run)) {
            if let Some(rows) = run.observations.get(&level) {
                values.extend(rows.values.select(Axis(1), &used).iter().copied());
            }
        }
        let rows = values.len() / used.len().max(1);
        Array2::from_shape_vec((rows, used.len()), values).unwrap_or_else(|_| Array2::zeros((0, used.len())))
    };
    let params = IsolationForestParams { seed: options.seed, ..IsolationForestParams::default() };
    let mut highest = Vec::new();
    // Forests learn healthy runs only, so every problem is withheld from them.
    let mut seen: Vec<(usize, f64)> = Vec::new();
    for left_out in 0..PARTS {
        let others = table(&|run| part(run) != left_out);
        if others.nrows() < 2 {
            continue;
        }
        let forest = params.fit(&others)?;
        for (place, run) in observed.iter().enumerate().filter(|(_, run)| part(run) == left_out) {
            let Some(score) = highest_score(&forest, run, level, &used)? else { continue };
            seen.push((place, score));
            if run.label.healthy() {
                highest.push(score);
            }
        }
    }
    if highest.len() < LEAST_RUNS {
        return Ok(None);
    }
    let rate = options.false_alarm_rate / Level::ALL.len() as f64;
    highest.sort_by(f64::total_cmp);
    let rank = ((1.0 - rate) * (highest.len() as f64 + 1.0)).ceil() as usize;
    // With fewer runs than the rate needs, no score is high enough: a forest that never says anything.
    let Some(threshold) = rank.checked_sub(1).and_then(|at| highest.get(at).copied()) else { return Ok(None) };
    let rows = table(&|_| true);
    let forest = params.fit(&rows)?.with_threshold(threshold);
    let inputs: Vec<ModelInput> =
        (0..used.len()).map(|at| described(level, used[at], at, rows.view(), rows.view())).collect();
    let flagged = seen.into_iter().filter(|(_, score)| *score > threshold).map(|(place, _)| place).collect();
    let model = AnomalyModel {
        level,
        inputs,
        forest,
        rows: rows.nrows() as u64,
        runs: healthy.len() as u64,
        false_alarm_rate: rate,
    };
    Ok(Some((model, flagged)))
}

/// The highest score of a run's rows; `None` where it has none.
fn highest_score(
    forest: &IsolationForest,
    run: &ObservedRun,
    level: Level,
    used: &[usize],
) -> Result<Option<f64>, LearnError> {
    let Some(rows) = run.observations.get(&level) else { return Ok(None) };
    let scores = forest.scores(&rows.values.select(Axis(1), used))?;
    Ok(scores.iter().copied().max_by(f64::total_cmp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_that_is_looked_at_is_an_input() {
        let counts = [STAGE.len(), EXECUTOR.len(), SQL.len(), RUN.len()];
        for (&level, own) in Level::ALL.iter().zip(counts) {
            assert_eq!(looked_at(level).len(), TIMES.len() + own, "{level}");
        }
    }
}
