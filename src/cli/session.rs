//! What every verb on functions needs: the manifest read, the clouds connected, the ledger found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use longshore_contract::{AliasRef, RunId, Settings};
use longshore_wire::{Client, Limits};
use tokio_util::sync::CancellationToken;

use super::args::{ManifestArgs, OutputArgs, SubjectArgs};
use super::subject::SubjectWord;
use super::clouds::{Clouds, Wake, connect, unit_name};
use super::{Answer, faults, home, progress};
use crate::ledger::{Audit, Ledger};
use crate::manifest::{self, Deployment, KnownProvider, ProcessFacts, Unit};
use crate::pipeline::rehearsal::ImpatientClock;
use crate::pipeline::{Context, Subject};
use crate::progress::{Observer, UnitName};
use crate::providers;
use crate::push::{Recorder, Registries, Sender};
use crate::report::Outcome;
use crate::shift::SystemClock;

/// How many functions are worked on at once.
const ABREAST: usize = 8;

/// Whether what is written is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is.
    Real,
    /// It is recorded, and nothing changes.
    Rehearsal,
}

/// One run of a verb.
pub(super) struct Session {
    /// What a run has around it.
    pub(super) context: Context,
    /// Who is told what happens.
    pub(super) observer: Arc<dyn Observer>,
}

impl Session {
    /// Begins a run. Must be called inside the runtime: from here on signals end the run in order.
    pub(super) fn begin(args: &OutputArgs, mode: Mode, message: Option<&str>) -> Self {
        let observer = progress::observer(args);
        let client = Client::new(Limits::default());
        let lookup = |name: &str| std::env::var(name).ok();
        let context = Context {
            run: RunId::generate(),
            audit: Audit::gather(&lookup, message),
            clock: match mode {
                Mode::Real => Arc::new(SystemClock::start()),
                Mode::Rehearsal => Arc::new(ImpatientClock::start()),
            },
            interrupt: on_signal(),
            observer: observer.clone(),
            registries: Arc::new(Registries::new(
                client,
                match mode {
                    Mode::Real => Box::new(Sender),
                    Mode::Rehearsal => Box::new(Recorder::default()),
                },
            )),
        };
        Self { context, observer }
    }

    /// Reads the manifest.
    pub(super) fn manifest(&self, args: &ManifestArgs) -> Result<Deployment, Answer> {
        read(args, self.context.run)
    }

    /// The aliases a verb acts on, each with its unit where a manifest names it.
    pub(super) async fn subjects(&self, args: &SubjectArgs) -> Result<Vec<(Subject, Option<Unit>)>, Answer> {
        let word = args.subject.as_deref().map(str::parse::<SubjectWord>).transpose().map_err(invalid)?;
        if let Some(SubjectWord::Addressed { provider, region, at }) = word {
            return Ok(vec![(self.addressed(&provider, &region, at, args.ledger.as_deref()).await?, None)]);
        }
        let deployment = self.manifest(&args.manifest)?;
        let ledger = ledger_of(&deployment, args.ledger.as_deref())?;
        let units = chosen(&deployment, word.as_ref())?;
        let mut clouds = Clouds::default();
        let mut subjects = Vec::new();
        for unit in units {
            let connected = clouds.connect(&unit, Wake::Existing, &*self.observer).await;
            let connected = connected.map_err(|error| Answer::of_cloud(&error, Some(&unit.label())))?;
            let alias = match &word {
                Some(SubjectWord::Listed { alias: Some(alias), .. }) => alias.clone(),
                _ => unit.alias.clone(),
            };
            let at = AliasRef { function: unit.name.clone(), alias };
            subjects.push((connected.subject(unit_name(&unit), at, &ledger), Some(unit)));
        }
        Ok(subjects)
    }

    async fn addressed(
        &self,
        provider: &str,
        region: &str,
        at: AliasRef,
        ledger: Option<&str>,
    ) -> Result<Subject, Answer> {
        let registration = providers::find(provider).ok_or_else(|| unknown_provider(provider))?;
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let settings = Settings {
            target: region.to_owned(),
            values: BTreeMap::from([(registration.region_setting.to_owned(), region.into())]),
            endpoints: BTreeMap::new(),
            directory: directory.clone(),
        };
        let unit = UnitName { function: at.function.to_string(), target: region.to_owned() };
        let connected = connect(registration, &settings, Wake::Existing, &*self.observer, &unit).await;
        let connected = connected.map_err(|error| Answer::of_cloud(&error, None))?;
        let ledger = match ledger {
            Some(url) => home::open(url, &directory).map_err(invalid)?,
            None => home::none(),
        };
        Ok(connected.subject(unit, at, &ledger))
    }
}

/// Reads the manifest that `args` name.
pub(super) fn read(args: &ManifestArgs, run: RunId) -> Result<Deployment, Answer> {
    let providers: Vec<KnownProvider> = providers::registrations().iter().map(KnownProvider::from).collect();
    let request = manifest::Request {
        file: &args.file,
        content: None,
        environment: args.env.as_deref(),
        set: &args.set,
        only: &args.only,
        facts: &ProcessFacts::beside(&args.file),
        run: &run,
        providers: &providers,
    };
    manifest::read(&request).map_err(|mistakes| Answer::of_mistakes(&mistakes))
}

/// The ledger that the manifest names, or `stated` in its place.
pub(super) fn ledger_of(deployment: &Deployment, stated: Option<&str>) -> Result<Arc<dyn Ledger>, Answer> {
    home::open(stated.unwrap_or(&deployment.ledger), &deployment.directory).map_err(invalid)
}

/// The units that `word` names; all of them where it names none.
fn chosen(deployment: &Deployment, word: Option<&SubjectWord>) -> Result<Vec<Unit>, Answer> {
    let Some(SubjectWord::Listed { function, target, .. }) = word else {
        return Ok(deployment.units.clone());
    };
    let fits = |unit: &&Unit| {
        unit.function == *function && target.as_ref().is_none_or(|target| unit.target == *target)
    };
    let units: Vec<Unit> = deployment.units.iter().filter(fits).cloned().collect();
    if units.is_empty() {
        let there: Vec<String> = deployment.units.iter().map(Unit::label).collect();
        let named = target.as_ref().map_or_else(|| function.clone(), |target| format!("{function}@{target}"));
        return Err(invalid(format!("the manifest has no {named}; there is {}", there.join(", "))));
    }
    Ok(units)
}

fn unknown_provider(name: &str) -> Answer {
    let known: Vec<&str> = providers::registrations().iter().map(|registration| registration.name).collect();
    invalid(format!("there is no provider {name:?}; there is {}", known.join(", ")))
}

/// A wrong command line.
pub(super) fn invalid(message: impl Into<String>) -> Answer {
    Answer::failed(Outcome::Invalid, vec![faults::usage(message)])
}

/// Works on every item at the same time, a few abreast, and keeps their order.
pub(super) async fn side_by_side<T, R>(items: Vec<T>, work: impl AsyncFn(T) -> R) -> Vec<R> {
    let work = &work;
    futures::stream::iter(items).map(|item| async move { work(item).await }).buffered(ABREAST).collect().await
}

/// Cancelled by the first INT, TERM or HUP. A second one ends the process at once: everything that was announced is in
/// the ledger by then.
fn on_signal() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    for mut signal in kinds.into_iter().filter_map(|kind| signal(kind).ok()) {
        let token = token.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                if token.is_cancelled() {
                    std::process::exit(i32::from(Outcome::Held.exit_code()));
                }
                token.cancel();
            }
        });
    }
    token
}

/// How long a version may take to settle where the manifest does not say.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// A path as text for a report.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
