//! The rules, one file each. A new rule is one file and one line here.

mod cache_eviction;
mod cpu_contention;
mod data_skew;
mod disk_io_bound;
mod driver_bottleneck;
mod executor_churn;
mod executor_loss;
mod executor_oom;
mod full_scan;
mod gc_pressure;
mod idle_cores;
mod job_failure;
mod join_explosion;
mod large_broadcast;
mod large_closure;
mod large_result;
mod lock_contention;
mod memory_near_limit;
mod memory_spill;
mod missed_broadcast;
mod poor_locality;
mod python_udf_overhead;
mod repeated_computation;
mod scheduler_delay;
mod shuffle_fetch_wait;
mod slow_executor;
mod slow_start;
mod small_files;
mod speculation_waste;
mod stage_retry;
mod straggler_task;
mod streaming_lag;
mod task_failures;
mod too_few_partitions;
mod too_many_partitions;
mod unused_memory;

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
    &executor_oom::RULE,
    &cache_eviction::RULE,
    &repeated_computation::RULE,
    &python_udf_overhead::RULE,
    &missed_broadcast::RULE,
    &join_explosion::RULE,
    &full_scan::RULE,
    &large_broadcast::RULE,
    &shuffle_fetch_wait::RULE,
    &disk_io_bound::RULE,
    &cpu_contention::RULE,
    &lock_contention::RULE,
    &task_failures::RULE,
    &stage_retry::RULE,
    &executor_loss::RULE,
    &job_failure::RULE,
    &driver_bottleneck::RULE,
    &large_result::RULE,
    &scheduler_delay::RULE,
    &large_closure::RULE,
    &idle_cores::RULE,
    &unused_memory::RULE,
    &memory_near_limit::RULE,
    &poor_locality::RULE,
    &executor_churn::RULE,
    &slow_start::RULE,
    &speculation_waste::RULE,
    &streaming_lag::RULE,
];
