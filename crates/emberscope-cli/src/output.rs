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
    let mut file =
        tempfile::Builder::new().prefix(".emberscope-").permissions(permissions(path)).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
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

/// A message as a terminal may show it, line by line: paths and lines from logs are in it.
pub(crate) fn printable(message: &str) -> String {
    message.lines().map(emberscope_report::for_terminal).collect::<Vec<_>>().join("\n")
}
