//! What a run tells while it works. The command line turns it into bars, lines or events; nothing else looks at it.

use longshore_contract::{Digest, Reference, Routing, Version};
use serde::Serialize;

use crate::ledger::FindingCounts;
use crate::push::BlobState;

/// Who is told what a run does, as it happens.
pub trait Observer: Send + Sync {
    /// Takes one event about one function on one target. Must not block.
    fn event(&self, unit: &UnitName, event: &Event);
}

/// One function on one target, as the manifest calls them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct UnitName {
    /// The function.
    pub function: String,
    /// The target; empty where something is pushed without one.
    pub target: String,
}

impl std::fmt::Display for UnitName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.target.as_str() {
            "" => f.write_str(&self.function),
            target => write!(f, "{}@{target}", self.function),
        }
    }
}

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A `build:` hook begins.
    Build {
        /// The hook as the manifest has it.
        command: String,
    },
    /// The embedded cloud was started because it did not run.
    CloudStarted {
        /// Where its functions answer.
        functions: String,
    },
    /// The image was read.
    Image {
        /// What will be pushed.
        digest: Digest,
        /// Bytes of all its blobs.
        size: u64,
    },
    /// A blob's progress. Sent often.
    Blob {
        /// The blob.
        digest: Digest,
        /// Its bytes.
        size: u64,
        /// How many of them are handed to the connection, in the current try.
        sent: u64,
        /// Where it is.
        state: BlobState,
    },
    /// The manifest is readable at its destination.
    Pushed {
        /// Where, by digest.
        reference: Reference,
        /// Bytes of blobs that were sent for it.
        bytes_sent: u64,
    },
    /// The image's scan is waited for.
    Scanning {
        /// The image, by digest.
        reference: Reference,
    },
    /// The scan stage has decided.
    Scanned {
        /// `cleared`, `waived`, `refused` or `absent`.
        verdict: &'static str,
        /// What was found.
        findings: FindingCounts,
    },
    /// A version is being made.
    Publishing,
    /// A version can serve.
    Published {
        /// The version.
        version: Version,
    },
    /// The alias was written.
    Routed {
        /// Where it sends its traffic now.
        routing: Routing,
    },
    /// The run waits before its next step.
    Soaking {
        /// Until then.
        until: jiff::Timestamp,
    },
    /// An entry of the ledger, as it was written.
    Ledger {
        /// The entry.
        entry: serde_json::Value,
    },
    /// Something somebody should know.
    Note {
        /// In one line.
        message: String,
    },
}
