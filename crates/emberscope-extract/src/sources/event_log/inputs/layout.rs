//! Which runs the files of one directory make up. The same for the file system and for archives: only names count.

use super::error::{InputIssue, InputIssueKind};
use super::names::{
    DatabricksPart, NameHint, app_status, databricks_part, is_in_progress, is_rolling_directory, natural_order,
    rolling_part,
};
use super::{InputKind, Part, RunInput};
use std::collections::BTreeMap;

/// A file of a directory.
pub(super) struct Member {
    /// The file's own name.
    pub(super) name: String,
    pub(super) part: Part,
    /// Why it cannot be opened, when it cannot.
    pub(super) unreadable: Option<String>,
}

/// A directory, of the file system or inside an archive.
pub(super) struct Folder {
    /// Its own name; empty for the root of an archive.
    pub(super) name: String,
    /// What to show for it.
    pub(super) path: String,
    pub(super) archived: bool,
    /// Its files, without ignored ones.
    pub(super) members: Vec<Member>,
}

impl Folder {
    /// The runs in it, and what is wrong with them.
    pub(super) fn runs(mut self, issues: &mut Vec<InputIssue>) -> Vec<RunInput> {
        self.members.sort_by(|a, b| natural_order(&a.name, &b.name));
        let mut runs = self.take_rolling(issues);
        runs.extend(self.take_databricks(issues));
        for Member { name, part, unreadable } in self.members {
            if let Some(reason) = unreadable {
                issues.push(unreadable_part(&part, reason));
                continue;
            }
            if part.framed_bytes() == Some(0) {
                // An appstatus without its parts says nothing of a log.
                issues.push(InputIssue { path: part.name().to_owned(), kind: InputIssueKind::EmptyFile });
                continue;
            }
            runs.push(RunInput {
                kind: InputKind::SingleFile,
                path: part.name().to_owned(),
                archived: self.archived,
                in_progress: is_in_progress(&name),
                hint: NameHint::from_name(&name),
                parts: vec![part],
                issues: Vec::new(),
            });
        }
        runs
    }

    /// Rolling logs: the parts of one id, from the last compacted part on, as `RollingEventLogFilesFileReader` reads them.
    fn take_rolling(&mut self, issues: &mut Vec<InputIssue>) -> Vec<RunInput> {
        let mut groups: BTreeMap<String, Vec<Numbered>> = BTreeMap::new();
        let mut statuses: BTreeMap<String, bool> = BTreeMap::new();
        let mut rest = Vec::new();
        for member in std::mem::take(&mut self.members) {
            if let Some(found) = rolling_part(&member.name) {
                let numbered = Numbered {
                    index: found.index,
                    compact: found.compact,
                    part: member.part,
                    unreadable: member.unreadable,
                };
                groups.entry(found.id.to_owned()).or_default().push(numbered);
            } else if let Some(id) = app_status(&member.name) {
                // A status without suffix is the last word when a renaming left both.
                let running = is_in_progress(&member.name);
                let known = statuses.entry(id.to_owned()).or_insert(running);
                *known &= running;
            } else {
                rest.push(member);
            }
        }
        self.members = rest;
        for id in statuses.keys().filter(|id| !groups.contains_key(*id)) {
            if groups.is_empty() || !is_rolling_directory(&self.name) {
                issues.push(InputIssue { path: join(&self.path, id), kind: InputIssueKind::NoParts });
            }
        }
        let alone = groups.len() == 1 && is_rolling_directory(&self.name);
        let mut runs = Vec::new();
        for (id, parts) in groups {
            let path = if alone { self.path.clone() } else { join(&self.path, &id) };
            let status = match statuses.get(&id) {
                // A directory whose files were renamed still has its one status.
                None if alone && statuses.len() == 1 => statuses.values().next(),
                other => other,
            };
            if status.is_none() {
                issues.push(InputIssue { path: path.clone(), kind: InputIssueKind::MissingAppStatus });
            }
            let (parts, of_parts) = in_order(parts, &path);
            issues.extend_from_slice(&of_parts);
            if parts.is_empty() {
                continue;
            }
            runs.push(RunInput {
                kind: InputKind::Rolling,
                archived: self.archived,
                parts,
                issues: of_parts,
                in_progress: status.copied().unwrap_or(false),
                hint: NameHint::from_name(&id),
                path,
            });
        }
        runs
    }

    /// Databricks' roll-over: dated parts by time, the undated last. An undated file alone is a single file like any other.
    fn take_databricks(&mut self, issues: &mut Vec<InputIssue>) -> Option<RunInput> {
        let dated = |member: &Member| matches!(databricks_part(&member.name), Some(DatabricksPart::Dated(_)));
        if !self.members.iter().any(dated) {
            return None;
        }
        let (mut parts, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.members).into_iter().partition(|member| databricks_part(&member.name).is_some());
        self.members = rest;
        parts.sort_by(|a, b| {
            databricks_part(&a.name).cmp(&databricks_part(&b.name)).then_with(|| natural_order(&a.name, &b.name))
        });
        for member in parts.iter().filter(|member| member.part.framed_bytes() == Some(0)) {
            let path = member.part.name().to_owned();
            issues.push(InputIssue { path, kind: InputIssueKind::EmptyFile });
        }
        let mut of_parts = Vec::new();
        parts.retain_mut(|member| match member.unreadable.take() {
            Some(reason) => {
                of_parts.push(unreadable_part(&member.part, reason));
                false
            }
            None => true,
        });
        issues.extend_from_slice(&of_parts);
        (!parts.is_empty()).then(|| RunInput {
            kind: InputKind::DatabricksRollOver,
            path: self.path.clone(),
            archived: self.archived,
            parts: parts.into_iter().map(|member| member.part).collect(),
            in_progress: false,
            hint: NameHint::from_name(&self.name),
            issues: of_parts,
        })
    }
}

fn unreadable_part(part: &Part, reason: String) -> InputIssue {
    InputIssue { path: part.name().to_owned(), kind: InputIssueKind::Unreadable { reason } }
}

struct Numbered {
    index: u64,
    compact: bool,
    part: Part,
    unreadable: Option<String>,
}

/// Sorts by number, leaves out what a compacted part replaces, and reports gaps and parts that cannot be opened.
fn in_order(mut parts: Vec<Numbered>, path: &str) -> (Vec<Part>, Vec<InputIssue>) {
    // A compacted part holds what is left of all parts up to its own number, and stands behind its namesake.
    parts.sort_by_key(|part| (part.index, part.compact));
    if let Some(last) = parts.iter().rposition(|part| part.compact) {
        parts.drain(..last);
    }
    let mut issues = Vec::new();
    let mut issue = |kind| issues.push(InputIssue { path: path.to_owned(), kind });
    let mut kept: Vec<Numbered> = Vec::new();
    let mut next = 1;
    for part in parts {
        if let Some(same) = kept.last_mut().filter(|last| last.index == part.index) {
            issue(InputIssueKind::DuplicatePart { index: part.index });
            if part.part.framed_bytes() > same.part.framed_bytes() {
                *same = part;
            }
            continue;
        }
        if part.index > next && !part.compact {
            issue(InputIssueKind::MissingParts { first: next, last: part.index.saturating_sub(1) });
        }
        next = part.index.saturating_add(1);
        kept.push(part);
    }
    let mut readable = Vec::new();
    for Numbered { part, unreadable, .. } in kept {
        match unreadable {
            Some(reason) => issues.push(unreadable_part(&part, reason)),
            None => readable.push(part),
        }
    }
    (readable, issues)
}

/// A path for display below another one.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() || path.ends_with(['/', '!']) { format!("{path}{name}") } else { format!("{path}/{name}") }
}
