//! Joins and their two inputs.

use emberscope_run::PlanNode;

use super::{Operator, columns, data_name, inputs, keeps_rows, metric, operator, rows};

/// How a join is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum JoinKind {
    /// Both sides shuffled and sorted.
    SortMerge,
    /// Both sides shuffled, one of them into hash tables.
    ShuffledHash,
    /// One side broadcast into a hash table.
    BroadcastHash,
    /// One side broadcast, every pair tried.
    NestedLoop,
    /// Every pair of partitions and rows.
    Cartesian,
}

impl JoinKind {
    /// The join of a node's canonical name.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "SortMergeJoin" => Some(Self::SortMerge),
            "ShuffledHashJoin" => Some(Self::ShuffledHash),
            "BroadcastHashJoin" | "BroadcastHashOuterJoin" | "ExecutorBroadcastHashJoin" => Some(Self::BroadcastHash),
            "BroadcastNestedLoopJoin" | "ExecutorBroadcastNestedLoopJoin" => Some(Self::NestedLoop),
            "CartesianProduct" => Some(Self::Cartesian),
            _ => None,
        }
    }

    /// Whether both sides are shuffled for it.
    pub(crate) fn shuffles(self) -> bool {
        matches!(self, Self::SortMerge | Self::ShuffledHash)
    }

    /// Whether it tries every pair of rows.
    pub(crate) fn tries_every_pair(self) -> bool {
        matches!(self, Self::NestedLoop | Self::Cartesian)
    }
}

/// A side of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The left input.
    Left,
    /// The right input.
    Right,
}

/// A join node with its real inputs.
#[derive(Debug, Clone)]
pub(crate) struct Join<'a> {
    /// How it is computed.
    pub(crate) kind: JoinKind,
    /// Spark's name of the join type (`Inner`, `LeftOuter`); `None` when the description does not say.
    pub(crate) type_name: Option<&'static str>,
    /// The left input.
    pub(crate) left: &'a PlanNode,
    /// The right input.
    pub(crate) right: &'a PlanNode,
    node: &'a PlanNode,
}

const JOIN_TYPES: [&str; 10] = [
    "Inner",
    "Cross",
    "LeftOuter",
    "RightOuter",
    "FullOuter",
    "LeftSemi",
    "LeftAnti",
    "ExistenceJoin",
    "LeftSingle",
    "RightSemi",
];

impl<'a> Join<'a> {
    /// The join of a node; `None` when it is none or has not two inputs.
    pub(crate) fn of(node: &'a PlanNode) -> Option<Self> {
        let Operator::Join(kind) = operator(node) else { return None };
        let mut inputs = inputs(node);
        let (left, right) = (inputs.next()?, inputs.next()?);
        // A column may be named like a join type: types follow the keys, `[k#1], [k#2], LeftOuter, (condition)`.
        let after_keys = skip_keys(&node.description);
        let type_name = after_keys
            .split([',', ' ', '(', ')'])
            .find_map(|word| JOIN_TYPES.into_iter().find(|name| *name == word.trim()));
        let type_name = type_name.or_else(|| (kind == JoinKind::Cartesian).then_some("Inner"));
        Some(Self { kind, type_name, left, right, node })
    }

    /// The input of a side.
    pub(crate) fn input(&self, side: Side) -> &'a PlanNode {
        match side {
            Side::Left => self.left,
            Side::Right => self.right,
        }
    }

    /// Rows of a side.
    pub(crate) fn rows(&self, side: Side) -> Option<u64> {
        rows(self.input(side))
    }

    /// Bytes of a side as rows in memory (the `data size` of its exchange); `None` when it was not exchanged.
    pub(crate) fn data_size(&self, side: Side) -> Option<u64> {
        metric(self.exchange(side)?, "data size")
    }

    /// The exchange or broadcast of a side.
    pub(crate) fn exchange(&self, side: Side) -> Option<&'a PlanNode> {
        let mut node = self.input(side);
        loop {
            match operator(node) {
                Operator::Exchange | Operator::Broadcast => return Some(node),
                _ if keeps_rows(node) => node = super::input(node)?,
                _ => return None,
            }
        }
    }

    /// Whether Spark can broadcast a side: never the side whose rows must all come out. `None` when the type is not known.
    pub(crate) fn can_broadcast(&self, side: Side) -> Option<bool> {
        Some(match self.type_name? {
            "Inner" | "Cross" => true,
            "LeftOuter" | "LeftSemi" | "LeftAnti" | "ExistenceJoin" | "LeftSingle" => side == Side::Right,
            "RightOuter" | "RightSemi" => side == Side::Left,
            _ => false,
        })
    }

    /// Whether it can put out more rows than its larger input: semi and anti joins cannot.
    pub(crate) fn can_multiply(&self) -> bool {
        !matches!(self.type_name, Some("LeftSemi" | "LeftAnti" | "ExistenceJoin" | "LeftSingle" | "RightSemi"))
    }

    /// Its keys by name, those of both sides: `a = b`; `None` when it has none.
    pub(crate) fn keys(&self) -> Option<String> {
        let mut lists = bracketed(&self.node.description);
        let (left, right) = (columns(lists.next()?), columns(lists.next()?));
        if left.is_empty() || right.is_empty() {
            return None;
        }
        if left.len() != right.len() {
            return Some(format!("{} = {}", left.join(", "), right.join(", ")));
        }
        let pairs: Vec<String> =
            left.iter().zip(&right).map(|(l, r)| if l == r { l.clone() } else { format!("{l} = {r}") }).collect();
        Some(pairs.join(", "))
    }

    /// What people call a side: its tables or paths, else the side's word.
    pub(crate) fn side_name(&self, side: Side) -> String {
        let word = if side == Side::Left { "left" } else { "right" };
        data_name(self.input(side))
            .map_or_else(|| format!("the {word} side"), |name| format!("the {word} side ({name})"))
    }
}

/// What follows the two key lists of a description; the whole of it when there are none.
fn skip_keys(description: &str) -> &str {
    let mut rest = description;
    for _ in 0..2 {
        match close_of(rest) {
            Some((_, end)) => rest = rest.get(end..).unwrap_or(""),
            None => break,
        }
    }
    rest
}

/// The top-level `[...]` of a description, without their brackets.
fn bracketed(description: &str) -> impl Iterator<Item = &str> {
    let mut rest = description;
    std::iter::from_fn(move || {
        let (start, end) = close_of(rest)?;
        let inner = rest.get(start + 1..end - 1)?;
        rest = rest.get(end..)?;
        Some(inner)
    })
}

/// The first `[` and the place after its `]`; `None` when there is none, or it was cut off.
fn close_of(text: &str) -> Option<(usize, usize)> {
    let start = text.find('[')?;
    let mut depth = 0_usize;
    for (at, c) in text.get(start..)?.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some((start, start + at + 1));
                }
            }
            _ => {}
        }
    }
    None
}
