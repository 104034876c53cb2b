//! What the command line takes from the process it runs in.

use std::io::{IsTerminal, Read};
use std::num::NonZeroUsize;

/// Columns where there is no terminal to ask.
const WIDTH: usize = 100;

/// The surroundings of a command: tests make their own.
pub struct Environment {
    /// Standard input, for the input `-`.
    pub stdin: Box<dyn Read + Send>,
    /// Columns of the terminal, or of `COLUMNS` where that is set; `None` when the output is no terminal.
    pub width: Option<usize>,
    /// Whether reports may use colours.
    pub colour_out: bool,
    /// Whether progress bars may be drawn on stderr.
    pub progress: bool,
    /// `EMBERSCOPE_THREADS`: a number, or what stands there instead of one.
    pub threads: Option<String>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("width", &self.width)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Default for Environment {
    /// No terminal, no input, no variables.
    fn default() -> Self {
        Self { stdin: Box::new(std::io::empty()), width: None, colour_out: false, progress: false, threads: None }
    }
}

impl Environment {
    /// The surroundings of this process. `NO_COLOR` (when not empty) and `TERM=dumb` switch colours off;
    /// `COLUMNS` sets the width.
    pub fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = !set("NO_COLOR") && !dumb;
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self {
            stdin: Box::new(std::io::stdin()),
            width: columns(std::env::var("COLUMNS").ok().as_deref())
                .or_else(|| out.then(terminal_size::terminal_size).flatten().map(|(width, _)| usize::from(width.0))),
            colour_out: out && colour,
            progress: err && !dumb,
            threads: std::env::var_os("EMBERSCOPE_THREADS").map(|value| value.to_string_lossy().into_owned()),
        }
    }

    /// Columns that pages take: those of the terminal between 80 and 120, or 100 where there is none.
    pub(crate) fn columns(&self) -> usize {
        self.width.unwrap_or(WIDTH).clamp(80, 120)
    }

    /// Threads to use: the option, else `EMBERSCOPE_THREADS`; `None` for as many as the machine has.
    pub(crate) fn threads(&self, option: Option<NonZeroUsize>) -> anyhow::Result<Option<NonZeroUsize>> {
        match (option, self.threads.as_deref().map(str::trim).filter(|value| !value.is_empty())) {
            (Some(threads), _) => Ok(Some(threads)),
            (None, Some(value)) => Ok(Some(value.parse().map_err(|_| {
                anyhow::anyhow!("EMBERSCOPE_THREADS is {value:?}, which is not a whole number over 0")
            })?)),
            (None, None) => Ok(None),
        }
    }
}

/// `COLUMNS`, if it is a number over 0.
fn columns(value: Option<&str>) -> Option<usize> {
    value?.trim().parse().ok().filter(|&columns| columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_when_they_are_a_number() {
        assert_eq!(columns(Some("91")), Some(91));
        assert_eq!([columns(None), columns(Some("")), columns(Some("wide")), columns(Some("0"))], [None; 4]);
        let width = |width| Environment { width, ..Environment::default() }.columns();
        assert_eq!([width(None), width(Some(91)), width(Some(40)), width(Some(300))], [100, 91, 80, 120]);
    }
}
