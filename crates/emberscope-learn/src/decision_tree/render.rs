//! A tree as a person reads it.

use super::{DecisionTree, Node, Split};

/// One way through a tree, in words.
#[derive(Debug, Clone, PartialEq)]
pub struct LeafRule {
    /// What holds on the way, the tightest bounds of each feature, in the order in which the tree asks.
    pub conditions: Vec<String>,
    /// The probability of yes.
    pub probability: f64,
    /// Rows of the training that came here.
    pub rows: u64,
    /// Their weight.
    pub weight: f64,
}

/// What is known of a feature on a way.
#[derive(Clone, Copy)]
struct Bounds {
    feature: u32,
    above: Option<f64>,
    up_to: Option<f64>,
    /// Whether rows without a value come here; `None` where the training had none.
    missing: Option<bool>,
}

impl DecisionTree {
    /// The tree as indented text, one line for each side of a split.
    pub fn to_text(&self, names: &[&str]) -> String {
        let mut text = String::new();
        if self.nodes[0].split.is_none() {
            return format!("{}\n", answer(&self.nodes[0]));
        }
        self.text_below(0, 0, names, &mut text);
        text
    }

    fn text_below(&self, at: usize, depth: usize, names: &[&str], text: &mut String) {
        let node = &self.nodes[at];
        let indent = "  ".repeat(depth);
        let Some(split) = node.split else {
            text.push_str(&format!("{indent}{}\n", answer(node)));
            return;
        };
        for right in [false, true] {
            text.push_str(&format!("{indent}{}\n", side(split, right, names)));
            self.text_below(split.left as usize + usize::from(right), depth + 1, names, text);
        }
    }

    /// The tree as a graph in the DOT language.
    pub fn to_dot(&self, names: &[&str]) -> String {
        let mut text = String::from("digraph tree {\n  node [shape=box, fontname=\"sans-serif\"];\n");
        for (at, node) in self.nodes.iter().enumerate() {
            let label = node.split.map_or_else(|| answer(node), |split| name(names, split.feature).to_owned());
            text.push_str(&format!("  n{at} [label=\"{}\"];\n", escaped(&label)));
            if let Some(split) = node.split {
                for right in [false, true] {
                    let child = split.left as usize + usize::from(right);
                    let label = relation(split, right);
                    text.push_str(&format!("  n{at} -> n{child} [label=\"{}\"];\n", escaped(&label)));
                }
            }
        }
        text.push_str("}\n");
        text
    }

    /// Each leaf as a rule, the most probable first.
    pub fn rules(&self, names: &[&str]) -> Vec<LeafRule> {
        let mut rules = Vec::new();
        let mut open: Vec<(usize, Vec<Bounds>)> = vec![(0, Vec::new())];
        while let Some((at, bounds)) = open.pop() {
            let node = &self.nodes[at];
            match node.split {
                None => rules.push(rule(node, &bounds, names)),
                Some(split) => {
                    for right in [true, false] {
                        open.push((split.left as usize + usize::from(right), narrowed(&bounds, split, right)));
                    }
                }
            }
        }
        rules.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        rules
    }

    /// The rule by which a row is judged.
    pub fn rule_of(&self, row: &[f64], names: &[&str]) -> LeafRule {
        let mut at = 0;
        let mut bounds = Vec::new();
        while let Some(split) = self.nodes[at].split {
            let child = split.child(row[split.feature as usize]);
            bounds = narrowed(&bounds, split, child > split.left as usize);
            at = child;
        }
        rule(&self.nodes[at], &bounds, names)
    }
}

impl std::fmt::Display for LeafRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let when = if self.conditions.is_empty() { "always".to_owned() } else { self.conditions.join(" and ") };
        let rows = if self.rows == 1 { "row" } else { "rows" };
        write!(f, "{when}: {:.0} % of {} {rows} of the training", 100.0 * self.probability, self.rows)
    }
}

fn rule(node: &Node, bounds: &[Bounds], names: &[&str]) -> LeafRule {
    let conditions = bounds.iter().map(|bounds| condition(*bounds, names)).collect();
    LeafRule { conditions, probability: node.probability(), rows: node.rows, weight: node.weight }
}

fn narrowed(bounds: &[Bounds], split: Split, right: bool) -> Vec<Bounds> {
    let mut bounds = bounds.to_vec();
    let missing = (split.missing_rows > 0).then_some(split.missing_right == right);
    let at = bounds.iter().position(|bounds| bounds.feature == split.feature).unwrap_or_else(|| {
        bounds.push(Bounds { feature: split.feature, above: None, up_to: None, missing: None });
        bounds.len() - 1
    });
    let own = &mut bounds[at];
    own.missing = match (own.missing, missing) {
        (Some(before), Some(now)) => Some(before && now),
        (before, now) => before.or(now),
    };
    if right {
        own.above = Some(own.above.map_or(split.threshold, |above| above.max(split.threshold)));
    } else {
        own.up_to = Some(own.up_to.map_or(split.threshold, |up_to| up_to.min(split.threshold)));
    }
    bounds
}

fn condition(bounds: Bounds, names: &[&str]) -> String {
    let name = name(names, bounds.feature);
    let Bounds { above, up_to, missing, .. } = bounds;
    let known = match (above.filter(|above| *above < f64::MAX), up_to.filter(|up_to| *up_to < f64::MAX)) {
        (Some(above), Some(up_to)) => format!("{name} above {} and up to {}", number(above), number(up_to)),
        (Some(above), None) => format!("{name} above {}", number(above)),
        (None, Some(up_to)) => format!("{name} up to {}", number(up_to)),
        // Above the largest number there is nothing but what is missing.
        (None, None) if above.is_some() => return format!("{name} unknown"),
        (None, None) => return format!("{name} known"),
    };
    if missing == Some(true) { format!("{known} or unknown") } else { known }
}

fn side(split: Split, right: bool, names: &[&str]) -> String {
    format!("{} {}", name(names, split.feature), relation(split, right))
}

fn relation(split: Split, right: bool) -> String {
    if split.threshold == f64::MAX {
        return if right { "unknown" } else { "known" }.to_owned();
    }
    format!("{} {}", if right { ">" } else { "<=" }, number(split.threshold))
}

fn name<'a>(names: &[&'a str], feature: u32) -> &'a str {
    names.get(feature as usize).copied().unwrap_or("?")
}

/// A number in as few digits as tell it from its neighbours in practice: four that count.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let text = if digits > 0 { format!("{value:.*}", digits.min(12) as usize) } else { format!("{value:.0}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn answer(node: &Node) -> String {
    let yes = (node.probability() * node.rows as f64).round();
    let share = if (node.weight - node.rows as f64).abs() < 1e-9 {
        format!("{yes:.0} of {}", node.rows)
    } else {
        format!("{:.0} % of {} by weight", 100.0 * node.probability(), node.rows)
    };
    format!("{} ({share})", if node.probability() > 0.5 { "yes" } else { "no" })
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
