//! Severity, rank and folding, on findings made by hand and on a run with a whole chain.

use emberscope_run::{
    ExecutorId, IssueCode, JobId, JobResult, MicroBatch, StageId, StageKey, StreamingQuery, TaskColumn, TaskEndKind,
    TaskStatus, Timestamp, Unit,
};

use super::fold::fold_consequences;
use super::*;
use crate::finding::Subject;
use crate::testing::{START, run};
use crate::testing_failures::Fail;

fn finding(problem: Problem, saved: Option<u64>, harm: Harm) -> Finding {
    let mut finding = Finding::new(problem, 0.9, Subject::run(), problem.name());
    finding.savings.wall_clock_ms = saved;
    finding.harm = harm;
    finding
}

fn stage(id: u64) -> Subject {
    Subject::stage(StageKey { stage_id: StageId(id), attempt: 0 })
}

#[test]
fn severity_goes_by_the_share_of_the_run_at_stake() {
    let of = |saved, harm| severity(&finding(Problem::DataSkew, Some(saved), harm), Some(100_000));
    assert_eq!(of(4_999, Harm::None), Severity::Info);
    assert_eq!(of(5_000, Harm::None), Severity::Warning);
    assert_eq!(of(24_999, Harm::None), Severity::Warning);
    assert_eq!(of(25_000, Harm::None), Severity::Critical);
}

#[test]
fn harm_raises_the_severity_and_never_lowers_it() {
    let of = |saved, harm| severity(&finding(Problem::DataSkew, saved, harm), Some(100_000));
    assert_eq!(of(Some(0), Harm::RiskOfFailure), Severity::Warning);
    assert_eq!(of(Some(0), Harm::LostWork), Severity::Warning);
    assert_eq!(of(None, Harm::Failure), Severity::Critical);
    assert_eq!(of(Some(30_000), Harm::LostWork), Severity::Critical);
    // Time at stake that is not known raises nothing.
    assert_eq!(of(None, Harm::None), Severity::Info);
    assert_eq!(severity(&finding(Problem::DataSkew, Some(5), Harm::None), None), Severity::Info);
}

#[test]
fn what_is_less_than_half_sure_is_an_info_whatever_it_would_save() {
    let mut guess = finding(Problem::PythonUdfOverhead, Some(90_000), Harm::None);
    guess.confidence = 0.49;
    assert_eq!(severity(&guess, Some(100_000)), Severity::Info);
    guess.confidence = 0.5;
    assert_eq!(severity(&guess, Some(100_000)), Severity::Critical);
}

#[test]
fn what_is_less_than_half_sure_explains_nothing() {
    let mut guess = finding(Problem::ExecutorOom, Some(10), Harm::LostWork);
    guess.subject = Subject::executor(&ExecutorId::from("1"));
    let mut lost = finding(Problem::ExecutorLoss, Some(10), Harm::LostWork);
    lost.subject = guess.subject.clone();
    assert_eq!(fold_consequences(vec![guess.clone(), lost.clone()]).len(), 1);
    guess.confidence = 0.4;
    assert_eq!(fold_consequences(vec![guess, lost]).len(), 2);
}

#[test]
fn findings_on_one_stage_do_not_together_save_more_than_it_takes() {
    // A stage of 20 s.
    let run = run().executor("1", 1).stage(3, |stage| {
        stage.task(0).duration_ms(20_000);
    });
    let run = run.build();
    let on_stage = |problem, saved| {
        let mut finding = finding(problem, Some(saved), Harm::None);
        finding.subject = stage(3);
        finding.savings.core_ms = Some(10 * saved);
        finding
    };
    let mut findings = vec![
        on_stage(Problem::JoinExplosion, 16_500),
        on_stage(Problem::DataSkew, 13_100),
        finding(Problem::DriverBottleneck, Some(6_000), Harm::None),
        on_stage(Problem::GcPressure, 2_000),
    ];
    super::budget::share_out(&mut findings, &Features::of(&run));
    let saved: Vec<_> = findings.iter().map(|finding| finding.savings.wall_clock_ms).collect();
    // 20.0 - 16.5 = 3.5 s are left for the second, and nothing for the last; the driver's time is not the stage's.
    assert_eq!(saved, [Some(16_500), Some(3_500), Some(6_000), Some(0)]);
    // 131 s of core time in the same proportion: 3.5 / 13.1.
    assert_eq!(findings[1].savings.core_ms, Some(35_000));
    assert!(findings[1].savings.how.contains("alone that is 13.1 s of the run"), "{}", findings[1].savings.how);
}

#[test]
fn findings_come_in_the_order_of_the_time_they_save_failed_or_not() {
    let ranked = rank(vec![
        finding(Problem::GcPressure, Some(10), Harm::None),
        finding(Problem::DataSkew, Some(500), Harm::None),
        finding(Problem::JobFailure, Some(1), Harm::Failure),
        finding(Problem::TaskFailures, None, Harm::LostWork),
        finding(Problem::MemorySpill, Some(10), Harm::None),
    ]);
    let order: Vec<Problem> = ranked.iter().map(|finding| finding.problem).collect();
    // At equal savings the order is that of the vocabulary; what is not known comes last.
    let expected =
        [Problem::DataSkew, Problem::MemorySpill, Problem::GcPressure, Problem::JobFailure, Problem::TaskFailures];
    assert_eq!(order, expected);
}

#[test]
fn failures_of_one_stage_with_different_causes_stay_apart() {
    let mut tasks = finding(Problem::TaskFailures, Some(10), Harm::LostWork);
    tasks.subject = stage(1);
    tasks.causes = ["a.B||Main.x".to_owned()].into();
    let mut job = finding(Problem::JobFailure, Some(99), Harm::Failure);
    job.subject = Subject::job(JobId(3));
    job.more_subjects = vec![stage(1)];
    job.causes = ["c.D||Main.y".to_owned()].into();
    assert_eq!(fold_consequences(vec![tasks.clone(), job.clone()]).len(), 2);
    job.causes = tasks.causes.clone();
    let folded = fold_consequences(vec![tasks, job]);
    assert_eq!(folded.len(), 1);
    assert_eq!(folded[0].summary, "job-failure. The cause: task-failures");
    assert_eq!((folded[0].harm, folded[0].savings.wall_clock_ms), (Harm::Failure, Some(99)));
}

#[test]
fn an_exception_that_job_and_task_share_is_told_once() {
    let because = Some("X: y, at Main.z".to_owned());
    let mut tasks = finding(Problem::TaskFailures, Some(10), Harm::LostWork);
    tasks.summary = "4 task attempts failed in stage 1.0 with X: y, at Main.z".to_owned();
    tasks.subject = stage(1);
    tasks.because = because.clone();
    let mut job = finding(Problem::JobFailure, Some(99), Harm::Failure);
    job.summary = "job 3 failed: X: y, at Main.z".to_owned();
    job.more_subjects = vec![stage(1)];
    job.because = because;
    let folded = fold_consequences(vec![tasks, job]);
    assert_eq!(folded[0].summary, "job 3 failed: X: y, at Main.z. The cause: 4 task attempts failed in stage 1.0");
}

#[test]
fn an_executor_lost_in_the_stage_does_not_explain_an_exception_there() {
    let mut lost = finding(Problem::ExecutorLoss, Some(10), Harm::LostWork);
    lost.subject = Subject::executor(&ExecutorId::from("1"));
    lost.more_subjects = vec![stage(1)];
    lost.causes = ["ExecutorLostFailure||gone".to_owned()].into();
    let mut tasks = finding(Problem::TaskFailures, Some(10), Harm::LostWork);
    tasks.subject = stage(1);
    tasks.causes = ["a.B||Main.x".to_owned()].into();
    assert_eq!(fold_consequences(vec![lost.clone(), tasks.clone()]).len(), 2);
    tasks.more_subjects = vec![Subject::executor(&ExecutorId::from("1"))];
    assert_eq!(fold_consequences(vec![lost, tasks]).len(), 1);
}

#[test]
fn a_log_without_end_is_not_told_as_the_consequence_of_anything() {
    let mut tasks = finding(Problem::TaskFailures, Some(10), Harm::LostWork);
    tasks.subject = stage(1);
    let no_end = finding(Problem::JobFailure, None, Harm::None);
    assert_eq!(fold_consequences(vec![tasks, no_end]).len(), 2);
}

#[test]
fn what_went_down_with_a_cancelled_job_is_told_with_it() {
    let mut cancelled = finding(Problem::JobFailure, Some(10), Harm::LostWork);
    cancelled.more_subjects = vec![Subject::executor(&ExecutorId::from("1"))];
    let mut lost = finding(Problem::ExecutorLoss, Some(10), Harm::LostWork);
    lost.subject = Subject::executor(&ExecutorId::from("1"));
    let folded = fold_consequences(vec![lost, cancelled]);
    assert_eq!((folded.len(), folded[0].problem), (1, Problem::JobFailure));
}

/// An executor is killed for its memory: its tasks fail, its shuffle output is fetched in vain, the stage runs again, and
/// at last the job is aborted because a partition lost its executor four times.
#[test]
fn a_whole_chain_is_one_finding_that_begins_with_the_failed_job() {
    const KILL: &str = "Container killed by YARN for exceeding memory limits. 5.5 GB of 5 GB physical memory used.";
    let mut builder =
        run().set("spark.master", "yarn").set("spark.executor.memory", "4g").executor("1", 2).executor("2", 2);
    let lost = builder.failure(TaskEndKind::ExecutorLostFailure, "executor 2 lost", KILL, None);
    let fetch = builder.failure(
        TaskEndKind::FetchFailed,
        "fetch from executor 2 failed",
        "org.apache.spark.shuffle.FetchFailedException: Failed to connect to h2",
        None,
    );
    let abort = format!(
        "Job aborted due to stage failure: Task 0 in stage 1.1 failed 4 times, most recent failure: Lost task 0.3 in stage 1.1 \
         (TID 9) (h2 executor 2): ExecutorLostFailure (executor 2 exited caused by one of the running tasks) Reason: {KILL}"
    );
    let builder = builder
        .stage(0, |stage| {
            (0..4).for_each(|partition| {
                stage.task(partition).duration_ms(4_000);
            });
        })
        .removed("2", 6_000, KILL)
        .stage(1, |stage| {
            stage
                .task(0)
                .duration_ms(2_000)
                .on("2")
                .fails(lost)
                .status(TaskStatus::Failed, TaskEndKind::ExecutorLostFailure);
            stage.task(1).duration_ms(3_000).on("1").fails(fetch).status(TaskStatus::Failed, TaskEndKind::FetchFailed);
        })
        .stage_attempt(0, 1, |stage| {
            (0..2).for_each(|partition| {
                stage.task(partition).duration_ms(4_000).on("1");
            });
        })
        .stage_attempt(1, 1, |stage| {
            stage.task(0).duration_ms(4_000).on("1");
            stage.with(|stage| stage.failure_reason = Some("Job aborted".to_owned()));
        })
        .job(0, 0, Some(15_000), Some(JobResult::Failed(abort)), &[0, 1])
        .build();
    let assessment = assess(
        &builder,
        &Features::of(&builder),
        &DetectorConfig {
            only: vec![
                Problem::ExecutorOom,
                Problem::ExecutorLoss,
                Problem::TaskFailures,
                Problem::StageRetry,
                Problem::JobFailure,
            ],
            ..DetectorConfig::default()
        },
    );
    assert_eq!(assessment.findings.len(), 1, "{:#?}", assessment.findings);
    let finding = &assessment.findings[0];
    assert_eq!(
        (finding.problem, finding.severity, finding.harm),
        (Problem::ExecutorOom, Severity::Critical, Harm::Failure)
    );
    assert!(
        finding.summary.starts_with(
            "job 0 (stage1 at Main.scala:1) failed: ExecutorLostFailure: Container killed by YARN for exceeding memory limits. \
             5.5 GB of 5 GB physical memory used. The cause: executor 2 used more memory than the container was given"
        ),
        "{}",
        finding.summary
    );
    let told: Vec<Problem> = finding.consequences.iter().map(|consequence| consequence.problem).collect();
    assert_eq!(told, [Problem::JobFailure, Problem::TaskFailures, Problem::StageRetry, Problem::ExecutorLoss]);
    // The job ran 15 s and gave nothing: the largest of the losses, and not their sum.
    assert_eq!(finding.savings.wall_clock_ms, Some(15_000));
}

#[test]
fn a_time_without_tasks_is_no_warning_where_events_are_lost() {
    // 30 s of tasks, 30 s of nothing, 30 s of tasks.
    let gap = |issue: Option<IssueCode>| {
        let stage = |builder: crate::testing::RunBuilder, id| {
            builder.stage(id, |stage| {
                stage.task(0).duration_ms(30_000);
            })
        };
        let builder = stage(stage(run().executor("1", 1), 0).idle(30_000), 1);
        let run = builder.with(|run| {
            if let Some(code) = issue {
                run.issues.add(code, || None, String::new);
            }
        });
        let run = run.build();
        let config = DetectorConfig { only: vec![Problem::DriverBottleneck], ..DetectorConfig::default() };
        let findings = assess(&run, &Features::of(&run), &config).findings;
        (
            findings[0].severity,
            findings[0].confidence < 0.5,
            findings[0].summary.contains("events of this log are lost"),
        )
    };
    assert_eq!(gap(None), (Severity::Critical, false, false));
    for lost in [IssueCode::CorruptStream, IssueCode::MissingPart, IssueCode::DroppedEvents] {
        assert_eq!(gap(Some(lost)), (Severity::Info, true, true), "{}", lost.name());
    }
    // A log that was cut at its end has lost nothing before it.
    assert_eq!(gap(Some(IssueCode::CutLine)), (Severity::Critical, false, false));
}

#[test]
fn nobody_saves_more_than_the_run_took() {
    let builder = run().executor("1", 2).stage(0, |stage| {
        stage.task(0).duration_ms(1_000);
    });
    let message = "java.lang.IllegalStateException: x".to_owned();
    let builder = builder.job(0, -50_000, Some(1_000), Some(JobResult::Failed(message)), &[0]).build();
    let assessment = assess(&builder, &Features::of(&builder), &DetectorConfig::default());
    assert_eq!(assessment.findings[0].savings.wall_clock_ms, Some(1_000));
}

#[test]
fn only_what_is_asked_for_is_looked_for() {
    let config = DetectorConfig {
        only: vec![Problem::DataSkew],
        disabled: vec![Problem::DataSkew],
        ..DetectorConfig::default()
    };
    assert!(!config.enabled(Problem::DataSkew));
    assert!(!config.enabled(Problem::GcPressure));
    assert!(DetectorConfig::default().enabled(Problem::GcPressure));
}

#[test]
fn amounts_that_no_sum_can_hold_end_no_rule() {
    /// The largest amount that a log can give: above it is the word for "not known".
    const MOST: u64 = u64::MAX - 1;
    let mut builder =
        run().set("spark.master", "yarn").set("spark.executor.memory", "4g").executor("1", 4).executor("2", 4);
    let failure = builder.failure(TaskEndKind::ExceptionFailure, "boom", "java.lang.IllegalStateException: boom", None);
    for id in 0..6 {
        builder = builder.stage(id, |stage| {
            for partition in 0..16 {
                let task = stage.task(partition).duration_ms(1_000);
                for column in TaskColumn::ALL.iter().copied() {
                    let amount = matches!(column.unit(), Unit::Ms | Unit::Ns | Unit::Bytes | Unit::Count);
                    if amount && ![TaskColumn::Partition, TaskColumn::Attempt].contains(&column) {
                        task.set(column, MOST);
                    }
                }
                if partition == 15 {
                    task.fails(failure);
                }
            }
        });
    }
    let mut query = StreamingQuery { id: "q".to_owned(), ..StreamingQuery::default() };
    for batch_id in [MOST, u64::MAX] {
        let mut batch = MicroBatch {
            batch_id,
            started_at: Some(Timestamp(START)),
            input_rows: Some(MOST),
            ..MicroBatch::default()
        };
        batch.duration_ms.insert("triggerExecution".to_owned(), MOST);
        query.batches.insert(batch_id, batch);
    }
    let mut run = builder.build();
    run.streaming_queries.insert("r".to_owned(), query);
    for executor in run.executors.values_mut() {
        TaskColumn::ALL.iter().for_each(|&column| executor.peaks.raise(column, MOST));
        executor.max_memory = Some(emberscope_run::Bytes(MOST));
    }
    let features = Features::of(&run);
    let assessment = assess(&run, &features, &DetectorConfig::default());
    assert!(assessment.findings.len() >= 3, "{:#?}", assessment.findings);
    let wall = features.application.wall_clock_ms.unwrap();
    assert!(assessment.findings.iter().all(|finding| finding.savings.wall_clock_ms.is_none_or(|saved| saved <= wall)));
}

#[test]
fn small_files_and_small_tasks_are_told_by_the_wider_one() {
    let stage = |id| Subject::stage(StageKey { stage_id: StageId(id), attempt: 0 });
    let at = |problem, stages: &[u64]| {
        let mut found = finding(problem, Some(100), Harm::None);
        found.subject = stage(stages[0]);
        found.more_subjects = stages[1..].iter().map(|&id| stage(id)).collect();
        found
    };
    // One of four stages with small tasks wrote the small files: the tasks made them.
    let told = fold_consequences(vec![at(Problem::TooManyPartitions, &[1, 2, 3, 4]), at(Problem::SmallFiles, &[4])]);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].problem, told[0].consequences[0].problem), (Problem::TooManyPartitions, Problem::SmallFiles));
    // All small tasks read small files: the files made them.
    let told = fold_consequences(vec![at(Problem::TooManyPartitions, &[4]), at(Problem::SmallFiles, &[4, 5])]);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].problem, told[0].consequences[0].problem), (Problem::SmallFiles, Problem::TooManyPartitions));
}
