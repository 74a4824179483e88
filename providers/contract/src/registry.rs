//! Registries, repositories and references.
//!
//! Blobs and manifests are the core's business (`src/push`): a provider tells where a function's images belong and how
//! to log in there.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::names::{Digest, InvalidName, name};
use crate::secret::Secret;
use crate::settings::Endpoint;

/// The registry that goes with one cloud's functions.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The repository that holds images under `path`, beneath the target's namespace or prefix. Without I/O.
    fn repository(&self, path: &str) -> Result<Repository>;

    /// Makes sure the repository exists, leaving an existing one as it is.
    async fn ensure_repository(&self, repository: &Repository) -> Result<Ensured>;

    /// Credentials good for pushing to `repository`, with their end.
    async fn login(&self, repository: &Repository) -> Result<Login>;
}

/// Whether something had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was made now.
    Created,
    /// It was there.
    Existed,
}

/// How to speak to a registry.
#[derive(Debug, Clone)]
pub struct Login {
    /// What to show when asked.
    pub credential: Credential,
    /// When the credential ends, where that is known.
    pub ends: Option<jiff::Timestamp>,
    /// Where to connect in place of the host in the reference.
    pub endpoint: Option<Endpoint>,
}

/// What is shown to a registry.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// A name and a password, for Basic and for token services.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token to be exchanged at the token service (docker's `identitytoken`).
    Refresh {
        /// The refresh token.
        token: Secret,
    },
}

name! {
    /// An image's tag.
    Tag,
    "a tag (letters, digits, _ . and -, beginning with a letter, digit or _; at most 128)",
    |text| (1..=128).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// A repository: the registry's host and the path in it. Docker Hub's short forms are spelled out when it is parsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// What [`FromStr`] accepts, as a phrase that follows "is not".
    pub const EXPECTED: &'static str = "a repository (HOST[:PORT]/PATH; the path in lower case)";

    /// The registry's host, with its port where one is stated.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path in the registry.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Repository {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let no = || InvalidName::new(text, Self::EXPECTED);
        if text.len() > 510 {
            return Err(no());
        }
        // The rule of docker's reference grammar: the first part is a host if it could not be a path part.
        let (host, path) = match text.split_once('/') {
            Some((host, path))
                if host.contains(['.', ':'])
                    || host == "localhost"
                    || host.chars().any(|c| c.is_ascii_uppercase()) =>
            {
                (host, path.to_owned())
            }
            Some(_) => ("docker.io", text.to_owned()),
            None => ("docker.io", format!("library/{text}")),
        };
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        if !host_fits(host) || path.len() > 255 || !path.split('/').all(component_fits) {
            return Err(no());
        }
        Ok(Self { host: host.to_owned(), path })
    }
}

fn host_fits(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.ends_with(':') && (!name.contains(':') || name.ends_with(']')) => {
            (name, Some(port))
        }
        _ => (host, None),
    };
    let name_fits = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        }),
    };
    name_fits
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+'))
}

/// A path component of the distribution specification: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn component_fits(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !part.starts_with(alphanumeric) || !part.ends_with(alphanumeric) {
        return false;
    }
    part.split(alphanumeric)
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.chars().all(|c| c == '-'))
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl TryFrom<String> for Repository {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Repository> for String {
    fn from(repository: Repository) -> String {
        repository.to_string()
    }
}

/// An image in a registry: `HOST/PATH[:TAG][@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    /// Where the image is.
    pub repository: Repository,
    /// A name for it that can move.
    pub tag: Option<Tag>,
    /// What it is.
    pub digest: Option<Digest>,
}

impl FromStr for Reference {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon behind the last slash begins a tag; one before it, a port.
        let (repository, tag) = match rest.rfind(':').filter(|colon| !rest[*colon..].contains('/')) {
            Some(colon) => (&rest[..colon], Some(rest[colon + 1..].parse()?)),
            None => (rest, None),
        };
        Ok(Self { repository: repository.parse()?, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl TryFrom<String> for Reference {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_docker_reads_them() {
        for (text, spelled) in [
            ("ubuntu", "docker.io/library/ubuntu"),
            ("ubuntu:22.04", "docker.io/library/ubuntu:22.04"),
            ("ann/app", "docker.io/ann/app"),
            ("localhost/app", "localhost/app"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("[::1]:5000/app", "[::1]:5000/app"),
            (
                "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v1",
                "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v1",
            ),
            ("index.docker.io/library/ubuntu", "docker.io/library/ubuntu"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), spelled);
        }
        let digest = format!("127.0.0.1:1/a/b__c-d.e:t@sha256:{}", "1".repeat(64));
        assert_eq!(digest.parse::<Reference>().unwrap().to_string(), digest);
        for bad in [
            "",
            "UP",
            "host.io/",
            "host.io/Up",
            "host.io/a//b",
            "host.io/../x",
            "a:b:c",
            "host.io:0/a",
            "host.io:x/a",
            "a@sha256:1",
            "host.io/a___b",
            "host.io/-a",
            "http://host.io/a",
            "host.io/a:",
            "[::1/a",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }
}
