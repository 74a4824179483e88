//! The control API's JSON, for both of its sides.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use longshore_contract::{
    AliasName, Config, Digest, FunctionName, Intent, Platform, Routing, Secret, State, Traffic, Version,
};
use longshore_model::Configuration;
use serde::{Deserialize, Serialize};

use crate::control::raw::{Kind, Raw};
use crate::runner::Runtime;

/// What every path of the API begins with.
pub(crate) const PREFIX: &str = "/_longshore/1";

/// The most that a request's or an answer's body may hold.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;

/// The most versions that are listed at once.
pub(crate) const PAGE: usize = 1000;

/// The settings of a function. Not `Debug`: the environment's values are secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) handler: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) environment: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instances: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<String>,
    /// What runs it, where its target says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runtime: Option<Runtime>,
}

/// How long a request may take where the function's settings do not say.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

impl Settings {
    /// The settings that `config` states; what is wrong in its `raw` fields, where something is.
    pub(crate) fn stated(config: &Config) -> Result<Self, String> {
        let environment = config.environment.as_ref().map(|environment| {
            environment.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect()
        });
        let Raw { kind, instances, concurrency, health } = Raw::stated(&config.raw)?;
        Ok(Self {
            role: config.role.clone(),
            memory: config.memory,
            timeout_ms: config.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            port: config.port,
            handler: config.handler.clone(),
            command: config.command.clone(),
            environment,
            kind,
            instances,
            concurrency,
            health,
            runtime: None,
        })
    }

    /// The same in the contract's words.
    pub(crate) fn config(self) -> Config {
        let Self { kind, instances, concurrency, health, .. } = self;
        let raw = Raw { kind, instances, concurrency, health };
        let environment = self.environment.map(|environment| {
            environment.into_iter().map(|(key, value)| (key, Secret::new(value))).collect()
        });
        Config {
            role: self.role,
            memory: self.memory,
            timeout: self.timeout_ms.map(Duration::from_millis),
            port: self.port,
            handler: self.handler,
            command: self.command,
            environment,
            raw: raw.fields(),
        }
    }

    /// The same as the model keeps it.
    pub(crate) fn configuration(&self) -> serde_json::Result<Configuration> {
        serde_json::from_value(serde_json::to_value(self)?)
    }

    /// The settings in what the model kept.
    pub(crate) fn kept(configuration: &Configuration) -> serde_json::Result<Self> {
        serde_json::from_value(serde_json::to_value(configuration)?)
    }
}

/// `PUT functions/NAME`: makes the function or changes its head. Answered by a [`HeadView`], before it is settled.
#[derive(Serialize, Deserialize)]
pub(crate) struct UpdateBody {
    /// The image's path in this cloud's registry.
    pub(crate) repository: String,
    /// The digest of the image's manifest.
    pub(crate) digest: Digest,
    /// What the image was built for.
    pub(crate) platform: Platform,
    /// What is stated; the rest stays as it is.
    pub(crate) settings: Settings,
    /// Who asks.
    pub(crate) intent: Intent,
}

/// `GET functions/NAME/head?intent=…`: how the newest update stands, and what the intent has published already.
#[derive(Serialize, Deserialize)]
pub(crate) struct HeadView {
    /// Which state of the head this is.
    pub(crate) revision: u64,
    /// How the newest update stands.
    pub(crate) state: State,
    /// Who asked for it.
    pub(crate) intent: Option<Intent>,
    /// The version that the intent which was asked about has made.
    pub(crate) published: Option<VersionView>,
}

/// `POST functions/NAME/versions`: makes a version of the head. Answered by a [`VersionView`].
#[derive(Serialize, Deserialize)]
pub(crate) struct PublishBody {
    /// Who asks.
    pub(crate) intent: Intent,
    /// The state the head must be in.
    pub(crate) revision: u64,
}

/// One version; `GET functions/NAME/versions/NUMBER`, and in a list `GET functions/NAME/versions?limit=…`.
#[derive(Serialize, Deserialize)]
pub(crate) struct VersionView {
    pub(crate) version: Version,
    pub(crate) digest: Digest,
    pub(crate) state: State,
    pub(crate) published: Timestamp,
}

/// `GET functions/NAME?at=…`: the function as one of its faces shows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct FunctionView {
    pub(crate) version: Option<Version>,
    pub(crate) digest: Option<Digest>,
    pub(crate) settings: Settings,
    pub(crate) state: State,
    /// How long a request may take, by each of the versions that may answer; `None` where one's settings do not say.
    #[serde(default)]
    pub(crate) timeouts_ms: Vec<Option<u64>>,
}

/// `PUT functions/NAME/aliases/ALIAS`: writes a whole alias. Answered by an [`AliasView`].
#[derive(Serialize, Deserialize)]
pub(crate) struct AliasBody {
    pub(crate) routing: Routing,
    pub(crate) description: String,
    pub(crate) guard: GuardBody,
}

/// What the alias must be like before it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GuardBody {
    /// It does not exist.
    Absent,
    /// It exists, in whatever state.
    Present,
    /// It is in this state.
    Revision(u64),
}

/// `GET functions/NAME/aliases/ALIAS`.
#[derive(Serialize, Deserialize)]
pub(crate) struct AliasView {
    pub(crate) routing: Routing,
    pub(crate) description: String,
    pub(crate) revision: u64,
}

/// `GET status`: what runs.
#[derive(Serialize, Deserialize)]
pub(crate) struct StatusView {
    pub(crate) pid: u32,
    pub(crate) registry: SocketAddr,
    pub(crate) functions: SocketAddr,
    pub(crate) traffic: Vec<TrafficView>,
}

/// One version's traffic.
#[derive(Serialize, Deserialize)]
pub(crate) struct TrafficView {
    pub(crate) function: FunctionName,
    pub(crate) version: Version,
    pub(crate) instances: u32,
    pub(crate) invocations: u64,
    pub(crate) errors: u64,
    #[serde(default)]
    pub(crate) throttles: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
}

impl From<TrafficView> for Traffic {
    fn from(view: TrafficView) -> Self {
        Self {
            function: view.function,
            version: view.version,
            instances: view.instances,
            invocations: view.invocations,
            errors: view.errors,
            throttles: view.throttles,
            p50_ms: view.p50_ms,
            p95_ms: view.p95_ms,
        }
    }
}

/// `GET functions/NAME/metrics?versions=…&percents=…&from=…&until=…`, times in milliseconds since 1970: what each of the
/// versions did in that time, in their order.
#[derive(Serialize, Deserialize)]
pub(crate) struct MeasuredView {
    pub(crate) version: Version,
    pub(crate) invocations: u64,
    pub(crate) errors: u64,
    pub(crate) throttles: u64,
    /// The latency in milliseconds that so many percent stayed within, one for each that was asked for, in their order;
    /// none where nothing was answered.
    pub(crate) latencies_ms: Vec<Option<f64>>,
}

/// The path of a function.
pub(crate) fn function_path(name: &FunctionName) -> String {
    format!("{PREFIX}/functions/{name}")
}

/// The path of an alias.
pub(crate) fn alias_path(name: &FunctionName, alias: &AliasName) -> String {
    format!("{PREFIX}/functions/{name}/aliases/{alias}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_they_were_stated() {
        let config = Config {
            role: Some("r".to_owned()),
            memory: Some(512 << 20),
            timeout: Some(Duration::from_millis(1500)),
            port: Some(8080),
            handler: Some("h".to_owned()),
            command: Some(vec!["/app".to_owned()]),
            environment: Some([("A".to_owned(), Secret::new("1"))].into()),
            raw: [("kind".to_owned(), serde_json::json!("lambda"))].into(),
        };
        let kept = Settings::stated(&config).unwrap().configuration().unwrap();
        assert_eq!(Settings::kept(&kept).unwrap().config(), config);
        let nothing = Settings::stated(&Config::default()).unwrap().configuration().unwrap();
        assert_eq!(nothing, Configuration::default());
    }
}
