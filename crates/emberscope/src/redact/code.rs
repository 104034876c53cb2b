//! What a run names of the user's program: call sites, frames, classes of exceptions and their messages, functions of a plan.

use emberscope_rules::RootCause;
use emberscope_run::{JobResult, PlanNode, Run};

use super::Kind;
use super::secrets::Secrets;

/// Classes that begin so are nobody's secret: the platform and what Spark stands on. Of `org.apache.` all are.
const PUBLIC_CLASSES: [&str; 16] = [
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "com.sun.",
    "scala.",
    "kotlin.",
    "org.apache.",
    "py4j.",
    "pyspark.",
    "io.netty.",
    "com.databricks.",
    "com.google.common.",
    "com.fasterxml.",
    "io.delta.",
    "org.codehaus.",
];
/// Python's own exceptions that do not end in `Error` or `Warning`.
const PYTHON_EXCEPTIONS: [&str; 7] = [
    "BaseException",
    "Exception",
    "GeneratorExit",
    "KeyboardInterrupt",
    "StopAsyncIteration",
    "StopIteration",
    "SystemExit",
];
/// Python's own errors.
const PYTHON_ERRORS: [&str; 35] = [
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "EOFError",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "IOError",
    "ImportError",
    "IndexError",
    "KeyError",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PermissionError",
    "RecursionError",
    "RuntimeError",
    "SyntaxError",
    "TimeoutError",
    "TypeError",
    "UnicodeDecodeError",
    "ValueError",
    "ZeroDivisionError",
];
/// Messages that say what went wrong and nothing of the data.
const PUBLIC_MESSAGES: [&str; 7] = [
    "/ by zero",
    "Direct buffer memory",
    "GC overhead limit exceeded",
    "Java heap space",
    "Metaspace",
    "null",
    "unable to create new native thread",
];
/// Files of call sites that are Spark's, Java's or nobody's.
const PUBLIC_FILES: [&str; 8] = [
    "<console>",
    "<stdin>",
    "<unknown>",
    "Executors.java",
    "FutureTask.java",
    "NativeMethodAccessorImpl.java",
    "Thread.java",
    "ThreadPoolExecutor.java",
];
/// Shorter messages are words that stand in other texts too.
const SHORTEST_MESSAGE: usize = 4;

impl Secrets {
    /// Everything that the run names of the user's program.
    pub(super) fn program(&mut self, run: &Run) {
        for failure in &run.failures {
            self.root_cause(&RootCause::of_failure(failure));
            self.exceptions(failure.stack_trace.as_deref().unwrap_or_default());
            self.exceptions(&failure.message);
            if is_exception(&failure.class) {
                self.exception(&failure.class, &failure.message);
            }
        }
        for job in run.jobs.values() {
            if let Some(JobResult::Failed(text)) = &job.result {
                self.failure_text(text);
            }
            self.call_site(job.description.as_deref().unwrap_or_default(), "");
        }
        for stage in run.stages.values() {
            self.call_site(&stage.name, &stage.details);
            self.failure_text(stage.failure_reason.as_deref().unwrap_or_default());
        }
        for sql in run.sql_executions.values() {
            self.call_site(&sql.description, &sql.details);
        }
        for sql in run.sql_executions.values() {
            self.failure_text(sql.error_message.as_deref().unwrap_or_default());
        }
        for operation in run.connect_operations.values() {
            self.failure_text(operation.error.as_deref().unwrap_or_default());
        }
        for query in run.streaming_queries.values() {
            self.failure_text(query.exception.as_deref().unwrap_or_default());
        }
    }

    fn failure_text(&mut self, text: &str) {
        if let Some(cause) = RootCause::of_text(text) {
            self.root_cause(&cause);
        }
        self.exceptions(text);
    }

    /// What rules quote of a failure.
    fn root_cause(&mut self, cause: &RootCause) {
        // Where Spark has a word for a loss and not a class, the message is Spark's too.
        if is_exception(&cause.class) {
            self.exception(&cause.class, &cause.message);
        }
        if let Some(frame) = cause.frame.as_ref().filter(|frame| frame.user) {
            self.user_frame(&frame.text);
        }
    }

    /// The class of an exception when it is the user's, and its message.
    fn exception(&mut self, class: &str, message: &str) {
        if !is_public_class(class) {
            self.add(Kind::Code, class);
            self.add(Kind::Code, class.rsplit(['.', '$']).next().unwrap_or_default());
        }
        let message = message.trim();
        for text in [message, message.trim_end_matches(['.', ' '])] {
            if text.len() >= SHORTEST_MESSAGE && !PUBLIC_MESSAGES.contains(&text) {
                self.add(Kind::Message, text);
            }
        }
    }

    /// Every exception and user frame in a text that Spark logged.
    fn exceptions(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(frame) = java_frame(line) {
                if !is_public_class(frame) {
                    self.user_frame(frame);
                }
                continue;
            }
            if let Some((file, function)) = python_frame(line) {
                if !file.contains("/pyspark/") && !file.contains("/py4j/") && !function.starts_with('<') {
                    self.add(Kind::Code, function);
                }
                continue;
            }
            let mut rest = line;
            while let Some((before, message)) = rest.split_once(": ") {
                let class = before.rsplit(char::is_whitespace).next().unwrap_or_default();
                if is_exception(class) {
                    self.exception(class, message);
                }
                rest = message;
            }
        }
    }

    /// `com.acme.Main$.parse(Main.scala:42)`, `/app/job.py:12 in parse`.
    fn user_frame(&mut self, text: &str) {
        let text = text.trim();
        if let Some((_, function)) = text.rsplit_once(" in ") {
            if !function.starts_with('<') {
                self.add(Kind::Code, function);
            }
        } else if let Some((method, place)) = text.split_once('(') {
            self.add(Kind::Code, method);
            let file = place.trim_end_matches(')').split(':').next().unwrap_or_default();
            self.file(file, "");
        } else {
            self.call_site(text, "");
        }
    }

    /// The file of `save at Orders.scala:88`, unless `details`, the stack of the call, say that it is Spark's own.
    fn call_site(&mut self, text: &str, details: &str) {
        for (at, _) in text.match_indices(" at ") {
            let place = text.get(at + 4..).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
            if let Some((file, line)) = place.rsplit_once(':')
                && line.starts_with(|c: char| c.is_ascii_digit())
            {
                self.file(file, details);
            }
        }
    }

    fn file(&mut self, file: &str, details: &str) {
        let of_spark = |line: &str| {
            let place = line.split_once('(').map(|(_, place)| place);
            is_public_class(line.trim()) && place.is_some_and(|place| place.starts_with(file))
        };
        // A path is one by its form.
        let public = file.contains('/') || PUBLIC_FILES.contains(&file) || details.lines().any(of_spark);
        if !public && file.contains('.') {
            self.add(Kind::Code, file);
        }
    }

    /// The functions of a node that runs the user's: `BatchEvalPython [parse(amount#3)#12]`, `UDF:parse(amount#3)`.
    pub(super) fn functions(&mut self, node: &PlanNode) {
        let description = &node.description;
        let python = ["Python", "InPandas", "InArrow"].iter().any(|word| node.name.contains(word));
        if python {
            let mut depth = 0_usize;
            let mut start = 0;
            for (at, c) in description.char_indices() {
                match c {
                    '(' => {
                        let name = description.get(start..at).unwrap_or_default();
                        if depth == 0 && name != node.name {
                            self.function(name);
                        }
                        depth += 1;
                    }
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if !(c.is_alphanumeric() || matches!(c, '_' | '.' | '<' | '>')) {
                    start = at + c.len_utf8();
                }
            }
        }
        for mark in ["UDF:", "UDAF:", "Aggregator:", "HiveSimpleUDF#", "HiveGenericUDF#", "HiveUDAFFunction#"] {
            for (at, _) in description.match_indices(mark) {
                let name = description.get(at + mark.len()..).unwrap_or_default();
                let end = name.find(|c: char| !(c.is_alphanumeric() || "_.$".contains(c))).unwrap_or(name.len());
                self.function(name.get(..end).unwrap_or_default());
            }
        }
    }

    fn function(&mut self, name: &str) {
        if !name.is_empty() && !name.starts_with('<') && !is_public_class(name) {
            self.add(Kind::Function, name);
        }
    }
}

/// A class by its name: `java.lang.RuntimeException`, `ValueError`, `acme.errors.BadInvoice`.
fn is_exception(word: &str) -> bool {
    let simple = word.rsplit(['.', '$']).next().unwrap_or_default();
    let named = word.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '$'));
    let raised =
        ["Error", "Exception", "Throwable", "Failure", "Interrupt", "Exit"].iter().any(|end| simple.ends_with(end));
    named
        && !word.is_empty()
        && simple.starts_with(char::is_uppercase)
        && (raised || word.contains('.'))
        && !matches!(word, "ExceptionFailure" | "ExecutorLostFailure")
}

fn is_public_class(class: &str) -> bool {
    PUBLIC_CLASSES.iter().any(|public| class.starts_with(public))
        || PYTHON_EXCEPTIONS.contains(&class)
        || PYTHON_ERRORS.contains(&class)
}

/// `\tat com.acme.Main$.parse(Main.scala:42)` without `at`.
fn java_frame(line: &str) -> Option<&str> {
    let frame = line.trim_start().strip_prefix("at ")?;
    let frame = frame.split_once('/').map_or(frame, |(module, rest)| if module.contains('(') { frame } else { rest });
    (frame.contains('(') && !frame.split('(').next().unwrap_or_default().contains(' ')).then_some(frame)
}

/// `File "/app/job.py", line 12, in parse` as file and function.
fn python_frame(line: &str) -> Option<(&str, &str)> {
    let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once('"')?;
    Some((file, rest.rsplit_once(", in ")?.1.trim()))
}
