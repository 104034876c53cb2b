//! Signatures by which equal parts of plans are known again.

use emberscope_run::PlanNode;

use super::scan::split_top;
use super::{Operator, Scan, canonical, operator};
use crate::support::total;

/// A description without what differs between two plannings of one query: expression ids, plan ids, addresses.
pub(crate) fn normalised(description: &str) -> String {
    let mut out = String::with_capacity(description.len());
    let mut rest = description;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or("");
        let skipped = match c {
            '#' => Some(skip(after, |c| c.is_ascii_digit()))
                .filter(|digits| *digits > 0)
                .map(|digits| digits + usize::from(after.get(digits..).is_some_and(|rest| rest.starts_with('L')))),
            '@' => Some(skip(after, |c| c.is_ascii_hexdigit())).filter(|digits| *digits > 0),
            '=' if out.ends_with("plan_id") || out.ends_with("[id") => {
                Some(skip(after, |c| c.is_ascii_digit() || c == '#')).filter(|digits| *digits > 0)
            }
            _ => None,
        };
        if let Some(length) = skipped {
            rest = after.get(length..).unwrap_or("");
        } else {
            out.push(c);
            rest = after;
        }
    }
    out
}

fn skip(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    text.find(|c| !wanted(c)).unwrap_or(text.len())
}

/// Whether a node's signature says which data it reads. Local rows, RDDs and objects look alike whatever is in them.
pub(crate) fn identifies_data(node: &PlanNode) -> bool {
    match operator(node) {
        Operator::Scan => {
            let name = canonical(&node.name);
            let scan = Scan { node };
            name == "Range" || scan.location().is_some() || scan.table().is_some()
        }
        _ => true,
    }
}

/// A part of a plan with its signature.
#[derive(Debug, Clone)]
pub(crate) struct Part<'a> {
    /// Its uppermost node.
    pub(crate) node: &'a PlanNode,
    /// A hash of its nodes' kinds and descriptions, wrappers left out.
    pub(crate) signature: u64,
    /// The signature of the part it is in, wrappers left out; `None` for the whole plan.
    pub(crate) parent: Option<u64>,
    /// Its nodes without wrappers.
    pub(crate) nodes: u64,
    /// Whether more than reading, filtering and projecting is done in it.
    pub(crate) computes: bool,
    /// Whether every scan in it says what it reads, and no cached table is read.
    pub(crate) comparable: bool,
    /// Whether it reads anything.
    pub(crate) reads: bool,
}

/// How alike parts must be to have one signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// Every node has the same description but for ids.
    Same,
    /// The same data, filters, joins, grouping keys and computed columns. The columns that are read and handed on, and the
    /// functions of aggregates, may differ: Spark leaves out of a plan what its action does not need.
    Shape,
}

/// What of a node goes into the signature of its part; `None` for a node that the likeness looks through.
fn essence(node: &PlanNode, likeness: Likeness) -> Option<(String, String)> {
    let name = canonical(&node.name);
    if likeness == Likeness::Same {
        return Some((name.to_owned(), normalised(&node.description)));
    }
    let description = normalised(&node.description);
    Some(match operator(node) {
        // A column that is computed (`(id % 2) AS key`) is part of what is grouped, joined or put out by it.
        Operator::PassThrough if name == "Project" => {
            let computed = computed_columns(&description)?;
            (name.to_owned(), computed)
        }
        Operator::PassThrough if !matches!(name, "Window" | "MapElements") => return None,
        Operator::Scan => {
            let scan = Scan { node };
            let filters = [scan.partition_filters(), scan.pushed_filters()].map(|list| normalised(list.unwrap_or("")));
            let range = if name == "Range" { description } else { String::new() };
            (scan.name(), format!("{}\n{}\n{range}", filters[0], filters[1]))
        }
        _ if name.ends_with("Aggregate") => {
            let keys = description.split_once("keys=[").and_then(|(_, rest)| rest.split_once("], functions"));
            ("Aggregate".to_owned(), keys.map_or(description.clone(), |(keys, _)| keys.to_owned()))
        }
        _ => (name.to_owned(), description),
    })
}

/// The columns of a projection that are computed or get another name, in one order; `None` where it only hands columns on.
/// Keys above may name them. Columns that Spark cut off the description are not compared.
fn computed_columns(description: &str) -> Option<String> {
    let (_, list) = description.split_once('[')?;
    let list = list.rsplit_once(']').map_or(list, |(list, _)| list);
    let handed_on = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '`' | '#' | '-');
    let columns = split_top(list).map(str::trim).filter(|column| !column.starts_with("..."));
    let mut computed: Vec<&str> = columns.filter(|column| !column.chars().all(handed_on)).collect();
    computed.sort_unstable();
    (!computed.is_empty()).then(|| computed.join("\n"))
}

/// The parts of a plan, each node with all below it, in post-order. Nothing below a cached table or a reused exchange is
/// part of the work.
pub(crate) fn signatures(root: &PlanNode, likeness: Likeness) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    // Iterative: a plan can be deep.
    let mut open: Vec<(&PlanNode, bool)> = vec![(root, false)];
    let mut done: Vec<Part<'_>> = Vec::new();
    while let Some((node, children_done)) = open.pop() {
        let leaf = matches!(operator(node), Operator::CachedScan | Operator::Reused);
        if !children_done {
            open.push((node, true));
            if !leaf {
                open.extend(node.children.iter().rev().map(|child| (child, false)));
            }
            continue;
        }
        let count = if leaf { 0 } else { node.children.len() };
        let below = done.split_off(done.len().saturating_sub(count));
        let part = join_parts(node, &below, likeness);
        // A wrapper is its child: it is no part of its own, and the child waits for its real parent.
        if !looks_through(node, likeness) || below.len() != 1 {
            parts.extend(below.into_iter().map(|child| Part { parent: Some(part.signature), ..child }));
        }
        done.push(part);
    }
    parts.extend(done);
    parts
}

fn join_parts<'a>(node: &'a PlanNode, below: &[Part<'a>], likeness: Likeness) -> Part<'a> {
    if let (true, [only]) = (looks_through(node, likeness), below) {
        return only.clone();
    }
    let mut hash = Fnv::new();
    let (name, description) = essence(node, likeness).unwrap_or_default();
    hash.add(&name);
    hash.add(&description);
    for part in below {
        hash.add_number(part.signature);
    }
    let work = matches!(
        operator(node),
        Operator::Exchange | Operator::Broadcast | Operator::Join(_) | Operator::Python(_) | Operator::Other
    ) || matches!(canonical(&node.name), "Sort" | "Window" | "MapElements" | "Coalesce");
    let work = work && !canonical(&node.name).contains("Limit");
    Part {
        node,
        signature: hash.0,
        parent: None,
        nodes: total(below.iter().map(|part| part.nodes)).saturating_add(1),
        computes: work || below.iter().any(|part| part.computes),
        comparable: identifies_data(node)
            && operator(node) != Operator::CachedScan
            && node.name != "CommandResult"
            && below.iter().all(|part| part.comparable),
        reads: operator(node) == Operator::Scan || below.iter().any(|part| part.reads),
    }
}

/// Whether a node with one input is taken for that input.
fn looks_through(node: &PlanNode, likeness: Likeness) -> bool {
    operator(node) == Operator::Wrapper || essence(node, likeness).is_none()
}

/// The 64-bit FNV-1a hash (Fowler, Noll, Vo): the same at every run of the program.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, text: &str) {
        for byte in text.bytes().chain([0]) {
            self.byte(byte);
        }
    }

    fn add_number(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.byte(byte);
        }
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
}
