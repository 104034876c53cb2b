//! Scans: what is read, from where, and which filters reached the files.

use emberscope_run::PlanNode;

use super::{Operator, canonical, metric, operator, own_rows};

/// A scan node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan<'a> {
    /// The node.
    pub(crate) node: &'a PlanNode,
}

impl<'a> Scan<'a> {
    /// The scan of a node; `None` when it is none. A cached table is no scan.
    pub(crate) fn of(node: &'a PlanNode) -> Option<Self> {
        (operator(node) == Operator::Scan).then_some(Self { node })
    }

    /// Its format in lower case: `parquet`, `csv`, `jdbc`; the node's name where it is not a file's.
    pub(crate) fn format(self) -> String {
        if let Some(format) = self.field("Format") {
            return format.to_ascii_lowercase();
        }
        let name = canonical(&self.node.name);
        let rest = name.trim_start_matches("File").trim_start_matches("Batch").trim_start_matches("Scan").trim();
        if rest.starts_with("JDBCRelation") {
            return "jdbc".to_owned();
        }
        rest.split([' ', '(', '[']).next().unwrap_or("").to_ascii_lowercase()
    }

    /// Whether the format keeps statistics by which parts of a file can be passed over.
    pub(crate) fn skips_by_statistics(self) -> bool {
        matches!(self.format().as_str(), "parquet" | "orc" | "delta" | "iceberg" | "hudi")
    }

    /// Whether it reads files.
    pub(crate) fn reads_files(self) -> bool {
        self.files().is_some() || self.field("Location").is_some()
    }

    /// The table, where the node's name has one: `db.t` of `Scan parquet db.t`.
    pub(crate) fn table(self) -> Option<&'a str> {
        let name = canonical(&self.node.name);
        let rest = name.strip_prefix("Scan ")?;
        if let Some(relation) = rest.strip_prefix("JDBCRelation(") {
            return relation.split(')').next();
        }
        let mut words = rest.split_whitespace();
        let (_format, table) = (words.next()?, words.next()?);
        Some(table).filter(|table| !table.starts_with('['))
    }

    /// The first path it reads, as far as Spark wrote it out.
    pub(crate) fn location(self) -> Option<&'a str> {
        let location = self.field("Location")?;
        let paths = location.split_once('[').map_or(location, |(_, paths)| paths);
        let path = paths.split([',', ']']).next().unwrap_or("").trim();
        Some(path).filter(|path| !path.is_empty())
    }

    /// What people call it: table, else path, else the node's name.
    pub(crate) fn name(self) -> String {
        self.table().or_else(|| self.location()).unwrap_or_else(|| canonical(&self.node.name)).to_owned()
    }

    /// Rows it put out.
    pub(crate) fn rows(self) -> Option<u64> {
        own_rows(self.node)
    }

    /// Files it read.
    pub(crate) fn files(self) -> Option<u64> {
        metric(self.node, "number of files read").or_else(|| metric(self.node, "number of files"))
    }

    /// Bytes of those files.
    pub(crate) fn bytes(self) -> Option<u64> {
        metric(self.node, "size of files read")
    }

    /// Partition filters that chose directories; `None` when the description does not say.
    pub(crate) fn partition_filters(self) -> Option<&'a str> {
        self.list("PartitionFilters")
    }

    /// Filters handed to the reader; `None` when the description does not say.
    pub(crate) fn pushed_filters(self) -> Option<&'a str> {
        self.list("PushedFilters")
    }

    /// Whether a pushed filter is more than a test for null, which every join key brings along.
    pub(crate) fn pushed_a_condition(self) -> Option<bool> {
        let filters = self.pushed_filters()?;
        let mut rest = filters;
        // `*` marks filters that JDBC sources apply themselves.
        for prefix in ["*", " ", ","] {
            rest = rest.trim_start_matches(prefix);
        }
        Some(split_top(rest).any(|filter| {
            let filter = filter.trim().trim_start_matches('*');
            !filter.is_empty() && !filter.starts_with("IsNotNull(")
        }))
    }

    /// A field of the node's metadata, or of its description: text up to the next field.
    fn field(self, key: &str) -> Option<&'a str> {
        if let Some(value) = self.node.metadata.get(key) {
            return Some(value.as_str());
        }
        let description = self.node.description.as_str();
        let from = description.find(&format!("{key}: "))? + key.len() + 2;
        let rest = description.get(from..)?;
        let end = FIELDS.iter().filter_map(|next| rest.find(&format!(", {next}: "))).min().unwrap_or(rest.len());
        rest.get(..end)
    }

    /// A field that is a list, without its brackets.
    fn list(self, key: &str) -> Option<&'a str> {
        let value = self.field(key)?.trim();
        let value = value.strip_prefix('[').unwrap_or(value);
        Some(value.strip_suffix(']').unwrap_or(value).trim())
    }
}

/// The fields of a file scan's description.
const FIELDS: [&str; 10] = [
    "Batched",
    "DataFilters",
    "Format",
    "Location",
    "PartitionFilters",
    "PushedFilters",
    "ReadSchema",
    "SelectedBucketsCount",
    "PushedAggregates",
    "PushedAggregation",
];

/// The parts of a list at its commas outside of brackets.
pub(super) fn split_top(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut depth = 0_i64;
        let comma = text.char_indices().find_map(|(at, c)| match c {
            '(' | '[' => {
                depth += 1;
                None
            }
            ')' | ']' => {
                depth -= 1;
                None
            }
            ',' if depth <= 0 => Some(at),
            _ => None,
        });
        if let Some(at) = comma {
            rest = text.get(at + 1..);
            text.get(..at)
        } else {
            rest = None;
            Some(text)
        }
    })
}
