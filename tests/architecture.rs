//! What ARCHITECTURE promises of the source tree: which crate may use which, and what must not be in it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use emberscope_tests::root;

/// For each crate, those of ours that it may use: the arrows of the design, and nothing against them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("emberscope-run", &[]),
    ("emberscope-record", &[]),
    ("emberscope-ctf", &[]),
    ("emberscope-extract", &["emberscope-run", "emberscope-ctf"]),
    ("emberscope-rules", &["emberscope-run", "emberscope-extract"]),
    ("emberscope-simulate", &["emberscope-run", "emberscope-extract"]),
    ("emberscope-learn", &["emberscope-run", "emberscope-extract"]),
    (
        "emberscope",
        &["emberscope-run", "emberscope-extract", "emberscope-rules", "emberscope-simulate", "emberscope-learn"],
    ),
    ("emberscope-store", &["emberscope-run", "emberscope-rules", "emberscope"]),
    ("emberscope-report", &["emberscope-run", "emberscope-extract", "emberscope-rules", "emberscope"]),
    (
        "emberscope-cli",
        &[
            "emberscope-run",
            "emberscope-extract",
            "emberscope-rules",
            "emberscope-learn",
            "emberscope",
            "emberscope-record",
            "emberscope-report",
            "emberscope-store",
            "emberscope-web",
        ],
    ),
    ("emberscope-web", &["emberscope-run", "emberscope", "emberscope-report", "emberscope-store"]),
    ("emberscope-python", &["emberscope-run", "emberscope-extract", "emberscope", "emberscope-report"]),
];

/// Crates that compute and do no IO.
const CORE: &[&str] = &["emberscope-run", "emberscope-rules", "emberscope-simulate", "emberscope-learn"];

/// Lines that a file may have.
const MAX_LINES: usize = 500;

/// Rust files below a folder, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The names of our crates, each with its manifest.
fn crates() -> BTreeMap<String, toml::Table> {
    let folders = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let manifests = folders.map(|folder| folder.join("Cargo.toml")).filter(|manifest| manifest.is_file());
    manifests
        .map(|path| {
            let manifest: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
            (manifest["package"]["name"].as_str().unwrap().to_owned(), manifest)
        })
        .collect()
}

/// What a crate uses, to build and to run (its tests may use more).
fn used(manifest: &toml::Table) -> BTreeSet<String> {
    ["dependencies", "build-dependencies"]
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}

/// Every line of the crates' sources that holds one of `words` outside of comments, as `file:line: text`.
fn lines_with(krate: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in sources(&root().join("crates").join(krate).join("src")) {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn no_crate_depends_against_the_arrow() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let crates = crates();
    assert!(crates.len() >= 3, "{:?}", crates.keys());
    for (name, manifest) in &crates {
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no place among the arrows"));
        for dependency in used(manifest).iter().filter(|dependency| crates.contains_key(*dependency)) {
            assert!(allowed.contains(&dependency.as_str()), "{name} uses {dependency}, which is against the arrow");
        }
    }
}

#[test]
fn every_crate_takes_the_lints_and_the_version_of_the_workspace() {
    for (name, manifest) in crates() {
        let inherits = |table: Option<&toml::Value>| table.and_then(|table| table.get("workspace")?.as_bool());
        assert_eq!(inherits(manifest.get("lints")), Some(true), "{name} has lints of its own");
        assert_eq!(inherits(manifest["package"].get("version")), Some(true), "{name} has a version of its own");
    }
}

#[test]
fn core_crates_do_no_io() {
    for krate in CORE.iter().filter(|krate| root().join("crates").join(krate).is_dir()) {
        let found = lines_with(krate, &["std::fs", "std::net", "std::process", "std::env::", "println!"]);
        assert!(found.is_empty(), "{krate} does IO:\n{}", found.join("\n"));
    }
}

#[test]
fn polars_stays_inside_the_tables() {
    for (name, manifest) in crates() {
        let polars = used(&manifest).into_iter().any(|dependency| dependency.starts_with("polars"));
        assert!(!polars || name == "emberscope-extract" || name == "emberscope-python", "{name} uses Polars");
        for line in lines_with(&name, &["polars"]) {
            let in_tables = line.contains("/emberscope-extract/src/tables") || line.contains("/emberscope-python/");
            assert!(in_tables, "Polars outside of the tables: {line}");
        }
    }
}

#[test]
fn sources_and_features_do_not_know_each_other() {
    let found = lines_with("emberscope-extract", &["crate::features", "crate::sources"]);
    let wrong: Vec<_> = found
        .iter()
        .filter(|line| {
            line.contains("/src/sources/") && line.contains("crate::features")
                || line.contains("/src/features/") && line.contains("crate::sources")
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let long: Vec<_> = sources(&root().join("crates"))
        .into_iter()
        .chain(
            sources(&root().join("tests"))
                .into_iter()
                .filter(|path| !path.components().any(|c| c.as_os_str() == "target")),
        )
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn nothing_is_left_to_do() {
    // Written in halves, or this file would find itself.
    let words = [["TO", "DO"], ["FIX", "ME"], ["todo", "!("], ["unimplemented", "!("]].map(|halves| halves.concat());
    let mut found = Vec::new();
    for path in sources(&root().join("crates")) {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_top_level_holds_what_was_promised_and_nothing_else() {
    const PROMISED: &[&str] =
        &["Cargo.toml", "crates", "datasets", "models", "notebooks", "benches", "tests", "README.md"];
    const POLICY: &[&str] = &[
        "Cargo.lock",
        "LICENSE",
        "LICENSE-APACHE",
        "NOTICE",
        "Makefile",
        "clippy.toml",
        "rustfmt.toml",
        "deny.toml",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CODE_OF_CONDUCT.md",
        "rust-toolchain.toml",
        "docs",
        "target",
    ];
    let mut strange = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !PROMISED.contains(&name.as_str()) && !POLICY.contains(&name.as_str()) {
            strange.push(name);
        }
    }
    assert!(strange.is_empty(), "{strange:?}");
}
