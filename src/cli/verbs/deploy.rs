//! `deploy` and `plan`: the same pipeline, in earnest and as a rehearsal.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_contract::AliasRef;

use super::super::args::{DeployArgs, ManifestArgs, OutputArgs, PlanArgs};
use super::super::exit::Asked;
use super::super::clouds::{Clouds, Wake, unit_name};
use super::super::session::{Mode, PATIENCE, Session, ledger_of, side_by_side};
use super::super::{Answer, rows};
use crate::manifest::{self, Unit};
use crate::pipeline::act::{Act, act};
use crate::pipeline::deploy::{Needs, Wish, deploy as run};
use crate::pipeline::resume::resume;
use crate::pipeline::{Failure, Landing, Subject, rehearsal};
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
    go(&args.manifest, mode, build, before, args.message.as_deref(), output).await
}

/// Shows what `deploy` would do.
pub(super) async fn plan(args: &PlanArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let build = if args.with_build { Build::Run } else { Build::Skip };
    go(&args.manifest, Mode::Rehearsal, build, Before::Refuse, None, output).await
}

async fn go(
    args: &ManifestArgs,
    mode: Mode,
    build: Build,
    before: Before,
    message: Option<&str>,
    output: &OutputArgs,
) -> Result<Answer, Answer> {
    let session = Session::begin(output, mode, message);
    let deployment = session.manifest(args)?;
    let ledger = ledger_of(&deployment, None)?;
    let mut builds = Builds::default();
    let mut clouds = Clouds::default();
    let mut work: Vec<(Subject, Unit, Result<(), Failure>)> = Vec::new();
    for unit in deployment.units {
        let built = match build {
            Build::Run => builds.run(&unit, &deployment.directory, &session).await,
            Build::Skip => Ok(()),
        };
        let wake = match mode {
            Mode::Real => Wake::Make,
            Mode::Rehearsal => Wake::Existing,
        };
        let connected = clouds.connect(&unit, wake, &*session.observer).await;
        let connected = connected.map_err(|error| Answer::of_cloud(&error, Some(&unit.label())))?;
        let at = AliasRef { function: unit.name.clone(), alias: unit.alias.clone() };
        let subject = connected.subject(unit_name(&unit), at, &ledger);
        let subject = if mode == Mode::Rehearsal { rehearsal::subject(&subject) } else { subject };
        work.push((subject, unit, built));
    }
    let directory = &deployment.directory;
    let rows = side_by_side(work, async |(subject, unit, built): (Subject, Unit, Result<(), Failure>)| {
        let mut landing = Landing::default();
        let wish = wish(&unit, directory, mode, &mut landing);
        if build == Build::Skip && unit.build.is_some() {
            landing.notes.push("the `build:` hook was not run (--with-build runs it)".to_owned());
        }
        let result = match built {
            Err(failure) => Err(failure),
            Ok(()) => one(&subject, &wish, before, &session, &mut landing).await,
        };
        let result = match mode {
            Mode::Real => result,
            Mode::Rehearsal => result.map(rehearsal::planned),
        };
        let run = landing.run;
        (run, rows::function(&subject, landing, result, Asked::Forward))
    })
    .await;
    Ok(rows::answer(rows, Outcome::Unchanged))
}

/// Deals with a run that is open, as was asked, and deploys.
async fn one(
    subject: &Subject,
    wish: &Wish,
    before: Before,
    session: &Session,
    landing: &mut Landing,
) -> Result<crate::pipeline::Arrival, Failure> {
    match before {
        Before::Refuse => {}
        Before::Resume => match resume(subject, Some(wish), None, &session.context, landing).await {
            Err(Failure::NothingOpen { .. }) => {}
            other => return other,
        },
        Before::Abort => {
            let mut aborted = Landing::default();
            match act(subject, Act::Abort, None, &session.context, &mut aborted).await {
                Ok(_) | Err(Failure::NothingOpen { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    run(subject, wish, &session.context, landing).await
}

/// What a unit asks of the pipeline.
pub(super) fn wish(unit: &Unit, directory: &Path, mode: Mode, landing: &mut Landing) -> Wish {
    let smoke = match mode {
        Mode::Real => unit.smoke.clone(),
        // A version that was not made answers nothing.
        Mode::Rehearsal => {
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
        scan: unit.scan.clone(),
        smoke,
        strategy: strategy(&unit.shift.strategy),
        needs: unit.shift.gate.is_some().then_some(Needs::Metrics),
        patience: PATIENCE,
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
    async fn run(&mut self, unit: &Unit, directory: &Path, session: &Session) -> Result<(), Failure> {
        let Some(command) = &unit.build else { return Ok(()) };
        if !self.0.contains_key(command) {
            session.observer.event(&unit_name(unit), &Event::Build { command: command.clone() });
            let result = tokio::select! {
                result = shell(command, directory) => result,
                () = session.context.interrupt.cancelled() => return Err(Failure::Interrupted),
            };
            self.0.insert(command.clone(), result);
        }
        match &self.0[command] {
            Ok(()) => Ok(()),
            Err(why) => Err(Failure::Build { command: command.clone(), why: why.clone() }),
        }
    }
}

/// Runs a command through the shell, in the manifest's directory. What it prints goes to stderr: stdout is the result's.
async fn shell(command: &str, directory: &Path) -> Result<(), String> {
    let stderr = std::io::stderr();
    let status = tokio::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(directory)
        .stdin(std::process::Stdio::null())
        .stdout(std::os::fd::AsFd::as_fd(&stderr).try_clone_to_owned().map_err(|error| error.to_string())?)
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|error| format!("sh cannot be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}
