//! What every verb on functions needs: the manifest read, the clouds connected, the ledger found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use longshore_contract::{Calls, RunId, Settings};
use longshore_wire::{Client, Limits};
use tokio_util::sync::CancellationToken;

use super::args::{ManifestArgs, OutputArgs, SubjectArgs};
use super::clouds::{Clouds, Seat, Wake, Who};
use super::exit::Asked;
use super::subject::SubjectWord;
use super::{Answer, faults, home, kept, progress, rows};
use crate::image::World;
use crate::ledger::{Audit, Ledger};
use crate::manifest::{self, Deployment, KnownProvider, ProcessFacts, Unit};
use crate::pipeline::rehearsal::{self, ImpatientClock};
use crate::pipeline::{Arrival, Context, Failure, Images, Landing, Subject};
use crate::providers;
use crate::push::{Recorder, Registries, Sender, Writes};
use crate::report::{FunctionRow, Outcome};
use crate::shape::Shaper;
use crate::shift::{Clock, SystemClock};

/// How many functions are worked on at once.
const ABREAST: usize = 8;

/// Whether what is written is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is.
    Real,
    /// It is recorded, and nothing changes.
    Rehearsal,
    /// Nothing is written.
    Reading,
}

/// What a run has around it, for a verb that works on functions. Must be called inside the runtime. A verb that writes
/// ends in order on a signal; one that only reads is simply ended by it.
pub(super) fn context(args: &OutputArgs, mode: Mode, message: Option<&str>) -> Result<Context, Answer> {
    let lookup = |name: &str| std::env::var(name).ok();
    let cache = kept::cache(&|name| std::env::var_os(name)).map_err(invalid)?;
    let (clock, writes): (Arc<dyn Clock>, Box<dyn Writes>) = match mode {
        Mode::Real | Mode::Reading => (Arc::new(SystemClock::start()), Box::new(Sender)),
        Mode::Rehearsal => (Arc::new(ImpatientClock::start()), Box::new(Recorder::default())),
    };
    let observer = progress::observer(args);
    let registries = Registries::new(Client::new(Limits::default()), writes).knowing(providers::REGISTRIES);
    Ok(Context {
        run: RunId::generate(),
        audit: Audit::gather(&lookup, message),
        clock,
        interrupt: match mode {
            Mode::Real => on_signal(),
            Mode::Rehearsal | Mode::Reading => CancellationToken::new(),
        },
        observer: match mode {
            Mode::Real | Mode::Reading => observer,
            Mode::Rehearsal => rehearsal::observer(observer),
        },
        world: World::from_environment(registries.sessions().clone(), cache.clone()),
        images: Images::default(),
        shaper: Shaper::new(cache),
        registries: Arc::new(registries),
    })
}

/// The aliases a verb acts on.
pub(super) async fn seats(context: &Context, args: &SubjectArgs, wake: Wake) -> Result<Vec<Seat>, Answer> {
    let word = args.subject.as_deref().map(str::parse::<SubjectWord>).transpose().map_err(invalid)?;
    let mut clouds = Clouds::new(wake, &*context.observer);
    if let Some(SubjectWord::Addressed { provider, region, at }) = word {
        let registration = providers::find(&provider).ok_or_else(|| unknown_provider(&provider))?;
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let ledger = match args.ledger.as_deref() {
            Some(url) => home::open(url, &directory).map_err(invalid)?,
            None => home::none(),
        };
        let values = BTreeMap::from([(registration.region_setting.to_owned(), region.as_str().into())]);
        let settings = Settings { target: region.clone(), values, directory, ..Settings::default() };
        return Ok(vec![clouds.addressed(registration, &settings, at, &ledger).await]);
    }
    let deployment = read(&args.manifest, context.run)?;
    let ledger = ledger_of(&deployment, args.ledger.as_deref())?;
    let alias = match &word {
        Some(SubjectWord::Listed { alias, .. }) => alias.clone(),
        _ => None,
    };
    let mut seats = Vec::new();
    for unit in chosen(&deployment, word.as_ref())? {
        seats.push(clouds.seat(unit, alias.clone(), &ledger).await);
    }
    Ok(seats)
}

/// Works on every seat at the same time and makes a row of each: what was learned on the way and what came of it.
pub(super) async fn rows(
    seats: Vec<Seat>,
    asked: Asked,
    work: impl AsyncFn(&Subject, Option<&Unit>, &mut Landing) -> Result<Arrival, Failure>,
) -> Vec<(Option<RunId>, FunctionRow)> {
    side_by_side(seats, async |seat: Seat| {
        let Visited { who, calls, landing, result } = visit(seat, &work).await;
        (landing.run, rows::function(&who, &calls, landing, result, asked))
    })
    .await
}

/// What came of working on one seat.
pub(super) struct Visited<T> {
    /// Which alias.
    pub(super) who: Who,
    /// The requests that were made for it.
    pub(super) calls: Calls,
    /// What was learned on the way.
    pub(super) landing: Landing,
    /// What came of it.
    pub(super) result: Result<T, Failure>,
}

/// Works on one seat, where there is anything to work on.
pub(super) async fn visit<T>(
    Seat { who, unit, subject }: Seat,
    work: &impl AsyncFn(&Subject, Option<&Unit>, &mut Landing) -> Result<T, Failure>,
) -> Visited<T> {
    let mut landing = Landing::default();
    match subject {
        Ok(subject) => {
            let result = work(&subject, unit.as_ref(), &mut landing).await;
            landing.url = subject.provider.functions().url(&subject.at);
            Visited { who, calls: subject.calls, landing, result }
        }
        Err(failure) => Visited { who, calls: Calls::default(), landing, result: Err(failure) },
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

/// How long an update and its version together may take to settle.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// A path as text for a report.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
