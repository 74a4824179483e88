//! `scan`: images judged by the policy that a deploy would judge them by.

use super::super::args::{OutputArgs, ScanArgs, SubjectArgs};
use super::super::clouds::{Seat, Wake, Who};
use super::super::session::{Mode, Visited, context, invalid, seats, side_by_side, visit};
use super::super::{Answer, faults, rows};
use super::deploy::wish;
use crate::manifest::{ScanPolicy, Unit};
use crate::pipeline::deploy::{Asking, ScanWish};
use crate::pipeline::scan::{Scanned, Which, scan as judge};
use crate::pipeline::{Context, Landed, Landing, Subject};
use crate::report::rows::ScanRow;
use crate::report::{Body, CallCounts, Fault, Outcome};

/// Judges images, and changes nothing.
pub(super) async fn scan(args: &ScanArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Reading, None)?;
    let which = if args.live { Which::Live } else { Which::Meant };
    let seats = chosen(&context, args).await?;
    let rows = side_by_side(seats, async |seat: Seat| {
        let work = async |subject: &Subject, unit: Option<&Unit>, landing: &mut Landing| {
            let unit = unit.expect("every seat of a scan is a unit of its manifest");
            let wish = wish(unit, &unit.settings.directory, Mode::Reading, &mut Landing::default());
            // Who asks for a scan by name wants one of a function without `scan:` too.
            let policy = unit.scan.clone().unwrap_or_else(ScanPolicy::usual);
            let asked = ScanWish { policy, asking: Asking::Scan, waiver: None };
            judge(subject, &wish, &asked, which, &context, landing).await
        };
        told(visit(seat, &work).await)
    });
    let images: Vec<ScanRow> = rows.await.into_iter().flatten().collect();
    let outcome = Outcome::of_rows(images.iter().map(|row| row.outcome), Outcome::Done);
    let errors = images.iter().filter_map(|row| {
        let fault = row.error.clone()?;
        let version = row.version.as_ref().map_or_else(String::new, |version| format!(" version {version}"));
        let message = format!("{}@{}{version}: {}", row.function, row.target, fault.message);
        Some(Fault { message, ..fault })
    });
    Ok(Answer::told(outcome, errors.collect(), Body::Scans { images: images.clone() }))
}

/// The aliases that are named, each once; all of the manifest's where none is.
async fn chosen(context: &Context, args: &ScanArgs) -> Result<Vec<Seat>, Answer> {
    let words: Vec<Option<String>> = match args.subjects.as_slice() {
        [] => vec![None],
        named => named.iter().cloned().map(Some).collect(),
    };
    let mut chosen: Vec<Seat> = Vec::new();
    for subject in words {
        let of = SubjectArgs { subject, manifest: args.manifest.clone(), ledger: None };
        for seat in seats(context, &of, Wake::Existing).await? {
            if seat.unit.is_none() {
                let name = &seat.who.at;
                return Err(invalid(format!(
                    "{name} is named without a manifest, which has the policy to scan by"
                )));
            }
            let again = |other: &Seat| other.who.name == seat.who.name && other.who.at == seat.who.at;
            if !chosen.iter().any(again) {
                chosen.push(seat);
            }
        }
    }
    Ok(chosen)
}

/// A row per image; one that says why where there is none.
fn told(visited: Visited<Vec<Scanned>>) -> Vec<ScanRow> {
    let Visited { who, calls, landing, result } = visited;
    let row = |outcome, error| row(&who, CallCounts::from(&calls), outcome, error);
    match result {
        Err(failure) => {
            let (outcome, fault) = faults::of_failure(&failure);
            vec![ScanRow { image: landing.image.map(rows::image), ..row(outcome, Some(fault)) }]
        }
        Ok(scanned) => scanned
            .into_iter()
            .map(|Scanned { version, reference, judged, failure }| {
                let (outcome, error) = match failure.as_ref().map(faults::of_failure) {
                    Some((outcome, fault)) => (outcome, Some(fault)),
                    None => (Outcome::Done, None),
                };
                let digest = reference.digest.clone();
                let known = landing.image.clone().or_else(|| digest.map(Landed::known));
                ScanRow {
                    version: version.map(|version| version.to_string()),
                    image: known.map(|known| rows::image(Landed { reference: Some(reference), ..known })),
                    scan: judged.as_ref().map(rows::scan),
                    notes: judged.map(|judged| judged.notes).unwrap_or_default(),
                    ..row(outcome, error)
                }
            })
            .collect(),
    }
}

fn row(who: &Who, calls: CallCounts, outcome: Outcome, error: Option<Fault>) -> ScanRow {
    ScanRow {
        function: who.name.function.clone(),
        target: who.name.target.clone(),
        provider: who.provider.clone(),
        name: who.at.function.to_string(),
        alias: who.at.alias.to_string(),
        version: None,
        outcome,
        image: None,
        scan: None,
        calls,
        notes: Vec::new(),
        error,
    }
}
