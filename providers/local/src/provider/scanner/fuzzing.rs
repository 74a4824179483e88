//! A door to this module's parser, for fuzzing. It takes any bytes and fails by panicking.

use super::report::{self, MOST_FINDINGS, Outcome};

/// A scanner's report, of whatever format.
pub(crate) fn report(bytes: &[u8]) {
    match report::read(bytes) {
        Ok(read) => {
            if let Outcome::Findings(findings) = &read.outcome {
                assert!(findings.len() <= MOST_FINDINGS);
            }
        }
        Err(garbage) => assert!(!garbage.to_string().is_empty()),
    }
}
