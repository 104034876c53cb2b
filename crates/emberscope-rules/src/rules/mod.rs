//! The rules, one file each. A new rule is one file and one line here.

mod cpu_contention;
mod data_skew;
mod disk_io_bound;
mod gc_pressure;
mod large_closure;
mod large_result;
mod lock_contention;
mod memory_spill;
mod poor_locality;
mod scheduler_delay;
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
    &disk_io_bound::RULE,
    &cpu_contention::RULE,
    &lock_contention::RULE,
    &scheduler_delay::RULE,
    &large_closure::RULE,
    &large_result::RULE,
    &poor_locality::RULE,
];
