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
