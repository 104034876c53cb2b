//! Prints the events of a trace, or with `--count` how many there are; `--count NAME:FIELD,FIELD ...` reads those fields.

use std::io::Write;
use std::path::Path;

use emberscope_ctf::{Events, Selection, Trace, discover};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().ok_or("usage: ctf-text DIR [--count [EVENT:FIELD,...]...]")?;
    let count = arguments.next().is_some_and(|argument| argument == "--count");
    let mut traces = Vec::new();
    for folder in discover(Path::new(&root))? {
        traces.push(Trace::open(&folder)?);
    }
    let wanted: Vec<String> = arguments.collect();
    let mut selection = if wanted.is_empty() { Selection::all() } else { Selection::new() };
    for wanted in &wanted {
        let (name, fields) = wanted.rsplit_once('=').unwrap_or((wanted, ""));
        selection.event(name, &fields.split(',').filter(|field| !field.is_empty()).collect::<Vec<_>>());
    }
    let mut events = Events::open(&traces, &selection);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut number, mut sum) = (0_u64, 0_u64);
    loop {
        match events.next() {
            Ok(Some(event)) => {
                number += 1;
                if count {
                    sum = sum.wrapping_add(event.value(0).as_u64().unwrap_or(1));
                } else {
                    writeln!(out, "{} {} {:?}", event.time_ns(), event.name(), event.record()?)?;
                }
            }
            Ok(None) => break,
            Err(error) => writeln!(out, "error: {error}")?,
        }
    }
    writeln!(out, "{number} events ({sum})")?;
    for lost in events.lost() {
        writeln!(
            out,
            "{}: {} events discarded, {} packets lost",
            lost.path.display(),
            lost.discarded_events,
            lost.lost_packets
        )?;
    }
    Ok(())
}
