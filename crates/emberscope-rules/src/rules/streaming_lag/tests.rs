//! Firing, just-below and skipped cases.

use super::*;
use crate::testing::{RunBuilder, START, check, outcome, run};
use emberscope_run::{StreamingSource, Timestamp};

/// Batches of `(start ms, duration ms, rows)`; batch 0 is the slow first one.
fn query(batches: &[(i64, u64, u64)], edit: impl Fn(usize, &mut MicroBatch)) -> RunBuilder {
    let mut query = StreamingQuery { id: "q".to_owned(), name: Some("orders".to_owned()), ..StreamingQuery::default() };
    for (index, &(start, ms, rows)) in batches.iter().enumerate() {
        let mut batch = MicroBatch {
            batch_id: index as u64,
            started_at: Some(Timestamp(START + start)),
            input_rows: Some(rows),
            ..MicroBatch::default()
        };
        batch.duration_ms.insert("triggerExecution".to_owned(), ms);
        batch.duration_ms.insert("addBatch".to_owned(), ms / 10 * 9);
        edit(index, &mut batch);
        query.batches.insert(index as u64, batch);
    }
    run().executor("1", 4).idle(100_000).with(|run| {
        run.streaming_queries.insert("r".to_owned(), query);
    })
}

/// Three batches wait for a trigger of 5 s, then six take `ms` each, back to back.
fn triggered(ms: u64) -> RunBuilder {
    let mut batches = vec![(0, 20_000, 10), (25_000, 1_000, 10), (30_000, 1_000, 10), (35_000, 1_000, 10)];
    let mut start = 40_000;
    for _ in 0..6 {
        batches.push((start, ms, 1_000));
        start += (ms as i64).max(5_000);
    }
    query(&batches, |_, _| {})
}

#[test]
fn batches_that_outlast_the_trigger_are_found_with_its_interval() {
    let findings = check(&RULE, &triggered(8_000));
    assert_eq!(findings.len(), 1);
    // Six batches of 8 s with a trigger of 5 s.
    assert_eq!(findings[0].savings.wall_clock_ms, Some(18_000));
    assert!(findings[0].summary.contains("6 of 9 batches"), "{}", findings[0].summary);
    // The longest phase is named as its columns are.
    let names: Vec<&str> = findings[0].evidence.iter().map(|fact| fact.feature.as_str()).collect();
    assert_eq!(names, ["trigger_execution_mean_ms", "late_batches_ratio", "add_batch_mean_ms", "add_batch_ratio"]);
    // 6,030 rows in 51 s are 118 a second, 591 in 5 s.
    assert!(findings[0].advice.iter().any(|advice| advice.text.contains("591 rows")), "{:?}", findings[0].advice);
}

#[test]
fn batches_just_within_the_trigger_keep_up() {
    assert_eq!(check(&RULE, &triggered(5_000)), []);
}

#[test]
fn batches_back_to_back_without_a_trigger_are_no_lag() {
    let batches: Vec<_> = (0..12).map(|n| (n * 3_000, 3_000, 100)).collect();
    let steady = query(&batches, |_, batch| {
        batch.input_rows_per_second = Some(33.0);
        batch.processed_rows_per_second = Some(33.0);
    });
    assert_eq!(check(&RULE, &steady), []);
}

#[test]
fn rows_that_arrive_faster_than_they_are_processed_are_found_when_batches_grow() {
    let mut start = 0;
    let batches: Vec<_> = (0..10_u64)
        .map(|n| {
            let ms = 2_000 + n * 1_000;
            start += ms as i64;
            (start, ms, 100 * (n + 1))
        })
        .collect();
    let growing = query(&batches, |_, batch| {
        batch.input_rows_per_second = Some(150.0);
        batch.processed_rows_per_second = Some(100.0);
    });
    let findings = check(&RULE, &growing);
    // Batches 1 to 9 take 3 to 11 s, 63 s in all; a third of it is what processing was too slow for.
    assert_eq!(findings[0].savings.wall_clock_ms, Some(21_000));
}

#[test]
fn a_backlog_that_grows_is_found() {
    let batches: Vec<_> = (0..10).map(|n| (n * 3_000, 3_000, 300)).collect();
    let lagging = query(&batches, |index, batch| {
        let behind = Some(1_000.0 * (index + 1) as f64);
        batch.sources.push(StreamingSource { offsets_behind_latest: behind, ..StreamingSource::default() });
    });
    let findings = check(&RULE, &lagging);
    // Medians of thirds: 3,000 and 9,000 behind; 6,000 at 100 rows a second.
    assert_eq!(findings[0].savings.wall_clock_ms, Some(60_000));
}

#[test]
fn a_query_with_few_batches_is_skipped() {
    let short = query(&[(0, 5_000, 1), (5_000, 5_000, 1)], |_, _| {});
    assert!(matches!(outcome(&RULE, &short), Outcome::Skipped { .. }));
}

#[test]
fn the_interval_shows_although_the_first_batches_began_between_its_beats() {
    // A trigger of 1 s: the batch at 1.147 s begins late, those at 2, 3 and 4 s on the beat, and the others one after the other.
    let mut batches = vec![(0, 1_140, 10), (1_147, 492, 10), (2_000, 461, 10), (3_000, 446, 10)];
    let mut start = 4_000;
    for _ in 0..8 {
        batches.push((start, 1_600, 1_000));
        start += 1_610;
    }
    let findings = check(&RULE, &query(&batches, |_, _| {}));
    assert_eq!(findings.len(), 1);
    // Eight batches of 1.6 s.
    assert_eq!(findings[0].savings.wall_clock_ms, Some(4_800));
    // Two starts alone say nothing where they are not on the beat.
    let off: Vec<_> = batches.iter().map(|&(start, ms, rows)| (start + 333, ms, rows)).collect();
    assert_eq!(check(&RULE, &query(&off, |_, _| {})), []);
}
