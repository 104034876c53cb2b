//! The JSON schema, generated from the types and committed beside this crate.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::diagnosis::{Diagnosis, Report};

/// The JSON schema of a [`Diagnosis`].
pub fn diagnosis_schema() -> Value {
    written::<Diagnosis>()
}

/// The JSON schema of a [`Report`]: what is written for several runs.
pub fn report_schema() -> Value {
    written::<Report>()
}

/// The schema of what is written: fields that the writer leaves out when they are empty are optional, all others are there.
fn written<T: JsonSchema>() -> Value {
    SchemaSettings::default().for_serialize().into_generator().into_root_schema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_committed_schemas_are_those_of_the_types() {
        for (name, schema) in [("diagnosis", diagnosis_schema()), ("report", report_schema())] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schema/{name}.schema.json"));
            let generated = format!("{}\n", serde_json::to_string_pretty(&schema).expect("schemas are JSON"));
            if std::env::var_os("EMBERSCOPE_BLESS").is_some() {
                std::fs::write(&path, &generated).expect("the schema folder is there");
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == generated, "{} is stale: run the tests with EMBERSCOPE_BLESS=1", path.display());
        }
    }
}
