//! `status`: what is live and which runs are open.

use super::super::args::{OutputArgs, SubjectArgs};
use super::super::session::{Mode, Session, side_by_side};
use super::super::{Answer, faults, rows};
use crate::manifest::Unit;
use crate::pipeline::{Landing, Subject, status as pipeline};
use crate::report::Outcome;

/// Shows what is live.
pub(super) async fn status(args: &SubjectArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let session = Session::begin(output, Mode::Real, None);
    let subjects = session.subjects(args).await?;
    let rows = side_by_side(subjects, async |(subject, _): (Subject, Option<Unit>)| {
        let mut landing = Landing::default();
        let result = pipeline::status(&subject, &mut landing).await;
        let run = landing.run;
        let row = match result {
            Ok(status) => {
                let mut row = rows::row(&subject, landing, Outcome::Done, None);
                row.open = status.open.as_ref().map(rows::open);
                row
            }
            Err(failure) => {
                let (outcome, fault) = faults::of_failure(&failure);
                rows::row(&subject, landing, outcome, Some(fault))
            }
        };
        (run, row)
    })
    .await;
    Ok(rows::answer(rows, Outcome::Done))
}
