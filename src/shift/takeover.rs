//! Taking an open run out of another process's hands.

use std::sync::Arc;

use longshore_contract::RunId;

use super::clock::Clock;
use super::state::{Illegal, Rollout};
use crate::ledger::{
    Audit, Because, Ending, Entry, Event, History, Journal, JournalError, Ledger, LedgerError, LedgerKey,
    Observer, Recalled, TakenOver, Verb,
};

/// What is asked of an open run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Go on where it stopped.
    Resume,
    /// All traffic to the new version now.
    Promote,
    /// Give the run up: back to what was live before.
    Abort,
    /// Back to what was live before. An open rollback goes on; any other run is given up.
    Rollback,
}

/// An open run, in the hands of whoever asked: the process that drove it before is refused its next entry.
pub struct Taken {
    /// The run's pen, behind the entry that took it.
    pub journal: Journal,
    /// What the run has behind it.
    pub recalled: Recalled,
    /// Where its traffic stands, to be driven; `None` where it has no plan yet.
    pub rollout: Option<Rollout>,
}

/// Why an open run was not taken. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// No run of this alias is open.
    #[error("no run of {key} is open")]
    NothingOpen {
        /// The alias.
        key: LedgerKey,
    },
    /// The run has not come to its traffic yet.
    #[error("run {run} has published no version yet, so there is no traffic to promote: resume or abort it")]
    NoPlan {
        /// The run.
        run: RunId,
    },
    /// The run cannot take this order where it stands.
    #[error("run {run} cannot be told that: {why}")]
    Unfit {
        /// The run.
        run: RunId,
        /// What speaks against it.
        why: String,
    },
    /// The ledger's entries contradict one another.
    #[error("the ledger's entries contradict one another: {0}")]
    Illegal(#[source] Illegal),
    /// Somebody else was first.
    #[error(transparent)]
    TakenOver(TakenOver),
    /// The ledger itself.
    #[error(transparent)]
    Ledger(LedgerError),
}

impl From<JournalError> for NotTaken {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::TakenOver(by) => Self::TakenOver(by),
            JournalError::Ledger(error) => Self::Ledger(error),
        }
    }
}

/// Takes the open run of `key` and gives it `order` in the name of `audit`, as its next entry. `entries` are the ledger of
/// `key` as it was just read: what has changed since is found out by the number. The returned rollout, if there is one,
/// is to be driven to its end.
///
/// A run whose end was only not stored yet takes no order: it is returned as it is, and driving it stores the end. An
/// abort of a run without a plan ends it here: [`Recalled::ending`] says so.
pub async fn take_over(
    ledger: Arc<dyn Ledger>,
    key: &LedgerKey,
    entries: &[Entry],
    order: Order,
    audit: &Audit,
    clock: &dyn Clock,
    observer: Arc<dyn Observer>,
) -> Result<Taken, NotTaken> {
    let open = History::of(entries).open().map(|open| open.run);
    let Some((run, mut recalled)) = open.and_then(|run| Some((run, Recalled::of(run, entries)?))) else {
        return Err(NotTaken::NothingOpen { key: key.clone() });
    };
    let order = match (order, recalled.opened.verb) {
        // Its process died, and whoever asks for a rollback again wants this one.
        (Order::Rollback, Verb::Rollback | Verb::Abort) => Order::Resume,
        (Order::Rollback, Verb::Deploy | Verb::Promote) => Order::Abort,
        // Likewise for an abort; giving that up would leave traffic split.
        (Order::Abort, Verb::Abort) => Order::Resume,
        (Order::Promote, Verb::Rollback | Verb::Abort) => {
            return Err(NotTaken::Unfit {
                run,
                why: "it is on its way back: resume it, or abort it".to_owned(),
            });
        }
        (order, _) => order,
    };
    let mut journal = Journal::new(ledger, key.clone(), run, entries, observer);
    let Some(plan) = recalled.plan.clone() else {
        take_early(&mut journal, &mut recalled, order, audit, clock).await?;
        return Ok(Taken { journal, recalled, rollout: None });
    };
    let rollout = Rollout::replay(plan, &recalled.moves).map_err(NotTaken::Illegal)?;
    let by = audit.by.clone();
    let event = match order {
        _ if rollout.ending().is_some() => Event::Resumed { audit: audit.clone() },
        Order::Resume => Event::Resumed { audit: audit.clone() },
        Order::Promote => Event::Hastened { by },
        Order::Abort | Order::Rollback => Event::Abandoned { by },
    };
    let at = clock.now();
    let rollout = rollout.apply(at, &event).map_err(|illegal| NotTaken::Unfit { run, why: illegal.why })?;
    journal.append(at, event).await?;
    Ok(Taken { journal, recalled, rollout: Some(rollout) })
}

/// A run that has moved nothing: it goes on in the stage where it stopped, or ends.
async fn take_early(
    journal: &mut Journal,
    recalled: &mut Recalled,
    order: Order,
    audit: &Audit,
    clock: &dyn Clock,
) -> Result<(), NotTaken> {
    match order {
        Order::Promote => return Err(NotTaken::NoPlan { run: recalled.run }),
        Order::Resume => {
            journal.append(clock.now(), Event::Resumed { audit: audit.clone() }).await?;
        }
        Order::Abort | Order::Rollback => {
            // One entry, so that no kill can leave a run that was given up and is still open.
            let ending = Ending::Returned { because: Because::Abandoned { by: audit.by.clone() } };
            journal.append(clock.now(), Event::Ended { ending: ending.clone() }).await?;
            recalled.ending = Some(ending);
        }
    }
    Ok(())
}
