//! What can go wrong between here and a host.

use std::error::Error as _;
use std::time::Duration;

use crate::address::authority;

/// A request that got no answer that can be used. It holds no header, no query and no body; `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} at {host}: {message}{}", tries(*.attempts))]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// What was being done, as a verb: `send blob`.
    pub operation: &'static str,
    /// Where, as `HOST:PORT`.
    pub host: String,
    /// The reason, in one line.
    pub message: String,
    /// How often it was tried.
    pub attempts: u32,
}

fn tries(attempts: u32) -> String {
    if attempts > 1 { format!(" (tried {attempts} times)") } else { String::new() }
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection; nothing was sent.
    Connect,
    /// A connection, but no TLS that can be trusted; nothing was sent.
    Tls,
    /// The answer did not come in time: the request may have been carried out.
    Timeout,
    /// No byte moved for too long.
    Stalled,
    /// The connection ended before the answer did: the request may have been carried out.
    Lost,
    /// Plain http to a host where it is not allowed; nothing was sent.
    PlainHttp,
    /// A redirect that is not followed.
    Redirect,
    /// The body is larger than what is read.
    TooLarge,
    /// What was to be sent could not be read.
    Source,
    /// Certificates that were to be trusted could not be loaded; nothing was sent.
    Certificates,
    /// The request itself cannot be sent.
    Invalid,
}

impl ErrorKind {
    /// Whether the peer certainly saw nothing of the request.
    pub fn nothing_was_sent(self) -> bool {
        match self {
            Self::Connect | Self::Tls | Self::PlainHttp | Self::Certificates | Self::Invalid => true,
            Self::Timeout | Self::Stalled | Self::Lost | Self::Redirect | Self::TooLarge | Self::Source => {
                false
            }
        }
    }

    /// Whether the same request may fare better later.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Connect | Self::Timeout | Self::Stalled | Self::Lost => true,
            Self::Tls
            | Self::PlainHttp
            | Self::Redirect
            | Self::TooLarge
            | Self::Source
            | Self::Certificates
            | Self::Invalid => false,
        }
    }
}

impl Error {
    pub(crate) fn new(
        kind: ErrorKind,
        operation: &'static str,
        host: String,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, operation, host, message: message.into(), attempts: 1 }
    }

    pub(crate) fn stalled(operation: &'static str, host: String, limit: Duration) -> Self {
        Self::new(ErrorKind::Stalled, operation, host, format!("no byte moved for {}", seconds(limit)))
    }

    pub(crate) fn late(operation: &'static str, host: String, limit: Duration) -> Self {
        Self::new(ErrorKind::Timeout, operation, host, format!("no answer within {}", seconds(limit)))
    }

    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Reads the kind out of the client's own error; its text without any URL becomes the message.
    pub(crate) fn from_client(error: reqwest::Error, operation: &'static str, url: &url::Url) -> Self {
        let error = error.without_url();
        let mut kind = if error.is_connect() {
            ErrorKind::Connect
        } else if error.is_builder() {
            ErrorKind::Invalid
        } else {
            ErrorKind::Lost
        };
        // The innermost reason says most; the layers above it repeat "error sending request".
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(reason) = source {
            if let Some(found) = tls_reason(reason) {
                (kind, message) = (ErrorKind::Tls, format!("TLS: {found}"));
                break;
            }
            if let Some(found) = reason.downcast_ref::<SourceError>() {
                (kind, message) = (ErrorKind::Source, found.0.to_string());
                break;
            }
            message = reason.to_string();
            source = reason.source();
        }
        if kind == ErrorKind::Lost {
            message = format!("the connection ended before the answer came ({message})");
        }
        Self::new(kind, operation, authority(url), message)
    }
}

/// What TLS said, however deep it is wrapped: an `io::Error` does not name what it wraps as its source.
fn tls_reason(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    match error.downcast_ref::<rustls::Error>() {
        Some(error) => Some(error.to_string()),
        None => tls_reason(error.downcast_ref::<std::io::Error>()?.get_ref()?),
    }
}

/// Wraps what the source of a body said, so that it is told apart from what the connection said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SourceError(pub(crate) std::io::Error);

fn seconds(limit: Duration) -> String {
    if limit.subsec_millis() == 0 {
        format!("{} s", limit.as_secs())
    } else {
        format!("{} ms", limit.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_what_where_and_how_often() {
        let error = Error::late("read manifest", "h:443".into(), Duration::from_secs(60));
        assert_eq!(error.to_string(), "read manifest at h:443: no answer within 60 s");
        assert_eq!(
            error.after(5).to_string(),
            "read manifest at h:443: no answer within 60 s (tried 5 times)"
        );
    }

    #[test]
    fn what_may_have_happened_is_never_called_unsent() {
        for kind in [ErrorKind::Timeout, ErrorKind::Stalled, ErrorKind::Lost] {
            assert!(!kind.nothing_was_sent() && kind.is_transient());
        }
    }
}
