//! Doors to this module's parsers, for fuzzing. Each takes any bytes and fails by panicking.

use super::document::{Configuration, Document};
use super::range::{self, Part};
use super::route::{self, Subject};

/// The path of a request: no name in it leaves its directory.
pub(crate) fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(Subject::Blob(name, _) | Subject::Manifest(name, _) | Subject::Tags(name)) =
        route::subject(text)
    {
        assert!(!name.as_str().split('/').any(|part| matches!(part, "" | "." | "..")));
    }
}

/// The two range headers: a part lies within the blob.
pub(crate) fn ranges(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for size in [0, 1, 100, u64::MAX] {
        if let Part::Bytes(part) = range::part(Some(text), size) {
            assert!(part.start() <= part.end() && *part.end() < size);
        }
    }
    if let Some(chunk) = range::chunk(text) {
        assert!(chunk.start() <= chunk.end());
    }
}

/// A manifest that is put, and the configuration of an image that is to run.
pub(crate) fn document(bytes: &[u8]) {
    for content_type in [None, Some("application/vnd.oci.image.index.v1+json; charset=utf-8"), Some("")] {
        match Document::read(content_type, bytes) {
            Ok((document, media_type)) => {
                assert!(!media_type.is_empty());
                assert!(document.blobs().count() == 0 || document.children().is_empty());
            }
            Err(why) => assert!(!why.is_empty()),
        }
    }
    let _ = serde_json::from_slice::<Configuration>(bytes);
}
