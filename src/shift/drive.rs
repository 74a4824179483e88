//! The one loop that moves traffic: it does what [`Rollout::next`] says, and nothing it has not announced.

use std::time::Duration;

use jiff::Timestamp;
use longshore_contract::{
    Alias, AliasWrite, Disposition, Error, ErrorKind, Functions, Intent, Result as Answer, Routing, failpoint,
};
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, later};
use super::patience::Pauses;
use super::policy::Policy;
use super::state::{Decision, Illegal, Rollout};
use crate::ledger::{Because, Ending, Event, Journal, JournalError, LedgerError, TakenOver};

/// What a run has around it while it is driven.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The cloud.
    pub functions: &'a dyn Functions,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Cancelled when the process is to stop: traffic stays as it is, and the run stays open.
    pub interrupt: &'a CancellationToken,
}

/// What came of driving a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driven {
    /// How it came out.
    pub ending: Ending,
    /// Where the alias sent its traffic when it was last seen; `None` where it did not exist.
    pub routing: Option<Routing>,
}

/// Why a run is no longer driven from here. Traffic is as it was left; the run is open, and the ledger knows all of it
/// that was announced.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Somebody else decides about the alias now.
    #[error(transparent)]
    TakenOver(TakenOver),
    /// The ledger took no entry. Nothing was sent that it does not know of.
    #[error(transparent)]
    Ledger(LedgerError),
    /// The ledger's entries contradict one another.
    #[error("the ledger's entries contradict one another: {0}")]
    Illegal(#[from] Illegal),
}

impl From<JournalError> for Stopped {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::TakenOver(by) => Self::TakenOver(by),
            JournalError::Ledger(error) => Self::Ledger(error),
        }
    }
}

/// How often a waiting run looks whether somebody has interfered.
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// Drives `rollout` until nothing is left to do here, and tells how it came out. `journal` must stand right behind the
/// entries that `rollout` is the fold of.
///
/// Every write to the alias is announced in the ledger before it is sent. An ending other than
/// [`Held`](Ending::Held) is final; a held run is over only where the ledger says that it ended.
pub async fn drive(around: Around<'_>, journal: &mut Journal, rollout: Rollout) -> Result<Driven, Stopped> {
    Driver { around, journal, rollout, policy: Policy::planted(), paused: Pauses::default(), waiting: None }
        .run()
        .await
}

pub(super) struct Driver<'a> {
    around: Around<'a>,
    journal: &'a mut Journal,
    rollout: Rollout,
    policy: Policy,
    /// The pauses since a write last had a clear answer.
    paused: Pauses,
    /// What the observer was told is being waited for.
    waiting: Option<Timestamp>,
}

/// What came of asking again and again.
enum Heard<T> {
    Answer(T),
    /// The last error, where asking again will not help.
    No(Error),
    /// The last error, where patience was at its end or the process is to stop.
    Nothing(Because),
}

impl<'a> Driver<'a> {
    #[cfg(test)]
    pub(super) fn with(
        policy: Policy,
        around: Around<'a>,
        journal: &'a mut Journal,
        rollout: Rollout,
    ) -> Self {
        Self { around, journal, rollout, policy, paused: Pauses::default(), waiting: None }
    }

    pub(super) async fn run(mut self) -> Result<Driven, Stopped> {
        loop {
            let decision = self.rollout.next(self.around.clock.now());
            let moves = matches!(decision, Decision::Write { .. } | Decision::Look | Decision::Wait { .. });
            if moves && self.around.interrupt.is_cancelled() {
                self.record(Event::Held { because: Because::Interrupted }).await?;
                continue;
            }
            match decision {
                Decision::Write { intent, write } => self.write(intent, &write).await?,
                Decision::Look => self.look().await?,
                Decision::Wait { until } => self.wait(until).await?,
                Decision::Hold(because) => self.record(Event::Held { because }).await?,
                Decision::End(ending) => self.record(Event::Ended { ending }).await?,
                Decision::Stop(ending) => {
                    let routing = match &ending {
                        Ending::Held { because: Because::Drift { found } } => found.clone(),
                        _ => self.rollout.routing().cloned(),
                    };
                    return Ok(Driven { ending, routing });
                }
            }
        }
    }

    /// Stores `event` and takes it into account, after making sure that it is one that can be here.
    async fn record(&mut self, event: Event) -> Result<(), Stopped> {
        let at = self.around.clock.now();
        let rollout = self.rollout.clone().apply(at, &event)?;
        self.journal.append(at, event).await?;
        self.rollout = rollout;
        Ok(())
    }

    async fn write(&mut self, intent: Intent, write: &AliasWrite) -> Result<(), Stopped> {
        let announced =
            Event::Intended { intent, routing: write.routing.clone(), expect: write.expect.clone() };
        let heard = if self.policy == Policy::EffectBeforeIntent {
            let heard = self.send(write).await;
            self.record(announced).await?;
            heard
        } else {
            self.record(announced).await?;
            self.send(write).await
        };
        let event = match heard {
            Heard::Answer(alias) if alias.routing == write.routing => {
                self.paused = Pauses::default();
                Event::Settled { alias }
            }
            // The service took the write and shows something else: as after any look, that decides.
            Heard::Answer(alias) => Event::Looked { alias: Some(alias) },
            Heard::No(error) if error.disposition() == Disposition::LookFirst => {
                return self.doubt(write).await;
            }
            Heard::No(error) => Event::Refused { why: told(&error) },
            Heard::Nothing(because) => Event::Held { because },
        };
        self.record(event).await
    }

    /// Sends `write` until there is an answer that does not ask for patience.
    async fn send(&mut self, write: &AliasWrite) -> Heard<Alias> {
        let at = self.rollout.plan().alias.clone();
        loop {
            failpoint::hit("route.before");
            let mut answer = self.around.functions.route(&at, write).await;
            failpoint::hit("route.after");
            if answer.is_ok() && failpoint::answer("route").is_err() {
                answer = Err(Error::new(ErrorKind::Indeterminate, "move alias", &at, "the answer was lost"));
            }
            match self.patiently(answer).await {
                Some(heard) => return heard,
                None => continue,
            }
        }
    }

    /// A write whose effect is not known. The first time a look follows at once; from the second on, after a pause: the
    /// request may still be on its way.
    async fn doubt(&mut self, write: &AliasWrite) -> Result<(), Stopped> {
        match self.policy {
            Policy::NoLook => {
                let fresh = self.around.functions.alias(&self.rollout.plan().alias).await.ok().flatten();
                let expect = fresh.map_or(longshore_contract::Expect::Absent, |alias| {
                    longshore_contract::Expect::Revision(alias.revision)
                });
                if let Heard::Answer(alias) = self.send(&AliasWrite { expect, ..write.clone() }).await {
                    return self.record(Event::Settled { alias }).await;
                }
            }
            Policy::BlindFaith => {
                let revision = longshore_contract::Revision::from_provider("unknown");
                let alias = Alias { routing: write.routing.clone(), revision, note: write.note.clone() };
                return self.record(Event::Settled { alias }).await;
            }
            Policy::Sound | Policy::EffectBeforeIntent => {}
        }
        let again = self.paused.begun();
        match self.paused.next(None) {
            None => {
                let why = "writes and looks contradicted one another for too long".to_owned();
                self.record(Event::Held { because: Because::Unanswered { why } }).await
            }
            Some(pause) if again => {
                self.pause(pause).await;
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    async fn look(&mut self) -> Result<(), Stopped> {
        let at = self.rollout.plan().alias.clone();
        let event = loop {
            let answer = match self.around.functions.alias(&at).await {
                // A read that got no answer changed nothing: it is simply asked again.
                Err(error) if error.disposition() == Disposition::LookFirst => {
                    Err(Error { kind: ErrorKind::Unavailable, ..error })
                }
                other => other,
            };
            match self.patiently(answer).await {
                Some(Heard::Answer(alias)) => break Event::Looked { alias },
                Some(Heard::No(error)) => {
                    break Event::Held { because: Because::Unanswered { why: told(&error) } };
                }
                Some(Heard::Nothing(because)) => break Event::Held { because },
                None => continue,
            }
        };
        self.record(event).await
    }

    /// Waits for `until`, or for the next time to see whether somebody interfered. The alias is compared with what was
    /// left on every waking.
    async fn wait(&mut self, until: Timestamp) -> Result<(), Stopped> {
        if self.waiting.replace(until) != Some(until) {
            self.journal.observer().waiting(until);
        }
        let wake = until.min(later(self.around.clock.now(), WATCH_EVERY));
        tokio::select! {
            () = self.around.clock.sleep_until(wake) => {}
            () = self.around.interrupt.cancelled() => return Ok(()),
        }
        match self.journal.still_ours().await {
            // Reading fails now and then; the next entry finds out for certain.
            Err(JournalError::Ledger(error @ LedgerError::Unreadable { .. })) => {
                tracing::warn!("{error}");
            }
            other => other?,
        }
        match self.around.functions.alias(&self.rollout.plan().alias).await {
            Ok(found) if self.rollout.left_so(found.as_ref()) => Ok(()),
            Ok(found) => self.record(Event::Looked { alias: found }).await,
            // The next write is guarded, so that a look that fails here costs only time.
            Err(error) => {
                tracing::warn!("{error}");
                Ok(())
            }
        }
    }

    /// What `answer` comes to; `None` after a pause, when the same is to be asked again.
    async fn patiently<T>(&mut self, answer: Answer<T>) -> Option<Heard<T>> {
        let error = match answer {
            Ok(answer) => return Some(Heard::Answer(answer)),
            Err(error) => error,
        };
        let Disposition::Retry { after } = error.disposition() else { return Some(Heard::No(error)) };
        let Some(pause) = self.paused.next(after) else {
            return Some(Heard::Nothing(Because::Unanswered { why: told(&error) }));
        };
        self.journal.observer().retrying(&error, pause);
        self.pause(pause).await;
        self.around.interrupt.is_cancelled().then_some(Heard::Nothing(Because::Interrupted))
    }

    async fn pause(&self, pause: Duration) {
        let until = later(self.around.clock.now(), pause);
        tokio::select! {
            () = self.around.clock.sleep_until(until) => {}
            () = self.around.interrupt.cancelled() => {}
        }
    }
}

/// An error in one line, with what a support desk asks for.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    if let Some(code) = &error.code {
        text.push_str(&format!(" ({code})"));
    }
    if let Some(id) = &error.request_id {
        text.push_str(&format!(" [request {id}]"));
    }
    text
}
