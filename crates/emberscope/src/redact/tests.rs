use emberscope_rules::{Advice, ConfigurationNote, Consequence, Evidence, Finding, Problem, Skipped, Subject};
use emberscope_run::{
    Executor, ExecutorId, Failure, Job, JobId, JobResult, PlanNode, Run, Source, SqlExecution, SqlExecutionId,
    StageAttempt, StageId, StageKey, TaskEndKind, TaskId,
};

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
    assert_eq!(redactor.text("count at Main.scala:12"), format!("count at {}:12", Kind::Code.token("Main.scala")));
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

/// A run of a program whose names and data are in failures, call sites and a plan.
fn program() -> Run {
    let mut run = Run::default();
    let trace = "org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times, most recent \
                 failure: Lost task 0.3 in stage 1.0 (TID 3) (h executor 1): com.acme.billing.InvoiceException: no VAT id for Ada \
                 Lovelace\n\tat com.acme.billing.Totals$.parse(Totals.scala:42)\n\tat org.apache.spark.rdd.RDD.iterator(RDD.scala:331)";
    run.jobs.insert(JobId(0), Job { result: Some(JobResult::Failed(trace.to_owned())), ..Job::default() });
    let python = "Traceback (most recent call last):\n  File \"/opt/spark/python/pyspark/worker.py\", line 1100, in process\n    x\n  \
                  File \"/home/ada/pay.py\", line 52, in parse_amount\n    return float(text)\nValueError: could not convert string to \
                  float: '12,50 EUR'\n";
    run.failures.push(Failure {
        kind: TaskEndKind::ExceptionFailure,
        class: "org.apache.spark.api.python.PythonException".to_owned(),
        message: python.to_owned(),
        stack_trace: Some(format!("org.apache.spark.api.python.PythonException: {python}")),
        stage: StageKey::default(),
        first_task: TaskId(0),
        executor: ExecutorId::from("1"),
        caused_by_app: None,
        count: 1,
    });
    let stage = |name: &str, details: &str| StageAttempt {
        name: name.to_owned(),
        details: details.to_owned(),
        ..StageAttempt::default()
    };
    let key = |id| StageKey { stage_id: StageId(id), attempt: 0 };
    run.stages.insert(key(0), stage("save at Orders.scala:88", "com.acme.Orders$.main(Orders.scala:88)"));
    let own = "org.apache.spark.sql.execution.exchange.ShuffleExchangeExec.mapStats(ShuffleExchangeExec.scala:5)";
    run.stages.insert(key(1), stage("mapStats at ShuffleExchangeExec.scala:5", own));
    let udf = PlanNode {
        name: "BatchEvalPython".to_owned(),
        description: "BatchEvalPython [parse_amount(cast(amount#3 as string))#12, clean(amount#3)#13], [pythonUDF0#14]"
            .to_owned(),
        ..PlanNode::default()
    };
    let join = PlanNode {
        name: "BroadcastHashJoin".to_owned(),
        description: "BroadcastHashJoin [id#1], [customer#40L], Inner, BuildRight".to_owned(),
        children: vec![udf],
        ..PlanNode::default()
    };
    run.sql_executions.insert(SqlExecutionId(0), SqlExecution { plan: Some(join), ..SqlExecution::default() });
    run
}

#[test]
fn exceptions_keep_the_classes_that_everybody_knows_and_lose_what_they_say_and_whose_code_it_was() {
    let redactor = Redactor::of_run(&program());
    let message = Kind::Message.token("could not convert string to float: '12,50 EUR'");
    assert_eq!(
        redactor
            .text("ValueError: could not convert string to float: '12,50 EUR', at /home/ada/pay.py:52 in parse_amount"),
        format!(
            "ValueError: {message}, at {}:52 in {}",
            Kind::Path.token("/home/ada/pay.py"),
            Kind::Function.token("parse_amount")
        )
    );
    let text = redactor.text(
        "InvoiceException: no VAT id for Ada Lovelace, at com.acme.billing.Totals$.parse(Totals.scala:42), at \
         org.apache.spark.rdd.RDD.iterator(RDD.scala:331)",
    );
    assert_eq!(
        text,
        format!(
            "{}: {}, at {}({}:42), at org.apache.spark.rdd.RDD.iterator(RDD.scala:331)",
            Kind::Code.token("InvoiceException"),
            Kind::Message.token("no VAT id for Ada Lovelace"),
            Kind::Code.token("com.acme.billing.Totals$.parse"),
            Kind::Code.token("Totals.scala"),
        )
    );
    assert_eq!(redactor.text("OutOfMemoryError: Java heap space"), "OutOfMemoryError: Java heap space");
}

#[test]
fn files_of_the_user_are_replaced_in_call_sites_and_those_of_spark_stay() {
    let redactor = Redactor::of_run(&program());
    let orders = Kind::Code.token("Orders.scala");
    assert_eq!(redactor.text("stage 0 (save at Orders.scala:88)"), format!("stage 0 (save at {orders}:88)"));
    for spark in ["mapStats at ShuffleExchangeExec.scala:5", "parquet at NativeMethodAccessorImpl.java:0"] {
        assert_eq!(redactor.text(spark), spark);
    }
}

#[test]
fn both_sides_of_a_join_condition_are_replaced_and_the_functions_of_a_plan() {
    let redactor = Redactor::of_run(&program());
    let [id, customer] = ["id", "customer"].map(|name| Kind::Column.token(name));
    assert_eq!(
        redactor.text("BroadcastHashJoin on id = customer in SQL execution 0 took in 3 rows of one id"),
        format!("BroadcastHashJoin on {id} = {customer} in SQL execution 0 took in 3 rows of one id")
    );
    assert_eq!(redactor.text("SortMergeJoin on id, customer"), format!("SortMergeJoin on {id}, {customer}"));
    let functions = ["parse_amount", "clean"].map(|name| Kind::Function.token(name));
    assert_eq!(
        redactor.text("parse_amount and clean run in Python; cast does not"),
        format!("{} and {} run in Python; cast does not", functions[0], functions[1])
    );
}
