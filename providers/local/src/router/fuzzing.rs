//! Doors to this module's parsers, for fuzzing. Each takes any bytes and fails by panicking.

use super::path::Asked;

/// The path of a request to a function: what is handed on is what stood there.
pub(crate) fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(asked) = Asked::parse(text) {
        assert!(asked.path.starts_with('/') && text.starts_with(asked.prefix));
        assert!(asked.path == "/" || text == format!("{}{}", asked.prefix, asked.path));
    }
}
