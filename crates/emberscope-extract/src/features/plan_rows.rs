//! What became of rows on their way through a plan: dropped by filters, multiplied by joins, broadcast.

use emberscope_run::PlanNode;

/// Rows, bytes and times of a plan's nodes, as far as its metrics say them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanRows {
    /// Rows that scans gave to filters right above them; `None` when no scan has one, or the metrics do not say.
    pub scanned_below_filters: Option<u64>,
    /// Those of them that the filters dropped.
    pub dropped: u64,
    /// Those of the dropped whose scan was given no condition but that a column is not null (`PushedFilters`, `PartitionFilters`).
    pub dropped_unpushed: u64,
    /// Time of scans, summed over tasks, in ms; `None` when no scan says.
    pub scan_time_ms: Option<u64>,
    /// Rows out of the join that put out the most, and rows of its larger input; `None` without a join whose metrics say both.
    pub largest_join: Option<(u64, u64)>,
    /// Data size of the largest broadcast; `None` when none says.
    pub broadcast_max_bytes: Option<u64>,
    /// Time to collect, build and send broadcasts in ms; `None` when none says.
    pub broadcast_time_ms: Option<u64>,
}

impl PlanRows {
    /// Reads the metrics of a plan.
    pub fn of(plan: &PlanNode) -> Self {
        let mut rows = Self::default();
        let mut open = vec![plan];
        while let Some(node) = open.pop() {
            open.extend(&node.children);
            rows.take(node);
        }
        rows
    }

    fn take(&mut self, node: &PlanNode) {
        // GPU and native operators are named after Spark's: `GpuFilter`, `CometFilter`.
        let name = node.name.as_str();
        if name.contains("BroadcastExchange") {
            self.broadcast_max_bytes = self.broadcast_max_bytes.max(metric(node, "data size"));
            for part in ["time to collect", "time to build", "time to broadcast"] {
                add(&mut self.broadcast_time_ms, metric_ms(node, part));
            }
        } else if name.contains("Join") || name.contains("CartesianProduct") {
            self.take_join(node);
        } else if is_scan(node) {
            add(&mut self.scan_time_ms, metric_ms(node, "scan time"));
        } else if name.ends_with("Filter") {
            self.take_filter(node);
        }
    }

    fn take_filter(&mut self, filter: &PlanNode) {
        let Some(kept) = own_rows(filter) else { return };
        let mut below = only_child(filter);
        while let Some(node) = below.filter(|node| !is_scan(node) && passes_rows_on(node)) {
            below = only_child(node);
        }
        let Some((scan, read)) = below.filter(|node| is_scan(node)).and_then(|scan| Some((scan, own_rows(scan)?)))
        else {
            return;
        };
        let dropped = read.saturating_sub(kept);
        add(&mut self.scanned_below_filters, Some(read));
        self.dropped = self.dropped.saturating_add(dropped);
        if !was_given_a_condition(scan) {
            self.dropped_unpushed = self.dropped_unpushed.saturating_add(dropped);
        }
    }

    fn take_join(&mut self, join: &PlanNode) {
        let [left, right] = join.children.as_slice() else { return };
        let (Some(out), Some(left), Some(right)) = (own_rows(join), rows(left), rows(right)) else { return };
        if self.largest_join.is_none_or(|(most, _)| out > most) {
            self.largest_join = Some((out, left.max(right)));
        }
    }
}

fn add(sum: &mut Option<u64>, value: Option<u64>) {
    if let Some(value) = value {
        *sum = Some(sum.unwrap_or(0).saturating_add(value));
    }
}

fn metric(node: &PlanNode, name: &str) -> Option<u64> {
    node.metric(name).and_then(|value| u64::try_from(value).ok())
}

/// A time in ms: GPU plugins report in ns what Spark reports in ms.
fn metric_ms(node: &PlanNode, name: &str) -> Option<u64> {
    let metric = node.metrics.iter().find(|metric| metric.name == name)?;
    let value = u64::try_from(metric.value?).ok()?;
    Some(if metric.kind == "nsTiming" { value / 1_000_000 } else { value })
}

fn own_rows(node: &PlanNode) -> Option<u64> {
    ["number of output rows", "output rows", "shuffle records written"].iter().find_map(|name| metric(node, name))
}

/// Whether a node gives every row on, as one row.
fn passes_rows_on(node: &PlanNode) -> bool {
    let name = node.name.as_str();
    let known = ["ColumnarToRow", "RowToColumnar", "InputAdapter", "WholeStageCodegen", "Project"];
    own_rows(node).is_none() || known.iter().any(|known| name.contains(known))
}

fn only_child(node: &PlanNode) -> Option<&PlanNode> {
    match node.children.as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

/// Rows that come out of a node: its own metric, or that of the nearest node below it that has one.
fn rows(node: &PlanNode) -> Option<u64> {
    let mut node = node;
    loop {
        if let Some(rows) = own_rows(node) {
            return Some(rows);
        }
        node = only_child(node)?;
    }
}

/// Whether a node reads files or a table; what is cached in memory is none.
pub(super) fn is_scan(node: &PlanNode) -> bool {
    let name = node.name.as_str();
    !name.contains("InMemoryTable")
        && (name.starts_with("Scan ")
            || name.contains("FileScan")
            || name.contains("BatchScan")
            || name.contains("Scan parquet"))
}

/// Whether a scan could pass over files or row groups: a condition beside `IsNotNull` was pushed down, or partitions were chosen.
fn was_given_a_condition(scan: &PlanNode) -> bool {
    let listed = |title: &str| {
        let described = || scan.description.split_once(&format!("{title}: ")).map(|(_, text)| text);
        let text = scan.metadata.get(title).map(String::as_str).or_else(described)?;
        Some(text.trim_start_matches('[').split(']').next().unwrap_or_default().trim())
    };
    let pushed = listed("PushedFilters").unwrap_or_default();
    let mut conditions = pushed.split(", ").filter(|part| !part.is_empty() && !part.starts_with("IsNotNull("));
    conditions.next().is_some() || listed("PartitionFilters").is_some_and(|filters| !filters.is_empty())
}

#[cfg(test)]
mod tests {
    use emberscope_run::{AccumulatorId, PlanMetric};

    use super::*;

    fn node(name: &str, metrics: &[(&str, i64)], children: Vec<PlanNode>) -> PlanNode {
        let metric = |&(name, value): &(&str, i64)| PlanMetric {
            name: name.into(),
            kind: "sum".into(),
            accumulator_id: AccumulatorId(0),
            value: Some(value),
        };
        let description = name.to_owned();
        let name = name.split(" [").next().unwrap_or_default().to_owned();
        PlanNode { name, description, metrics: metrics.iter().map(metric).collect(), children, ..PlanNode::default() }
    }

    fn scan(rows: i64, pushed: &str) -> PlanNode {
        let name =
            format!("Scan parquet t [a#1] PartitionFilters: [], PushedFilters: [{pushed}], ReadSchema: struct<>");
        node(&name, &[("number of output rows", rows), ("scan time", 70)], Vec::new())
    }

    #[test]
    fn rows_that_filters_drop_are_counted_over_what_their_scans_gave() {
        let filter = |kept, scan| {
            let read = own_rows(&scan).unwrap() as i64;
            let columns = node("ColumnarToRow", &[("number of output rows", read)], vec![scan]);
            node("Filter", &[("number of output rows", kept)], vec![columns])
        };
        let pushed = filter(900, scan(1_000, "IsNotNull(a), GreaterThan(a,7)"));
        let unpushed = filter(300, scan(2_000, "IsNotNull(a)"));
        let seen = PlanRows::of(&node("Union", &[], vec![pushed, unpushed, scan(5_000, "")]));
        assert_eq!(seen.scanned_below_filters, Some(3_000));
        assert_eq!((seen.dropped, seen.dropped_unpushed), (1_800, 1_700));
        assert_eq!(seen.scan_time_ms, Some(210));
    }

    #[test]
    fn a_filter_on_what_is_computed_is_none_of_a_scan() {
        let aggregate = node("HashAggregate", &[("number of output rows", 50)], vec![scan(1_000, "")]);
        let seen = PlanRows::of(&node("Filter", &[("number of output rows", 5)], vec![aggregate]));
        assert_eq!((seen.scanned_below_filters, seen.dropped), (None, 0));
    }

    #[test]
    fn the_join_with_the_most_rows_is_held_against_its_larger_input() {
        let side = |rows| {
            let exchange = node("Exchange", &[("shuffle records written", rows)], vec![scan(9_999, "")]);
            node("Sort", &[], vec![exchange])
        };
        let small = node("SortMergeJoin", &[("number of output rows", 400)], vec![side(300), side(20)]);
        let top = node("SortMergeJoin", &[("number of output rows", 6_000)], vec![small, side(1_500)]);
        assert_eq!(PlanRows::of(&top).largest_join, Some((6_000, 1_500)));
        let unknown = node("BroadcastHashJoin", &[], vec![side(1), side(1)]);
        assert_eq!(PlanRows::of(&unknown).largest_join, None);
    }

    #[test]
    fn times_of_broadcasts_are_summed_and_the_largest_counts() {
        let of = |bytes| {
            let metrics =
                [("data size", bytes), ("time to collect", 30), ("time to build", 5), ("time to broadcast", 2)];
            node("BroadcastExchange", &metrics, Vec::new())
        };
        let seen = PlanRows::of(&node("BroadcastHashJoin", &[], vec![of(1_000), of(4_000)]));
        assert_eq!((seen.broadcast_max_bytes, seen.broadcast_time_ms), (Some(4_000), Some(74)));
        assert_eq!(PlanRows::of(&scan(1, "")), PlanRows { scan_time_ms: Some(70), ..PlanRows::default() });
    }
}
