//! `emberscope extract`.

use std::io::Write;

use emberscope::catalogue::Table;
use emberscope::suggest::did_you_mean;
use emberscope::tables::TableOptions;
use emberscope::{BatchOptions, Unreadable, extract_all, words};

use crate::args;
use crate::environment::Environment;
use crate::inputs;
use crate::output::printable;
use crate::progress;
use crate::{CLEAN, FAILED};

pub(crate) fn extract(
    args: &args::Extract,
    out: &mut dyn Write,
    err: &mut dyn Write,
    environment: Environment,
) -> anyhow::Result<u8> {
    let tables = TableOptions { tables: tables(&args.tables)?, format: args.format.into(), ..TableOptions::default() };
    let threads = environment.threads(args.threads)?;
    let bars = environment.progress;
    let mut inputs = inputs::find(&args.inputs, environment.stdin, err)?;
    let mut written = Vec::new();
    if !inputs.runs.is_empty() {
        let bar = progress::bar(inputs.bytes(), bars);
        let progress = |bytes: u64| bar.inc(bytes);
        let options =
            BatchOptions { threads, progress: Some(&progress), traces: &args.trace, ..BatchOptions::default() };
        written = extract_all(&inputs.runs, &args.out, &tables, &options, |input, result| {
            if let Err(error) = result {
                inputs.unreadable.push(Unreadable { input: input.path.clone(), error: error.to_string() });
            }
        })?;
        bar.finish_and_clear();
    }
    for unreadable in &inputs.unreadable {
        writeln!(err, "emberscope: {}", printable(&unreadable.error))?;
    }
    for table in &written {
        let rows = format!("{} row{}", words::count(table.rows), if table.rows == 1 { "" } else { "s" });
        let path = printable(&table.path.display().to_string());
        writeln!(out, "{path}: {rows}, {}", words::bytes(table.bytes as f64))?;
    }
    out.flush()?;
    Ok(if inputs.unreadable.is_empty() { CLEAN } else { FAILED })
}

fn tables(names: &[String]) -> anyhow::Result<Vec<Table>> {
    if names.is_empty() {
        return Ok(Table::ALL.to_vec());
    }
    let known = || Table::ALL.iter().map(|table| table.name());
    let table = |name: &String| {
        Table::from_name(name.trim()).ok_or_else(|| {
            let all = known().collect::<Vec<_>>().join(", ");
            anyhow::anyhow!("--tables: unknown table {name:?}{}; there are {all}", did_you_mean(name, known()))
        })
    };
    names.iter().map(table).collect()
}
