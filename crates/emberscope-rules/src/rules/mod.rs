//! The rules, one file each. A new rule is one file and one line here.

mod data_skew;
mod gc_pressure;
mod memory_spill;
mod shuffle_fetch_wait;
mod slow_executor;
mod straggler_task;
mod too_few_partitions;
mod too_many_partitions;

use crate::rule::Rule;

/// Every rule, in the order of the vocabulary.
pub static RULES: &[&Rule] = &[
    &data_skew::RULE,
    &straggler_task::RULE,
    &slow_executor::RULE,
    &too_few_partitions::RULE,
    &too_many_partitions::RULE,
    &memory_spill::RULE,
    &gc_pressure::RULE,
    &shuffle_fetch_wait::RULE,
];
