//! The binary `emberscope`; all it does is in the library.

use std::io::{stderr, stdout};
use std::process::ExitCode;

use emberscope_cli::{Environment, run};

/// Plans and tables of a thousand columns are made of small pieces: the system's allocator takes 4 % longer over a log.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os(), &mut stdout().lock(), &mut stderr(), Environment::of_process()))
}
