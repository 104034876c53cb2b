//! What is usual: an isolation forest of runs, seen by how far each lies from healthy ones.
//!
//! A forest sees what stands out only among numbers that say something of a run's health; among five hundred, one that is off is not met. So it
//! looks at shares of time and of work that are lost, and at nothing that is a matter of what the run does. And it looks at them in one unit,
//! the distance from the median of healthy runs to their 2nd or 98th percentile: a share of 4 % is nothing where healthy runs have 10 %,
//! and a wonder where they have 0.1 %. It grows on runs with problems as well, as the paper's forests do: on healthy ones alone no split
//! would lie beyond what they have.

use std::collections::{BTreeMap, BTreeSet};

use emberscope_learn::{IsolationForest, IsolationForestParams, LearnError};
use emberscope_rules::Problem;
use ndarray::Array2;

use super::artefact::{AnomalyModel, Flagged, Unusual, UsualInput};
use super::examples::ObservedRun;
use super::inputs::inputs;
use super::level::Level;
use super::train::{TrainOptions, described};

/// Healthy runs below which nothing is promised.
const LEAST_RUNS: usize = 40;
/// Healthy runs in which a number has to be known.
const LEAST_KNOWN: usize = 30;
/// Parts of the families, each of which is scored by a forest of the others.
const PARTS: usize = 5;
/// The share of healthy runs beyond each of the two distances.
const TAIL: f64 = 0.02;
/// The least distance, as a share of the median, and by itself: what is the same in all healthy runs is not far from it at once.
const LEAST_DISTANCE: (f64, f64) = (0.02, 0.001);

/// What a run loses time by, and what it does twice.
const LOOKED_AT: [&str; 34] = [
    // Parts of the time of tasks.
    "gc_ratio",
    "scheduler_delay_ratio",
    "executor_deserialize_ratio",
    "result_serialization_ratio",
    "getting_result_ratio",
    "shuffle_fetch_wait_ratio",
    "shuffle_write_time_ratio",
    "cpu_ratio",
    // Work for nothing.
    "disk_spill_ratio",
    "memory_spill_ratio",
    "tasks_failed_ratio",
    "wasted_task_time_ratio",
    "tasks_killed_ratio",
    "tasks_speculative_over_tasks",
    "stages_retried_over_stage_attempts",
    "executors_removed_over_executors",
    // How evenly the tasks of a stage went, and in how many.
    "stage_attempts.mean.warm_task_duration_max_over_p50_ratio",
    "stage_attempts.mean.task_duration_max_over_p50_ratio",
    "stage_attempts.mean.task_duration_max_over_sum_ratio",
    "stage_attempts.mean.waves_ratio",
    "stage_attempts.mean.first_task_wait_ms_over_wall_clock",
    // Time without tasks.
    "driver_gap_max_ms_over_wall_clock",
    "before_first_task_ms_over_wall_clock",
    "no_task_ratio",
    "tasks_at_once_mean_ratio",
    "streaming_busy_ratio",
    // What queries do.
    "sql_executions.mean.scan_time_ms_over_wall_clock",
    "sql_executions.mean.join_output_over_input_ratio",
    "sql_executions.mean.rows_dropped_unpushed_ratio",
    "sql_executions.mean.broadcast_time_ms_over_wall_clock",
    // Executors and their memory.
    "relative_duration_max_ratio",
    "executors.mean.after_last_task_ms_over_wall_clock",
    "peak_unified_memory_over_max_ratio",
    "total_gc_time_max_ms_over_wall_clock",
];

/// Places of the inputs in the list of those of a run.
fn looked_at() -> Vec<usize> {
    let place = |name: &&str| inputs(Level::Run).iter().position(|input| input.name == **name);
    LOOKED_AT.iter().filter_map(place).collect()
}

impl UsualInput {
    /// How far a value is from the median of healthy runs, in distances to their percentile on that side; unknown stays unknown.
    pub(super) fn distance(&self, value: f64) -> f64 {
        let Some(typical) = self.input.typical else { return f64::NAN };
        if value >= typical { (value - typical) / self.above } else { (typical - value) / self.below }
    }
}

/// The inputs as a forest sees them: runs x inputs.
pub(super) fn distances(asked: &[UsualInput], values: &Array2<f64>) -> Array2<f64> {
    let mut distances = values.clone();
    for (mut column, input) in distances.columns_mut().into_iter().zip(asked) {
        column.mapv_inplace(|value| input.distance(value));
    }
    distances
}

/// A forest with what it looks at: the inputs that are known in enough healthy runs, and their places among all.
struct Grown {
    inputs: Vec<UsualInput>,
    at: Vec<usize>,
    forest: IsolationForest,
}

/// Runs with the numbers that are looked at.
struct Table<'a> {
    runs: Vec<&'a ObservedRun>,
    /// Runs x inputs that are looked at.
    values: Array2<f64>,
    used: Vec<usize>,
}

impl<'a> Table<'a> {
    fn of(observed: &'a [ObservedRun]) -> Self {
        let used = looked_at();
        let mut runs = Vec::new();
        let mut values = Vec::new();
        for run in observed {
            let row = run.observations.get(&Level::Run).and_then(|rows| rows.values.rows().into_iter().next());
            if let Some(row) = row {
                values.extend(used.iter().map(|&at| row.get(at).copied().unwrap_or(f64::NAN)));
                runs.push(run);
            }
        }
        let values = Array2::from_shape_vec((runs.len(), used.len()), values);
        Self { runs, values: values.unwrap_or_else(|_| Array2::zeros((0, used.len()))), used }
    }

    fn rows(&self, keep: impl Fn(&ObservedRun) -> bool) -> Array2<f64> {
        let rows: Vec<usize> = (0..self.runs.len()).filter(|&row| keep(self.runs[row])).collect();
        self.values.select(ndarray::Axis(0), &rows)
    }

    /// A forest of some runs, which sees them by how far they are from the healthy ones among them.
    fn grow(&self, keep: impl Fn(&ObservedRun) -> bool, seed: u64) -> Result<Option<Grown>, LearnError> {
        let all = self.rows(&keep);
        let healthy = self.rows(|run| keep(run) && run.label.healthy());
        let mut asked = Vec::new();
        let mut at = Vec::new();
        for (place, &input) in self.used.iter().enumerate() {
            if let Some(usual) = usual_input(input, place, &all, &healthy) {
                asked.push(usual);
                at.push(place);
            }
        }
        if asked.is_empty() || all.nrows() < 2 {
            return Ok(None);
        }
        let params = IsolationForestParams { seed, ..IsolationForestParams::default() };
        let forest = params.fit(&distances(&asked, &all.select(ndarray::Axis(1), &at)))?;
        Ok(Some(Grown { inputs: asked, at, forest }))
    }

    /// The score of each run by a forest that saw neither its family nor a run that is left out; `None` where there is no forest.
    fn scores(&self, keep: impl Fn(&ObservedRun) -> bool, seed: u64) -> Result<Vec<Option<f64>>, LearnError> {
        let families: BTreeSet<&str> = self.runs.iter().map(|run| run.label.family.as_str()).collect();
        let part_of = |run: &ObservedRun| families.range(..run.label.family.as_str()).count() % PARTS;
        let mut scores = vec![None; self.runs.len()];
        for part in 0..PARTS {
            let Some(grown) = self.grow(|run| part_of(run) != part && keep(run), seed)? else { continue };
            let rows: Vec<usize> = (0..self.runs.len()).filter(|&row| part_of(self.runs[row]) == part).collect();
            let values = self.values.select(ndarray::Axis(0), &rows).select(ndarray::Axis(1), &grown.at);
            let given = grown.forest.scores(&distances(&grown.inputs, &values))?;
            rows.iter().zip(given).for_each(|(&row, score)| scores[row] = Some(score));
        }
        Ok(scores)
    }

    /// The score that a further healthy run of another workload exceeds with about a probability of the rate, by the healthy runs of the families
    /// that are kept (split conformal prediction; runs of a family are alike, and the forest that is used saw all of them: hence about). `None`
    /// with too few healthy runs for the rate.
    fn threshold(&self, scores: &[Option<f64>], rate: f64, keep: impl Fn(&str) -> bool) -> Option<f64> {
        let kept = |run: &ObservedRun| run.label.healthy() && keep(&run.label.family);
        let healthy = self.runs.iter().zip(scores).filter(|(run, _)| kept(run));
        let mut of_healthy: Vec<f64> = healthy.filter_map(|(_, score)| *score).collect();
        if of_healthy.len() < LEAST_RUNS {
            return None;
        }
        of_healthy.sort_by(f64::total_cmp);
        let rank = ((1.0 - rate) * (of_healthy.len() as f64 + 1.0)).ceil() as usize;
        // With fewer runs than the rate needs, no score is high enough.
        rank.checked_sub(1).and_then(|at| of_healthy.get(at).copied())
    }
}

/// An input with what healthy runs have of it; `None` where too few of them have any.
fn usual_input(input: usize, at: usize, all: &Array2<f64>, healthy: &Array2<f64>) -> Option<UsualInput> {
    let mut known: Vec<f64> = healthy.column(at).iter().copied().filter(|value| !value.is_nan()).collect();
    if known.len() < LEAST_KNOWN {
        return None;
    }
    known.sort_by(f64::total_cmp);
    let quantile = |share: f64| known.get((share * (known.len() - 1) as f64).round() as usize).copied();
    let input = described(Level::Run, input, at, all.view(), healthy.view());
    let typical = input.typical?;
    let least = (LEAST_DISTANCE.0 * typical.abs()).max(LEAST_DISTANCE.1);
    let (below, above) = (typical - quantile(TAIL)?, quantile(1.0 - TAIL)? - typical);
    Some(UsualInput { input, below: below.max(least), above: above.max(least) })
}

/// The model of what is usual in labelled runs; `None` with too few healthy ones to promise anything.
///
/// # Errors
///
/// When an observation is infinite.
pub fn usual(observed: &[ObservedRun], options: &TrainOptions) -> Result<Option<AnomalyModel>, LearnError> {
    let table = Table::of(observed);
    let scores = table.scores(|_| true, options.seed)?;
    let Some(threshold) = table.threshold(&scores, options.false_alarm_rate, |_| true) else { return Ok(None) };
    let Some(Grown { inputs, forest, .. }) = table.grow(|_| true, options.seed)? else { return Ok(None) };
    Ok(Some(AnomalyModel {
        level: Level::Run,
        inputs,
        forest: forest.with_threshold(threshold),
        runs: table.runs.len() as u64,
        healthy_runs: table.runs.iter().filter(|run| run.label.healthy()).count() as u64,
        false_alarm_rate: options.false_alarm_rate,
    }))
}

/// What forests flag of the labelled runs that saw neither their family nor any run with their problem.
pub(super) fn unusual(observed: &[ObservedRun], options: &TrainOptions) -> Result<Unusual, LearnError> {
    let table = Table::of(observed);
    let families: BTreeSet<&str> = table.runs.iter().map(|run| run.label.family.as_str()).collect();
    // Whether each run is flagged, by a threshold that knows no score of its family; `None` where there is none.
    let flagged = |scores: &[Option<f64>]| -> Vec<Option<bool>> {
        let of_family = |own: &&str| table.threshold(scores, options.false_alarm_rate, |family| family != *own);
        let thresholds: BTreeMap<&str, Option<f64>> = families.iter().map(|own| (*own, of_family(own))).collect();
        let runs = table.runs.iter().zip(scores);
        runs.map(|(run, score)| {
            let threshold = thresholds.get(run.label.family.as_str()).copied().flatten()?;
            score.map(|score| score > threshold)
        })
        .collect()
    };
    let mut unusual = Unusual::default();
    for (run, flagged) in table.runs.iter().zip(flagged(&table.scores(|_| true, options.seed)?)) {
        if let Some(flagged) = flagged.filter(|_| run.label.healthy()) {
            unusual.healthy.take(flagged);
        }
    }
    let problems: BTreeSet<Problem> = observed.iter().flat_map(|run| run.label.problems.keys().copied()).collect();
    for problem in problems {
        let scores = table.scores(|run| !run.label.problems.contains_key(&problem), options.seed)?;
        for (run, flagged) in table.runs.iter().zip(flagged(&scores)) {
            let label = run.label.problems.get(&problem).filter(|_| run.label.problems.len() == 1);
            if let (Some(label), Some(flagged)) = (label, flagged) {
                unusual.take(problem, label.strength, flagged);
            }
        }
    }
    Ok(unusual)
}

impl AnomalyModel {
    /// Whether a run stands out.
    ///
    /// # Errors
    ///
    /// When an observation is infinite.
    pub fn stands_out(&self, run: &ObservedRun) -> Result<bool, LearnError> {
        let Some(rows) = run.observations.get(&self.level) else { return Ok(false) };
        Ok(self.flagged(rows)?.is_some())
    }
}

impl Flagged {
    fn take(&mut self, flagged: bool) {
        self.runs += 1;
        self.flagged += u64::from(flagged);
    }
}

impl Unusual {
    fn take(&mut self, problem: Problem, strength: u8, flagged: bool) {
        let by_strength = self.problems.entry(problem.name().to_owned()).or_default();
        if let Some(counted) = usize::from(strength).checked_sub(1).and_then(|at| by_strength.get_mut(at)) {
            counted.take(flagged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_that_is_looked_at_is_an_input() {
        assert_eq!(looked_at().len(), LOOKED_AT.len());
    }

    #[test]
    fn a_distance_is_one_at_the_percentile_of_healthy_runs_on_either_side() {
        // 101 healthy runs with 0 to 100: the median is 50, the 2nd percentile 2, the 98th 98.
        let healthy = Array2::from_shape_fn((101, 1), |(row, _)| row as f64);
        let input = usual_input(0, 0, &healthy, &healthy).unwrap();
        assert_eq!((input.input.typical, input.below, input.above), (Some(50.0), 48.0, 48.0));
        let at = |value: f64| input.distance(value);
        assert_eq!((at(50.0), at(98.0), at(2.0), at(146.0)), (0.0, 1.0, 1.0, 2.0));
        assert!(at(f64::NAN).is_nan());
        // What all healthy runs have is not infinitely far from what is a little more.
        let same = Array2::from_elem((50, 1), 2.0);
        assert!((usual_input(0, 0, &same, &same).unwrap().distance(2.04) - 1.0).abs() < 1e-9);
        assert!(usual_input(0, 0, &same, &Array2::from_elem((29, 1), 2.0)).is_none(), "known in too few");
    }
}
