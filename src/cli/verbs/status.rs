//! `status`: what is live and which runs are open.

use longshore_contract::Calls;

use super::super::args::{OutputArgs, SubjectArgs};
use super::super::clouds::{Seat, Wake};
use super::super::session::{Mode, context, seats, side_by_side};
use super::super::{Answer, faults, rows};
use crate::pipeline::{Landing, status as pipeline};
use crate::report::Outcome;

/// Shows what is live.
pub(super) async fn status(args: &SubjectArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Reading, None);
    let seats = seats(&context, args, Wake::Existing).await?;
    let done = side_by_side(seats, async |Seat { who, subject, .. }: Seat| {
        let mut landing = Landing::default();
        let (calls, result) = match subject {
            Ok(subject) => {
                let result = pipeline::status(&subject, &mut landing).await;
                landing.url =
                    subject.provider.functions().url(&subject.at).filter(|_| landing.routing.is_some());
                (subject.calls, result)
            }
            Err(failure) => (Calls::default(), Err(failure)),
        };
        let run = landing.run;
        let row = match result {
            Ok(status) => {
                let mut row = rows::row(&who, &calls, landing, Outcome::Done, None);
                row.open = status.open.as_ref().map(rows::open);
                row
            }
            Err(failure) => {
                let (outcome, fault) = faults::of_failure(&failure);
                rows::row(&who, &calls, landing, outcome, Some(fault))
            }
        };
        (run, row)
    })
    .await;
    Ok(rows::answer(done, Outcome::Done))
}
