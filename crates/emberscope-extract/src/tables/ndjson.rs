//! Batches as JSON, an object a line.

use std::io::{self, Write};

use super::batch::{Batch, Column, NULL_CODE, NULL_INTEGER};

/// Writes the rows of a batch.
pub(super) fn write(batch: &Batch, out: &mut impl Write) -> io::Result<()> {
    let mut columns = Vec::new();
    for (index, (feature, column)) in batch.columns().enumerate() {
        let opening = if index == 0 { "{" } else { "," };
        let key = format!("{opening}{}:", serde_json::to_string(&feature.name)?);
        // Each distinct text is escaped once.
        let texts: Vec<String> = match column {
            Column::Texts(texts) => texts.distinct.iter().map(serde_json::to_string).collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        columns.push((key, column, texts));
    }
    let mut line = Vec::with_capacity(4096);
    for row in 0..batch.rows() {
        line.clear();
        for (key, column, texts) in &columns {
            line.extend_from_slice(key.as_bytes());
            match column {
                Column::Integers(values) => match values.get(row) {
                    Some(value) if *value != NULL_INTEGER => serde_json::to_writer(&mut line, value)?,
                    _ => line.extend_from_slice(b"null"),
                },
                Column::Floats(values) => match values.get(row) {
                    Some(value) if value.is_finite() => serde_json::to_writer(&mut line, value)?,
                    _ => line.extend_from_slice(b"null"),
                },
                Column::Flags(values) => line.extend_from_slice(match values.get(row) {
                    Some(0) => b"false",
                    Some(1) => b"true",
                    _ => b"null",
                }),
                Column::Texts(codes) => {
                    let code = codes.codes.get(row).copied().unwrap_or(NULL_CODE);
                    let text = usize::try_from(code).ok().and_then(|code| texts.get(code));
                    line.extend_from_slice(text.map_or(b"null", |text| text.as_bytes()));
                }
            }
        }
        line.extend_from_slice(b"}\n");
        out.write_all(&line)?;
    }
    Ok(())
}
