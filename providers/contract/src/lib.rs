//! What every cloud must do, and the words all of Longshore uses for it.
//!
//! A type lives here if and only if a provider's signature mentions it. This crate imports nothing of ours, speaks
//! no protocol and holds no TLS: a provider crate implements [`Provider`] and exports one [`Registration`].
//!
//! Reading order: [`names`] and [`routing`] are the nouns, [`functions`] and [`registry`] the two facets every cloud
//! has, [`scanner`] and [`metrics`] the two that some have, [`error`] how they say no, [`provider`] how they are found.

pub mod calls;
pub mod capabilities;
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod failpoint;
pub mod functions;
pub mod intent;
pub mod metrics;
pub mod names;
pub mod note;
pub mod profile;
pub mod provider;
pub mod registry;
pub mod routing;
pub mod scanner;
pub mod secret;
pub mod settings;

pub use calls::{Calls, Service};
pub use capabilities::{AliasWrites, Capabilities, PublishDedup, Split};
pub use config::Config;
pub use error::{Disposition, Error, ErrorKind, Result};
pub use functions::{
    Alias, AliasWrite, Expect, Function, FunctionSpec, Functions, Invocation, Payload, Published, Release,
    Revision, State, VersionSummary,
};
pub use intent::{Intent, RunId};
pub use metrics::{MetricQuery, Metrics, Percentile, Sample, VersionSamples, Window};
pub use names::{
    AliasName, AliasRef, Digest, FunctionName, InvalidName, Place, Platform, Qualifier, Version,
};
pub use note::{Breadcrumb, Note, Progress};
pub use profile::{Compression, Format, Profile, Taken};
pub use provider::{
    Embedded, EmbeddedStatus, Finding, Follow, LogsOf, Provider, Registration, Severity, Started, Traffic,
};
pub use registry::{Credential, Ensured, Login, Reference, Registry, Repository, Tag};
pub use routing::{Routing, Share};
pub use scanner::{
    ScanFinding, ScanProgress, ScanReport, ScanSeverity, ScanTicket, ScanTrigger, Scanner, StoredImage,
};
pub use secret::Secret;
pub use settings::{Endpoint, PlainHttp, SettingKey, SettingKind, Settings};
