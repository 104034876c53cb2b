//! Running the tools, and keeping what they say.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::Command;
use crate::run::RecordError;

/// How often something that takes a while is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// `tools.log`, which has every command and what it said.
#[derive(Debug)]
pub(crate) struct Tools {
    path: PathBuf,
    log: File,
}

impl Tools {
    pub(crate) fn new(out: &Path) -> Result<Self, RecordError> {
        let path = out.join("tools.log");
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(|error| RecordError::io(&path, error))?;
        Ok(Self { path, log })
    }

    /// Writes a line.
    pub(crate) fn note(&mut self, line: &str) {
        // What cannot be logged is no reason to stop a job.
        let _ = writeln!(self.log, "{line}");
    }

    /// Runs a command that takes a moment, and gives what it printed.
    pub(crate) fn run(&mut self, command: &Command) -> Result<String, RecordError> {
        self.note(&format!("$ {command}"));
        let mut process = tool(command);
        let done = process.stdin(Stdio::null()).output().map_err(|error| RecordError::start(command, &error))?;
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        self.note(format!("{out}{err}").trim_end());
        if done.status.success() {
            return Ok(out.into_owned());
        }
        Err(RecordError::failed(command, &err))
    }

    /// Starts a command whose words go to the log. A terminal's Ctrl-C does not reach it.
    pub(crate) fn start(&mut self, command: &Command, folder: Option<&Path>) -> Result<Child, RecordError> {
        self.note(&format!("$ {command}"));
        let mut process = tool(command);
        if let Some(folder) = folder {
            process.current_dir(folder);
        }
        let log = || self.log.try_clone().map_err(|error| RecordError::io(&self.path, error));
        let started = process.stdin(Stdio::null()).stdout(log()?).stderr(log()?).spawn();
        started.map_err(|error| RecordError::start(command, &error))
    }

    /// How long the log is.
    pub(crate) fn length(&self) -> u64 {
        self.log.metadata().map_or(0, |data| data.len())
    }

    /// What was logged from there on.
    pub(crate) fn since(&self, start: u64) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

/// A tool speaks English and is in a process group of its own.
fn tool(command: &Command) -> std::process::Command {
    let mut process = command.process();
    process.env("LC_ALL", "C").process_group(0);
    process
}

/// Looks again and again until there is an answer, or the time is over.
pub(crate) fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if start.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// Asks a process to end, waits, and ends it where it does not.
pub(crate) fn end(child: &mut Child, signal: Signal, limit: Duration) -> Option<ExitStatus> {
    send(child, signal);
    wait_for(limit, || child.try_wait().ok().flatten()).or_else(|| {
        let _ = child.kill();
        child.wait().ok()
    })
}

/// Sends a signal to a process that was not waited for yet.
pub(crate) fn send(child: &Child, signal: Signal) {
    // One that has ended needs none.
    let _ = kill_process(Pid::from_child(child), signal);
}

/// Bytes of all files in a folder, or of a file; 0 where there is none.
pub(crate) fn bytes(path: &Path) -> u64 {
    match path.symlink_metadata() {
        Ok(data) if data.is_dir() => entries(path).iter().map(|entry| bytes(entry)).sum(),
        Ok(data) if data.is_file() => data.len(),
        _ => 0,
    }
}

/// What is in a folder, by name; nothing where it cannot be read.
pub(crate) fn entries(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}
