//! "Did you mean": the nearest of the names that exist.

/// Below this likeness (1 less the share of letters that Damerau and Levenshtein would change) a suggestion confuses more
/// than it helps.
const LIKENESS: f64 = 0.6;

/// The candidate most like `name`; `None` when none is near. At equal likeness the first wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let likeness = strsim::normalized_damerau_levenshtein(&name, &candidate.to_ascii_lowercase());
        if likeness >= LIKENESS && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// `; did you mean "data-skew"?` for the end of a message; empty when nothing is near.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name_and_nonsense_finds_none() {
        let names = ["data-skew", "small-files", "memory-spill"];
        assert_eq!(nearest("dataskew", names), Some("data-skew"));
        assert_eq!(nearest("Memory_Spill", names), Some("memory-spill"));
        assert_eq!(nearest("zzz", names), None);
        assert_eq!(did_you_mean("smal-files", names), "; did you mean \"small-files\"?");
    }
}
