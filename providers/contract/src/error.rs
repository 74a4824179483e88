//! How a cloud says no, and what its caller may do about it.

use std::time::Duration;

/// The result of asking a cloud.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a cloud answered in place of what was asked. It holds no secret; `Display` is one line.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {subject}: {message}")]
pub struct Error {
    /// What sort of refusal it is; decides what may be done next.
    pub kind: ErrorKind,
    /// What was asked, as a verb: `publish`, `move alias`.
    pub operation: &'static str,
    /// What it was asked of, as the cloud names it.
    pub subject: Box<str>,
    /// The cloud's own code, kept even when it is unknown to us.
    pub code: Option<Box<str>>,
    /// What the cloud said, in one line and with secrets taken out.
    pub message: Box<str>,
    /// The cloud's name for this request, for its support desk.
    pub request_id: Option<Box<str>>,
}

impl Error {
    /// An error without a cloud's code or request id; [`Error::with_code`] and [`Error::with_request_id`] add them.
    pub fn new(
        kind: ErrorKind,
        operation: &'static str,
        subject: impl ToString,
        message: impl ToString,
    ) -> Self {
        Self {
            kind,
            operation,
            subject: subject.to_string().into(),
            code: None,
            message: message.to_string().into(),
            request_id: None,
        }
    }

    /// The same error with the cloud's own code.
    pub fn with_code(mut self, code: impl ToString) -> Self {
        self.code = Some(code.to_string().into());
        self
    }

    /// The same error with the cloud's name for the request.
    pub fn with_request_id(mut self, id: Option<String>) -> Self {
        self.request_id = id.map(Into::into);
        self
    }

    /// What its caller may do next.
    pub fn disposition(&self) -> Disposition {
        self.kind.disposition()
    }
}

/// The sorts of refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing asked about is not there.
    NotFound,
    /// Somebody else changed it first: a stale revision, or it exists already.
    Conflict,
    /// An update is under way; the same request will be fine later.
    Busy,
    /// The credentials are missing, wrong or at their end.
    Unauthenticated,
    /// The credentials are good and do not allow this.
    Denied,
    /// A limit of the account is reached.
    Quota,
    /// Too many requests; nothing was done.
    Throttled {
        /// How long to wait, where the cloud says so.
        after: Option<Duration>,
    },
    /// The service cannot answer now; nothing was done.
    Unavailable,
    /// The request was sent and no answer came: it may or may not have happened.
    Indeterminate,
    /// The function could not be updated, or a version does not start: the service's own reason is in the message.
    Failed,
    /// The request itself is refused: it will never be accepted as it is.
    Invalid,
    /// Anything else; the cloud's code is kept in the error.
    Unexpected,
}

impl ErrorKind {
    /// What a caller may do next: one total match, so that no provider can get it wrong.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Throttled { after } => Disposition::Retry { after: *after },
            Self::Busy | Self::Unavailable => Disposition::Retry { after: None },
            Self::Conflict | Self::Indeterminate => Disposition::LookFirst,
            Self::NotFound
            | Self::Unauthenticated
            | Self::Denied
            | Self::Quota
            | Self::Failed
            | Self::Invalid
            | Self::Unexpected => Disposition::Stop,
        }
    }
}

/// What a caller may do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing happened: the same request may be sent again.
    Retry {
        /// Not before this long.
        after: Option<Duration>,
    },
    /// It may have happened, or somebody else was there: read before acting.
    LookFirst,
    /// Sending it again would not help.
    Stop,
}
