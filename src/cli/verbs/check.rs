//! `check`: all that would make a deploy fail, and nothing is written.

use super::super::args::{CheckArgs, OutputArgs};
use super::super::clouds::{Clouds, Seat, Wake, Who};
use super::super::session::{Mode, context, ledger_of, read, side_by_side};
use super::super::{Answer, exit, faults, hints};
use super::deploy::wish;
use crate::manifest::Unit;
use crate::pipeline::check::{Depth, check as look};
use crate::pipeline::{Failure, Landing};
use crate::report::rows::{CheckRow, FindingFacts};
use crate::report::{Body, Fault, Outcome};

/// Looks for all that would make a deploy fail.
pub(super) async fn check(args: &CheckArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Reading, None)?;
    let deployment = read(&args.manifest, context.run)?;
    let ledger = ledger_of(&deployment, None)?;
    let (depth, wake) =
        if args.offline { (Depth::Offline, Wake::Never) } else { (Depth::Cloud, Wake::Existing) };
    let directory = deployment.directory;
    let mut clouds = Clouds::new(wake, &*context.observer);
    let mut seats = Vec::new();
    for unit in deployment.units {
        seats.push(clouds.seat(unit, None, &ledger).await);
    }
    let checks = side_by_side(seats, async |Seat { who, unit, subject }: Seat| {
        let unit = unit.expect("every seat of a check is a unit of its manifest");
        let mut landing = Landing::default();
        let found = match subject {
            Ok(subject) => {
                let wish = wish(&unit, &directory, Mode::Reading, &mut landing);
                look(&subject, &wish, depth, &context, &mut landing).await
            }
            Err(failure) => vec![failure],
        };
        row(&who, &unit, &found, landing.notes)
    })
    .await;
    let outcome = Outcome::of_rows(checks.iter().map(|row| row.outcome), Outcome::Done);
    let errors = checks.iter().flat_map(|row| {
        let blocking = row.findings.iter().filter(|finding| finding.severity == "blocking");
        blocking.map(|finding| Fault {
            kind: finding.kind.clone(),
            message: format!("{}@{}: {}", row.function, row.target, finding.message),
            hint: finding.hint.clone(),
            at: None,
        })
    });
    Ok(Answer::told(outcome, errors.collect(), Body::Findings { checks: checks.clone() }))
}

fn row(who: &Who, unit: &Unit, found: &[Failure], notes: Vec<String>) -> CheckRow {
    let outcome = Outcome::of_rows(found.iter().map(|failure| exit::of_failure(failure).0), Outcome::Done);
    let blocking = found.iter().map(|failure| {
        let mut hint = hints::of_failure(failure);
        if unit.build.is_some() && matches!(failure, Failure::Image(_)) {
            hint = Some("its `build:` hook makes it: run that first".to_owned());
        }
        let (_, fault) = faults::of_failure(failure);
        FindingFacts { severity: "blocking", kind: fault.kind, message: fault.message, hint }
    });
    let notices = notes.into_iter().map(|message| FindingFacts {
        severity: "notice",
        kind: "note".to_owned(),
        message,
        hint: None,
    });
    let findings = blocking.chain(notices).collect();
    CheckRow { function: who.name.function.clone(), target: who.name.target.clone(), outcome, findings }
}
