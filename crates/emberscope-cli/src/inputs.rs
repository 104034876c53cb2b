//! From the paths on the command line to the runs they hold.

use std::io::{Read, Write};
use std::path::PathBuf;

use emberscope::{DiscoverLimits, InputIssueKind, RunInput, Unreadable, discover};

use crate::output::printable;

/// The runs of all inputs, and what could not be used.
pub(crate) struct Inputs {
    /// The runs in the order of the command line.
    pub(crate) runs: Vec<RunInput>,
    /// Inputs that hold no run, and files that could not be looked at.
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Inputs {
    /// Bytes of all runs as stored; `None` when one is a stream.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.runs.iter().try_fold(0_u64, |sum, run| Some(sum.saturating_add(run.framed_bytes()?)))
    }
}

/// Finds the runs of every input; what is odd and does no harm is said on `err`.
pub(crate) fn find(paths: &[PathBuf], stdin: Box<dyn Read + Send>, err: &mut dyn Write) -> anyhow::Result<Inputs> {
    let mut inputs = Inputs { runs: Vec::new(), unreadable: Vec::new() };
    let mut stdin = Some(stdin);
    for path in paths {
        if path.as_os_str() == "-" {
            match stdin.take() {
                Some(reader) => inputs.runs.push(RunInput::from_reader("-", reader)),
                None => anyhow::bail!("standard input (-) can be read only once"),
            }
            continue;
        }
        let shown = path.display().to_string();
        if shown.contains("://") && !path.exists() {
            let error = format!("{shown}: reading from URLs is not supported; copy the log to a file");
            inputs.unreadable.push(Unreadable { input: shown, error });
            continue;
        }
        match discover(path, &DiscoverLimits::default()) {
            Ok(discovery) => {
                inputs.runs.extend(discovery.runs);
                for issue in discovery.issues {
                    if is_loss(&issue.kind) {
                        inputs.unreadable.push(Unreadable { error: issue.to_string(), input: issue.path });
                    } else {
                        writeln!(err, "emberscope: note: {}", printable(&issue.to_string()))?;
                    }
                }
            }
            Err(error) => inputs.unreadable.push(Unreadable { input: shown, error: error.to_string() }),
        }
    }
    Ok(inputs)
}

/// Whether something that may be a run was not read at all.
fn is_loss(kind: &InputIssueKind) -> bool {
    match kind {
        InputIssueKind::Unreadable { .. }
        | InputIssueKind::Archive { .. }
        | InputIssueKind::NestedArchive
        | InputIssueKind::UnsupportedEntry { .. }
        | InputIssueKind::TooDeep { .. }
        | InputIssueKind::TooManyFiles { .. }
        | InputIssueKind::NoParts => true,
        InputIssueKind::MissingParts { .. }
        | InputIssueKind::DuplicatePart { .. }
        | InputIssueKind::MissingAppStatus
        | InputIssueKind::EmptyFile
        | InputIssueKind::NotLogs { .. }
        | InputIssueKind::NotAFile
        | InputIssueKind::SeenBefore => false,
    }
}
