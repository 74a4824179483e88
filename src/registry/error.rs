//! Why a registry did not do what it was asked, in the words of whoever said no.

use longshore_wire as wire;
use serde::Deserialize;

use super::credentials::KeychainError;
use super::errand::{Errand, Purpose};

/// Why an image was not pushed or pulled. It holds no secret; `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{errand}: {message}{}", tries(*.attempts))]
pub struct RegistryError {
    /// What sort of failure it is.
    pub kind: RegistryErrorKind,
    /// What was to be done, and where.
    pub errand: Box<Errand>,
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
pub enum RegistryErrorKind {
    /// The image cannot go there as it is.
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

impl RegistryError {
    /// Whether somebody said no, as opposed to something having broken or not answered.
    pub fn is_refusal(&self) -> bool {
        match self.kind {
            RegistryErrorKind::Unreachable | RegistryErrorKind::Unavailable | RegistryErrorKind::Protocol => {
                false
            }
            RegistryErrorKind::Image
            | RegistryErrorKind::Unauthorized
            | RegistryErrorKind::Denied
            | RegistryErrorKind::RepositoryMissing
            | RegistryErrorKind::TagTaken
            | RegistryErrorKind::DigestMismatch
            | RegistryErrorKind::Unreadable
            | RegistryErrorKind::Refused
            | RegistryErrorKind::Keychain => true,
        }
    }

    pub(crate) fn new(kind: RegistryErrorKind, errand: &Errand, message: impl Into<String>) -> Self {
        Self {
            kind,
            errand: Box::new(errand.clone()),
            message: message.into(),
            hint: None,
            errors: Box::default(),
            attempts: 1,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    pub(crate) fn from_wire(error: wire::Error, errand: &Errand) -> Self {
        use wire::ErrorKind as From;
        let (kind, hint) = match error.kind {
            From::Connect => (
                RegistryErrorKind::Unreachable,
                Some(format!(
                    "check that a registry listens at {} and that a proxy or firewall lets you there",
                    error.host
                )),
            ),
            From::Tls | From::Certificates => (
                RegistryErrorKind::Unreachable,
                Some(format!(
                    "trust its certificate with SSL_CERT_FILE, /etc/docker/certs.d/{}/ca.crt or the endpoint's ca",
                    errand.repository.host()
                )),
            ),
            From::PlainHttp => (
                RegistryErrorKind::Unreachable,
                Some(format!(
                    "allow it with --plain-http {} or plain_http: true at the endpoint",
                    errand.repository.host()
                )),
            ),
            From::Timeout | From::Stalled | From::Lost => (RegistryErrorKind::Unavailable, None),
            From::Source => (RegistryErrorKind::Unreadable, None),
            _ => (RegistryErrorKind::Protocol, None),
        };
        let attempts = error.attempts;
        // The attempts are told once, by us.
        let message = format!("{} at {}: {}", error.operation, error.host, error.message);
        Self { hint, ..Self::new(kind, errand, message).after(attempts) }
    }

    pub(super) fn from_keychain(error: KeychainError, errand: &Errand) -> Self {
        let hint = error.hint.clone();
        Self { hint, ..Self::new(RegistryErrorKind::Keychain, errand, error.to_string()) }
    }

    /// Reads a refusal: what was being done, the status, and the beginning of the body.
    pub(crate) fn refusal(errand: &Errand, doing: &str, status: u16, body: &[u8]) -> Self {
        let errors = oci_errors(body);
        let said = match &*errors {
            [] => one_line(body),
            errors => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        };
        let has = |code: &str| errors.iter().any(|error| error.code == code);
        let (kind, hint) = match status {
            401 => (RegistryErrorKind::Unauthorized, None),
            403 => (
                RegistryErrorKind::Denied,
                Some(format!(
                    "these credentials may not {errand}: ask its owner, or log in as somebody else"
                )),
            ),
            404 if has("NAME_UNKNOWN") || has("NAME_INVALID") => {
                (RegistryErrorKind::RepositoryMissing, Some(missing(errand)))
            }
            408 | 429 | 500.. => (RegistryErrorKind::Unavailable, None),
            _ if has("DIGEST_INVALID") => (
                RegistryErrorKind::DigestMismatch,
                Some("a blob of the image is damaged: push again with --verify to learn which".to_owned()),
            ),
            _ => (RegistryErrorKind::Refused, None),
        };
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let message = match status {
            401 => format!("{doing}: the login is refused ({status}{said})"),
            _ => format!("{doing}: the registry answered {status}{said}"),
        };
        Self { errors, hint, ..Self::new(kind, errand, message) }
    }
}

/// What to do about a repository that is not there.
pub(crate) fn missing(errand: &Errand) -> String {
    let Errand { purpose, repository } = errand;
    match purpose {
        Purpose::Push => format!("make the repository {} at {} first", repository.path(), repository.host()),
        Purpose::Pull => format!("check the name: {} has no {}", repository.host(), repository.path()),
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
pub(crate) fn one_line(text: &[u8]) -> String {
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

    fn refusal(status: u16, body: &str) -> RegistryError {
        let errand = Errand { purpose: Purpose::Push, repository: "h.io/team/app".parse().unwrap() };
        RegistryError::refusal(&errand, "send manifest v1", status, body.as_bytes())
    }

    #[test]
    fn known_and_unknown_codes_are_both_kept() {
        let error = refusal(
            400,
            r#"{"errors": [{"code": "MANIFEST_INVALID", "message": "no\nlayers", "detail": {}}, {"code": "X_NEW"}, 3]}"#,
        );
        assert_eq!(error.kind, RegistryErrorKind::Refused);
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
        assert_eq!(error.kind, RegistryErrorKind::Unavailable);
        assert!(error.message.contains("502: <html> [31mxxx"), "{error}");
        assert!(error.message.ends_with('…') && error.message.chars().count() < 400);
    }

    #[test]
    fn a_missing_repository_is_told_from_a_missing_blob() {
        let missing = refusal(404, r#"{"errors": [{"code": "NAME_UNKNOWN"}]}"#);
        assert_eq!(missing.kind, RegistryErrorKind::RepositoryMissing);
        assert!(missing.hint.unwrap().contains("make the repository team/app at h.io"));
        assert_eq!(refusal(404, "").kind, RegistryErrorKind::Refused);
    }
}
