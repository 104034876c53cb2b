//! Random forests of decision trees (Breiman, *Random Forests*, 2001).

use ndarray::{Array1, ArrayBase, Data, Ix1, Ix2};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::decision_tree::{DecisionTree, DecisionTreeParams, shares};
use crate::{LearnError, random, table};

/// How a forest is grown: each tree on as many rows as there are, drawn with putting back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RandomForestParams {
    /// Number of trees; default 100.
    pub trees: usize,
    /// How each tree is grown; its seed is that of the forest. By default 16 deep, with as many features drawn for each split as
    /// the square root of all.
    pub tree: DecisionTreeParams,
}

impl Default for RandomForestParams {
    fn default() -> Self {
        Self { trees: 100, tree: DecisionTreeParams { max_depth: 16, ..DecisionTreeParams::default() } }
    }
}

/// A grown forest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct RandomForest {
    features: usize,
    trees: Vec<DecisionTree>,
}

/// A forest as it is read, whose trees may be of different tables.
#[derive(Deserialize)]
struct Written {
    features: usize,
    trees: Vec<DecisionTree>,
}

impl TryFrom<Written> for RandomForest {
    type Error = String;

    fn try_from(Written { features, trees }: Written) -> Result<Self, String> {
        match trees.iter().find(|tree| tree.features() != features) {
            _ if trees.is_empty() => Err("a forest has no tree".to_owned()),
            Some(tree) => Err(format!("a forest of {features} features has a tree of {}", tree.features())),
            None => Ok(Self { features, trees }),
        }
    }
}

impl RandomForestParams {
    /// Grows a forest on a table of shape rows x features, with an answer and a weight for each row.
    ///
    /// Rows of one `group` are drawn together or not at all: rows that are alike (the stages of one run, the runs of one workload) do
    /// not judge each other when left out.
    ///
    /// Gives the forest, and for each row the mean probability of the trees that were not grown on it; `NaN` where all were.
    ///
    /// # Errors
    ///
    /// As [`DecisionTreeParams::fit_weighted`], when there are not as many groups as rows, or no trees are asked for.
    pub fn fit<D: Data<Elem = f64>, T: Data<Elem = bool>>(
        &self,
        rows: &ArrayBase<D, Ix2>,
        answers: &ArrayBase<T, Ix1>,
        weights: &[f64],
        groups: &[usize],
    ) -> Result<(RandomForest, Array1<f64>), LearnError> {
        let (count, features) = rows.dim();
        if self.trees == 0 {
            return Err(LearnError::Parameter { name: "trees", value: 0.0, range: "1 or more" });
        }
        table::check_lengths(count, &[("groups", groups.len()), ("weights", weights.len())])?;
        self.tree.check(rows, answers, weights)?;
        let mut names: Vec<usize> = groups.to_vec();
        names.sort_unstable();
        names.dedup();
        let group_of: Vec<usize> = groups.iter().map(|group| names.binary_search(group).unwrap_or_default()).collect();
        let per_split =
            self.tree.features_per_split.unwrap_or_else(|| (features as f64).sqrt().round().max(1.0) as usize);
        let (values, truth) = (table::row_major(rows), answers.to_vec());
        let grown: Vec<(DecisionTree, Vec<u32>)> = (0..self.trees)
            .into_par_iter()
            .map(|index| {
                let mut random = random::stream(self.tree.seed, index);
                let (own, drawn) = Self::draw(&mut random, &names, &group_of, weights);
                let seed = random.random();
                let tree = DecisionTreeParams { seed, features_per_split: Some(per_split), ..self.tree.clone() };
                table::check_weights(&own)?;
                Ok((tree.grow(&values, features, &truth, &own), drawn))
            })
            .collect::<Result<_, LearnError>>()?;
        let left_out = values
            .par_chunks_exact(features)
            .zip(&group_of)
            .map(|(row, &group)| {
                let others = grown.iter().filter(|(_, drawn)| drawn[group] == 0);
                let (sum, trees) =
                    others.fold((0.0, 0u32), |(sum, trees), (tree, _)| (sum + tree.probability(row), trees + 1));
                if trees > 0 { sum / f64::from(trees) } else { f64::NAN }
            })
            .collect::<Vec<_>>();
        let trees = grown.into_iter().map(|(tree, _)| tree).collect();
        Ok((RandomForest { features, trees }, left_out.into()))
    }

    /// Weights of the rows by how often their groups were drawn, and these numbers. Where nothing with a weight is drawn, all is.
    fn draw(random: &mut random::Random, names: &[usize], group_of: &[usize], weights: &[f64]) -> (Vec<f64>, Vec<u32>) {
        let mut drawn = vec![0u32; names.len()];
        for _ in 0..names.len() {
            drawn[random.random_range(0..names.len())] += 1;
        }
        let own: Vec<f64> =
            weights.iter().zip(group_of).map(|(weight, &group)| weight * f64::from(drawn[group])).collect();
        if own.iter().any(|weight| *weight > 0.0) { (own, drawn) } else { (weights.to_vec(), vec![1; names.len()]) }
    }
}

impl RandomForest {
    /// Columns of the tables that it is for.
    pub fn features(&self) -> usize {
        self.features
    }

    /// A forest of trees that something else grew.
    pub(crate) fn of_trees(features: usize, trees: Vec<DecisionTree>) -> Self {
        Self { features, trees }
    }

    /// The forest for tables that have only the columns that its splits look at, and which these are.
    pub fn compacted(&self) -> (Self, Vec<usize>) {
        let mut used: Vec<usize> = self.trees.iter().flat_map(DecisionTree::used).collect();
        used.sort_unstable();
        used.dedup();
        let trees = self.trees.iter().map(|tree| tree.renumbered(&used)).collect();
        (Self { features: used.len(), trees }, used)
    }

    /// The trees.
    pub fn trees(&self) -> &[DecisionTree] {
        &self.trees
    }

    /// The probability of yes for each row: the mean over the trees.
    ///
    /// # Errors
    ///
    /// When the table has other features or an infinite value.
    pub fn probabilities<D: Data<Elem = f64>>(&self, rows: &ArrayBase<D, Ix2>) -> Result<Array1<f64>, LearnError> {
        table::check_for(rows.view(), self.features)?;
        let values = table::row_major(rows);
        let mean =
            |row: &[f64]| self.trees.iter().map(|tree| tree.probability(row)).sum::<f64>() / self.trees.len() as f64;
        Ok(values.par_chunks_exact(self.features).map(mean).collect::<Vec<_>>().into())
    }

    /// What each feature adds to the probability of a row, and the mean probability of the training: Shapley values, exact for
    /// these trees.
    ///
    /// # Errors
    ///
    /// When the row has another number of features.
    pub fn contributions(&self, row: &[f64]) -> Result<(f64, Vec<f64>), LearnError> {
        let trees = self.trees.len() as f64;
        let mut values = vec![0.0; self.features];
        let mut expected = 0.0;
        for tree in &self.trees {
            let (mean, own) = tree.contributions(row)?;
            expected += mean / trees;
            values.iter_mut().zip(own).for_each(|(sum, own)| *sum += own / trees);
        }
        Ok((expected, values))
    }

    /// Mean decrease of impurity over the trees; see [`DecisionTree::importances`].
    pub fn importances(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.features];
        for tree in &self.trees {
            sums.iter_mut().zip(tree.importances()).for_each(|(sum, own)| *sum += own);
        }
        shares(sums)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::SeedableRng;

    use super::*;

    /// 40 groups of 10 rows; the answer is the first feature's side, and a sixth of the answers are wrong.
    fn table(seed: u64) -> (Array2<f64>, Array1<bool>, Vec<usize>) {
        let mut random = random::Random::seed_from_u64(seed);
        let rows = Array2::from_shape_fn((400, 6), |_| random.random::<f64>());
        let answers =
            rows.rows().into_iter().map(|row| (row[0] > 0.5) != (random.random::<f64>() < 1.0 / 6.0)).collect();
        (rows, answers, (0..400).map(|row| row / 10).collect())
    }

    fn right(probabilities: &Array1<f64>, answers: &Array1<bool>) -> f64 {
        let right = probabilities.iter().zip(answers).filter(|(p, answer)| (**p > 0.5) == **answer).count();
        right as f64 / answers.len() as f64
    }

    #[test]
    fn rows_that_were_left_out_are_judged_as_fresh_ones_are() {
        let (rows, answers, groups) = table(1);
        let (forest, left_out) = RandomForestParams::default().fit(&rows, &answers, &vec![1.0; 400], &groups).unwrap();
        let (fresh, truth, _) = table(2);
        let fresh = right(&forest.probabilities(&fresh).unwrap(), &truth);
        // Nobody is right on more than five sixths; on its own rows the forest is nearly always.
        assert!((right(&left_out, &answers) - fresh).abs() < 0.06, "{} and {fresh}", right(&left_out, &answers));
        assert!((0.72..0.88).contains(&fresh), "{fresh}");
        assert!(right(&forest.probabilities(&rows).unwrap(), &answers) > 0.9);
        let importances = forest.importances();
        assert!(importances[0] > 0.4 && (importances.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn rows_of_a_group_are_left_out_together() {
        // Each group has an answer of its own that no feature but its number tells: a forest that sees one row knows the others.
        let rows = Array2::from_shape_fn((200, 1), |(row, _)| (row / 10) as f64);
        let answers = Array1::from_shape_fn(200, |row| (row / 10) % 2 == 0);
        let weights = vec![1.0; 200];
        let params = RandomForestParams::default();
        let (_, alone) = params.fit(&rows, &answers, &weights, &(0..200).collect::<Vec<_>>()).unwrap();
        let (_, together) =
            params.fit(&rows, &answers, &weights, &(0..200).map(|row| row / 10).collect::<Vec<_>>()).unwrap();
        assert!(right(&alone, &answers) > 0.95);
        assert!(right(&together, &answers) < 0.2, "neighbours of a group have the other answer");
    }

    #[test]
    fn forests_are_the_same_with_any_number_of_threads_and_contributions_add_up() {
        let (rows, answers, groups) = table(3);
        let params = RandomForestParams { trees: 20, ..RandomForestParams::default() };
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| params.fit(&rows, &answers, &vec![1.0; 400], &groups).unwrap())
        };
        let (forest, left_out) = with(1);
        assert_eq!(with(3), (forest.clone(), left_out));
        let probabilities = forest.probabilities(&rows).unwrap();
        let (expected, features) = forest.contributions(&rows.row(5).to_vec()).unwrap();
        assert!((expected + features.iter().sum::<f64>() - probabilities[5]).abs() < 1e-9);
    }
}
