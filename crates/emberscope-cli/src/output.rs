//! Writing: to a file in one step, to a pipe that may be closed.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

/// Writes a text to a file, or to `out` when there is none. A file is written beside its place and moved there when it is
/// complete: nobody reads half of it, and a failure leaves the old one.
pub(crate) fn write(text: &str, path: Option<&Path>, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(path) = path {
        return write_file(text.as_bytes(), path).with_context(|| path.display().to_string());
    }
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

pub(crate) fn write_file(bytes: &[u8], path: &Path) -> io::Result<()> {
    // A device or a pipe (`/dev/stdout`) cannot be replaced, and must not be.
    if path.exists() && !path.is_file() {
        return std::fs::OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    // A link stays one: what it leads to is replaced.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix(".emberscope-").permissions(permissions(path)).tempfile_in(folder);
    let mut file = file.map_err(without_path)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// What the system said, without the name of the file beside the place: nobody asked for that file.
fn without_path(error: io::Error) -> io::Error {
    error.raw_os_error().map_or(error, io::Error::from_raw_os_error)
}

/// Those of the file that is replaced, else what the umask leaves of read and write for all.
#[cfg(unix)]
fn permissions(path: &Path) -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().map_or_else(|_| std::fs::Permissions::from_mode(0o666), |metadata| metadata.permissions())
}

#[cfg(not(unix))]
fn permissions(path: &Path) -> std::fs::Permissions {
    path.metadata()
        .map(|metadata| metadata.permissions())
        .unwrap_or_else(|_| std::fs::Permissions::from(Default::default()))
}

/// Whether an error only says that the reader went away.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error with its causes, each told once: some say their cause themselves. The system's errors have one wording.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for cause in error.chain() {
        let system = cause.downcast_ref::<io::Error>();
        let words = system.map_or_else(|| cause.to_string(), emberscope::said);
        if last.ends_with(&words) || system.is_some_and(|error| last.ends_with(&error.to_string())) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&words);
        last = words;
    }
    text
}

/// A message as a terminal may show it, line by line: paths and lines from logs are in it.
pub(crate) fn printable(message: &str) -> String {
    message.lines().map(emberscope_report::for_terminal).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    /// An error whose words hold those of its cause, as those of tables do.
    #[derive(Debug)]
    struct Loud(io::Error);

    impl std::fmt::Display for Loud {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "tables/tasks.parquet: {}", self.0)
        }
    }

    impl Error for Loud {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_cause_is_told_once_and_the_system_has_one_wording() {
        let full = || io::Error::from_raw_os_error(28);
        assert_eq!(chain(&anyhow::Error::new(Loud(full()))), format!("tables/tasks.parquet: {}", full()));
        let missing = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(chain(&anyhow::Error::new(missing).context("a.toml")), "a.toml: no such file or directory");
        let denied = io::Error::from_raw_os_error(13);
        assert_eq!(chain(&anyhow::Error::new(denied).context("out.json")), "out.json: permission denied");
    }
}
