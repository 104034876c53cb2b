//! Every layout, built in a temporary directory or an archive.

mod archives;
mod directories;
mod hostile;
mod names;
mod real;

use super::{DiscoverLimits, Discovery, InputError, Part, RunInput, discover};
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use tempfile::TempDir;

/// A directory with these files; each holds its own name, so that an order can be read from the contents.
fn tree(files: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for file in files {
        write(root.path(), file, file.as_bytes());
    }
    root
}

fn write(root: &Path, file: &str, content: &[u8]) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A zip archive as Java's `ZipOutputStream` makes it: deflated entries, directories as entries that end in a slash.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        let options = zip::write::SimpleFileOptions::default();
        if name.ends_with('/') {
            writer.add_directory(*name, options).unwrap();
        } else {
            writer.start_file(*name, options.compression_method(zip::CompressionMethod::Deflated)).unwrap();
            writer.write_all(content).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

fn find(path: &Path) -> Result<Discovery, InputError> {
    discover(path, &DiscoverLimits::default())
}

/// What is found below `root`, one line a run (`kind path: parts`, `running` in front where it is) and one line an issue, with
/// paths relative to `root`.
fn summary(root: &Path, path: &Path) -> Vec<String> {
    let found = match find(path) {
        Ok(found) => found,
        Err(error) => {
            return vec![error.to_string().replace(&format!("{}/", root.display()), "")];
        }
    };
    let runs = found.runs.iter().map(|run| {
        let parts: Vec<&str> = run.parts.iter().map(own_name).collect();
        let running = if run.in_progress { "running " } else { "" };
        format!("{running}{} {}: {}", run.kind.name(), run.path, parts.join(" "))
    });
    let issues = found.issues.iter().map(|issue| format!("issue {issue}"));
    let prefix = format!("{}/", root.display());
    runs.chain(issues).map(|line| line.replace(&prefix, "").replace(&root.display().to_string(), ".")).collect()
}

fn own_name(part: &Part) -> &str {
    part.name().rsplit(['/', '!']).next().unwrap()
}

fn content(part: &Part) -> Vec<u8> {
    let mut bytes = Vec::new();
    part.open().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn only(found: Discovery) -> RunInput {
    let [run] = <[RunInput; 1]>::try_from(found.runs).unwrap();
    run
}
