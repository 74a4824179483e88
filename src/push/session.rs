//! One registry, as somebody: where it is, how to log in, what it is known to hold.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use longshore_contract::{Credential, Digest, Endpoint, PlainHttp, Repository};
use longshore_wire::{Client, Protocol, Trust, is_loopback};
use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use super::credentials::Found;
use super::error::{PushError, PushErrorKind};
use super::token::{Realm, Token, plain_http};
use super::{Credentials, Destination};

/// How many blobs are on their way to one registry at once.
const UPLOADS: usize = 4;

/// Filled once the registry is known to hold a blob.
type Held = Arc<OnceCell<()>>;

/// One registry and one set of credentials.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) uploads: Semaphore,
    host: String,
    endpoint: Option<Endpoint>,
    plain_http: PlainHttp,
    pub(super) credentials: Credentials,
    base: OnceCell<Url>,
    scheme: Mutex<Option<Scheme>>,
    logins: Mutex<HashMap<String, Arc<LoginOf>>>,
    blobs: Mutex<HashMap<(String, Digest), Held>>,
}

/// How the registry wants to be shown credentials.
#[derive(Debug, Clone)]
pub(super) enum Scheme {
    Basic,
    Bearer(Realm),
}

/// What is known for one repository. Whoever holds the token's lock fetches it; everybody else waits for that one.
#[derive(Default)]
pub(super) struct LoginOf {
    pub(super) found: OnceCell<Found>,
    /// What the registry asked to be allowed, in its own words.
    pub(super) scope: Mutex<Option<String>>,
    pub(super) token: tokio::sync::Mutex<Option<Token>>,
}

impl Session {
    pub(super) fn new(client: Client, destination: &Destination) -> Self {
        Self {
            client,
            uploads: Semaphore::new(UPLOADS),
            host: destination.reference.repository.host().to_owned(),
            endpoint: destination.endpoint.clone(),
            plain_http: destination.plain_http,
            credentials: destination.credentials.clone(),
            base: OnceCell::new(),
            scheme: Mutex::default(),
            logins: Mutex::default(),
            blobs: Mutex::default(),
        }
    }

    /// Whether it can be used for `destination` too.
    pub(super) fn serves(&self, destination: &Destination) -> bool {
        self.host == destination.reference.repository.host()
            && self.endpoint == destination.endpoint
            && self.plain_http == destination.plain_http
            && same_credentials(&self.credentials, &destination.credentials)
    }

    /// The cell that is filled once the registry is known to hold `digest` in `path`.
    pub(super) fn blob(&self, path: &str, digest: &Digest) -> Held {
        let mut blobs = self.blobs.lock().expect("nothing panics while it holds this");
        Arc::clone(blobs.entry((path.to_owned(), digest.clone())).or_default())
    }

    pub(super) fn trust(&self) -> Trust {
        match &self.endpoint {
            Some(endpoint) => Trust { plain_http: plain_http(endpoint.plain_http), ca: endpoint.ca.clone() },
            None => Trust { plain_http: plain_http(self.plain_http), ca: None },
        }
    }

    /// What is known of the login for `path`; the same for everybody who asks.
    pub(super) fn login_of(&self, path: &str) -> Arc<LoginOf> {
        let mut logins = self.logins.lock().expect("nothing panics while it holds this");
        Arc::clone(logins.entry(path.to_owned()).or_default())
    }

    /// How credentials are shown, once the registry has said it.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        self.scheme.lock().expect("nothing panics while it holds this").clone()
    }

    pub(super) fn show_from_now_on(&self, scheme: Scheme) {
        *self.scheme.lock().expect("nothing panics while it holds this") = Some(scheme);
    }

    /// The registry's URL. Without an endpoint it is https, but where plain http is fine the port is asked what it speaks.
    pub(super) async fn base(&self, repository: &Repository) -> Result<&Url, PushError> {
        let find = async || {
            let invalid = |text: &str| {
                let message =
                    format!("{text:?} is no URL of a registry (http://HOST[:PORT] or https://HOST[:PORT])");
                PushError::new(PushErrorKind::Unreachable, repository, message)
            };
            if let Some(endpoint) = &self.endpoint {
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
            if !is_loopback(&secure) && self.plain_http == PlainHttp::LoopbackOnly {
                return Ok(secure);
            }
            let plain: Url = format!("http://{host}/").parse().map_err(|_| invalid(host))?;
            let asked = if secure.port().is_some() || is_loopback(&secure) { &plain } else { &secure };
            match self.client.speaks("connect", asked).await {
                Ok(Protocol::Https) => Ok(secure),
                Ok(Protocol::Http) => Ok(plain),
                // Nobody at the port of https, and no port was stated: the one of http is what is left.
                Err(_) if asked.scheme() == "https" => Ok(plain),
                Err(error) => Err(PushError::from_wire(error, repository)),
            }
        };
        self.base.get_or_try_init(find).await
    }
}

fn same_credentials(one: &Credentials, other: &Credentials) -> bool {
    match (one, other) {
        (Credentials::Keychain(one), Credentials::Keychain(other)) => one == other,
        (Credentials::Given(one), Credentials::Given(other)) => match (one, other) {
            (Credential::Anonymous, Credential::Anonymous) => true,
            (Credential::Basic { user, password }, Credential::Basic { user: other, password: theirs }) => {
                user == other && password == theirs
            }
            (Credential::Refresh { token }, Credential::Refresh { token: other }) => token == other,
            _ => false,
        },
        _ => false,
    }
}
