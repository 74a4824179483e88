//! How the registry says no: the error codes of the distribution specification.

use std::io;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;

use crate::state::is_full;

/// A request that is not done, in the specification's words.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(&'static str, String)>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl ToString) -> Self {
        Self { status, code, message: message.to_string(), headers: Vec::new() }
    }

    pub(super) fn blob_unknown(message: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", message)
    }

    pub(super) fn upload_unknown() -> Self {
        let message = "no such upload; begin a new one with a POST";
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", message)
    }

    pub(super) fn upload_invalid(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message)
    }

    /// A chunk that does not begin where the upload stands. The headers of the answer say where that is.
    pub(super) fn chunk_out_of_order(message: impl ToString, headers: Vec<(&'static str, String)>) -> Self {
        let refusal = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message);
        Self { headers, ..refusal }
    }

    pub(super) fn range(size: u64) -> Self {
        let message = format!("the blob has {size} bytes and none in the range asked for");
        let refusal = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", message);
        Self { headers: vec![("content-range", format!("bytes */{size}"))], ..refusal }
    }

    pub(super) fn digest_invalid(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    pub(super) fn manifest_unknown(message: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message)
    }

    pub(super) fn manifest_invalid(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
    }

    pub(super) fn manifest_blob_unknown(message: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", message)
    }

    pub(super) fn name_invalid(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", message)
    }

    pub(super) fn name_unknown(message: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message)
    }

    pub(super) fn too_large(message: impl ToString) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message)
    }

    /// The request's body did not come within bounds of time or size.
    pub(super) fn timed_out(message: impl ToString) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", message)
    }

    /// There is no room for what the client sends.
    pub(super) fn no_room(message: impl ToString) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "DENIED", message)
    }

    pub(super) fn too_many_tags(message: impl ToString) -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "UNSUPPORTED", message)
    }

    /// The method has no meaning there; `allowed` have.
    pub(super) fn method(method: &Method, allowed: &'static str) -> Self {
        let message = format!("{method} is not part of the distribution API here, only {allowed} are");
        let refusal = Self::unsupported(StatusCode::METHOD_NOT_ALLOWED, message);
        Self { headers: vec![("allow", allowed.to_owned())], ..refusal }
    }

    pub(super) fn denied(message: impl ToString) -> Self {
        Self::new(StatusCode::FORBIDDEN, "DENIED", message)
    }

    pub(super) fn unsupported(status: StatusCode, message: impl ToString) -> Self {
        Self::new(status, "UNSUPPORTED", message)
    }
}

impl From<io::Error> for Refusal {
    /// Our own disk failed; the message says what to look at. The specification has no code for it: `UNKNOWN` is what
    /// registries say, and some clients try again for it, which on a full disk they should not.
    fn from(error: io::Error) -> Self {
        tracing::error!("registry: {error}");
        if is_full(&error) {
            return Self::no_room(format!("the disk of the registry's directory is full: {error}"));
        }
        let message = format!("the registry's directory: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "errors": [{ "code": self.code, "message": self.message, "detail": null }] });
        let mut response = (self.status, Body::from(body.to_string())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}
