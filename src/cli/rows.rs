//! From landings to rows.

use longshore_contract::{Calls, RunId};

use super::clouds::Who;
use super::exit::{self, Asked};
use super::{Answer, faults};
use crate::image::Change;
use crate::ledger::{RunSummary, Step};
use crate::pipeline::{Arrival, Failure, Landed, Landing};
use crate::report::rows::{ChangeFacts, OpenRun, ScanFacts, StepFacts};
use crate::report::{Body, CallCounts, Fault, FunctionRow, ImageFacts, Outcome, RoutingFacts};
use crate::scan::Judged;

/// The row of one alias, from what was learned on the way and what came of it.
pub(super) fn function(
    who: &Who,
    calls: &Calls,
    landing: Landing,
    result: Result<Arrival, Failure>,
    asked: Asked,
) -> FunctionRow {
    let (outcome, error) = match &result {
        Ok(arrival) => {
            let outcome = exit::of_arrival(arrival, asked);
            (outcome, faults::of_arrival(arrival, outcome))
        }
        Err(failure) => {
            let (outcome, fault) = faults::of_failure(failure);
            (outcome, Some(fault))
        }
    };
    row(who, calls, landing, outcome, error)
}

/// The row of one alias under an outcome that is known.
pub(super) fn row(
    who: &Who,
    calls: &Calls,
    landing: Landing,
    outcome: Outcome,
    error: Option<Fault>,
) -> FunctionRow {
    // The number of a version that was only rehearsed is nobody's.
    let planned = outcome == Outcome::Planned;
    let known = |version: longshore_contract::Version| (version.as_str() != "0").then(|| version.to_string());
    FunctionRow {
        function: who.name.function.clone(),
        target: who.name.target.clone(),
        provider: who.provider.clone(),
        name: who.at.function.to_string(),
        alias: who.at.alias.to_string(),
        outcome,
        image: landing.image.map(image),
        url: landing.url,
        from: landing.from.map(|version| version.to_string()),
        to: landing.to.and_then(known),
        routing: landing.routing.as_ref().filter(|_| !planned).map(RoutingFacts::from),
        scan: landing.scan.as_ref().map(scan),
        calls: CallCounts::from(calls),
        open: None,
        steps: if planned { landing.steps.iter().map(step).collect() } else { Vec::new() },
        notes: landing.notes,
        error,
    }
}

/// What a verb on functions came to, out of its rows and the run that wrote each.
pub(super) fn answer(rows: Vec<(Option<RunId>, FunctionRow)>, none: Outcome) -> Answer {
    // A run that was only rehearsed is nobody's.
    let written = rows.iter().filter(|(_, row)| row.outcome != Outcome::Planned);
    let run = written.filter_map(|(run, _)| *run).next().map(|run| run.to_string());
    let functions: Vec<FunctionRow> = rows.into_iter().map(|(_, row)| row).collect();
    let outcome = Outcome::of_rows(functions.iter().map(|row| row.outcome), none);
    let errors = functions.iter().filter_map(|row| {
        let fault = row.error.clone()?;
        Some(Fault { message: format!("{}@{}: {}", row.function, row.target, fault.message), ..fault })
    });
    Answer::told(outcome, errors.collect(), Body::Functions { run, functions })
}

/// An image in a report's words.
pub(super) fn image(landed: Landed) -> ImageFacts {
    ImageFacts {
        source: landed.source,
        digest: landed.digest.to_string(),
        reference: landed.reference.map(|reference| reference.to_string()),
        source_digest: landed.source_digest.map(|digest| digest.to_string()),
        changed: landed.changed.into_iter().map(change).collect(),
    }
}

/// An open run in a report's words.
pub(super) fn open(run: &RunSummary) -> OpenRun {
    OpenRun {
        run: run.run.to_string(),
        outcome: run.state.word(),
        by: Some(run.by.clone()),
        host: run.host.clone(),
        started: Some(run.started.to_string()),
    }
}

/// A change in a report's words.
pub(super) fn change(change: Change) -> ChangeFacts {
    ChangeFacts { what: change.what, digest: change.digest.to_string(), why: change.why }
}

fn step(step: &Step) -> StepFacts {
    StepFacts { share: step.share.fraction(), soak_s: step.soak.as_secs() }
}

/// A verdict in a report's words.
pub(super) fn scan(judged: &Judged) -> ScanFacts {
    let record = &judged.record;
    ScanFacts {
        verdict: judged.verdict.word(),
        findings: record.findings,
        worst: record.worst.clone(),
        waiver: record.waiver.clone(),
    }
}
