//! Sums and quantiles of a metric over the tasks of a group.

/// A metric over a group of tasks, in the metric's unit.
///
/// The sum is over every attempt that reports the metric, as in Spark's stage pages; the quantiles are over
/// successful attempts only and are the value at index `min(floor(q * n), n - 1)` of the sorted values, as
/// `AppStatusStore.taskSummary` takes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Sum over all attempts that report the metric.
    pub sum: u64,
    /// How many attempts report it.
    pub count: u64,
    /// Quantiles over successful attempts; `None` when none succeeded.
    pub quantiles: Option<Quantiles>,
}

/// Quantiles of a metric over successful tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// How many values.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// 5 % of the values are at most this.
    pub p05: u64,
    /// The lower quartile.
    pub p25: u64,
    /// The median.
    pub p50: u64,
    /// The upper quartile.
    pub p75: u64,
    /// 95 % of the values are at most this.
    pub p95: u64,
    /// The largest.
    pub max: u64,
    /// Sum of the values.
    pub sum: u64,
}

impl Quantiles {
    /// The quantiles of `values`, which are put in another order; `None` when there are none.
    pub fn of(values: &mut [u64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        values.sort_unstable();
        let at = |percent: usize| values[(count * percent / 100).min(count - 1)];
        Some(Self {
            count: count as u64,
            min: at(0),
            p05: at(5),
            p25: at(25),
            p50: at(50),
            p75: at(75),
            p95: at(95),
            max: at(100),
            sum: values.iter().fold(0, |sum, &value| sum.saturating_add(value)),
        })
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.count as f64
    }

    /// The largest over the median; `None` when the median is 0.
    pub fn max_over_p50(&self) -> Option<f64> {
        (self.p50 > 0).then(|| self.max as f64 / self.p50 as f64)
    }
}

impl Distribution {
    /// The median over successful tasks.
    pub fn p50(&self) -> Option<u64> {
        Some(self.quantiles?.p50)
    }

    /// The largest over successful tasks.
    pub fn max(&self) -> Option<u64> {
        Some(self.quantiles?.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_taken_at_the_index_that_spark_takes() {
        // Ten values: index floor(0.5 * 10) = 5 is the sixth, floor(0.95 * 10) = 9 the last, floor(0.25 * 10) = 2 the third.
        let quantiles = Quantiles::of(&mut [10, 1, 9, 2, 8, 3, 7, 4, 6, 5]).unwrap();
        assert_eq!((quantiles.p25, quantiles.p50, quantiles.p95, quantiles.max), (3, 6, 10, 10));
        assert_eq!((quantiles.min, quantiles.p05, quantiles.p75, quantiles.sum), (1, 1, 8, 55));
        assert_eq!(Quantiles::of(&mut []), None);
    }
}
