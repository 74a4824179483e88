//! What was meant and what happened: numbered, immutable entries, one list per alias.
//!
//! The number is the lock. Whoever stores number N of an alias has decided what happens next there; everybody else is
//! refused that number, learns who was first, and reads again. Nothing else guards an alias between machines.
//!
//! [`Entry`] is what is stored, [`Ledger`] where, [`Journal`] one run's pen. [`History`] and [`Recalled`] are what a
//! list of entries says when it is read back; both are pure.

use std::io;

use async_trait::async_trait;
use longshore_contract::{AliasRef, Place};
use serde::{Deserialize, Serialize};

mod audit;
mod directory;
mod entry;
mod history;
mod journal;
#[cfg(test)]
pub(crate) mod memory;
mod path;
mod recall;
mod record;
mod scan;
mod scratch;

pub use audit::Audit;
pub use directory::DirectoryLedger;
pub use entry::{ConfigFacts, Entry, Event, FORMAT, Meant, Nonce, Opened, ScanWord, Verb};
pub use history::{History, RunState, RunSummary};
pub use journal::{Journal, JournalError, Observer, Silent, TakenOver};
pub use recall::Recalled;
pub use record::{Because, Ending, Origin, Plan, Remark, Step};
pub use scan::{FindingCounts, ScanRecord, ScanWaiver, Scanning};
pub use scratch::ScratchLedger;

/// Whose entries: one alias of one function in one place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LedgerKey {
    /// The cloud and region.
    pub place: Place,
    /// The alias.
    pub alias: AliasRef,
}

impl std::fmt::Display for LedgerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.place, self.alias)
    }
}

/// Where entries are kept.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Stores `entry` as number `entry.seq` of `key`. After `Ok` it is durable, and no reader ever sees a part of it.
    /// Fails with [`LedgerError::Taken`], and stores nothing, where the number has an entry; with
    /// [`LedgerError::Unclear`] when no answer came and the entry may be there.
    async fn append(&self, key: &LedgerKey, entry: &Entry) -> Result<(), LedgerError>;

    /// All entries of `key` in order, number 1 first; none where nothing was ever stored. A missing number with later
    /// ones behind it, or an entry that cannot be understood, is [`LedgerError::Torn`].
    async fn read(&self, key: &LedgerKey) -> Result<Vec<Entry>, LedgerError>;

    /// The entries of `key` from number `first` on, up to the first number that is free. What a waiting run asks again
    /// and again: it costs one look-up when there is nothing new, and does not search for gaps.
    async fn read_from(&self, key: &LedgerKey, first: u64) -> Result<Vec<Entry>, LedgerError>;

    /// Every alias that has entries here, in the order of their names.
    async fn keys(&self) -> Result<Vec<LedgerKey>, LedgerError>;
}

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The number has an entry already: somebody was there first.
    #[error("entry {} was taken by run {}", .by.seq, .by.run)]
    Taken {
        /// What is stored under the number.
        by: Box<Entry>,
    },
    /// An entry is missing, or is not what it should be. Nothing can be decided on such a ledger.
    #[error("the ledger is torn at {at}: {why}")]
    Torn {
        /// The entry's file or object.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// An entry was written by a newer Longshore.
    #[error("{at} is written in format {format}, and this longshore reads formats up to {FORMAT}")]
    Newer {
        /// The entry's file or object.
        at: String,
        /// Its format.
        format: u32,
    },
    /// The entry could not be stored: it is not there, or not known to be durable.
    #[error("the ledger cannot be written at {at}: {cause}")]
    Unwritable {
        /// The file or object.
        at: String,
        /// The system's reason.
        cause: io::Error,
    },
    /// Entries could not be read.
    #[error("the ledger cannot be read at {at}: {cause}")]
    Unreadable {
        /// The file, folder or object.
        at: String,
        /// The system's reason.
        cause: io::Error,
    },
    /// The entry was sent and no answer came. [`Journal`] settles it by reading the number back.
    #[error("no answer came while {at} was being stored: {why}")]
    Unclear {
        /// The entry's file or object.
        at: String,
        /// What is known.
        why: String,
    },
}
