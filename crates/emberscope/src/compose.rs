//! From a run to its diagnosis: features, then rules, then the words around them.

use std::collections::BTreeMap;

use emberscope_extract::features::{ApplicationSummary, Features, Metric};
use emberscope_rules::{ConfigurationNote, Context, Finding, RULES, Settings, Severity, Skipped, assess, audit, rank};
use emberscope_run::{ImportIssue, IssueSeverity, Run, Source};

use crate::config::Config;
use crate::diagnosis::{
    Counts, Diagnosis, ImportIssueSummary, IssueLevel, RunSummary, SCHEMA_VERSION, SourceSummary, TaskSummary,
};
use crate::models::{Whole, join};
use crate::redact::Redactor;

/// The diagnosis of a run that was read; redacted when the configuration asks for it.
pub fn diagnose_run(run: &Run, config: &Config) -> Diagnosis {
    let features = Features::of(run);
    let mut assessment = assess(run, &features, &config.detectors);
    let mut said = None;
    if let Some(models) = config.models.models() {
        let whole = Whole::of(run, &features);
        match join(&mut assessment.findings, models, run, &whole, &config.detectors) {
            Ok(of_models) => {
                if let Some(why) = &of_models.silent {
                    let missing = vec![format!("labelled runs like this one: {why}")];
                    assessment.skipped.push(Skipped { detector: "models by themselves".to_owned(), missing });
                }
                said = Some(of_models);
            }
            Err(error) => {
                assessment.skipped.push(Skipped { detector: "models".to_owned(), missing: vec![error.to_string()] });
            }
        }
        assessment.findings = rank(assessment.findings);
    }
    for finding in &mut assessment.findings {
        // More digits would claim what no rule knows.
        finding.confidence = (finding.confidence.clamp(0.0, 1.0) * 100.0).round() / 100.0;
    }
    let detectors = RULES.iter().filter(|rule| config.detectors.enabled(rule.problem)).count() as u64;
    let mut diagnosis = Diagnosis {
        schema_version: SCHEMA_VERSION.to_owned(),
        emberscope_version: env!("CARGO_PKG_VERSION").to_owned(),
        run: run_summary(run, &features),
        sources: run.sources.iter().map(source).collect(),
        import_issues: run.issues.iter().map(issue).collect(),
        counts: counts(&assessment.findings, detectors, assessment.skipped.len() as u64),
        skipped: assessment.skipped,
        configuration: configuration(run, &features, config, &assessment.findings),
        findings: assessment.findings,
        said,
    };
    if config.redact {
        Redactor::of_run(run).redact(&mut diagnosis);
    }
    diagnosis
}

fn configuration(run: &Run, features: &Features, config: &Config, findings: &[Finding]) -> Vec<ConfigurationNote> {
    if !config.detectors.only.is_empty() {
        return Vec::new();
    }
    let (settings, none) = (Settings::of_run(run), BTreeMap::new());
    audit(&Context::new(run, features, &settings, &none), findings)
}

fn counts(findings: &[Finding], detectors: u64, skipped: u64) -> Counts {
    let of = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    Counts {
        detectors,
        skipped,
        critical: of(Severity::Critical),
        warning: of(Severity::Warning),
        info: of(Severity::Info),
    }
}

fn run_summary(run: &Run, features: &Features) -> RunSummary {
    let application = &run.application;
    let summary: &ApplicationSummary = &features.application;
    RunSummary {
        application_id: application.id.clone(),
        attempt_id: application.attempt_id.clone(),
        application_name: application.name.clone(),
        user: application.user.clone(),
        spark_version: application.spark_version.clone(),
        started_at: application.started_at.map(emberscope_run::Timestamp::to_rfc3339),
        ended_at: application.ended_at.map(emberscope_run::Timestamp::to_rfc3339),
        complete: application.complete(),
        exit_code: application.exit_code,
        wall_clock_ms: summary.wall_clock_ms,
        busy_ms: features.timeline.busy_ms,
        core_ms_held: summary.core_ms_held,
        core_ms_used: summary.core_ms_used,
        executors: summary.executors,
        executors_removed: run.worker_executors().filter(|executor| executor.removed_at.is_some()).count() as u64,
        slots_max: summary.slots_max,
        jobs: summary.jobs,
        failed_jobs: summary.failed_jobs,
        stage_attempts: summary.stage_attempts,
        failed_stage_attempts: summary.failed_stage_attempts,
        skipped_stages: summary.skipped_stages,
        sql_executions: run.sql_executions.len() as u64,
        tasks: TaskSummary {
            ended: summary.tasks.ended,
            succeeded: summary.tasks.succeeded,
            failed: summary.tasks.failed,
            killed: summary.tasks.killed,
            resubmitted: summary.tasks.resubmitted,
            running: summary.tasks.running,
            speculative: summary.tasks.speculative,
        },
        task_run_ms: summary.sum(Metric::ExecutorRunTime),
        task_gc_ms: summary.sum(Metric::JvmGcTime),
        memory_bytes_spilled: summary.sum(Metric::MemoryBytesSpilled),
        disk_bytes_spilled: summary.sum(Metric::DiskBytesSpilled),
    }
}

fn source(source: &Source) -> SourceSummary {
    SourceSummary {
        kind: source.kind.clone(),
        path: source.path.clone(),
        codecs: source.codecs.clone(),
        parts: source.parts,
        events_read: source.events_read,
        events_unknown: source.events_unknown,
        events_lost: source.events_lost,
        bytes: source.bytes,
        bytes_decompressed: source.bytes_decompressed,
        truncated: source.truncated,
    }
}

fn issue(issue: &ImportIssue) -> ImportIssueSummary {
    ImportIssueSummary {
        code: issue.code.name().to_owned(),
        severity: match issue.severity {
            IssueSeverity::Info => IssueLevel::Info,
            IssueSeverity::Warning => IssueLevel::Warning,
            IssueSeverity::Error => IssueLevel::Error,
        },
        count: issue.count,
        first_at: issue.first_at.clone(),
        meaning: issue.meaning.clone(),
    }
}
