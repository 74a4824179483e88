//! From what happened to an outcome, and so to an exit code. Nothing else decides one.

use longshore_contract::{Error, ErrorKind};

use crate::image::ImageErrorKind;
use crate::ledger::{Because, Ending, JournalError};
use crate::pipeline::{Arrival, Failure};
use crate::push::{PushError, PushErrorKind};
use crate::report::Outcome;
use crate::shift::{Refusal, Stopped};

/// What the user asked for, as far as it decides how going back is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The new version.
    Forward,
    /// The old one.
    Back,
}

/// The outcome of a run that was not prevented.
pub(crate) fn of_arrival(arrival: &Arrival, asked: Asked) -> Outcome {
    match (arrival, asked) {
        (Arrival::Unchanged | Arrival::Ended(Ending::Unchanged), _) => Outcome::Unchanged,
        (Arrival::Planned, _) => Outcome::Planned,
        (Arrival::Ended(Ending::Arrived), Asked::Forward) => Outcome::Arrived,
        (Arrival::Ended(Ending::Arrived | Ending::Returned { .. }), Asked::Back) => Outcome::ReturnedAsAsked,
        (Arrival::Ended(Ending::Returned { .. }), Asked::Forward) => Outcome::Returned,
        (Arrival::Ended(Ending::Held { .. }), _) => Outcome::Held,
        (Arrival::Ended(Ending::Refused { .. }), _) => Outcome::Refused,
        (Arrival::Ended(Ending::Failed { .. }), _) => Outcome::Failed,
    }
}

/// The stable word for why a run that moved traffic did not arrive.
pub(crate) fn word_of(because: &Because) -> &'static str {
    match because {
        Because::Abandoned { .. } => "abandoned",
        Because::Drift { .. } => "drift",
        Because::Refused { .. } => "refused",
        Because::Unanswered { .. } => "unanswered",
        Because::Interrupted => "interrupted",
    }
}

/// The outcome of a failure, and a stable word for its sort.
pub(crate) fn of_failure(failure: &Failure) -> (Outcome, &'static str) {
    match failure {
        Failure::Build { .. } => (Outcome::Refused, "build"),
        Failure::Image(error) => (Outcome::Refused, of_image(error.kind)),
        Failure::Push(error) => of_push(error),
        Failure::Cloud(error) => of_cloud(error),
        Failure::Ledger(_) | Failure::Journal(JournalError::Ledger(_)) | Failure::Replay(_) => {
            (Outcome::Preempted, "ledger")
        }
        Failure::Shift(Stopped::Ledger(_) | Stopped::Illegal(_)) => (Outcome::Preempted, "ledger"),
        Failure::Journal(JournalError::TakenOver(_)) | Failure::Shift(Stopped::TakenOver(_)) => {
            (Outcome::Preempted, "taken_over")
        }
        Failure::Plan(Refusal::AlreadySplit { .. }) | Failure::Split { .. } => (Outcome::Refused, "split"),
        Failure::Plan(_) => (Outcome::Refused, "plan"),
        Failure::OpenRun { .. } | Failure::OpenElsewhere { .. } | Failure::AnotherRun { .. } => {
            (Outcome::Preempted, "open_run")
        }
        Failure::NothingOpen { .. } => (Outcome::Refused, "nothing_open"),
        Failure::Unfit { .. } => (Outcome::Refused, "unfit_order"),
        Failure::NoAlias { .. } => (Outcome::Refused, "no_alias"),
        Failure::NothingBehind { .. } => (Outcome::Refused, "nothing_behind"),
        Failure::BadTarget { .. } => (Outcome::Refused, "bad_target"),
        Failure::Blocked(_) => (Outcome::Refused, "preflight"),
        Failure::Scan { .. } => (Outcome::Refused, "scan"),
        Failure::Smoke { .. } => (Outcome::Refused, "smoke"),
        Failure::WrongDigest { .. } => (Outcome::Failed, "wrong_digest"),
        Failure::Changed { .. } => (Outcome::Refused, "changed"),
        Failure::NeedsManifest { .. } => (Outcome::Refused, "needs_manifest"),
        Failure::Unsupported { .. } => (Outcome::Refused, "unsupported"),
        Failure::Interrupted => (Outcome::Held, "interrupted"),
    }
}

/// The outcome of a cloud's no, and a stable word for its sort.
pub(crate) fn of_cloud(error: &Error) -> (Outcome, &'static str) {
    match error.kind {
        ErrorKind::NotFound => (Outcome::Refused, "not_found"),
        ErrorKind::Conflict => (Outcome::Preempted, "conflict"),
        ErrorKind::Busy => (Outcome::Refused, "busy"),
        ErrorKind::Unauthenticated => (Outcome::Refused, "unauthenticated"),
        ErrorKind::Denied => (Outcome::Refused, "denied"),
        ErrorKind::Quota => (Outcome::Refused, "quota"),
        ErrorKind::Failed => (Outcome::Refused, "not_ready"),
        ErrorKind::Invalid => (Outcome::Refused, "rejected"),
        ErrorKind::Throttled { .. } => (Outcome::Failed, "throttled"),
        ErrorKind::Unavailable => (Outcome::Failed, "unavailable"),
        ErrorKind::Indeterminate => (Outcome::Held, "unanswered"),
        _ => (Outcome::Failed, "unexpected"),
    }
}

fn of_push(error: &PushError) -> (Outcome, &'static str) {
    let word = match error.kind {
        PushErrorKind::Image => "image_unsupported",
        PushErrorKind::Unauthorized => "unauthenticated",
        PushErrorKind::Denied => "denied",
        PushErrorKind::RepositoryMissing => "repository_missing",
        PushErrorKind::TagTaken => "tag_taken",
        PushErrorKind::Unreachable => "unreachable",
        PushErrorKind::Unavailable => "unavailable",
        PushErrorKind::DigestMismatch => "image_corrupt",
        PushErrorKind::Unreadable => "image_io",
        PushErrorKind::Refused => "rejected",
        PushErrorKind::Protocol => "unexpected",
        PushErrorKind::Keychain => "keychain",
    };
    (if error.is_refusal() { Outcome::Refused } else { Outcome::Failed }, word)
}

fn of_image(kind: ImageErrorKind) -> &'static str {
    match kind {
        ImageErrorKind::Missing => "image_missing",
        ImageErrorKind::Tag => "image_tag",
        ImageErrorKind::Platform => "image_platform",
        ImageErrorKind::Corrupt => "image_corrupt",
        ImageErrorKind::Limit => "image_limit",
        ImageErrorKind::Unsupported => "image_unsupported",
        ImageErrorKind::Io => "image_io",
    }
}
