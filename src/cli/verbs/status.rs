//! `status`: what is live and which runs are open.

use super::super::args::{OutputArgs, SubjectArgs};
use super::super::clouds::{Seat, Wake};
use super::super::session::{Mode, Visited, context, seats, side_by_side, visit};
use super::super::{Answer, faults, rows};
use crate::manifest::Unit;
use crate::pipeline::{Landing, Subject, status as pipeline};
use crate::report::Outcome;

/// Shows what is live.
pub(super) async fn status(args: &SubjectArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Reading, None)?;
    let seats = seats(&context, args, Wake::Existing).await?;
    let done = side_by_side(seats, async |seat: Seat| {
        let visited = visit(seat, &async |subject: &Subject, _: Option<&Unit>, landing: &mut Landing| {
            pipeline::status(subject, landing).await
        });
        let Visited { who, calls, mut landing, result } = visited.await;
        // An alias that does not exist is not reached anywhere yet.
        landing.url = landing.url.filter(|_| landing.routing.is_some());
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
