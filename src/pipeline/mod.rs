//! The stages in order, for one function on one target: from an image to an alias that sends it traffic.
//!
//! [`deploy`](deploy::deploy) reads from top to bottom; [`resume`](resume::resume) enters it where a run stopped.
//! Everything a stage learns is put into a [`Landing`], so that a row can be told whatever came of it.

pub mod act;
pub mod check;
mod clear;
pub mod deploy;
mod evidence;
mod facts;
mod failure;
mod images;
pub mod rehearsal;
pub mod resume;
pub mod rollback;
pub mod scan;
mod smoke;
mod stages;
pub mod status;

use std::sync::Arc;

use longshore_contract::{AliasRef, Calls, Provider, Reference, Routing, RunId, Version};
use tokio_util::sync::CancellationToken;

use crate::image::{Change, World};
use crate::ledger::{Audit, Ending, Entry, History, Journal, Ledger, LedgerKey};
use crate::progress::{Event, Observer, UnitName};
use crate::push::Registries;
use crate::shape::Shaper;
use crate::shift::{Around, Clock};

pub use failure::{Failure, Standing};
pub use images::Images;

/// Whether a target's cloud exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// It does.
    There,
    /// It is embedded in this program and was never started: a rehearsal finds nothing in it, and starts nothing.
    NotMade,
}

/// One alias and everything that is needed to work on it.
#[derive(Clone)]
pub struct Subject {
    /// What the manifest calls it.
    pub unit: UnitName,
    /// Its cloud, counting into `calls`.
    pub provider: Arc<dyn Provider>,
    /// Whether that cloud exists.
    pub cloud: Cloud,
    /// The requests made for it.
    pub calls: Calls,
    /// The alias.
    pub at: AliasRef,
    /// Where its entries are.
    pub ledger: Arc<dyn Ledger>,
}

impl Subject {
    /// Whose entries in the ledger.
    pub fn key(&self) -> LedgerKey {
        LedgerKey { place: self.provider.place().clone(), alias: self.at.clone() }
    }

    /// The alias's ledger as it is now.
    async fn entries(&self) -> Result<Vec<Entry>, Failure> {
        Ok(self.ledger.read(&self.key()).await?)
    }
}

/// What a run has around it.
#[derive(Clone)]
pub struct Context {
    /// The run that is begun where one is needed.
    pub run: RunId,
    /// Who asks, and from where.
    pub audit: Audit,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Cancelled when the process is to stop.
    pub interrupt: CancellationToken,
    /// Who is told what happens.
    pub observer: Arc<dyn Observer>,
    /// What brings images into the shape that their targets take.
    pub shaper: Shaper,
    /// The registries that images go to.
    pub registries: Arc<Registries>,
    /// Where images come from.
    pub world: World,
    /// Those that were opened.
    pub images: Images,
}

impl Context {
    fn tell(&self, subject: &Subject, event: Event) {
        self.observer.event(&subject.unit, &event);
    }

    fn around<'a>(&'a self, subject: &'a Subject) -> Around<'a> {
        Around { functions: subject.provider.functions(), clock: &*self.clock, interrupt: &self.interrupt }
    }

    /// Waits for `work`, unless the process is told to stop: `work` is then dropped where it stands, so it may be nothing
    /// whose effect cannot be looked up afterwards, and never an entry of the ledger.
    async fn unless_interrupted<T, E: Into<Failure>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            result = work => result.map_err(Into::into),
            () = self.interrupt.cancelled() => Err(Failure::Interrupted),
        }
    }

    /// Refuses to begin anything once the process was told to stop.
    fn may_begin(&self) -> Result<(), Failure> {
        if self.interrupt.is_cancelled() { Err(Failure::InterruptedBefore) } else { Ok(()) }
    }

    /// Where one subject's image comes from, telling the observer and counting into the subject's calls.
    fn world_of(&self, subject: &Subject) -> World {
        let (unit, observer) = (subject.unit.clone(), self.observer.clone());
        let tell = move |message| observer.event(&unit, &Event::Note { message });
        self.world.clone().counting(&subject.calls).telling(Arc::new(tell))
    }

    /// Hands on what is told of one subject by parts that do not know which it is.
    fn teller(&self, subject: &Subject) -> Teller {
        Teller::new(subject.unit.clone(), self.observer.clone())
    }

    fn journal(&self, subject: &Subject, run: RunId, entries: &[Entry]) -> Journal {
        Journal::new(subject.ledger.clone(), subject.key(), run, entries, Arc::new(self.teller(subject)))
    }
}

/// Hands what a push and the ledger's pen tell on to the run's observer.
pub struct Teller {
    unit: UnitName,
    observer: Arc<dyn Observer>,
}

impl Teller {
    /// Tells `observer` of `unit`.
    pub fn new(unit: UnitName, observer: Arc<dyn Observer>) -> Self {
        Self { unit, observer }
    }
}

impl crate::push::Progress for Teller {
    fn event(&self, event: crate::push::Event<'_>) {
        let crate::push::Event::Blob { digest, size, sent, state } = event else { return };
        self.observer.event(&self.unit, &Event::Blob { digest: digest.clone(), size, sent, state });
    }
}

impl crate::ledger::Observer for Teller {
    fn stored(&self, entry: &Entry) {
        use crate::ledger::Event as Stored;
        if let Ok(entry) = serde_json::to_value(entry) {
            self.observer.event(&self.unit, &Event::Ledger { entry });
        }
        if let Stored::Settled { alias } = &entry.event {
            self.observer.event(&self.unit, &Event::Routed { routing: alias.routing.clone() });
        }
    }

    fn waiting(&self, until: jiff::Timestamp) {
        self.observer.event(&self.unit, &Event::Soaking { until });
    }

    fn retrying(&self, error: &longshore_contract::Error, pause: std::time::Duration) {
        let message = format!("{error}; asking again in {:.1} s", pause.as_secs_f64());
        self.observer.event(&self.unit, &Event::Note { message });
    }
}

/// What is known of one function on one target when its run is over, whatever came of it.
#[derive(Debug, Clone, Default)]
pub struct Landing {
    /// The run that wrote, or that is open.
    pub run: Option<RunId>,
    /// The image.
    pub image: Option<Landed>,
    /// Where requests reach the alias.
    pub url: Option<String>,
    /// What was live before.
    pub from: Option<Version>,
    /// What is meant to be live.
    pub to: Option<Version>,
    /// Where the alias sends its traffic.
    pub routing: Option<Routing>,
    /// The scan stage's verdict, where a scan was asked for.
    pub scan: Option<crate::scan::Judged>,
    /// The planned steps.
    pub steps: Vec<crate::ledger::Step>,
    /// Things somebody should know.
    pub notes: Vec<String>,
}

/// An image as far as it is known.
#[derive(Debug, Clone)]
pub struct Landed {
    /// Where it was read from.
    pub source: Option<String>,
    /// What is deployed.
    pub digest: longshore_contract::Digest,
    /// Where it lies.
    pub reference: Option<Reference>,
    /// What the source is called by.
    pub source_digest: Option<longshore_contract::Digest>,
    /// What was changed on the way.
    pub changed: Vec<Change>,
}

impl Landed {
    /// An image of which only the digest is known.
    pub fn known(digest: longshore_contract::Digest) -> Self {
        Self { source: None, digest, reference: None, source_digest: None, changed: Vec::new() }
    }
}

/// How a run that was not prevented came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// The rollout's own ending.
    Ended(Ending),
    /// What was asked for is live already; nothing was written.
    Unchanged,
    /// It was only rehearsed.
    Planned,
}

/// Refuses to go on where a run is open on the alias, by this ledger or by the alias's own description.
fn none_open(
    subject: &Subject,
    history: &History,
    live: Option<&longshore_contract::Alias>,
) -> Result<(), Failure> {
    if let Some(open) = history.open() {
        return Err(Failure::OpenRun { alias: subject.at.to_string(), run: Box::new(open.clone()) });
    }
    match live.and_then(|alias| alias.note.breadcrumb.as_ref()) {
        // The description of a run that this ledger saw end is merely old.
        Some(breadcrumb)
            if breadcrumb.progress == longshore_contract::Progress::Open
                && history.runs().iter().all(|run| run.run != breadcrumb.run) =>
        {
            Err(Failure::OpenElsewhere { alias: subject.at.to_string(), run: breadcrumb.run })
        }
        _ => Ok(()),
    }
}
