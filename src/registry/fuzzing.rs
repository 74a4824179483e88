//! Doors to this module's parsers, for fuzzing. Each takes any bytes and fails by panicking.

use http::HeaderMap;
use http::header::{HeaderValue, WWW_AUTHENTICATE};

use super::access::read_scheme;
use super::challenge::{self, Scope};
use super::credentials::{Config, Entry};
use super::error::RegistryError;
use super::session::Scheme;
use super::{Errand, Purpose, helper, token as tokens};

/// The `WWW-Authenticate` headers of an answer, one a line.
pub(crate) fn challenge(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(8) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    let values = headers.get_all(WWW_AUTHENTICATE);
    let challenges = challenge::read(values.iter().filter_map(|value| value.to_str().ok()));
    assert!(challenges.len() <= bytes.len());
    if let Some((scheme, scope)) = read_scheme(&headers) {
        if let Scheme::Bearer(realm) = scheme {
            assert!(realm.url.host().is_some());
        }
        let asked = Scope { path: "a/b".to_owned(), purpose: Purpose::Push, also: Some("c".to_owned()) };
        let text = asked.text(scope.as_deref());
        assert!(text.contains("repository:a/b:") && text.contains("repository:c:"), "{text}");
    }
}

/// What a token service answers: what is taken fits into a header and is hidden, and its life has an end.
pub(crate) fn token(bytes: &[u8]) {
    match tokens::read_answer(bytes) {
        Ok((header, life)) => {
            assert!(header.is_sensitive() && header.as_bytes().starts_with(b"Bearer "));
            assert!((1..=24 * 60 * 60).contains(&life.as_secs()));
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

/// The body of a refusal: whatever it holds, one line of bounded length that steers no terminal.
pub(crate) fn refusal(bytes: &[u8]) {
    let errand = Errand { purpose: Purpose::Push, repository: "h.io/a/b".parse().expect("a repository") };
    for status in [400, 401, 403, 404, 413, 429, 502] {
        let error = RegistryError::refusal(&errand, "send manifest v1", status, bytes);
        let shown = error.to_string();
        assert!(shown.chars().count() < 8_000 && !shown.chars().any(char::is_control), "{shown:?}");
    }
}

/// A file of logins, looked into for a few registries.
pub(crate) fn logins(bytes: &[u8]) {
    let Ok(config) = serde_json::from_slice::<Config>(bytes) else { return };
    for repository in ["docker.io/library/a", "h.io:5000/a/b", "localhost/a"] {
        match config.look(&repository.parse().expect("a repository")) {
            Entry::None | Entry::Credential(Ok(_)) | Entry::Helper(_) => {}
            Entry::Credential(Err(why)) => assert!(!why.is_empty()),
        }
    }
}

/// What a credential helper answers.
pub(crate) fn helper(bytes: &[u8]) {
    if let Err(why) = helper::read_answer(bytes) {
        assert!(!why.is_empty());
    }
}
