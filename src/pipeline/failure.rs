//! Why a run on one alias did not come to its end. It says what happened; what to do about it is added at the edge.

use longshore_contract::{Digest, Error, Finding, Routing, RunId, Version};

use crate::image::ImageError;
use crate::ledger::{JournalError, LedgerError, RunSummary};
use crate::push::PushError;
use crate::shift::{Illegal, Refusal, Stopped};

/// Why a run on one alias did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A `build:` hook did not succeed.
    #[error("the build {command:?} failed: {why}")]
    Build {
        /// The hook.
        command: String,
        /// How it ended.
        why: String,
    },
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image could not be pushed.
    #[error(transparent)]
    Push(#[from] PushError),
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
    #[error("run {} is open on {alias}, begun by {} at {}", .run.run, .run.by, .run.started)]
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
    /// The alias is split, and no open run says why.
    #[error("{alias} is split ({routing}), and no open run in this ledger explains it")]
    Split {
        /// The alias.
        alias: String,
        /// Where it sends its traffic.
        routing: Routing,
    },
    /// Something is in the way.
    #[error("{}", .0.message)]
    Blocked(Finding),
    /// The scan policy refused the image.
    #[error("the scan policy refuses the image: {why}")]
    Scan {
        /// The policy's reason.
        why: String,
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
    #[error("the run began with {what} {began}, and the manifest now has {now}")]
    Changed {
        /// `image` or `configuration`.
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
    #[error("run {run} had not published its version yet, so going on needs the manifest")]
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
    /// The process was told to stop before any traffic moved.
    #[error("interrupted before any traffic moved")]
    Interrupted,
}

impl Failure {
    /// Whether somebody said no, as opposed to something having broken.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Cloud(error) => error.disposition() == longshore_contract::Disposition::Stop,
            Self::Push(error) => error.is_refusal(),
            Self::WrongDigest { .. } => false,
            _ => true,
        }
    }
}

fn listed(versions: &[Version]) -> String {
    let names: Vec<&str> = versions.iter().map(Version::as_str).collect();
    match names.as_slice() {
        [] => "; no other version exists".to_owned(),
        names => format!("; versions that exist: {}", names.join(", ")),
    }
}
