//! How the service says no.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An operation that was not carried out, and why. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What sort of refusal it is.
    pub code: Code,
    /// What is in the way, in one line.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

/// The sorts of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// The function, version or alias does not exist.
    NotFound,
    /// What was to be made exists already.
    ResourceConflict,
    /// The guard names another state than the present one.
    PreconditionFailed,
    /// An update is under way, or a version does not serve yet: later it may be fine.
    Busy,
    /// The newest update, or the version, failed: it cannot be published or given traffic.
    Failed,
    /// Something else depends on what was to be deleted.
    InUse,
    /// The request can never be accepted as it is.
    InvalidParameter,
}
