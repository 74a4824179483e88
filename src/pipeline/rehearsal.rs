//! A dry run: the same pipeline, with every write to functions, registry and ledger answered here and sent nowhere.
//!
//! Reads go to the real cloud and the real ledger. What was written in the rehearsal is read back from it, so that the
//! pipeline goes on to its end; time that would be waited passes at once.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use longshore_contract::{
    Alias, AliasRef, AliasWrite, Calls, Capabilities, Ensured, Error, ErrorKind, Finding, Function,
    FunctionName, Functions, Invocation, Login, Metrics, Payload, Place, Profile, Provider, Published,
    Qualifier, Registry, Release, Repository, Result, Revision, Scanner, VersionSummary,
};

use super::deploy::unknown_version;
use super::{Arrival, Subject};
use crate::ledger::ScratchLedger;
use crate::progress::{Event, Observer, UnitName};
use crate::shift::Clock;

/// The same subject, with every write kept in memory.
pub fn subject(subject: &Subject) -> Subject {
    Subject {
        provider: Arc::new(Rehearsed { inner: subject.provider.clone(), routed: Arc::default() }),
        ledger: Arc::new(ScratchLedger::over(subject.ledger.clone())),
        ..subject.clone()
    }
}

/// Who is told of a rehearsal: only of what was really done, which is reading.
pub fn observer(inner: Arc<dyn Observer>) -> Arc<dyn Observer> {
    Arc::new(Reading(inner))
}

struct Reading(Arc<dyn Observer>);

impl Observer for Reading {
    fn event(&self, unit: &UnitName, event: &Event) {
        match event {
            Event::Build { .. } | Event::CloudStarted { .. } | Event::Image { .. } | Event::Note { .. } => {
                self.0.event(unit, event);
            }
            Event::Blob { .. }
            | Event::Pushed { .. }
            | Event::Scanning { .. }
            | Event::Scanned { .. }
            | Event::Publishing
            | Event::Published { .. }
            | Event::Routed { .. }
            | Event::Soaking { .. }
            | Event::Ledger { .. } => {}
        }
    }
}

/// What a rehearsed arrival is in earnest: planned, unless there was nothing to do.
pub fn planned(arrival: Arrival) -> Arrival {
    match arrival {
        Arrival::Unchanged => Arrival::Unchanged,
        Arrival::Ended(_) | Arrival::Planned => Arrival::Planned,
    }
}

/// A cloud whose writes are kept in memory.
#[derive(Debug, Clone)]
struct Rehearsed {
    inner: Arc<dyn Provider>,
    /// The alias as the rehearsal left it.
    routed: Arc<Mutex<Option<Alias>>>,
}

impl Rehearsed {
    fn routed(&self) -> Option<Alias> {
        self.routed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Provider for Rehearsed {
    fn place(&self) -> &Place {
        self.inner.place()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn profile(&self) -> &'static Profile {
        self.inner.profile()
    }

    async fn preflight(&self, function: &FunctionName) -> Result<Vec<Finding>> {
        self.inner.preflight(function).await
    }

    fn registry(&self) -> &dyn Registry {
        self
    }

    fn functions(&self) -> &dyn Functions {
        self
    }

    /// The real one: who asks it in a rehearsal asks only for what costs and changes nothing.
    fn scanner(&self) -> Option<&dyn Scanner> {
        self.inner.scanner()
    }

    fn metrics(&self) -> Option<&dyn Metrics> {
        self.inner.metrics()
    }

    fn metered(&self, calls: Calls) -> Arc<dyn Provider> {
        Arc::new(Self { inner: self.inner.metered(calls), routed: self.routed.clone() })
    }
}

#[async_trait]
impl Registry for Rehearsed {
    fn repository(&self, path: &str) -> Result<Repository> {
        self.inner.registry().repository(path)
    }

    async fn ensure_repository(&self, _repository: &Repository) -> Result<Ensured> {
        Ok(Ensured::Existed)
    }

    async fn login(&self, repository: &Repository) -> Result<Login> {
        self.inner.registry().login(repository).await
    }
}

#[async_trait]
impl Functions for Rehearsed {
    async fn describe(&self, name: &FunctionName, at: &Qualifier) -> Result<Option<Function>> {
        self.inner.functions().describe(name, at).await
    }

    async fn release(&self, release: &Release) -> Result<Published> {
        let digest = release.spec.image.digest.clone().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "publish", &release.spec.name, "the image has no digest")
        })?;
        Ok(Published { version: unknown_version(), digest })
    }

    fn url(&self, at: &AliasRef) -> Option<String> {
        self.inner.functions().url(at)
    }

    async fn alias(&self, at: &AliasRef) -> Result<Option<Alias>> {
        match self.routed() {
            Some(alias) => Ok(Some(alias)),
            None => self.inner.functions().alias(at).await,
        }
    }

    async fn route(&self, _at: &AliasRef, write: &AliasWrite) -> Result<Alias> {
        let revision = Revision::from_provider("rehearsed");
        let alias = Alias { routing: write.routing.clone(), revision, note: write.note.clone() };
        *self.routed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(alias.clone());
        Ok(alias)
    }

    async fn versions(&self, name: &FunctionName, limit: usize) -> Result<Vec<VersionSummary>> {
        self.inner.functions().versions(name, limit).await
    }

    async fn invoke(&self, name: &FunctionName, at: &Qualifier, _payload: &Payload) -> Result<Invocation> {
        Err(Error::new(
            ErrorKind::Invalid,
            "invoke",
            format!("{name}:{at}"),
            "a rehearsal sends nothing to a function",
        ))
    }
}

/// A clock on which what would be waited passes at once.
#[derive(Debug)]
pub struct ImpatientClock(Mutex<Timestamp>);

impl ImpatientClock {
    /// A clock that shows the time.
    pub fn start() -> Self {
        Self(Mutex::new(Timestamp::now()))
    }
}

#[async_trait]
impl Clock for ImpatientClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn sleep_until(&self, until: Timestamp) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = until.max(*now);
    }
}
