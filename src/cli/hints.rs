//! What to do about what happened. Nothing else says so, but for images, pushes and manifests, which know it better.

use longshore_contract::{Error, ErrorKind};

use crate::ledger::{Because, JournalError, LedgerError};
use crate::pipeline::Failure;
use crate::shift::{Refusal, Stopped};

/// What to do about a failure, where we know.
pub(crate) fn of_failure(failure: &Failure) -> Option<String> {
    let text = match failure {
        Failure::Build { .. } => "run the command by hand in the manifest's directory; nothing was changed",
        Failure::Image(error) => return error.hint.clone(),
        Failure::Push(error) => return error.hint.clone(),
        Failure::Blocked(finding) => return finding.hint.clone(),
        Failure::Cloud(error) => return of_cloud(error),
        Failure::Ledger(error)
        | Failure::Journal(JournalError::Ledger(error))
        | Failure::Shift(Stopped::Ledger(error)) => return of_ledger(error),
        Failure::Journal(JournalError::TakenOver(_)) | Failure::Shift(Stopped::TakenOver(_)) => {
            "`longshore status` shows what they are doing; nothing more is done from here"
        }
        Failure::Replay(_) | Failure::Shift(Stopped::Illegal(_)) => {
            "docs/ledger.md tells how entries follow from each other; `longshore history` shows the run"
        }
        Failure::Plan(Refusal::AlreadySplit { .. }) => {
            "`longshore rollback` sends all traffic to the stable side; `longshore promote` to the other, where a run left \
             its mark"
        }
        Failure::Plan(Refusal::SplitUnsupported { .. }) => "choose `strategy: all-at-once` for this target",
        Failure::Plan(Refusal::TooFine { granularity, .. }) => {
            return Some(format!("choose shares that are multiples of {granularity}"));
        }
        Failure::Plan(_) => return None,
        Failure::OpenRun { .. } => {
            "`longshore resume` goes on with it, `longshore abort` returns it; `deploy --resume` and `deploy --abort` do \
             that first"
        }
        Failure::OpenElsewhere { .. } => {
            "run this where its ledger is (`ledger:` in the manifest, or `--ledger`); `longshore abort` and `longshore \
             rollback` work from the alias alone"
        }
        Failure::AnotherRun { .. } => "`longshore status` shows the run that is open",
        Failure::NothingOpen { .. } => {
            "`longshore history` lists the runs that ended; `longshore rollback` takes one back"
        }
        Failure::Unfit { .. } => "`longshore status` shows where it stands",
        Failure::NoAlias { .. } => "`longshore deploy` makes it; `longshore status` shows what is there",
        Failure::NothingBehind { candidates, .. } if candidates.is_empty() => return None,
        Failure::NothingBehind { .. } => "name the version with `--to VERSION`",
        Failure::BadTarget { .. } => {
            "name another version with `--to VERSION`; `longshore history` lists what was live"
        }
        Failure::Scan(refusal) if refusal.stopping > 0 => {
            "update those packages and build again; or accept a finding for a time under `scan.ignore`, or this image once \
             with `deploy --waive-scan REASON`; nothing was published"
        }
        Failure::Scan(_) => {
            "have the image scanned (docs/scanning.md); or state `on_absent: warn` under `scan:` to deploy unscanned images, \
             or pass it once with `deploy --waive-scan REASON`; nothing was published"
        }
        Failure::NotPushed { .. } => {
            "`longshore push` and `longshore deploy` bring it there; `longshore scan --live` judges what serves now"
        }
        Failure::NoDigest { .. } => "`longshore status` shows what is known of it",
        Failure::Smoke { .. } => {
            "no traffic was moved; the version stays and can be asked with `longshore invoke --version`"
        }
        Failure::WrongDigest { .. } => "somebody else updated the function at the same time; deploy again",
        Failure::Changed { .. } => "`longshore abort` ends the run; then deploy what the manifest has now",
        Failure::NeedsManifest { .. } => {
            "name the manifest with `-f FILE`, or end the run with `longshore abort`"
        }
        Failure::Unsupported { .. } => "take the key away for this target",
        Failure::InterruptedBefore => "nothing was changed; run it again",
        Failure::Interrupted => "`longshore resume` goes on, `longshore abort` ends the run",
    };
    Some(text.to_owned())
}

/// What to do about a run that stopped short.
pub(crate) fn of_because(because: &Because) -> String {
    match because {
        Because::Interrupted => {
            "traffic stays as it is; `longshore resume` goes on, `longshore promote` gives the new version everything, \
             `longshore abort` goes back"
        }
        Because::Drift { .. } => {
            "`longshore status` shows what is live now; `longshore abort` ends the run and leaves the alias to whoever \
             moved it"
        }
        Because::Unanswered { .. } | Because::Refused { .. } => {
            "`longshore status` shows what is live; `longshore resume` tries again, `longshore abort` goes back"
        }
        Because::Abandoned { .. } => "`longshore history` tells what happened",
    }
    .to_owned()
}

/// What to do about a cloud's no.
fn of_cloud(error: &Error) -> Option<String> {
    let text = match error.kind {
        ErrorKind::NotFound => "`longshore status` shows what is there; `longshore deploy` makes it",
        ErrorKind::Failed => {
            "`longshore local logs NAME` shows what a local function wrote; nothing was moved"
        }
        ErrorKind::Unauthenticated => "check the credentials that this target uses",
        ErrorKind::Denied => "ask for the permission, or use other credentials",
        ErrorKind::Conflict => {
            "somebody else changed it at the same moment: look with `longshore status`, then try again"
        }
        ErrorKind::Busy => "another update is in progress: wait for it, then try again",
        ErrorKind::Throttled { .. } | ErrorKind::Unavailable => "try again in a while",
        ErrorKind::Indeterminate => {
            "`longshore status` shows whether it happened; `longshore resume` goes on"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn of_ledger(error: &LedgerError) -> Option<String> {
    let text = match error {
        LedgerError::Taken { .. } => "`longshore status` shows the run that was first",
        LedgerError::Torn { .. } => {
            "nothing is decided on a torn ledger: docs/ledger.md tells how to mend it; `longshore rollback --to VERSION` by \
             the full address works without it"
        }
        LedgerError::Newer { .. } => "use the longshore that wrote it, or a newer one",
        LedgerError::Unwritable { .. } => {
            "make room or give write permission, then run `longshore resume`; no traffic was moved \
             that the ledger does not know of"
        }
        LedgerError::Unreadable { .. } => "check that the ledger's folder can be read",
        LedgerError::Unclear { .. } => "`longshore status` shows what is live; `longshore resume` goes on",
    };
    Some(text.to_owned())
}
