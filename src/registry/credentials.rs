//! Credentials where container tools keep them: read, never written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use longshore_contract::{Credential, Repository, Secret};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::helper;
use super::known::KnownRegistry;

/// The files that logins are kept in, in the order they are looked into. Reads nothing until it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keychain {
    files: Vec<PathBuf>,
    patience: Duration,
}

/// Credentials, and how they were found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) credential: Credential,
    /// The file, or the helper and the file that names it.
    pub(super) origin: Option<String>,
    /// Every file that was looked into.
    pub(super) sought: Vec<String>,
    /// What tokens are asked for with, once that is known; the credential itself but for a few registries.
    pub(super) exchanged: OnceCell<Credential>,
}

impl Found {
    pub(super) fn new(credential: Credential, origin: Option<String>, sought: Vec<String>) -> Self {
        Self { credential, origin, sought, exchanged: OnceCell::new() }
    }
}

/// Why credentials could not be looked up. That there are none is no error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct KeychainError {
    /// The file or the helper.
    pub place: String,
    /// What is wrong with it, in one line.
    pub problem: String,
    /// What to do next, where we know.
    pub hint: Option<String>,
}

const FILE_LIMIT: u64 = 1 << 20;
const HELPER_PATIENCE: Duration = Duration::from_secs(30);

impl Keychain {
    /// The files of docker and of containers' tools, where the environment puts them: `REGISTRY_AUTH_FILE`,
    /// `DOCKER_CONFIG` or `~/.docker`, `XDG_RUNTIME_DIR/containers`, `~/.config/containers`.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME");
        let below_home = |rest: &str| home.as_ref().map(|home| home.join(rest));
        let files = [
            path("REGISTRY_AUTH_FILE"),
            path("DOCKER_CONFIG").or_else(|| below_home(".docker")).map(|dir| dir.join("config.json")),
            path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            path("XDG_CONFIG_HOME")
                .or_else(|| below_home(".config"))
                .map(|dir| dir.join("containers/auth.json")),
        ];
        Self::of_files(files.into_iter().flatten())
    }

    /// These files, in this order.
    pub fn of_files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: files.into_iter().collect(), patience: HELPER_PATIENCE }
    }

    /// What is kept for `repository`: the first file that has something, and in it the longest name that fits. Files that
    /// are not there are passed over; a file that cannot be read or a helper that fails is an error.
    pub(super) async fn find(
        &self,
        repository: &Repository,
        known: &KnownRegistry,
    ) -> Result<Found, KeychainError> {
        let mut sought = Vec::new();
        for file in &self.files {
            let shown = file.display().to_string();
            sought.push(shown.clone());
            let Some(text) = read(file)? else { continue };
            let config: Config = serde_json::from_slice(&text)
                .map_err(|error| wrong(&shown, &format!("not a file of logins: {error}")))?;
            match config.look(repository, known) {
                Entry::None => {}
                Entry::Credential(credential) => {
                    let credential = credential.map_err(|problem| wrong(&shown, &problem))?;
                    return Ok(Found::new(credential, Some(shown), sought));
                }
                Entry::Helper(name) => {
                    let origin = format!("docker-credential-{name}, which {shown} names");
                    let server = server_name(repository, known);
                    if let Some(credential) =
                        helper::ask(&name, server, self.patience).await.map_err(|failed| KeychainError {
                            place: origin.clone(),
                            problem: failed.problem,
                            hint: failed.hint,
                        })?
                    {
                        return Ok(Found::new(credential, Some(origin), sought));
                    }
                }
            }
        }
        Ok(Found::new(Credential::Anonymous, None, sought))
    }
}

fn wrong(place: &str, problem: &str) -> KeychainError {
    KeychainError { place: place.to_owned(), problem: problem.to_owned(), hint: None }
}

fn read(file: &Path) -> Result<Option<Vec<u8>>, KeychainError> {
    let shown = file.display().to_string();
    let mut text = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut text));
    match read {
        Ok(length) if length as u64 > FILE_LIMIT => {
            Err(wrong(&shown, &format!("larger than {FILE_LIMIT} bytes")))
        }
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(text)),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(wrong(&shown, &error.to_string())),
    }
}

/// What helpers and `credHelpers` call the registry.
fn server_name<'a>(repository: &'a Repository, known: &KnownRegistry) -> &'a str {
    known.login_keys.first().copied().unwrap_or(repository.host())
}

/// A file of logins. It holds secrets, so it has no `Debug`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

pub(super) enum Entry {
    None,
    Credential(Result<Credential, String>),
    Helper(String),
}

impl Config {
    pub(super) fn look(&self, repository: &Repository, known: &KnownRegistry) -> Entry {
        let host = repository.host();
        let server = server_name(repository, known);
        let normal = |key: &str| normal(key, host, known);
        let helpers = self.cred_helpers.iter();
        if let Some((_, name)) = helpers.into_iter().find(|(key, _)| **key == server || normal(key) == host) {
            return Entry::Helper(name.clone());
        }
        let whole = repository.to_string();
        let fits =
            |key: &str| whole == key || whole.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
        let entries = self.auths.iter().filter_map(|(key, auth)| {
            let key = normal(key);
            fits(&key).then(|| auth.credential().map(|credential| (key.len(), credential))).flatten()
        });
        // The longest name is the one meant for the fewest repositories.
        match entries.max_by_key(|(length, _)| *length) {
            Some((_, credential)) => Entry::Credential(credential),
            None => {
                self.creds_store.clone().filter(|name| !name.is_empty()).map_or(Entry::None, Entry::Helper)
            }
        }
    }
}

impl Auth {
    /// `None` for an entry that only says that a helper has it.
    fn credential(&self) -> Option<Result<Credential, String>> {
        let stated = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = stated(&self.identitytoken) {
            return Some(Ok(Credential::Refresh { token: Secret::new(token) }));
        }
        if let Some(auth) = stated(&self.auth) {
            return Some(
                decode(&auth).ok_or_else(|| "an entry of auths is no base64 of USER:PASSWORD".to_owned()),
            );
        }
        let user = stated(&self.username)?;
        Some(Ok(basic(user, self.password.clone().unwrap_or_default())))
    }
}

fn decode(auth: &str) -> Option<Credential> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient).decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(basic(user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// A name and a password; docker's word for "the password is a refresh token" is a name.
pub(super) fn basic(user: String, password: String) -> Credential {
    match user.as_str() {
        "<token>" => Credential::Refresh { token: Secret::new(password) },
        _ => Credential::Basic { user, password: Secret::new(password) },
    }
}

/// The key of an entry as `HOST[/PATH]`: with a scheme it is an old address of the registry, and its path means nothing.
/// Whatever else the registry at `host` is called is that host.
fn normal(key: &str, host: &str, known: &KnownRegistry) -> String {
    let ours = host;
    let key = match key.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/'),
    };
    let (host, path) = key.split_once('/').map_or((key, ""), |(host, path)| (host, path));
    let host = if known.login_keys.contains(&host) { ours } else { host };
    match path {
        "" | "v1" | "v2" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::PLAIN;

    fn look(config: &str, repository: &str) -> String {
        let config: Config = serde_json::from_str(config).unwrap();
        let repository: Repository = repository.parse().unwrap();
        match config.look(&repository, KnownRegistry::of_host(repository.host(), &[])) {
            Entry::None => "none".to_owned(),
            Entry::Helper(name) => format!("helper {name}"),
            Entry::Credential(Err(problem)) => problem,
            Entry::Credential(Ok(Credential::Basic { user, password })) => {
                format!("{user}:{}", password.expose())
            }
            Entry::Credential(Ok(Credential::Refresh { token })) => format!("refresh {}", token.expose()),
            Entry::Credential(Ok(Credential::Anonymous)) => "anonymous".to_owned(),
        }
    }

    #[test]
    fn the_longest_fitting_name_wins_and_names_end_at_a_slash() {
        let config = r#"{"auths": {
            "h.io": {"auth": "aDpo"}, "h.io/team": {"auth": "dDp0"}, "h.io/team/app": {"auth": "YTph"},
            "https://index.docker.io/v1/": {"username": "hub", "password": "p"}, "g.io": {"identitytoken": "r"}}}"#;
        for (repository, expected) in [
            ("h.io/other/app", "h:h"),
            ("h.io/teams/app", "h:h"),
            ("h.io/team/web", "t:t"),
            ("h.io/team/app", "a:a"),
            ("h.io/team/app/sub", "a:a"),
            ("h.io:5000/team/app", "none"),
            ("ubuntu", "hub:p"),
            ("g.io/a", "refresh r"),
        ] {
            assert_eq!(look(config, repository), expected, "{repository}");
        }
    }

    #[test]
    fn a_helper_for_the_host_comes_first_and_the_store_last() {
        let config = r#"{"auths": {"h.io": {}, "i.io": {"auth": "aTpp"}, "j.io": {"auth": "ajpq"}},
            "credHelpers": {"j.io": "special", "https://index.docker.io/v1/": "hub"}, "credsStore": "store"}"#;
        for (repository, expected) in [
            ("h.io/a", "helper store"),
            ("i.io/a", "i:i"),
            ("j.io/a", "helper special"),
            ("ubuntu", "helper hub"),
        ] {
            assert_eq!(look(config, repository), expected, "{repository}");
        }
    }

    #[test]
    fn an_entry_may_hold_a_refresh_token_or_nonsense() {
        assert_eq!(look(r#"{"auths": {"h.io": {"auth": "PHRva2VuPjpy"}}}"#, "h.io/a"), "refresh r");
        for nonsense in ["!", "YQ==", "gICA"] {
            let config = format!(r#"{{"auths": {{"h.io": {{"auth": "{nonsense}"}}}}}}"#);
            assert_eq!(look(&config, "h.io/a"), "an entry of auths is no base64 of USER:PASSWORD");
        }
    }

    #[test]
    fn the_environment_says_where_the_files_are() {
        let files = |variables: &[(&str, &str)]| {
            let get =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
            Keychain::from_variables(get).files
        };
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            files(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/1")]),
            paths(&[
                "/h/.docker/config.json",
                "/run/1/containers/auth.json",
                "/h/.config/containers/auth.json"
            ])
        );
        assert_eq!(
            files(&[
                ("HOME", "/h"),
                ("DOCKER_CONFIG", "/d"),
                ("REGISTRY_AUTH_FILE", "/a"),
                ("XDG_CONFIG_HOME", "")
            ]),
            paths(&["/a", "/d/config.json", "/h/.config/containers/auth.json"])
        );
        assert_eq!(files(&[]), paths(&[]));
    }

    #[tokio::test]
    async fn files_are_looked_into_in_order_and_a_broken_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one.json"), directory.path().join("two.json"));
        std::fs::write(&one, r#"{"auths": {"other.io": {"auth": "YTph"}}}"#).unwrap();
        std::fs::write(&two, r#"{"auths": {"h.io": {"auth": "aDpo"}}}"#).unwrap();
        let keychain = Keychain::of_files([directory.path().join("absent.json"), one.clone(), two]);
        let repository: Repository = "h.io/a".parse().unwrap();
        let found = keychain.find(&repository, &PLAIN).await.unwrap();
        assert!(found.origin.unwrap().ends_with("two.json"));
        assert_eq!(found.sought.len(), 3);
        std::fs::write(&one, "{").unwrap();
        let error = keychain.find(&repository, &PLAIN).await.unwrap_err();
        assert!(error.to_string().contains("one.json: not a file of logins"), "{error}");
    }
}
