//! Every text of a diagnosis. Structs are taken apart field by field, so that a new field does not compile until somebody has
//! said whether it can hold a secret.

use emberscope_rules::{Advice, ConfigurationNote, Consequence, Evidence, Finding, Savings, Skipped, Subject, Value};

use super::{Kind, Redactor};
use crate::diagnosis::{Diagnosis, ImportIssueSummary, RunSummary, SourceSummary};

pub(super) fn diagnosis(redactor: &Redactor, diagnosis: &mut Diagnosis) {
    let Diagnosis {
        schema_version: _,
        emberscope_version: _,
        run: summary,
        sources,
        import_issues,
        skipped,
        counts: _,
        findings,
        configuration,
        // Numbers and ids, and never written.
        said: _,
    } = diagnosis;
    run(redactor, summary);
    for SourceSummary { path, kind: _, codecs: _, .. } in sources {
        whole(Kind::Path, path);
    }
    for ImportIssueSummary { code: _, severity: _, count: _, first_at, meaning } in import_issues {
        first_at.iter_mut().for_each(|at| text(redactor, at));
        text(redactor, meaning);
    }
    for Skipped { detector: _, missing } in skipped {
        missing.iter_mut().for_each(|missing| text(redactor, missing));
    }
    findings.iter_mut().for_each(|one| finding(redactor, one));
    for ConfigurationNote { key, value, set: _, evidence, advice: one } in configuration {
        text(redactor, key);
        value.iter_mut().for_each(|value| text(redactor, value));
        text(redactor, evidence);
        advice(redactor, one);
    }
}

fn text(redactor: &Redactor, text: &mut String) {
    *text = redactor.text(text);
}

fn whole(kind: Kind, text: &mut String) {
    if !text.is_empty() {
        *text = kind.token(text.trim());
    }
}

fn run(redactor: &Redactor, run: &mut RunSummary) {
    let RunSummary {
        application_id,
        attempt_id: _,
        application_name,
        user,
        spark_version: _,
        started_at: _,
        ended_at: _,
        complete: _,
        exit_code: _,
        wall_clock_ms: _,
        busy_ms: _,
        core_ms_held: _,
        core_ms_used: _,
        executors: _,
        executors_removed: _,
        slots_max: _,
        jobs: _,
        failed_jobs: _,
        stage_attempts: _,
        failed_stage_attempts: _,
        skipped_stages: _,
        sql_executions: _,
        tasks: _,
        task_run_ms: _,
        task_gc_ms: _,
        memory_bytes_spilled: _,
        disk_bytes_spilled: _,
    } = run;
    application_id.iter_mut().for_each(|id| text(redactor, id));
    application_name.iter_mut().for_each(|name| whole(Kind::Application, name));
    user.iter_mut().for_each(|user| whole(Kind::User, user));
}

fn finding(redactor: &Redactor, finding: &mut Finding) {
    let Finding {
        problem: _,
        detector: _,
        also: _,
        severity: _,
        confidence: _,
        summary,
        subject: first,
        more_subjects,
        evidence,
        savings: Savings { wall_clock_ms: _, core_ms: _, how },
        advice: all,
        because,
        consequences,
        harm: _,
        causes: _,
        charged: _,
    } = finding;
    text(redactor, summary);
    text(redactor, how);
    because.iter_mut().for_each(|because| text(redactor, because));
    subject(redactor, first);
    more_subjects.iter_mut().for_each(|one| subject(redactor, one));
    for Evidence { feature, value, unit: _, threshold: _, typical: _ } in evidence {
        text(redactor, feature);
        if let Value::Text(value) = value {
            text(redactor, value);
        }
    }
    all.iter_mut().for_each(|one| advice(redactor, one));
    for Consequence { problem: _, summary, subjects } in consequences {
        text(redactor, summary);
        subjects.iter_mut().for_each(|one| subject(redactor, one));
    }
}

fn advice(redactor: &Redactor, advice: &mut Advice) {
    let Advice { text: words, config, evidence_run: _, tried: _, more: _ } = advice;
    text(redactor, words);
    let pairs = std::mem::take(config).into_iter();
    *config = pairs.map(|(key, value)| (redactor.text(&key), redactor.text(&value))).collect();
}

fn subject(redactor: &Redactor, subject: &mut Subject) {
    let Subject {
        kind: _,
        job_id: _,
        stage_id: _,
        stage_attempt: _,
        task_id: _,
        partition: _,
        executor_id: _,
        host,
        sql_execution_id: _,
        plan_node_id: _,
        rdd_id: _,
        streaming_query_id: _,
        configuration_key,
        name,
        label,
    } = subject;
    host.iter_mut().for_each(|host| whole(Kind::Host, host));
    configuration_key.iter_mut().for_each(|key| text(redactor, key));
    [name, label].into_iter().flatten().for_each(|name| text(redactor, name));
}
