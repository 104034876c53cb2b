//! What `emberscope evaluate` and `calibrate` promise: found, missed and false, counted by hand.

#![allow(clippy::pedantic, clippy::unwrap_used, reason = "a test stops where a promise is broken")]

use std::path::Path;

use emberscope::evaluate::{LabelledRun, calibrate, evaluate, read_labels};
use emberscope::{BatchOptions, Config, Problem, Severity};

const LABELS: &str = r#"{"run":"skewed","log":"skewed.zstd","problems":[{"problem":"data-skew","strength":3,"subjects":[{"kind":"stage","stage_id":13}]}],"did_not_take":["memory-spill"]}
{"run":"healthy","log":"healthy.zstd","problems":[{"problem":"executor-oom","strength":2}]}
{"run":"healthy again","log":"again.zstd","problems":[{"problem":"data-skew","strength":1}]}
{"run":"spill","log":"spill.zstd"}
"#;

/// The labelled runs above, and the folder that they lie in.
fn labelled() -> (tempfile::TempDir, Vec<LabelledRun>) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/demo");
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("skewed", "skewed"), ("healthy", "healthy"), ("healthy", "again"), ("spill", "spill")] {
        std::fs::copy(demo.join(from).with_extension("zstd"), folder.path().join(to).with_extension("zstd")).unwrap();
    }
    let labels = folder.path().join("labels.jsonl");
    std::fs::write(&labels, LABELS).unwrap();
    let runs = read_labels(&labels).unwrap();
    (folder, runs)
}

#[test]
fn found_missed_and_false_are_counted_as_the_labels_say() {
    let (_folder, runs) = labelled();
    let found = evaluate(&runs, &Config::default(), Severity::Info, &BatchOptions::default()).unwrap();

    // One run has no label, and spills, which is a warning at least.
    assert_eq!((found.runs, found.healthy_runs, found.healthy_runs_without_warning), (4, 1, Some(0)));
    let of = |name: &str| {
        let problem = Problem::from_name(name).unwrap();
        found.problems.iter().find(|figures| figures.problem == problem).unwrap()
    };
    let skew = of("data-skew");
    assert_eq!((skew.true_positives, skew.false_negatives), (1, 0), "strength 1 counts as no miss");
    assert_eq!((skew.by_strength[0].labelled, skew.by_strength[0].found), (1, 0), "but it is on the curve");
    assert_eq!((skew.by_strength[2].labelled, skew.by_strength[2].found), (1, 1));
    assert_eq!((skew.recall, skew.subject_share), (Some(1.0), Some(1.0)), "stage 13 is named");
    // Wilson's 95 % interval of 1 in 1 is 0.20654 to 1, and F1 is 2 j / (1 + j) of it.
    let (low, high) = skew.f1_interval.unwrap();
    assert!((low - 0.342_37).abs() < 1e-4 && (high - 1.0).abs() < 1e-9, "{low} to {high}");
    let oom = of("executor-oom");
    assert_eq!((oom.false_negatives, oom.recall, oom.f1), (1, Some(0.0), Some(0.0)));
    let spill = of("memory-spill");
    assert_eq!((spill.true_positives, spill.false_positives, spill.f1), (0, 1, None), "what did not take is no alarm");
    assert!(found.misses.iter().any(|miss| miss.run == "healthy" && miss.problem == "executor-oom"));
    assert!(found.false_alarms.iter().any(|alarm| alarm.run == "spill" && alarm.problem == "memory-spill"));
    let scores: Vec<f64> = found.problems.iter().filter_map(|figures| figures.f1).collect();
    assert_eq!(scores.len(), 2, "only what is labelled at strength 2 or more has a score");
    assert_eq!(found.macro_f1, Some((scores[0] + scores[1]) / 2.0));
}

#[test]
fn a_point_of_a_curve_is_what_a_configuration_with_that_value_finds() {
    let (_folder, runs) = labelled();
    let skew = Problem::from_name("data-skew").unwrap();
    let options = BatchOptions::default();
    let curves = calibrate(&runs, &Config::default(), &[skew], Severity::Info, &options).unwrap();
    assert_eq!((curves.runs, curves.rules.len(), curves.rules[0].problem), (4, 1, skew));

    let mut found = 0;
    for curve in &curves.rules[0].thresholds {
        assert!(curve.points.is_sorted_by(|a, b| a.value < b.value), "{}", curve.name);
        assert!(curve.points.iter().any(|point| point.value == curve.value && point.figures == curves.rules[0].now));
        for point in &curve.points {
            let text = format!("[rules.data-skew]\n{} = {}", curve.name, point.value);
            let told = evaluate(&runs, &Config::from_toml(&text).unwrap(), Severity::Info, &options).unwrap();
            let mut figures = told.problems.iter().find(|figures| figures.problem == skew).unwrap().clone();
            // Curves of thresholds have no confidence to rank by.
            (figures.average_precision, figures.curve) = (None, Vec::new());
            assert_eq!(point.figures, figures, "{text}");
            found += u64::from(figures.by_strength[2].found == 1);
        }
    }
    let points: usize = curves.rules[0].thresholds.iter().map(|curve| curve.points.len()).sum();
    assert!(
        0 < found && found < points as u64,
        "some values find the skewed run, and some do not: {found} of {points}"
    );
}
