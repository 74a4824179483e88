//! `history`: past runs, newest first.

use super::super::args::{HistoryArgs, OutputArgs};
use super::super::session::{Mode, Session};
use super::super::{Answer, faults};
use crate::ledger::{History, RunState, RunSummary, Verb};
use crate::pipeline::{Failure, Subject};
use crate::report::{Body, HistoryRow};

/// Lists past runs.
pub(super) async fn history(args: &HistoryArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let session = Session::begin(output, Mode::Rehearsal, None);
    let subjects = session.subjects(&args.subject).await?;
    let mut runs = Vec::new();
    for (subject, _) in &subjects {
        let entries = subject.ledger.read(&subject.key()).await.map_err(|error| {
            let (outcome, fault) = faults::of_failure(&Failure::Ledger(error));
            Answer::failed(outcome, vec![fault])
        })?;
        let newest = History::of(&entries).runs().iter().take(args.limit).cloned().collect::<Vec<_>>();
        runs.extend(newest.into_iter().map(|run| (run.started, row(subject, run))));
    }
    runs.sort_by_key(|(started, _)| std::cmp::Reverse(*started));
    let runs = runs.into_iter().take(args.limit).map(|(_, row)| row).collect();
    Ok(Answer::done(Body::History { runs }))
}

fn row(subject: &Subject, run: RunSummary) -> HistoryRow {
    let verb = match run.verb {
        Verb::Deploy => "deploy",
        Verb::Rollback => "rollback",
        Verb::Promote => "promote",
        Verb::Abort => "abort",
    };
    let outcome = match run.state {
        RunState::Open => "open",
        RunState::Held => "held",
        RunState::Arrived => "arrived",
        RunState::Unchanged => "unchanged",
        RunState::Returned => "returned",
        RunState::Refused => "refused",
        RunState::Failed => "failed",
    };
    HistoryRow {
        run: run.run.to_string(),
        alias: format!("{} {}", subject.unit, subject.at),
        verb: verb.to_owned(),
        outcome: outcome.to_owned(),
        from: run.from.map(|version| version.to_string()),
        to: run.to.map(|version| version.to_string()),
        digest: run.digest.map(|digest| digest.to_string()),
        by: Some(run.by),
        host: run.host,
        commit: run.commit,
        ci_url: run.ci_url,
        message: run.message,
        started: run.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        ended: run.ended.map(|ended| ended.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        undoes: run.undoes.map(|run| run.to_string()),
    }
}
