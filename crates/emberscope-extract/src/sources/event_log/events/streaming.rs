//! Structured Streaming events.

use emberscope_run::{MicroBatch, StateOperator, StreamingSource, Timestamp};

use super::super::json::{self, Json};
use super::{Event, MAX_FAILURE_TEXT, MAX_NAME, Result, checked, finish, need};

pub(super) fn parse(short: &str, name: &str, line: &[u8]) -> Result<Event> {
    match short {
        "QueryStartedEvent" => started(line),
        "QueryProgressEvent" => progress(line),
        "QueryTerminatedEvent" => terminated(line),
        // Spark 2.0 wrote other names and shapes for a while; idle events say only that nothing came.
        "QueryIdleEvent" | "QueryProgress" | "QueryStarted" | "QueryTerminated" => {
            checked(line, Event::Noted("streaming event"))
        }
        _ => checked(line, Event::Unknown(json::cut(name, 200))),
    }
}

fn started(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut id, mut run_id, mut name, mut at) = (None, None, None, None);
    json.object(|key, json| match key {
        b"id" => json.text_cut(MAX_NAME).map(|text| id = text),
        b"runId" => json.text_cut(MAX_NAME).map(|text| run_id = text),
        b"name" => json.text_cut(MAX_NAME).map(|text| name = text),
        b"timestamp" => iso_time(json).map(|time| at = time),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    match (id, run_id) {
        (Some(id), Some(run_id)) => Ok(Event::StreamingStarted { id, run_id, name, at }),
        _ => Ok(Event::Noted("streaming event")),
    }
}

fn terminated(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut id, mut run_id, mut exception) = (None, None, None);
    json.object(|key, json| match key {
        b"id" => json.text_cut(MAX_NAME).map(|text| id = text),
        b"runId" => json.text_cut(MAX_NAME).map(|text| run_id = text),
        b"exception" => json.text_cut(MAX_FAILURE_TEXT).map(|text| exception = text),
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    match (id, run_id) {
        (Some(id), Some(run_id)) => Ok(Event::StreamingTerminated { id, run_id, exception }),
        _ => Ok(Event::Noted("streaming event")),
    }
}

fn progress(line: &[u8]) -> Result<Event> {
    let mut json = Json::new(line);
    let (mut id, mut run_id, mut name, mut batch_id) = (None, None, None, None);
    let mut batch = MicroBatch::default();
    let mut seen = false;
    json.object(|key, json| match key {
        b"progress" => {
            seen = true;
            json.object(|key, json| {
                match key {
                    b"id" => id = json.text_cut(MAX_NAME)?,
                    b"runId" => run_id = json.text_cut(MAX_NAME)?,
                    b"name" => name = json.text_cut(MAX_NAME)?,
                    b"timestamp" => batch.started_at = iso_time(json)?,
                    b"batchId" => batch_id = json.unsigned()?,
                    b"durationMs" => json.object(|key, json| {
                        if let Some(ms) = json.unsigned()? {
                            batch.duration_ms.insert(String::from_utf8_lossy(key).into_owned(), ms);
                        }
                        Ok(())
                    })?,
                    b"sources" => json.array(|json| source(json).map(|source| batch.sources.push(source)))?,
                    b"stateOperators" => {
                        json.array(|json| state_operator(json).map(|operator| batch.state_operators.push(operator)))?;
                    }
                    b"sink" => json.object(|key, json| match key {
                        b"description" => json.text_cut(MAX_NAME).map(|text| batch.sink = text),
                        _ => json.skip(),
                    })?,
                    b"numInputRows" => batch.input_rows = json.unsigned()?,
                    b"inputRowsPerSecond" => batch.input_rows_per_second = json.number()?,
                    b"processedRowsPerSecond" => batch.processed_rows_per_second = json.number()?,
                    _ => json.skip()?,
                }
                Ok(())
            })
        }
        _ => json.skip(),
    })?;
    finish(&mut json)?;
    if !seen {
        return Ok(Event::Noted("streaming event"));
    }
    let event = "QueryProgressEvent";
    batch.batch_id = need(batch_id, event, "batchId")?;
    // The event has these by source; the sums are what `StreamingQueryProgress` computes from them. One source that does
    // not know its rate makes the sum unknown.
    let total = |rate: fn(&StreamingSource) -> Option<f64>| {
        batch.sources.iter().map(rate).reduce(|sum, rate| Some(sum? + rate?)).flatten()
    };
    let input = total(|source| source.input_rows_per_second);
    let processed = total(|source| source.processed_rows_per_second);
    batch.input_rows_per_second = batch.input_rows_per_second.or(input);
    batch.processed_rows_per_second = batch.processed_rows_per_second.or(processed);
    if batch.input_rows.is_none() && !batch.sources.is_empty() {
        let mut rows = batch.sources.iter().map(|source| source.input_rows);
        batch.input_rows = rows.try_fold(0_u64, |sum, rows| Some(sum.saturating_add(rows?)));
    }
    Ok(Event::StreamingProgress {
        id: need(id, event, "id")?,
        run_id: need(run_id, event, "runId")?,
        name,
        batch: Box::new(batch),
    })
}

fn source(json: &mut Json<'_>) -> json::Result<StreamingSource> {
    let mut source = StreamingSource::default();
    json.object(|key, json| {
        match key {
            b"description" => source.description = json.text_cut(MAX_NAME)?.unwrap_or_default(),
            b"numInputRows" => source.input_rows = json.unsigned()?,
            b"inputRowsPerSecond" => source.input_rows_per_second = json.number()?,
            b"processedRowsPerSecond" => source.processed_rows_per_second = json.number()?,
            b"metrics" => json.object(|key, json| match key {
                b"avgOffsetsBehindLatest" => json.number().map(|number| source.offsets_behind_latest = number),
                _ => json.skip(),
            })?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    Ok(source)
}

fn state_operator(json: &mut Json<'_>) -> json::Result<StateOperator> {
    let mut operator = StateOperator::default();
    json.object(|key, json| {
        match key {
            b"operatorName" => operator.name = json.text_cut(MAX_NAME)?,
            b"numRowsTotal" => operator.rows_total = json.unsigned()?,
            b"numRowsUpdated" => operator.rows_updated = json.unsigned()?,
            b"numRowsDroppedByWatermark" => operator.rows_dropped_by_watermark = json.unsigned()?,
            b"memoryUsedBytes" => operator.memory_used_bytes = json.unsigned()?,
            b"commitTimeMs" => operator.commit_time_ms = json.unsigned()?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    Ok(operator)
}

/// A time as streaming events write it: `2024-03-01T18:46:05.095Z`.
fn iso_time(json: &mut Json<'_>) -> json::Result<Option<Timestamp>> {
    Ok(json.text()?.and_then(|text| parse_iso(&text)))
}

fn parse_iso(text: &str) -> Option<Timestamp> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let millis = if text.as_bytes().get(19) == Some(&b'.') { number(20, 23)? } else { 0 };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    // Civil date to days, after Howard Hinnant, "chrono-compatible low-level date algorithms".
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let days = era * 146_097 + doe - 719_468;
    Some(Timestamp(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_streaming_events_read_back_as_they_print() {
        for text in ["2024-03-01T18:46:05.095Z", "2000-02-29T00:00:00.000Z", "1999-12-31T23:59:59.999Z"] {
            assert_eq!(parse_iso(text).unwrap().to_rfc3339(), text);
        }
        assert_eq!(parse_iso("2024-13-01T00:00:00.000Z"), None);
        assert_eq!(parse_iso("yesterday"), None);
    }
}
