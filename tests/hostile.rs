//! Hostile logs: ids, times and sizes at their ends, and shapes that make careless code take the product of two numbers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use emberscope_extract::features::Features;
use emberscope_extract::sources::ReadOptions;
use emberscope_rules::DetectorConfig;
use emberscope_run::{IssueCode, Run};
use emberscope_tests::{issue, read_text};

const HEAD: &str =
    "{\"Event\":\"SparkListenerApplicationStart\",\"App Name\":\"n\",\"App ID\":\"a\",\"Timestamp\":1000}\n";

/// Reads a log and takes it through features and rules; the time for it is far above what it needs.
fn survives(what: &str, text: String) -> Run {
    let started = Instant::now();
    let run = read_text(text, &ReadOptions::default()).unwrap();
    let read = started.elapsed();
    let features = Features::of(&run);
    let summed = started.elapsed();
    let _ = emberscope_rules::assess(&run, &features, &DetectorConfig::default());
    let all = started.elapsed();
    assert!(all < Duration::from_secs(30), "{what}: read {read:?}, with features {summed:?}, with rules {all:?}");
    run
}

fn repeat(line: &str, count: usize) -> String {
    let mut text = String::with_capacity(count * (line.len() + 8));
    for number in 0..count {
        let _ = writeln!(text, "{}", line.replace("{}", &number.to_string()));
    }
    text
}

/// Ends of a task `{}` of stage 0, each on an executor of its own.
const TASK: &str = r#"{"Event":"SparkListenerTaskEnd","Stage ID":0,"Stage Attempt ID":0,"Task End Reason":{"Reason":"Success"},"Task Info":{"Task ID":{},"Index":{},"Attempt":0,"Launch Time":1{},"Executor ID":"{}","Host":"h{}","Finish Time":9999999999},"Task Metrics":{"Executor Run Time":5}}"#;

#[test]
fn numbers_at_their_ends_saturate() {
    for number in ["9223372036854775807", "-9223372036854775808", "18446744073709551615", "1e308", "-1e308", "0", "-1"]
    {
        let corpus = emberscope_tests::root().join("tests/fuzz/corpus/event_log");
        let mut files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            // Every number of every hand-made log at once.
            let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
            let mut out = String::new();
            let mut in_number = false;
            let mut before = ' ';
            for c in text.chars() {
                let digit = c.is_ascii_digit() && (in_number || matches!(before, ':' | ',' | '['));
                if digit && !in_number {
                    out.push_str(number);
                }
                in_number = digit;
                if !digit {
                    out.push(c);
                }
                before = c;
            }
            if let Ok(run) = read_text(out, &ReadOptions::default()) {
                let features = Features::of(&run);
                let _ = emberscope_rules::assess(&run, &features, &DetectorConfig::default());
            }
        }
    }
}

#[test]
fn many_executors_and_many_stages_do_not_multiply() {
    let executors = repeat(
        r#"{"Event":"SparkListenerExecutorAdded","Timestamp":1500,"Executor ID":"{}","Executor Info":{"Host":"h","Total Cores":4}}"#,
        20_000,
    );
    let stages = repeat(
        r#"{"Event":"SparkListenerStageSubmitted","Stage Info":{"Stage ID":{},"Number of Tasks":1,"Submission Time":1600}}"#,
        20_000,
    );
    let tasks = repeat(&TASK.replace("\"Stage ID\":0", "\"Stage ID\":{}"), 20_000);
    let run = survives("executors and stages", format!("{HEAD}{executors}{stages}{tasks}"));
    assert_eq!((run.executors.len(), run.stages.len(), run.task_count()), (20_000, 20_000, 20_000));
}

#[test]
fn many_executors_of_one_stage_and_partitions_of_any_number() {
    let tasks = repeat(&TASK.replace("\"Index\":{}", "\"Index\":67{}00000"), 30_000);
    assert_eq!(survives("executors of a stage", format!("{HEAD}{tasks}")).executors.len(), 30_000);
}

#[test]
fn a_job_that_names_two_million_stages_has_as_many_as_memory_allows() {
    let ids: Vec<String> = (0..2_000_000).map(|id| id.to_string()).collect();
    let job = format!("{{\"Event\":\"SparkListenerJobStart\",\"Job ID\":0,\"Stage IDs\":[{}]}}\n", ids.join(","));
    let run = survives("dense stages", format!("{HEAD}{job}"));
    assert_eq!(run.stages.len(), 100_000);
    let (count, _, meaning) = issue(&run, IssueCode::TooManyIds).unwrap();
    assert_eq!(count, 1_900_000);
    assert!(meaning.contains("more than 100000 stage attempts (max_ids)"), "{meaning}");
}

#[test]
fn jobs_of_one_stage_and_attempts_of_it_do_not_multiply() {
    let jobs =
        repeat(r#"{"Event":"SparkListenerJobStart","Job ID":{},"Submission Time":1500,"Stage IDs":[0]}"#, 20_000);
    let attempts = repeat(
        r#"{"Event":"SparkListenerStageSubmitted","Stage Info":{"Stage ID":0,"Stage Attempt ID":{},"Number of Tasks":1}}"#,
        20_000,
    );
    assert_eq!(survives("attempts", format!("{HEAD}{jobs}{attempts}")).stages.len(), 20_000);
}

#[test]
fn exclusions_of_a_crowded_host_do_not_multiply() {
    let added =
        r#"{"Event":"SparkListenerExecutorAdded","Timestamp":1500,"Executor ID":"{}","Executor Info":{"Host":"h"}}"#;
    let excluded = r#"{"Event":"SparkListenerNodeExcluded","time":2{},"hostId":"x{}","executorFailures":1}"#;
    let included = r#"{"Event":"SparkListenerExecutorUnexcluded","time":2{},"executorId":"0"}"#;
    let of_one = r#"{"Event":"SparkListenerExecutorExcluded","time":2{},"executorId":"0","taskFailures":1}"#;
    let events = format!("{excluded}\n{of_one}\n{included}");
    let text = format!("{HEAD}{}{}", repeat(added, 10_000), repeat(&events, 30_000));
    assert_eq!(survives("exclusions", text).executors.len(), 10_000);
}

#[test]
fn cached_blocks_and_removed_executors_do_not_multiply() {
    let block = r#"{"Event":"SparkListenerBlockUpdated","Block Updated Info":{"Block Manager ID":{"Executor ID":"1"},"Block ID":"rdd_1_{}","Storage Level":{"Use Memory":true},"Memory Size":5}}"#;
    let removed =
        r#"{"Event":"SparkListenerExecutorRemoved","Timestamp":1500,"Executor ID":"9{}","Removed Reason":"x"}"#;
    let run = survives("blocks", format!("{HEAD}{}{}", repeat(block, 100_000), repeat(removed, 50_000)));
    assert_eq!(run.rdds.values().next().unwrap().updates.unwrap().stored_in_memory, 100_000);
}

#[test]
fn metrics_added_to_a_plan_one_by_one_do_not_multiply() {
    let sql = "org.apache.spark.sql.execution.ui.SparkListenerSQL";
    let nodes = vec!["{\"nodeName\":\"Scan\",\"metrics\":[{\"name\":\"x\",\"accumulatorId\":7}]}"; 15_000].join(",");
    let start = format!(
        "{{\"Event\":\"{sql}ExecutionStart\",\"executionId\":0,\"sparkPlanInfo\":{{\"nodeName\":\"Union\",\"children\":[{nodes}]}}}}\n"
    );
    let update = format!(
        r#"{{"Event":"{sql}AdaptiveSQLMetricUpdates","executionId":0,"sqlPlanMetrics":[{{"name":"m","accumulatorId":1{{}}}}]}}"#
    );
    let run = survives("plan metrics", format!("{HEAD}{start}{}", repeat(&update, 50_000)));
    assert_eq!(run.sql_executions.values().next().unwrap().plan.as_ref().unwrap().metrics.len(), 50_000);
}

#[test]
fn stages_that_all_run_at_once_do_not_multiply() {
    let long =
        TASK.replace("\"Stage ID\":0", "\"Stage ID\":{}").replace("\"Executor ID\":\"{}\"", "\"Executor ID\":\"1\"");
    let tasks = repeat(&long.replace("\"Host\":\"h{}\"", "\"Host\":\"h\""), 50_000);
    let run = survives("overlapping stages", format!("{HEAD}{tasks}"));
    let timeline = emberscope_extract::features::Timeline::of(&run);
    let shares: f64 = timeline.stage_ms.values().sum();
    assert!((shares - timeline.busy_ms as f64).abs() < 1.0, "{shares} of {}", timeline.busy_ms);
}

#[test]
fn parents_in_a_circle_and_rdds_that_are_their_own_parents() {
    let stages = r#"{"Event":"SparkListenerJobStart","Job ID":0,"Submission Time":1,"Stage IDs":[0,1,2],"Stage Infos":[{"Stage ID":0,"Parent IDs":[2],"RDD Info":[{"RDD ID":1,"Parent IDs":[1]}]},{"Stage ID":1,"Parent IDs":[0]},{"Stage ID":2,"Parent IDs":[1,2]}]}"#;
    let tasks = repeat(&TASK.replace("\"Stage ID\":0", "\"Stage ID\":{}"), 3);
    assert_eq!(survives("circle", format!("{HEAD}{stages}\n{tasks}")).stages.len(), 3);
}

#[test]
fn failures_that_all_differ_and_stacks_that_never_end() {
    let stack = "\\tat a.b.C.d(C.java:1)\\nCaused by: x.Y: z\\n".repeat(400);
    let failed = TASK.replace(
        "{\"Reason\":\"Success\"}",
        &format!(
            "{{\"Reason\":\"ExceptionFailure\",\"Class Name\":\"c\",\"Description\":\"d\",\"Full Stack Trace\":\"{stack}\"}}"
        ),
    );
    let text = format!("{HEAD}{}", repeat(&failed.replace("\"Stage ID\":0", "\"Stage ID\":{}"), 5_000));
    assert_eq!(survives("failures", text).failures.len(), 2_000);
}
