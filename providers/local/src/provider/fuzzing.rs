//! A door to the scanner's reports, for fuzzing.

pub(crate) use super::scanner::fuzzing::report;
