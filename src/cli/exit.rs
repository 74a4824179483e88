//! From what happened to an outcome, and so to an exit code. Nothing else decides one.

use longshore_contract::{Error, ErrorKind};

use crate::image::ImageErrorKind;
use crate::ledger::{Because, Ending, JournalError};
use crate::pipeline::{Arrival, Failure, Standing};
use crate::registry::RegistryErrorKind;
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
    let outcome = match failure.standing() {
        Standing::Refused => Outcome::Refused,
        Standing::Failed => Outcome::Failed,
        Standing::Held => Outcome::Held,
        Standing::Preempted => Outcome::Preempted,
    };
    (outcome, word(failure))
}

fn word(failure: &Failure) -> &'static str {
    match failure {
        Failure::Build { .. } => "build",
        Failure::Image(error) => of_image(error.kind),
        Failure::Push(error) => of_push(error.kind),
        Failure::Cloud(error) => of_cloud(error),
        Failure::Ledger(_) | Failure::Journal(JournalError::Ledger(_)) | Failure::Replay(_) => "ledger",
        Failure::Shift(Stopped::Ledger(_) | Stopped::Illegal(_)) => "ledger",
        Failure::Journal(JournalError::TakenOver(_)) | Failure::Shift(Stopped::TakenOver(_)) => "taken_over",
        Failure::Plan(Refusal::AlreadySplit { .. }) => "split",
        Failure::Plan(_) => "plan",
        Failure::OpenRun { .. } | Failure::OpenElsewhere { .. } | Failure::AnotherRun { .. } => "open_run",
        Failure::NothingOpen { .. } => "nothing_open",
        Failure::Unfit { .. } => "unfit_order",
        Failure::NoAlias { .. } => "no_alias",
        Failure::NothingBehind { .. } => "nothing_behind",
        Failure::BadTarget { .. } => "bad_target",
        Failure::Blocked(_) => "preflight",
        Failure::Scan(_) => "scan",
        Failure::NotPushed { .. } => "not_pushed",
        Failure::NoDigest { .. } => "no_digest",
        Failure::Smoke { .. } => "smoke",
        Failure::WrongDigest { .. } => "wrong_digest",
        Failure::Changed { .. } => "changed",
        Failure::NeedsManifest { .. } => "needs_manifest",
        Failure::Unsupported { .. } => "unsupported",
        Failure::Interrupted | Failure::InterruptedBefore => "interrupted",
    }
}

fn of_cloud(error: &Error) -> &'static str {
    match error.kind {
        ErrorKind::NotFound => "not_found",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Busy => "busy",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::Denied => "denied",
        ErrorKind::Quota => "quota",
        ErrorKind::Failed => "not_ready",
        ErrorKind::Invalid => "rejected",
        ErrorKind::Throttled { .. } => "throttled",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Indeterminate => "unanswered",
        _ => "unexpected",
    }
}

fn of_push(kind: RegistryErrorKind) -> &'static str {
    match kind {
        RegistryErrorKind::Image => "image_unsupported",
        RegistryErrorKind::Unauthorized => "unauthenticated",
        RegistryErrorKind::Denied => "denied",
        RegistryErrorKind::RepositoryMissing => "repository_missing",
        RegistryErrorKind::TagTaken => "tag_taken",
        RegistryErrorKind::Unreachable => "unreachable",
        RegistryErrorKind::Unavailable => "unavailable",
        RegistryErrorKind::DigestMismatch => "image_corrupt",
        RegistryErrorKind::Unreadable => "image_io",
        RegistryErrorKind::Refused => "rejected",
        RegistryErrorKind::Protocol => "unexpected",
        RegistryErrorKind::Keychain => "keychain",
    }
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
        ImageErrorKind::Unauthorized => "unauthenticated",
        ImageErrorKind::Denied => "denied",
        ImageErrorKind::Unreachable => "unreachable",
        ImageErrorKind::Unavailable => "unavailable",
        ImageErrorKind::Protocol => "unexpected",
    }
}
