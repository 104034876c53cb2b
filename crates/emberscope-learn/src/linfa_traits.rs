//! linfa's traits, for those who use its datasets.

use linfa::dataset::DatasetBase;
use linfa::traits::{Fit, PredictInplace};
use ndarray::{Array1, ArrayBase, Data, Ix2};

use crate::{IsolationForest, IsolationForestParams, LearnError};

/// Grows a forest on the records; targets are not looked at.
impl<D: Data<Elem = f64>, T> Fit<ArrayBase<D, Ix2>, T, LearnError> for IsolationForestParams {
    type Object = IsolationForest;

    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<IsolationForest, LearnError> {
        Self::fit(self, &dataset.records)
    }
}

/// The score of each row.
///
/// # Panics
///
/// As linfa's own models do, when the table has other features than the model or infinite values, as the trait has no errors:
/// [`IsolationForest::scores`] says it as an error.
impl<D: Data<Elem = f64>> PredictInplace<ArrayBase<D, Ix2>, Array1<f64>> for IsolationForest {
    fn predict_inplace(&self, rows: &ArrayBase<D, Ix2>, scores: &mut Array1<f64>) {
        match self.scores(rows) {
            Ok(found) => scores.assign(&found),
            Err(error) => panic!("{error}"),
        }
    }

    fn default_target(&self, rows: &ArrayBase<D, Ix2>) -> Array1<f64> {
        Array1::zeros(rows.nrows())
    }
}

#[cfg(test)]
mod tests {
    use linfa::DatasetBase;
    use linfa::traits::Predict;
    use ndarray::Array2;

    use super::*;

    #[test]
    fn a_forest_is_fitted_to_a_dataset_and_predicts_its_scores() {
        let rows = Array2::from_shape_fn(
            (60, 2),
            |(row, column)| if row == 7 { 90.0 } else { (row * (column + 3)) as f64 % 11.0 },
        );
        let dataset = DatasetBase::from(rows.clone());
        let params = IsolationForestParams::default();
        let forest = Fit::fit(&params, &dataset).unwrap();
        let scores: Array1<f64> = forest.predict(&rows);
        assert_eq!(scores, params.fit(&rows).unwrap().scores(&rows).unwrap());
        assert!((0..60).filter(|&row| row != 7).all(|row| scores[row] < scores[7]));
    }
}
