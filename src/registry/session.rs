//! One registry, as somebody: where it is, how to log in, what it is known to hold.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use longshore_contract::{Digest, Endpoint, PlainHttp};
use longshore_wire::{Client, Protocol, Trust, is_loopback};
use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use super::challenge::Scope;
use super::credentials::Found;
use super::error::{RegistryError, RegistryErrorKind};
use super::token::{Realm, Token, plain_http};
use super::{Errand, Reach};

/// How many blobs are on their way to one registry at once.
const UPLOADS: usize = 4;

/// The registries of one run: a session for each, shared by everything that is pulled and pushed, so that a login happens
/// once. Clones share them.
#[derive(Debug, Clone)]
pub struct Sessions {
    client: Client,
    sessions: Arc<Mutex<Vec<Arc<Session>>>>,
}

impl Sessions {
    /// No session yet. Nothing is asked until something is wanted.
    pub fn new(client: Client) -> Self {
        Self { client, sessions: Arc::default() }
    }

    /// The session for the registry at `host`, reached so. The same for everybody who reaches it in the same way.
    pub(crate) fn session(&self, host: &str, reach: &Reach) -> Arc<Session> {
        let mut sessions = self.sessions.lock().expect("nothing panics while it holds this");
        if let Some(session) = sessions.iter().find(|session| session.serves(host, reach)) {
            return Arc::clone(session);
        }
        let session = Arc::new(Session::new(self.client.clone(), host, reach));
        sessions.push(Arc::clone(&session));
        session
    }
}

/// One registry and one set of credentials.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) uploads: Semaphore,
    host: String,
    pub(super) reach: Reach,
    base: OnceCell<Url>,
    scheme: Mutex<Option<Scheme>>,
    found: Mutex<HashMap<String, Arc<OnceCell<Found>>>>,
    logins: Mutex<HashMap<Scope, Arc<Login>>>,
    blobs: Mutex<HashMap<(String, Digest), Held>>,
}

/// Filled once the registry is known to hold a blob.
pub(crate) type Held = Arc<OnceCell<()>>;

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
    fn new(client: Client, host: &str, reach: &Reach) -> Self {
        Self {
            client,
            uploads: Semaphore::new(UPLOADS),
            host: host.to_owned(),
            reach: reach.clone(),
            base: OnceCell::new(),
            scheme: Mutex::default(),
            found: Mutex::default(),
            logins: Mutex::default(),
            blobs: Mutex::default(),
        }
    }

    fn serves(&self, host: &str, reach: &Reach) -> bool {
        self.host == host
            && self.reach.endpoint == reach.endpoint
            && self.reach.plain_http == reach.plain_http
            && self.reach.credentials.are(&reach.credentials)
    }

    /// The cell that is filled once the registry is known to hold `digest` in `path`.
    pub(crate) fn blob(&self, path: &str, digest: &Digest) -> Held {
        entry(&self.blobs, (path.to_owned(), digest.clone()))
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

    /// How credentials are shown, once the registry has said it.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        self.scheme.lock().expect("nothing panics while it holds this").clone()
    }

    pub(super) fn show_from_now_on(&self, scheme: Scheme) {
        *self.scheme.lock().expect("nothing panics while it holds this") = Some(scheme);
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
            let host = if self.host == "docker.io" { "registry-1.docker.io" } else { &self.host };
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
