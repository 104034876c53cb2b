//! Kernel and user-space traces of the hosts that ran an application: what the operating system did to each task.
//!
//! Two passes over each host's folder: the Spark plugin's events say which thread ran which task when, and when JVMs were
//! stopped; the kernel's say what threads did. They are joined by thread and time.

mod account;
mod blame;
mod kernel;
mod open;
mod spark;
mod threads;

use std::path::{Path, PathBuf};

use emberscope_ctf::{Error, Trace as Ctf, discover};
use emberscope_run::{ImportIssues, IssueCode, Run, TaskColumn, Trace, TracedHost};

use account::Accounts;

/// What to keep of traces.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceOptions {
    /// Keep what tasks did when, for pictures.
    pub stretches: bool,
}

/// Why the traces of a host cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The folder cannot be listed.
    #[error(transparent)]
    Folder(#[from] Error),
    /// There is no trace in it.
    #[error("{}: no trace in it: no folder with a file `metadata`", path.display())]
    NoTrace {
        /// The folder.
        path: PathBuf,
    },
}

/// Reads the traces of hosts, one folder a host, and puts what they tell to the run.
///
/// Times of a host are brought to the driver's: where task starts and ends contradict the event log, the host's clock is shifted
/// as far as they demand.
///
/// # Errors
///
/// When a folder cannot be listed or has no trace. What is lost or damaged in traces is an import issue of the run.
pub fn read_traces(folders: &[PathBuf], run: &mut Run, options: TraceOptions) -> Result<(), TraceError> {
    let mut trace = Trace::default();
    let mut accounts = Accounts::new(options.stretches);
    for folder in folders {
        read_host(folder, run, &mut trace, &mut accounts)?;
    }
    accounts.finish(&mut trace);
    run.trace = Some(trace);
    Ok(())
}

fn read_host(folder: &Path, run: &mut Run, trace: &mut Trace, accounts: &mut Accounts) -> Result<(), TraceError> {
    let mut user = Vec::new();
    let mut of_kernel = Vec::new();
    let folders = discover(folder)?;
    if folders.is_empty() {
        return Err(TraceError::NoTrace { path: folder.to_owned() });
    }
    for path in folders {
        match Ctf::open(&path) {
            Ok(found) if spark::is_of_plugin(&found) => user.push(found),
            Ok(found) if kernel::is_of_kernel(&found) => of_kernel.push(found),
            Ok(_) => {}
            Err(error) => run.issues.add(IssueCode::UnreadableTrace, || None, || error.to_string()),
        }
    }
    let Some(clock) = user.iter().find_map(|trace| trace.clocks().first()) else {
        run.issues.add(IssueCode::TraceWithoutTasks, || None, || folder.display().to_string());
        return Ok(());
    };
    let offset_ns = clock.time_ns(0).unwrap_or(0);
    let host = trace.hosts.len() as u32;
    let mut host_facts = TracedHost {
        name: user.iter().find_map(|trace| trace.environment_text("hostname")).unwrap_or("").to_owned(),
        folder: folder.display().to_string(),
        ..TracedHost::default()
    };
    let issues = &mut run.issues;
    let told = spark::read(&user, offset_ns, &mut |fault| issues.add(IssueCode::UnreadableTrace, || None, || fault));
    host_facts.user_events = told.events;
    let of_run = |pid: u32| match (&run.application.id, told.applications.get(&pid)) {
        (Some(of_run), Some(of_process)) => of_run == of_process,
        _ => true,
    };
    let tasks: Vec<spark::Task> = told.tasks.iter().filter(|task| of_run(task.pid)).cloned().collect();
    if tasks.len() < told.tasks.len() {
        issues.add(IssueCode::TraceOfOtherApplication, || None, || folder.display().to_string());
    }
    of_kernel.retain_mut(|found| set_clock(found, offset_ns, issues));
    let ahead = clock_ahead(run, &tasks);
    host_facts.clock_ahead_ns = ahead;
    accounts.host(host, &tasks, &told.stops, ahead);
    if !of_kernel.is_empty() {
        let facts = accounts.kernel(&of_kernel, &tasks, &told.stops, &mut run.issues);
        host_facts.kernel_events = Some(facts.events);
        host_facts.discarded_events += facts.discarded_events;
        host_facts.lost_packets += facts.lost_packets;
        host_facts.gaps = facts.gaps;
    }
    trace.hosts.push(host_facts);
    Ok(())
}

/// perf's clock does not say when it began; it is the one that LTTng takes in user space.
fn set_clock(found: &mut Ctf, offset_ns: i64, issues: &mut ImportIssues) -> bool {
    let of_perf = found.clocks().first().map(|clock| (clock.name == "perf_clock", clock.absolute));
    match of_perf {
        Some((true, false)) => {
            found.set_clock_offset_ns(offset_ns);
            true
        }
        Some(_) => true,
        None => {
            issues.add(IssueCode::TraceWithoutClock, || None, || found.path().display().to_string());
            false
        }
    }
}

/// How far a host's clock is ahead of the driver's, in ns: no task begins before it was launched, and none ends after the
/// driver knew of it. 0 where that holds as it is.
fn clock_ahead(run: &Run, tasks: &[spark::Task]) -> i64 {
    let mut times = std::collections::HashMap::new();
    for row in run.stages.values().flat_map(|stage| stage.tasks.rows()) {
        if let (Some(id), Some(launched), Some(finished)) =
            (row.get(TaskColumn::TaskId), row.launched_at(), row.finished_at())
        {
            times.insert(id, (launched.0, finished.0));
        }
    }
    let (mut least, mut most) = (i64::MIN, i64::MAX);
    for task in tasks {
        let Some(&(launched, finished)) = times.get(&task.id) else { continue };
        // Spark's times are whole milliseconds, cut.
        least = least.max(task.end_ns.saturating_sub(finished.saturating_add(1).saturating_mul(1_000_000)));
        most = most.min(task.start_ns.saturating_sub(launched.saturating_mul(1_000_000)));
    }
    if least > most {
        // Clocks that ran apart: the middle does least harm.
        return least / 2 + most / 2;
    }
    0_i64.clamp(least, most)
}
