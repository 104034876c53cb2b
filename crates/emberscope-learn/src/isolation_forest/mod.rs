//! Isolation forests: how few random splits it takes to set a row apart from the others.
//!
//! Liu, Ting and Zhou, *Isolation Forest*, ICDM 2008, and with [`extension`](IsolationForestParams::extension) the slanted splits of
//! Hariri, Carrasco Kind and Brunner, *Extended Isolation Forest*, IEEE TKDE 2021. A tree is grown on a sub-sample of the rows by
//! splits drawn at random until each row is alone or the tree is as deep as a balanced one would be. Rows unlike the others are
//! alone early: their score is `2^(-mean path length / c(rows of the sub-sample))`, between 0 and 1; 0.5 is typical where nothing stands
//! out.
//!
//! # Missing values
//!
//! While a tree is grown, a row whose value is missing goes to either side by chance, in proportion to the other rows there. When
//! it is scored its path is followed on both sides, each weighted by the rows that went there: a missing value neither makes a
//! row stand out nor hides it.

mod contribution;
mod grow;
mod score;
#[cfg(test)]
mod tests;

pub use contribution::Contributions;
use ndarray::{Array1, ArrayBase, ArrayView2, Data, Ix2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::onnx::EnsembleNode;
use crate::{LearnError, nodes, random, table};

/// How a forest is grown. The defaults are the paper's: 100 trees of 256 rows, with splits on one feature each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IsolationForestParams {
    /// Number of trees.
    pub trees: usize,
    /// Rows that each tree is grown on, drawn without putting back; half of the rows where those are fewer. In a sub-sample rows that
    /// stand out have fewer of their kind beside them (section 4 of the paper), which a tree of all rows would give away.
    pub samples: usize,
    /// Features of a split besides the first: 0 for the forest of 2008, up to features - 1 for the fully extended one.
    pub extension: usize,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

impl Default for IsolationForestParams {
    fn default() -> Self {
        Self { trees: 100, samples: 256, extension: 0, seed: 0 }
    }
}

impl IsolationForestParams {
    /// Grows a forest on a table of shape rows x features.
    ///
    /// # Errors
    ///
    /// When the table has fewer than two rows, no columns or an infinite value, or a parameter is out of range.
    ///
    /// ```
    /// use emberscope_learn::IsolationForestParams;
    /// use ndarray::Array2;
    ///
    /// // 99 rows close together, and one far away.
    /// let rows = Array2::from_shape_fn((100, 2), |(row, column)| if row == 99 { 50.0 } else { (row * 7 + column * 3) as f64 % 10.0 });
    /// let forest = IsolationForestParams::default().fit(&rows)?;
    /// let scores = forest.scores(&rows)?;
    /// assert!(scores.iter().take(99).all(|&score| score < scores[99]));
    /// # Ok::<(), emberscope_learn::LearnError>(())
    /// ```
    pub fn fit<D: Data<Elem = f64>>(&self, rows: &ArrayBase<D, Ix2>) -> Result<IsolationForest, LearnError> {
        Ok(self.grow(rows.view())?.0)
    }

    /// Grows a forest, and sets its threshold so that at most a share of rows like these is called anomalous.
    ///
    /// Each row is scored by the trees that were not grown on it, and the threshold is the quantile of these scores that is not
    /// exceeded by a further row of the same kind with a probability of `1 - rate` (split conformal prediction; Vovk, Gammerman
    /// and Shafer 2005).
    /// With fewer than `1 / rate - 1` rows nothing of the kind can be promised: the threshold is then 1, which no score exceeds.
    ///
    /// # Errors
    ///
    /// As [`fit`](Self::fit), and when the rate is not above 0 and below 1.
    pub fn fit_to_false_alarm_rate<D: Data<Elem = f64>>(
        &self,
        rows: &ArrayBase<D, Ix2>,
        rate: f64,
    ) -> Result<IsolationForest, LearnError> {
        if !(rate > 0.0 && rate < 1.0) {
            return Err(LearnError::Parameter { name: "false_alarm_rate", value: rate, range: "above 0 and below 1" });
        }
        let (mut forest, samples) = self.grow(rows.view())?;
        let mut scores = score::left_out(&forest, &table::row_major(rows), &samples);
        scores.sort_by(f64::total_cmp);
        let rank = ((1.0 - rate) * (scores.len() as f64 + 1.0)).ceil() as usize;
        forest.threshold = Some(rank.checked_sub(1).and_then(|at| scores.get(at).copied()).unwrap_or(1.0));
        forest.false_alarm_rate = Some(rate);
        Ok(forest)
    }

    /// The forest, and the rows that each tree was grown on, in order.
    fn grow(&self, rows: ArrayView2<'_, f64>) -> Result<(IsolationForest, Vec<Vec<u32>>), LearnError> {
        self.check()?;
        table::check(rows)?;
        let (count, features) = rows.dim();
        if count < 2 {
            return Err(LearnError::Empty { rows: count, columns: features });
        }
        let samples = self.samples.min(count / 2).max(2);
        let values = table::row_major(&rows);
        let extension = self.extension.min(features.saturating_sub(1));
        let (trees, grown_on) = (0..self.trees)
            .into_par_iter()
            .map(|index| {
                let mut random = random::stream(self.seed, index);
                let sample = grow::sample(&mut random, count, samples);
                (grow::tree(&values, features, sample.clone(), extension, &mut random), sample)
            })
            .unzip();
        Ok((IsolationForest { features, samples, trees, threshold: None, false_alarm_rate: None }, grown_on))
    }

    fn check(&self) -> Result<(), LearnError> {
        let wrong = |name, value: usize, range| Err(LearnError::Parameter { name, value: value as f64, range });
        match self {
            Self { trees: 0, .. } => wrong("trees", 0, "1 or more"),
            Self { samples: 0 | 1, .. } => wrong("samples", self.samples, "2 or more"),
            Self { trees: 100_001.., .. } => wrong("trees", self.trees, "100,000 at most"),
            Self { samples: 16_777_217.., .. } => wrong("samples", self.samples, "16,777,216 at most"),
            _ => Ok(()),
        }
    }
}

/// A grown forest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct IsolationForest {
    /// Columns of the tables that it is for.
    features: usize,
    /// Rows that each tree was grown on.
    samples: usize,
    trees: Vec<IsolationTree>,
    /// Score above which a row is anomalous.
    threshold: Option<f64>,
    /// Share of rows like those of the training that the threshold promises to stay below.
    false_alarm_rate: Option<f64>,
}

/// A forest as it is read, whose nodes may be no trees.
#[derive(Deserialize)]
struct Written {
    features: usize,
    samples: usize,
    trees: Vec<IsolationTree>,
    threshold: Option<f64>,
    false_alarm_rate: Option<f64>,
}

impl TryFrom<Written> for IsolationForest {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { features, samples, trees, threshold, false_alarm_rate } = written;
        if samples < 2 || trees.is_empty() || features == 0 {
            return Err(format!(
                "an isolation forest has {} trees of {samples} rows and {features} features",
                trees.len()
            ));
        }
        if let Some(wrong) = threshold.iter().chain(&false_alarm_rate).find(|share| !(0.0..=1.0).contains(*share)) {
            return Err(format!("an isolation forest has a threshold or rate of {wrong}"));
        }
        for tree in &trees {
            nodes::check(tree.nodes.iter().map(|node| node.split.as_ref().map(|split| split.left)))?;
            for (at, node) in tree.nodes.iter().enumerate() {
                match node.split.as_ref().map(|split| &split.at) {
                    Some(At::Axis { feature, threshold }) => nodes::check_split(at, *feature, *threshold, features)?,
                    Some(At::Slant { normal }) => {
                        for part in normal {
                            nodes::check_split(at, part.feature, part.weight + part.origin, features)?;
                        }
                    }
                    None => {}
                }
            }
        }
        Ok(Self { features, samples, trees, threshold, false_alarm_rate })
    }
}

/// A tree: its root is the first node, the children of a node lie side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct IsolationTree {
    nodes: Vec<Node>,
}

impl IsolationTree {
    /// Splits on the way to each node.
    fn depths(&self) -> Vec<u32> {
        nodes::depths(self.nodes.iter().map(|node| node.split.as_ref().map(|split| split.left)))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Node {
    /// Rows of the sub-sample that came here.
    rows: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    split: Option<Split>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Split {
    /// The child of rows that are not above it; that of the others is the next node.
    left: u32,
    #[serde(flatten)]
    at: At,
}

/// Where a split is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum At {
    /// Above the threshold a row goes to the right.
    Axis { feature: u32, threshold: f64 },
    /// Where the sum of `weight * (value - origin)` is above 0 a row goes to the right.
    Slant { normal: Vec<Direction> },
}

/// A feature's part in a slanted split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Direction {
    feature: u32,
    weight: f64,
    origin: f64,
}

impl IsolationForest {
    /// Columns of the tables that it is for.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of trees.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Score above which a row is anomalous; `None` where none was set.
    pub fn threshold(&self) -> Option<f64> {
        self.threshold
    }

    /// Share of rows like those of the training that the threshold promises to stay below; `None` where it promises nothing.
    pub fn false_alarm_rate(&self) -> Option<f64> {
        self.false_alarm_rate
    }

    /// Sets the score above which a row is anomalous.
    #[must_use]
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = Some(threshold);
        self.false_alarm_rate = None;
        self
    }

    /// Sets the threshold so that a share of these rows (the contamination) is above it, or as near to that as ties allow.
    ///
    /// # Errors
    ///
    /// When the table has other features, or the share is not from 0 to 0.5.
    pub fn with_contamination<D: Data<Elem = f64>>(
        self,
        rows: &ArrayBase<D, Ix2>,
        share: f64,
    ) -> Result<Self, LearnError> {
        if !(0.0..=0.5).contains(&share) {
            return Err(LearnError::Parameter { name: "contamination", value: share, range: "0 to 0.5" });
        }
        let mut scores = self.scores(rows)?.to_vec();
        scores.sort_by(f64::total_cmp);
        let kept = scores.len() - (share * scores.len() as f64).round() as usize;
        let threshold = kept.checked_sub(1).and_then(|at| scores.get(at).copied()).unwrap_or(1.0);
        Ok(self.with_threshold(threshold))
    }

    /// The score of each row: 0 to 1, higher is more unlike the others.
    ///
    /// # Errors
    ///
    /// When the table has other features or an infinite value.
    pub fn scores<D: Data<Elem = f64>>(&self, rows: &ArrayBase<D, Ix2>) -> Result<Array1<f64>, LearnError> {
        table::check_columns(rows.view(), self.features)?;
        let unit = self.unit();
        let Some(lengths) = score::mean_path_lengths(self, &table::row_major(rows)) else {
            table::check(rows.view())?;
            return Ok(Array1::zeros(rows.nrows()));
        };
        Ok(lengths.mapv_into(|length| (-length / unit).exp2()))
    }

    /// Whether each row's score is above the threshold; all `false` where none was set.
    ///
    /// # Errors
    ///
    /// As [`scores`](Self::scores).
    pub fn anomalous<D: Data<Elem = f64>>(&self, rows: &ArrayBase<D, Ix2>) -> Result<Array1<bool>, LearnError> {
        let threshold = self.threshold.unwrap_or(1.0);
        Ok(self.scores(rows)?.mapv(|score| score > threshold))
    }

    /// The nodes of each tree for other programs, path lengths at the leaves.
    pub(crate) fn ensemble_trees(&self) -> Result<Vec<Vec<EnsembleNode>>, LearnError> {
        let tree = |tree: &IsolationTree| {
            let depths = tree.depths();
            let node = |(node, depth): (&Node, &u32)| match &node.split {
                None => Ok(EnsembleNode::Leaf(f64::from(*depth) + mean_search_length(u64::from(node.rows)))),
                Some(Split { left, at: At::Axis { feature, threshold } }) => Ok(EnsembleNode::Split {
                    feature: *feature,
                    threshold: *threshold,
                    left: *left,
                    missing_left: true,
                }),
                Some(Split { at: At::Slant { .. }, .. }) => Err(LearnError::Slanted),
            };
            tree.nodes.iter().zip(&depths).map(node).collect()
        };
        self.trees.iter().map(tree).collect()
    }

    /// The mean path length of an unsuccessful search among as many rows as a tree was grown on, which path lengths are
    /// measured in.
    pub(crate) fn unit(&self) -> f64 {
        mean_search_length(self.samples as u64)
    }
}

/// `c(n)` of the paper: the mean path length of an unsuccessful search in a binary search tree of so many rows.
///
/// `2 H(n - 1) - 2 (n - 1) / n`, with the harmonic numbers summed and not estimated by the logarithm, which for few rows is
/// off by a fifth (the estimate gives `c(2) = 0.15`, where one comparison is needed).
pub(crate) fn mean_search_length(rows: u64) -> f64 {
    if rows < 2 {
        return 0.0;
    }
    let last = (rows - 1) as f64;
    2.0 * harmonic(rows - 1) - 2.0 * last / rows as f64
}

/// The sum of 1 / k for k from 1 to n.
fn harmonic(n: u64) -> f64 {
    const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;
    if n <= 1024 {
        return (1..=n).rev().map(|k| 1.0 / k as f64).sum();
    }
    // The next term of the series is below 1e-14 from here on.
    let n = n as f64;
    n.ln() + EULER_GAMMA + 0.5 / n - 1.0 / (12.0 * n * n)
}
