//! The rules, one file each. A new rule is one file and one line here.

mod cache_eviction;
mod data_skew;
mod full_scan;
mod gc_pressure;
mod join_explosion;
mod large_broadcast;
mod memory_spill;
mod missed_broadcast;
mod python_udf_overhead;
mod repeated_computation;
mod shuffle_fetch_wait;
mod slow_executor;
mod small_files;
mod straggler_task;
mod streaming_lag;
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
    &small_files::RULE,
    &memory_spill::RULE,
    &gc_pressure::RULE,
    &cache_eviction::RULE,
    &repeated_computation::RULE,
    &python_udf_overhead::RULE,
    &missed_broadcast::RULE,
    &join_explosion::RULE,
    &full_scan::RULE,
    &large_broadcast::RULE,
    &shuffle_fetch_wait::RULE,
    &streaming_lag::RULE,
];
