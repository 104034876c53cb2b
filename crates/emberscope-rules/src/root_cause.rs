//! The root cause of a failure in one sentence, with the first frame of user code.
//!
//! Spark wraps what went wrong: a job's message holds a stage's, which holds a task's, which holds a chain of
//! exceptions, which may hold a Python traceback. This reads the text line by line, once, and keeps of every exception
//! its first line and two frames, so that the work is linear in the text however it was made.

mod frames;
#[cfg(test)]
mod tests;
mod wrappers;

use emberscope_run::{Failure, TaskEndKind};

use frames::{java_frame, python_frame};
use wrappers::{Header, header};

use crate::finding::Evidence;

/// Longest message that is kept, in bytes.
const MAX_MESSAGE: usize = 300;
/// Longest line that is looked at, in bytes: what follows in it is not read.
const MAX_LINE: usize = 8 * 1024;
/// Exceptions of a chain that are kept: what lies deeper is not read.
const MAX_CAUSES: usize = 64;

/// A frame of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// As people read it: `com.acme.Main$.parse(Main.scala:42)`, `/app/job.py:12 in parse`.
    pub text: String,
    /// Whether it is user code: none of Java's, Scala's, Spark's, Hadoop's, Python's own or of a well-known library.
    pub user: bool,
}

/// What a failure comes down to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RootCause {
    /// The class of the exception in full, or Spark's word for a loss (`ExecutorLostFailure`); empty when there is none.
    pub class: String,
    /// Spark's error condition (`DIVIDE_BY_ZERO`), where the message has one.
    pub condition: Option<String>,
    /// The first line of its message, without wrappers, cut at a limit; empty when there is none.
    pub message: String,
    /// The first frame of user code, else the first frame at all; `None` when there is no stack.
    pub frame: Option<Frame>,
}

impl RootCause {
    /// The class as evidence; `None` when there is none, as of what was cancelled.
    pub(crate) fn evidence(&self) -> Option<Evidence> {
        (!self.class.is_empty()).then(|| Evidence::text("root_cause_class", self.class.clone()))
    }

    /// The root cause of failed tasks.
    pub fn of_failure(failure: &Failure) -> Self {
        let text = failure.stack_trace.as_deref().unwrap_or_default();
        let mut cause = Self::of_text(text).unwrap_or_default();
        if cause.class.is_empty() && cause.message.is_empty() {
            let from_message = Self::of_text(&failure.message).unwrap_or_default();
            let frame = cause.frame.take();
            cause = from_message;
            cause.frame = cause.frame.or(frame);
        }
        let lost = failure.kind == TaskEndKind::ExecutorLostFailure;
        if lost || cause.class.is_empty() {
            let named = !lost && wrappers::is_class(&failure.class);
            if cause.message.is_empty() {
                cause.message = cut(if named { "" } else { &failure.class });
            }
            if lost || !named {
                failure.kind.name().clone_into(&mut cause.class);
            } else {
                cause.class.clone_from(&failure.class);
            }
        }
        cause
    }

    /// The root cause in a message of Spark, with or without stack traces; `None` for a text with no line in it.
    pub fn of_text(text: &str) -> Option<Self> {
        Reader::read(text).root()
    }

    /// The cause in one sentence without a full stop: `ArithmeticException: / by zero, at Main$.parse(Main.scala:42)`.
    pub fn sentence(&self) -> String {
        let mut sentence = self.short_class().to_owned();
        if let Some(condition) = self.condition.as_deref() {
            if !sentence.is_empty() {
                sentence.push(' ');
            }
            sentence.push('[');
            sentence.push_str(condition);
            sentence.push(']');
        }
        if !self.message.is_empty() {
            if !sentence.is_empty() {
                sentence.push_str(": ");
            }
            sentence.push_str(self.message.trim_end_matches(['.', ' ']));
        }
        if let Some(frame) = &self.frame {
            sentence.push_str(", at ");
            sentence.push_str(&frame.text);
        }
        sentence
    }

    /// The class without its package.
    pub fn short_class(&self) -> &str {
        self.class.rsplit('.').next().unwrap_or_default()
    }

    /// Equal for failures of one cause: class, condition and frame; without a frame also the message with its numbers
    /// left out, as these differ from task to task.
    pub fn key(&self) -> String {
        let place = self.frame.as_ref().map_or_else(
            || {
                let mut text = String::new();
                for c in self.message.chars().take(120) {
                    let c = if c.is_ascii_digit() { '#' } else { c };
                    if !(c == '#' && text.ends_with('#')) {
                        text.push(c);
                    }
                }
                text
            },
            |frame| frame.text.clone(),
        );
        format!("{}|{}|{place}", self.class, self.condition.as_deref().unwrap_or_default())
    }

    /// Whether the class is `name` or ends in `.name`.
    pub fn is(&self, name: &str) -> bool {
        self.short_class() == name
    }
}

/// One exception of a chain.
#[derive(Debug, Default)]
struct Block {
    header: Header,
    first: Option<String>,
    user: Option<String>,
}

/// What the lines so far said.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is what the line before promised of the next")]
struct Reader {
    blocks: Vec<Block>,
    /// Inside a Python traceback; the block that it explains is the last one.
    python: Option<Traceback>,
    /// The next line that is no frame continues a message that was empty so far.
    wants_message: bool,
    /// Frames belong to the driver's wait for the job, not to the cause.
    skip_frames: bool,
    /// The line before said that the next one is the place in user code that made the expression.
    place_follows: bool,
    /// A later exception of the same Python traceback is a consequence of the first.
    python_done: bool,
}

#[derive(Debug, Default)]
struct Traceback {
    last: Option<String>,
    last_user: Option<String>,
}

impl Reader {
    fn read(text: &str) -> Self {
        let mut reader = Self::default();
        for line in text.split('\n') {
            reader.line(limit(line, MAX_LINE).trim_end());
            if reader.blocks.len() >= MAX_CAUSES {
                break;
            }
        }
        reader
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        if self.place_follows {
            self.place_follows = false;
            let place = line.trim();
            if let Some(block) = self.blocks.last_mut().filter(|_| !place.is_empty()) {
                block.user.get_or_insert_with(|| cut(place));
            }
            return;
        }
        if line.ends_with("was called from") {
            self.place_follows = true;
            return;
        }
        if let Some(frame) = java_frame(line) {
            self.python = None;
            if let Some(block) = self.blocks.last_mut().filter(|_| !self.skip_frames) {
                let place = if frame.user { &mut block.user } else { &mut block.first };
                place.get_or_insert_with(|| cut(&frame.text));
            } else if !self.skip_frames {
                // A stack without a first line: the class is in another field.
                let mut block = Block::default();
                if frame.user {
                    block.user = Some(cut(&frame.text));
                } else {
                    block.first = Some(cut(&frame.text));
                }
                self.blocks.push(block);
            }
            self.wants_message = false;
            return;
        }
        if self.python.is_some() {
            self.python_line(line);
            return;
        }
        if let Some(rest) = line.strip_prefix("Caused by: ") {
            self.skip_frames = false;
            self.open(rest);
        } else if line.starts_with("Driver stacktrace:") {
            self.skip_frames = true;
        } else if let Some(rest) = line.strip_prefix(": ").filter(|_| !self.blocks.is_empty()) {
            // Py4J puts the Java exception on a line of its own.
            self.open(rest);
        } else if self.blocks.is_empty() {
            self.open(line);
        } else if line.starts_with("Traceback (most recent call last)") {
            self.start_python();
        } else if self.wants_message && !line.starts_with([' ', '\t']) {
            self.wants_message = false;
            let inner = header(line);
            if let Some(block) = self.blocks.last_mut() {
                block.header = inner;
            }
            self.after_header();
        }
    }

    fn open(&mut self, text: &str) {
        self.python = None;
        self.blocks.push(Block { header: header(text), ..Block::default() });
        self.after_header();
    }

    fn after_header(&mut self) {
        let Some(block) = self.blocks.last_mut() else { return };
        if block.header.message.trim_end().ends_with("Traceback (most recent call last):") {
            self.start_python();
        } else {
            self.wants_message = block.header.message.is_empty() && block.header.class.is_empty();
        }
    }

    fn start_python(&mut self) {
        self.python = Some(Traceback::default());
        self.python_done = false;
    }

    /// A line of a traceback: frames are indented, the exception is not.
    fn python_line(&mut self, line: &str) {
        let Some(traceback) = &mut self.python else { return };
        if let Some(frame) = python_frame(line) {
            let text = cut(&frame.text);
            if frame.user {
                traceback.last_user = Some(text.clone());
            }
            traceback.last = Some(text);
            return;
        }
        if line.starts_with([' ', '\t']) {
            return;
        }
        if line.starts_with("Traceback (most recent call last)") {
            *traceback = Traceback::default();
            return;
        }
        if line.starts_with("During handling of the above") || line.starts_with("The above exception was the direct") {
            // What follows wraps the exception that was read.
            return;
        }
        let inner = header(line);
        if self.python_done || inner.class.is_empty() {
            if line.starts_with("Caused by: ") || line.starts_with("Driver stacktrace:") {
                self.python = None;
                self.line(line);
            }
            return;
        }
        self.python_done = true;
        let (user, first) = (traceback.last_user.take(), traceback.last.take());
        let block = Block { header: inner, first: first.filter(|_| user.is_none()), user };
        self.blocks.push(block);
    }

    /// The deepest exception that says more than its wrapper, with the nearest frame of user code.
    fn root(self) -> Option<RootCause> {
        let stop = self.blocks.iter().position(|block| block.header.is_final());
        let deepest = stop.unwrap_or(self.blocks.len().checked_sub(1)?);
        let chain = self.blocks.get(..=deepest)?;
        let block = chain.last()?;
        let user = chain.iter().rev().find_map(|block| block.user.clone()).map(|text| Frame { text, user: true });
        let frame = user.or_else(|| block.first.clone().map(|text| Frame { text, user: false }));
        let header = block.header.unwrapped();
        Some(RootCause {
            condition: header.condition.clone(),
            message: cut(&header.message),
            class: cut(&header.class),
            frame,
        })
    }
}

/// At most `max` bytes of a text, cut between characters.
fn limit(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A text of one line at the limit of messages, without control characters.
fn cut(text: &str) -> String {
    let text = text.trim();
    let short = limit(text, MAX_MESSAGE);
    let mut out: String = short.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() {
        out.push('…');
    }
    out
}
