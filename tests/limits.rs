//! Every limit: when it is hit its name or number is said, and what was known before is kept.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use emberscope_extract::sources::event_log::framing;
use emberscope_extract::sources::{Limits, ReadOptions};
use emberscope_run::{IssueCode, Run};
use emberscope_tests::{dump, issue, read_text};

const HEAD: &str = concat!(
    "{\"Event\":\"SparkListenerLogStart\",\"Spark Version\":\"3.5.1\"}\n",
    "{\"Event\":\"SparkListenerApplicationStart\",\"App Name\":\"n\",\"App ID\":\"app-1\",\"Timestamp\":1000,\"User\":\"u\"}\n",
);
const TAIL: &str = "{\"Event\":\"SparkListenerApplicationEnd\",\"Timestamp\":9000}\n";

fn whole(middle: &str) -> String {
    format!("{HEAD}{middle}{TAIL}")
}

/// A line with `{}` replaced by each number below `count`.
fn repeat(line: &str, count: usize) -> String {
    (0..count).map(|number| line.replace("{}", &number.to_string()) + "\n").collect()
}

/// Reads a log under limits, on one thread and on two; the start of the application is always known.
fn under(limits: Limits, text: impl Into<Vec<u8>>) -> Run {
    let text = text.into();
    let options = |threads| ReadOptions { threads, limits, ..ReadOptions::default() };
    let run = read_text(text.clone(), &options(1)).unwrap();
    assert_eq!(dump(&run), dump(&read_text(text, &options(2)).unwrap()));
    assert_eq!(run.application.id.as_deref(), Some("app-1"));
    run
}

/// That a code came so often, first at a line, with a meaning that holds these words, and that the rest was read.
fn assert_issue(run: &Run, code: IssueCode, count: u64, at: &str, words: &str) {
    let (found, position, meaning) = issue(run, code).unwrap_or_else(|| panic!("no {}: {:?}", code.name(), run.issues));
    assert_eq!((found, position.as_str()), (count, at), "{meaning}");
    assert!(meaning.contains(words), "{meaning}");
    assert!(run.application.complete(), "what comes after the limit is read");
}

/// The end of task `{}`.
fn task_end(reason: &str) -> String {
    format!(
        "{{\"Event\":\"SparkListenerTaskEnd\",\"Stage ID\":0,\"Stage Attempt ID\":0,\"Task End Reason\":{reason},\
         \"Task Info\":{{\"Task ID\":{{}},\"Index\":{{}},\"Attempt\":0,\"Launch Time\":1000,\"Executor ID\":\"1\",\
         \"Host\":\"h\",\"Finish Time\":1500}}}}"
    )
}

#[test]
fn a_line_over_max_line_bytes_is_passed_over_and_the_next_line_keeps_its_number() {
    for padding in [2_000, 5 << 20] {
        let long = format!("{{\"Event\":\"SparkListenerLogStart\",\"x\":\"{}\"}}\n", "x".repeat(padding));
        let limits = Limits { max_line_bytes: 1_000, ..Limits::default() };
        let run = under(limits, whole(&format!("{long}{long}not json\n")));
        assert_issue(&run, IssueCode::LineTooLong, 2, "log:3", "max_line_bytes = 1000");
        assert_eq!(issue(&run, IssueCode::MalformedLine).unwrap().1, "log:5");
        assert_eq!((run.sources[0].events_read, run.sources[0].events_lost), (3, 3));
    }
}

#[test]
fn a_line_of_several_mebibytes_is_read_by_default() {
    let attribute = "y".repeat(7 << 20);
    let long = format!(
        "{{\"Event\":\"SparkListenerExecutorAdded\",\"Timestamp\":1500,\"Executor ID\":\"7\",\"Executor Info\":{{\"Host\":\"h\",\
         \"Attributes\":{{\"x\":\"{attribute}\"}},\"Total Cores\":3}}}}\n",
    );
    let run = under(Limits::default(), whole(&long));
    assert_eq!(run.executors.values().next().unwrap().cores, Some(3));
    assert_eq!((run.sources[0].events_read, run.sources[0].events_lost), (4, 0));
}

/// How many of something a run kept.
type Kept = fn(&Run) -> usize;

#[test]
fn ids_over_max_ids_are_counted_and_those_before_are_kept() {
    const SQL: &str = "org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart";
    let limits = Limits { max_ids: 10, ..Limits::default() };
    let kinds: [(&str, &str, Kept); 5] = [
        (
            "executors",
            r#"{"Event":"SparkListenerExecutorAdded","Timestamp":1500,"Executor ID":"{}","Executor Info":{"Host":"h"}}"#,
            |run| run.executors.len(),
        ),
        ("jobs", r#"{"Event":"SparkListenerJobStart","Job ID":{},"Submission Time":1500}"#, |run| run.jobs.len()),
        (
            "stage attempts",
            r#"{"Event":"SparkListenerStageSubmitted","Stage Info":{"Stage ID":{},"Number of Tasks":1}}"#,
            |run| run.stages.len(),
        ),
        ("SQL executions", &format!(r#"{{"Event":"{SQL}","executionId":{{}}}}"#), |run| run.sql_executions.len()),
        ("resource profiles", r#"{"Event":"SparkListenerResourceProfileAdded","Resource Profile Id":{}}"#, |run| {
            run.resource_profiles.len()
        }),
    ];
    for (what, line, kept) in kinds {
        let run = under(limits, whole(&repeat(line, 15)));
        assert_issue(&run, IssueCode::TooManyIds, 5, "log:13", &format!("more than 10 {what}"));
        assert_eq!(kept(&run), 10, "{what}");
    }
}

#[test]
fn one_line_that_names_many_ids_is_bounded_too() {
    let limits = Limits { max_ids: 100, ..Limits::default() };
    let ids = repeat("{},", 1_000).replace('\n', "");
    let job =
        format!("{{\"Event\":\"SparkListenerJobStart\",\"Job ID\":0,\"Stage IDs\":[{}]}}\n", ids.trim_end_matches(','));
    let run = under(limits, whole(&job));
    assert_issue(&run, IssueCode::TooManyIds, 900, "log:3", "more than 100 stage attempts");
    assert_eq!(run.stages.len(), 100);

    let pairs = repeat("[{},1],", 1_000).replace('\n', "");
    let updates = format!(
        "{{\"Event\":\"org.apache.spark.sql.execution.ui.SparkListenerDriverAccumUpdates\",\"executionId\":0,\
         \"accumUpdates\":[{}]}}\n",
        pairs.trim_end_matches(',')
    );
    let limits = Limits { max_accumulators: 100, ..Limits::default() };
    let run = under(limits, whole(&updates));
    assert_issue(&run, IssueCode::TooManyIds, 900, "log:3", "more than 100 accumulators");
}

#[test]
fn tasks_over_max_tasks_are_counted_and_those_before_are_kept() {
    let ends = repeat(&task_end("{\"Reason\":\"Success\"}"), 15);
    let run = under(Limits { max_tasks: 10, ..Limits::default() }, whole(&ends));
    assert_issue(&run, IssueCode::LimitReached, 5, "log:13", "more than 10 tasks");
    assert_eq!(run.task_count(), 10);
}

#[test]
fn tasks_that_run_are_bounded_as_those_that_ended_are() {
    let line = r#"{"Event":"SparkListenerTaskStart","Stage ID":0,"Task Info":{"Task ID":{},"Executor ID":"1","Launch Time":5}}"#;
    let limits = Limits { max_tasks: 10, ..Limits::default() };
    let run = under(limits, format!("{HEAD}{}", repeat(line, 15)));
    assert_eq!(run.stages.values().map(|stage| stage.running.len()).sum::<usize>(), 10);
    let (count, at, meaning) = issue(&run, IssueCode::LimitReached).unwrap();
    assert_eq!((count, at.as_str()), (5, "log:13"), "{meaning}");
    assert!(meaning.contains("more than 10 running tasks"), "{meaning}");
    // Those that end make room for others.
    let both = repeat(&format!("{line}\n{}", task_end("{\"Reason\":\"Success\"}")), 10);
    let run = under(limits, whole(&both));
    assert_eq!((run.task_count(), run.issues.count(IssueCode::LimitReached)), (10, 0));
}

#[test]
fn causes_of_failures_over_max_failures_are_said_and_their_tasks_are_kept() {
    let ends: String = (0..15)
        .map(|id| {
            let class = "x".repeat(id + 1);
            let reason =
                format!("{{\"Reason\":\"ExceptionFailure\",\"Class Name\":\"{class}\",\"Description\":\"d\"}}");
            task_end(&reason).replace("{}", &id.to_string()) + "\n"
        })
        .collect();
    let run = under(Limits { max_failures: 10, ..Limits::default() }, whole(&ends));
    assert_issue(&run, IssueCode::TooManyIds, 5, "log:13", "more than 10 causes of failures");
    assert_eq!((run.failures.len(), run.task_count()), (10, 15));
}

#[test]
fn batches_over_max_batches_are_counted_and_those_before_are_kept() {
    let line = r#"{"Event":"org.apache.spark.sql.streaming.StreamingQueryListener$QueryProgressEvent","progress":{"id":"q","runId":"r","batchId":{}}}"#;
    let run = under(Limits { max_batches: 10, ..Limits::default() }, whole(&repeat(line, 15)));
    assert_issue(&run, IssueCode::TooManyIds, 5, "log:13", "more than 10 micro-batches");
    assert_eq!(run.streaming_queries["r"].batches.len(), 10);
}

#[test]
fn exclusions_are_bounded_whatever_the_number_of_executors_on_a_host() {
    let added =
        r#"{"Event":"SparkListenerExecutorAdded","Timestamp":1500,"Executor ID":"{}","Executor Info":{"Host":"h"}}"#;
    let excluded = r#"{"Event":"SparkListenerNodeExcluded","time":2{},"hostId":"h","executorFailures":1}"#;
    let text = whole(&(repeat(added, 20) + &repeat(excluded, 20)));
    let run = under(Limits { max_ids: 100, ..Limits::default() }, text);
    assert_issue(&run, IssueCode::TooManyIds, 300, "log:28", "more than 100 exclusions");
    assert_eq!(run.executors.values().map(|executor| executor.exclusions.len()).sum::<usize>(), 100);
}

#[test]
fn a_plan_over_its_limits_is_cut_and_said() {
    let sql = |plan: &str| {
        format!(
            "{{\"Event\":\"org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart\",\"executionId\":0,\
             \"sparkPlanInfo\":{plan}}}\n"
        )
    };
    let nodes = |run: &Run| run.sql_executions.values().map(|sql| sql.nodes().len()).sum::<usize>();
    let deep = "{\"nodeName\":\"Union\",\"children\":[".repeat(100_000) + &"]}".repeat(100_000);
    let run = under(Limits::default(), whole(&sql(&deep)));
    assert_issue(&run, IssueCode::LimitReached, 1, "log:3", "deeper than 300 levels");
    assert_eq!(nodes(&run), 300);
    let wide =
        format!("{{\"nodeName\":\"Union\",\"children\":[{}]}}", vec!["{\"nodeName\":\"Scan\"}"; 30_000].join(","));
    let run = under(Limits::default(), whole(&sql(&wide)));
    assert_issue(&run, IssueCode::LimitReached, 10_001, "log:3", "more than 20,000 nodes");
    assert_eq!(nodes(&run), 20_000);
}

#[test]
fn nesting_that_is_read_is_bounded_and_nesting_that_is_skipped_is_not() {
    let brackets = "[".repeat(200_000) + &"]".repeat(200_000);
    let skipped = format!("{{\"Event\":\"SparkListenerLogStart\",\"x\":{brackets}}}\n");
    let run = under(Limits::default(), whole(&skipped));
    assert_eq!((run.sources[0].events_read, run.sources[0].events_lost), (4, 0));
    let status = "{\"Status\":".repeat(200_000) + &"}".repeat(200_000);
    let read = format!("{{\"Event\":\"SparkListenerBlockUpdated\",\"Block Updated Info\":{status}}}\n");
    let run = under(Limits::default(), whole(&read));
    assert_issue(&run, IssueCode::MalformedLine, 1, "log:3", "deeper than the limit of 700");
}

#[test]
fn the_limits_of_the_decompression_name_themselves_and_keep_what_came_before() {
    let zstd = |text: &str| zstd::stream::encode_all(text.as_bytes(), 3).unwrap();
    let text = HEAD.to_owned() + &repeat(&task_end("{\"Reason\":\"Success\"}"), 20_000);
    let bytes = framing::Limits { max_decompressed_bytes: 100_000, ..framing::Limits::default() };
    let run = under(Limits { framing: bytes, ..Limits::default() }, zstd(&text));
    let (count, at, meaning) = issue(&run, IssueCode::LimitReached).unwrap();
    assert!(count == 1 && at.starts_with("log: byte "), "{at}");
    assert!(meaning.contains("max_decompressed_bytes = 100000"), "{meaning}");
    assert_eq!(run.sources[0].bytes_decompressed, 100_000);
    assert!(run.task_count() > 300 && run.sources[0].truncated);

    // The ratio is looked at from 64 MiB of text on: 45 bytes a line are 90 MB.
    let text = HEAD.to_owned() + &"{\"Event\":\"SparkListenerTaskGettingResult\"}  \n".repeat(2_000_000);
    let ratio = framing::Limits { max_ratio: 50, ..framing::Limits::default() };
    let run = under(Limits { framing: ratio, ..Limits::default() }, zstd(&text));
    let (count, _, meaning) = issue(&run, IssueCode::LimitReached).unwrap();
    assert!(count == 1 && meaning.contains("max_ratio = 50"), "{meaning}");
    assert!(run.sources[0].events_read > 1_000_000);
}
