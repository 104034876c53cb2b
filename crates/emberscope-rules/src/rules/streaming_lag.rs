//! Batches of a streaming query take longer than their trigger, or input outruns processing.

use std::collections::BTreeMap;

use emberscope_run::{MicroBatch, StreamingQuery, Unit};

use crate::finding::{Advice, Evidence, Finding, Savings, Subject};
use crate::problem::Problem;
use crate::rule::{Context, Outcome, Rule, Threshold};
use crate::words;

/// The rule.
pub(super) static RULE: Rule = Rule {
    problem: Problem::StreamingLag,
    summary: "A streaming query falls behind: its batches outlast their trigger, or rows arrive faster than they are processed.",
    documentation: include_str!("streaming_lag.md"),
    thresholds: &[MIN_BATCHES, LATE_SHARE, RATE_FACTOR, GROWTH, FLOOR],
    explained_by: &[],
    check,
};

const MIN_BATCHES: Threshold = Threshold {
    name: "min_batches",
    value: 5.0,
    unit: Unit::Count,
    reason: "batches with rows after the first, which is slow by class loading and first connections; fewer say \
             nothing of a trend. Set by judgement, not contradicted by the training families of datasets/lab \
             (`emberscope calibrate`)",
};
const LATE_SHARE: Threshold = Threshold {
    name: "late_share",
    value: 0.5,
    unit: Unit::Ratio,
    reason: "share of those batches that fell behind; a query that catches up between bursts does not lag. Set by \
             judgement",
};
const RATE_FACTOR: Threshold = Threshold {
    name: "rate_factor",
    value: 1.1,
    unit: Unit::Ratio,
    reason: "rows arriving over rows processed in a second; 10 % are noise of the clocks of short batches. Set by \
             judgement",
};
const GROWTH: Threshold = Threshold {
    name: "growth_factor",
    value: 1.5,
    unit: Unit::Ratio,
    reason: "backlog, or rows and duration of a batch, in the last third of the batches over the first third. Set \
             by judgement, which no labelled run of datasets/lab decides (`emberscope calibrate`)",
};
const FLOOR: Threshold = Threshold {
    name: "floor_share",
    value: 0.03,
    unit: Unit::Ratio,
    reason: "share of the run's wall-clock time by which the query fell behind; below it the stream keeps up in practice",
};

/// How a query lags.
struct Lag {
    /// One sentence with the numbers.
    text: String,
    evidence: Vec<Evidence>,
    /// Time in ms by which it fell behind.
    behind_ms: f64,
    how: String,
    confidence: f64,
    /// The trigger's interval in ms, where the starts of batches show one.
    interval_ms: Option<f64>,
}

fn check(ctx: &Context<'_>) -> Outcome {
    if ctx.run.streaming_queries.is_empty() {
        return Outcome::Clear;
    }
    let queries: Vec<(&StreamingQuery, Vec<&MicroBatch>)> =
        ctx.run.streaming_queries.values().map(|query| (query, batches(query))).collect();
    let enough = |batches: &[&MicroBatch]| batches.len() as f64 >= ctx.threshold(&MIN_BATCHES);
    if !queries.iter().any(|(_, batches)| enough(batches)) {
        return Outcome::missing(format!(
            "progress of at least {} micro-batches with rows after the first",
            ctx.threshold(&MIN_BATCHES)
        ));
    }
    let found = queries.into_iter().filter(|(_, batches)| enough(batches));
    Outcome::of(found.filter_map(|(query, batches)| finding(ctx, query, &batches)).collect())
}

/// The batches that read rows and say how long they took, without the first.
fn batches(query: &StreamingQuery) -> Vec<&MicroBatch> {
    let first = query.batches.keys().next().copied();
    query
        .batches
        .values()
        .filter(|batch| Some(batch.batch_id) != first)
        .filter(|batch| batch.input_rows.is_some_and(|rows| rows > 0) && batch.trigger_execution_ms().is_some())
        .collect()
}

fn finding(ctx: &Context<'_>, query: &StreamingQuery, batches: &[&MicroBatch]) -> Option<Finding> {
    let lag = [late(ctx, batches), backlog(ctx, batches), outrun(ctx, batches)].into_iter().flatten();
    let lag = lag.max_by(|a, b| a.behind_ms.total_cmp(&b.behind_ms))?;
    if ctx.below_floor(lag.behind_ms, &FLOOR) {
        return None;
    }
    let behind = ctx.wall_clock_ms().map_or(lag.behind_ms, |wall| lag.behind_ms.min(wall));
    let name = query.name.clone().unwrap_or_else(|| query.id.clone());
    let phases = phases(batches);
    let mut finding = Finding::new(
        Problem::StreamingLag,
        lag.confidence,
        Subject::streaming_query(&query.id).named(name.as_str()),
        format!("streaming query {name} falls behind: {}", lag.text),
    );
    finding.evidence = lag.evidence;
    if let Some((phase, ms, share)) = phases.first() {
        let name = snake_case(phase);
        finding.evidence.push(Evidence::number(format!("{name}_mean_ms"), *ms / batches.len() as f64, Unit::Ms));
        finding.evidence.push(Evidence::number(format!("{name}_ratio"), *share, Unit::Ratio));
    }
    finding.savings = Savings { wall_clock_ms: Some(behind.round() as u64), core_ms: None, how: lag.how };
    finding.advice = advice(ctx, batches, &phases, lag.interval_ms);
    Some(finding)
}

fn durations(batches: &[&MicroBatch]) -> Vec<f64> {
    batches.iter().filter_map(|batch| Some(batch.trigger_execution_ms()? as f64)).collect()
}

/// Starts, in ms since 1970, of the batches that waited for the trigger: those whose predecessor was done before.
fn triggered(batches: &[&MicroBatch]) -> Vec<f64> {
    batches
        .windows(2)
        .filter_map(|pair| {
            let [before, after] = pair else { return None };
            (before.batch_id.checked_add(1) == Some(after.batch_id)).then_some(())?;
            let gap = after.started_at?.since(before.started_at?).0 as f64;
            (before.trigger_execution_ms()? as f64 <= 0.9 * gap).then_some(after.started_at?.0 as f64)
        })
        .collect()
}

/// The trigger's interval: batches that waited for it begin evenly, and at whole multiples of it since 1970
/// (`ProcessingTimeExecutor.nextBatchTime`). `None` when too few waited, or the waits were for data and uneven.
fn interval(batches: &[&MicroBatch]) -> Option<f64> {
    const CLOCK_MS: f64 = 20.0;
    let starts = triggered(batches);
    let gaps: Vec<f64> = starts.windows(2).filter_map(|pair| Some(pair.get(1)? - pair.first()?)).collect();
    let least = gaps.iter().copied().reduce(f64::min).filter(|&least| least > 0.0)?;
    let beside = |time: f64, of: f64| (time / of - (time / of).round()).abs();
    let even = gaps.iter().all(|&gap| beside(gap, least) <= 0.1);
    // People set round intervals.
    let round = (least / 100.0).round() * 100.0;
    let on_the_clock =
        (round - least).abs() <= CLOCK_MS && starts.iter().all(|&at| beside(at, round) * round <= CLOCK_MS);
    match (even, on_the_clock) {
        (true, true) => Some(round),
        // Fewer even gaps may be an accident of data.
        (true, false) if gaps.len() >= 3 => Some(least),
        _ => None,
    }
}

/// Batches that outlast the trigger.
fn late(ctx: &Context<'_>, batches: &[&MicroBatch]) -> Option<Lag> {
    let interval = interval(batches)?;
    let durations = durations(batches);
    let late: Vec<f64> = durations.iter().copied().filter(|&ms| ms > interval).collect();
    let share = late.len() as f64 / durations.len().max(1) as f64;
    let enough = share >= ctx.threshold(&LATE_SHARE);
    if !enough {
        return None;
    }
    let behind: f64 = late.iter().map(|ms| ms - interval).sum();
    let mean = late.iter().sum::<f64>() / late.len().max(1) as f64;
    Some(Lag {
        text: format!(
            "{} of {} batches took longer than the trigger's {}, {} on average",
            late.len(),
            durations.len(),
            words::duration(interval),
            words::duration(mean),
        ),
        evidence: vec![
            Evidence::number("trigger_execution_mean_ms", mean, Unit::Ms).over(interval),
            Evidence::number("late_batches_ratio", share, Unit::Ratio).over(ctx.threshold(&LATE_SHARE)),
        ],
        behind_ms: behind,
        how: format!(
            "{} late batches took {} beyond the interval of {} that the starts of the others show",
            late.len(),
            words::duration(behind),
            words::duration(interval),
        ),
        confidence: 0.8,
        interval_ms: Some(interval),
    })
}

/// A source that says how far behind it is, and is ever further.
fn backlog(ctx: &Context<'_>, batches: &[&MicroBatch]) -> Option<Lag> {
    let behind: Vec<f64> = batches
        .iter()
        .filter_map(|batch| {
            let known: Vec<f64> = batch.sources.iter().filter_map(|source| source.offsets_behind_latest).collect();
            known.iter().copied().reduce(f64::max)
        })
        .collect();
    if (behind.len() as f64) < ctx.threshold(&MIN_BATCHES) {
        return None;
    }
    let (first, last) = (median_of_third(&behind, false), median_of_third(&behind, true));
    let rate = processed_rate(batches)?;
    let enough = last >= ctx.threshold(&GROWTH) * first.max(1.0);
    if !enough {
        return None;
    }
    // Offsets by partition on average; what has gathered takes this long to work off.
    let behind_ms = (last - first) / rate * 1_000.0;
    Some(Lag {
        text: format!(
            "it is {} offsets behind its source, {} at the beginning",
            words::count(last as u64),
            words::count(first.max(0.0) as u64),
        ),
        evidence: vec![
            Evidence::number("offsets_behind_latest_count", last, Unit::Count)
                .over(ctx.threshold(&GROWTH) * first.max(1.0))
                .against(first),
            Evidence::number("processed_rows_per_second", rate, Unit::PerSecond),
        ],
        behind_ms,
        how: format!(
            "{} offsets gathered in a partition on average, at {} rows processed a second",
            words::count((last - first) as u64),
            words::count(rate as u64),
        ),
        confidence: 0.85,
        interval_ms: interval(batches),
    })
}

/// Rows that arrive faster than they are processed, batch after batch, with batches that grow.
fn outrun(ctx: &Context<'_>, batches: &[&MicroBatch]) -> Option<Lag> {
    let rates: Vec<(f64, f64, f64)> = batches
        .iter()
        .filter_map(|batch| {
            let (input, processed) = (batch.input_rows_per_second?, batch.processed_rows_per_second?);
            (processed > 0.0).then_some((input, processed, batch.trigger_execution_ms()? as f64))
        })
        .collect();
    if (rates.len() as f64) < ctx.threshold(&MIN_BATCHES) {
        return None;
    }
    let outrun: Vec<_> =
        rates.iter().filter(|(input, processed, _)| *input >= ctx.threshold(&RATE_FACTOR) * processed).collect();
    let share = outrun.len() as f64 / rates.len() as f64;
    let durations = durations(batches);
    let (first, last) = (median_of_third(&durations, false), median_of_third(&durations, true));
    // A rate that is high now and then is a burst: batches grow when the stream really falls behind.
    if !(share >= ctx.threshold(&LATE_SHARE) && last >= ctx.threshold(&GROWTH) * first.max(1.0)) {
        return None;
    }
    let behind: f64 = outrun.iter().map(|(input, processed, ms)| ms * (1.0 - processed / input)).sum();
    let mean = |pick: fn(&(f64, f64, f64)) -> f64| {
        outrun.iter().map(|rate| pick(rate)).sum::<f64>() / outrun.len().max(1) as f64
    };
    Some(Lag {
        text: format!(
            "in {} of {} batches rows arrived at {} a second and were processed at {}, and batches grew from {} to {}",
            outrun.len(),
            rates.len(),
            words::count(mean(|rate| rate.0) as u64),
            words::count(mean(|rate| rate.1) as u64),
            words::duration(first),
            words::duration(last),
        ),
        evidence: vec![
            Evidence::number("input_rows_per_second", mean(|rate| rate.0), Unit::PerSecond),
            Evidence::number("processed_rows_per_second", mean(|rate| rate.1), Unit::PerSecond),
            Evidence::number("trigger_execution_last_third_p50_ms", last, Unit::Ms)
                .over(ctx.threshold(&GROWTH) * first)
                .against(first),
        ],
        behind_ms: behind,
        how: format!(
            "in {} batches the share of the time by which processing was slower than the input: {} in all",
            outrun.len(),
            words::duration(behind),
        ),
        confidence: 0.75,
        interval_ms: interval(batches),
    })
}

/// Rows processed a second over all batches; `None` when none says its rows.
fn processed_rate(batches: &[&MicroBatch]) -> Option<f64> {
    let rows: u64 = batches.iter().filter_map(|batch| batch.input_rows).fold(0, u64::saturating_add);
    let ms: f64 = durations(batches).iter().sum();
    (rows > 0 && ms > 0.0).then(|| rows as f64 / ms * 1_000.0)
}

/// The median of the first or last third.
fn median_of_third(values: &[f64], last: bool) -> f64 {
    let third = (values.len() / 3).max(1).min(values.len());
    let part = if last { values.get(values.len() - third..) } else { values.get(..third) };
    let mut part = part.unwrap_or_default().to_vec();
    part.sort_by(f64::total_cmp);
    part.get(part.len() / 2).copied().unwrap_or(0.0)
}

/// A phase as the columns of `streaming_batches` call it: `addBatch` is `add_batch`.
fn snake_case(phase: &str) -> String {
    let mut out = String::with_capacity(phase.len() + 4);
    for c in phase.chars().filter(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Phases of the batches with their time in ms and share of the whole, the longest first.
fn phases(batches: &[&MicroBatch]) -> Vec<(String, f64, f64)> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for (phase, &ms) in batches.iter().flat_map(|batch| &batch.duration_ms) {
        *sums.entry(phase.as_str()).or_default() += ms as f64;
    }
    let whole = sums.remove("triggerExecution").unwrap_or(0.0).max(1.0);
    let mut phases: Vec<_> = sums.into_iter().map(|(phase, ms)| (phase.to_owned(), ms, ms / whole)).collect();
    phases.sort_by(|a, b| b.1.total_cmp(&a.1));
    phases
}

fn advice(
    ctx: &Context<'_>,
    batches: &[&MicroBatch],
    phases: &[(String, f64, f64)],
    interval_ms: Option<f64>,
) -> Vec<Advice> {
    let mut all = Vec::new();
    let (phase, share) = phases.first().map_or(("", 0.0), |(phase, _, share)| (phase.as_str(), *share));
    let share = words::percent(share);
    match phase {
        "addBatch" => {
            all.extend(state_advice(ctx, batches));
            all.push(Advice::text(format!(
                "{share} of the batches' time is the work itself (addBatch): look at the findings on its stages first. More cores \
                 help while the source has at least as many partitions as there are cores.",
            )));
        }
        "latestOffset" | "getOffset" | "getBatch" | "setOffsetRange" | "getEndOffset" => all.push(Advice::text(format!(
            "{share} of the batches' time goes into asking the source for its newest offset or its files ({phase}). A file source \
             lists its whole directory each time: move read files away (`cleanSource`), use fewer directories, or notifications \
             instead of listing. For Kafka look at the brokers' latency.",
        ))),
        "walCommit" | "commitOffsets" | "commitBatch" => all.push(Advice::text(format!(
            "{share} of the batches' time goes into writing the checkpoint ({phase}): it lies on slow storage. Put \
             `checkpointLocation` on HDFS or local-zone storage, and make fewer, larger batches.",
        ))),
        "queryPlanning" => all.push(Advice::text(format!(
            "{share} of the batches' time is planning the query: simplify the plan (many unions, columns or a sink function that \
             builds new DataFrames), and make fewer, larger batches.",
        ))),
        _ => {}
    }
    if let (Some(rate), Some(interval)) = (processed_rate(batches), interval_ms) {
        let rows = rate * interval / 1_000.0;
        all.push(Advice::text(format!(
            "To keep batches within the trigger, limit their input: {} rows a second x {} = {} rows \
             (`maxOffsetsPerTrigger` of a Kafka source; `maxFilesPerTrigger` of a file source). That steadies the batches; the \
             backlog only goes when input slows down or processing gets faster.",
            words::count(rate as u64),
            words::duration(interval),
            words::count(rows as u64),
        )));
    }
    all
}

/// Advice on state stores, where committing them takes a good part of the batch.
fn state_advice(ctx: &Context<'_>, batches: &[&MicroBatch]) -> Vec<Advice> {
    let Some(last) = batches.last() else { return Vec::new() };
    let sum = |pick: fn(&emberscope_run::StateOperator) -> Option<u64>| {
        last.state_operators
            .iter()
            .filter_map(pick)
            .fold(None, |sum: Option<u64>, value| Some(sum.unwrap_or(0).saturating_add(value)))
    };
    let Some(memory) = sum(|operator| operator.memory_used_bytes) else { return Vec::new() };
    let mut all = Vec::new();
    let key = "spark.sql.streaming.stateStore.providerClass";
    let rocks = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider";
    let settings = ctx.settings;
    let large = 1_073_741_824;
    if memory >= large
        && settings.set_by_user(key).is_none_or(|class| !class.contains("RocksDB"))
        && ctx.run.application.spark_major_minor().is_some_and(|version| version >= (3, 2))
    {
        let advice = Advice::text(format!(
            "The state takes {} on the heap of the executors ({} keys): RocksDB keeps it off the heap and commits changes only. \
             It needs a new checkpoint.",
            words::bytes(memory as f64),
            words::count(sum(|operator| operator.rows_total).unwrap_or(0)),
        ));
        all.push(advice.set(key, rocks));
    }
    let partitions = settings.integer("spark.sql.shuffle.partitions");
    let slots = ctx.features.application.slots_max;
    if let (Some(partitions), Some(slots)) = (partitions.and_then(|n| u64::try_from(n).ok()), slots)
        && partitions > 4 * slots
    {
        all.push(
            Advice::text(format!(
                "Every batch commits a state store for each of {partitions} shuffle partitions on {slots} slots, {} one after the \
                 other on each: {} are enough. The number is fixed in the checkpoint, so it takes effect with a new one only.",
                partitions.div_ceil(slots.max(1)),
                2 * slots,
            ))
            .set("spark.sql.shuffle.partitions", (2 * slots).to_string()),
        );
    }
    all
}

#[cfg(test)]
mod tests;
