//! Doors to this module's parsers, for fuzzing. Each takes any bytes and fails by panicking.

use url::Url;

use super::upload::{Host, place};
use crate::image::digest_of;

/// The `Location` of an upload that was opened: bytes and credentials go nowhere but where it says.
pub(crate) fn location(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let digest = digest_of(b"");
    for base in ["https://registry.example/v2/a/blobs/uploads/", "http://127.0.0.1:5000/v2/a/blobs/uploads/"]
    {
        let base: Url = base.parse().expect("a URL");
        match place(&base, text, &digest) {
            Ok((url, host)) => {
                assert!(url.fragment().is_none());
                let stated: Vec<_> = url.query_pairs().filter(|(key, _)| key == "digest").collect();
                assert_eq!(stated.last().map(|(_, value)| value.as_ref()), Some(digest.as_str()));
                assert!(base.scheme() != "https" || url.scheme() != "http");
                if host == Host::Registry {
                    assert_eq!(url.origin(), base.origin());
                }
            }
            Err(why) => assert!(!why.is_empty()),
        }
    }
}
