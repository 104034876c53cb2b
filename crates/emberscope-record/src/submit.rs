//! What is added to a `spark-submit` command, and what of it is kept.

use std::collections::BTreeMap;
use std::path::Path;

use crate::command::{Command, quoted, words};

const PLUGINS: &str = "spark.plugins";
const JARS: &str = "spark.jars";
const LOG_ENABLED: &str = "spark.eventLog.enabled";
const LOG_DIR: &str = "spark.eventLog.dir";
const SAMPLE: &str = "spark.emberscope.sample";
const CLASS: &str = "io.emberscope.spark.EmberscopePlugin";
/// Where Spark writes event logs that it was not told a place for.
const DEFAULT_LOG_DIR: &str = "file:///tmp/spark-events";
/// The variable that PySpark takes its options from when Python starts it.
pub(crate) const SUBMIT_ARGS: &str = "PYSPARK_SUBMIT_ARGS";
/// What such options end in.
const PYSPARK_SHELL: &str = "pyspark-shell";
/// Programs that take spark-submit's options.
const SUBMITTERS: [&str; 5] = ["spark-submit", "spark-shell", "spark-sql", "pyspark", "sparkR"];
/// Options that no value follows.
const SWITCHES: [&str; 9] =
    ["--verbose", "-v", "--supervise", "--help", "-h", "--version", "--usage-error", "-S", "--silent"];

/// What is added.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// The plugin's jar; None where Spark is not traced.
    pub jar: Option<&'a Path>,
    /// One task in so many.
    pub sample: u64,
    /// The folder for the event log, absolute.
    pub event_log: &'a Path,
    /// What `spark-defaults.conf`, or the properties file that the command names, sets.
    pub defaults: &'a BTreeMap<String, String>,
}

/// Where the event log of a run goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPlace {
    /// Into the recording.
    Ours,
    /// Where the user's settings send it: a folder or a URI.
    Theirs(String),
}

/// Options of spark-submit, in the order that they came in; what follows the options is not looked at.
struct Args {
    words: Vec<String>,
    /// For each key that a word sets: where its value is, and what stands before the value in that word.
    set: BTreeMap<String, (usize, String)>,
    added: Vec<String>,
}

impl Args {
    fn new(words: Vec<String>) -> Self {
        let mut set = BTreeMap::new();
        let mut at = 0;
        while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
            let (name, value, value_at, prefix) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value), at, format!("{name}=")),
                _ if SWITCHES.contains(&word.as_str()) => (word.as_str(), None, at, String::new()),
                _ => (word.as_str(), words.get(at + 1).map(String::as_str), at + 1, String::new()),
            };
            match (name, value) {
                ("--conf" | "-c", Some(value)) => {
                    if let Some((key, _)) = value.split_once('=') {
                        // The last counts.
                        set.insert(key.to_owned(), (value_at, format!("{prefix}{key}=")));
                    }
                }
                // An option counts more than the setting of the same meaning, wherever it stands.
                ("--jars", Some(_)) => {
                    set.insert("--jars".to_owned(), (value_at, prefix));
                }
                _ => {}
            }
            at = value_at + 1;
        }
        Self { words, set, added: Vec::new() }
    }

    fn get(&self, key: &str) -> Option<&str> {
        let (at, prefix) = self.set.get(key)?;
        self.words.get(*at)?.strip_prefix(prefix.as_str())
    }

    /// Sets a key where it is set already, else before all options.
    fn set(&mut self, key: &str, value: &str) {
        match self.set.get(key) {
            Some((at, prefix)) => {
                if let Some(word) = self.words.get_mut(*at) {
                    *word = format!("{prefix}{value}");
                }
            }
            None if key == "--jars" => self.added.extend([key.to_owned(), value.to_owned()]),
            None => self.added.extend(["--conf".to_owned(), format!("{key}={value}")]),
        }
    }

    fn finish(self) -> Vec<String> {
        self.added.into_iter().chain(self.words).collect()
    }
}

/// The words with what is added, and where the event log goes.
fn edited(words: Vec<String>, settings: &Settings<'_>) -> (Vec<String>, LogPlace) {
    let mut args = Args::new(words);
    let value =
        |args: &Args, key: &str| args.get(key).or(settings.defaults.get(key).map(String::as_str)).map(str::to_owned);
    if let Some(jar) = settings.jar {
        let jars = args.get("--jars").map(str::to_owned).or_else(|| value(&args, JARS));
        args.set("--jars", &appended(jars, &jar.to_string_lossy()));
        let plugins = value(&args, PLUGINS);
        args.set(PLUGINS, &appended(plugins, CLASS));
        if settings.sample > 1 {
            args.set(SAMPLE, &settings.sample.to_string());
        }
    }
    let theirs = value(&args, LOG_ENABLED).is_some_and(|enabled| enabled.trim().eq_ignore_ascii_case("true"));
    let place = if theirs {
        LogPlace::Theirs(value(&args, LOG_DIR).unwrap_or_else(|| DEFAULT_LOG_DIR.to_owned()))
    } else {
        args.set(LOG_ENABLED, "true");
        args.set(LOG_DIR, &file_uri(settings.event_log));
        LogPlace::Ours
    };
    (args.finish(), place)
}

/// A list with one entry more, or as it is when it has that.
fn appended(list: Option<String>, entry: &str) -> String {
    match list.filter(|list| !list.trim().is_empty()) {
        Some(list) if list.split(',').any(|has| has.trim() == entry) => list,
        Some(list) => format!("{list},{entry}"),
        None => entry.to_owned(),
    }
}

/// A path as a URI.
pub(crate) fn file_uri(path: &Path) -> String {
    let mut uri = String::from("file://");
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'~' => uri.push(byte as char),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

/// Whether a program takes spark-submit's options.
pub(crate) fn is_submitter(program: &str) -> bool {
    let name = Path::new(program).file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    SUBMITTERS.contains(&name.as_ref())
}

/// The properties file that a command names.
pub(crate) fn properties_file(job: &[String]) -> Option<&str> {
    let at = job.iter().position(|word| word == "--properties-file" || word.starts_with("--properties-file="))?;
    job.get(at)?.split_once('=').map(|(_, value)| value).or_else(|| job.get(at + 1).map(String::as_str))
}

/// The job's command with what is added, and where its event log goes; None where the variable that PySpark takes its options
/// from is set to something that cannot be read.
pub(crate) fn prepared(job: &[String], variable: Option<&str>, settings: &Settings<'_>) -> Option<(Command, LogPlace)> {
    let (program, rest) = job.split_first()?;
    if is_submitter(program) {
        let (args, place) = edited(rest.to_vec(), settings);
        return Some((Command::new([program.clone()]).with(args), place));
    }
    let mut options = words(variable.unwrap_or(""))?;
    if options.last().is_none_or(|last| last != PYSPARK_SHELL) {
        options.push(PYSPARK_SHELL.to_owned());
    }
    let (options, place) = edited(options, settings);
    let line = options.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let mut command = Command::new(job.iter().cloned());
    command.env.push((SUBMIT_ARGS.to_owned(), line));
    Some((command, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "--conf spark.eventLog.enabled=true --conf spark.eventLog.dir=file:///out/eventlog";

    fn edit(line: &str, variable: Option<&str>, defaults: &[(&str, &str)], sample: u64) -> (String, LogPlace) {
        let defaults = defaults.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let settings = Settings {
            jar: Some(Path::new("/e.jar")),
            sample,
            event_log: Path::new("/out/eventlog"),
            defaults: &defaults,
        };
        let job = words(line).unwrap_or_default();
        let (command, place) = prepared(&job, variable, &settings).unwrap_or((Command::default(), LogPlace::Ours));
        (command.to_string(), place)
    }

    #[test]
    fn a_plain_command_gets_all_before_its_own_options() {
        let (line, place) = edit("bin/spark-submit --master local[2] job.py --conf spark.plugins=no", None, &[], 1);
        assert_eq!(
            line,
            format!(
                "bin/spark-submit --jars /e.jar --conf spark.plugins={CLASS} {OURS} --master 'local[2]' job.py --conf spark.plugins=no"
            )
        );
        assert_eq!(place, LogPlace::Ours);
    }

    #[test]
    fn what_the_command_sets_is_kept_where_it_stands() {
        let (line, _) = edit(
            "spark-submit -v --conf spark.plugins=a.B -c spark.plugins=c.D --jars=x.jar,y.jar --class M app.jar",
            None,
            &[("spark.plugins", "not.this"), ("spark.jars", "nor.jar")],
            1,
        );
        assert_eq!(
            line,
            format!(
                "spark-submit {OURS} -v --conf spark.plugins=a.B -c spark.plugins=c.D,{CLASS} --jars=x.jar,y.jar,/e.jar --class M app.jar"
            )
        );
    }

    #[test]
    fn what_files_set_is_kept_too() {
        let defaults = [("spark.plugins", "a.B"), ("spark.jars", "x.jar")];
        let (line, _) = edit("spark-sql -e 'select 1'", None, &defaults, 10);
        assert_eq!(
            line,
            format!(
                "spark-sql --jars x.jar,/e.jar --conf spark.plugins=a.B,{CLASS} --conf spark.emberscope.sample=10 {OURS} -e 'select 1'"
            )
        );
        let (line, _) = edit("spark-submit --conf spark.jars=z.jar j.py", None, &defaults, 1);
        assert!(line.contains("--jars z.jar,/e.jar"), "{line}");
    }

    #[test]
    fn a_log_that_goes_elsewhere_stays_there() {
        let (line, place) = edit(
            "spark-submit --conf spark.eventLog.enabled=true --conf spark.eventLog.dir=hdfs:///logs j.py",
            None,
            &[],
            1,
        );
        assert!(!line.contains("/out/eventlog"), "{line}");
        assert_eq!(place, LogPlace::Theirs("hdfs:///logs".to_owned()));
        let (_, place) = edit("spark-submit j.py", None, &[("spark.eventLog.enabled", " True")], 1);
        assert_eq!(place, LogPlace::Theirs(DEFAULT_LOG_DIR.to_owned()));
        let off =
            edit("spark-submit --conf spark.eventLog.enabled=false j.py", None, &[("spark.eventLog.dir", "/x")], 1);
        assert!(off.0.contains("--conf spark.eventLog.dir=file:///out/eventlog"), "{}", off.0);
        assert!(off.0.contains("--conf spark.eventLog.enabled=true j.py") && !off.0.contains("false"), "{}", off.0);
        assert_eq!(off.1, LogPlace::Ours);
    }

    #[test]
    fn other_programs_get_a_variable() {
        let (line, _) = edit("python job.py", None, &[], 1);
        assert_eq!(
            line,
            format!(
                "PYSPARK_SUBMIT_ARGS='--jars /e.jar --conf spark.plugins={CLASS} {OURS} pyspark-shell' python job.py"
            )
        );
        let (line, _) = edit("python job.py", Some("--master 'local[4]' --jars x.jar pyspark-shell"), &[], 1);
        assert!(line.contains(r"--master '\''local[4]'\'' --jars x.jar,/e.jar pyspark-shell' python"), "{line}");
        let settings = Settings { jar: None, sample: 1, event_log: Path::new("/o"), defaults: &BTreeMap::new() };
        assert!(prepared(&["python".to_owned()], Some("'open"), &settings).is_none());
    }

    #[test]
    fn a_plugin_that_is_there_is_not_added_twice() {
        let (line, _) = edit(&format!("spark-submit --conf spark.plugins={CLASS} --jars /e.jar j.py"), None, &[], 1);
        assert_eq!(line.matches(CLASS).count() + line.matches("/e.jar").count(), 2, "{line}");
    }

    #[test]
    fn names_are_told_from_options() {
        assert!(is_submitter("/opt/spark/bin/spark-submit") && !is_submitter("python3"));
        let job = |line: &str| words(line).unwrap_or_default();
        assert_eq!(properties_file(&job("spark-submit --properties-file=a b")), Some("a"));
        assert_eq!(properties_file(&job("spark-submit --properties-file a b")), Some("a"));
        assert_eq!(properties_file(&job("spark-submit b")), None);
        assert_eq!(file_uri(Path::new("/a b/ü")), "file:///a%20b/%C3%BC");
    }
}
