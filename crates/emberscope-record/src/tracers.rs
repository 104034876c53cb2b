//! The tracers of a plan, from their start to traces in their places.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;

use crate::manifest::{Trace, Tracer};
use crate::perf_data;
use crate::plan::{Kernel, PerfRecorder, Plan, Session};
use crate::run::RecordError;
use crate::tools::{Tools, bytes, end, entries, send, wait_for};

/// What tools may take to come up, to write a snapshot or to end. A machine may be busy: that is what is looked for.
const PATIENCE: Duration = Duration::from_mins(1);
const CONTROL: &str = ".perf.control";
const ANSWER: &str = ".perf.answer";

/// The tracers of a recording.
#[derive(Debug)]
pub(crate) struct Tracers<'a> {
    plan: &'a Plan,
    daemon: Option<Child>,
    /// Sessions that were made.
    sessions: Vec<&'a Session>,
    perf: Option<Perf<'a>>,
    stopped: bool,
    /// When tracing was stopped before the job ended, in milliseconds since 1970.
    pub(crate) stopped_early_at_ms: Option<i64>,
    /// What went wrong.
    pub(crate) issues: Vec<String>,
}

#[derive(Debug)]
struct Perf<'a> {
    recorder: &'a PerfRecorder,
    child: Child,
    /// Where the log was when it started.
    log: u64,
    ended: bool,
}

impl<'a> Tracers<'a> {
    /// Starts all tracers, and is sure that they trace. What was started is ended again when one does not start.
    pub(crate) fn start(plan: &'a Plan, tools: &mut Tools) -> Result<Self, RecordError> {
        let mut tracers = Self {
            plan,
            daemon: None,
            sessions: Vec::new(),
            perf: None,
            stopped: false,
            stopped_early_at_ms: None,
            issues: Vec::new(),
        };
        match tracers.start_all(tools) {
            Ok(()) => Ok(tracers),
            Err(error) => {
                tracers.abandon(tools);
                Err(error)
            }
        }
    }

    fn start_all(&mut self, tools: &mut Tools) -> Result<(), RecordError> {
        if let Some(command) = &self.plan.daemon {
            let log = tools.length();
            let daemon = self.daemon.insert(tools.start(command, None)?);
            let ask = crate::Command::new(["lttng", "--no-sessiond", "list"]);
            let answers = wait_for(PATIENCE, || match daemon.try_wait() {
                Ok(None) => tools.run(&ask).is_ok().then_some(true),
                _ => Some(false),
            });
            if answers != Some(true) {
                return Err(RecordError::failed(command, &tools.since(log)));
            }
        }
        for session in self.plan.sessions() {
            for (at, command) in session.setup.iter().enumerate() {
                tools.run(command)?;
                if at == 0 {
                    self.sessions.push(session);
                }
            }
        }
        if let Some(Kernel::Perf(recorder)) = &self.plan.kernel {
            self.perf = Some(Perf::start(recorder, &self.plan.out, tools)?);
        }
        Ok(())
    }

    /// Ends all without keeping anything.
    pub(crate) fn abandon(&mut self, tools: &mut Tools) {
        if let Some(perf) = &mut self.perf {
            let _ = perf.child.kill();
            let _ = perf.child.wait();
        }
        for session in self.sessions.drain(..) {
            let _ = tools.run(&session.destroy());
        }
        self.stop_daemon(tools);
        for name in [".perf.data", ".user.partial", ".kernel.partial", CONTROL, ANSWER] {
            remove(&self.plan.out.join(name));
        }
    }

    /// Bytes that were written until now.
    pub(crate) fn bytes(&self) -> u64 {
        let perf = self.perf.as_ref().map_or(0, |perf| bytes(&perf.recorder.data));
        self.sessions.iter().map(|session| bytes(&session.work)).sum::<u64>() + perf
    }

    /// Whether perf has ended by itself; it is told once.
    pub(crate) fn perf_is_gone(&mut self) -> bool {
        let Some(perf) = self.perf.as_mut().filter(|perf| !perf.ended) else { return false };
        perf.ended = !matches!(perf.child.try_wait(), Ok(None));
        perf.ended
    }

    /// Whether perf ended because its file had the size that it may have.
    pub(crate) fn perf_was_full(&self, tools: &Tools) -> bool {
        self.perf.as_ref().is_some_and(|perf| tools.since(perf.log).contains("size limit reached"))
    }

    /// Writes what LTTng's ring buffers hold now.
    pub(crate) fn snapshot_sessions(&mut self, tools: &mut Tools) {
        for session in &self.sessions {
            if let Err(error) = tools.run(&session.snapshot()) {
                self.issues.push(error.to_string());
            }
        }
    }

    /// Writes what all ring buffers hold now.
    pub(crate) fn snapshot(&mut self, tools: &mut Tools) {
        self.snapshot_sessions(tools);
        if let Some(perf) = self.perf.as_ref().filter(|perf| !perf.ended) {
            let dumps = |tools: &Tools| tools.since(perf.log).matches("perf record: Dump ").count();
            let before = dumps(tools);
            send(&perf.child, Signal::USR2);
            if wait_for(PATIENCE, || (dumps(tools) > before).then_some(())).is_none() {
                self.issues.push("perf did not write its ring buffer when asked to".to_owned());
            }
        }
    }

    /// Stops tracing; nothing is written after this. With a ring buffer, perf's is written once more, or thrown away.
    pub(crate) fn stop(&mut self, keep_ring: bool, tools: &mut Tools) {
        for session in self.sessions.iter().filter(|_| !self.stopped) {
            if let Err(error) = tools.run(&session.stop()) {
                self.issues.push(error.to_string());
            }
        }
        if let Some(perf) = self.perf.as_mut().filter(|perf| !perf.ended) {
            let signal = if self.plan.ring && !keep_ring { Signal::KILL } else { Signal::INT };
            if end(&mut perf.child, signal, PATIENCE).is_none() {
                self.issues.push("perf did not end".to_owned());
            }
            perf.ended = true;
        }
        self.stopped = true;
    }

    /// Brings the traces to their places and ends what was started. `interrupted` says that nobody wants to wait for
    /// conversions any longer.
    pub(crate) fn finish(&mut self, tools: &mut Tools, mut interrupted: impl FnMut() -> bool) -> Vec<Trace> {
        let mut traces = Vec::new();
        let plan = self.plan;
        for session in std::mem::take(&mut self.sessions) {
            let user = plan.user.as_ref().is_some_and(|user| user.name == session.name);
            self.finish_session(session, if user { Tracer::LttngUst } else { Tracer::LttngKernel }, tools, &mut traces);
        }
        if let Some(perf) = self.perf.take() {
            self.finish_perf(&perf, tools, &mut interrupted, &mut traces);
        }
        self.stop_daemon(tools);
        [CONTROL, ANSWER].iter().for_each(|name| remove(&plan.out.join(name)));
        traces
    }

    fn finish_session(&mut self, session: &Session, kind: Tracer, tools: &mut Tools, traces: &mut Vec<Trace>) {
        let statistics = tools.run(&session.statistics()).unwrap_or_default();
        if let Err(error) = tools.run(&session.destroy()) {
            self.issues.push(error.to_string());
        }
        let written = if self.plan.ring { entries(&session.work) } else { vec![session.work.clone()] };
        let mut place = Places::new(&session.folder);
        for work in written.iter().filter(|work| has_events(work)) {
            let Some(folder) = self.moved(work, &place.next()) else { continue };
            traces.push(Trace {
                kind,
                bytes: bytes(&self.plan.out.join(&folder)),
                folder,
                events: None,
                discarded_events: sum(&statistics, "discarded_events"),
                lost_packets: sum(&statistics, "lost_packets"),
                stopped_early_at_ms: self.stopped_early_at_ms,
            });
        }
        remove(&session.work);
        if place.used == 0 && !self.plan.ring {
            self.issues.push(match kind {
                Tracer::LttngUst => "Spark emitted no tracepoint: did the job start Spark with the settings that were \
                                     added, and is liblttng-ust1 installed (the driver's log has a warning)?"
                    .to_owned(),
                _ => "the kernel's trace is empty".to_owned(),
            });
        }
    }

    fn finish_perf(
        &mut self,
        perf: &Perf<'_>,
        tools: &mut Tools,
        interrupted: &mut dyn FnMut() -> bool,
        traces: &mut Vec<Trace>,
    ) {
        let recorder = perf.recorder;
        let name = recorder.data.file_name().map(|name| format!("{}.", name.to_string_lossy())).unwrap_or_default();
        let is_dump = |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&name));
        let written: Vec<PathBuf> = if self.plan.ring {
            entries(&self.plan.out).into_iter().filter(is_dump).collect()
        } else {
            vec![recorder.data.clone()]
        };
        let mut place = Places::new(&recorder.folder);
        for data in &written {
            let counts = perf_data::count(data);
            let folder = self.convert(recorder, data, &place.next(), tools, interrupted);
            let (Some(folder), Ok(counts)) = (folder, counts.as_ref()) else {
                let kept = data.with_file_name(data.file_name().map_or_else(
                    || "perf.data".to_owned(),
                    |name| name.to_string_lossy().trim_start_matches('.').to_owned(),
                ));
                let _ = std::fs::rename(data, &kept);
                let by_hand = recorder.convert(&kept, &recorder.folder);
                let why = counts.err().map(|error| format!(" ({error})")).unwrap_or_default();
                self.issues.push(format!("perf's file could not be converted{why}; by hand: {by_hand}"));
                continue;
            };
            remove(data);
            traces.push(Trace {
                kind: Tracer::Perf,
                bytes: bytes(&self.plan.out.join(&folder)),
                folder,
                events: Some(counts.events),
                discarded_events: Some(counts.lost),
                lost_packets: None,
                stopped_early_at_ms: self.stopped_early_at_ms,
            });
        }
        // A ring buffer's first file, which nothing was written to.
        remove(&recorder.data);
    }

    fn convert(
        &mut self,
        recorder: &PerfRecorder,
        data: &Path,
        folder: &Path,
        tools: &mut Tools,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Option<PathBuf> {
        let mut child = tools.start(&recorder.convert(data, &recorder.work), None).ok()?;
        // As long as it takes, or until somebody has had enough.
        let done = wait_for(Duration::MAX, || match child.try_wait() {
            Ok(None) if interrupted() => Some(None),
            Ok(None) => None,
            done => Some(done.ok().flatten()),
        });
        if !done.flatten().is_some_and(|status| status.success()) {
            let _ = child.kill();
            let _ = child.wait();
            remove(&recorder.work);
            return None;
        }
        self.moved(&recorder.work, folder)
    }

    /// Moves a trace to its place, and gives that relative to the recording.
    fn moved(&mut self, from: &Path, to: &Path) -> Option<PathBuf> {
        match std::fs::rename(from, to) {
            Ok(()) => to.strip_prefix(&self.plan.out).ok().map(Path::to_path_buf),
            Err(error) => {
                self.issues.push(RecordError::io(to, error).to_string());
                None
            }
        }
    }

    /// Stops the daemon that was started here, unless somebody else has come to use it.
    fn stop_daemon(&mut self, tools: &mut Tools) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let used = tools.run(&crate::Command::new(["lttng", "--no-sessiond", "--mi", "xml", "list"]));
        if used.is_ok_and(|list| list.contains("<session>")) {
            tools.note("somebody else uses the session daemon: it stays");
            return;
        }
        end(&mut daemon, Signal::TERM, PATIENCE);
    }
}

impl<'a> Perf<'a> {
    /// Starts perf, and waits until it says that it records.
    fn start(recorder: &'a PerfRecorder, out: &Path, tools: &mut Tools) -> Result<Self, RecordError> {
        let pipe = |name: &str| -> Result<File, RecordError> {
            let path = out.join(name);
            let made = mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
            made.map_err(|error| RecordError::io(&path, error.into()))?;
            let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
            let open = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
            open.map_err(|error| RecordError::io(&path, error))
        };
        let (mut control, mut answer) = (pipe(CONTROL)?, pipe(ANSWER)?);
        let pipes = format!("--control=fifo:{CONTROL},{ANSWER}");
        let command = recorder.record.clone().with([pipes, "--delay=-1".to_owned()]);
        let log = tools.length();
        // Names of pipes have no comma then, whatever the folder is called.
        let mut child = tools.start(&command, Some(out))?;
        let asked = control.write_all(b"enable\n");
        let mut told = String::new();
        let began = wait_for(PATIENCE, || {
            let mut buffer = [0; 64];
            let read = answer.read(&mut buffer).unwrap_or(0);
            told.push_str(&String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()));
            match child.try_wait() {
                Ok(None) => told.contains("ack").then_some(true),
                _ => Some(false),
            }
        });
        if asked.is_err() || began != Some(true) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(RecordError::failed(&command, &tools.since(log)));
        }
        Ok(Self { recorder, child, log, ended: false })
    }
}

/// Names for traces of one tracer: `user`, then `user-2` and so on.
struct Places<'a> {
    first: &'a Path,
    used: usize,
}

impl<'a> Places<'a> {
    fn new(first: &'a Path) -> Self {
        Self { first, used: 0 }
    }

    fn next(&mut self) -> PathBuf {
        self.used += 1;
        match (self.used, self.first.file_name()) {
            (2.., Some(name)) => self.first.with_file_name(format!("{}-{}", name.to_string_lossy(), self.used)),
            _ => self.first.to_path_buf(),
        }
    }
}

/// Whether there is a stream of events, and not only metadata.
fn has_events(folder: &Path) -> bool {
    entries(folder).iter().any(|path| match path.symlink_metadata() {
        Ok(data) if data.is_dir() => has_events(path),
        Ok(data) => data.len() > 0 && path.file_name().is_some_and(|name| name != "metadata"),
        Err(_) => false,
    })
}

/// The sum of all numbers in elements of that name; None where there is none.
fn sum(xml: &str, element: &str) -> Option<u64> {
    let tag = format!("<{element}>");
    let values = xml.split(&tag).skip(1);
    values.map(|rest| rest.split('<').next()?.parse::<u64>().ok()).reduce(|sum, next| Some(sum? + next?)).flatten()
}

fn remove(path: &Path) {
    // It is not there in most cases.
    let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_all_channels_are_summed_and_unknown_is_none() {
        let xml = "<channel><discarded_events>3</discarded_events><lost_packets>0</lost_packets></channel>\
                   <channel><discarded_events>4</discarded_events></channel>";
        assert_eq!(
            (sum(xml, "discarded_events"), sum(xml, "lost_packets"), sum(xml, "other")),
            (Some(7), Some(0), None)
        );
        assert_eq!(sum("<lost_packets>many</lost_packets>", "lost_packets"), None);
    }

    #[test]
    fn metadata_alone_is_no_trace() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let inner = folder.path().join("ust/uid");
        std::fs::create_dir_all(&inner)?;
        std::fs::write(inner.join("metadata"), "m")?;
        std::fs::write(inner.join("channel_0"), "")?;
        assert!(!has_events(folder.path()));
        std::fs::write(inner.join("channel_0"), "e")?;
        assert!(has_events(folder.path()));
        assert!(!has_events(&folder.path().join("nowhere")));
        Ok(())
    }
}
