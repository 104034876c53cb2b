//! What the catalogue promises: names, completeness, a page of documentation that is not stale.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where a promise is broken, and says what it skipped"
)]

use std::collections::BTreeSet;
use std::path::Path;

use emberscope_extract::features::Metric;
use emberscope_extract::features::catalogue::{self, Kind, Table};
use emberscope_run::Unit;

#[test]
fn every_level_has_its_features_and_all_have_more_than_three_hundred() {
    let names: BTreeSet<&str> = catalogue::all().map(|feature| feature.name.as_str()).collect();
    assert!(names.len() > 300, "{} distinct names", names.len());
    for (table, least) in [
        (Table::Tasks, 90),
        (Table::StageAttempts, 300),
        (Table::Executors, 100),
        (Table::Jobs, 80),
        (Table::SqlExecutions, 100),
        (Table::SqlPlanNodes, 40),
        (Table::SqlNodeMetrics, 8),
        (Table::StreamingBatches, 100),
        (Table::Application, 120),
    ] {
        assert!(table.features().len() >= least, "{table} has {} columns", table.features().len());
    }
}

#[test]
fn a_name_is_unique_in_its_table_and_ends_in_its_unit() {
    for &table in Table::ALL {
        let mut seen = BTreeSet::new();
        for feature in table.features() {
            let name = feature.name.as_str();
            assert!(seen.insert(name), "{table}.{name} is there twice");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
            let suffix = match feature.unit {
                Unit::Ms => "_ms",
                Unit::Ns => "_ns",
                // Spark's own names of the two spill metrics end so.
                Unit::Bytes if table == Table::Tasks && name.ends_with("_bytes_spilled") => "_bytes_spilled",
                Unit::Bytes => "_bytes",
                Unit::Count if name == "metric_value" => "",
                Unit::Count => "_count",
                Unit::Ratio => "_ratio",
                Unit::PerSecond => "_per_second",
                Unit::At => "_at",
                Unit::Id | Unit::Text | Unit::Flag => "",
            };
            assert!(name.ends_with(suffix), "{table}.{name} does not end in {suffix}");
            assert_eq!(feature.kind == Kind::Text, feature.unit == Unit::Text, "{table}.{name}");
            assert_eq!(feature.kind == Kind::Flag, feature.unit == Unit::Flag, "{table}.{name}");
            for text in [&feature.meaning, &feature.spark_field, &feature.null_meaning] {
                assert!(!text.is_empty() && !text.contains('\n'), "{table}.{name}: {text:?}");
            }
            assert!(feature.meaning.ends_with('.'), "{table}.{name}: {}", feature.meaning);
        }
    }
}

#[test]
fn every_table_begins_with_the_keys_that_tell_runs_apart() {
    for &table in Table::ALL {
        let keys: Vec<&str> = table.features().iter().take(3).map(|feature| feature.name.as_str()).collect();
        assert_eq!(keys, ["application_id", "attempt_id", "run"], "{table}");
    }
}

#[test]
fn a_feature_is_found_by_its_name_alone_and_by_table_and_name() {
    let everywhere = catalogue::named("task_duration_p50_ms");
    assert_eq!(everywhere.len(), 1);
    assert_eq!((everywhere[0].table, everywhere[0].unit), (Table::StageAttempts, Unit::Ms));
    let sums: Vec<Table> = catalogue::named("task_duration_sum_ms").iter().map(|feature| feature.table).collect();
    assert_eq!(
        sums,
        [
            Table::StageAttempts,
            Table::Executors,
            Table::Jobs,
            Table::SqlExecutions,
            Table::StreamingBatches,
            Table::Application
        ]
    );
    assert_eq!(catalogue::named("jobs.job_duration_ms").len(), 1);
    assert!(catalogue::named("jobs.task_duration_p50_ms").is_empty());
    assert!(catalogue::named("no_such_feature").is_empty());
    assert_eq!(Metric::Duration.statistic("p50"), "task_duration_p50_ms");
}

#[test]
fn the_page_of_all_features_is_not_stale() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../emberscope/docs/features.md");
    let page = catalogue::markdown();
    if std::env::var_os("EMBERSCOPE_BLESS").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "crates/emberscope/docs/features.md is stale: run the test with EMBERSCOPE_BLESS=1");
}
