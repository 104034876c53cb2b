//! Any bytes as an event log, to the end: run, features, rules. Two threads must read the same run as one.

#![no_main]

use emberscope_extract::features::Features;
use emberscope_fuzz::{limits, read};
use emberscope_rules::DetectorConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(run) = read(bytes, 1) else {
        assert!(read(bytes, 2).is_err());
        return;
    };
    let source = &run.sources[0];
    assert!(source.events_read + source.events_unknown > 0);
    assert!(run.task_count() <= limits().max_tasks && run.jobs.len() <= limits().max_ids);
    assert!(run.stages.len() <= limits().max_ids && run.failures.len() <= limits().max_failures);
    let parallel = read(bytes, 2).expect("what one thread reads two threads read");
    assert_eq!(source, &parallel.sources[0]);
    assert_eq!(run.issues, parallel.issues);
    assert_eq!(run.task_count(), parallel.task_count());
    let features = Features::of(&run);
    assert_eq!(features.stages.len(), run.stages.len());
    let assessment = emberscope_rules::assess(&run, &features, &DetectorConfig::default());
    for finding in &assessment.findings {
        assert!(finding.confidence.is_finite());
    }
});
