//! What all kinds of trees have: nodes in a list, the children of each side by side and after it.

/// Splits on the way to each node, from the left child of each node; `None` of a leaf.
pub(crate) fn depths(lefts: impl ExactSizeIterator<Item = Option<u32>>) -> Vec<u32> {
    let mut depths = vec![0u32; lefts.len()];
    for (at, left) in lefts.enumerate() {
        let Some(left) = left else { continue };
        let depth = depths.get(at).map_or(0, |depth| depth + 1);
        depths.iter_mut().skip(left as usize).take(2).for_each(|child| *child = depth);
    }
    depths
}

/// The deepest tree that is read: none that is grown is deeper.
const DEEPEST: u32 = 64;

/// Refuses a list of nodes that is no tree, from the left child of each node: one without a root, and one with a node that has no parent or
/// several, that is before its parent or below [`DEEPEST`].
pub(crate) fn check(lefts: impl ExactSizeIterator<Item = Option<u32>> + Clone) -> Result<(), String> {
    let nodes = lefts.len();
    let mut parents = vec![0u32; nodes];
    for (at, left) in lefts.clone().enumerate() {
        let Some(left) = left.map(|left| left as usize) else { continue };
        if left <= at || left + 1 >= nodes {
            return Err(format!("node {at} of {nodes} leads to {left}: no tree"));
        }
        parents.iter_mut().skip(left).take(2).for_each(|parents| *parents += 1);
    }
    match parents.split_first() {
        None => Err("a tree has no nodes".to_owned()),
        Some((_, others)) if others.iter().any(|&parents| parents != 1) => {
            Err("a node has no parent, or more than one: no tree".to_owned())
        }
        Some(_) if depths(lefts).into_iter().any(|depth| depth > DEEPEST) => {
            Err(format!("a tree is deeper than {DEEPEST}"))
        }
        Some(_) => Ok(()),
    }
}

/// Refuses a split on a feature that the table does not have, or at no number.
pub(crate) fn check_split(at: usize, feature: u32, threshold: f64, features: usize) -> Result<(), String> {
    if feature as usize >= features {
        return Err(format!("node {at} asks for feature {feature} of {features}"));
    }
    if threshold.is_finite() { Ok(()) } else { Err(format!("node {at} divides at {threshold}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(lefts: &[Option<u32>]) -> Result<(), String> {
        check(lefts.iter().copied())
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        assert_eq!(checked(&[None]), Ok(()));
        assert_eq!(checked(&[Some(1), None, Some(3), None, None]), Ok(()));
        let wrong: [&[Option<u32>]; 7] = [
            &[],
            &[Some(0), None, None],
            &[Some(1), Some(0), None],
            &[Some(2), None, None],
            &[Some(1), None],
            &[Some(1), Some(3), Some(3), None, None],
            &[None, None],
        ];
        for lefts in wrong {
            assert!(checked(lefts).is_err(), "{lefts:?}");
        }
        // A chain: the right child of each node is the next parent.
        let chain = |depth: u32| (0..=2 * depth).map(move |at| (at % 2 == 0 && at < 2 * depth).then_some(at + 1));
        let chain = |depth: u32| chain(depth).collect::<Vec<_>>();
        assert_eq!(checked(&chain(64)), Ok(()));
        assert!(checked(&chain(65)).is_err());
    }

    #[test]
    fn splits_on_what_is_not_there_are_refused() {
        assert_eq!(check_split(0, 2, 0.5, 3), Ok(()));
        assert!(check_split(0, 3, 0.5, 3).is_err());
        assert!(check_split(0, 0, f64::NAN, 3).is_err());
    }
}
