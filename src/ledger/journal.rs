//! One run's pen: it numbers entries, and finds out whether a number is its own.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use longshore_contract::{RunId, failpoint};

use super::{Entry, Event, FORMAT, Ledger, LedgerError, LedgerKey, Nonce};

/// Told of everything that happens, as it happens: progress and the lines of `--output jsonl`.
pub trait Observer: Send + Sync {
    /// `entry` is stored.
    fn stored(&self, _entry: &Entry) {}
    /// Nothing happens before `until` unless somebody interferes.
    fn waiting(&self, _until: Timestamp) {}
    /// The service answered with `error`; the same is asked again after `pause`.
    fn retrying(&self, _error: &longshore_contract::Error, _pause: Duration) {}
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {}

/// Writes one run's entries to one alias's ledger.
pub struct Journal {
    ledger: Arc<dyn Ledger>,
    key: LedgerKey,
    run: RunId,
    next: u64,
    observer: Arc<dyn Observer>,
}

/// Somebody else has decided what happens next to the alias.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} took over at {} ({event}, entry {seq}, run {run})",
    .who.as_deref().unwrap_or("another process"),
    .at.strftime("%FT%TZ")
)]
pub struct TakenOver {
    /// The run that took the number; the same run, where another process drives it now.
    pub run: RunId,
    /// Who drives that run, where its entries say.
    pub who: Option<String>,
    /// When.
    pub at: Timestamp,
    /// What they did there, as the event's word.
    pub event: &'static str,
    /// The number that is theirs.
    pub seq: u64,
}

/// Why a run could not write its next entry. Whatever the entry was to announce must not be done.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Somebody else was first.
    #[error(transparent)]
    TakenOver(#[from] TakenOver),
    /// The ledger itself.
    #[error(transparent)]
    Ledger(LedgerError),
}

impl Journal {
    /// A pen for `run` on the ledger of `key`, behind `entries`, which is all of it as it was just read. Stores nothing.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        key: LedgerKey,
        run: RunId,
        entries: &[Entry],
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { ledger, key, run, next: entries.len() as u64 + 1, observer }
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Who is told of entries.
    pub fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    /// Stores `event` as the run's next entry; it is durable afterwards. Where the ledger gave no clear answer, reading
    /// the number back settles whether the entry is ours.
    pub async fn append(&mut self, at: Timestamp, event: Event) -> Result<Entry, JournalError> {
        let word = event.word();
        let entry =
            Entry { format: FORMAT, seq: self.next, run: self.run, nonce: Nonce::generate(), at, event };
        failpoint::hit(&format!("ledger.{word}.before"));
        let mut stored = self.ledger.append(&self.key, &entry).await;
        failpoint::hit(&format!("ledger.{word}.after"));
        if stored.is_ok() && failpoint::answer(&format!("ledger.{word}")).is_err() {
            stored =
                Err(LedgerError::Unclear { at: self.key.to_string(), why: "the answer was lost".to_owned() });
        }
        match stored {
            Ok(()) => {}
            Err(LedgerError::Taken { by }) if by.run == self.run && by.nonce == entry.nonce => {}
            Err(LedgerError::Taken { by }) => return Err(self.taken_over(*by).await.into()),
            Err(LedgerError::Unclear { at, why }) => match self.found().await? {
                Some(found) if found.run == self.run && found.nonce == entry.nonce => {}
                Some(found) => return Err(self.taken_over(found).await.into()),
                None => return Err(JournalError::Ledger(LedgerError::Unclear { at, why })),
            },
            Err(error) => return Err(JournalError::Ledger(error)),
        }
        self.next += 1;
        self.observer.stored(&entry);
        Ok(entry)
    }

    /// Whether the next number is still free. `Err` says who took it.
    pub async fn still_ours(&self) -> Result<(), JournalError> {
        match self.found().await? {
            None => Ok(()),
            Some(found) => Err(self.taken_over(found).await.into()),
        }
    }

    async fn found(&self) -> Result<Option<Entry>, JournalError> {
        let found = self.ledger.read_from(&self.key, self.next).await.map_err(JournalError::Ledger)?;
        Ok(found.into_iter().next())
    }

    async fn taken_over(&self, by: Entry) -> TakenOver {
        let who = match by.event.who() {
            Some(who) => Some(who.to_owned()),
            // The entry does not say; the newest before it of the same run that does, names them.
            None => self.ledger.read(&self.key).await.ok().and_then(|entries| {
                let earlier = entries.iter().rev().filter(|entry| entry.seq < by.seq && entry.run == by.run);
                earlier.filter_map(|entry| entry.event.who()).next().map(str::to_owned)
            }),
        };
        TakenOver { run: by.run, who, at: by.at, event: by.event.word(), seq: by.seq }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::ledger::memory::{MemoryLedger, key};

    /// Stores what it is told to, and never says so.
    #[derive(Default)]
    struct Mute {
        ledger: MemoryLedger,
        loses: Mutex<Loses>,
    }

    #[derive(Default, Clone, Copy)]
    enum Loses {
        #[default]
        Answer,
        Request,
    }

    #[async_trait]
    impl Ledger for Mute {
        async fn append(&self, key: &LedgerKey, entry: &Entry) -> Result<(), LedgerError> {
            let loses = *self.loses.lock().unwrap();
            if let Loses::Answer = loses {
                let _ = self.ledger.append(key, entry).await;
            }
            Err(LedgerError::Unclear { at: "bucket".to_owned(), why: "timeout".to_owned() })
        }
        async fn read(&self, key: &LedgerKey) -> Result<Vec<Entry>, LedgerError> {
            self.ledger.read(key).await
        }
        async fn read_from(&self, key: &LedgerKey, first: u64) -> Result<Vec<Entry>, LedgerError> {
            self.ledger.read_from(key, first).await
        }
        async fn keys(&self) -> Result<Vec<LedgerKey>, LedgerError> {
            self.ledger.keys().await
        }
    }

    fn journal(ledger: &Arc<Mute>, entries: &[Entry]) -> Journal {
        Journal::new(ledger.clone(), key(), RunId::generate(), entries, Arc::new(Silent))
    }

    fn hastened(by: &str) -> Event {
        Event::Hastened { by: by.to_owned() }
    }

    #[tokio::test]
    async fn a_lost_answer_is_settled_by_reading_back() {
        let ledger = Arc::new(Mute::default());
        let mut journal = journal(&ledger, &[]);
        for _ in 0..3 {
            journal.append(Timestamp::UNIX_EPOCH, hastened("ann")).await.unwrap();
        }
        assert_eq!(ledger.read(&key()).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_lost_request_is_an_error_and_the_number_stays_free() {
        let ledger = Arc::new(Mute::default());
        *ledger.loses.lock().unwrap() = Loses::Request;
        let mut journal = journal(&ledger, &[]);
        let error = journal.append(Timestamp::UNIX_EPOCH, hastened("ann")).await.unwrap_err();
        assert!(matches!(error, JournalError::Ledger(LedgerError::Unclear { .. })), "{error}");
        *ledger.loses.lock().unwrap() = Loses::Answer;
        assert_eq!(journal.append(Timestamp::UNIX_EPOCH, hastened("ann")).await.unwrap().seq, 1);
    }

    #[tokio::test]
    async fn the_second_at_a_number_learns_who_was_first() {
        let ledger = Arc::new(Mute::default());
        let (mut ann, mut bob) = (journal(&ledger, &[]), journal(&ledger, &[]));
        ann.append(Timestamp::UNIX_EPOCH, hastened("ann")).await.unwrap();
        ann.append(Timestamp::UNIX_EPOCH, Event::Refused { why: "no".to_owned() }).await.unwrap();
        match bob.append(Timestamp::UNIX_EPOCH, hastened("bob")).await {
            Err(JournalError::TakenOver(by)) => {
                assert_eq!((by.run, by.who.as_deref(), by.event), (ann.run(), Some("ann"), "hastened"));
                assert_eq!(
                    by.to_string(),
                    format!("ann took over at 1970-01-01T00:00:00Z (hastened, entry 1, run {})", ann.run())
                );
            }
            other => panic!("{other:?}"),
        }
        let mut late = journal(&ledger, &ledger.read_from(&key(), 2).await.unwrap());
        match late.append(Timestamp::UNIX_EPOCH, hastened("late")).await {
            Err(JournalError::TakenOver(by)) => {
                assert_eq!((by.who.as_deref(), by.event, by.seq), (Some("ann"), "refused", 2));
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_same_run_in_another_process_is_somebody_else() {
        let ledger = Arc::new(MemoryLedger::default());
        let run = RunId::generate();
        let [mut ann, mut bob] =
            [(); 2].map(|()| Journal::new(ledger.clone(), key(), run, &[], Arc::new(Silent)));
        ann.append(Timestamp::UNIX_EPOCH, hastened("ann")).await.unwrap();
        let error = bob.append(Timestamp::UNIX_EPOCH, hastened("ann")).await.unwrap_err();
        assert!(matches!(error, JournalError::TakenOver(by) if by.run == run));
    }
}
