//! A door to this module's parser, for fuzzing. It takes any bytes and fails by panicking.

use std::io::Write as _;

use super::entry::{self, HEAD};

/// A file of the cache's, which anybody may have written into: what is believed of it agrees with its length.
pub(crate) fn entry(bytes: &[u8]) {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    if let Some(head) = entry::read(&file) {
        assert_eq!(HEAD + head.size, bytes.len() as u64);
    }
}
