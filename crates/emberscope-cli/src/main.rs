//! The binary `emberscope`; all it does is in the library.

use std::io::{stderr, stdout};
use std::process::ExitCode;

use emberscope_cli::{Environment, run};

fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os(), &mut stdout().lock(), &mut stderr(), Environment::of_process()))
}
