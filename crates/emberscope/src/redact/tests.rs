use emberscope_rules::{Advice, ConfigurationNote, Consequence, Evidence, Finding, Problem, Skipped, Subject};
use emberscope_run::{Executor, ExecutorId, Job, JobId, PlanNode, Run, Source, SqlExecution, SqlExecutionId};

use super::*;
use crate::{Config, diagnose_run};

const SQL: &str = "SELECT card_number\n  FROM payments WHERE holder = 'Ada Lovelace' AND country = 'CH'";

/// A run whose names are all secrets.
fn run() -> Run {
    let mut run = Run::default();
    run.application.name = Some("Payroll March".to_owned());
    run.application.user = Some("spark".to_owned());
    run.application.id = Some("application_1_0001".to_owned());
    run.host_names = vec!["web-1".to_owned(), "web-12".to_owned()];
    let host = Some("worker7.corp.example".to_owned());
    run.executors.insert(ExecutorId::from("1"), Executor { id: ExecutorId::from("1"), host, ..Executor::default() });
    run.sources.push(Source { path: "exports/payroll.zstd".to_owned(), ..Source::default() });
    let mut scan = PlanNode { name: "Scan parquet hr.salaries".to_owned(), ..PlanNode::default() };
    scan.description = "Scan parquet hr.salaries [home_address#3,count#4L]".to_owned();
    scan.metadata
        .insert("Location".to_owned(), "InMemoryFileIndex(1 paths)[hdfs://nn1:8020/warehouse/hr salaries]".to_owned());
    let sql = SqlExecution { description: SQL.to_owned(), plan: Some(scan), ..SqlExecution::default() };
    run.sql_executions.insert(SqlExecutionId(0), sql);
    run.jobs.insert(JobId(0), Job { description: Some("count at Main.scala:12".to_owned()), ..Job::default() });
    run
}

fn redactor() -> Redactor {
    Redactor::of_run(&run())
}

#[test]
fn every_occurrence_is_replaced_by_the_token_of_its_kind() {
    let redactor = redactor();
    let host = Kind::Host.token("web-1");
    assert_eq!(
        redactor.text("lost web-1, not web-12 or web-123"),
        format!("lost {host}, not {} or web-123", Kind::Host.token("web-12"))
    );
    assert_eq!(
        redactor.text("Payroll March by spark"),
        format!("{} by {}", Kind::Application.token("Payroll March"), Kind::User.token("spark"))
    );
    assert_eq!(redactor.text("reads hr.salaries"), format!("reads {}", Kind::Table.token("hr.salaries")));
    assert_eq!(redactor.text("count at Main.scala:12"), "count at Main.scala:12");
}

#[test]
fn tokens_are_the_same_in_every_run_and_tell_names_apart() {
    assert_eq!(Kind::Host.token("web-1"), Kind::Host.token("web-1"));
    assert_ne!(Kind::Host.token("web-1"), Kind::Host.token("web-2"));
    assert!(Kind::Host.token("web-1").starts_with("host-") && Kind::Host.token("web-1").len() == 13);
}

#[test]
fn a_setting_is_not_taken_for_the_user_whose_name_begins_it() {
    assert_eq!(redactor().text("set spark.sql.adaptive.enabled"), "set spark.sql.adaptive.enabled");
    assert_eq!(redactor().text("at org.apache.spark.rdd.RDD"), "at org.apache.spark.rdd.RDD");
}

#[test]
fn sql_is_replaced_as_written_as_one_line_and_cut() {
    let redactor = redactor();
    let line = SQL.split_whitespace().collect::<Vec<_>>().join(" ");
    for quoted in [SQL, &line, &SQL[..60], &line[..50]] {
        let text = redactor.text(&format!("slow: {quoted}… (cut)"));
        assert!(!text.contains("payments") && !text.contains("card_number"), "{text}");
    }
}

#[test]
fn paths_addresses_and_columns_are_replaced_though_the_run_does_not_name_them() {
    let redactor = redactor();
    for (text, secret) in [
        ("collect at /home/ada/jobs/pay.py:12", "ada"),
        ("cannot read s3a://bucket/key.", "bucket"),
        ("File file:/data/secret,x", "secret"),
        ("jdbc:postgresql://db1/pay failed", "db1"),
        ("connect to 10.1.2.3:7337", "10.1.2.3"),
        ("join on [card_number#12L]", "card_number"),
        ("[hdfs://nn1:8020/warehouse/hr salaries]", "salaries"),
        ("from exports/payroll.zstd:17", "payroll"),
    ] {
        let redacted = redactor.text(text);
        assert!(!redacted.contains(secret), "{redacted}");
    }
    assert_eq!(redactor.text("at /a/b.py:12"), format!("at {}:12", Kind::Path.token("/a/b.py")));
}

#[test]
fn a_column_of_a_plan_is_replaced_without_its_number_too_unless_it_is_a_word() {
    let text = redactor().text("join on home_address, count(1)");
    assert_eq!(text, format!("join on {}, count(1)", Kind::Column.token("home_address")));
}

#[test]
fn what_has_no_form_of_a_secret_stays() {
    for text in [
        "rows and/or bytes per second",
        "median 3.5 / max 4",
        "Spark 3.5.1",
        "12 of 30 tasks (40 %)",
        "n/a",
        "stage 4.0 #1",
    ] {
        assert_eq!(redactor().text(text), text);
    }
}

#[test]
fn no_secret_survives_in_any_text_of_a_diagnosis() {
    let run = run();
    let mut diagnosis = diagnose_run(&run, &Config::default());
    let secrets = [
        "Payroll March",
        "worker7.corp.example",
        "web-12",
        "hr.salaries",
        "Ada Lovelace",
        "exports/payroll.zstd",
        "/warehouse",
    ];
    let all = format!("{} on {SQL} in hdfs://nn1:8020/warehouse/hr salaries", secrets.join(" and "));
    let mut subject = Subject::host("worker7.corp.example").named(&all);
    subject.configuration_key = Some(all.clone());
    let mut finding = Finding::new(Problem::SlowExecutor, 0.5, subject.clone(), &all);
    finding.more_subjects = vec![subject.clone()];
    finding.evidence = vec![Evidence::text(&all, &all)];
    finding.savings.how.clone_from(&all);
    finding.advice = vec![Advice::text(&all).set("spark.x", &all)];
    finding.because = Some(all.clone());
    finding.consequences =
        vec![Consequence { problem: Problem::StageRetry, summary: all.clone(), subjects: vec![subject] }];
    diagnosis.findings = vec![finding];
    let (key, advice) = (all.clone(), Advice::text(&all).set(&all, &all));
    diagnosis.configuration =
        vec![ConfigurationNote { key, value: Some(all.clone()), set: true, evidence: all.clone(), advice }];
    diagnosis.skipped.push(Skipped { detector: "x".to_owned(), missing: vec![all.clone()] });
    let before = serde_json::to_string(&diagnosis).expect("JSON");
    assert!(secrets.iter().all(|secret| before.contains(secret)));
    Redactor::of_run(&run).redact(&mut diagnosis);
    let after = serde_json::to_string(&diagnosis).expect("JSON");
    for secret in secrets {
        assert!(!after.contains(secret), "{secret} in {after}");
    }
    assert!(after.contains(&Kind::Host.token("worker7.corp.example")));
    assert!(after.contains("application_1_0001"));
}
