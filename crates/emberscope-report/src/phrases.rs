//! What reports say in words, the same in text and Markdown. Names from logs are in them as they are: renderers escape.

use emberscope::{
    ConfigurationNote, Consequence, Diagnosis, Evidence, Finding, Harm, Severity, SourceSummary, Subject, Tried, Value,
    words,
};

use crate::wrap::shorten;

/// Subjects that are named; a longer list is cut with the number of the rest.
const SUBJECTS: usize = 6;
/// A run that loses less than this, or less than this share of its time, to its costliest finding loses little.
const LITTLE_MS: u64 = 1_000;
const LITTLE_SHARE: f64 = 0.01;
/// Confidence from which a finding is more likely right than wrong.
const LIKELY: f64 = 0.5;
/// Longest name of a subject, in characters: a SQL execution may be called by its whole statement.
const NAME: usize = 120;

/// The run's name for people: its name, else its id, else where it was read from.
pub(crate) fn title(diagnosis: &Diagnosis) -> String {
    let run = &diagnosis.run;
    let named = [&run.application_name, &run.application_id].into_iter().flatten().find(|name| !name.trim().is_empty());
    named
        .cloned()
        .or_else(|| diagnosis.sources.first().map(|source| source.path.clone()))
        .unwrap_or_else(|| "a run".to_owned())
}

/// Id, attempt, Spark's version and user, as far as known.
pub(crate) fn identity(diagnosis: &Diagnosis) -> String {
    let run = &diagnosis.run;
    let parts = [
        run.application_id.clone().filter(|_| run.application_name.is_some()),
        run.attempt_id.as_ref().map(|attempt| format!("attempt {attempt}")),
        run.spark_version.as_ref().map(|version| format!("Spark {version}")),
        run.user.as_ref().map(|user| format!("user {user}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What came of following a piece of advice on labelled runs.
pub(crate) fn tried(tried: &Tried) -> String {
    let runs = words::plural(tried.pairs, "labelled run");
    let failed = match (tried.failed_before, tried.failed_after) {
        (0, 0) => String::new(),
        (before, after) if before == tried.pairs => {
            return format!("Tried on {runs}: all failed before, {after} as advised");
        }
        (before, after) => format!("; {before} failed before, {after} as advised"),
    };
    // The most that a pair took is the least that it saved.
    let [median, least, most] =
        [tried.median_ratio, tried.most_ratio, tried.least_ratio].map(|ratio| (100.0 * (1.0 - ratio)).round() + 0.0);
    let spread = format!("({least:.0} to {most:.0} %)");
    match &tried.saves {
        Some(what) => format!("Tried on {runs}: it saved {what} and {median:.0} % of the time {spread}{failed}"),
        None if median < LEAST_TOLD => {
            format!("Tried on {runs}: no time was saved there: {median:.0} % {spread}{failed}")
        }
        None => format!("Tried on {runs}: {median:.0} % less time {spread}{failed}"),
    }
}

/// Of two recordings of one run the second took up to as many per cent less time (the trial `nothing` of `datasets/lab/advice.py`:
/// 1 to 6.5 %).
const LEAST_TOLD: f64 = 7.0;

/// When it ran and how long.
pub(crate) fn times(diagnosis: &Diagnosis) -> String {
    let run = &diagnosis.run;
    let start = run.started_at.as_ref().map(|at| at.get(..19).unwrap_or(at).replace('T', " ") + " UTC");
    let doubtful = diagnosis.import_issues.iter().any(|issue| issue.code == "implausible-times");
    let length = match (run.wall_clock_ms, run.complete) {
        (Some(ms), _) if doubtful => {
            format!("{} if the times in the log were right, which is doubtful", words::duration(ms as f64))
        }
        (Some(ms), true) => words::duration(ms as f64),
        (Some(ms), false) => {
            format!("{} as far as the log goes (it has no end of the application)", words::duration(ms as f64))
        }
        (None, _) => "length unknown".to_owned(),
    };
    [start, Some(length)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Executors and how much of their cores was used.
pub(crate) fn resources(diagnosis: &Diagnosis) -> String {
    let run = &diagnosis.run;
    let mut parts = vec![words::plural(run.executors, "executor")];
    if let Some(slots) = run.slots_max {
        parts.push(format!("{} at most", words::plural(slots, "task slot")));
    }
    // More used than held is no share: the log has lost when executors came or went.
    if let Some(held) = run.core_ms_held.filter(|&held| held > 0 && run.core_ms_used <= held) {
        parts.push(format!("{} of their core time used", words::percent(run.core_ms_used as f64 / held as f64)));
    }
    parts.join(", ")
}

/// What the run consisted of: jobs, stage attempts, tasks.
pub(crate) fn work(diagnosis: &Diagnosis) -> String {
    let run = &diagnosis.run;
    let failed = |count: u64| if count == 0 { String::new() } else { format!(" ({} failed)", words::count(count)) };
    let mut tasks = words::plural(run.tasks.ended, "task");
    let ends: Vec<String> = [
        ("failed", run.tasks.failed),
        ("killed", run.tasks.killed),
        ("resubmitted", run.tasks.resubmitted),
        ("still running", run.tasks.running),
    ]
    .into_iter()
    .filter(|&(_, count)| count > 0)
    .map(|(word, count)| format!("{} {word}", words::count(count)))
    .collect();
    if !ends.is_empty() {
        tasks = format!("{tasks} ({})", ends.join(", "));
    }
    format!(
        "{}{}, {}{}, {tasks}",
        words::plural(run.jobs, "job"),
        failed(run.failed_jobs),
        words::plural(run.stage_attempts, "stage attempt"),
        failed(run.failed_stage_attempts),
    )
}

/// Share of the tasks' run time in garbage collections from which on the facts of a run name it: below it is usual.
const GC_SHARE: f64 = 0.05;

/// What a run lost on the way, as far as there was any of it: spilled bytes, garbage collection, copies, executors that went.
pub(crate) fn losses(diagnosis: &Diagnosis) -> String {
    let run = &diagnosis.run;
    let mut parts = Vec::new();
    let (memory, disk) = (run.memory_bytes_spilled.unwrap_or(0), run.disk_bytes_spilled.unwrap_or(0));
    if memory > 0 || disk > 0 {
        let (memory, disk) = (words::bytes(memory as f64), words::bytes(disk as f64));
        parts.push(format!("{memory} of memory spilled ({disk} on disk)"));
    }
    if let (Some(gc), Some(ran)) = (run.task_gc_ms, run.task_run_ms.filter(|&ran| ran > 0)) {
        let share = gc as f64 / ran as f64;
        if share >= GC_SHARE {
            parts.push(format!("{} of task time in garbage collection", words::percent(share)));
        }
    }
    if run.tasks.speculative > 0 {
        parts.push(words::plural(run.tasks.speculative, "speculative attempt"));
    }
    if run.executors_removed > 0 {
        parts.push(format!("{} removed before the end", words::plural(run.executors_removed, "executor")));
    }
    parts.join(", ")
}

/// The verdict in one or two sentences.
pub(crate) fn verdict(diagnosis: &Diagnosis) -> String {
    let run = &diagnosis.run;
    let counts = &diagnosis.counts;
    // A guess is no headline.
    let likely = diagnosis.findings.iter().find(|finding| finding.confidence >= LIKELY);
    let Some(first) = likely.or(diagnosis.findings.first()) else {
        let looked = counts.detectors.saturating_sub(counts.skipped);
        if run.tasks.ended == 0 {
            return format!(
                "No problem found, but no task ended in this log either: {} had little to look at.",
                words::plural(looked, "rule")
            );
        }
        return format!(
            "No problem found: {} looked at {}, and none passed its threshold.",
            words::plural(looked, "rule"),
            work(diagnosis)
        );
    };
    let tally = tally(diagnosis);
    // That the run failed comes before what it lost time to.
    let failure = diagnosis.findings.iter().find(|finding| finding.harm == Harm::Failure);
    let small = |saved: u64| {
        saved < LITTLE_MS || run.wall_clock_ms.is_some_and(|wall| saved as f64 / wall.max(1) as f64 <= LITTLE_SHARE)
    };
    let failed = failure.map(|failure| {
        let why = failure.because.as_deref().unwrap_or(&failure.summary);
        format!("This run did not do all of its work: {}", sentence(why))
    });
    let verdict = failed.unwrap_or_else(|| match first.savings.wall_clock_ms {
        _ if diagnosis.worst() == Some(Severity::Info) => "Nothing serious was found.".to_owned(),
        Some(saved) if saved > 0 && small(saved) => format!(
            "Little time is lost: the most to {} in {}, about {}{}.",
            first.problem,
            place(&first.subject),
            words::duration(saved as f64),
            share(diagnosis, saved).map(|share| format!(", {share} of the run")).unwrap_or_default(),
        ),
        Some(saved) if saved > 0 => format!(
            "Most time is lost to {} in {}: about {}{}.",
            first.problem,
            place(&first.subject),
            words::duration(saved as f64),
            share(diagnosis, saved).map(|share| format!(", {share} of the run")).unwrap_or_default(),
        ),
        _ => sentence(&first.summary),
    });
    let failed = match run.failed_jobs {
        0 => String::new(),
        _ if failure.is_some() => String::new(),
        failed => format!(" {} failed.", words::plural(failed, "job")),
    };
    format!("{verdict}{failed} {tally}")
}

/// How many findings of which severity: `1 finding (critical)`, `3 findings (1 critical, 2 info)`.
fn tally(diagnosis: &Diagnosis) -> String {
    let counts = &diagnosis.counts;
    let of: Vec<(&str, u64)> = [("critical", counts.critical), ("warning", counts.warning), ("info", counts.info)]
        .into_iter()
        .filter(|&(_, count)| count > 0)
        .collect();
    let each = match of.as_slice() {
        [(word, 1)] => (*word).to_owned(),
        [(word, count)] => format!("{} {word}", if *count == 2 { "both" } else { "all" }),
        several => several
            .iter()
            .map(|(word, count)| format!("{} {word}", words::count(*count)))
            .collect::<Vec<_>>()
            .join(", "),
    };
    format!("{} ({each}).", words::plural(diagnosis.findings.len() as u64, "finding"))
}

/// A text with its first letter raised (a class or a path keeps it) and a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    let word = text.split([' ', ',', ':', ';']).next().unwrap_or_default();
    let mut chars = text.chars();
    let mut out: String = match chars.next() {
        Some(first) if word.chars().all(|c| c.is_lowercase() || c == '\'') => {
            first.to_uppercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    };
    if !out.is_empty() && !out.ends_with(['.', '!', '?', ':', '…']) {
        out.push('.');
    }
    out
}

/// A share of the run's wall-clock time; `None` when that is not known.
pub(crate) fn share(diagnosis: &Diagnosis, ms: u64) -> Option<String> {
    let wall = diagnosis.run.wall_clock_ms.filter(|&wall| wall > 0)?;
    let share = ms as f64 / wall as f64;
    Some(if ms > 0 && share < 0.001 { "under 0.1 %".to_owned() } else { words::percent(share) })
}

/// What mending would save: `saves 5 min 12 s, 41 % of the run`.
pub(crate) fn saves(diagnosis: &Diagnosis, finding: &Finding) -> String {
    match (finding.savings.wall_clock_ms.filter(|&ms| ms > 0), finding.savings.core_ms.filter(|&ms| ms > 0)) {
        (Some(ms), _) => {
            let share = share(diagnosis, ms).map(|share| format!(" ({share} of the run)")).unwrap_or_default();
            format!("saves {}{share}", words::duration(ms as f64))
        }
        (None, Some(ms)) => format!("saves {} of core time", words::duration(ms as f64)),
        (None, None) => match finding.harm {
            Harm::Failure => "work failed",
            Harm::LostWork => "work was lost",
            Harm::RiskOfFailure => "risk of failure",
            Harm::None if finding.savings.wall_clock_ms.is_some() => "saves no time",
            Harm::None => "saving unknown",
        }
        .to_owned(),
    }
}

/// `90 % sure`; with who says so where that is not a rule alone: `95 % sure (rule and tree)`.
pub(crate) fn sure(finding: &Finding) -> String {
    let mut kinds: Vec<&str> = std::iter::once(&finding.detector).chain(&finding.also).map(|by| by.kind).collect();
    kinds.dedup();
    let by = if kinds == ["rule"] { String::new() } else { format!(" ({})", enumerate(&kinds)) };
    format!("{} sure{by}", words::percent(finding.confidence.clamp(0.0, 1.0)))
}

/// Where a finding points, in words without the name.
pub(crate) fn place(subject: &Subject) -> String {
    let stage = subject.stage_id.map(|stage| match subject.stage_attempt {
        Some(attempt) if attempt > 0 => format!("stage {stage} (attempt {attempt})"),
        _ => format!("stage {stage}"),
    });
    let mut parts: Vec<String> = Vec::new();
    match subject.kind {
        "run" => parts.push("the run".to_owned()),
        "host" => parts.extend(subject.host.as_ref().map(|host| format!("host {host}"))),
        "configuration" => parts.extend(subject.configuration_key.clone()),
        "rdd" => parts.extend(subject.rdd_id.map(|rdd| format!("RDD {rdd}"))),
        "streaming-query" => {
            parts.extend(subject.streaming_query_id.as_ref().map(|id| format!("streaming query {id}")));
        }
        _ => {}
    }
    parts.extend(subject.sql_execution_id.map(|sql| format!("SQL execution {sql}")));
    parts.extend(subject.plan_node_id.map(|node| format!("plan node {node}")));
    parts.extend(subject.job_id.map(|job| format!("job {job}")));
    parts.extend(stage);
    parts.extend(subject.partition.map(|partition| format!("partition {partition}")));
    parts.extend(subject.task_id.filter(|_| subject.kind == "task").map(|task| format!("task {task}")));
    let executor = subject.executor_id.as_ref();
    let executor = executor.map(|id| if id == "driver" { "the driver".to_owned() } else { format!("executor {id}") });
    let host = subject.host.as_ref().filter(|_| subject.kind != "host").map(|host| format!("host {host}"));
    let mut place = parts.join(", ");
    for on in executor.into_iter().chain(host) {
        place = if place.is_empty() { on } else { format!("{place} on {on}") };
    }
    if place.is_empty() { subject.kind.replace('-', " ") } else { place }
}

/// Where a finding points, with the name that people call it by.
pub(crate) fn place_named(subject: &Subject) -> String {
    match subject.label.as_ref().or(subject.name.as_ref()) {
        Some(name) => format!("{} ({})", place(subject), shorten(name.trim(), NAME)),
        None => place(subject),
    }
}

/// Where a finding points, each place with its name; of many the first, and how many more.
pub(crate) fn places(finding: &Finding) -> Vec<String> {
    let mut places: Vec<String> = finding.subjects().take(SUBJECTS).map(place_named).collect();
    let more = (finding.more_subjects.len() + 1).saturating_sub(SUBJECTS);
    if more > 0 {
        places.push(format!("and {more} more"));
    }
    places
}

/// The consequences that the summary has not told.
pub(crate) fn consequences(finding: &Finding) -> impl Iterator<Item = &Consequence> {
    finding
        .consequences
        .iter()
        .filter(|consequence| !finding.summary.contains(consequence.summary.trim_end_matches('.')))
}

/// A value of evidence with its unit.
pub(crate) fn value(evidence: &Evidence) -> String {
    match &evidence.value {
        Value::Number(number) => figure(*number, evidence.unit),
        Value::Text(text) => text.clone(),
    }
}

/// A number in a unit (see `Unit::symbol`).
pub(crate) fn figure(number: f64, unit: &str) -> String {
    match unit {
        "ms" => words::duration(number),
        "ns" => words::duration(number / 1e6),
        "bytes" => words::bytes(number),
        "ratio" => ratio(number),
        "per second" => format!("{} per second", ratio(number)),
        "ms since 1970" => emberscope::Timestamp(number as i64).to_rfc3339(),
        _ if number.fract() == 0.0 && number >= 0.0 => words::count(number as u64),
        _ => ratio(number),
    }
}

fn ratio(number: f64) -> String {
    if number.abs() >= 100.0 || number == 0.0 {
        format!("{number:.0}")
    } else if number.abs() >= 10.0 {
        format!("{number:.1}")
    } else if number.abs() >= 0.001 {
        let text = format!("{number:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{number:.1e}")
    }
}

/// What stands beside a value: what is typical, and the threshold it passed.
pub(crate) fn compared(evidence: &Evidence) -> (String, String) {
    let word = |label: &str, number: Option<f64>| {
        number.map(|n| format!("{label} {}", figure(n, evidence.unit))).unwrap_or_default()
    };
    (word("typical", evidence.typical), word("threshold", evidence.threshold))
}

/// A setting and where its value comes from: `spark.speculation = true`, `spark.speculation = false (default)`.
pub(crate) fn setting(note: &ConfigurationNote) -> String {
    let value = note.value.as_deref().unwrap_or("not set");
    format!("{} = {value}{}", note.key, if note.set || note.value.is_none() { "" } else { " (default)" })
}

/// What was read from a source, without its path.
pub(crate) fn account(diagnosis: &Diagnosis, source: &SourceSummary) -> String {
    let mut text = words::plural(source.events_read, "event");
    let rest: Vec<String> = [("of unknown kinds", source.events_unknown), ("lost", source.events_lost)]
        .into_iter()
        .filter(|&(_, count)| count > 0)
        .map(|(word, count)| format!("{} {word}", words::count(count)))
        .collect();
    if !rest.is_empty() {
        text = format!("{text} ({})", rest.join(", "));
    }
    let mut size = source.bytes.map(|bytes| words::bytes(bytes as f64)).unwrap_or_default();
    let codecs: Vec<&str> = source.codecs.iter().map(String::as_str).filter(|codec| *codec != "plain").collect();
    if !codecs.is_empty() {
        size = format!("{size} {} ({} unpacked)", codecs.join(" and "), words::bytes(source.bytes_decompressed as f64));
    }
    if source.parts > 1 {
        size = format!("{size} in {} parts", words::count(source.parts));
    }
    if !size.trim().is_empty() {
        text = format!("{text}, {}", size.trim());
    }
    if source.truncated {
        let of_parts = diagnosis.import_issues.iter().any(|issue| issue.code == "unreadable-part");
        text.push_str(if of_parts { ", not all of its parts" } else { ", cut at its end" });
    }
    text
}

/// The detectors that could not look, by what they lack: `missed-broadcast and full-scan (need SQL plans); ...`.
pub(crate) fn skipped(diagnosis: &Diagnosis) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for skipped in &diagnosis.skipped {
        let missing = skipped.missing.join(", ");
        match groups.iter_mut().find(|(other, _)| *other == missing) {
            Some((_, detectors)) => detectors.push(&skipped.detector),
            None => groups.push((missing, vec![&skipped.detector])),
        }
    }
    let each = groups.into_iter().map(|(missing, detectors)| {
        let names = enumerate(&detectors);
        if missing.is_empty() {
            return names;
        }
        format!("{names} ({} {missing})", if detectors.len() == 1 { "needs" } else { "need" })
    });
    each.collect::<Vec<_>>().join("; ")
}

/// `a`, `a and b`, `a, b and c`.
fn enumerate(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The root cause, unless the summary has told it.
pub(crate) fn because(finding: &Finding) -> Option<&str> {
    let because = finding.because.as_deref()?.trim();
    (!because.is_empty() && !finding.summary.contains(because.trim_end_matches('.'))).then_some(because)
}

/// The word of a finding's severity, or `-` for none.
pub(crate) fn severity(severity: Option<Severity>) -> &'static str {
    severity.map_or("-", Severity::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_told_with_its_spread_and_no_gain_as_none() {
        let of = |[median_ratio, least_ratio, most_ratio]: [f64; 3], failed_before| {
            tried(&Tried {
                pairs: 5,
                median_ratio,
                least_ratio,
                most_ratio,
                failed_before,
                failed_after: 0,
                saves: None,
            })
        };
        assert_eq!(of([0.64, 0.6, 0.7], 0), "Tried on 5 labelled runs: 36 % less time (30 to 40 %)");
        assert_eq!(of([0.9, 0.8, 1.02], 0), "Tried on 5 labelled runs: 10 % less time (-2 to 20 %)");
        assert_eq!(of([0.99, 0.96, 1.04], 0), "Tried on 5 labelled runs: no time was saved there: 1 % (-4 to 4 %)");
        assert_eq!(of([1.1, 1.0, 1.2], 5), "Tried on 5 labelled runs: all failed before, 0 as advised");
    }

    #[test]
    fn a_subject_is_called_by_its_label_where_its_name_says_nothing() {
        let mut subject = Subject { kind: "stage-attempt", stage_id: Some(12), ..Subject::default() };
        subject = subject.named("run at ThreadPoolExecutor.java:1136");
        assert_eq!(place_named(&subject), "stage 12 (run at ThreadPoolExecutor.java:1136)");
        let labelled = subject.clone().labelled(Some("SQL 5: count at job.py:31".to_owned()));
        assert_eq!(place_named(&labelled), "stage 12 (SQL 5: count at job.py:31)");
        let long = subject.labelled(Some(format!("SQL 5: select {}", "a, ".repeat(100))));
        assert_eq!(place_named(&long).chars().count(), "stage 12 ()".len() + NAME);
    }
}
