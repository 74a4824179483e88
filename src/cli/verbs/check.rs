//! `check`: all that would make a deploy fail, and nothing is written.

use longshore_contract::AliasRef;

use super::super::args::{CheckArgs, OutputArgs};
use super::super::clouds::{Clouds, Wake, unit_name};
use super::super::session::{Mode, Session, ledger_of, side_by_side};
use super::super::{Answer, exit, faults, hints};
use super::deploy::wish;
use crate::manifest::Unit;
use crate::pipeline::check::{Depth, check as look};
use crate::pipeline::{Failure, Landing, Subject};
use crate::report::rows::{CheckRow, FindingFacts};
use crate::report::{Body, Fault, Outcome};

/// Looks for all that would make a deploy fail.
pub(super) async fn check(args: &CheckArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let session = Session::begin(output, Mode::Rehearsal, None);
    let deployment = session.manifest(&args.manifest)?;
    let ledger = ledger_of(&deployment, None)?;
    let depth = if args.offline { Depth::Offline } else { Depth::Cloud };
    let mut clouds = Clouds::default();
    let mut work: Vec<(Subject, Unit)> = Vec::new();
    for unit in deployment.units {
        let wake = match depth {
            Depth::Cloud => Wake::Existing,
            Depth::Offline => Wake::Never,
        };
        let connected = clouds.connect(&unit, wake, &*session.observer).await;
        let connected = connected.map_err(|error| Answer::of_cloud(&error, Some(&unit.label())))?;
        let at = AliasRef { function: unit.name.clone(), alias: unit.alias.clone() };
        work.push((connected.subject(unit_name(&unit), at, &ledger), unit));
    }
    let directory = &deployment.directory;
    let checks = side_by_side(work, async |(subject, unit): (Subject, Unit)| {
        let mut landing = Landing::default();
        let wish = wish(&unit, directory, Mode::Rehearsal, &mut landing);
        let found = look(&subject, &wish, depth, &session.context, &mut landing).await;
        let unbuilt = unit.build.is_some();
        row(&unit, found, unbuilt)
    })
    .await;
    let outcome = Outcome::of_rows(checks.iter().map(|row| row.outcome), Outcome::Done);
    let errors = checks.iter().flat_map(|row| {
        let blocking = row.findings.iter().filter(|finding| finding.severity == "blocking");
        blocking.map(|finding| Fault {
            kind: finding.kind.to_owned(),
            message: format!("{}@{}: {}", row.function, row.target, finding.message),
            hint: finding.hint.clone(),
            at: None,
        })
    });
    Ok(Answer::told(outcome, errors.collect(), Body::Findings { checks: checks.clone() }))
}

fn row(unit: &Unit, found: Vec<Failure>, unbuilt: bool) -> CheckRow {
    let worst = found.iter().map(|failure| exit::of_failure(failure).0);
    let outcome = Outcome::of_rows(worst, Outcome::Done);
    let findings = found.iter().map(|failure| {
        let mut hint = hints::of_failure(failure);
        if unbuilt && matches!(failure, Failure::Image(_)) {
            hint = Some("its `build:` hook makes it: run that first".to_owned());
        }
        let (kind, message) = (exit::of_failure(failure).1, faults::of_failure(failure).1.message);
        FindingFacts { severity: "blocking", kind, message, hint }
    });
    CheckRow {
        function: unit.function.clone(),
        target: unit.target.clone(),
        outcome,
        findings: findings.collect(),
    }
}
