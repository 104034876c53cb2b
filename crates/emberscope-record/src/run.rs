//! Running a plan: tracers around the job, and the manifest last.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::clocks::ClockPair;
use crate::command::Command;
use crate::facts::Facts;
use crate::manifest::{Manifest, RecordedLog, SCHEMA_VERSION};
use crate::plan::Plan;
use crate::submit::LogPlace;
use crate::tools::{Tools, entries, send};
use crate::tracers::Tracers;

/// How often the job is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How often the size of the traces is.
const MEASURE: Duration = Duration::from_secs(1);

/// Why a recording was not made.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file or folder.
    #[error("{path}: {error}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A program could not be started.
    #[error("{program} could not be started: {error}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        error: String,
    },
    /// A tool failed.
    #[error("{command}: {said}")]
    Failed {
        /// The command, as a shell takes it.
        command: String,
        /// Its last words.
        said: String,
    },
}

impl RecordError {
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), error }
    }

    pub(crate) fn start(command: &Command, error: &io::Error) -> Self {
        Self::Start { program: command.program().to_owned(), error: error.to_string() }
    }

    pub(crate) fn failed(command: &Command, said: &str) -> Self {
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        Self::Failed { command: command.to_string(), said: last.unwrap_or("failed and said nothing").to_owned() }
    }
}

/// What came of a recording.
#[derive(Debug)]
pub struct Outcome {
    /// What was written as `recording.json`.
    pub manifest: Manifest,
    /// What the job exited with; of a signal, 128 and its number.
    pub code: u8,
    /// The run's event logs that are on this machine.
    pub event_logs: Vec<PathBuf>,
}

/// Runs a plan. `say` gets a line for a person now and then; the job has standard input, output and errors for itself.
///
/// # Errors
///
/// When the folder, a tracer or the job cannot be had: then nothing of ours goes on running. What goes wrong once the job runs
/// is in the manifest.
pub fn run(plan: &Plan, facts: &Facts, say: &mut dyn FnMut(&str)) -> Result<Outcome, RecordError> {
    let handled = [SIGINT, SIGTERM, SIGHUP, SIGUSR1];
    let mut signals = Signals::new(handled).map_err(|error| RecordError::io(Path::new("signals"), error))?;
    let outcome = record(plan, facts, &mut signals, say);
    drop(signals);
    for signal in handled {
        // A handler cannot be taken back; from now on it does what the system would have done.
        let _ = signal_hook::flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true)));
    }
    outcome
}

fn record(
    plan: &Plan,
    facts: &Facts,
    signals: &mut Signals,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome, RecordError> {
    let folder = if plan.event_log == LogPlace::Ours { plan.out.join("eventlog") } else { plan.out.clone() };
    std::fs::create_dir_all(&folder).map_err(|error| RecordError::io(&folder, error))?;
    let mut tools = Tools::new(&plan.out)?;
    let mut tracers = Tracers::start(plan, &mut tools)?;

    let start = ClockPair::read();
    let started = SystemTime::now();
    tools.note(&format!("$ {}", plan.job));
    let mut job = match plan.job.process().spawn() {
        Ok(job) => job,
        Err(error) => {
            tracers.abandon(&mut tools);
            return Err(RecordError::start(&plan.job, &error));
        }
    };
    let mut watch = Watch { plan, signals, interrupted: false, snapshots: Vec::new() };
    let status = watch.until_it_ends(&mut job, &mut tracers, &mut tools, say);
    let end = ClockPair::read();

    let failed = !status.success();
    let keep_ring = plan.ring && failed;
    if keep_ring {
        watch.snapshots.push("failed");
        // perf's is written when it stops.
        tracers.snapshot_sessions(&mut tools);
    }
    tracers.stop(keep_ring, &mut tools);
    if plan.kernel.is_some() && (!plan.ring || !watch.snapshots.is_empty()) {
        say("the job has ended; the kernel's trace is converted (Ctrl-C leaves it as it is)");
    }
    let Watch { signals, interrupted, snapshots, .. } = watch;
    let traces = tracers.finish(&mut tools, || signals.pending().any(|signal| signal != SIGUSR1));

    let mut issues = std::mem::take(&mut tracers.issues);
    let (event_logs, logs) = event_logs(plan, started, &mut issues);
    let lossless =
        traces.iter().all(|trace| trace.discarded_events.unwrap_or(0) == 0 && trace.lost_packets.unwrap_or(0) == 0);
    let system = rustix::system::uname();
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        emberscope_version: env!("CARGO_PKG_VERSION"),
        command: plan.asked.clone(),
        ran: plan.job.argv.clone(),
        environment: plan.job.env.iter().cloned().collect(),
        profile: plan.profile.name(),
        sample: plan.sample,
        ring_buffer: plan.ring,
        host: system.nodename().to_string_lossy().into_owned(),
        boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned()),
        kernel_release: system.release().to_string_lossy().into_owned(),
        cpus: facts.cpus,
        page_size_bytes: rustix::param::page_size(),
        started_at_ms: start.epoch_ms(),
        ended_at_ms: end.epoch_ms(),
        exit_code: status.code(),
        signal: status.signal(),
        interrupted,
        complete: issues.is_empty() && tracers.stopped_early_at_ms.is_none() && lossless,
        clocks: vec![start, end],
        tracers: traces,
        snapshots,
        event_logs: logs,
        not_possible: plan.lacks.clone(),
        issues,
    };
    write(&manifest, &plan.out.join("recording.json"))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(Outcome { manifest, code: u8::try_from(code).unwrap_or(u8::MAX), event_logs })
}

/// Watches the job.
struct Watch<'a> {
    plan: &'a Plan,
    signals: &'a mut Signals,
    interrupted: bool,
    snapshots: Vec<&'static str>,
}

impl Watch<'_> {
    fn until_it_ends(
        &mut self,
        job: &mut Child,
        tracers: &mut Tracers<'_>,
        tools: &mut Tools,
        say: &mut dyn FnMut(&str),
    ) -> ExitStatus {
        let began = Instant::now();
        let mut measured = began;
        let mut slow_after = self.plan.slow_after.filter(|_| self.plan.ring);
        loop {
            match job.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) => {}
                // Nobody else waits for it: this does not come.
                Err(_) => return ExitStatus::from_raw(0xff00),
            }
            let pending: Vec<i32> = self.signals.pending().collect();
            for signal in pending {
                self.handle(signal, job, tracers, tools, say);
            }
            if slow_after.is_some_and(|limit| began.elapsed() >= limit) {
                slow_after = None;
                self.snapshots.push("slow");
                tracers.snapshot(tools);
                say("the job takes longer than --slow-after: what the ring buffers hold is kept");
            }
            if measured.elapsed() >= MEASURE {
                measured = Instant::now();
                self.measure(tracers, tools, say);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn handle(
        &mut self,
        signal: i32,
        job: &Child,
        tracers: &mut Tracers<'_>,
        tools: &mut Tools,
        say: &mut dyn FnMut(&str),
    ) {
        let passed = match signal {
            SIGUSR1 if self.plan.ring => {
                self.snapshots.push("asked");
                tracers.snapshot(tools);
                say("what the ring buffers hold is kept");
                return;
            }
            SIGUSR1 => return,
            SIGINT => Signal::INT,
            SIGHUP => Signal::HUP,
            _ => Signal::TERM,
        };
        self.interrupted = true;
        // A terminal's Ctrl-C has reached the job already.
        if signal != SIGINT || !in_foreground() {
            send(job, passed);
        }
        say("told to stop: waiting for the job to end");
    }

    /// Stops tracing when there is more than may be.
    fn measure(&self, tracers: &mut Tracers<'_>, tools: &mut Tools, say: &mut dyn FnMut(&str)) {
        if tracers.stopped_early_at_ms.is_some() {
            return;
        }
        let full = self.plan.max_size.is_some_and(|limit| !self.plan.ring && tracers.bytes() >= limit);
        let gone = tracers.perf_is_gone();
        if full || (gone && tracers.perf_was_full(tools)) {
            tracers.stop(false, tools);
            tracers.stopped_early_at_ms = Some(ClockPair::read().epoch_ms());
            say("the traces have the size of --max-size: tracing has stopped, the job goes on");
        } else if gone {
            tracers.issues.push("perf ended before the job; tools.log has what it said".to_owned());
        }
    }
}

/// Whether a terminal's keys reach this process and the job.
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The event logs that the run has left on this machine, and all that is known of them.
fn event_logs(plan: &Plan, started: SystemTime, issues: &mut Vec<String>) -> (Vec<PathBuf>, Vec<RecordedLog>) {
    let visible = |path: &PathBuf| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'));
    let (folder, ours) = match &plan.event_log {
        LogPlace::Ours => (Some(plan.out.join("eventlog")), true),
        LogPlace::Theirs(place) => (local(place), false),
    };
    let Some(folder) = folder else {
        let place = if let LogPlace::Theirs(place) = &plan.event_log { place.clone() } else { String::new() };
        return (Vec::new(), vec![RecordedLog { path: place, recorded: false }]);
    };
    let fresh = |path: &PathBuf| ours || path.metadata().and_then(|data| data.modified()).is_ok_and(|at| at >= started);
    let found: Vec<PathBuf> = entries(&folder).into_iter().filter(|path| visible(path) && fresh(path)).collect();
    if found.is_empty() {
        issues.push(format!("the run has left no event log in {}", folder.display()));
    }
    let told = |path: &PathBuf| RecordedLog {
        path: path.strip_prefix(&plan.out).unwrap_or(path).to_string_lossy().into_owned(),
        recorded: ours,
    };
    let logs = found.iter().map(told).collect();
    (found, logs)
}

/// The folder that a place is, if it is on this machine.
fn local(place: &str) -> Option<PathBuf> {
    if let Some(path) = place.strip_prefix("file:") {
        return Some(PathBuf::from(path.strip_prefix("//").unwrap_or(path)));
    }
    (!place.contains(':')).then(|| PathBuf::from(place))
}

/// Writes the manifest, whole or not at all.
fn write(manifest: &Manifest, path: &Path) -> Result<(), RecordError> {
    let wrong = |error: io::Error| RecordError::io(path, error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(wrong)?;
    serde_json::to_writer_pretty(&mut file, manifest).map_err(|error| wrong(error.into()))?;
    io::Write::write_all(&mut file, b"\n").map_err(wrong)?;
    use_umask(file.path());
    file.persist(path).map_err(|error| wrong(error.error))?;
    Ok(())
}

/// A temporary file is its owner's alone; a manifest is not secret.
fn use_umask(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644));
}
