//! What the machine allows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::events;
use crate::options::{Options, Profile};
use crate::submit;

/// The capability that lets a process trace the system (`CAP_PERFMON`), and the older one that does so too.
const TRACING_CAPABILITIES: u64 = 1 << 38 | 1 << 21;
/// Where the kernel lists its tracepoints.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// What the machine allows, and what there is already: all that a plan is made of besides what is asked for.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Facts {
    /// CPUs that are online.
    pub cpus: usize,
    /// Whether this is root.
    pub root: bool,
    /// Whether `lttng` and `lttng-sessiond` are installed.
    pub lttng: bool,
    /// Whether a session daemon of LTTng answers.
    pub daemon: bool,
    /// Whether that daemon, or one of ours, can trace the kernel: LTTng's modules are loaded, and we may.
    pub lttng_kernel: bool,
    /// What perf can do.
    pub perf: Perf,
    /// What is at the place where the recording is to go.
    pub out: OutFolder,
    /// Whether the job's program is there.
    pub program: bool,
    /// The plugin's jar, and without one where it was looked for.
    pub jar: Result<PathBuf, Vec<PathBuf>>,
    /// What `spark-defaults.conf` or the command's properties file sets.
    pub defaults: BTreeMap<String, String>,
    /// `PYSPARK_SUBMIT_ARGS`.
    pub submit_args: Option<String>,
}

/// What perf can do here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Perf {
    /// Whether it is installed.
    pub installed: bool,
    /// Whether it was built with what `perf data convert --to-ctf` needs.
    pub converts: bool,
    /// Whether we are root or have `CAP_PERFMON`.
    pub capable: bool,
    /// `/proc/sys/kernel/perf_event_paranoid`; None where it cannot be read.
    pub paranoid: Option<i32>,
    /// Whether the kernel's list of tracepoints can be read.
    pub tracefs: bool,
    /// Tracepoints of the full profile that this kernel has.
    pub events: BTreeSet<String>,
    /// What perf said when it was asked to watch one tracepoint for a moment; None when that worked, or was not tried.
    pub refused: Option<String>,
}

/// What is at a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutFolder {
    /// Nothing, or an empty folder.
    #[default]
    Free,
    /// A folder with something in it, or a file.
    Taken,
}

impl Facts {
    /// Looks. Nothing is changed; perf is tried for a moment.
    pub fn look(options: &Options) -> Self {
        let root = rustix::process::geteuid().is_root();
        let lttng = on_path("lttng").is_some() && on_path("lttng-sessiond").is_some();
        let modules = Path::new("/proc/lttng").exists() || Path::new("/sys/module/lttng_tracer").exists();
        let daemon = lttng && succeeds("lttng", &["list"]);
        let program = options.job.first().and_then(|program| on_path(program));
        Self {
            cpus: cpus(),
            root,
            lttng,
            daemon,
            lttng_kernel: lttng && modules && if daemon { succeeds("lttng", &["list", "--kernel"]) } else { root },
            perf: if options.kernel { Perf::look(root) } else { Perf::default() },
            out: out_folder(&options.out),
            jar: jar(options.plugin.as_deref()),
            defaults: defaults(options, program.as_deref()),
            program: program.is_some(),
            submit_args: std::env::var(submit::SUBMIT_ARGS).ok(),
        }
    }
}

impl Perf {
    fn look(root: bool) -> Self {
        let installed = on_path("perf").is_some();
        let tracefs = TRACEFS.iter().map(Path::new).find(|path| path.join("events/sched/sched_switch/id").exists());
        let known = |event: &&'static str| {
            let (system, name) = event.split_once(':')?;
            tracefs?.join("events").join(system).join(name).join("id").exists().then(|| (*event).to_owned())
        };
        let mut perf = Self {
            installed,
            converts: installed && converts(&convert_nothing()),
            capable: root || capabilities().is_some_and(|set| set & TRACING_CAPABILITIES != 0),
            paranoid: read("/proc/sys/kernel/perf_event_paranoid").and_then(|text| text.trim().parse().ok()),
            tracefs: tracefs.is_some(),
            events: events::perf(Profile::Full).iter().filter_map(known).collect(),
            refused: None,
        };
        if perf.installed && perf.tracefs {
            perf.refused = refused();
        }
        perf
    }
}

/// What perf says when it is to convert a file that is not there: its list of what it was built with leaves this out.
fn convert_nothing() -> String {
    let tried = Command::new("perf")
        .args(["data", "convert", "--to-ctf", "/nonexistent/ctf", "-i", "/nonexistent/perf.data"])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    tried.map(|done| String::from_utf8_lossy(&done.stderr).into_owned()).unwrap_or_default()
}

/// Whether that is only about the file.
fn converts(said: &str) -> bool {
    said.contains("/nonexistent/perf.data")
        && !["unknown option", "No conversion support"].iter().any(|no| said.contains(no))
}

/// What perf says against watching the scheduler.
fn refused() -> Option<String> {
    let tried = Command::new("perf")
        .args(["stat", "-a", "-e", "sched:sched_switch", "--", "true"])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    if tried.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&tried.stderr).into_owned();
    let line = said.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("Error"));
    Some(line.unwrap_or("it failed and said nothing").to_owned())
}

/// Where the plugin's jar is: named, or in the environment, or beside the program, or where `make spark-plugin` leaves it.
fn jar(named: Option<&Path>) -> Result<PathBuf, Vec<PathBuf>> {
    let name = format!("emberscope-spark-{}.jar", env!("CARGO_PKG_VERSION"));
    let explicit = named.map(Path::to_path_buf).or_else(|| std::env::var_os("EMBERSCOPE_SPARK_JAR").map(PathBuf::from));
    let places = explicit.map_or_else(
        || {
            let program = std::env::current_exe().ok();
            let folder = program.as_deref().and_then(Path::parent);
            let beside = folder.map(|folder| folder.join(&name));
            let built = folder.and_then(Path::parent).map(|target| target.join("spark").join(&name));
            beside.into_iter().chain(built).chain([Path::new("target/spark").join(&name)]).collect()
        },
        |path| vec![path],
    );
    match places.iter().find(|path| path.is_file()) {
        Some(path) => std::path::absolute(path).map_err(|_| places),
        None => Err(places),
    }
}

/// The settings of the command's properties file, else of spark-defaults.conf; none where there is no such file.
fn defaults(options: &Options, program: Option<&Path>) -> BTreeMap<String, String> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let named = submit::properties_file(&options.job).map(PathBuf::from);
    let beside = || Some(program?.canonicalize().ok()?.parent()?.parent()?.join("conf"));
    let folder = || variable("SPARK_CONF_DIR").or_else(|| Some(variable("SPARK_HOME")?.join("conf"))).or_else(beside);
    let file = named.or_else(|| Some(folder()?.join("spark-defaults.conf")));
    file.and_then(|file| std::fs::read_to_string(file).ok()).map(|text| properties(&text)).unwrap_or_default()
}

/// Lines of `key value`, `key=value` or `key: value`.
fn properties(text: &str) -> BTreeMap<String, String> {
    let setting = |line: &str| {
        let line = line.trim();
        let end = line.find(|c: char| c.is_whitespace() || c == '=' || c == ':')?;
        let value = line[end..].trim_start_matches(|c: char| c.is_whitespace() || c == '=' || c == ':');
        (!line.starts_with(['#', '!'])).then(|| (line[..end].to_owned(), value.to_owned()))
    };
    text.lines().filter_map(setting).collect()
}

fn out_folder(path: &Path) -> OutFolder {
    match std::fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => OutFolder::Free,
        Err(_) if path.symlink_metadata().is_err() => OutFolder::Free,
        _ => OutFolder::Taken,
    }
}

/// The file that a program's name means.
fn on_path(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs =
        |path: &PathBuf| path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(runs);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(runs)
}

fn cpus() -> usize {
    // Tracers have a buffer for each CPU of the machine, not of this process.
    let online = read("/sys/devices/system/cpu/online").and_then(|text| ranges(text.trim()));
    online.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1)
}

/// How many numbers are in ranges such as `0-3,8`.
fn ranges(text: &str) -> Option<usize> {
    text.split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
        })
        .sum()
}

fn capabilities() -> Option<u64> {
    let status = read("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    output(program, arguments).is_some()
}

/// What a program prints when it succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

impl Default for Facts {
    /// A machine on which nothing is there or allowed.
    fn default() -> Self {
        Self {
            cpus: 1,
            root: false,
            lttng: false,
            daemon: false,
            lttng_kernel: false,
            perf: Perf::default(),
            out: OutFolder::Free,
            program: false,
            jar: Err(Vec::new()),
            defaults: BTreeMap::new(),
            submit_args: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_as_java_reads_them() {
        let read = properties(
            "# no\n\nspark.plugins   a.B\nspark.jars=x y\n ! no\nspark.eventLog.dir : hdfs://h:1/l\nalone\n",
        );
        let expected = [("spark.eventLog.dir", "hdfs://h:1/l"), ("spark.jars", "x y"), ("spark.plugins", "a.B")];
        assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn cpus_are_counted_and_a_perf_that_cannot_convert_is_told() {
        assert_eq!([ranges("0"), ranges("0-3"), ranges("0-1,4,6-7"), ranges("")], [Some(1), Some(4), Some(5), None]);
        assert!(converts("failed to open /nonexistent/perf.data: No such file or directory"));
        assert!(!converts("  Error: unknown option `to-ctf'\n"));
        assert!(!converts("No conversion support compiled in. perf should be compiled with LIBBABELTRACE=1"));
    }

    #[test]
    fn a_folder_is_free_when_it_is_empty_or_not_there() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        assert_eq!(out_folder(folder.path()), OutFolder::Free);
        assert_eq!(out_folder(&folder.path().join("new")), OutFolder::Free);
        std::fs::write(folder.path().join("file"), "")?;
        assert_eq!(out_folder(folder.path()), OutFolder::Taken);
        assert_eq!(out_folder(&folder.path().join("file")), OutFolder::Taken);
        Ok(())
    }
}
