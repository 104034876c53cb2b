//! Examples: the rows of labelled runs with the answer to one question each, "is this where the problem is?".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use emberscope_learn::metrics::roc_auc;
use emberscope_rules::Problem;
use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;

use super::level::{Level, RowKey};
use super::observe::Observations;
use crate::evaluate::LabelledRun;

/// The least strength from which a labelled problem is an example of it; weaker ones are examples of nothing.
const LEAST_STRENGTH: u8 = 2;

/// A labelled run with what models see of it.
#[derive(Debug, Clone)]
pub struct ObservedRun {
    /// The label.
    pub label: LabelledRun,
    /// Its rows by level: those that can be a problem, which are judged.
    pub observations: BTreeMap<Level, Observations>,
    /// Every row by level, judged or not.
    pub keys: BTreeMap<Level, Vec<RowKey>>,
    /// How large it is: what [`Whole::sizes`](super::Whole::sizes) gives.
    pub sizes: BTreeMap<&'static str, f64>,
    /// Major and minor version of its Spark, where that is known.
    pub spark_version: Option<String>,
    /// The problems that rules found in it, and whether by themselves or only as what follows from another; `None` where rules could not look,
    /// as at feature tables.
    pub ruled: Option<BTreeMap<Problem, bool>>,
}

/// What a run is for one problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has the problem.
    Has,
    /// It does not.
    Free,
    /// Nobody can say: it was brought about too weakly, or without effect.
    Unsure,
}

impl Standing {
    pub(super) fn of(run: &LabelledRun, problem: Problem) -> Self {
        match run.problems.get(&problem) {
            Some(label) if label.strength >= LEAST_STRENGTH => Self::Has,
            Some(_) => Self::Unsure,
            None if run.unsure.contains(&problem) => Self::Unsure,
            None => Self::Free,
        }
    }
}

/// The examples of one problem.
#[derive(Debug, Clone)]
pub(super) struct Examples {
    /// Rows x inputs of the problem's level.
    pub(super) values: Array2<f64>,
    /// Whether the problem is there.
    pub(super) answers: Array1<bool>,
    /// Weights: those of a run with the same answer sum to 1, so that a run of many stages counts as much as one of few.
    pub(super) weights: Vec<f64>,
    /// The place of each row's run in [`Self::runs`].
    pub(super) run_of: Vec<usize>,
    /// The runs: family, and whether they have the problem.
    pub(super) runs: Vec<ExampleRun>,
    /// Whether each of the runs is one of these examples.
    pub(super) asked: Vec<bool>,
    /// For each family that has the problem: how well each input tells its rows apart, -0.5 to 0.5.
    telling: Arc<BTreeMap<String, Vec<f64>>>,
}

/// What rules said of a problem in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruled {
    /// Nothing.
    Silent,
    /// It follows from another one.
    Consequence,
    /// It is there.
    Found,
}

/// A run of the examples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExampleRun {
    pub(super) family: String,
    pub(super) has: bool,
    /// What rules said of the problem in it; `None` where they could not look.
    pub(super) ruled: Option<Ruled>,
}

impl Examples {
    /// The examples of a problem in observed runs. Runs that nobody can say anything of are left out. A run that has it at no row that models
    /// judge gives no rows, and counts as missed.
    pub(super) fn of(problem: Problem, observed: &[ObservedRun]) -> Self {
        let level = Level::of(problem);
        let columns = super::inputs::inputs(level).len();
        let mut values = Vec::new();
        let (mut answers, mut weights, mut run_of, mut runs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for run in observed {
            let standing = Standing::of(&run.label, problem);
            let Some(rows) = run.observations.get(&level) else { continue };
            let has: Vec<bool> = rows.keys.iter().map(|key| is_subject(key, run, problem, level)).collect();
            let (yes, no) = (has.iter().filter(|has| **has).count(), has.iter().filter(|has| !**has).count());
            if standing == Standing::Unsure {
                continue;
            }
            let known = standing == Standing::Free || yes > 0;
            for (row, &answer) in rows.values.rows().into_iter().zip(&has).filter(|_| known) {
                values.extend(row.iter().copied());
                answers.push(answer);
                weights.push(1.0 / if answer { yes } else { no } as f64);
                run_of.push(runs.len());
            }
            runs.push(ExampleRun {
                family: run.label.family.clone(),
                has: standing == Standing::Has,
                ruled: run.ruled.as_ref().map(|found| match found.get(&problem) {
                    None => Ruled::Silent,
                    Some(false) => Ruled::Consequence,
                    Some(true) => Ruled::Found,
                }),
            });
        }
        let rows = answers.len();
        let values = Array2::from_shape_vec((rows, columns), values).unwrap_or_else(|_| Array2::zeros((0, columns)));
        let asked = vec![true; runs.len()];
        let telling = Arc::new(BTreeMap::new());
        let mut examples = Self { values, answers: answers.into(), weights, run_of, runs, asked, telling };
        let of_families =
            examples.families_with().into_iter().map(|family| (family.to_owned(), examples.told_apart(family)));
        let of_families = of_families.collect();
        examples.telling = Arc::new(of_families);
        examples
    }

    /// How well each input tells the rows of a family that have the problem from its others: the area under the ROC curve less 0.5, and 0
    /// where it is unknown for half of those that have it.
    fn told_apart(&self, family: &str) -> Vec<f64> {
        let rows: Vec<usize> =
            (0..self.run_of.len()).filter(|&row| self.runs[self.run_of[row]].family == family).collect();
        let with = rows.iter().filter(|&&row| self.answers[row]).count();
        let columns: Vec<_> = self.values.columns().into_iter().collect();
        columns
            .into_par_iter()
            .map(|column| {
                let known: Vec<usize> = rows.iter().copied().filter(|&row| !column[row].is_nan()).collect();
                let values: Vec<f64> = known.iter().map(|&row| column[row]).collect();
                let answers: Vec<bool> = known.iter().map(|&row| self.answers[row]).collect();
                let enough = 2 * answers.iter().filter(|answer| **answer).count() > with;
                roc_auc(&values, &answers).filter(|_| enough).map_or(0.0, |area| area - 0.5)
            })
            .collect()
    }

    /// The inputs that tell rows apart in most of the families that have the problem, in one direction: within a family nothing tells them
    /// that is only of the workload. At most as many as asked for, in the order of the list; all where no family says.
    pub(super) fn telling(&self, most: usize) -> Vec<usize> {
        let columns = self.values.ncols();
        let asked = self.asked.iter().zip(&self.runs).filter(|(asked, run)| **asked && run.has);
        let families: BTreeSet<&str> = asked.map(|(_, run)| run.family.as_str()).collect();
        let mut sums = vec![0.0; columns];
        for of_family in families.iter().filter_map(|family| self.telling.get(*family)) {
            sums.iter_mut().zip(of_family).for_each(|(sum, own)| *sum += own);
        }
        let mut order: Vec<usize> = (0..columns).filter(|&column| sums[column] != 0.0).collect();
        order.sort_by(|&a, &b| sums[b].abs().total_cmp(&sums[a].abs()).then(a.cmp(&b)));
        order.truncate(most);
        order.sort_unstable();
        if order.is_empty() { (0..columns).collect() } else { order }
    }

    /// Families with a run that has the problem, in order.
    pub(super) fn families_with(&self) -> Vec<&str> {
        let mut families: Vec<&str> = self.runs.iter().filter(|run| run.has).map(|run| run.family.as_str()).collect();
        families.sort_unstable();
        families.dedup();
        families
    }

    /// The examples of some runs, which keep their places.
    pub(super) fn only(&self, keep: impl Fn(usize) -> bool) -> Self {
        let rows: Vec<usize> = (0..self.run_of.len()).filter(|&row| keep(self.run_of[row])).collect();
        Self {
            values: self.values.select(Axis(0), &rows),
            answers: self.answers.select(Axis(0), &rows),
            weights: rows.iter().map(|&row| self.weights[row]).collect(),
            run_of: rows.iter().map(|&row| self.run_of[row]).collect(),
            runs: self.runs.clone(),
            asked: self.asked.iter().enumerate().map(|(place, asked)| *asked && keep(place)).collect(),
            telling: Arc::clone(&self.telling),
        }
    }

    /// Whether there are both answers.
    pub(super) fn can_be_learned(&self) -> bool {
        self.answers.iter().any(|answer| *answer) && self.answers.iter().any(|answer| !*answer)
    }

    /// The largest score of each run's rows; `None` for runs without rows here.
    pub(super) fn by_run(&self, scores: &[f64]) -> Vec<Option<f64>> {
        let mut largest: Vec<Option<f64>> = vec![None; self.runs.len()];
        for (&run, &score) in self.run_of.iter().zip(scores) {
            if let Some(slot) = largest.get_mut(run) {
                *slot = Some(slot.map_or(score, |before| before.max(score)));
            }
        }
        largest
    }
}

/// Whether a row is where the run has the problem.
fn is_subject(key: &RowKey, run: &ObservedRun, problem: Problem, level: Level) -> bool {
    run.label
        .problems
        .get(&problem)
        .is_some_and(|label| level == Level::Run || label.subjects.iter().any(|subject| key.is_named_by(subject)))
}
