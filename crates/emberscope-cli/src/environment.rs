//! What the command line takes from the process it runs in.

use std::io::{IsTerminal, Read};
use std::num::NonZeroUsize;

/// The surroundings of a command: tests make their own.
pub struct Environment {
    /// Standard input, for the input `-`.
    pub stdin: Box<dyn Read + Send>,
    /// Columns of the terminal; `None` when the output is no terminal.
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
    /// The surroundings of this process. `NO_COLOR` (when not empty) and `TERM=dumb` switch colours off.
    pub fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = !set("NO_COLOR") && !dumb;
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self {
            stdin: Box::new(std::io::stdin()),
            width: out.then(terminal_size::terminal_size).flatten().map(|(width, _)| usize::from(width.0)),
            colour_out: out && colour,
            progress: err && !dumb,
            threads: std::env::var_os("EMBERSCOPE_THREADS").map(|value| value.to_string_lossy().into_owned()),
        }
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
