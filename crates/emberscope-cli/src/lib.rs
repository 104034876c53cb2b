//! The command line: [`run`] takes arguments and writers and gives the exit code, so that tests call it in process.
//!
//! Exit codes (`record` gives the job's own when that failed): 0 nothing at or over `--fail-on`, 1 findings at or over it, 2 could not do it (all of it, or a part). A reader
//! that closes the pipe has what it wanted: that is no error.

mod args;
mod diagnose;
mod docs;
mod environment;
mod evaluate;
mod explain;
#[cfg(feature = "tables")]
mod extract;
mod inputs;
mod output;
mod progress;
mod record;
mod reflow;
mod train;

use std::ffi::OsString;
use std::io::Write;

use clap::{CommandFactory, Parser};

use args::{Args, Command};
pub use environment::Environment;

/// Nothing at or over `--fail-on`.
pub const CLEAN: u8 = 0;
/// Findings at or over `--fail-on`.
pub const FINDINGS: u8 = 1;
/// Something could not be done.
pub const FAILED: u8 = 2;

/// Runs the command line and gives the exit code.
pub fn run(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut dyn Write,
    err: &mut dyn Write,
    environment: Environment,
) -> u8 {
    match command(args, out, err, environment) {
        Ok(code) => code,
        Err(error) if output::is_closed_pipe(&error) => CLEAN,
        Err(error) => {
            // Where even errors cannot be written there is nobody to tell.
            let _ = writeln!(err, "emberscope: {}", output::printable(&output::chain(&error)));
            FAILED
        }
    }
}

fn command(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut dyn Write,
    err: &mut dyn Write,
    environment: Environment,
) -> anyhow::Result<u8> {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return usage(&error, out, err),
    };
    match args.command {
        Command::Diagnose(args) => diagnose::diagnose(&args, out, err, environment),
        #[cfg(feature = "tables")]
        Command::Extract(args) => extract::extract(&args, out, err, environment),
        Command::Record(args) => record::record(&args, out, err, environment),
        Command::Train(args) => train::train(&args, out, err, &environment),
        Command::Evaluate(args) => evaluate::evaluate(&args, out, &environment),
        Command::Calibrate(args) => evaluate::calibrate(&args, out, &environment),
        Command::Rule { name } => explain::rule(name.as_deref(), out, &environment),
        Command::Feature { name } => explain::feature(name.as_deref(), out, &environment),
        Command::Problem { name } => explain::problem(name.as_deref(), out, &environment),
        Command::Schema { of } => explain::schema(of, out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "emberscope", &mut script);
            out.write_all(&script)?;
            Ok(CLEAN)
        }
        Command::Docs { check, dir } => docs::docs(&dir, check, err),
    }
}

/// Help and version are answers; anything else clap says is a mistake in the arguments.
fn usage(error: &clap::Error, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let text = error.render();
    if error.use_stderr() {
        write!(err, "{text}")?;
        return Ok(FAILED);
    }
    write!(out, "{text}")?;
    Ok(CLEAN)
}
