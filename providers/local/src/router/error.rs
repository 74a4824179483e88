//! What the router answers where a function cannot.

use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use longshore_contract::Version;
use serde::Serialize;

use crate::router::headers;

/// A request that no function answered.
#[derive(Debug)]
pub(crate) struct RouterError {
    /// What sort of failure it is.
    pub(crate) failure: Failure,
    /// What happened, in one line.
    pub(crate) message: String,
    /// The version that should have answered.
    pub(crate) version: Option<Version>,
    /// Where its log is.
    pub(crate) log: Option<PathBuf>,
}

/// The sorts of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no such function, version or alias.
    NotFound,
    /// The version's process does not start.
    DoesNotStart,
    /// It ended too often; it is started again later.
    Resting(Duration),
    /// It ended, or hung up, before it answered.
    NoAnswer,
    /// It did not answer in the function's time.
    Timeout,
    /// Every instance is busy, and there may be no more of them.
    Throttled,
    /// The request's body is larger than an event may be.
    TooLarge,
    /// The request's body ended before its end.
    BrokeOff,
}

impl Failure {
    /// The word for it in an answer.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::DoesNotStart => "DoesNotStart",
            Self::Resting(_) => "Resting",
            Self::NoAnswer => "NoAnswer",
            Self::Timeout => "Timeout",
            Self::Throttled => "Throttled",
            Self::TooLarge => "TooLarge",
            Self::BrokeOff => "BrokeOff",
        }
    }

    /// After how many seconds it may be different.
    pub(crate) fn retry_after(self) -> Option<u64> {
        match self {
            Self::Resting(after) => Some(after.as_secs() + 1),
            Self::Throttled => Some(1),
            _ => None,
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::DoesNotStart | Self::NoAnswer => StatusCode::BAD_GATEWAY,
            Self::Resting(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BrokeOff => StatusCode::BAD_REQUEST,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<&'a PathBuf>,
}

impl RouterError {
    /// There is nothing under the path that was asked for.
    pub(crate) fn not_found(message: impl ToString) -> Self {
        Self { failure: Failure::NotFound, message: message.to_string(), version: None, log: None }
    }

    /// The answer.
    pub(crate) fn answer(&self) -> Response {
        let body = Body {
            code: self.failure.word(),
            message: &self.message,
            version: self.version.as_ref(),
            log: self.log.as_ref(),
        };
        let mut response = (self.failure.status(), Json(body)).into_response();
        let answered = response.headers_mut();
        answered.insert(headers::ERROR, HeaderValue::from_static(self.failure.word()));
        if let Some(version) = &self.version {
            headers::add_version(answered, version);
        }
        if let Some(after) = self.failure.retry_after() {
            answered.insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        response
    }
}
