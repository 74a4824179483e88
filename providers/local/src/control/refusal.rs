//! How the control API says no: one JSON shape, read again on the provider's side.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use longshore_contract::ErrorKind;
use longshore_model::{Code, Refusal};
use serde::{Deserialize, Serialize};

use crate::control::store::WriteError;
use crate::state::{StateError, is_full};

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    /// What sort of refusal it is: one word of [`ApiError::code`].
    pub(crate) code: String,
    /// What is in the way, in one line.
    pub(crate) message: String,
    /// The daemon's name for the request, which its log has too.
    pub(crate) request_id: String,
}

/// A request that was not carried out.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    /// The request can never be accepted as it is.
    pub(crate) fn invalid(message: impl ToString) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "InvalidParameter", message: message.to_string() }
    }

    /// It does not show the daemon's token, or it comes from a web page.
    pub(crate) fn denied(message: impl ToString) -> Self {
        Self { status: StatusCode::FORBIDDEN, code: "Denied", message: message.to_string() }
    }

    /// There is nothing of that name in the API.
    pub(crate) fn unknown(message: impl ToString) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "UnknownOperation", message: message.to_string() }
    }

    /// The answer under the daemon's name for the request.
    pub(crate) fn answer(self, request_id: String) -> Response {
        tracing::info!(request_id, code = self.code, "refused: {}", self.message);
        let body = ErrorBody { code: self.code.to_owned(), message: self.message, request_id };
        (self.status, Json(body)).into_response()
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match refusal.code {
            Code::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
            Code::ResourceConflict => (StatusCode::CONFLICT, "ResourceConflict"),
            Code::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
            Code::Busy => (StatusCode::CONFLICT, "Busy"),
            Code::Failed => (StatusCode::CONFLICT, "Failed"),
            Code::InUse => (StatusCode::CONFLICT, "InUse"),
            Code::InvalidParameter => (StatusCode::BAD_REQUEST, "InvalidParameter"),
        };
        Self { status, code, message: refusal.message }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let (status, code) = match error {
            WriteError::Refused(refusal) => return refusal.into(),
            WriteError::Unkept(StateError::Io { ref source, .. }) if is_full(source) => {
                (StatusCode::INSUFFICIENT_STORAGE, "StorageFull")
            }
            WriteError::Unkept(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Unkept"),
            WriteError::Unsure(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Unsure"),
        };
        Self { status, code, message: error.to_string() }
    }
}

/// What a refusal's code means to a caller of the contract. A code that is not known stays one that stops.
pub(crate) fn kind_of(code: &str, after: Option<std::time::Duration>) -> ErrorKind {
    match code {
        "NotFound" => ErrorKind::NotFound,
        "ResourceConflict" | "PreconditionFailed" | "InUse" => ErrorKind::Conflict,
        "Busy" => ErrorKind::Busy,
        "Failed" => ErrorKind::Failed,
        "InvalidParameter" => ErrorKind::Invalid,
        "Denied" => ErrorKind::Unauthenticated,
        "StorageFull" => ErrorKind::Quota,
        "Unsure" => ErrorKind::Indeterminate,
        "Throttled" => ErrorKind::Throttled { after },
        _ => ErrorKind::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_the_model_is_understood_on_the_other_side() {
        for (code, kind) in [
            (Code::NotFound, ErrorKind::NotFound),
            (Code::ResourceConflict, ErrorKind::Conflict),
            (Code::PreconditionFailed, ErrorKind::Conflict),
            (Code::Busy, ErrorKind::Busy),
            (Code::Failed, ErrorKind::Failed),
            (Code::InUse, ErrorKind::Conflict),
            (Code::InvalidParameter, ErrorKind::Invalid),
        ] {
            let error = ApiError::from(Refusal { code, message: String::new() });
            assert_eq!(kind_of(error.code, None), kind);
        }
        assert_eq!(kind_of("SomethingNew", None), ErrorKind::Unexpected);
    }

    #[test]
    fn a_full_disk_says_so() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let unkept = crate::state::io_error("write", std::path::Path::new("/x/state.json"))(full);
        let error = ApiError::from(WriteError::Unkept(unkept));
        assert_eq!(kind_of(error.code, None), ErrorKind::Quota);
        assert!(error.message.contains("/x/state.json"), "{}", error.message);
    }

    #[test]
    fn a_write_that_the_disk_may_lose_has_to_be_looked_at() {
        let loose = std::io::Error::other("loose");
        let unsure =
            crate::state::io_error("sync the folder of", std::path::Path::new("/x/state.json"))(loose);
        let error = ApiError::from(WriteError::Unsure(unsure));
        assert_eq!(kind_of(error.code, None), ErrorKind::Indeterminate);
        assert!(error.message.contains("may not survive"), "{}", error.message);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let unsure =
            crate::state::io_error("sync the folder of", std::path::Path::new("/x/state.json"))(full);
        let error = ApiError::from(WriteError::Unsure(unsure));
        assert_eq!(kind_of(error.code, None), ErrorKind::Indeterminate, "whatever it was that went wrong");
    }
}
