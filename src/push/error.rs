//! Why a push failed, in the words of whoever said no.

use longshore_contract::Repository;
use longshore_wire as wire;
use serde::Deserialize;

use super::credentials::KeychainError;

/// Why an image did not arrive. It holds no secret; `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("push to {repository}: {message}{}", tries(*.attempts))]
pub struct PushError {
    /// What sort of failure it is.
    pub kind: PushErrorKind,
    /// Where the image was to go.
    pub repository: Repository,
    /// What happened, in one line; digests, hosts and the registry's own words are in it.
    pub message: String,
    /// What to do next, where we know.
    pub hint: Option<String>,
    /// What the registry said, code by code; unknown codes are kept.
    pub errors: Box<[OciError]>,
    /// How often the last step was tried.
    pub attempts: u32,
}

fn tries(attempts: u32) -> String {
    if attempts > 1 { format!(" (tried {attempts} times)") } else { String::new() }
}

/// The sorts of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushErrorKind {
    /// The image cannot be pushed as it is.
    Image,
    /// The registry wants other credentials, or some at all.
    Unauthorized,
    /// The credentials are good and do not allow this.
    Denied,
    /// The repository does not exist.
    RepositoryMissing,
    /// The tag names another image and the registry does not let it move.
    TagTaken,
    /// The registry cannot be reached.
    Unreachable,
    /// The registry cannot answer now, or asked too often for a pause.
    Unavailable,
    /// The bytes do not have the digest they are called by, here or at the registry.
    DigestMismatch,
    /// A file of the image could not be read.
    Unreadable,
    /// The registry refused it; its reasons are in `errors`.
    Refused,
    /// The registry answered with something no registry answers.
    Protocol,
    /// Credentials could not be looked up.
    Keychain,
}

/// One entry of a registry's error document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OciError {
    /// The code, known or not.
    #[serde(default)]
    pub code: String,
    /// The text.
    #[serde(default)]
    pub message: String,
}

/// How much of a refusal is read, and how much of a text that is no error document is shown.
pub(super) const REFUSAL_LIMIT: usize = 64 << 10;
const SHOWN: usize = 300;

impl PushError {
    /// Whether somebody said no, as opposed to something having broken or not answered.
    pub fn is_refusal(&self) -> bool {
        match self.kind {
            PushErrorKind::Unreachable | PushErrorKind::Unavailable | PushErrorKind::Protocol => false,
            PushErrorKind::Image
            | PushErrorKind::Unauthorized
            | PushErrorKind::Denied
            | PushErrorKind::RepositoryMissing
            | PushErrorKind::TagTaken
            | PushErrorKind::DigestMismatch
            | PushErrorKind::Unreadable
            | PushErrorKind::Refused
            | PushErrorKind::Keychain => true,
        }
    }

    pub(super) fn new(kind: PushErrorKind, repository: &Repository, message: impl Into<String>) -> Self {
        Self {
            kind,
            repository: repository.clone(),
            message: message.into(),
            hint: None,
            errors: Box::default(),
            attempts: 1,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn after(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    pub(super) fn from_wire(error: wire::Error, repository: &Repository) -> Self {
        use wire::ErrorKind as From;
        let (kind, hint) = match error.kind {
            From::Connect => (
                PushErrorKind::Unreachable,
                Some(format!(
                    "check that a registry listens at {} and that a proxy or firewall lets you there",
                    error.host
                )),
            ),
            From::Tls | From::Certificates => (
                PushErrorKind::Unreachable,
                Some(format!(
                    "trust its certificate with SSL_CERT_FILE, /etc/docker/certs.d/{}/ca.crt or the endpoint's ca",
                    repository.host()
                )),
            ),
            From::PlainHttp => (
                PushErrorKind::Unreachable,
                Some(format!(
                    "allow it with --plain-http {} or plain_http: true at the endpoint",
                    repository.host()
                )),
            ),
            From::Timeout | From::Stalled | From::Lost => (PushErrorKind::Unavailable, None),
            From::Source => (PushErrorKind::Unreadable, None),
            _ => (PushErrorKind::Protocol, None),
        };
        let attempts = error.attempts;
        // The attempts are told once, by us.
        let message = format!("{} at {}: {}", error.operation, error.host, error.message);
        Self { hint, ..Self::new(kind, repository, message).after(attempts) }
    }

    pub(super) fn from_keychain(error: KeychainError, repository: &Repository) -> Self {
        let hint = error.hint.clone();
        Self { hint, ..Self::new(PushErrorKind::Keychain, repository, error.to_string()) }
    }

    /// Reads a refusal: what was being done, the status, and the beginning of the body.
    pub(super) fn refusal(repository: &Repository, doing: &str, status: u16, body: &[u8]) -> Self {
        let errors = oci_errors(body);
        let said = match &*errors {
            [] => one_line(body),
            errors => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        };
        let has = |code: &str| errors.iter().any(|error| error.code == code);
        let (kind, hint) = match status {
            401 => (PushErrorKind::Unauthorized, None),
            403 => (
                PushErrorKind::Denied,
                Some(format!(
                    "these credentials may not push to {repository}: ask its owner, or log in as somebody else"
                )),
            ),
            404 if has("NAME_UNKNOWN") || has("NAME_INVALID") => (
                PushErrorKind::RepositoryMissing,
                Some(format!("make the repository {} at {} first", repository.path(), repository.host())),
            ),
            408 | 429 | 500.. => (PushErrorKind::Unavailable, None),
            _ if has("DIGEST_INVALID") => (
                PushErrorKind::DigestMismatch,
                Some("a blob of the image is damaged: push again with --verify to learn which".to_owned()),
            ),
            _ => (PushErrorKind::Refused, None),
        };
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let message = match status {
            401 => format!("{doing}: the login is refused ({status}{said})"),
            _ => format!("{doing}: the registry answered {status}{said}"),
        };
        Self { errors, hint, ..Self::new(kind, repository, message) }
    }
}

impl std::fmt::Display for OciError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(&one_line(message.as_bytes())),
            (code, "") => f.write_str(&one_line(code.as_bytes())),
            (code, message) => write!(f, "{} {}", one_line(code.as_bytes()), one_line(message.as_bytes())),
        }
    }
}

/// The entries of an error document that can be read, one by one: an odd entry does not lose the others.
fn oci_errors(body: &[u8]) -> Box<[OciError]> {
    #[derive(Deserialize)]
    struct Document {
        errors: Vec<serde_json::Value>,
    }
    let document: Document = match serde_json::from_slice(body) {
        Ok(document) => document,
        Err(_) => return Box::default(),
    };
    document.errors.into_iter().take(10).filter_map(|entry| serde_json::from_value(entry).ok()).collect()
}

/// A foreign text on one line, cut, without control characters.
pub(super) fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> PushError {
        PushError::refusal(&"h.io/team/app".parse().unwrap(), "send manifest v1", status, body.as_bytes())
    }

    #[test]
    fn known_and_unknown_codes_are_both_kept() {
        let error = refusal(
            400,
            r#"{"errors": [{"code": "MANIFEST_INVALID", "message": "no\nlayers", "detail": {}}, {"code": "X_NEW"}, 3]}"#,
        );
        assert_eq!(error.kind, PushErrorKind::Refused);
        assert_eq!(
            error.to_string(),
            "push to h.io/team/app: send manifest v1: the registry answered 400: MANIFEST_INVALID no layers; X_NEW"
        );
        assert_eq!(
            error.errors.iter().map(|error| error.code.as_str()).collect::<Vec<_>>(),
            ["MANIFEST_INVALID", "X_NEW"]
        );
    }

    #[test]
    fn a_body_that_is_no_error_document_is_shown_in_one_cut_line() {
        let error = refusal(502, &format!("<html>\n\u{1b}[31m{}", "x".repeat(1000)));
        assert_eq!(error.kind, PushErrorKind::Unavailable);
        assert!(error.message.contains("502: <html> [31mxxx"), "{error}");
        assert!(error.message.ends_with('…') && error.message.chars().count() < 400);
    }

    #[test]
    fn a_missing_repository_is_told_from_a_missing_blob() {
        let missing = refusal(404, r#"{"errors": [{"code": "NAME_UNKNOWN"}]}"#);
        assert_eq!(missing.kind, PushErrorKind::RepositoryMissing);
        assert!(missing.hint.unwrap().contains("make the repository team/app at h.io"));
        assert_eq!(refusal(404, "").kind, PushErrorKind::Refused);
    }
}
