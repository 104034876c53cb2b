//! What several rules share: which tasks are warm, what blocked them, where a stage's partitions come from, and how
//! losses of many stages become one finding.

pub(crate) mod blocked;
pub(crate) mod killed;
pub(crate) mod loss;
pub(crate) mod memory;
pub(crate) mod partitioning;
pub(crate) mod shuffle;
pub(crate) mod tasks;
pub(crate) mod traced;

/// A sum of amounts from a log, which may be any: it stays at its end where another would overflow.
pub(crate) fn total(amounts: impl Iterator<Item = u64>) -> u64 {
    amounts.fold(0, u64::saturating_add)
}
