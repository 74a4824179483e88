//! Speaking to registries: where one is, how to log in, what it says when it refuses.
//!
//! [`Sessions`] keeps one session for each registry and each who; [`Access`] is a session as it is used for one
//! repository, to pull or to push. Pushing and pulling are built upon it and are elsewhere.

mod access;
mod challenge;
mod credentials;
mod errand;
mod error;
mod exchange;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod helper;
mod known;
mod public;
mod session;
mod target;
mod token;

use longshore_contract::{Credential, Endpoint, PlainHttp};

pub use access::Access;
pub use credentials::{Keychain, KeychainError};
pub use errand::{Errand, Purpose};
pub use error::{OciError, RegistryError, RegistryErrorKind};
pub use known::{Exchange, KnownRegistry, Mounts, PLAIN};
pub use public::REGISTRIES as PUBLIC_REGISTRIES;
pub use session::Sessions;
pub use target::Target;

pub(crate) use access::{Once, accept_manifests};
pub(crate) use error::{missing, one_line};

/// How a registry is reached, and as whom.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Where to connect in place of the host in the reference.
    pub endpoint: Option<Endpoint>,
    /// Whether plain http is fine where there is no endpoint and the host is not loopback.
    pub plain_http: PlainHttp,
    /// What to show when asked.
    pub credentials: Credentials,
}

/// Where the credentials for a registry come from.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// From the provider.
    Given(Credential),
    /// From where container tools keep them; looked up only when the registry asks.
    Keychain(Keychain),
}

impl Credentials {
    /// Whether both are shown as the same person.
    fn are(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Keychain(one), Self::Keychain(other)) => one == other,
            (Self::Given(one), Self::Given(other)) => match (one, other) {
                (Credential::Anonymous, Credential::Anonymous) => true,
                (
                    Credential::Basic { user, password },
                    Credential::Basic { user: other, password: theirs },
                ) => user == other && password == theirs,
                (Credential::Refresh { token }, Credential::Refresh { token: other }) => token == other,
                _ => false,
            },
            _ => false,
        }
    }
}
