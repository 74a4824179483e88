//! A ledger in memory, for tests.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use longshore_contract::{AliasRef, Place, RunId};

use super::{Entry, Event, FORMAT, Ledger, LedgerError, LedgerKey, Nonce};

/// A ledger in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryLedger(Mutex<HashMap<LedgerKey, Vec<Entry>>>);

#[async_trait]
impl Ledger for MemoryLedger {
    async fn append(&self, key: &LedgerKey, entry: &Entry) -> Result<(), LedgerError> {
        // What a real ledger would store is what a test reads back.
        let stored = Entry::from_bytes(&entry.to_bytes(), entry.seq, &"memory")?;
        let mut all = self.0.lock().unwrap();
        let entries = all.entry(key.clone()).or_default();
        let at = usize::try_from(entry.seq).unwrap() - 1;
        if let Some(by) = entries.get(at) {
            return Err(LedgerError::Taken { by: Box::new(by.clone()) });
        }
        assert_eq!(entries.len(), at, "nobody numbers beyond the next");
        entries.push(stored);
        Ok(())
    }

    async fn read(&self, key: &LedgerKey) -> Result<Vec<Entry>, LedgerError> {
        self.read_from(key, 1).await
    }

    async fn read_from(&self, key: &LedgerKey, first: u64) -> Result<Vec<Entry>, LedgerError> {
        let all = self.0.lock().unwrap();
        let skipped = usize::try_from(first).unwrap() - 1;
        Ok(all.get(key).map(|entries| entries.iter().skip(skipped).cloned().collect()).unwrap_or_default())
    }

    async fn keys(&self) -> Result<Vec<LedgerKey>, LedgerError> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }
}

/// The alias of the tests.
pub(crate) fn key() -> LedgerKey {
    LedgerKey {
        place: Place { provider: "toy".to_owned(), region: "here".to_owned() },
        alias: AliasRef { function: "shop".parse().unwrap(), alias: "live".parse().unwrap() },
    }
}

/// An entry like no other, as number `seq`.
pub(crate) fn entry(seq: u64) -> Entry {
    Entry {
        format: FORMAT,
        seq,
        run: RunId::generate(),
        nonce: Nonce::generate(),
        at: "2026-01-01T00:00:00Z".parse().unwrap(),
        event: Event::Hastened { by: "ann".to_owned() },
    }
}
