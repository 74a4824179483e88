//! Why a run on one alias did not come to its end. It says what happened; what to do about it is added at the edge.

use longshore_contract::{Digest, Error, ErrorKind, Finding, Reference, RunId, Version};

use crate::image::ImageError;
use crate::ledger::{JournalError, LedgerError, RunSummary};
use crate::registry::RegistryError;
use crate::shift::{Illegal, Refusal, Stopped};

/// Why a run on one alias did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A `build:` hook did not succeed.
    #[error("the build {command:?} failed: {why}")]
    Build {
        /// The hook as it was written, so that nothing is shown that came out of the environment.
        command: String,
        /// How it ended.
        why: String,
    },
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image could not be pushed.
    #[error(transparent)]
    Push(#[from] RegistryError),
    /// The cloud said no, or nothing.
    #[error(transparent)]
    Cloud(#[from] Error),
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A run's next entry could not be written, or somebody else wrote it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] Refusal),
    /// Moving traffic broke off.
    #[error(transparent)]
    Shift(#[from] Stopped),
    /// The ledger's entries do not follow from each other.
    #[error("the ledger tells of a run that cannot have happened: {0}")]
    Replay(#[from] Illegal),
    /// A run is open on this alias.
    #[error("run {} is open on {alias}, begun by {} at {}", .run.run, .run.by, .run.started.strftime("%FT%TZ"))]
    OpenRun {
        /// The alias.
        alias: String,
        /// The run.
        run: Box<RunSummary>,
    },
    /// The alias's description says that a run is open, and this ledger does not know it.
    #[error("the description of {alias} says that run {run} is open, and this ledger does not know that run")]
    OpenElsewhere {
        /// The alias.
        alias: String,
        /// The run.
        run: RunId,
    },
    /// A run was named, and another one is open.
    #[error("run {wanted} is not the open run of {alias}: that is {open}")]
    AnotherRun {
        /// The alias.
        alias: String,
        /// The run that was named.
        wanted: RunId,
        /// The run that is open.
        open: RunId,
    },
    /// There is no open run.
    #[error("no run is open on {alias}")]
    NothingOpen {
        /// The alias.
        alias: String,
    },
    /// The alias does not exist.
    #[error("{alias} does not exist")]
    NoAlias {
        /// The alias.
        alias: String,
    },
    /// Nothing was live before.
    #[error("nothing that was live on {alias} before {live} is known{}", listed(.candidates))]
    NothingBehind {
        /// The alias.
        alias: String,
        /// What is live.
        live: Version,
        /// Versions that could be named, newest first.
        candidates: Vec<Version>,
    },
    /// The version to go back to cannot serve.
    #[error("version {version} cannot be gone back to: {why}")]
    BadTarget {
        /// The version.
        version: Version,
        /// What is wrong with it.
        why: String,
    },
    /// Something is in the way.
    #[error("{}", .0.message)]
    Blocked(Finding),
    /// The scan policy refused the image.
    #[error("the scan policy refuses the image: {0}")]
    Scan(crate::scan::Refusal),
    /// The image that is to be scanned is not where it would be deployed from.
    #[error("{reference} is not at its registry, so there is nothing to scan")]
    NotPushed {
        /// The image.
        reference: Reference,
    },
    /// The cloud does not tell what a version runs.
    #[error("what version {version} runs is not known, so there is nothing to scan")]
    NoDigest {
        /// The version.
        version: Version,
    },
    /// A smoke request was not answered as expected.
    #[error("smoke request {number} to version {version} failed: {why}")]
    Smoke {
        /// Which one, counted from 1.
        number: usize,
        /// The version.
        version: Version,
        /// What was answered in place of what was expected.
        why: String,
    },
    /// The version runs another image than the one that was meant.
    #[error("version {version} runs {found}, not {meant}")]
    WrongDigest {
        /// The version.
        version: Version,
        /// What was meant.
        meant: Digest,
        /// What it runs.
        found: Digest,
    },
    /// The run is about another image or configuration than the manifest has now.
    #[error("the manifest has {what} than the run began with: {began} then, {now} now")]
    Changed {
        /// What is another, as a phrase that begins so.
        what: &'static str,
        /// What the run means.
        began: String,
        /// What the manifest has.
        now: String,
    },
    /// The open run cannot take the order where it stands.
    #[error("run {run} cannot be told that: {why}")]
    Unfit {
        /// The run.
        run: RunId,
        /// What speaks against it.
        why: String,
    },
    /// The run has stages ahead of it that need the manifest.
    #[error("run {run} has no plan yet, so going on needs the manifest")]
    NeedsManifest {
        /// The run.
        run: RunId,
    },
    /// The manifest asks for something this version of Longshore or this provider does not do.
    #[error("{what} is not offered by this provider (capability: {capability})")]
    Unsupported {
        /// The manifest's key.
        what: &'static str,
        /// What the provider lacks.
        capability: &'static str,
    },
    /// The process was told to stop before this began anything.
    #[error("interrupted before anything was begun")]
    InterruptedBefore,
    /// The process was told to stop before any traffic moved. The run stays open.
    #[error("interrupted before any traffic moved")]
    Interrupted,
}

/// Where a failure leaves the run: what the ledger keeps of it and what the exit code says of it agree, because both
/// come from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Somebody said no.
    Refused,
    /// Something broke.
    Failed,
    /// Somebody must look.
    Held,
    /// Another run, or the ledger, is in the way.
    Preempted,
}

impl Failure {
    /// It in one line, as the ledger keeps it.
    pub fn line(&self) -> String {
        match self {
            Self::Scan(refusal) => format!("the scan policy refuses the image: {}", refusal.why),
            other => other.to_string(),
        }
    }

    /// Where it leaves the run.
    pub fn standing(&self) -> Standing {
        match self {
            Self::Cloud(error) => of_cloud(error),
            Self::Push(error) if error.is_refusal() => Standing::Refused,
            Self::Image(error) if !error.is_refusal() => Standing::Failed,
            Self::Push(_) | Self::WrongDigest { .. } => Standing::Failed,
            Self::Interrupted | Self::InterruptedBefore => Standing::Held,
            Self::Ledger(_)
            | Self::Journal(_)
            | Self::Shift(_)
            | Self::Replay(_)
            | Self::OpenRun { .. }
            | Self::OpenElsewhere { .. }
            | Self::AnotherRun { .. } => Standing::Preempted,
            Self::Build { .. }
            | Self::Image(_)
            | Self::Plan(_)
            | Self::NothingOpen { .. }
            | Self::NoAlias { .. }
            | Self::NothingBehind { .. }
            | Self::BadTarget { .. }
            | Self::Blocked(_)
            | Self::Scan(_)
            | Self::NotPushed { .. }
            | Self::NoDigest { .. }
            | Self::Smoke { .. }
            | Self::Changed { .. }
            | Self::Unfit { .. }
            | Self::NeedsManifest { .. }
            | Self::Unsupported { .. } => Standing::Refused,
        }
    }
}

fn of_cloud(error: &Error) -> Standing {
    match error.kind {
        ErrorKind::Indeterminate => Standing::Held,
        ErrorKind::Conflict => Standing::Preempted,
        ErrorKind::Throttled { .. } | ErrorKind::Unavailable | ErrorKind::Unexpected => Standing::Failed,
        _ => Standing::Refused,
    }
}

fn listed(versions: &[Version]) -> String {
    let names: Vec<&str> = versions.iter().map(Version::as_str).collect();
    match names.as_slice() {
        [] => "; no other version exists".to_owned(),
        names => format!("; versions that exist: {}", names.join(", ")),
    }
}
