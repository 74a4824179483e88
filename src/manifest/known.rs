//! What the reader knows of the providers: their names and the keys they take, and nothing else.

use longshore_contract::{Registration, SettingKey};

/// A provider as far as a manifest is concerned.
#[derive(Debug, Clone, Copy)]
pub struct KnownProvider {
    /// The word for it in `provider:`.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// The keys it takes under a target.
    pub settings: &'static [SettingKey],
}

impl From<&Registration> for KnownProvider {
    fn from(registration: &Registration) -> Self {
        Self { name: registration.name, summary: registration.summary, settings: registration.settings }
    }
}
