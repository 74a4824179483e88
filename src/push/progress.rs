//! What a push tells while it runs.

use longshore_contract::Digest;
use serde::Serialize;

/// Hears what happens. Called often and from several tasks: it must return at once.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event<'_>);
}

/// Something that happened in a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A blob came a step further.
    Blob {
        /// Which.
        digest: &'a Digest,
        /// How many bytes it has.
        size: u64,
        /// How many of them are handed to the connection, in the current try.
        sent: u64,
        /// Where it is.
        state: BlobState,
    },
    /// A manifest was taken, or in a dry run would be sent.
    Manifest {
        /// Which.
        digest: &'a Digest,
    },
}

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BlobState {
    /// It was there; nothing is sent.
    Present,
    /// It is on its way.
    Sending,
    /// A try failed; it begins again.
    Again,
    /// The registry has it.
    Sent,
    /// The registry took it over from another of its repositories; nothing is sent.
    Mounted,
    /// It would be sent.
    Planned,
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: Event<'_>) {}
}
