//! Reads the parts of a run: decoding, parsing and building, on one thread or on all.

mod parallel;
mod shared;

use std::io;

use emberscope_run::{IssueCode, Run, Source};
use memchr::memchr_iter;
use thiserror::Error;

use super::block::{Block, Blocks};
use super::build::{Builder, Position};
use super::events::{Event, EventError, parse_line};
use super::framing::{self, Decoder, FramingError, FramingErrorKind, Loss};
use super::inputs::{InputIssueKind, InputKind, RunInput, said};
use super::limits::Limits;
use crate::sources::trace::{TraceError, TraceOptions, read_traces};

/// How a run is read.
#[derive(Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// Threads that may be used for one run; 0 and 1 both mean the calling thread alone.
    pub threads: usize,
    /// What it may cost.
    pub limits: Limits,
    /// Is told of bytes read from files as they are read, for a progress bar.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
    /// Folders with traces of the hosts that ran the application, one a host.
    pub traces: &'a [std::path::PathBuf],
    /// What to keep of them.
    pub trace_options: TraceOptions,
}

impl std::fmt::Debug for ReadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadOptions")
            .field("threads", &self.threads)
            .field("limits", &self.limits)
            .field("traces", &self.traces)
            .finish_non_exhaustive()
    }
}

/// Why an input gives no run.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The operating system refused to give its bytes.
    #[error("{path}: {}", said(.source))]
    Io {
        /// The part.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// The traces that were given with it cannot be used.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// It holds no bytes at all.
    #[error("{path}: the log is empty")]
    Empty {
        /// The input.
        path: String,
    },
    /// A limit was reached before its first event.
    #[error("{path}: no event in it: {reason}")]
    Limit {
        /// The input.
        path: String,
        /// The limit, by its name.
        reason: String,
    },
    /// It holds nothing but blank lines.
    #[error("{path}: no event in it: all of its lines are blank")]
    Blank {
        /// The input.
        path: String,
    },
    /// Not one line of it is an event.
    #[error("{path}:{line}: not a Spark event log: {reason}")]
    NotAnEventLog {
        /// The part.
        path: String,
        /// The first line that is no event.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Its compressed data are damaged before the first event.
    #[error("{path}: {error}")]
    Framing {
        /// The part.
        path: String,
        /// What is wrong, with the position.
        error: FramingError,
    },
}

/// Lines of a block as events.
#[derive(Debug, Default)]
struct Parsed {
    /// Line within the block (from 1) and what it says.
    lines: Vec<(u64, Result<Event, EventError>)>,
    /// Lines in the block, blank ones too.
    count: u64,
    bytes: u64,
    too_long: u64,
    /// The last line has no line feed: it may be cut.
    unterminated: bool,
}

/// What a part said of itself when it ended.
#[derive(Debug)]
struct PartEnd {
    codec: &'static str,
    losses: Vec<Loss>,
    error: Option<io::Error>,
}

/// Reads a run.
///
/// # Errors
///
/// When nothing of the input could be read as events: it is empty, not an event log, or damaged before the first event.
/// Damage after that is an import issue of the run.
pub fn read_run(input: &RunInput, options: &ReadOptions<'_>) -> Result<Run, SourceError> {
    let mut reading = Reading::new(input, &options.limits);
    if options.threads > 1 && input.parts.len() == 1 {
        shared::read_one_part(input, options, &mut reading);
    } else if options.threads > 1 {
        parallel::read_parallel(input, options, &mut reading);
    } else {
        for part in 0..input.parts.len() {
            let end = read_part(input, part, options, &mut |block| {
                reading.block(part, parse_block(&block, options.limits.max_line_bytes));
                (true, block.bytes)
            });
            match end {
                Ok(end) => reading.end(part, end),
                Err(error) => reading.unreadable(part, error),
            }
        }
    }
    let mut run = reading.finish()?;
    if !options.traces.is_empty() {
        read_traces(options.traces, &mut run, options.trace_options)?;
    }
    Ok(run)
}

/// Reads one part and hands its blocks to `give`, which says whether to go on and returns a buffer to use again.
fn read_part(
    input: &RunInput,
    part: usize,
    options: &ReadOptions<'_>,
    give: &mut dyn FnMut(Block) -> (bool, Vec<u8>),
) -> io::Result<PartEnd> {
    let mut reader = PartReader::open(input, part, options)?;
    let mut buffer = Vec::new();
    while let Some(block) = reader.next(std::mem::take(&mut buffer)) {
        let (go_on, returned) = give(block);
        if !go_on {
            break;
        }
        buffer = returned;
    }
    Ok(reader.end())
}

/// The blocks of one part.
struct PartReader<'a> {
    blocks: Blocks<Decoder>,
    codec: &'static str,
    progress: Option<&'a (dyn Fn(u64) + Sync)>,
    /// Stored bytes that the progress was told of.
    told: u64,
    failure: Option<io::Error>,
}

impl<'a> PartReader<'a> {
    fn open(input: &RunInput, part: usize, options: &ReadOptions<'a>) -> io::Result<Self> {
        let Some(part) = input.parts.get(part) else { return Err(io::Error::other("no such part")) };
        let decoder: Decoder = framing::open(part.open()?, &options.limits.framing)?;
        let codec = decoder.codec().name();
        let blocks = Blocks::new(decoder, options.limits.max_line_bytes);
        Ok(Self { blocks, codec, progress: options.progress, told: 0, failure: None })
    }

    /// The next block, in `buffer`; `None` after the last.
    fn next(&mut self, buffer: Vec<u8>) -> Option<Block> {
        let (block, error) = self.blocks.next(buffer)?;
        if let Some(progress) = self.progress {
            let now = self.blocks.reader().compressed_offset();
            progress(now.saturating_sub(self.told));
            self.told = now;
        }
        self.failure = error;
        Some(block)
    }

    fn end(self) -> PartEnd {
        PartEnd { codec: self.codec, losses: self.blocks.reader().losses().to_vec(), error: self.failure }
    }
}

fn parse_block(block: &Block, max_line: usize) -> Parsed {
    let text = block.text();
    let mut parsed = Parsed { bytes: text.len() as u64, too_long: block.too_long, ..Parsed::default() };
    let mut start = 0;
    let mut take = |end: usize, number: u64, parsed: &mut Parsed| {
        let line = text.get(start..end).unwrap_or_default();
        start = end + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // A byte-order mark before the first event is no part of it.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        if line.first() == Some(&b'{') || !line.iter().all(u8::is_ascii_whitespace) {
            let event =
                if line.len() > max_line { Err(EventError::TooLong { limit: max_line }) } else { parse_line(line) };
            parsed.lines.push((number, event));
        }
    };
    for end in memchr_iter(b'\n', text) {
        parsed.count += 1;
        let number = parsed.count;
        take(end, number, &mut parsed);
    }
    if text.last().is_some_and(|&byte| byte != b'\n') {
        parsed.count += 1;
        parsed.unterminated = true;
        let number = parsed.count;
        take(text.len(), number, &mut parsed);
    }
    parsed
}

/// The state of reading one run: the builder and the account of events.
struct Reading<'a> {
    input: &'a RunInput,
    builder: Builder,
    source: Source,
    max_line_bytes: usize,
    part: usize,
    lines: u64,
    /// The last line seen, when it had no line feed and was no event: cut, if nothing comes after it.
    suspect: Option<(usize, u64, EventError)>,
    first_lost: Option<(usize, u64, EventError)>,
    first_framing: Option<(usize, FramingError)>,
    first_io: Option<(usize, io::Error)>,
}

impl<'a> Reading<'a> {
    fn new(input: &'a RunInput, limits: &Limits) -> Self {
        let source = Source {
            kind: "event-log".to_owned(),
            path: input.path.clone(),
            parts: input.parts.len() as u64,
            bytes: input.framed_bytes(),
            truncated: input.issues.iter().any(|issue| matches!(issue.kind, InputIssueKind::Unreadable { .. })),
            ..Source::default()
        };
        let mut builder = Builder::new(limits);
        for issue in &input.issues {
            if let InputIssueKind::MissingParts { first, last } = issue.kind {
                let count = last.saturating_sub(first).saturating_add(1);
                let (at, detail) = (|| Some(issue.path.clone()), || issue.kind.to_string());
                builder.run.issues.add_many(IssueCode::MissingPart, count, at, detail);
            }
            if let InputIssueKind::Unreadable { reason } = &issue.kind {
                builder.run.issues.add(IssueCode::UnreadablePart, || Some(issue.path.clone()), || reason.clone());
            }
        }
        Self {
            input,
            builder,
            source,
            max_line_bytes: limits.max_line_bytes,
            part: 0,
            lines: 0,
            suspect: None,
            first_lost: None,
            first_framing: None,
            first_io: None,
        }
    }

    fn name(&self, part: usize) -> &'a str {
        self.input.parts.get(part).map_or(self.input.path.as_str(), |part| part.name())
    }

    fn block(&mut self, part: usize, parsed: Parsed) {
        if part != self.part {
            self.part = part;
            self.lines = 0;
        }
        self.source.bytes_decompressed = self.source.bytes_decompressed.saturating_add(parsed.bytes);
        let path = self.name(part);
        if parsed.too_long > 0 {
            self.source.events_lost += parsed.too_long;
            let line = self.lines + 1;
            let issues = &mut self.builder.run.issues;
            let detail = || EventError::TooLong { limit: self.max_line_bytes }.to_string();
            issues.add_many(IssueCode::LineTooLong, parsed.too_long, || Some(format!("{path}:{line}")), detail);
            self.lines += parsed.too_long;
        }
        let last_line = parsed.count;
        for (number, event) in parsed.lines {
            if let Some((part, line, error)) = self.suspect.take() {
                self.lose(part, line, error);
            }
            let line = self.lines + number;
            match event {
                Ok(event) => {
                    if matches!(event, Event::Unknown(_)) {
                        self.source.events_unknown += 1;
                    } else {
                        self.source.events_read += 1;
                    }
                    self.builder.apply(event, Position { path, line });
                }
                Err(error) if parsed.unterminated && number == last_line => self.suspect = Some((part, line, error)),
                Err(error) => self.lose(part, line, error),
            }
        }
        self.lines += parsed.count;
    }

    fn lose(&mut self, part: usize, line: u64, error: EventError) {
        self.source.events_lost += 1;
        let code = match error {
            EventError::TooLong { .. } => IssueCode::LineTooLong,
            EventError::Malformed(_) => IssueCode::MalformedLine,
            EventError::Incomplete { .. } => IssueCode::MalformedEvent,
        };
        let path = self.name(part);
        self.builder.run.issues.add(code, || Some(format!("{path}:{line}")), || error.to_string());
        self.first_lost.get_or_insert((part, line, error));
    }

    fn end(&mut self, part: usize, end: PartEnd) {
        let path = self.name(part);
        if !self.source.codecs.iter().any(|codec| codec == end.codec) {
            self.source.codecs.push(end.codec.to_owned());
        }
        for loss in end.losses {
            let code = match loss.kind {
                FramingErrorKind::Truncated => IssueCode::TruncatedStream,
                FramingErrorKind::Limit { .. } => IssueCode::LimitReached,
                FramingErrorKind::Corrupt(_) | FramingErrorKind::Unsupported(_) => IssueCode::CorruptStream,
            };
            self.source.truncated |= code == IssueCode::TruncatedStream;
            let at = || Some(format!("{path}: byte {}", loss.compressed.start));
            self.builder.run.issues.add(code, at, || format!("the stream {}", loss.kind));
        }
        let Some(error) = end.error else { return };
        if let Some(framing) = FramingError::from_io(&error) {
            if let FramingErrorKind::Limit { .. } = framing.kind {
                let at = || Some(format!("{path}: byte {}", framing.compressed_offset));
                self.builder.run.issues.add(IssueCode::LimitReached, at, || framing.kind.to_string());
            }
            self.first_framing.get_or_insert((part, framing.clone()));
        } else {
            self.unreadable(part, error);
        }
    }

    fn unreadable(&mut self, part: usize, error: io::Error) {
        let path = self.name(part);
        if let Some(framing) = FramingError::from_io(&error) {
            self.first_framing.get_or_insert((part, framing.clone()));
        }
        let issues = &mut self.builder.run.issues;
        issues.add(IssueCode::UnreadablePart, || Some(path.to_owned()), || error.to_string());
        self.source.truncated = true;
        self.first_io.get_or_insert((part, error));
    }

    fn finish(mut self) -> Result<Run, SourceError> {
        if let Some((part, line, error)) = self.suspect.take() {
            if matches!(error, EventError::Malformed(_)) && self.source.events_read > 0 {
                let path = self.name(part);
                self.source.events_lost += 1;
                self.source.truncated = true;
                let issues = &mut self.builder.run.issues;
                issues.add(IssueCode::CutLine, || Some(format!("{path}:{line}")), || error.to_string());
            } else {
                self.lose(part, line, error);
            }
        }
        if self.source.events_read + self.source.events_unknown == 0 {
            return Err(self.no_events());
        }
        if self.input.parts.iter().any(|part| part.name().contains(".compact")) && self.input.kind == InputKind::Rolling
        {
            self.builder.run.issues.add(IssueCode::CompactedLog, || None, String::new);
        }
        if self.input.in_progress && self.builder.run.application.ended_at.is_none() {
            self.source.truncated = true;
        }
        let mut run = self.builder.finish();
        run.sources.push(self.source);
        Ok(run)
    }

    fn no_events(&mut self) -> SourceError {
        if let Some((part, source)) = self.first_io.take() {
            let path = self.name(part).to_owned();
            return match FramingError::from_io(&source).cloned() {
                Some(error) => SourceError::Framing { path, error },
                None => SourceError::Io { path, source },
            };
        }
        if let Some((part, error)) = self.first_framing.take() {
            return SourceError::Framing { path: self.name(part).to_owned(), error };
        }
        match self.first_lost.take() {
            Some((part, line, error)) => {
                SourceError::NotAnEventLog { path: self.name(part).to_owned(), line, reason: error.to_string() }
            }
            None if self.source.events_lost > 0 => SourceError::Limit {
                path: self.input.path.clone(),
                reason: format!("its lines are longer than max_line_bytes = {}", self.max_line_bytes),
            },
            None if self.source.bytes_decompressed > 0 => SourceError::Blank { path: self.input.path.clone() },
            None => SourceError::Empty { path: self.input.path.clone() },
        }
    }
}
