//! Feature tables of many runs.

use std::ops::ControlFlow;
use std::path::Path;

use emberscope_extract::features::Features;
use emberscope_extract::sources::{RunInput, SourceError, read_run};
use emberscope_extract::tables::{TableError, TableOptions, TableWriter, Written};

use crate::batch::{BatchOptions, Holding, for_each_run};

/// Writes the tables of every run that can be read into a directory, one file a table, in the order of the inputs; `told` is
/// told what became of each. Columns are encoded by the threads of `options`. Without a run that can be read no file is written, and none is given.
///
/// # Errors
///
/// When a table cannot be written: then none is.
pub fn extract_all(
    inputs: &[RunInput],
    directory: &Path,
    tables: &TableOptions,
    options: &BatchOptions<'_>,
    mut told: impl FnMut(&RunInput, Result<(), SourceError>),
) -> Result<Vec<Written>, TableError> {
    let tables = TableOptions { threads: options.threads(), ..tables.clone() };
    let mut writer = TableWriter::create(directory, &tables)?;
    let mut failure = None;
    let mut runs = 0_u64;
    for_each_run(
        inputs,
        options,
        Holding::UntilDelivered,
        |input, options| {
            let run = read_run(input, options)?;
            let features = Features::of(&run);
            Ok((run, features))
        },
        |input, read| {
            let (run, features) = match read {
                Ok(read) => read,
                Err(error) => {
                    told(input, Err(error));
                    return ControlFlow::Continue(());
                }
            };
            if let Err(error) = writer.add(&input.path, &run, &features) {
                failure = Some(error);
                return ControlFlow::Break(());
            }
            runs += 1;
            told(input, Ok(()));
            ControlFlow::Continue(())
        },
    );
    match failure {
        Some(error) => Err(error),
        None if runs == 0 => Ok(Vec::new()),
        None => writer.finish(),
    }
}
