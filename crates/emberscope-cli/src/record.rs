//! `emberscope record`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args as ClapArgs, ValueEnum};
use emberscope_record::{Facts, Kernel, LogPlace, Options, Outcome, Plan, parse_duration, parse_size, plan, run};
use emberscope_report::TextOptions;

use crate::CLEAN;
use crate::args::{self, Format, ModelArgs, Severity};
use crate::diagnose;
use crate::environment::Environment;
use crate::output::{self, printable};

/// Memory for the kernel's events when `--ring-buffer` has no size: two minutes of two busy cores in the light profile.
const RING_BUFFER: &str = "64M";

/// Runs a Spark job while LTTng and perf record what the operating system does to its tasks; then diagnoses it
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  emberscope record --out run/ -- spark-submit --master local[4] job.py
  emberscope record --out run/ --profile full --max-size 2G -- spark-submit --class Main app.jar
  emberscope record --out run/ --ring-buffer --slow-after 10m -- python job.py
  emberscope record --out run/ --dry-run -- spark-submit job.py

The folder gets user/ (the Spark plugin's tracepoints, LTTng), kernel/ (scheduler, interrupts, disks; LTTng's kernel tracer where \
its modules are loaded, else perf as root or with CAP_PERFMON), both CTF, eventlog/, diagnosis.json, tools.log and, last, \
recording.json, which says what was recorded, what was lost and what was not possible. What this machine does not allow is said \
in one line each.

spark-submit, spark-shell, spark-sql and pyspark get options; any other program gets them as PYSPARK_SUBMIT_ARGS, which a \
Python program that starts Spark reads. Plugins, jars and event logs that are set already stay as they are.

SIGINT, SIGTERM and SIGHUP are passed to the job, and what was recorded until its end is kept. SIGUSR1 writes the ring buffers. \
The exit code is the job's when it failed (128 and the signal's number when one ended it), else that of `diagnose`; 2 also \
when nothing could be recorded.")]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Record {
    /// The folder for the recording; it must not be there yet, or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How much the kernel tells
    #[arg(long, value_enum, default_value_t = Profile::Light)]
    pub(crate) profile: Profile,
    /// Let one task in N, by its id, emit tracepoints
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) sample: u64,
    /// Keep the last events in memory, of the kernel's so many bytes, and write them only when the job fails, takes longer than
    /// --slow-after, or Emberscope gets SIGUSR1 [default size: 64M]
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = RING_BUFFER, value_parser = parse_size)]
    pub(crate) ring_buffer: Option<u64>,
    /// With --ring-buffer: write when the job takes longer (90s, 10m)
    #[arg(long, value_name = "DURATION", requires = "ring_buffer", value_parser = parse_duration)]
    pub(crate) slow_after: Option<Duration>,
    /// Stop tracing, not the job, when all traces have so many bytes (500M, 2G)
    #[arg(long, value_name = "SIZE", conflicts_with = "ring_buffer", value_parser = parse_size)]
    pub(crate) max_size: Option<u64>,
    /// Do not trace the kernel
    #[arg(long)]
    pub(crate) no_kernel: bool,
    /// Do not trace Spark: no plugin is added
    #[arg(long)]
    pub(crate) no_user: bool,
    /// The Spark plugin's jar [default: EMBERSCOPE_SPARK_JAR, else beside this program, else target/spark]
    #[arg(long, value_name = "JAR")]
    pub(crate) plugin: Option<PathBuf>,
    /// Record only
    #[arg(long)]
    pub(crate) no_diagnose: bool,
    /// Exit with 1 when the job succeeded and a finding is of this severity or a higher one
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(crate) fail_on: Option<Severity>,
    /// Print the commands, quoted for a shell, and run nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The job's command
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) job: Vec<String>,
}

/// Profiles, as clap lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// The scheduler, interrupts and disks
    Light,
    /// Page faults, packets, signals, timers and futexes besides: four times the bytes
    Full,
}

pub(crate) fn record(
    args: &Record,
    out: &mut dyn Write,
    err: &mut dyn Write,
    environment: Environment,
) -> anyhow::Result<u8> {
    let options = options(args)?;
    let facts = Facts::look(&options);
    let plan = plan(&facts, &options)?;
    if args.dry_run {
        out.write_all(plan.shell().as_bytes())?;
        return Ok(CLEAN);
    }
    for line in announced(&plan) {
        writeln!(err, "emberscope: {}", printable(&line))?;
    }
    out.flush()?;
    let outcome = run(&plan, &facts, &mut |line| {
        // The job goes on when nobody reads this.
        let _ = writeln!(err, "emberscope: {}", printable(line));
    })?;
    for line in told(&outcome, &plan) {
        writeln!(err, "emberscope: {}", printable(&line))?;
    }
    let code = if args.no_diagnose { CLEAN } else { diagnose(args, &plan, &outcome, out, err, environment)? };
    Ok(if outcome.code == 0 { code } else { outcome.code })
}

fn options(args: &Record) -> anyhow::Result<Options> {
    Ok(Options {
        profile: match args.profile {
            Profile::Light => emberscope_record::Profile::Light,
            Profile::Full => emberscope_record::Profile::Full,
        },
        kernel: !args.no_kernel,
        user: !args.no_user,
        sample: args.sample,
        ring_buffer: args.ring_buffer,
        slow_after: args.slow_after,
        max_size: args.max_size,
        plugin: args.plugin.clone(),
        session: format!("emberscope-{}", std::process::id()),
        ..Options::new(std::path::absolute(&args.out).context("--out")?, args.job.iter())
    })
}

/// What is going to be recorded, and what is not.
fn announced(plan: &Plan) -> Vec<String> {
    let mut what = Vec::new();
    what.extend(plan.user.is_some().then_some("Spark's tracepoints (LTTng)"));
    what.extend(plan.kernel.as_ref().map(|kernel| match kernel {
        Kernel::Lttng(_) => "the kernel's events (LTTng)",
        Kernel::Perf(_) => "the kernel's events (perf)",
    }));
    what.push("the event log");
    let mut lines: Vec<String> = plan.lacks.iter().map(ToString::to_string).collect();
    lines.push(format!("recording {} in {}", what.join(", "), plan.out.display()));
    if plan.through_variable && plan.user.is_some() {
        let program = plan.asked.first().map_or("", String::as_str);
        lines.push(format!(
            "{program} is none of Spark's programs: the plugin goes through PYSPARK_SUBMIT_ARGS, which Python reads"
        ));
    }
    if let LogPlace::Theirs(place) = &plan.event_log {
        lines.push(format!("the event log goes to {place}, as your settings have it"));
    }
    lines
}

/// What was recorded, and what was lost.
fn told(outcome: &Outcome, plan: &Plan) -> Vec<String> {
    let manifest = &outcome.manifest;
    let mut lines = Vec::new();
    for trace in &manifest.tracers {
        let events = trace.events.map(|events| format!("{} events, ", emberscope::words::count(events)));
        let lost: u64 = trace.discarded_events.unwrap_or(0) + trace.lost_packets.unwrap_or(0);
        let lost = if lost == 0 { String::new() } else { format!("; {} LOST", emberscope::words::count(lost)) };
        let bytes = emberscope::words::bytes(trace.bytes as f64);
        let folder = plan.out.join(&trace.folder);
        lines.push(format!("{}: {}{bytes}{lost}", folder.display(), events.unwrap_or_default()));
    }
    if plan.ring && manifest.snapshots.is_empty() {
        lines.push("the job went well: no trace is kept".to_owned());
    }
    lines.extend(manifest.issues.iter().cloned());
    lines
}

/// Diagnoses the run from its event logs: text to `out`, JSON into the recording.
fn diagnose(
    args: &Record,
    plan: &Plan,
    outcome: &Outcome,
    out: &mut dyn Write,
    err: &mut dyn Write,
    environment: Environment,
) -> anyhow::Result<u8> {
    if outcome.event_logs.is_empty() {
        writeln!(err, "emberscope: there is no event log here to diagnose")?;
        return Ok(crate::FAILED);
    }
    let (width, colour) = (environment.columns(), environment.colour_out);
    let inputs = diagnosed(&outcome.event_logs, &plan.out, args.fail_on);
    let (report, code) = diagnose::report(&inputs, err, environment)?;
    if let Some(report) = report {
        let json = emberscope_report::json(&report)?;
        output::write(&json, Some(&plan.out.join("diagnosis.json")), out)?;
        output::write(&emberscope_report::text(&report, &TextOptions { width, colour }), None, out)?;
    }
    Ok(code)
}

/// The arguments of `emberscope diagnose` for a recording.
fn diagnosed(logs: &[PathBuf], recording: &Path, fail_on: Option<Severity>) -> args::Diagnose {
    args::Diagnose {
        inputs: logs.to_vec(),
        format: Format::Text,
        out: None,
        fail_on,
        only: Vec::new(),
        redact: false,
        config: None,
        models: ModelArgs::default(),
        trace: if recording.join("user").is_dir() { vec![recording.to_owned()] } else { Vec::new() },
        threads: None,
    }
}
