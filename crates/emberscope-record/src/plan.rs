//! From what is asked for and what the machine allows to exact commands. Nothing here touches the machine.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::command::{Command, quoted};
use crate::events;
use crate::facts::{Facts, OutFolder, Perf};
use crate::options::{Options, Profile};
use crate::submit::{self, LogPlace, Settings};

/// Bytes of a CPU's buffer for perf. It held 400,000 events a second, eighty times what the light profile makes.
const PERF_BUFFER: u64 = 4 << 20;
/// The least that it has when the size of all traces is bounded.
const LEAST_PERF_BUFFER: u64 = 512 << 10;
/// Bytes of each of a CPU's four sub-buffers for the plugin's events, of which a task makes four at most.
const USER_SUB_BUFFER: u64 = 256 << 10;
/// Bytes of each of a CPU's four sub-buffers for the kernel's events with LTTng.
const KERNEL_SUB_BUFFER: u64 = 1 << 20;
const SUB_BUFFERS: u64 = 4;
/// The least that a sub-buffer, and a buffer of perf, may have.
const PAGE: u64 = 4 << 10;
/// Of the memory of a ring buffer for the kernel's events, Spark's take a part of so many.
const USER_SHARE: u64 = 8;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The recording would mix with what is there.
    #[error("{0} is there and not empty; a recording needs a folder of its own")]
    Taken(PathBuf),
    /// There is no such program.
    #[error("{0}: no such program")]
    NoProgram(String),
    /// The plugin is to be added and is not there.
    #[error(
        "the Spark plugin's jar is not at {0}; `make spark-plugin` builds it, --plugin JAR or EMBERSCOPE_SPARK_JAR names it, \
         --no-user does without"
    )]
    NoJar(String),
    /// Neither Spark nor the kernel can be traced.
    #[error("nothing can be traced here: {0}; --no-user --no-kernel records the event log alone")]
    Nothing(String),
    /// PySpark's variable has an open quote.
    #[error("PYSPARK_SUBMIT_ARGS has a quote that is not closed")]
    SubmitArgs,
}

/// Something that cannot be recorded here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// What is not recorded.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What would make it possible.
    pub remedy: String,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not recorded: {}: {}; {}", self.what, self.why, self.remedy)
    }
}

/// All that is going to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The folder of the recording.
    pub out: PathBuf,
    /// The job with what is added to it.
    pub job: Command,
    /// The user's command as it was given.
    pub asked: Vec<String>,
    /// Whether the settings go through `PYSPARK_SUBMIT_ARGS`, which only Python reads.
    pub through_variable: bool,
    /// LTTng's session daemon, where none answers; it is stopped when the recording ends.
    pub daemon: Option<Command>,
    /// The session for Spark's tracepoints.
    pub user: Option<Session>,
    /// What traces the kernel.
    pub kernel: Option<Kernel>,
    /// Where the event log goes.
    pub event_log: LogPlace,
    /// What is asked for and not possible.
    pub lacks: Vec<Lack>,
    /// How much the kernel tells.
    pub profile: Profile,
    /// One task in so many emits tracepoints.
    pub sample: u64,
    /// Whether traces stay in memory until something goes wrong.
    pub ring: bool,
    /// With a ring buffer: a run that takes longer is written.
    pub slow_after: Option<Duration>,
    /// Bytes of all traces after which tracing stops.
    pub max_size: Option<u64>,
}

/// Who traces the kernel.
#[derive(Debug, Clone)]
pub enum Kernel {
    /// LTTng's own tracer.
    Lttng(Session),
    /// perf, whose file is converted.
    Perf(PerfRecorder),
}

/// A session of LTTng.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its name.
    pub name: String,
    /// Where it writes.
    pub work: PathBuf,
    /// Where the trace is in the end.
    pub folder: PathBuf,
    /// What makes it, up to its start.
    pub setup: Vec<Command>,
}

impl Session {
    /// Stops tracing.
    pub fn stop(&self) -> Command {
        Command::new(["lttng", "stop", &self.name])
    }

    /// Says what was lost, as XML.
    pub fn statistics(&self) -> Command {
        Command::new(["lttng", "--mi", "xml", "list", &self.name])
    }

    /// Writes what the ring buffers hold.
    pub fn snapshot(&self) -> Command {
        Command::new(["lttng", "snapshot", "record", "--session", &self.name])
    }

    /// Ends the session; what was written stays.
    pub fn destroy(&self) -> Command {
        Command::new(["lttng", "destroy", &self.name])
    }
}

/// perf as a recorder of tracepoints.
#[derive(Debug, Clone)]
pub struct PerfRecorder {
    /// What records, until it is interrupted.
    pub record: Command,
    /// What it writes; with a ring buffer, the beginning of the names that it writes to.
    pub data: PathBuf,
    /// Where it is converted to.
    pub work: PathBuf,
    /// Where the trace is in the end.
    pub folder: PathBuf,
}

impl PerfRecorder {
    /// Converts a file of perf's to CTF.
    pub fn convert(&self, data: &Path, to: &Path) -> Command {
        Command::new(["perf", "data", "convert", "--input", &text(data), "--to-ctf", &text(to)])
    }
}

/// Plans a recording.
pub fn plan(facts: &Facts, options: &Options) -> Result<Plan, PlanError> {
    if facts.out == OutFolder::Taken {
        return Err(PlanError::Taken(options.out.clone()));
    }
    if !facts.program {
        return Err(PlanError::NoProgram(options.job.first().cloned().unwrap_or_default()));
    }
    let mut lacks = Vec::new();
    let user = (options.user && lttng(facts, &mut lacks)).then(|| user_session(facts, options));
    let jar = match (&facts.jar, &user) {
        (Ok(jar), Some(_)) => Some(jar.as_path()),
        (Err(places), Some(_)) => return Err(PlanError::NoJar(or(places))),
        (_, None) => None,
    };
    let kernel = if options.kernel { kernel(facts, options, &mut lacks) } else { None };
    if user.is_none() && kernel.is_none() && (options.user || options.kernel) {
        let why = lacks.iter().map(|lack| format!("{} ({})", lack.why, lack.remedy));
        return Err(PlanError::Nothing(why.collect::<Vec<_>>().join("; ")));
    }
    let event_log = options.out.join("eventlog");
    let settings = Settings { jar, sample: options.sample, event_log: &event_log, defaults: &facts.defaults };
    let (job, event_log) =
        submit::prepared(&options.job, facts.submit_args.as_deref(), &settings).ok_or(PlanError::SubmitArgs)?;
    let sessions = user.is_some() || matches!(kernel, Some(Kernel::Lttng(_)));
    Ok(Plan {
        out: options.out.clone(),
        through_variable: !options.job.first().is_some_and(|program| submit::is_submitter(program)),
        job,
        asked: options.job.clone(),
        daemon: (sessions && !facts.daemon).then(|| daemon(kernel.as_ref())),
        user,
        kernel,
        event_log,
        lacks,
        profile: options.profile,
        sample: options.sample,
        ring: options.ring_buffer.is_some(),
        slow_after: options.slow_after,
        max_size: options.max_size,
    })
}

fn lttng(facts: &Facts, lacks: &mut Vec<Lack>) -> bool {
    if !facts.lttng {
        lacks.push(Lack {
            what: "Spark's tracepoints".to_owned(),
            why: "lttng or lttng-sessiond is not installed".to_owned(),
            remedy: "apt-get install lttng-tools liblttng-ust1".to_owned(),
        });
    }
    facts.lttng
}

fn daemon(kernel: Option<&Kernel>) -> Command {
    let daemon = Command::new(["lttng-sessiond"]);
    match kernel {
        Some(Kernel::Lttng(_)) => daemon,
        // It would load LTTng's modules, or say that it cannot.
        _ => daemon.with(["--no-kernel"]),
    }
}

fn user_session(facts: &Facts, options: &Options) -> Session {
    let name = format!("{}-user", options.session);
    let size = options.ring_buffer.map_or(USER_SUB_BUFFER, |bytes| sub_buffer(bytes / USER_SHARE, facts.cpus));
    let (channel, session) = ("--channel=emberscope", format!("--session={name}"));
    let middle = [
        Command::new(["lttng", "enable-event", "--userspace", &session, channel, "emberscope:*"]),
        Command::new(["lttng", "add-context", "--userspace", &session, channel]).with([
            "--type=vpid",
            "--type=vtid",
            "--type=procname",
        ]),
    ];
    session_of(options, name, "user", "--userspace", size, middle.into())
}

fn kernel_session(facts: &Facts, options: &Options) -> Session {
    let name = format!("{}-kernel", options.session);
    let size = options.ring_buffer.map_or(KERNEL_SUB_BUFFER, |bytes| sub_buffer(bytes, facts.cpus));
    let (channel, session) = ("--channel=emberscope", format!("--session={name}"));
    let (tracepoints, calls) = events::lttng(options.profile);
    let enable = Command::new(["lttng", "enable-event", "--kernel", &session, channel]);
    let mut middle = vec![enable.clone().with([tracepoints.join(",")])];
    if !calls.is_empty() {
        middle.push(enable.with(["--syscall".to_owned(), calls.join(",")]));
    }
    middle
        .push(Command::new(["lttng", "add-context", "--kernel", &session, channel]).with(["--type=pid", "--type=tid"]));
    session_of(options, name, "kernel", "--kernel", size, middle)
}

fn session_of(options: &Options, name: String, folder: &str, domain: &str, size: u64, middle: Vec<Command>) -> Session {
    let work = options.out.join(format!(".{folder}.partial"));
    let mut create = Command::new(["lttng", "create", &name, &format!("--output={}", text(&work))]);
    if options.ring_buffer.is_some() {
        create = create.with(["--snapshot"]);
    }
    let mut channel = Command::new(["lttng", "enable-channel", domain, &format!("--session={name}")]);
    if domain == "--userspace" {
        channel = channel.with(["--buffers-uid"]);
    }
    let mode = if options.ring_buffer.is_some() { "--overwrite" } else { "--discard" };
    let sizes = [format!("--subbuf-size={size}"), format!("--num-subbuf={SUB_BUFFERS}")];
    let channel = channel.with([mode]).with(sizes).with(["emberscope"]);
    let start = Command::new(["lttng", "start", &name]);
    let setup = [create, channel].into_iter().chain(middle).chain([start]).collect();
    Session { name, work, folder: options.out.join(folder), setup }
}

/// A CPU's sub-buffer when all of them take so many bytes together.
fn sub_buffer(bytes: u64, cpus: usize) -> u64 {
    power_of_two_below(bytes / (cpus.max(1) as u64 * SUB_BUFFERS))
}

fn power_of_two_below(bytes: u64) -> u64 {
    if bytes < PAGE { PAGE } else { 1 << bytes.ilog2() }
}

fn kernel(facts: &Facts, options: &Options, lacks: &mut Vec<Lack>) -> Option<Kernel> {
    if facts.lttng_kernel {
        return Some(Kernel::Lttng(kernel_session(facts, options)));
    }
    if let Some((why, remedy)) = against(&facts.perf) {
        lacks.push(Lack { what: "the kernel's events".to_owned(), why, remedy });
        return None;
    }
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        events::perf(options.profile).into_iter().partition(|event| facts.perf.events.contains(*event));
    if !unknown.is_empty() {
        lacks.push(Lack {
            what: unknown.join(", "),
            why: "this kernel has no such tracepoint".to_owned(),
            remedy: "another kernel has; the rest is recorded".to_owned(),
        });
    }
    Some(Kernel::Perf(perf_recorder(facts, options, &known)))
}

/// Why perf cannot record, and what would help; None when it can.
fn against(perf: &Perf) -> Option<(String, String)> {
    let why = |why: &str, remedy: &str| Some((format!("LTTng's modules are not loaded, and {why}"), remedy.to_owned()));
    if !perf.installed {
        return why("perf is not installed", "apt-get install linux-perf, or lttng-modules-dkms");
    }
    if !perf.capable && perf.paranoid.is_none_or(|paranoid| paranoid > -1) {
        let level = perf.paranoid.map_or("unknown".to_owned(), |level| level.to_string());
        let text = format!("perf may not watch the system (kernel.perf_event_paranoid is {level})");
        return why(&text, "run as root, or with CAP_PERFMON, or sysctl kernel.perf_event_paranoid=-1");
    }
    if !perf.tracefs {
        return why(
            "the kernel's list of tracepoints cannot be read",
            "mount -t tracefs tracefs /sys/kernel/tracing, and let this user read it",
        );
    }
    if !perf.converts {
        return why("this perf was built without libbabeltrace", "apt-get install linux-perf: Debian's has it");
    }
    if let Some(said) = &perf.refused {
        return why(
            &format!("perf was refused: {said}"),
            "in a container: --privileged, or a seccomp profile that allows it",
        );
    }
    None
}

fn perf_recorder(facts: &Facts, options: &Options, events: &[&str]) -> PerfRecorder {
    let data = options.out.join(".perf.data");
    // One clock with LTTng; no symbols, no build ids, and no list of what every process has mapped: nobody looks at code.
    let mut record =
        Command::new(["perf", "record", "--output", &text(&data), "--clockid", "CLOCK_MONOTONIC", "--all-cpus"])
            .with(["--no-buildid", "--no-buildid-cache", "--synth=no"]);
    let (mut size, cpus) = (PERF_BUFFER, facts.cpus.max(1) as u64);
    if let Some(bytes) = options.ring_buffer {
        record = record.with(["--overwrite", "--switch-output=signal", "--tail-synthesize"]);
        size = power_of_two_below(bytes / cpus);
    } else if let Some(bytes) = options.max_size {
        // What is in the buffers when the size is reached is written too.
        size = power_of_two_below(bytes / (4 * cpus)).clamp(LEAST_PERF_BUFFER, PERF_BUFFER);
    }
    record = record.with([format!("--mmap-pages={}K", size >> 10)]);
    if let Some(bytes) = options.max_size.filter(|_| options.ring_buffer.is_none()) {
        record = record.with([format!("--max-size={bytes}B")]);
    }
    record = record.with(["--event", &events.join(",")]);
    PerfRecorder { record, data, work: options.out.join(".kernel.partial"), folder: options.out.join("kernel") }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn or(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" or ")
}

impl Plan {
    /// The plan for a person with a shell: every command in its order. What is not possible stands first, as comments.
    pub fn shell(&self) -> String {
        let mut page = String::new();
        let mut line = |text: &str| {
            let _ = writeln!(page, "{text}");
        };
        for lack in &self.lacks {
            line(&format!("# {lack}"));
        }
        line("# Before the job");
        let log = self.out.join("eventlog");
        line(&format!("mkdir -p {}", quoted(&text(if self.event_log == LogPlace::Ours { &log } else { &self.out }))));
        if let Some(daemon) = &self.daemon {
            line(&daemon.clone().with(["--daemonize"]).to_string());
        }
        let kernel = self.kernel.as_ref();
        for session in self.sessions() {
            session.setup.iter().for_each(|command| line(&command.to_string()));
        }
        if let Some(Kernel::Perf(perf)) = kernel {
            line(&format!("{} & perf=$!", perf.record));
            line("# Wait until perf records: Emberscope adds --control and --delay=-1 and waits for its answer");
            line("sleep 1");
        }
        line("# The job");
        if self.through_variable {
            line(
                "# It is none of Spark's programs: a Python program that starts Spark takes the settings from the variable",
            );
        }
        line(&self.job.to_string());
        line("# After the job");
        if self.ring {
            line("# Nothing has been written yet; where the job went wrong:");
            self.sessions().for_each(|session| line(&session.snapshot().to_string()));
            if matches!(kernel, Some(Kernel::Perf(_))) {
                line("kill -USR2 $perf && sleep 1");
            }
        }
        for session in self.sessions() {
            line(&session.stop().to_string());
            line(&format!("{} | grep -E 'discarded_events|lost_packets'", session.statistics()));
            line(&session.destroy().to_string());
            let (from, to) = (quoted(&text(&session.work)), quoted(&text(&session.folder)));
            line(&format!("mv {from}{} {to}", if self.ring { "/snapshot-*" } else { "" }));
        }
        if let Some(Kernel::Perf(perf)) = kernel {
            let data = quoted(&text(&perf.data));
            line("kill -INT $perf; wait $perf");
            if self.ring {
                line(&format!("mv {data}.2* {data}"));
            }
            line(&format!("perf report --stats --input {data} | grep -E 'LOST|SAMPLE'"));
            line(&perf.convert(&perf.data, &perf.folder).to_string());
            line(&format!("rm {data}"));
        }
        if self.daemon.is_some() {
            line("kill $(pidof lttng-sessiond)");
        }
        page
    }

    /// The sessions of LTTng.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        let kernel = match &self.kernel {
            Some(Kernel::Lttng(session)) => Some(session),
            _ => None,
        };
        self.user.iter().chain(kernel)
    }
}
