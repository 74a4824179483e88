//! One registry, as somebody: where it is, how to log in, what it is known to hold.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_contract::{Digest, Endpoint, PlainHttp};
use longshore_wire::{Client, Protocol, Trust, is_loopback};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::task::TaskTracker;
use url::Url;

use super::challenge::Scope;
use super::credentials::Found;
use super::error::{RegistryError, RegistryErrorKind};
use super::known::KnownRegistry;
use super::token::{Realm, Token, plain_http};
use super::{Errand, Reach};

const TIDYING: Duration = Duration::from_secs(3);

/// The registries of one run: a session for each, shared by everything that is pulled and pushed, so that a login happens
/// once. Clones share them.
#[derive(Debug, Clone)]
pub struct Sessions {
    client: Client,
    more: &'static [KnownRegistry],
    sessions: Arc<Mutex<Vec<Arc<Session>>>>,
}

impl Sessions {
    /// No session yet. Nothing is asked until something is wanted.
    pub fn new(client: Client) -> Self {
        Self { client, more: &[], sessions: Arc::default() }
    }

    /// Knows `more` registries by name than the public ones.
    pub fn knowing(self, more: &'static [KnownRegistry]) -> Self {
        Self { more, ..self }
    }

    /// The session for the registry at `host`, reached so. The same for everybody who reaches it in the same way.
    pub(crate) fn session(&self, host: &str, reach: &Reach) -> Arc<Session> {
        let mut sessions = self.sessions.lock().expect("nothing panics while it holds this");
        if let Some(session) = sessions.iter().find(|session| session.serves(host, reach)) {
            return Arc::clone(session);
        }
        let session = Arc::new(Session::new(self.client.clone(), host, reach, self.more));
        sessions.push(Arc::clone(&session));
        session
    }

    /// Waits until everything is tidied up that a push left behind, at most a few seconds.
    pub async fn tidied(&self) {
        let sessions = self.sessions.lock().expect("nothing panics while it holds this").clone();
        for session in sessions {
            let _ = tokio::time::timeout(TIDYING, session.leftovers.wait()).await;
        }
    }
}

/// One registry and one set of credentials.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) uploads: Semaphore,
    host: String,
    known: Mutex<&'static KnownRegistry>,
    pub(super) reach: Reach,
    base: OnceCell<Url>,
    scheme: Mutex<Option<Scheme>>,
    found: Mutex<HashMap<String, Arc<OnceCell<Found>>>>,
    logins: Mutex<HashMap<Scope, Arc<Login>>>,
    blobs: Mutex<HashMap<(String, Digest), Held>>,
    holders: Mutex<HashMap<Digest, String>>,
    ways: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// What is tidied up behind a push, without anybody waiting for it.
    pub(crate) leftovers: TaskTracker,
}

/// Whether a repository is known to hold a blob. Locked by whoever finds out or sends it.
pub(crate) type Held = Arc<tokio::sync::Mutex<bool>>;

/// How the registry wants to be shown credentials.
#[derive(Debug, Clone)]
pub(super) enum Scheme {
    Basic,
    Bearer(Realm),
}

/// What is known for one scope. Whoever holds the token's lock fetches it; everybody else waits for that one.
#[derive(Default)]
pub(super) struct Login {
    /// What the registry asked to be allowed, in its own words.
    pub(super) challenged: Mutex<Option<String>>,
    pub(super) token: tokio::sync::Mutex<Option<Token>>,
}

impl Session {
    fn new(client: Client, host: &str, reach: &Reach, more: &'static [KnownRegistry]) -> Self {
        let known = KnownRegistry::of_host(host, more);
        let leftovers = TaskTracker::new();
        // Whoever waits waits for what is left, and more may come.
        leftovers.close();
        Self {
            client,
            uploads: Semaphore::new(known.uploads),
            known: Mutex::new(known),
            host: host.to_owned(),
            reach: reach.clone(),
            base: OnceCell::new(),
            scheme: Mutex::default(),
            found: Mutex::default(),
            logins: Mutex::default(),
            blobs: Mutex::default(),
            holders: Mutex::default(),
            ways: Mutex::default(),
            leftovers,
        }
    }

    fn serves(&self, host: &str, reach: &Reach) -> bool {
        self.host == host
            && self.reach.endpoint == reach.endpoint
            && self.reach.plain_http == reach.plain_http
            && self.reach.credentials.are(&reach.credentials)
    }

    /// Whether `path` is known to hold `digest`; the same for everybody who asks.
    pub(crate) fn blob(&self, path: &str, digest: &Digest) -> Held {
        entry(&self.blobs, (path.to_owned(), digest.clone()))
    }

    /// The repository `path` holds `digest`: others may take it over from there.
    pub(crate) fn holds(&self, path: &str, digest: &Digest) {
        let mut holders = self.holders.lock().expect("nothing panics while it holds this");
        holders.insert(digest.clone(), path.to_owned());
    }

    /// The repository `path` has not what it was thought to hold: everything is looked for again.
    pub(crate) fn lacks(&self, path: &str) {
        self.blobs.lock().expect("nothing panics while it holds this").retain(|(other, _), _| other != path);
        self.holders.lock().expect("nothing panics while it holds this").retain(|_, other| other != path);
    }

    /// A repository that holds `digest`.
    pub(crate) fn holder(&self, digest: &Digest) -> Option<String> {
        self.holders.lock().expect("nothing panics while it holds this").get(digest).cloned()
    }

    /// Held by whoever sends `digest` to any repository of the registry.
    pub(crate) fn way(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        entry(&self.ways, digest.clone())
    }

    /// Whom requests to the registry trust.
    pub(crate) fn trust(&self) -> Trust {
        match &self.reach.endpoint {
            Some(Endpoint { plain_http: policy, ca, .. }) => {
                Trust { plain_http: plain_http(*policy), ca: ca.clone() }
            }
            None => Trust { plain_http: plain_http(self.reach.plain_http), ca: None },
        }
    }

    /// The credentials for `path`, once they are looked up.
    pub(super) fn found(&self, path: &str) -> Arc<OnceCell<Found>> {
        entry(&self.found, path.to_owned())
    }

    /// What is known of the login for `scope`; the same for everybody who asks.
    pub(super) fn login(&self, scope: &Scope) -> Arc<Login> {
        entry(&self.logins, scope.clone())
    }

    /// What is known of the registry by its name.
    pub(crate) fn known(&self) -> &'static KnownRegistry {
        *self.known.lock().expect("nothing panics while it holds this")
    }

    /// The registry calls itself `service`; a host that nobody knows may be known by that.
    pub(super) fn calls_itself(&self, service: &str) {
        let mut known = self.known.lock().expect("nothing panics while it holds this");
        if known.hosts.is_empty()
            && let Some(found) = KnownRegistry::of_service(service)
        {
            *known = found;
        }
    }

    /// How credentials are shown, once the registry has said it.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        self.scheme.lock().expect("nothing panics while it holds this").clone()
    }

    /// `None`: the registry is to say it again.
    pub(super) fn show_from_now_on(&self, scheme: Option<Scheme>) {
        *self.scheme.lock().expect("nothing panics while it holds this") = scheme;
    }

    /// The registry's URL. Without an endpoint it is https, but where plain http is fine the port is asked what it speaks.
    pub(crate) async fn base(&self, errand: &Errand) -> Result<&Url, RegistryError> {
        let find = async || {
            let invalid = |text: &str| {
                let message =
                    format!("{text:?} is no URL of a registry (http://HOST[:PORT] or https://HOST[:PORT])");
                RegistryError::new(RegistryErrorKind::Unreachable, errand, message)
            };
            if let Some(endpoint) = &self.reach.endpoint {
                let mut url: Url = endpoint.url.parse().map_err(|_| invalid(&endpoint.url))?;
                if url.host().is_none()
                    || url.query().is_some()
                    || !url.username().is_empty()
                    || url.password().is_some()
                {
                    return Err(invalid("the endpoint"));
                }
                if !url.path().ends_with('/') {
                    let path = format!("{}/", url.path());
                    url.set_path(&path);
                }
                return Ok(url);
            }
            // The name people know is not the machine that answers.
            let host = self.known().answers_at.unwrap_or(&self.host);
            let secure: Url = format!("https://{host}/").parse().map_err(|_| invalid(host))?;
            if !is_loopback(&secure) && self.reach.plain_http == PlainHttp::LoopbackOnly {
                return Ok(secure);
            }
            let plain: Url = format!("http://{host}/").parse().map_err(|_| invalid(host))?;
            let asked = if secure.port().is_some() || is_loopback(&secure) { &plain } else { &secure };
            match self.client.speaks("connect", asked).await {
                Ok(Protocol::Https) => Ok(secure),
                Ok(Protocol::Http) => Ok(plain),
                // Nobody at the port of https, and no port was stated: the one of http is what is left.
                Err(_) if asked.scheme() == "https" => Ok(plain),
                Err(error) => Err(RegistryError::from_wire(error, errand)),
            }
        };
        self.base.get_or_try_init(find).await
    }
}

/// What a map holds for `key`, made where it is not there; shared by everybody who asks.
fn entry<K: Eq + Hash, V: Default>(map: &Mutex<HashMap<K, Arc<V>>>, key: K) -> Arc<V> {
    let mut map = map.lock().expect("nothing panics while it holds this");
    Arc::clone(map.entry(key).or_default())
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("host", &self.host)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}
