//! Counting requests to services, for the report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

/// A kind of service that requests go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Functions, versions and aliases; for the local cloud its daemon's control API.
    Functions,
    /// The registry's management API, where it has one beside the distribution API.
    RegistryApi,
    /// The OCI distribution API, its token service included.
    Registry,
    /// The image scanner.
    Scanner,
    /// The metrics store.
    Metrics,
    /// Who am I.
    Identity,
}

impl Service {
    /// Every service, in the order they are reported.
    pub const ALL: [Self; 6] =
        [Self::Functions, Self::RegistryApi, Self::Registry, Self::Scanner, Self::Metrics, Self::Identity];

    /// The word for it in manifests and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Functions => "functions",
            Self::RegistryApi => "registry_api",
            Self::Registry => "registry",
            Self::Scanner => "scanner",
            Self::Metrics => "metrics",
            Self::Identity => "identity",
        }
    }
}

/// A meter of requests, retries and polls included. Clones count into the same meter.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<[AtomicU32; 6]>);

impl Calls {
    /// Counts one request to `service`.
    pub fn count(&self, service: Service) {
        self.0[service as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests went to `service` so far.
    pub fn to(&self, service: Service) -> u32 {
        self.0[service as usize].load(Ordering::Relaxed)
    }
}
