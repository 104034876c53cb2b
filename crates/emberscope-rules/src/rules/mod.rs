//! The rules, one file each. A new rule is one file and one line here.

mod cache_eviction;
mod data_skew;
mod full_scan;
mod join_explosion;
mod large_broadcast;
mod missed_broadcast;
mod python_udf_overhead;
mod repeated_computation;
mod small_files;
mod streaming_lag;

use crate::rule::Rule;

/// Every rule, in the order of the vocabulary.
pub static RULES: &[&Rule] = &[
    &data_skew::RULE,
    &small_files::RULE,
    &cache_eviction::RULE,
    &repeated_computation::RULE,
    &python_udf_overhead::RULE,
    &missed_broadcast::RULE,
    &join_explosion::RULE,
    &full_scan::RULE,
    &large_broadcast::RULE,
    &streaming_lag::RULE,
];
