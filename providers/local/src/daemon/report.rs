//! What a daemon that was just started tells whoever started it: one JSON line.

use longshore_contract::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// How the start went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// Both endpoints accept connections, and `daemon.json` says where.
    Ready {
        /// The daemon's process.
        pid: u32,
    },
    /// It could not start.
    Failed {
        /// One of this crate's words, for the kind.
        code: String,
        /// What is in the way.
        message: String,
    },
}

/// The code of an error about a port that somebody else listens on.
pub(crate) const PORT_TAKEN: &str = "PortTaken";

/// The code of an error about a directory that another daemon runs on.
pub(crate) const RUNS_ALREADY: &str = "RunsAlready";

impl Report {
    /// The report of a daemon that could not start.
    pub(crate) fn failed(error: &Error) -> Self {
        let code = match (&error.code, &error.kind) {
            (Some(code), _) => code.to_string(),
            (None, ErrorKind::Quota) => "StorageFull".to_owned(),
            (None, ErrorKind::Invalid) => "InvalidParameter".to_owned(),
            (None, _) => "Unexpected".to_owned(),
        };
        Self::Failed { code, message: error.message.to_string() }
    }
}

/// What a failed start is to a caller of the contract.
pub(crate) fn error(code: &str, subject: impl ToString, message: impl ToString) -> Error {
    let kind = match code {
        PORT_TAKEN => ErrorKind::Failed,
        RUNS_ALREADY => ErrorKind::Conflict,
        code => crate::control::refusal::kind_of(code, None),
    };
    Error::new(kind, "start", subject, message).with_code(code)
}
