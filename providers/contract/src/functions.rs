//! Functions, versions and aliases.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;
use crate::error::Result;
use crate::intent::Intent;
use crate::names::{AliasRef, Digest, FunctionName, Platform, Qualifier, Version};
use crate::note::Note;
use crate::registry::Reference;
use crate::routing::Routing;

/// The function service of one cloud.
#[async_trait]
pub trait Functions: Send + Sync {
    /// The function as `at` shows it; `None` where the function, the version or the alias does not exist.
    async fn describe(&self, name: &FunctionName, at: &Qualifier) -> Result<Option<Function>>;

    /// Makes a version that has `release.spec`'s image and configuration, and returns once that version can serve, with
    /// the cloud's fewest calls. A function that does not exist is created. A failed update is an error of kind
    /// [`Failed`](crate::ErrorKind::Failed), never a settled function. The same intent, repeated, answers with the same
    /// version. The answer carries the digest that the version captured: the caller compares it with the one it meant.
    async fn release(&self, release: &Release) -> Result<Published>;

    /// Where HTTP requests reach the alias, where the provider knows without asking: a GET and a POST of exactly this text,
    /// with no redirect. An alias that does not exist yet has the URL it will have.
    fn url(&self, at: &AliasRef) -> Option<String>;

    /// The alias as it is now; `None` where it does not exist.
    async fn alias(&self, at: &AliasRef) -> Result<Option<Alias>>;

    /// Replaces the alias's whole routing and description; nothing of the old routing survives. Returns the alias as it
    /// is after the write. Fails with [`Conflict`](crate::ErrorKind::Conflict), and changes nothing, when the alias is
    /// not as `write.expect` says; with [`Indeterminate`](crate::ErrorKind::Indeterminate) when no answer came.
    async fn route(&self, at: &AliasRef, write: &AliasWrite) -> Result<Alias>;

    /// The function's versions, newest first, at most `limit`.
    async fn versions(&self, name: &FunctionName, limit: usize) -> Result<Vec<VersionSummary>>;

    /// Sends one request and waits for its answer. A function's own error is an [`Invocation`], not an error.
    async fn invoke(&self, name: &FunctionName, at: &Qualifier, payload: &Payload) -> Result<Invocation>;
}

/// A function as one of its faces shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The version behind the face that was asked for; `None` for the head, or for an alias that is split.
    pub version: Option<Version>,
    /// The digest of the image manifest it runs, where the cloud tells.
    pub digest: Option<Digest>,
    /// Its configuration.
    pub config: Config,
    /// Whether it can serve.
    pub state: State,
}

/// Whether a function or version can serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It serves.
    Active,
    /// A change is being made.
    Pending,
    /// It does not serve, and why.
    Failed {
        /// The service's reason.
        why: String,
    },
}

/// What a version is to be.
#[derive(Debug, Clone)]
pub struct FunctionSpec {
    /// The function in its cloud.
    pub name: FunctionName,
    /// The image to run, with its digest.
    pub image: Reference,
    /// What the image was built for.
    pub platform: Platform,
    /// What the manifest states; the rest is left as it is.
    pub config: Config,
}

/// An order to make a version.
#[derive(Debug, Clone)]
pub struct Release {
    /// What the version is to be.
    pub spec: FunctionSpec,
    /// Names this order: repeated, it answers with the same version.
    pub intent: Intent,
    /// How long the update and the version together may take to settle.
    pub patience: Duration,
}

/// A version that can serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The version.
    pub version: Version,
    /// The digest the version captured.
    pub digest: Digest,
}

/// A version in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionSummary {
    /// The version.
    pub version: Version,
    /// The digest it runs, where the list tells.
    pub digest: Option<Digest>,
    /// When it was published, where the list tells.
    pub published: Option<jiff::Timestamp>,
}

/// An alias as it was read: the only source of a [`Revision`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// Where it sends its traffic.
    pub routing: Routing,
    /// Which state of the alias this is.
    pub revision: Revision,
    /// Its description, taken apart.
    pub note: Note,
}

/// Which state of an alias was read: a RevisionId, an ETag or a fingerprint of what was read. Compared, never made up:
/// only providers make one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// A revision as a provider read it.
    pub fn from_provider(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text to send back to the cloud.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an alias must be like for a write to happen. There is no "whatever": an unguarded write cannot be written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// It does not exist yet.
    Absent,
    /// It is exactly as it was when this revision was read.
    Revision(Revision),
}

/// One guarded write of a whole alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasWrite {
    /// Where it is to send its traffic.
    pub routing: Routing,
    /// What it must be like before.
    pub expect: Expect,
    /// Its description after the write; rendered within the cloud's limit by the provider.
    pub note: Note,
}

/// What is sent to a function.
#[derive(Debug, Clone)]
pub enum Payload {
    /// An event, as the cloud's own invoke call sends it.
    Event(Value),
    /// An HTTP request.
    Http {
        /// The method, as in `GET`.
        method: String,
        /// The path with its query, beginning with `/`.
        path: String,
        /// Headers in order.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
}

/// What came of one request to a function.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Which version answered, where the cloud tells.
    pub version: Option<Version>,
    /// The HTTP status of the function's answer.
    pub status: u16,
    /// The answer's body, at most 6 MiB.
    pub payload: Bytes,
    /// What kind of failure of the function's own it was, in the cloud's word; `None` when it answered as it should.
    pub function_error: Option<String>,
    /// The end of the function's log, where the cloud hands it out.
    pub log: Option<String>,
}
