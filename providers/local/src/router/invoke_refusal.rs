//! How Invoke says no, in AWS's words.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use axum::response::Response;
use serde_json::{Value, json};

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// A call that is not carried out.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    body: Value,
}

impl Refusal {
    /// There is no such function, version or alias.
    pub(crate) fn not_found(arn: &str) -> Self {
        let body = json!({ "Type": "User", "Message": format!("Function not found: {arn}") });
        Self { status: StatusCode::NOT_FOUND, kind: "ResourceNotFoundException", body }
    }

    /// A parameter cannot be understood.
    pub(crate) fn invalid(message: &str) -> Self {
        let body = json!({ "Type": "User", "message": message });
        Self { status: StatusCode::BAD_REQUEST, kind: "InvalidParameterValueException", body }
    }

    /// The body, or what stands for a part of it, cannot be understood.
    pub(crate) fn content(message: &str) -> Self {
        let body = json!({ "Type": "User", "message": message });
        Self { status: StatusCode::BAD_REQUEST, kind: "InvalidRequestContentException", body }
    }

    /// The body has more than `limit` bytes.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request must be smaller than {limit} bytes for the InvokeFunction operation");
        let body = json!({ "Type": "User", "message": message });
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, kind: "RequestTooLargeException", body }
    }

    /// Every instance is busy.
    pub(crate) fn throttled(why: &str) -> Self {
        let body = json!({
            "Type": "User",
            "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
            "message": format!("Rate Exceeded: {why}"),
        });
        Self { status: StatusCode::TOO_MANY_REQUESTS, kind: "TooManyRequestsException", body }
    }

    /// The answer.
    pub(crate) fn answer(self) -> Response {
        let mut response = Response::new(Body::from(self.body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(self.kind));
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
