//! `resume`, `promote` and `abort`: what is done about a run that is open.

use longshore_contract::RunId;

use super::super::args::{ActArgs, OutputArgs};
use super::super::clouds::Wake;
use super::super::exit::Asked;
use super::super::session::{Mode, context, rows as work, seats};
use super::super::{Answer, rows};
use super::deploy::wish;
use crate::pipeline::act::{Act, act as decide};
use crate::pipeline::resume as pipeline;
use crate::report::{FunctionRow, Outcome};

/// Goes on with runs that were interrupted.
pub(super) async fn resume(args: &ActArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Real, None)?;
    let seats = seats(&context, &args.subject, Wake::Existing).await?;
    let done = work(seats, Asked::Forward, async |subject, unit, landing| {
        let wish = unit.map(|unit| wish(unit, &unit.settings.directory, Mode::Real, landing));
        pipeline::resume(subject, wish.as_ref(), args.run, &context, landing).await
    });
    Ok(rows::answer(without_idle(args, done.await), Outcome::Done))
}

/// Ends runs that are open: everything to the new version, or back.
pub(super) async fn act(args: &ActArgs, act: Act, output: &OutputArgs) -> Result<Answer, Answer> {
    let asked = match act {
        Act::Promote => Asked::Forward,
        Act::Abort => Asked::Back,
    };
    let context = context(output, Mode::Real, None)?;
    let seats = seats(&context, &args.subject, Wake::Existing).await?;
    let done = work(seats, asked, async |subject, _, landing| {
        decide(subject, act, args.run, &context, landing).await
    });
    Ok(rows::answer(without_idle(args, done.await), Outcome::Done))
}

/// Of everything in a manifest, the aliases on which no run is open are passed over; unless none has one.
fn without_idle(
    args: &ActArgs,
    rows: Vec<(Option<RunId>, FunctionRow)>,
) -> Vec<(Option<RunId>, FunctionRow)> {
    let idle = |row: &FunctionRow| row.error.as_ref().is_some_and(|error| error.kind == "nothing_open");
    if args.subject.subject.is_some() || rows.iter().all(|(_, row)| idle(row)) {
        return rows;
    }
    rows.into_iter().filter(|(_, row)| !idle(row)).collect()
}
