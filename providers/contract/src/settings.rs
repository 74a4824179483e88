//! A target's settings as the manifest states them: the core checks their names and kinds, the provider reads them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::calls::Service;

/// One key a provider takes under `targets.NAME`. The manifest's reader, its schema and its pages are made from these.
#[derive(Debug, Clone, Copy)]
pub struct SettingKey {
    /// The key as it is written; a dot names a key of a nested table (`registry.instance`).
    pub name: &'static str,
    /// What it means, as one sentence for the manifest's reference.
    pub doc: &'static str,
    /// What it takes.
    pub kind: SettingKind,
    /// An example of a value.
    pub example: &'static str,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy)]
pub enum SettingKind {
    /// Any text.
    Text,
    /// Text that must be stated.
    Required,
    /// A path, relative to the manifest's directory.
    Path,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number between the two, both included.
    Number(u64, u64),
}

/// Where a service is reached in place of its usual address. An override changes where we connect, never a name that
/// goes into a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// An absolute `http` or `https` URL.
    pub url: String,
    /// Whether plain http may be spoken beyond loopback.
    pub plain_http: PlainHttp,
    /// A file of PEM certificates to trust for this endpoint, absolute.
    pub ca: Option<PathBuf>,
}

/// Whether plain http may be spoken to a host that is not loopback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// It is refused; loopback is always fine.
    #[default]
    LoopbackOnly,
    /// The user asked for it.
    Allowed,
}

/// One target's settings.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The target's name in the manifest, for messages; the address itself where there is no manifest.
    pub target: String,
    /// The values under the keys that the registration lists; a dotted key is one flat key here.
    pub values: BTreeMap<String, Value>,
    /// Endpoints stated in place of the usual ones.
    pub endpoints: BTreeMap<Service, Endpoint>,
    /// What relative paths are relative to: the manifest's directory, absolute.
    pub directory: PathBuf,
}

impl Settings {
    /// The text stated for `key`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).and_then(Value::as_str)
    }
}
