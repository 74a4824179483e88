//! Registries known by name: what each does that the distribution specification leaves open, as a value.

use super::public;

/// What is particular about a registry. Everything else is as the specification says; nobody's blobs are sent in chunks.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownRegistry {
    /// What people call it.
    pub name: &'static str,
    /// Its hosts; `*` stands for any characters.
    pub hosts: &'static [&'static str],
    /// The `service` of its challenge, by which it is known behind anybody's host. Anybody can say that, so a registry that
    /// is known by it has nothing that decides who gets credentials: no other host, no login keys, no exchange.
    pub services: &'static [&'static str],
    /// The host that answers, where it is not the one that people write.
    pub answers_at: Option<&'static str>,
    /// What it is called in files of logins besides its host; the first is what helpers are asked for.
    pub login_keys: &'static [&'static str],
    /// What it expects as user and password.
    pub login: Option<&'static str>,
    /// What user and password are exchanged for before a token is asked for.
    pub exchange: Option<&'static Exchange>,
    /// How many blobs are on their way at once.
    pub uploads: usize,
    /// Whether a blob is asked for in another repository before it is sent.
    pub mounts: Mounts,
    /// The codes of its answer to a manifest whose tag may not move.
    pub fixed_tag_codes: &'static [&'static str],
    /// How a repository comes to be, where a push does not make it.
    pub repositories: Option<&'static str>,
    /// What to do when it says that too much was asked.
    pub limits: Option<&'static str>,
}

/// Whether a registry can be expected to take a blob over from another repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// It is asked.
    Tried,
    /// It never does, so a login for both repositories would be in vain.
    Never,
}

/// A login that is changed into a refresh token.
#[derive(Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The user by which such a login is told; the password is a token.
    pub user: &'static str,
    /// Where an access token becomes a refresh token, below the registry's URL.
    pub path: &'static str,
}

/// How many blobs are on their way at once to a registry of which nothing is known.
const UPLOADS: usize = 4;

/// The plain specification: what holds for a host that nobody knows.
pub const PLAIN: KnownRegistry = KnownRegistry {
    name: "any other registry",
    hosts: &[],
    services: &[],
    answers_at: None,
    login_keys: &[],
    login: None,
    exchange: None,
    uploads: UPLOADS,
    mounts: Mounts::Tried,
    fixed_tag_codes: &["TAG_INVALID"],
    repositories: None,
    limits: None,
};

impl KnownRegistry {
    /// The registry behind `host`: one of `more`, a public one, or the plain specification.
    pub(crate) fn of_host(host: &str, more: &'static [Self]) -> &'static Self {
        let name = host.split(':').next().unwrap_or(host).to_ascii_lowercase();
        let mut all = more.iter().chain(public::REGISTRIES);
        all.find(|known| known.hosts.iter().any(|pattern| fits(pattern, &name))).unwrap_or(&PLAIN)
    }

    /// The registry that calls itself `service` in a challenge.
    pub(super) fn of_service(service: &str) -> Option<&'static Self> {
        public::REGISTRIES.iter().find(|known| known.services.contains(&service))
    }
}

/// Whether `name` is `pattern`, in which each `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (1..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_known_by_the_whole_of_its_host() {
        for (host, name) in [
            ("docker.io", "Docker Hub"),
            ("ghcr.io", "GitHub Container Registry"),
            ("eu.gcr.io", "Google Container Registry and Artifact Registry"),
            ("europe-west1-docker.pkg.dev", "Google Container Registry and Artifact Registry"),
            ("Shop.azurecr.io", "Azure Container Registry"),
            ("quay.io", "Quay"),
            ("shop.azurecr.io.example.com", PLAIN.name),
            (".azurecr.io", PLAIN.name),
            ("notquay.io", PLAIN.name),
            ("127.0.0.1:5000", PLAIN.name),
            ("[::1]:5000", PLAIN.name),
        ] {
            assert_eq!(KnownRegistry::of_host(host, &[]).name, name, "{host}");
        }
        assert_eq!(KnownRegistry::of_service("harbor-registry").unwrap().name, "Harbor");
        assert!(KnownRegistry::of_service("registry.example").is_none());
    }

    #[test]
    fn whoever_calls_itself_something_gets_nobodys_credentials_for_it() {
        for known in public::REGISTRIES.iter().filter(|known| !known.services.is_empty()) {
            assert_eq!(
                (known.hosts.len(), known.answers_at, known.login_keys.len(), known.exchange),
                (0, None, 0, None),
                "{}",
                known.name
            );
        }
    }

    #[test]
    fn more_registries_are_known_where_they_are_given() {
        static MORE: [KnownRegistry; 1] =
            [KnownRegistry { name: "ours", hosts: &["*.registry.*.cloud.example"], ..PLAIN }];
        assert_eq!(KnownRegistry::of_host("1.registry.east-1.cloud.example", &MORE).name, "ours");
        assert_eq!(KnownRegistry::of_host("registry.east-1.cloud.example", &MORE).name, PLAIN.name);
    }
}
