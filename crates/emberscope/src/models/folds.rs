//! Parts of the families for cross-validation: no family is both learned from and judged on.

use std::collections::{BTreeMap, BTreeSet};

use super::examples::ExampleRun;

/// Parts at most.
const PARTS: usize = 5;

/// Gives each family its part, so that those that have the problem are dealt out evenly first, then the others; `None` where fewer than
/// two families have it. Families are dealt in the order of their names, so that the same runs give the same parts.
pub(super) fn parts(runs: &[ExampleRun], of: impl Fn(usize) -> bool) -> Option<Parts> {
    let asked = || runs.iter().enumerate().filter(|(place, _)| of(*place)).map(|(_, run)| run);
    let with: BTreeSet<&str> = asked().filter(|run| run.has).map(|run| run.family.as_str()).collect();
    let all: BTreeSet<&str> = asked().map(|run| run.family.as_str()).collect();
    if with.len() < 2 {
        return None;
    }
    let count = with.len().min(PARTS);
    let order = with.iter().chain(all.difference(&with));
    let part_of = order.enumerate().map(|(place, family)| ((*family).to_owned(), place % count)).collect();
    Some(Parts { count, part_of })
}

/// Which family is in which part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) count: usize,
    part_of: BTreeMap<String, usize>,
}

impl Parts {
    /// Whether a family is in a part.
    pub(super) fn has(&self, part: usize, family: &str) -> bool {
        self.part_of.get(family) == Some(&part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(family: &str, has: bool) -> ExampleRun {
        ExampleRun { family: family.to_owned(), has, ruled: None }
    }

    #[test]
    fn families_that_have_the_problem_are_in_different_parts() {
        let runs = [run("a", true), run("b", false), run("c", true), run("d", false), run("a", false), run("e", true)];
        let parts = parts(&runs, |_| true).unwrap();
        assert_eq!(parts.count, 3);
        let of = |family| (0..3).find(|&part| parts.has(part, family)).unwrap();
        assert_eq!(["a", "c", "e", "b", "d"].map(of), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn one_family_alone_cannot_be_judged() {
        let runs = [run("a", true), run("b", false)];
        assert_eq!(parts(&runs, |_| true), None);
        assert_eq!(parts(&[run("a", true), run("c", true)], |place| place == 0), None);
    }
}
