//! Where a ledger is.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::ledger::{DirectoryLedger, Entry, Ledger, LedgerError, LedgerKey};

/// The ledger that `url` names: a directory, relative to `directory`. `Err` says why it names none.
pub(super) fn open(url: &str, directory: &Path) -> Result<Arc<dyn Ledger>, String> {
    match url.split_once("://") {
        None => Ok(Arc::new(DirectoryLedger::new(directory.join(url)))),
        Some(("file", path)) => Ok(Arc::new(DirectoryLedger::new(path))),
        Some((scheme, _)) => Err(format!(
            "a ledger at {scheme}:// comes with a later version; this one keeps it in a directory, as in `.longshore/ledger`"
        )),
    }
}

/// The ledger of a machine that has none: nothing is known, and what is written is known to this process only. The
/// alias's own description carries what another machine needs.
pub(super) fn none() -> Arc<dyn Ledger> {
    Arc::new(Nowhere::default())
}

#[derive(Default)]
struct Nowhere(std::sync::Mutex<Vec<Entry>>);

impl Nowhere {
    fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Ledger for Nowhere {
    async fn append(&self, _key: &LedgerKey, entry: &Entry) -> Result<(), LedgerError> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(entry.clone());
        Ok(())
    }

    async fn read(&self, _key: &LedgerKey) -> Result<Vec<Entry>, LedgerError> {
        Ok(self.entries())
    }

    async fn read_from(&self, _key: &LedgerKey, first: u64) -> Result<Vec<Entry>, LedgerError> {
        Ok(self.entries().into_iter().filter(|entry| entry.seq >= first).collect())
    }

    async fn keys(&self) -> Result<Vec<LedgerKey>, LedgerError> {
        Ok(Vec::new())
    }
}
