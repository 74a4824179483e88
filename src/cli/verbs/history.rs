//! `history`: past runs, newest first.

use super::super::Answer;
use super::super::args::{HistoryArgs, OutputArgs};
use super::super::clouds::{Seat, Wake};
use super::super::faults;
use super::super::session::{Mode, context, seats, side_by_side};
use crate::ledger::{History, RunState, RunSummary, Verb};
use crate::pipeline::Failure;
use crate::report::{Body, Fault, HistoryRow, Outcome};

/// Lists past runs. Only the ledger is read: no cloud is asked, and none is started.
pub(super) async fn history(args: &HistoryArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Reading, None)?;
    let seats = seats(&context, &args.subject, Wake::Never).await?;
    let read = side_by_side(seats, async |Seat { who, subject, .. }: Seat| {
        let subject = subject?;
        let entries = subject.ledger.read(&subject.key()).await?;
        let runs = History::of(&entries).runs().iter().take(args.limit).cloned().collect::<Vec<_>>();
        let row = |run: RunSummary| HistoryRow {
            function: who.name.to_string(),
            alias: subject.at.to_string(),
            run: RunSummary { state: told(&run), ..run },
        };
        Ok::<_, Failure>(runs.into_iter().map(row).collect::<Vec<_>>())
    });
    let (mut runs, mut errors, mut outcomes) = (Vec::new(), Vec::<Fault>::new(), Vec::new());
    for read in read.await {
        match read {
            Ok(rows) => {
                runs.extend(rows);
                outcomes.push(Outcome::Done);
            }
            Err(failure) => {
                let (outcome, fault) = faults::of_failure(&failure);
                outcomes.push(outcome);
                errors.push(fault);
            }
        }
    }
    runs.sort_by_key(|row| std::cmp::Reverse(row.run.started));
    runs.truncate(args.limit);
    Ok(Answer::told(Outcome::of_rows(outcomes, Outcome::Done), errors, Body::History { runs }))
}

/// A way back that arrived is told as what it was for its user: the old version returned.
fn told(run: &RunSummary) -> RunState {
    match (run.verb, run.state) {
        (Verb::Rollback | Verb::Abort, RunState::Arrived) => RunState::Returned,
        (_, state) => state,
    }
}
