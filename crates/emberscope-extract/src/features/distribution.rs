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
        let sum = values.iter().fold(0, |sum: u64, &value| sum.saturating_add(value));
        let (min, max) = values.iter().fold((u64::MAX, 0), |(min, max), &value| (value.min(min), value.max(max)));
        if min == max {
            return Some(Self { count: count as u64, min, p05: min, p25: min, p50: min, p75: min, p95: min, max, sum });
        }
        let at = |percent: usize| quantile_index(percent as f64 / 100.0, count);
        // Each selection leaves the smaller values before it: the next quantile is sought in one side only.
        let (below, &mut p50, above) = values.select_nth_unstable(at(50));
        let (p05, p25) = lower_two(below, at(5), at(25), p50);
        let offset = at(50) + 1;
        let p75 = select(above, at(75).checked_sub(offset), p50);
        // `above` is now ordered around the upper quartile.
        let p95 = select(above, at(95).checked_sub(offset), p50);
        Some(Self { count: count as u64, min, p05, p25, p50, p75, p95, max, sum })
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

/// The index of a quantile among `count` sorted values, as Spark takes it: `min(floor(q * n), n - 1)`; 0 when there are none.
pub fn quantile_index(quantile: f64, count: usize) -> usize {
    ((quantile * count as f64) as usize).min(count.saturating_sub(1))
}

fn lower_two(below: &mut [u64], fifth: usize, quarter: usize, median: u64) -> (u64, u64) {
    if quarter >= below.len() {
        return (select(below, Some(fifth), median), median);
    }
    let (first, &mut p25, _) = below.select_nth_unstable(quarter);
    (select(first, Some(fifth), p25), p25)
}

/// The value at `index` of the sorted values; `beyond` when it lies outside of them.
fn select(values: &mut [u64], index: Option<usize>, beyond: u64) -> u64 {
    match index {
        Some(index) if index < values.len() => *values.select_nth_unstable(index).1,
        _ => beyond,
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

    proptest::proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_values(mut values in proptest::collection::vec(0..50_u64, 1..200)) {
            let quantiles = Quantiles::of(&mut values.clone()).unwrap();
            values.sort_unstable();
            let at = |q: f64| values[quantile_index(q, values.len())];
            let expected = [at(0.0), at(0.05), at(0.25), at(0.5), at(0.75), at(0.95), at(1.0)];
            let found = [
                quantiles.min, quantiles.p05, quantiles.p25, quantiles.p50, quantiles.p75, quantiles.p95, quantiles.max,
            ];
            proptest::prop_assert_eq!(found, expected);
            proptest::prop_assert_eq!(quantiles.sum, values.iter().sum::<u64>());
        }
    }
}
