//! The rows of a report, in the words of the JSON document.

use longshore_contract::{Calls, Routing, ScanFinding, Service};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::Value;

use crate::ledger::{FindingCounts, RunSummary, ScanWaiver};
use crate::push::BlobCounts;

use super::{Fault, Outcome};

fn word<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.word())
}

/// One function on one target.
#[derive(Debug, Clone, Serialize)]
pub struct FunctionRow {
    /// The function in the manifest; its name in the cloud where there is no manifest.
    pub function: String,
    /// The target in the manifest; the region of the address where there is no manifest.
    pub target: String,
    /// The provider's word.
    pub provider: String,
    /// The function's name in its cloud.
    pub name: String,
    /// The alias.
    pub alias: String,
    /// How it ended.
    #[serde(serialize_with = "word")]
    pub outcome: Outcome,
    /// The image, once it was read or is known from the ledger.
    pub image: Option<ImageFacts>,
    /// Where requests reach the alias; a GET and a POST of exactly this text.
    pub url: Option<String>,
    /// What was live before.
    pub from: Option<String>,
    /// What is meant to be live.
    pub to: Option<String>,
    /// Where the alias sends its traffic now.
    pub routing: Option<RoutingFacts>,
    /// What the scan stage said; none where no scan was asked for.
    pub scan: Option<ScanFacts>,
    /// Requests to services.
    pub calls: CallCounts,
    /// The run that is open on this alias, for `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenRun>,
    /// The steps that are planned, for `plan`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepFacts>,
    /// Things somebody should know, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What went wrong.
    pub error: Option<Fault>,
}

/// An image and what was done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageFacts {
    /// Where it was read from, as it was written.
    pub source: Option<String>,
    /// What is pushed and deployed.
    pub digest: String,
    /// Where it lies, by digest; none before it is pushed.
    pub reference: Option<String>,
    /// What the source itself is called by.
    pub source_digest: Option<String>,
    /// What was changed on the way.
    pub changed: Vec<ChangeFacts>,
}

/// One change between a source and what is pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeFacts {
    /// What was done.
    pub what: String,
    /// To which part.
    pub digest: String,
    /// The reason.
    pub why: String,
}

/// Where an alias sends its traffic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoutingFacts {
    /// The version on the stable side.
    pub stable: String,
    /// The version being tried.
    pub canary: Option<String>,
    /// The canary's share, 0 to 1.
    pub share: f64,
}

impl From<&Routing> for RoutingFacts {
    fn from(routing: &Routing) -> Self {
        Self {
            stable: routing.stable().to_string(),
            canary: routing.canary().map(ToString::to_string),
            share: routing.share().fraction(),
        }
    }
}

/// What the scan stage said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScanFacts {
    /// `cleared`, `waived`, `refused` or `absent`.
    pub verdict: &'static str,
    /// Everything that was found, by severity.
    pub findings: FindingCounts,
    /// The worst of those that are refused; where none is, of those that were found. At most 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub worst: Vec<ScanFinding>,
    /// Who let the image pass all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiver: Option<ScanWaiver>,
}

/// One image that `scan` judged.
#[derive(Debug, Clone, Serialize)]
pub struct ScanRow {
    /// The function in the manifest.
    pub function: String,
    /// The target in the manifest.
    pub target: String,
    /// The provider's word.
    pub provider: String,
    /// The function's name in its cloud.
    pub name: String,
    /// The alias.
    pub alias: String,
    /// The version that runs it, with `--live`.
    pub version: Option<String>,
    /// How it ended: `done` also where there is no scan and the policy lets that pass.
    #[serde(serialize_with = "word")]
    pub outcome: Outcome,
    /// The image.
    pub image: Option<ImageFacts>,
    /// The verdict; none where the image could not be judged.
    pub scan: Option<ScanFacts>,
    /// Requests to services, for all images of the function together.
    pub calls: CallCounts,
    /// Things somebody should know, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What went wrong, or why the image is refused.
    pub error: Option<Fault>,
}

/// A run that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenRun {
    /// The run.
    pub run: String,
    /// Where it stands: `open` or `held`.
    pub outcome: &'static str,
    /// Who began it, where the ledger tells.
    pub by: Option<String>,
    /// On which machine.
    pub host: Option<String>,
    /// When.
    pub started: Option<String>,
}

/// A planned step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepFacts {
    /// The canary's share, 0 to 1.
    pub share: f64,
    /// How long it stays there, in seconds.
    pub soak_s: u64,
}

/// Requests to services, by kind, retries and polls included.
#[derive(Debug, Clone, Default)]
pub struct CallCounts([u32; 6]);

impl From<&Calls> for CallCounts {
    fn from(calls: &Calls) -> Self {
        Self(Service::ALL.map(|service| calls.to(service)))
    }
}

impl Serialize for CallCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        for (service, count) in Service::ALL.iter().zip(self.0) {
            map.serialize_entry(service.word(), &count)?;
        }
        map.end()
    }
}

/// One image at one destination.
#[derive(Debug, Clone, Serialize)]
pub struct PushRow {
    /// The image.
    pub image: Option<ImageFacts>,
    /// The destination as it was written.
    pub destination: String,
    /// How it ended.
    #[serde(serialize_with = "word")]
    pub outcome: Outcome,
    /// Bytes of blobs that went over the wire and were kept.
    pub bytes_sent: u64,
    /// Blobs by what had to be done.
    pub blobs: BlobCounts,
    /// What the tag named before, where that was another image.
    pub replaced: Option<String>,
    /// Requests to services.
    pub calls: CallCounts,
    /// What went wrong.
    pub error: Option<Fault>,
}

/// A past run on one alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// The function and target it was about, as the manifest calls them.
    pub function: String,
    /// The alias it was about, as `NAME:ALIAS`.
    pub alias: String,
    /// The run.
    #[serde(flatten)]
    pub run: RunSummary,
}

/// A function's answer.
#[derive(Debug, Clone, Serialize)]
pub struct InvocationFacts {
    /// The version that answered.
    pub version: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// The body: JSON where it is JSON, else text; bytes that are no text are replaced.
    pub payload: Value,
    /// What kind of failure of its own it was.
    pub function_error: Option<String>,
    /// The end of its log.
    pub log: Option<String>,
}

/// What the embedded cloud is doing.
#[derive(Debug, Clone, Serialize)]
pub struct EmbeddedFacts {
    /// Whether its daemon runs.
    pub running: bool,
    /// Its state directory.
    pub state: Option<String>,
    /// Its daemon's process.
    pub pid: Option<u32>,
    /// Where it listens; none while it does not run.
    pub endpoints: Option<EndpointFacts>,
    /// A row per version that was called or runs.
    pub versions: Vec<TrafficRow>,
}

impl EmbeddedFacts {
    /// A cloud that does not run.
    pub fn down() -> Self {
        Self { running: false, state: None, pid: None, endpoints: None, versions: Vec::new() }
    }
}

/// Where the embedded cloud listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointFacts {
    /// Its registry, as `http://HOST:PORT`.
    pub registry: String,
    /// Its functions, likewise.
    pub functions: String,
}

/// One version's traffic since the daemon started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrafficRow {
    /// The function.
    pub function: String,
    /// The version.
    pub version: String,
    /// Processes that run now.
    pub instances: u32,
    /// Requests answered.
    pub invocations: u64,
    /// Requests answered with 500 or more, or not at all.
    pub errors: u64,
    /// Requests turned away at the version's limit.
    pub throttles: u64,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile of latency in milliseconds.
    pub p95_ms: Option<f64>,
}

/// What a preflight found for one function and target.
#[derive(Debug, Clone, Serialize)]
pub struct CheckRow {
    /// The function.
    pub function: String,
    /// The target.
    pub target: String,
    /// How it ended.
    #[serde(serialize_with = "word")]
    pub outcome: Outcome,
    /// What was found, blocking first.
    pub findings: Vec<FindingFacts>,
}

/// One thing a preflight found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingFacts {
    /// `blocking` or `notice`.
    pub severity: &'static str,
    /// A stable word for the sort of finding.
    pub kind: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}
