//! What several rules share: which tasks are warm, what blocked them, where a stage's partitions come from, and how
//! losses of many stages become one finding.

pub(crate) mod blocked;
pub(crate) mod loss;
pub(crate) mod memory;
pub(crate) mod partitioning;
pub(crate) mod tasks;
