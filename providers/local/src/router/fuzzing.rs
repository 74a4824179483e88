//! Doors to this module's parsers, for fuzzing. Each takes any bytes and fails by panicking.

use axum::body::Bytes;

use super::invoke_name;
use super::path::Asked;
use super::url_answer::{self, Prelude};

/// The path of a request to a function: what is handed on is what stood there.
pub(crate) fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(asked) = Asked::parse(text) {
        assert!(asked.path.starts_with('/') && text.starts_with(asked.prefix));
        assert!(asked.path == "/" || text == format!("{}{}", asked.prefix, asked.path));
    }
}

/// What a function answers to an HTTP request: whole, and as a stream that begins with its status and headers.
pub(crate) fn answer(bytes: &[u8]) {
    match url_answer::answer(Bytes::copy_from_slice(bytes)) {
        Ok(response) => assert!(response.status().as_u16() >= 100),
        Err(why) => assert!(!why.to_string().is_empty()),
    }
    if let Ok(Prelude::Ends(end, body)) = url_answer::prelude(bytes) {
        assert!(end < body && body <= bytes.len());
        let _ = url_answer::begun(&bytes[..end]);
    }
}

/// The name of a function as Invoke takes it, and the qualifier beside it on a line of its own.
pub(crate) fn invoke_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (name, qualifier) = text.split_once('\n').map_or((text, None), |(name, beside)| (name, Some(beside)));
    if let Ok(named) = invoke_name::parse(name, qualifier) {
        assert!(name.contains(named.function.as_str()));
    }
}
