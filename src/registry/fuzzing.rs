//! Doors to this module's parsers, for fuzzing. Each takes any bytes and fails by panicking.

use http::HeaderMap;
use http::header::{HeaderValue, WWW_AUTHENTICATE};

use longshore_contract::Repository;

use super::access::read_scheme;
use super::challenge::{self, Scope};
use super::credentials::{Config, Entry};
use super::error::RegistryError;
use super::exchange::is_for_another;
use super::known::KnownRegistry;
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

/// What a token service answers: a token is one, and its life has an end.
pub(crate) fn token(bytes: &[u8]) {
    if let Ok(answered) = serde_json::from_slice::<tokens::Answered>(bytes) {
        assert!((1..=24 * 60 * 60).contains(&answered.life().as_secs()));
        assert!(answered.token().is_none_or(|token| !token.is_empty()));
    }
}

/// A token that may say for whom it is.
pub(crate) fn claims(bytes: &[u8]) {
    if let Ok(token) = std::str::from_utf8(bytes) {
        is_for_another(token, "registry.example");
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
        let repository: Repository = repository.parse().expect("a repository");
        match config.look(&repository, KnownRegistry::of_host(repository.host(), &[])) {
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
