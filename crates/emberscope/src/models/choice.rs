//! Which models look at a run.

use std::sync::{Arc, LazyLock};

use super::artefact::Models;

/// Which models look beside the rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ModelChoice {
    /// Those that the program brings.
    #[default]
    BuiltIn,
    /// None: rules alone.
    None,
    /// Others.
    Given(Arc<Models>),
}

impl ModelChoice {
    /// The models; `None` where there are none.
    pub fn models(&self) -> Option<&Models> {
        // A test says that what is built in can be read.
        static BUILT_IN: LazyLock<Option<Models>> = LazyLock::new(|| Models::built_in().ok());
        match self {
            Self::BuiltIn => BUILT_IN.as_ref(),
            Self::None => None,
            Self::Given(models) => Some(models.as_ref()),
        }
        .filter(|models| !models.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_fits_this_programs_features() {
        let models = Models::built_in().unwrap();
        assert_eq!(ModelChoice::BuiltIn.models(), Some(&models).filter(|models| !models.is_empty()));
        assert_eq!(ModelChoice::None.models(), None);
    }
}
