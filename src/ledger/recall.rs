//! What a run has behind it, so that it can be taken up where it stopped. Pure.

use longshore_contract::{Intent, Published, Reference, RunId};

use super::{Ending, Entry, Event, Opened, Plan, ScanRecord, ScanWord, Scanning};

/// A run as its entries tell it: each stage re-enters through its own part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// The run.
    pub run: RunId,
    /// How it began.
    pub opened: Opened,
    /// Where the image was pushed to, if it was.
    pub pushed: Option<Reference>,
    /// The scan of it, if one was started.
    pub scanning: Option<Scanning>,
    /// The scan's verdict, if the stage was passed: the inner `None` where no scan was asked for.
    pub cleared: Option<Option<ScanWord>>,
    /// What the scan stage kept when it was passed.
    pub scan: Option<ScanRecord>,
    /// The order to publish, if it was given; its answer may never have come.
    pub publishing: Option<Intent>,
    /// The version, if it can serve.
    pub published: Option<Published>,
    /// The plan, if it was made.
    pub plan: Option<Plan>,
    /// Every entry of the run behind the plan, in order; without a plan, none.
    pub moves: Vec<Entry>,
    /// How it came out, if it is over.
    pub ending: Option<Ending>,
}

impl Recalled {
    /// A run that has just begun.
    pub fn fresh(run: RunId, opened: Opened) -> Self {
        Self {
            run,
            plan: opened.plan.as_deref().cloned(),
            opened,
            pushed: None,
            scanning: None,
            cleared: None,
            scan: None,
            publishing: None,
            published: None,
            moves: Vec::new(),
            ending: None,
        }
    }

    /// What `entries`, an alias's ledger, tell of `run`; `None` where they do not tell how it began.
    pub fn of(run: RunId, entries: &[Entry]) -> Option<Self> {
        let mut own = entries.iter().filter(|entry| entry.run == run);
        let Event::Opened(opened) = &own.next()?.event else { return None };
        let mut recalled = Self::fresh(run, Opened::clone(opened));
        for entry in own {
            recalled.take(entry);
        }
        Some(recalled)
    }

    fn take(&mut self, entry: &Entry) {
        if self.plan.is_some() {
            self.moves.push(entry.clone());
        }
        match &entry.event {
            Event::Pushed { reference, scan } => {
                self.pushed = Some(reference.clone());
                let since = entry.at;
                self.scanning = scan.clone().map(|ticket| Scanning { ticket, since });
            }
            Event::Cleared { verdict, scan } => {
                self.cleared = Some(*verdict);
                self.scan = scan.as_deref().cloned();
            }
            Event::Publishing { intent } => self.publishing = Some(*intent),
            Event::Published { published } => self.published = Some(published.clone()),
            Event::Planned { plan } => self.plan = Some(Plan::clone(plan)),
            Event::Ended { ending } => self.ending = Some(ending.clone()),
            Event::Opened(_)
            | Event::Resumed { .. }
            | Event::Intended { .. }
            | Event::Settled { .. }
            | Event::Refused { .. }
            | Event::Looked { .. }
            | Event::Hastened { .. }
            | Event::Abandoned { .. }
            | Event::Held { .. } => {}
        }
    }
}
