//! `resume`, `promote` and `abort`: what is done about a run that is open.

use super::super::args::{ActArgs, OutputArgs};
use super::super::exit::Asked;
use super::super::session::{Mode, Session, side_by_side};
use super::super::{Answer, rows};
use super::deploy::wish;
use crate::manifest::Unit;
use crate::pipeline::act::{Act, act as decide};
use crate::pipeline::{Arrival, Failure, Landing, Subject, resume as pipeline};
use crate::report::Outcome;

/// Goes on with runs that were interrupted.
pub(super) async fn resume(args: &ActArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    each(args, output, Asked::Forward, async |subject, unit, session, landing| {
        let wish = unit.map(|unit| wish(unit, &unit.settings.directory, Mode::Real, landing));
        pipeline::resume(subject, wish.as_ref(), args.run, &session.context, landing).await
    })
    .await
}

/// Ends runs that are open: everything to the new version, or back.
pub(super) async fn act(args: &ActArgs, act: Act, output: &OutputArgs) -> Result<Answer, Answer> {
    let asked = match act {
        Act::Promote => Asked::Forward,
        Act::Abort => Asked::Back,
    };
    each(args, output, asked, async |subject, _, session, landing| {
        decide(subject, act, args.run, &session.context, landing).await
    })
    .await
}

async fn each(
    args: &ActArgs,
    output: &OutputArgs,
    asked: Asked,
    work: impl AsyncFn(&Subject, Option<&Unit>, &Session, &mut Landing) -> Result<Arrival, Failure>,
) -> Result<Answer, Answer> {
    let session = Session::begin(output, Mode::Real, None);
    let subjects = session.subjects(&args.subject).await?;
    let named = args.subject.subject.is_some() || subjects.len() == 1;
    let done = side_by_side(subjects, async |(subject, unit): (Subject, Option<Unit>)| {
        let mut landing = Landing::default();
        let result = work(&subject, unit.as_ref(), &session, &mut landing).await;
        (subject, landing, result)
    })
    .await;
    // Of many, those that have no open run are passed over; unless none has one.
    let idle = |result: &Result<Arrival, Failure>| matches!(result, Err(Failure::NothingOpen { .. }));
    let all_idle = done.iter().all(|(_, _, result)| idle(result));
    let rows = done
        .into_iter()
        .filter(|(_, _, result)| named || all_idle || !idle(result))
        .map(|(subject, landing, result)| {
            let run = landing.run;
            (run, rows::function(&subject, landing, result, asked))
        })
        .collect();
    Ok(rows::answer(rows, Outcome::Done))
}
