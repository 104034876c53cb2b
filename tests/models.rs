//! Models: what they learn from, what they give, and what is refused.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where a promise is broken"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use emberscope::evaluate::{LabelledRun, read_labels};
use emberscope::models::{
    Fitted, Learner, Level, ModelChoice, Models, ObservedRun, TrainError, TrainOptions, Whole, observe, train, usual,
};
use emberscope::{BatchOptions, Config, DiscoverLimits, ReadOptions, diagnose_run, discover, read_run};
use emberscope_extract::features::Features;
use emberscope_rules::{Problem, Severity};
use emberscope_run::Run;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs of five families of the lab: healthy ones, skewed ones and those that spill.
fn labelled() -> Vec<LabelledRun> {
    let families = ["star_join", "tpch_joins", "window_sessions", "graph_rank", "cube_report"];
    let mut runs = read_labels(&root().join("datasets/lab/labels.jsonl")).unwrap();
    runs.retain(|run| {
        let wanted = |problem: &Problem| matches!(problem, Problem::DataSkew | Problem::MemorySpill);
        families.contains(&run.family.as_str()) && run.problems.keys().all(wanted) && run.unsure.is_empty()
    });
    runs
}

fn observed() -> Vec<ObservedRun> {
    observe(&labelled(), &BatchOptions::default()).unwrap()
}

fn trees() -> TrainOptions {
    TrainOptions { learner: Some(Learner::Tree), ..TrainOptions::default() }
}

fn read(path: &Path) -> Run {
    let input = discover(path, &DiscoverLimits::default()).unwrap().runs.remove(0);
    read_run(&input, &ReadOptions::default()).unwrap()
}

fn seen(run: &Run) -> BTreeMap<Level, Vec<u64>> {
    let whole = Whole::of(run, &Features::of(run));
    let bits = |level| whole.observations(level).values.iter().map(|value: &f64| value.to_bits()).collect();
    Level::ALL.iter().map(|&level| (level, bits(level))).collect()
}

/// The same run on another day, by somebody else, under other names and with other settings.
fn disguised(event: &mut Value) {
    const DAYS_MS: i64 = 1_000 * 86_400_000;
    match event {
        Value::Number(number) => {
            if let Some(at) = number.as_i64().filter(|at| (1_500_000_000_000..2_500_000_000_000).contains(at)) {
                *number = (at + DAYS_MS).into();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(disguised),
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match (key.as_str(), &mut *value) {
                    (
                        "App Name" | "App ID" | "User" | "Stage Name" | "Details" | "Host" | "description" | "details",
                        Value::String(text),
                    ) => {
                        *text = format!("other {}", text.len());
                    }
                    ("Spark Properties", Value::Object(properties)) => {
                        properties.insert("spark.app.name".to_owned(), "other".into());
                        properties.insert("spark.sql.shuffle.partitions".to_owned(), "4711".into());
                        properties.insert("spark.executor.memory".to_owned(), "99g".into());
                        properties.remove("spark.eventLog.dir");
                    }
                    _ => disguised(value),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn models_see_no_names_dates_or_settings() {
    let path = root().join("datasets/demo/skewed.zstd");
    let text = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
    let mut other = String::new();
    for line in std::str::from_utf8(&text).unwrap().lines() {
        let mut event: Value = serde_json::from_str(line).unwrap();
        disguised(&mut event);
        other += &event.to_string();
        other.push('\n');
    }
    let folder = tempfile::tempdir().unwrap();
    let disguise = folder.path().join("other-name");
    std::fs::write(&disguise, other).unwrap();
    let (run, other) = (read(&path), read(&disguise));
    assert_ne!(run.application.name, other.application.name);
    assert_ne!(run.application.started_at, other.application.started_at);
    assert_eq!(seen(&run), seen(&other));
    // And they do see the run.
    assert_ne!(seen(&run), seen(&read(&root().join("datasets/demo/healthy.zstd"))));
}

#[test]
fn equal_runs_and_an_equal_seed_give_equal_bytes_with_any_number_of_threads() {
    let runs = labelled();
    let one = BatchOptions { threads: std::num::NonZeroUsize::new(1), ..BatchOptions::default() };
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let first = observe(&runs, &one).unwrap();
    let first = alone.install(|| train(&first, &TrainOptions::default(), |_, _, _| {})).unwrap();
    let mut steps = Vec::new();
    let second = train(&observed(), &TrainOptions::default(), |done, all, _| steps.push((done, all))).unwrap();
    assert_eq!(first.files(), second.files());
    assert_eq!(steps.first().map(|step| step.0), Some(0));
    assert!(steps.iter().all(|step| step.1 == steps[0].1) && steps.last().is_some_and(|step| step.0 == step.1));
}

#[test]
fn models_are_read_as_they_were_written_and_say_what_they_look_at() {
    let models = train(&observed(), &trees(), |_, _, _| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in models.files() {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    assert_eq!(Models::read(folder.path()).unwrap(), models);
    let spill = models.problems.iter().find(|model| model.problem == "memory-spill").unwrap();
    assert_eq!(spill.level, Level::StageAttempt);
    assert!(spill.validated.f1 > 0.8, "{:?}", spill.validated);
    assert!(spill.inputs.iter().any(|input| input.name.contains("spill")), "{:?}", spill.inputs);
    let Fitted::Tree(tree) = &spill.fitted else { panic!("{:?}", spill.fitted) };
    assert!(tree.depth() <= 4 && tree.features() == spill.inputs.len());
}

#[test]
fn models_of_other_features_are_refused_by_name() {
    let mut models = train(&observed(), &TrainOptions::default(), |_, _, _| {}).unwrap();
    models.problems[0].inputs[0].name = "memory_spil_ratio".to_owned();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in models.files() {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let refused = Models::read(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("trees.json") && refused.contains("memory_spil_ratio"), "{refused}");
    assert!(refused.contains("memory_spill_ratio"), "the nearest name is given: {refused}");
    let nowhere = Models::read(&folder.path().join("nowhere")).unwrap_err().to_string();
    assert!(nowhere.contains("trees.json"), "{nowhere}");
}

#[test]
fn what_a_rule_and_a_tree_both_find_is_one_finding_that_is_surer() {
    let models = train(&observed(), &trees(), |_, _, _| {}).unwrap();
    let run = read(&root().join("datasets/demo/spill.zstd"));
    let alone = diagnose_run(&run, &Config { models: ModelChoice::None, ..Config::default() });
    let both = diagnose_run(&run, &Config { models: ModelChoice::Given(Arc::new(models)), ..Config::default() });
    let spill = |diagnosis: &emberscope::Diagnosis| {
        let found: Vec<_> =
            diagnosis.findings.iter().filter(|found| found.problem == Problem::MemorySpill).cloned().collect();
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].clone()
    };
    let (alone, both) = (spill(&alone), spill(&both));
    assert_eq!((both.detector.kind, both.also[0].kind), ("rule", "tree"));
    assert!(both.confidence >= alone.confidence && alone.also.is_empty());
    assert_eq!((&both.summary, &both.savings, both.severity), (&alone.summary, &alone.savings, alone.severity));
    assert!(both.evidence.iter().any(|evidence| evidence.feature == "model_probability_ratio"));
}

#[test]
fn too_little_to_learn_from_is_said() {
    let mut runs = observed();
    runs.retain(|run| run.label.family == "star_join");
    runs.truncate(3);
    let Err(TrainError::TooLittle(why)) = train(&runs, &TrainOptions::default(), |_, _, _| {}) else {
        panic!("trained")
    };
    assert!(why.contains("two workload families"), "{why}");
}

/// The files of models, with one thing changed in one of them.
fn damaged(models: &Models, file: &str, change: impl FnOnce(&mut Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in models.files() {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let path = folder.path().join(file);
    let mut value: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&path, value.to_string()).unwrap();
    let refused = Models::read(folder.path()).unwrap_err().to_string();
    assert!(refused.contains(file), "{refused}");
    refused
}

#[test]
fn damaged_models_are_refused_and_name_the_file() {
    let models = train(&observed(), &trees(), |_, _, _| {}).unwrap();
    let tree = |value: &mut Value, change: &dyn Fn(&mut Value)| change(&mut value[0]["fitted"]["tree"]);
    damaged(&models, "trees.json", |value| tree(value, &|tree| tree["nodes"] = serde_json::json!([])));
    damaged(&models, "trees.json", |value| tree(value, &|tree| tree["nodes"][0]["split"]["left"] = 0.into()));
    damaged(&models, "trees.json", |value| tree(value, &|tree| tree["nodes"][0]["split"]["left"] = 4_000_000.into()));
    damaged(&models, "trees.json", |value| tree(value, &|tree| tree["nodes"][0]["split"]["feature"] = 99.into()));
    damaged(&models, "trees.json", |value| tree(value, &|tree| tree["nodes"][0]["weight"] = (-1.0).into()));
    damaged(&models, "trees.json", |value| value[0]["calibration"]["points"] = serde_json::json!([]));
    damaged(&models, "trees.json", |value| value[0]["threshold"] = 7.into());
    let level = damaged(&models, "trees.json", |value| value[0]["level"] = "run".into());
    assert!(level.contains("run"), "{level}");
    let twice = damaged(&models, "trees.json", |value| {
        let copy = value[0].clone();
        value.as_array_mut().unwrap().push(copy);
    });
    assert!(twice.contains("two models"), "{twice}");
    let surer = damaged(&models, "trees.json", |value| {
        value[0]["alone"] = serde_json::json!({"score": 0.5, "runs": 2, "right": 3});
    });
    assert!(surer.contains("more often than it spoke"), "{surer}");
    let usual = TrainOptions { false_alarm_rate: 0.2, ..trees() };
    let usual = train(&observed(), &usual, |_, _, _| {}).unwrap();
    let blind = damaged(&usual, "anomalies.json", |value| {
        value[0]["inputs"] = serde_json::json!([]);
        value[0]["forest"]["features"] = 0.into();
        value[0]["forest"]["trees"] = serde_json::json!([{"nodes": [{"rows": 2}]}]);
    });
    assert!(blind.contains("0 features"), "{blind}");
    let newer = damaged(&models, "manifest.json", |value| value["format"] = 99.into());
    assert!(newer.contains("99"), "{newer}");
    damaged(&models, "manifest.json", |value| value["format"] = 0.into());
}

#[test]
fn labelled_runs_without_a_log_are_all_named_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.jsonl");
    let line = |run: &str| format!("{{\"run\": \"{run}\", \"log\": \"{run}.zstd\", \"family\": \"one\"}}\n");
    std::fs::write(&path, line("first") + &line("second")).unwrap();
    let refused = observe(&read_labels(&path).unwrap(), &BatchOptions::default()).unwrap_err().to_string();
    for (number, log) in [(1, "first.zstd"), (2, "second.zstd")] {
        let said = refused.lines().find(|line| line.contains(&format!("labels.jsonl:{number}: "))).unwrap();
        assert!(said.contains(log), "{refused}");
    }
}

#[test]
fn labels_of_nothing_that_is_in_their_run_refuse_the_training_and_are_all_named() {
    let mut runs = observed();
    let skewed = |run: &&mut ObservedRun| run.label.problems.contains_key(&Problem::DataSkew);
    let wrong: Vec<(String, String)> = runs
        .iter_mut()
        .filter(skewed)
        .take(2)
        .map(|run| {
            run.label.problems.get_mut(&Problem::DataSkew).unwrap().subjects[0].stage_id = Some(99_999);
            (run.label.said_at.clone(), run.label.run.clone())
        })
        .collect();
    let healthy = runs.iter_mut().find(|run| run.label.healthy()).unwrap();
    healthy.label.family.clear();
    let homeless = healthy.label.said_at.clone();
    let refused = train(&runs, &trees(), |_, _, _| {}).unwrap_err().to_string();
    assert_eq!(refused.lines().count(), 3, "{refused}");
    for (at, run) in wrong {
        assert!(
            refused
                .lines()
                .any(|line| line.starts_with(&format!("{at}: ")) && line.contains(&run) && line.contains("99999"))
        );
    }
    assert!(
        refused.lines().any(|line| line.starts_with(&format!("{homeless}: ")) && line.contains("no family")),
        "{refused}"
    );
}

#[test]
fn too_few_healthy_runs_for_the_rate_are_said_and_no_forest_is_made() {
    let options = TrainOptions { false_alarm_rate: 0.001, ..trees() };
    let models = train(&observed(), &options, |_, _, _| {}).unwrap();
    assert!(models.anomalies.is_empty());
    assert!(models.manifest.without_model["unknown-anomaly"].contains("0.001"));
}

#[test]
fn a_family_cannot_be_judged_by_what_only_it_has() {
    // An input that is the name of the family, for those that have the problem, tells nothing of the families left out.
    let mut runs = observed();
    let place =
        emberscope::models::inputs(Level::StageAttempt).iter().position(|input| input.name == "cpu_ratio").unwrap();
    let families: BTreeSet<String> = runs.iter().map(|run| run.label.family.clone()).collect();
    for run in &mut runs {
        let skewed = run.label.problems.contains_key(&Problem::DataSkew);
        let number = families.iter().position(|family| *family == run.label.family).unwrap() as f64;
        let rows = run.observations.get_mut(&Level::StageAttempt).unwrap();
        rows.values.fill(1.0);
        rows.values.column_mut(place).fill(if skewed { 100.0 * (number + 1.0) } else { 100.0 * (number + 1.0) + 50.0 });
    }
    runs.retain(|run| run.label.healthy() || run.label.problems.contains_key(&Problem::DataSkew));
    // Forests of what is usual can be trained, so that there is something to be judged.
    let options = TrainOptions { false_alarm_rate: 0.2, ..TrainOptions::default() };
    let models = train(&runs, &options, |_, _, _| {}).unwrap();
    let compared = &models.manifest.compared["data-skew"];
    assert_eq!(compared.len(), Learner::ALL.len());
    for (learner, validated) in compared {
        assert!(validated.average_precision < 0.7, "{learner}: {validated:?}");
    }
}

#[test]
fn what_only_the_forest_finds_is_told_with_its_numbers_and_its_place() {
    // Files behind a lock. In an event log no rule sees that, but reading takes a share of the run that it has in no healthy one.
    let run = read(&root().join("datasets/lab/logs/port-calls-lock-contention-4.zstd"));
    let diagnosis = diagnose_run(&run, &Config::default());
    let found: Vec<_> = diagnosis.findings.iter().filter(|found| found.problem == Problem::UnknownAnomaly).collect();
    let [found] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((found.severity, found.detector.kind), (Severity::Info, "forest"));
    assert!(found.confidence <= 0.5 && found.savings.wall_clock_ms.is_none(), "{found:#?}");
    let scan = found.evidence.iter().find(|evidence| evidence.feature.contains("scan_time")).unwrap();
    let emberscope::Value::Number(value) = scan.value else { panic!("{scan:?}") };
    let typical = scan.typical.unwrap();
    assert!(value > 5.0 * typical, "{scan:#?}");
    assert!(found.more_subjects.iter().any(|subject| subject.sql_execution_id.is_some()), "{found:#?}");
    assert!(diagnosis.findings.iter().all(|found| found.problem != Problem::LockContention), "no event log tells it");
    let rules = diagnose_run(&run, &Config { models: ModelChoice::None, ..Config::default() });
    assert!(rules.findings.iter().all(|found| found.detector.kind == "rule"));
}

#[test]
fn of_another_spark_a_cut_log_and_a_far_longer_run_models_say_nothing_by_themselves() {
    let path = root().join("datasets/lab/logs/port-calls-lock-contention-4.zstd");
    let text = String::from_utf8(zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let why = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let diagnosis = diagnose_run(&read(&path), &Config::default());
        assert!(diagnosis.findings.iter().all(|found| found.detector.kind == "rule"), "{name}");
        let skipped = diagnosis.skipped.iter().find(|skipped| skipped.detector == "models by themselves").unwrap();
        skipped.missing[0].clone()
    };
    let other = text.replace("\"Spark Version\":\"4.3.0\"", "\"Spark Version\":\"2.4.8\"");
    assert_ne!(other, text);
    assert!(why("other", &other).contains("Spark 2.4, where training had 3.5, 4.1, 4.3"));
    let cut = text.lines().filter(|line| !line.contains("SparkListenerApplicationEnd"));
    assert!(why("cut", &cut.collect::<Vec<_>>().join("\n")).contains("does not go to the end"));
    let an_hour_later = |line: &str| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        if event["Event"] == "SparkListenerApplicationEnd" {
            event["Timestamp"] = (event["Timestamp"].as_i64().unwrap() + 3_600_000).into();
        }
        event.to_string()
    };
    let longer: Vec<String> = text.lines().map(an_hour_later).collect();
    assert!(why("longer", &longer.join("\n")).contains("wall_clock_ms"));
}

#[test]
fn a_run_with_problems_that_were_withheld_from_the_forest_stands_out() {
    let observed = observed();
    let (with, without): (Vec<ObservedRun>, Vec<ObservedRun>) =
        observed.into_iter().partition(|run| run.label.problems.contains_key(&Problem::MemorySpill));
    let options = TrainOptions { false_alarm_rate: 0.1, ..TrainOptions::default() };
    let model = usual(&without, &options).unwrap().unwrap();
    let severe: Vec<_> = with.iter().filter(|run| run.label.problems[&Problem::MemorySpill].strength >= 3).collect();
    assert!(severe.len() >= 4);
    for run in severe {
        assert!(model.stands_out(run).unwrap(), "{}", run.label.run);
    }
    let healthy: Vec<_> = without.iter().filter(|run| run.label.healthy()).collect();
    let flagged = healthy.iter().filter(|run| model.stands_out(run).unwrap()).count();
    assert!(flagged * 5 <= healthy.len(), "{flagged} of {}", healthy.len());
}
