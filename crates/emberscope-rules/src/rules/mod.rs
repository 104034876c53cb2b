//! The rules, one file each. A new rule is one file and one line here.

mod data_skew;

use crate::rule::Rule;

/// Every rule, in the order of the vocabulary.
pub static RULES: &[&Rule] = &[&data_skew::RULE];
