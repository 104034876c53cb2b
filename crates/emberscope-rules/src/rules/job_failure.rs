//! The run did not do its work: a job failed or was cancelled, or something failed that no job tells.

mod beyond;

use std::collections::BTreeMap;

use emberscope_run::{ExecutorId, Job, JobId, JobResult, StageId, StageKey, Unit};

use crate::failures;
use crate::finding::{Advice, Evidence, Finding, Harm, Savings, Subject};
use crate::naming;
use crate::problem::Problem;
use crate::root_cause::RootCause;
use crate::rule::{Context, Outcome, Rule};
use crate::support::total;
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::JobFailure,
    summary: "A job, a query or the driver failed, or a job was cancelled.",
    documentation: include_str!("job_failure.md"),
    thresholds: &[],
    explained_by: &[Problem::ExecutorOom, Problem::ExecutorLoss, Problem::TaskFailures, Problem::StageRetry],
    check,
};

/// How a job ended that did not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Something failed.
    Failed,
    /// Somebody, or the application's end, stopped it.
    Cancelled,
}

/// A job that did not do its work, why, and Spark's message in full.
type FailedJob<'a> = (&'a Job, RootCause, &'a str);

/// Whether an exception on the driver is how a thread ends that was told to stop: `query.stop()`, a cancelled job group, a
/// closed session. Streaming reads its own end like that (`StreamExecution.isInterruptionException`).
fn is_interruption(message: &str) -> bool {
    let aborted = failures::head(message, 600).to_ascii_lowercase().contains("job aborted");
    let root = RootCause::of_text(message).unwrap_or_default();
    let classes =
        ["InterruptedException", "InterruptedIOException", "ClosedByInterruptException", "CancellationException"];
    // A task that was interrupted until its job was aborted did fail.
    !aborted && classes.iter().any(|class| root.is(class))
}

/// What a job's message says of its end; `None` when Spark cancelled it as part of its own work.
fn end_of(message: &str) -> Option<End> {
    // Only the beginning: what a task printed may quote anything.
    let head = failures::head(message, 600).to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| head.contains(word));
    if !has(&["cancelled", "canceled"]) {
        return Some(if is_interruption(message) { End::Cancelled } else { End::Failed });
    }
    // Adaptive execution and streaming stop what they no longer need.
    if has(&[
        "no longer needed",
        "the broadcast is not needed",
        "because it is not needed",
        "corresponding broadcast query has failed",
    ]) {
        return None;
    }
    let cancelled = has(&[
        "cancelled because sparkcontext was shut down",
        "cancelled as part of cancellation of all jobs",
        "cancelled part of cancelled job group",
        "part of cancelled job group",
        "part of cancelled job tag",
        "cancelled job group",
        "cancelled job tags",
        "job was cancelled",
        "asked to cancel",
        "cancelled by user",
        "operation_canceled",
        "operation_cancelled",
        "spark_job_cancelled",
        "cancelled as part of",
    ]);
    let aborted = head.starts_with("job aborted") || head.contains("job aborted due to stage failure");
    if cancelled || !aborted { Some(End::Cancelled) } else { Some(End::Failed) }
}

fn check(ctx: &Context<'_>) -> Outcome {
    let run = ctx.run;
    let mut groups: BTreeMap<(End, String), Vec<FailedJob<'_>>> = BTreeMap::new();
    for job in run.jobs.values() {
        let Some(JobResult::Failed(message)) = &job.result else { continue };
        let Some(end) = end_of(message) else { continue };
        let root = RootCause::of_text(message).unwrap_or_default();
        groups.entry((end, key_of(end, &root))).or_default().push((job, root, message));
    }
    let mut findings: Vec<Finding> = groups.iter().filter_map(|((end, _), jobs)| finding(ctx, *end, jobs)).collect();
    findings.extend(beyond::failed_queries(ctx));
    findings.extend(beyond::open_jobs(ctx));
    if findings.iter().all(|finding| finding.harm != Harm::Failure) {
        findings.extend(beyond::driver_exit(ctx));
    }
    if findings.is_empty() && run.application.end().is_none() {
        return Outcome::missing("any time in the log");
    }
    if findings.is_empty() && run.jobs.is_empty() && run.application.ended_at.is_none() {
        return Outcome::missing("jobs and the end of the application");
    }
    Outcome::of(findings)
}

fn key_of(end: End, root: &RootCause) -> String {
    match end {
        End::Failed => root.key(),
        End::Cancelled => root.key().split('|').next_back().unwrap_or_default().to_owned(),
    }
}

fn finding(ctx: &Context<'_>, end: End, jobs: &[FailedJob<'_>]) -> Option<Finding> {
    let (first, root, message) = jobs.first()?;
    let name = job_called(ctx, first);
    let which = match jobs.len() {
        1 => format!("job {}", first.id),
        many => format!("{many} jobs (first job {})", first.id),
    };
    let title = if name.is_empty() || jobs.len() > 1 { which } else { format!("{which} ({name})") };
    let because = root.sentence();
    let summary = match end {
        End::Failed if because.is_empty() => format!("{title} failed; Spark does not say why"),
        End::Failed => format!("{title} failed: {because}"),
        End::Cancelled => format!("{title} did not finish: {}", cancel_words(message)),
    };
    let mut finding = Finding::new(Problem::JobFailure, 0.98, job_subject(ctx, first), summary);
    finding.harm = match end {
        End::Failed => Harm::Failure,
        End::Cancelled => Harm::LostWork,
    };
    finding.more_subjects = jobs.iter().skip(1).map(|(job, ..)| job_subject(ctx, job)).collect();
    // The stage and the executor that ended it, so that the job's failure is told with its cause; of a cancelled job what
    // went down with it.
    for (job, root, message) in jobs {
        match end {
            End::Failed => {
                finding.causes.insert(root.key());
                finding.more_subjects.extend(failed_stages(ctx, job.id).map(|key| ctx.stage_subject(key)));
                if root.is("ExecutorLostFailure") {
                    finding.more_subjects.extend(lost_executor(message).map(|id| Subject::executor(&id)));
                }
            }
            End::Cancelled if message.contains("SparkContext was shut down") => {
                finding.more_subjects.extend(went_down_with(ctx, job));
            }
            End::Cancelled => {}
        }
    }
    finding.because = Some(because).filter(|because| !because.is_empty());
    let lost = total(jobs.iter().map(|(job, ..)| time_of(ctx, job)));
    let core = total(jobs.iter().map(|(job, ..)| core_of(ctx, job.id)));
    finding.evidence = vec![Evidence::number(
        if end == End::Failed { "failed_jobs_count" } else { "cancelled_jobs_count" },
        jobs.len() as f64,
        Unit::Count,
    )];
    finding.evidence.extend(root.evidence());
    if let Some(frame) = &root.frame {
        finding.evidence.push(Evidence::text(if frame.user { "user_frame" } else { "frame" }, frame.text.clone()));
    }
    let wall = ctx.wall_clock_ms().map_or(lost, |wall| lost.min(wall as u64));
    finding.savings = Savings {
        wall_clock_ms: Some(wall),
        core_ms: Some(core),
        how: format!(
            "{} ran {} before the end and gave no result",
            if jobs.len() == 1 { "the job" } else { "the jobs" },
            words::duration(lost as f64)
        ),
    };
    finding.advice = advice(ctx, end, root, message);
    Some(finding)
}

fn job_name(ctx: &Context<'_>, job: &Job) -> String {
    let named = job.name.clone().or_else(|| {
        let last = job.stage_ids.iter().max()?;
        Some(ctx.stage_name(StageKey { stage_id: *last, attempt: 0 }).to_owned())
    });
    named.unwrap_or_default()
}

fn job_subject(ctx: &Context<'_>, job: &Job) -> Subject {
    let name = job_name(ctx, job);
    let label = naming::job_label(ctx.run, job, &name);
    Subject::job(job.id).named(name).labelled(label)
}

/// What people call a job: its call site, or where that says nothing its SQL execution; empty when neither is known.
fn job_called(ctx: &Context<'_>, job: &Job) -> String {
    let name = job_name(ctx, job);
    naming::job_label(ctx.run, job, &name).map_or(name, |label| naming::in_sentence(&label).to_owned())
}

fn cancel_words(message: &str) -> String {
    let first = RootCause::of_text(message).map(|root| root.message).unwrap_or_default();
    let lower = first.to_ascii_lowercase();
    if lower.contains("sparkcontext was shut down") {
        "it was running when the SparkContext was shut down".to_owned()
    } else if lower.contains("cancellation of all jobs") {
        "it was cancelled with all jobs".to_owned()
    } else if lower.contains("job group") {
        "its job group was cancelled".to_owned()
    } else {
        format!("it was cancelled ({first})")
    }
}

fn failed_stages<'a>(ctx: &Context<'a>, job: JobId) -> impl Iterator<Item = StageKey> + use<'a> {
    let run = ctx.run;
    let ids: Vec<StageId> = run.jobs.get(&job).map(|job| job.stage_ids.clone()).unwrap_or_default();
    run.stages
        .iter()
        .filter(move |(key, stage)| stage.failure_reason.is_some() && ids.contains(&key.stage_id))
        .map(|(key, _)| *key)
}

/// What failed because the context was shut down: executors that died in the last moments, and stages whose tasks found
/// their file system closed by the shutdown.
fn went_down_with(ctx: &Context<'_>, job: &Job) -> Vec<Subject> {
    /// A cluster manager that ends an application kills its executors first; the driver notices within seconds.
    const CLOSING_MS: u64 = 5_000;
    let Some(end) = job.completed_at else { return Vec::new() };
    let executors = ctx
        .run
        .worker_executors()
        .filter(|executor| executor.removed_at.is_some_and(|at| at <= end && end.since(at).0 <= CLOSING_MS))
        .map(|executor| Subject::executor(&executor.id));
    let stages = job.stage_ids.iter().flat_map(|&id| {
        let all = StageKey { stage_id: id, attempt: 0 }..=StageKey { stage_id: id, attempt: u32::MAX };
        ctx.run.stages.range(all).map(|(key, _)| *key)
    });
    let closed = |key: &StageKey| {
        let mut own = ctx.run.failures.iter().filter(|failure| failure.stage == *key).peekable();
        own.peek().is_some()
            && own.all(|failure| RootCause::of_failure(failure).message.starts_with("Filesystem closed"))
    };
    let stages = stages.filter(closed).map(|key| ctx.stage_subject(key));
    executors.chain(stages).collect()
}

/// The executor of `Lost task 1.3 in stage 3.0 (TID 44) (host executor 9): ExecutorLostFailure (executor 9 exited ...`.
fn lost_executor(message: &str) -> Option<ExecutorId> {
    let (_, rest) = message.split_once("ExecutorLostFailure (executor ")?;
    let id = rest.split([' ', ')']).next()?;
    (!id.is_empty() && id.len() <= 64).then(|| ExecutorId::from(id))
}

fn time_of(ctx: &Context<'_>, job: &Job) -> u64 {
    let end = job.completed_at.or_else(|| ctx.run.application.end());
    job.submitted_at.zip(end).map_or(0, |(from, to)| to.since(from).0)
}

fn core_of(ctx: &Context<'_>, job: JobId) -> u64 {
    let own =
        ctx.features.stages.values().filter(|summary| {
            ctx.run.stages.get(&summary.key).is_some_and(|stage| stage.job_ids.first() == Some(&job))
        });
    own.map(emberscope_extract::features::StageSummary::task_ms).fold(0, u64::saturating_add)
}

fn advice(ctx: &Context<'_>, end: End, root: &RootCause, message: &str) -> Vec<Advice> {
    if end == End::Cancelled {
        // YARN's monitor stops the context when the cluster ends the application; otherwise the driver did.
        let text = if message.contains("YarnClientSchedulerBackend$MonitorThread") {
            "YARN ended the application while the job ran (the stack of the shutdown is its monitor's): it was killed by a user \
             or the cluster, or its application master failed. The ResourceManager's diagnostics for the application say which."
        } else if message.contains("SparkContext was shut down") {
            "Who shut the context down is in the driver's log: an exception in the driver's own code, an interrupt (Ctrl-C, a \
             scheduler's time limit), or sc.stop() while another thread still ran a job."
        } else {
            "Somebody asked for it: a user in the web page, a notebook's stop button, or code that cancels job groups. Nothing \
             is to be mended unless nobody did."
        };
        return vec![Advice::text(text)];
    }
    let mut all = Vec::new();
    if failures::head(message, 4_000).contains("bigger than spark.driver.maxResultSize") {
        all.push(Advice::text(
            "The results that the action collects are larger than spark.driver.maxResultSize: write them, or aggregate or limit \
             them before collecting. Raising the limit needs a driver heap that holds them, more than once.",
        ));
    } else if root.is("OutOfMemoryError") {
        all.push(Advice::text("Memory ran out; where the stack is the driver's, the driver's heap (spark.driver.memory) is the one to raise."));
    } else if let Some(frame) = root.frame.as_ref().filter(|frame| frame.user) {
        all.push(Advice::text(format!("Begin at {}: that is where {} came from.", frame.text, root.short_class())));
    } else if root.is("ExecutorLostFailure") {
        all.push(Advice::text("The tasks did nothing wrong themselves: find out why their executors went."));
    } else {
        all.push(Advice::text(
            "No frame of your own code is in the message. The executor's log of the task that failed last shows what it \
             worked on; the stage's call site shows which action it was.",
        ));
    }
    let site =
        ctx.run.jobs.values().filter(|job| matches!(&job.result, Some(JobResult::Failed(text)) if text == message));
    if let Some(name) = site.map(|job| job_called(ctx, job)).find(|name| !name.is_empty()) {
        all.push(Advice::text(format!("The action that started it: {name}.")));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RunBuilder, check, outcome, run};

    const ABORT: &str = "Job aborted due to stage failure: Task 3 in stage 0.0 failed 4 times, most recent failure: Lost task 3.3 \
        in stage 0.0 (TID 12) (h executor 1): java.lang.IllegalStateException: bad row\n\tat com.acme.Parse$.row(Parse.scala:8)\n\n\
        Driver stacktrace:\n\tat org.apache.spark.scheduler.DAGScheduler.x(DAGScheduler.scala:1)";

    fn ended_with(message: &str) -> RunBuilder {
        run()
            .executor("1", 2)
            .stage(0, |stage| {
                stage.task(0).duration_ms(4_000);
                stage.task(1).duration_ms(4_000);
            })
            .job(0, 0, Some(4_000), Some(JobResult::Failed(message.to_owned())), &[0])
            .idle(3_600_000)
    }

    #[test]
    fn a_failed_job_is_told_in_one_sentence_with_the_users_frame_however_short_it_was() {
        let findings = check(&RULE, &ended_with(ABORT));
        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].summary,
            "job 0 (stage0 at Main.scala:0) failed: IllegalStateException: bad row, at com.acme.Parse$.row(Parse.scala:8)"
        );
        assert_eq!(findings[0].harm, Harm::Failure);
        assert_eq!((findings[0].savings.wall_clock_ms, findings[0].savings.core_ms), (Some(4_000), Some(8_000)));
    }

    #[test]
    fn jobs_that_fail_for_one_cause_are_one_finding() {
        let again = ABORT.replace("TID 12", "TID 99").replace("bad row", "bad row 7");
        let builder = ended_with(ABORT).job(1, 5_000, Some(9_000), Some(JobResult::Failed(again)), &[]);
        let findings = check(&RULE, &builder);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].more_subjects[0].job_id, Some(1));
        assert_eq!(findings[0].savings.wall_clock_ms, Some(8_000));
    }

    #[test]
    fn a_cancelled_job_is_said_to_be_cancelled_and_is_no_failure() {
        for (message, expected) in [
            (
                "Job 0 cancelled because SparkContext was shut down",
                "it was running when the SparkContext was shut down",
            ),
            ("Job 0 cancelled as part of cancellation of all jobs", "it was cancelled with all jobs"),
            ("Job 0 cancelled part of cancelled job group 7", "its job group was cancelled"),
            (
                "[SPARK_JOB_CANCELLED] Job 0 cancelled by user SQLSTATE: XXKDA",
                "it was cancelled (Job 0 cancelled by user)",
            ),
        ] {
            let findings = check(&RULE, &ended_with(message));
            assert_eq!(findings[0].harm, Harm::LostWork, "{message}");
            assert!(findings[0].summary.ends_with(expected), "{}", findings[0].summary);
        }
    }

    #[test]
    fn what_spark_cancels_as_no_longer_needed_is_no_finding() {
        assert_eq!(check(&RULE, &ended_with("Job 0 cancelled because the broadcast is no longer needed")), []);
    }

    #[test]
    fn a_cancelled_job_has_no_class_of_an_exception_as_evidence() {
        let findings = check(&RULE, &ended_with("Job 0 cancelled because SparkContext was shut down"));
        assert_eq!(
            findings[0].evidence.iter().map(|fact| fact.feature.as_str()).collect::<Vec<_>>(),
            ["cancelled_jobs_count"]
        );
    }

    #[test]
    fn a_job_of_a_foreign_call_site_is_called_by_its_query_and_keeps_its_name() {
        let builder = ended_with(ABORT).sql(5, crate::testing::node("Range")).with(|run| {
            run.sql_executions.values_mut().for_each(|sql| "count at job.py:31".clone_into(&mut sql.description));
            for job in run.jobs.values_mut() {
                job.name = Some("parquet at NativeMethodAccessorImpl.java:0".to_owned());
                job.sql_execution_id = Some(emberscope_run::SqlExecutionId(5));
            }
        });
        let findings = check(&RULE, &builder);
        assert!(
            findings[0].summary.starts_with("job 0 (SQL 5: count at job.py:31) failed: "),
            "{}",
            findings[0].summary
        );
        assert_eq!(findings[0].subject.label.as_deref(), Some("SQL 5: count at job.py:31"));
        assert_eq!(findings[0].subject.name.as_deref(), Some("parquet at NativeMethodAccessorImpl.java:0"));
    }

    #[test]
    fn a_run_whose_jobs_succeeded_is_clear() {
        let builder = run().executor("1", 2).stage(0, |stage| {
            stage.task(0).duration_ms(4_000);
        });
        assert_eq!(outcome(&RULE, &builder), Outcome::Clear);
    }

    #[test]
    fn a_log_without_any_time_is_skipped() {
        let empty = emberscope_run::Run::default();
        let features = emberscope_extract::features::Features::of(&empty);
        let settings = crate::settings::Settings::of_run(&empty);
        let none = BTreeMap::new();
        assert!(matches!((RULE.check)(&Context::new(&empty, &features, &settings, &none)), Outcome::Skipped { .. }));
    }
}
