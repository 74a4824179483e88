//! `rollback`: what was live before, at once.

use super::super::args::{OutputArgs, RollbackArgs};
use super::super::exit::Asked;
use super::super::session::{Mode, Session, side_by_side};
use super::super::{Answer, rows};
use crate::manifest::Unit;
use crate::pipeline::rollback::{Earnest, rollback as back};
use crate::pipeline::{Landing, Subject};
use crate::report::Outcome;

/// Sends all traffic back to what was live before.
pub(super) async fn rollback(args: &RollbackArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let session = Session::begin(output, Mode::Real, args.message.as_deref());
    let subjects = session.subjects(&args.subject).await?;
    let earnest = if args.check { Earnest::Check } else { Earnest::Make };
    let rows = side_by_side(subjects, async |(subject, _): (Subject, Option<Unit>)| {
        let mut landing = Landing::default();
        let result = back(&subject, args.to.as_ref(), earnest, &session.context, &mut landing).await;
        let run = landing.run;
        (run, rows::function(&subject, landing, result, Asked::Back))
    })
    .await;
    Ok(rows::answer(rows, Outcome::ReturnedAsAsked))
}
