//! Scenarios and manifests: either all that is wrong is named, or every decision holds.

use csm_gather::offline::{File, lint, read};
use jiff::Timestamp;

use crate::decided;

/// The clock where the text names no time.
const CLOCK: Timestamp = Timestamp::constant(1_772_366_400, 0); // 2026-03-01T12:00:00Z

/// A file in YAML.
pub(crate) fn run(data: &[u8]) {
    let files = [File {
        name: "scenario.yaml".to_owned(),
        text: data.to_vec(),
        from_folder: false,
    }];
    for finding in lint(&files, CLOCK).findings {
        assert!(!finding.message.is_empty(), "a finding without words: {finding:?}");
    }
    match read(&files, &[], None, CLOCK) {
        Ok(offline) => {
            for subject in &offline.subjects {
                decided::holds(&subject.world, offline.now);
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused, and nothing is wrong");
            for mistake in mistakes {
                assert!(!mistake.to_string().is_empty(), "a mistake without words: {mistake:?}");
            }
        }
    }
}
