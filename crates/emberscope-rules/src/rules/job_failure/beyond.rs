//! Failures that no job's result tells: of queries, of a job whose end is not in the log, and of the driver.

use emberscope_run::{JobResult, StageAttempt};

use super::{End, advice, end_of, job_subject, time_of};
use crate::finding::{Advice, Evidence, Finding, Harm, Savings, Subject};
use crate::naming;
use crate::problem::Problem;
use crate::root_cause::RootCause;
use crate::rule::Context;
use crate::words;

/// SQL executions and streaming queries that failed without a failed job: in planning, or on the driver.
pub(super) fn failed_queries(ctx: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, sql) in &ctx.run.sql_executions {
        let Some(error) = sql.error_message.as_deref().filter(|error| !error.is_empty()) else { continue };
        let job_tells = sql
            .job_ids
            .iter()
            .any(|id| matches!(ctx.run.jobs.get(id).and_then(|job| job.result.as_ref()), Some(JobResult::Failed(_))));
        let nested = sql.root_id.is_some_and(|root| {
            root != *id && ctx.run.sql_executions.get(&root).is_some_and(|root| root.failed() == Some(true))
        });
        if job_tells || nested || end_of(error) != Some(End::Failed) {
            continue;
        }
        let root = RootCause::of_text(error).unwrap_or_default();
        let mut finding = Finding::new(
            Problem::JobFailure,
            0.95,
            Subject::sql(*id, None).named(sql.description.clone()).labelled(naming::plan_label(sql)),
            format!("SQL execution {id} failed on the driver: {}", root.sentence()),
        );
        finding.harm = Harm::Failure;
        finding.because = Some(root.sentence());
        finding.evidence.extend(root.evidence());
        let lost = sql.duration().map_or(0, |duration| duration.0);
        finding.savings = Savings {
            wall_clock_ms: Some(lost),
            core_ms: None,
            how: format!("it ran {} before the end and gave no result", words::duration(lost as f64)),
        };
        finding.advice = advice(ctx, End::Failed, &root, error);
        findings.push(finding);
    }
    findings.extend(failed_streams(ctx));
    findings
}

fn failed_streams(ctx: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for query in ctx.run.streaming_queries.values() {
        let Some(exception) = query.exception.as_deref().filter(|text| !text.is_empty()) else { continue };
        // A query that was stopped, or whose job was cancelled, did what it was told.
        if end_of(exception) != Some(End::Failed) {
            continue;
        }
        let root = RootCause::of_text(exception).unwrap_or_default();
        let name = query.name.clone().unwrap_or_else(|| query.id.clone());
        let mut finding = Finding::new(
            Problem::JobFailure,
            0.95,
            Subject::streaming_query(&query.id).named(name.clone()),
            format!("streaming query {name} ended with {}", root.sentence()),
        );
        finding.harm = Harm::Failure;
        finding.because = Some(root.sentence());
        finding.evidence.extend(root.evidence());
        "what a stopped query costs is not in the log".clone_into(&mut finding.savings.how);
        finding.advice = advice(ctx, End::Failed, &root, exception);
        findings.push(finding);
    }
    findings
}

/// Jobs without an end in the log of which a stage failed for good: the log was cut between the two events. A job that was
/// merely running when the log ended is no failure.
pub(super) fn open_jobs(ctx: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for job in ctx.run.jobs.values().filter(|job| job.result.is_none() && job.completed_at.is_none()) {
        let own = |stage: &&StageAttempt| job.stage_ids.contains(&stage.key.stage_id);
        let Some((stage, reason)) =
            ctx.run.stages.values().filter(own).find_map(|stage| Some((stage, aborted(stage)?)))
        else {
            continue;
        };
        let root = RootCause::of_text(reason).unwrap_or_default();
        let because = Some(root.sentence()).filter(|because| !because.is_empty());
        let told = because.as_ref().map_or_else(String::new, |because| format!(": {because}"));
        let mut finding = Finding::new(
            Problem::JobFailure,
            0.9,
            job_subject(ctx, job),
            format!("stage {} of job {} failed, and the log ends before the job does{told}", stage.key, job.id),
        );
        finding.harm = Harm::Failure;
        finding.causes.insert(root.key());
        finding.more_subjects = vec![ctx.stage_subject(stage.key)];
        finding.because = because;
        finding.evidence.extend(root.evidence());
        let lost = time_of(ctx, job);
        finding.savings = Savings {
            wall_clock_ms: Some(lost),
            core_ms: None,
            how: format!("the job ran {} to the end of the log and gave no result", words::duration(lost as f64)),
        };
        finding.advice = advice(ctx, End::Failed, &root, reason);
        findings.push(finding);
    }
    findings
}

/// Why a stage failed for good; `None` when it did not, when it was cancelled, or when it is tried again.
fn aborted(stage: &StageAttempt) -> Option<&str> {
    let reason = stage.failure_reason.as_deref()?;
    // A stage whose input was lost runs again.
    let again = reason.contains("FetchFailed") || reason.contains("MetadataFetchFailed");
    let gives_up = reason.contains("Job aborted") || reason.contains("maximum allowable number of times");
    (end_of(reason) == Some(End::Failed) && (gives_up || !again)).then_some(reason)
}

/// The driver ended with an exit code other than 0, and nothing else says why.
pub(super) fn driver_exit(ctx: &Context<'_>) -> Option<Finding> {
    let code = ctx.run.application.exit_code.filter(|&code| code != 0)?;
    let mut finding = Finding::new(
        Problem::JobFailure,
        0.9,
        Subject::run(),
        format!("the driver ended with exit code {code} although no job or query says that it failed"),
    );
    finding.harm = Harm::Failure;
    finding.evidence = vec![Evidence::text("exit_code", code.to_string())];
    "what the driver left undone is not in the log".clone_into(&mut finding.savings.how);
    finding.advice = vec![Advice::text(
        "The reason is in the driver's own log: an exception of the program outside Spark's jobs, a call to exit, or a signal \
         (codes over 128 are 128 plus its number: 137 is SIGKILL, 143 SIGTERM).",
    )];
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::super::RULE;
    use super::*;
    use crate::rule::Outcome;
    use crate::testing::{RunBuilder, check, outcome, run};

    /// A log that ends with job 0 running and this failure of its stage.
    fn without_end(failure: Option<&'static str>) -> RunBuilder {
        let builder = run().executor("1", 2).stage(0, move |stage| {
            stage.task(0).duration_ms(4_000);
            stage.with(move |stage| stage.failure_reason = failure.map(str::to_owned));
        });
        builder.job(0, 0, None, None, &[0]).unfinished()
    }

    #[test]
    fn a_log_that_merely_ends_is_no_failure_whatever_was_running() {
        assert_eq!(outcome(&RULE, &without_end(None)), Outcome::Clear);
        let between_jobs = run().executor("1", 2).stage(0, |stage| {
            stage.task(0).duration_ms(4_000);
        });
        assert_eq!(outcome(&RULE, &between_jobs.unfinished()), Outcome::Clear);
    }

    #[test]
    fn a_stage_that_failed_for_good_before_the_log_ends_is_a_failure_of_its_job() {
        let reason = "Job aborted due to stage failure: Task 0 in stage 0.0 failed 4 times, most recent failure: Lost task 0.3 in \
             stage 0.0 (TID 3) (h executor 1): java.lang.IllegalStateException: bad row\n\tat com.acme.Parse$.row(Parse.scala:8)";
        let findings = check(&RULE, &without_end(Some(reason)));
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].harm, findings[0].subject.job_id), (Harm::Failure, Some(0)));
        assert!(
            findings[0].summary.starts_with(
                "stage 0.0 of job 0 failed, and the log ends before the job does: IllegalStateException: bad row"
            ),
            "{}",
            findings[0].summary
        );
    }

    #[test]
    fn a_stage_that_is_tried_again_or_was_cancelled_is_no_failure_of_a_job_that_runs() {
        for reason in [
            "org.apache.spark.shuffle.FetchFailedException: Failed to connect to host-1:7337",
            "Job 0 cancelled because the broadcast is no longer needed",
        ] {
            assert_eq!(check(&RULE, &without_end(Some(reason))), [], "{reason}");
        }
    }

    /// A query of 135 ms that ended with this error, and a streaming query that ended with it.
    fn ended_with(error: &'static str) -> RunBuilder {
        run().executor("1", 2).sql(10, crate::testing::node("Range")).with(move |run| {
            for sql in run.sql_executions.values_mut() {
                sql.error_message = Some(error.to_owned());
            }
            let query = emberscope_run::StreamingQuery {
                id: "q-1".to_owned(),
                exception: Some(error.to_owned()),
                ..emberscope_run::StreamingQuery::default()
            };
            run.streaming_queries.insert(query.id.clone(), query);
        })
    }

    #[test]
    fn a_query_that_was_interrupted_or_cancelled_did_not_fail() {
        for stopped in [
            "java.lang.InterruptedException\n\tat java.util.concurrent.locks.AbstractQueuedSynchronizer.acquire(A.java:1081)",
            "java.nio.channels.ClosedByInterruptException",
            "java.io.InterruptedIOException: Interrupted while waiting for data",
            "org.apache.spark.SparkException: Exception thrown in awaitResult: \nCaused by: java.lang.InterruptedException",
            "org.apache.spark.SparkException: Job 7 cancelled part of cancelled job group e254c2f1",
        ] {
            assert_eq!(check(&RULE, &ended_with(stopped)), [], "{stopped}");
        }
    }

    #[test]
    fn a_query_that_threw_failed_whatever_it_says_of_interrupts() {
        for failed in [
            "java.lang.IllegalStateException: the upstream service interrupted the stream",
            "org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times, most recent \
             failure: Lost task 0.3 in stage 1.0 (TID 9) (h executor 1): java.lang.InterruptedException: sleep interrupted",
        ] {
            let findings = check(&RULE, &ended_with(failed));
            assert_eq!(findings.len(), 2, "{failed}");
            assert!(findings.iter().all(|finding| finding.harm == Harm::Failure));
        }
    }

    #[test]
    fn a_driver_that_exits_with_another_code_than_zero_failed() {
        let exits = |code: i64| {
            let builder = run().executor("1", 2).stage(0, |stage| {
                stage.task(0).duration_ms(4_000);
            });
            builder.with(move |run| run.application.exit_code = Some(code))
        };
        assert_eq!(check(&RULE, &exits(0)), []);
        let findings = check(&RULE, &exits(137));
        assert_eq!((findings.len(), findings[0].harm), (1, Harm::Failure));
        assert!(findings[0].summary.contains("exit code 137"), "{}", findings[0].summary);
    }
}
