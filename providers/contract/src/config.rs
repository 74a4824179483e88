//! A function's configuration in the manifest's words, the same for every cloud.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::secret::Secret;

/// Configuration as it is wanted or as it was found. `None` and absent keys mean "not stated": a provider leaves such a
/// setting as it is, and a comparison passes over it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The identity the function runs under, in the cloud's own form.
    pub role: Option<String>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// How long one request may take.
    pub timeout: Option<Duration>,
    /// The port the image listens on, for images that speak HTTP.
    pub port: Option<u16>,
    /// The image's handler, where a runtime takes one.
    pub handler: Option<String>,
    /// What is started, in place of the image's entrypoint and command.
    pub command: Option<Vec<String>>,
    /// The whole environment; stating it replaces all of it. Values are never shown.
    pub environment: Option<BTreeMap<String, Secret>>,
    /// The cloud's own fields, passed on as they are.
    pub raw: BTreeMap<String, Value>,
}
