//! Whether a registry can be asked what refers to an image.

use http::{Method, StatusCode};
use longshore_contract::{Calls, Digest};

use super::{Destination, Registries};
use crate::registry::{Access, Purpose, RegistryError};

/// Whether a registry knows manifests that refer to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referrers {
    /// It lists them by what they refer to.
    Listed,
    /// It does not: they could be put there, and nobody would find them.
    Unknown,
}

/// Asks the registry whether it lists what refers to `digest`.
pub async fn referrers(
    registries: &Registries,
    destination: &Destination,
    digest: &Digest,
    calls: &Calls,
) -> Result<Referrers, RegistryError> {
    let repository = &destination.reference.repository;
    let access = Access::new(registries.sessions(), repository, &destination.reach(), Purpose::Push, calls);
    let request = access.request("look for referrers", Method::GET, &format!("referrers/{digest}")).await?;
    let answer = access.send(request).await?;
    match answer.status() {
        StatusCode::OK => Ok(Referrers::Listed),
        // Registries before version 1.1 of the specification answer a path they do not know with one of these.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST => {
            Ok(Referrers::Unknown)
        }
        _ => Err(access.refused("look for referrers", answer).await),
    }
}
