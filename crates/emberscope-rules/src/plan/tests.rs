//! Plan helpers on descriptions as Spark writes them.

use super::*;
use crate::testing::{PlanNodeExt, node};

#[test]
fn a_join_gives_its_type_keys_and_sides_whatever_wraps_them() {
    let side = |table: &str, bytes: i64| {
        let exchange = node("Exchange").metric("data size", bytes).metric("shuffle records written", 5);
        let exchange = exchange.over(node("Filter").over(node(&format!("Scan parquet {table}"))));
        node("InputAdapter")
            .over(node("Sort").over(node("AQEShuffleRead").over(node("ShuffleQueryStage").over(exchange))))
    };
    let text = "SortMergeJoin | SortMergeJoin [Inner#1, a#2L], [b#3, coalesce(c#4, 0)], LeftOuter, (x#9 > y#10)";
    let joined = node(text).over(side("db.facts", 9_000)).over(side("db.dims", 70));
    let join = Join::of(&joined).unwrap();
    assert_eq!(join.type_name, Some("LeftOuter"), "a column called Inner is no join type");
    assert_eq!((join.data_size(Side::Left), join.data_size(Side::Right)), (Some(9_000), Some(70)));
    assert_eq!(join.rows(Side::Right), Some(5));
    assert_eq!((join.can_broadcast(Side::Left), join.can_broadcast(Side::Right)), (Some(false), Some(true)));
    assert_eq!(join.keys().as_deref(), Some("Inner = b, a = c"));
    assert_eq!(join.side_name(Side::Right), "the right side (db.dims)");
}

#[test]
fn a_subquery_among_the_children_is_no_side_of_a_join() {
    let rows = |n| node("Range").metric("number of output rows", n);
    let joined = node("BroadcastNestedLoopJoin").over(node("Subquery").over(rows(1))).over(rows(2)).over(rows(3));
    let join = Join::of(&joined).unwrap();
    assert_eq!((join.rows(Side::Left), join.rows(Side::Right)), (Some(2), Some(3)));
}

#[test]
fn accelerated_nodes_count_as_their_cpu_forms() {
    for (name, expected) in [
        ("GpuBroadcastHashJoin", "BroadcastHashJoin"),
        ("PhotonShuffledHashJoin", "ShuffledHashJoin"),
        ("GpuColumnarExchange", "Exchange"),
        ("PhotonShuffleExchangeSink", "Exchange"),
        ("GpuScan parquet ", "Scan parquet"),
        ("WholeStageCodegen (12)", "WholeStageCodegen"),
        ("Gpu", "Gpu"),
        ("Photonic", "Photonic"),
    ] {
        assert_eq!(canonical(name), expected);
    }
    let gpu = node("GpuFilter").metric("output rows", 7);
    assert_eq!(own_rows(&gpu), Some(7));
}

#[test]
fn metrics_are_found_by_the_names_of_every_version_and_minus_one_is_unknown() {
    let old = node("BroadcastExchange")
        .metric("data size (bytes)", 12)
        .metric("time to build (ms)", 34)
        .metric("time to collect", -1);
    assert_eq!(
        (metric(&old, "data size"), metric_ms(&old, "time to build"), metric_ms(&old, "time to collect")),
        (Some(12), Some(34.0), None)
    );
    let mut nanos = node("Scan parquet").metric("scan time total (min, med, max)", 5_000_000);
    nanos.metrics[0].kind = "nsTiming".into();
    assert_eq!(metric_ms(&nanos, "scan time"), Some(5.0));
}

#[test]
fn a_scan_gives_its_place_and_filters() {
    let text = "Scan parquet  | FileScan parquet [a#1] Batched: true, DataFilters: [isnotnull(a#1), (a#1 > 3)], Format: Parquet, \
                Location: InMemoryFileIndex(2 paths)[hdfs://nn/x/day=1, hdfs://nn/x/day=2], PartitionFilters: [(day#2 IN \
                (1,2))], PushedFilters: [IsNotNull(a), GreaterThan(a,3)], ReadSchema: struct<a:int>";
    let plain = node(text);
    let scan = Scan::of(&plain).unwrap();
    assert_eq!((scan.format().as_str(), scan.location(), scan.table()), ("parquet", Some("hdfs://nn/x/day=1"), None));
    assert_eq!(scan.partition_filters(), Some("(day#2 IN (1,2))"));
    assert_eq!(scan.pushed_filters(), Some("IsNotNull(a), GreaterThan(a,3)"));
    assert_eq!(scan.pushed_a_condition(), Some(true));
    let jdbc = node(
        "Scan JDBCRelation(TBLS) [numPartitions=1]  | Scan JDBCRelation(TBLS) [numPartitions=1] [A#1] PushedFilters: [], ReadSchema: struct<A:int>",
    );
    let scan = Scan::of(&jdbc).unwrap();
    assert_eq!((scan.format().as_str(), scan.table(), scan.pushed_a_condition()), ("jdbc", Some("TBLS"), Some(false)));
}

#[test]
fn signatures_forget_ids_and_addresses_and_keep_what_is_computed() {
    let text =
        |id: u64| format!("Exchange | Exchange hashpartitioning(k#{id}L, 200), [plan_id={id}], Foo@4a{id}, [id=#{id}]");
    assert_eq!(normalised(&text(1)), normalised(&text(77)));
    assert_eq!(normalised("a#1 @ b # c"), "a @ b # c");
    let plan = |id: u64, function: &str| {
        node(&format!("HashAggregate | HashAggregate(functions=[{function}(v#{id})])"))
            .over(node("WholeStageCodegen (1)").over(node(&text(id)).over(node("Range | Range (0, 10)"))))
    };
    let signature = |plan: &PlanNode| signatures(plan, Likeness::Same).last().map(|part| part.signature);
    assert_eq!(signature(&plan(1, "sum")), signature(&plan(2, "sum")));
    assert_ne!(signature(&plan(1, "sum")), signature(&plan(1, "max")));
}

#[test]
fn the_shape_of_a_plan_forgets_columns_and_functions_and_keeps_keys_and_filters() {
    let plan = |columns: &str, key: &str, pushed: &str| {
        let scan = node(&format!(
            "Scan parquet  | FileScan parquet [{columns}] Format: Parquet, Location: InMemoryFileIndex(1 paths)[s3://t], \
             PartitionFilters: [], PushedFilters: [{pushed}], ReadSchema: struct<{columns}>"
        ));
        let projected = node(&format!("Project | Project [{columns}]")).over(scan);
        node(&format!("HashAggregate | HashAggregate(keys=[{key}#1], functions=[sum({columns})])")).over(projected)
    };
    let shape = |plan: &PlanNode| signatures(plan, Likeness::Shape).last().map(|part| part.signature);
    let first = shape(&plan("a", "k", ""));
    assert_eq!(first, shape(&plan("a, b", "k", "")));
    assert_ne!(first, shape(&plan("a", "j", "")));
    assert_ne!(first, shape(&plan("a", "k", "EqualTo(day,3)")));
}

#[test]
fn computed_columns_with_other_literals_are_other_computations() {
    // What `groupBy(id % n)` plans: the key is a column of the projection, and the aggregate only names it.
    let plan = |column: &str| {
        let projected =
            node(&format!("Project | Project [id#0L, {column} AS key#2L]")).over(node("Range | Range (0, 10)"));
        let grouped = |name: &str| node(&format!("{name} | {name}(keys=[key#2L], functions=[sum(id#0L)])"));
        let exchanged =
            node("Exchange | Exchange hashpartitioning(key#2L, 4)").over(grouped("HashAggregate").over(projected));
        grouped("HashAggregate").over(exchanged)
    };
    let shapes =
        |plan: &PlanNode| -> Vec<u64> { signatures(plan, Likeness::Shape).iter().map(|part| part.signature).collect() };
    let (two, three) = (plan("(id#0L % 2)"), plan("(id#0L % 3)"));
    let both: Vec<u64> = shapes(&two).into_iter().filter(|part| shapes(&three).contains(part)).collect();
    // Only the range below is shared.
    assert_eq!(both.len(), 1);
    assert_eq!(shapes(&two).len(), 5);
    assert_eq!(shapes(&two), shapes(&plan("(id#7L % 2)")));
    // A constant is a computed column too, and a column under the name of the key.
    assert_ne!(shapes(&plan("2")), shapes(&plan("3")));
    assert_ne!(shapes(&plan("a#1")), shapes(&plan("b#1")));
}

#[test]
fn local_rows_do_not_say_which_data_they_are() {
    let plan = node("Exchange").over(node("LocalTableScan | LocalTableScan [a#1]"));
    assert!(signatures(&plan, Likeness::Same).iter().all(|part| !part.comparable));
    let plan = node("Exchange").over(node("Range | Range (0, 10, step=1)"));
    assert!(signatures(&plan, Likeness::Same).iter().all(|part| part.comparable));
}

#[test]
fn columns_are_named_once_without_their_ids() {
    assert_eq!(columns("((isnotnull(day#1) AND (day#1 = 7)) AND (t.v#22L > 3))"), ["day", "t.v"]);
}
