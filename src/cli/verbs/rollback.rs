//! `rollback`: what was live before, at once.

use super::super::args::{OutputArgs, RollbackArgs};
use super::super::clouds::Wake;
use super::super::exit::Asked;
use super::super::session::{Mode, context, rows as work, seats};
use super::super::{Answer, rows};
use crate::pipeline::rollback::{Earnest, rollback as back};
use crate::report::Outcome;

/// Sends all traffic back to what was live before.
pub(super) async fn rollback(args: &RollbackArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let (mode, earnest) =
        if args.check { (Mode::Reading, Earnest::Check) } else { (Mode::Real, Earnest::Make) };
    let context = context(output, mode, args.message.as_deref())?;
    let seats = seats(&context, &args.subject, Wake::Existing).await?;
    let done = work(seats, Asked::Back, async |subject, _, landing| {
        Box::pin(back(subject, args.to.as_ref(), earnest, &context, landing)).await
    })
    .await;
    Ok(rows::answer(done, Outcome::ReturnedAsAsked))
}
