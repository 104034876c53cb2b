//! JSON: pretty, in the order of the types, equal for equal diagnoses.

use emberscope::Report;

/// The JSON of a report: the diagnosis itself when there is one run and nothing that could not be read, all of the report
/// otherwise. Ends with a line feed.
///
/// # Errors
///
/// When serde cannot write it, which no diagnosis makes it do.
pub fn json(report: &Report) -> Result<String, serde_json::Error> {
    let mut text = match (report.diagnoses.as_slice(), report.unreadable.as_slice()) {
        ([diagnosis], []) => serde_json::to_string_pretty(diagnosis)?,
        _ => serde_json::to_string_pretty(report)?,
    };
    text.push('\n');
    Ok(text)
}
