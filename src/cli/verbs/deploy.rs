//! `deploy` and `plan`: the same pipeline, in earnest and as a rehearsal.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_contract::RunId;
use tokio_util::sync::CancellationToken;

use super::super::args::{DeployArgs, ManifestArgs, OutputArgs, PlanArgs};
use super::super::clouds::{Clouds, Wake, unit_name};
use super::super::exit::Asked;
use super::super::session::{Mode, PATIENCE, context, ledger_of, read, rows as work};
use super::super::{Answer, rows};
use crate::manifest::{self, Unit};
use crate::pipeline::act::{Act, act};
use crate::pipeline::deploy::{Asking, Needs, ScanWish, Wish, deploy as run, refuse_open};
use crate::pipeline::resume::resume;
use crate::pipeline::{Arrival, Context, Failure, Landing, Subject, rehearsal};
use crate::progress::Event;
use crate::report::Outcome;
use crate::shift::Strategy;

/// What is done about a run that is open already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// It is in the way.
    Refuse,
    /// It is gone on with, and that is all.
    Resume,
    /// It is returned first.
    Abort,
}

/// Whether `build:` hooks are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    Run,
    Skip,
}

/// What the user says about a run.
#[derive(Debug, Clone, Copy, Default)]
struct Words<'a> {
    /// A line for the ledger.
    message: Option<&'a str>,
    /// Why an image may pass that the scan policy refuses.
    waiver: Option<&'a str>,
}

/// Brings everything in the manifest about.
pub(super) async fn deploy(args: &DeployArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let (mode, build) = match (args.dry_run, args.with_build) {
        (false, _) => (Mode::Real, Build::Run),
        (true, true) => (Mode::Rehearsal, Build::Run),
        (true, false) => (Mode::Rehearsal, Build::Skip),
    };
    let before = match (args.resume, args.abort) {
        (true, _) => Before::Resume,
        (_, true) => Before::Abort,
        (false, false) => Before::Refuse,
    };
    let words = Words { message: args.message.as_deref(), waiver: args.waive_scan.as_deref() };
    go(&args.manifest, mode, build, before, words, output).await
}

/// Shows what `deploy` would do.
pub(super) async fn plan(args: &PlanArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let build = if args.with_build { Build::Run } else { Build::Skip };
    go(&args.manifest, Mode::Rehearsal, build, Before::Refuse, Words::default(), output).await
}

async fn go(
    args: &ManifestArgs,
    mode: Mode,
    build: Build,
    before: Before,
    words: Words<'_>,
    output: &OutputArgs,
) -> Result<Answer, Answer> {
    let context = context(output, mode, words.message)?;
    let deployment = read(args, context.run)?;
    let ledger = ledger_of(&deployment, None)?;
    let wake = match mode {
        Mode::Real => Wake::Make,
        Mode::Rehearsal | Mode::Reading => Wake::Existing,
    };
    let directory = deployment.directory;
    let mut builds = Builds::default();
    let mut clouds = Clouds::new(wake, &*context.observer);
    let mut seats = Vec::new();
    for unit in deployment.units {
        let mut seat = clouds.seat(unit, None, &ledger).await;
        if before == Before::Refuse {
            seat.subject = free(seat.subject).await;
        }
        if let (Build::Run, Ok(_), Some(unit)) = (build, &seat.subject, &seat.unit) {
            let built = builds.run(unit, &directory, &context).await;
            seat.subject = seat.subject.and_then(|subject| built.map(|()| subject));
        }
        if mode == Mode::Rehearsal {
            seat.subject = seat.subject.map(|subject| rehearsal::subject(&subject));
        }
        seats.push(seat);
    }
    let done = work(seats, Asked::Forward, async |subject, unit, landing| {
        let unit = unit.expect("every seat of a deploy is a unit of its manifest");
        let mut wish = wish(unit, &directory, mode, landing);
        if let Some(scan) = &mut wish.scan {
            scan.waiver = words.waiver.map(str::to_owned);
        }
        if build == Build::Skip && unit.build.is_some() {
            landing.notes.push("the `build:` hook was not run (--with-build runs it)".to_owned());
        }
        let arrival = Box::pin(one(subject, &wish, before, &context, landing)).await?;
        Ok(if mode == Mode::Rehearsal { rehearsal::planned(arrival) } else { arrival })
    });
    Ok(rows::answer(done.await, Outcome::Unchanged))
}

/// Refuses an alias on which a run is open: a build would be in vain.
async fn free(subject: Result<Subject, Failure>) -> Result<Subject, Failure> {
    let subject = subject?;
    refuse_open(&subject).await?;
    Ok(subject)
}

/// Deals with a run that is open, as was asked, and deploys.
async fn one(
    subject: &Subject,
    wish: &Wish,
    before: Before,
    context: &Context,
    landing: &mut Landing,
) -> Result<Arrival, Failure> {
    match before {
        Before::Refuse => {}
        Before::Resume => match resume(subject, Some(wish), None, context, landing).await {
            Err(Failure::NothingOpen { .. }) => {}
            other => return other,
        },
        Before::Abort => {
            // The abort is a run of its own where it has to begin one.
            let own = Context { run: RunId::generate(), ..context.clone() };
            match act(subject, Act::Abort, None, &own, &mut Landing::default()).await {
                Ok(_) | Err(Failure::NothingOpen { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    run(subject, wish, context, landing).await
}

/// What a unit asks of the pipeline.
pub(super) fn wish(unit: &Unit, directory: &Path, mode: Mode, landing: &mut Landing) -> Wish {
    let smoke = match mode {
        Mode::Real => unit.smoke.clone(),
        // A version that was not made answers nothing.
        Mode::Rehearsal | Mode::Reading => {
            if !unit.smoke.is_empty() {
                landing.notes.push(format!("{} smoke requests would be sent first", unit.smoke.len()));
            }
            Vec::new()
        }
    };
    Wish {
        source: unit.image.clone(),
        source_text: unit.source.clone(),
        directory: directory.to_owned(),
        platform: unit.platform.clone(),
        repository: unit.repository.clone(),
        tag: unit.tag.clone(),
        config: unit.config.clone(),
        scan: unit.scan.clone().map(|policy| ScanWish { policy, asking: asking(mode), waiver: None }),
        smoke,
        strategy: strategy(&unit.shift.strategy),
        needs: unit.shift.gate.is_some().then_some(Needs::Metrics),
        patience: PATIENCE,
    }
}

/// Whether a scan may be started.
fn asking(mode: Mode) -> Asking {
    match mode {
        Mode::Real => Asking::Scan,
        Mode::Rehearsal | Mode::Reading => Asking::Look,
    }
}

fn strategy(strategy: &manifest::Strategy) -> Strategy {
    match strategy {
        manifest::Strategy::AllAtOnce => Strategy::AllAtOnce,
        manifest::Strategy::Steps(steps) => Strategy::Steps(
            steps.iter().map(|step| crate::ledger::Step { share: step.share, soak: step.soak }).collect(),
        ),
    }
}

/// The `build:` hooks of one run: the same command is run once.
#[derive(Default)]
struct Builds(BTreeMap<String, Result<(), String>>);

impl Builds {
    async fn run(&mut self, unit: &Unit, directory: &Path, context: &Context) -> Result<(), Failure> {
        let Some(manifest::Build { shown, command }) = &unit.build else { return Ok(()) };
        if !self.0.contains_key(command.expose()) {
            context.observer.event(&unit_name(unit), &Event::Build { command: shown.clone() });
            let result = shell(command.expose(), directory, &context.interrupt).await?;
            self.0.insert(command.expose().to_owned(), result);
        }
        match &self.0[command.expose()] {
            Ok(()) => Ok(()),
            Err(why) => Err(Failure::Build { command: shown.clone(), why: why.clone() }),
        }
    }
}

/// Runs a command through the shell, in the manifest's directory and a process group of its own, which is ended whole when
/// the process is told to stop. What it prints goes to stderr: stdout is the result's.
async fn shell(
    command: &str,
    directory: &Path,
    interrupt: &CancellationToken,
) -> Result<Result<(), String>, Failure> {
    let stderr = match std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned() {
        Ok(stderr) => stderr,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let spawned = tokio::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(directory)
        .stdin(std::process::Stdio::null())
        .stdout(stderr)
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Ok(Err(format!("sh cannot be started: {error}"))),
    };
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    tokio::select! {
        status = child.wait() => Ok(match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(error.to_string()),
        }),
        () = interrupt.cancelled() => {
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
            }
            let _ = child.wait().await;
            Err(Failure::InterruptedBefore)
        }
    }
}
