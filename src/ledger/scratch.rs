//! A ledger that forgets: what is written is known to this process only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Entry, Ledger, LedgerError, LedgerKey};

/// Keeps new entries in memory, behind those of a real ledger or behind none. For one alias: whoever works on several
/// makes one for each.
#[derive(Default)]
pub struct ScratchLedger {
    beneath: Option<Arc<dyn Ledger>>,
    appended: Mutex<Vec<Entry>>,
}

impl ScratchLedger {
    /// Reads go on to `beneath`; writes do not.
    pub fn over(beneath: Arc<dyn Ledger>) -> Self {
        Self { beneath: Some(beneath), appended: Mutex::default() }
    }

    fn appended(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.appended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ledger for ScratchLedger {
    async fn append(&self, _key: &LedgerKey, entry: &Entry) -> Result<(), LedgerError> {
        self.appended().push(entry.clone());
        Ok(())
    }

    async fn read(&self, key: &LedgerKey) -> Result<Vec<Entry>, LedgerError> {
        let mut entries = match &self.beneath {
            Some(beneath) => beneath.read(key).await?,
            None => Vec::new(),
        };
        entries.extend(self.appended().iter().cloned());
        Ok(entries)
    }

    async fn read_from(&self, key: &LedgerKey, first: u64) -> Result<Vec<Entry>, LedgerError> {
        let entries = self.read(key).await?;
        Ok(entries.into_iter().filter(|entry| entry.seq >= first).collect())
    }

    async fn keys(&self) -> Result<Vec<LedgerKey>, LedgerError> {
        match &self.beneath {
            Some(beneath) => beneath.keys().await,
            None => Ok(Vec::new()),
        }
    }
}
