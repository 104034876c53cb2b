//! The rules, one file each. A new rule is one file and one line here.

mod data_skew;
mod driver_bottleneck;
mod executor_churn;
mod executor_loss;
mod executor_oom;
mod idle_cores;
mod job_failure;
mod memory_near_limit;
mod slow_start;
mod speculation_waste;
mod stage_retry;
mod task_failures;
mod unused_memory;

use crate::rule::Rule;

/// Every rule, in the order of the vocabulary.
pub static RULES: &[&Rule] = &[
    &data_skew::RULE,
    &executor_oom::RULE,
    &task_failures::RULE,
    &stage_retry::RULE,
    &executor_loss::RULE,
    &job_failure::RULE,
    &driver_bottleneck::RULE,
    &idle_cores::RULE,
    &unused_memory::RULE,
    &memory_near_limit::RULE,
    &executor_churn::RULE,
    &slow_start::RULE,
    &speculation_waste::RULE,
];
