//! Diagnoses made by hand, and what is rendered of them.

use emberscope::{
    Advice, ConfigurationNote, Consequence, Counts, Diagnosis, Evidence, Finding, Harm, ImportIssueSummary, IssueLevel,
    Problem, Report, RunSummary, SCHEMA_VERSION, Savings, Severity, Skipped, SourceSummary, Subject, TaskSummary,
    Tried, Unit, Unreadable,
};

use crate::{TextOptions, json, markdown, text};

fn diagnosis(findings: Vec<Finding>) -> Diagnosis {
    let of = |severity| findings.iter().filter(|finding: &&Finding| finding.severity == severity).count() as u64;
    Diagnosis {
        schema_version: SCHEMA_VERSION.to_owned(),
        emberscope_version: "0.0.0".to_owned(),
        run: RunSummary {
            application_id: Some("application_1700000000000_0042".to_owned()),
            attempt_id: Some("1".to_owned()),
            application_name: Some("nightly orders".to_owned()),
            user: Some("etl".to_owned()),
            spark_version: Some("3.5.1".to_owned()),
            started_at: Some("2026-11-23T03:32:34.123Z".to_owned()),
            ended_at: Some("2026-11-23T03:45:14.123Z".to_owned()),
            complete: true,
            wall_clock_ms: Some(760_000),
            busy_ms: 700_000,
            core_ms_held: Some(12_160_000),
            core_ms_used: 5_100_000,
            executors: 4,
            slots_max: Some(16),
            jobs: 12,
            stage_attempts: 34,
            sql_executions: 3,
            tasks: TaskSummary { ended: 5_203, succeeded: 5_200, failed: 3, ..TaskSummary::default() },
            ..RunSummary::default()
        },
        sources: vec![SourceSummary {
            kind: "event-log".to_owned(),
            path: "/logs/application_1700000000000_0042.zstd".to_owned(),
            codecs: vec!["zstd".to_owned()],
            parts: 1,
            events_read: 10_512,
            bytes: Some(1_258_291),
            bytes_decompressed: 14_680_064,
            ..SourceSummary::default()
        }],
        import_issues: Vec::new(),
        skipped: Vec::new(),
        counts: Counts {
            detectors: 36,
            skipped: 0,
            critical: of(Severity::Critical),
            warning: of(Severity::Warning),
            info: of(Severity::Info),
        },
        findings,
        configuration: Vec::new(),
        said: None,
    }
}

fn stage(id: u64, name: &str) -> Subject {
    let key = serde_json::from_str(&format!("{{\"stage_id\":{id},\"attempt\":0}}")).expect("a stage key");
    Subject::stage(key).named(name)
}

fn skew() -> Finding {
    let mut subject = stage(4, "save at Orders.scala:88");
    subject.partition = Some(7);
    subject.task_id = Some(1_234);
    let mut finding = Finding::new(
        Problem::DataSkew,
        0.9,
        subject,
        "partition 7 of stage 4.0 took 5 min 40 s while the median task took 12.0 s: it read 3.2 GiB where the median read 100 MiB",
    );
    finding.severity = Severity::Critical;
    finding.more_subjects = vec![stage(9, "save at Orders.scala:112")];
    finding.evidence = vec![
        Evidence::number("task_duration_max_ms", 340_000.0, Unit::Ms).over(30_000.0).against(12_000.0),
        Evidence::number("bytes_in_max_bytes", 3_435_973_836.0, Unit::Bytes).over(314_572_800.0).against(104_857_600.0),
        Evidence::text(
            "join",
            "SortMergeJoin [customer_id#12L], [customer_id#40L], LeftOuter, a long condition that takes its own lines",
        ),
    ];
    finding.savings = Savings {
        wall_clock_ms: Some(312_000),
        core_ms: Some(4_992_000),
        how: "the stage took 5 min 50 s; its 9 min of task time spread evenly over 16 slots would take 38.0 s"
            .to_owned(),
    };
    let mut first = Advice::text("Let adaptive execution split skewed partitions of the join.")
        .set("spark.sql.adaptive.enabled", "true")
        .set("spark.executor.extraJavaOptions", "-XX:+UseG1GC -XX:InitiatingHeapOccupancyPercent=35");
    first.more = "emberscope rule data-skew".to_owned();
    first.tried = Some(Tried {
        pairs: 5,
        median_ratio: 0.64,
        least_ratio: 0.6,
        most_ratio: 0.7,
        failed_before: 0,
        failed_after: 0,
        saves: None,
    });
    finding.advice =
        vec![first, Advice::text("Find the hot key and treat it apart: add a random salt of n values to it")];
    finding.consequences = vec![Consequence {
        problem: Problem::MemorySpill,
        summary: "12.0 GiB were spilled in stage 4.0".to_owned(),
        subjects: vec![stage(4, "save at Orders.scala:88")],
    }];
    finding
}

fn failure() -> Finding {
    let mut finding = Finding::new(
        Problem::JobFailure,
        1.0,
        Subject { kind: "job", job_id: Some(79), ..Subject::default() },
        "job 79 failed",
    );
    finding.severity = Severity::Critical;
    finding.harm = Harm::Failure;
    finding.because = Some(
        "java.lang.IllegalStateException: no rate for currency XAU, at com.example.Rates.lookup(Rates.scala:31)"
            .to_owned(),
    );
    finding
}

/// A run with a skewed join.
fn skewed() -> Report {
    let mut diagnosis = diagnosis(vec![skew()]);
    diagnosis.configuration = vec![ConfigurationNote {
        key: "spark.speculation.quantile".to_owned(),
        value: Some("0.75".to_owned()),
        set: false,
        evidence: "spark.speculation is off: the quantile had no effect".to_owned(),
        advice: Advice::text("Switch speculation on").set("spark.speculation", "true"),
    }];
    Report::new(vec![diagnosis], Vec::new())
}

/// A run in which nothing was found, and whose log was cut.
fn clean() -> Report {
    let mut diagnosis = diagnosis(Vec::new());
    diagnosis.run.complete = false;
    diagnosis.run.ended_at = None;
    diagnosis.sources[0].truncated = true;
    diagnosis.sources[0].events_unknown = 2;
    diagnosis.sources[0].events_lost = 1;
    diagnosis.import_issues = vec![ImportIssueSummary {
        code: "cut-line".to_owned(),
        severity: IssueLevel::Warning,
        count: 1,
        first_at: Some("/logs/application_1700000000000_0042.zstd:10516".to_owned()),
        meaning: "The log ends in the middle of a line: the run was still writing, or the file was cut.".to_owned(),
    }];
    diagnosis.skipped =
        vec![Skipped { detector: "cache-eviction".to_owned(), missing: vec!["block updates".to_owned()] }];
    diagnosis.counts.skipped = 1;
    Report::new(vec![diagnosis], Vec::new())
}

/// Three runs and an input that could not be read.
fn several() -> Report {
    let mut failed = diagnosis(vec![failure(), skew()]);
    failed.run.failed_jobs = 1;
    let clean = clean().diagnoses;
    let unreadable = Unreadable {
        input: "/logs/notes.txt".to_owned(),
        error: "/logs/notes.txt: line 1: no event of Spark in it".to_owned(),
    };
    Report::new([skewed().diagnoses, clean, vec![failed]].concat(), vec![unreadable])
}

/// A run whose names try to be markup and escape sequences.
fn hostile() -> Report {
    let name = "<script>alert(1)</script> | `x` \u{1b}[31m\n# @everyone [a](http://evil)";
    let mut finding = skew();
    finding.subject.name = Some(name.to_owned());
    finding.summary = format!("stage {name} is slow");
    finding.because = Some(name.to_owned());
    finding.evidence = vec![Evidence::text(name, name)];
    finding.advice = vec![Advice::text(name).set(name, "a\n```\nb")];
    let mut diagnosis = diagnosis(vec![finding]);
    diagnosis.run.application_name = Some(name.to_owned());
    diagnosis.run.user = Some(name.to_owned());
    let (key, value, evidence) = (name.to_owned(), Some(name.to_owned()), name.to_owned());
    diagnosis.configuration = vec![ConfigurationNote { key, value, set: true, evidence, advice: Advice::text(name) }];
    diagnosis.sources[0].path = name.to_owned();
    Report::new(vec![diagnosis], Vec::new())
}

fn plain(report: &Report, width: usize) -> String {
    text(report, &TextOptions { width, colour: false })
}

#[test]
fn a_skewed_run_reads_well_as_text() {
    insta::assert_snapshot!(plain(&skewed(), 100));
}

#[test]
fn a_clean_and_cut_run_says_what_was_looked_at_and_what_was_lost() {
    insta::assert_snapshot!(plain(&clean(), 80));
}

fn verdict(findings: Vec<Finding>) -> String {
    crate::phrases::verdict(&diagnosis(findings))
}

#[test]
fn the_headline_says_little_where_little_is_lost() {
    // The run took 760 s: 7.6 s are 1 % of it.
    let saving = |ms: u64| {
        let mut finding = skew();
        finding.savings.wall_clock_ms = Some(ms);
        verdict(vec![finding])
    };
    assert!(saving(295).starts_with("Little time is lost: the most to data-skew in stage 4, "), "{}", saving(295));
    assert!(saving(7_600).starts_with("Little time is lost"), "{}", saving(7_600));
    assert!(saving(7_601).starts_with("Most time is lost to data-skew"), "{}", saving(7_601));
}

#[test]
fn the_headline_tells_a_failed_run_wherever_its_finding_stands() {
    let said = verdict(vec![skew(), failure()]);
    assert!(said.starts_with("This run did not do all of its work: "), "{said}");
}

#[test]
fn a_guess_is_no_headline_beside_what_is_likely() {
    let mut guess = skew();
    guess.confidence = 0.4;
    guess.subject = stage(9, "guess");
    let said = verdict(vec![guess, skew()]);
    assert!(said.contains("in stage 4,") && !said.contains("stage 9"), "{said}");
}

#[test]
fn several_runs_begin_with_a_table() {
    insta::assert_snapshot!(plain(&several(), 120));
}

#[test]
fn a_skewed_run_reads_well_as_markdown() {
    insta::assert_snapshot!(markdown(&skewed()));
}

#[test]
fn several_runs_read_well_as_markdown() {
    insta::assert_snapshot!(markdown(&several()));
}

#[test]
fn the_json_of_one_run_is_its_diagnosis() {
    insta::assert_snapshot!(json(&skewed()).expect("JSON"));
}

#[test]
fn the_json_of_several_runs_is_a_report() {
    let value: serde_json::Value = serde_json::from_str(&json(&several()).expect("JSON")).expect("JSON");
    assert_eq!(value["schema_version"], "1.0");
    assert_eq!(value["diagnoses"].as_array().map(Vec::len), Some(3));
    assert_eq!(value["unreadable"][0]["input"], "/logs/notes.txt");
}

#[test]
fn no_line_but_those_to_copy_is_wider_than_the_terminal() {
    for width in [80, 97, 120] {
        for report in [skewed(), clean(), several(), hostile()] {
            for line in plain(&report, width).lines().filter(|line| !line.contains("--conf")) {
                assert!(crate::wrap::columns(line) <= width, "{width}: {line:?}");
            }
        }
    }
}

#[test]
fn colour_is_only_used_when_it_was_asked_for_and_changes_no_word() {
    let coloured = text(&several(), &TextOptions { width: 100, colour: true });
    assert!(coloured.contains("\u{1b}[1;31m"));
    let mut stripped = String::new();
    let mut escape = false;
    for c in coloured.chars() {
        match c {
            '\u{1b}' => escape = true,
            'm' if escape => escape = false,
            _ if escape => {}
            _ => stripped.push(c),
        }
    }
    assert_eq!(stripped, plain(&several(), 100));
}

#[test]
fn names_from_a_log_cannot_write_escape_sequences_or_markup() {
    let text = plain(&hostile(), 100);
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    let markdown = markdown(&hostile());
    assert!(!markdown.chars().any(|c| c.is_control() && c != '\n'), "{markdown:?}");
    // What stands in a fence is shown as it is; nothing in it may end it.
    let blocks: Vec<&str> = markdown.split("```").collect();
    assert_eq!(blocks.len(), 3, "{markdown}");
    for outside in [blocks[0], blocks[2]] {
        // In a summary GitHub reads HTML only, so that brackets are no link there.
        let markup: String = outside.lines().filter(|line| !line.contains("<summary>")).collect();
        assert!(!markup.replace("\\]", "").contains("]("), "{markup}");
        for forbidden in ["<script", "@everyone", "\n# @"] {
            assert!(!outside.contains(forbidden), "{forbidden:?} in {outside}");
        }
    }
    // Every row of a table keeps its columns: an escaped bar is none.
    for row in markdown.lines().filter(|line| line.starts_with("| 1 |")) {
        assert_eq!(row.replace("\\|", "").matches('|').count(), 7, "{row}");
    }
}
