//! One registry, as somebody: where it is, how to log in, what it is known to hold.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::header::{ACCEPT, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use longshore_contract::{Calls, Credential, Digest, Endpoint, PlainHttp, Repository, Service};
use longshore_wire::{Answer, Client, Meter, Protocol, Request, Trust, is_loopback};
use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use super::challenge;
use super::credentials::Found;
use super::error::{PushError, PushErrorKind, REFUSAL_LIMIT};
use super::token::{Fetch, Realm, Token, basic, plain_http};
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
    credentials: Credentials,
    base: OnceCell<Url>,
    scheme: Mutex<Option<Scheme>>,
    logins: Mutex<HashMap<String, Arc<LoginOf>>>,
    blobs: Mutex<HashMap<(String, Digest), Held>>,
}

/// How the registry wants to be shown credentials.
#[derive(Debug, Clone)]
enum Scheme {
    Basic,
    Bearer { realm: Realm, scope: Option<String> },
}

/// What is known for one repository. Whoever holds the token's lock fetches it; everybody else waits for that one.
#[derive(Default)]
struct LoginOf {
    found: OnceCell<Found>,
    token: tokio::sync::Mutex<Option<Token>>,
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

    fn login_of(&self, path: &str) -> Arc<LoginOf> {
        let mut logins = self.logins.lock().expect("nothing panics while it holds this");
        Arc::clone(logins.entry(path.to_owned()).or_default())
    }

    fn scheme(&self) -> Option<Scheme> {
        self.scheme.lock().expect("nothing panics while it holds this").clone()
    }

    /// The registry's URL. Without an endpoint it is https, but where plain http is fine the port is asked what it speaks.
    async fn base(&self, repository: &Repository) -> Result<&Url, PushError> {
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

/// A session as it is used for one repository of one push.
pub struct Access<'a> {
    pub(super) session: &'a Session,
    pub(super) repository: &'a Repository,
    calls: Calls,
}

impl<'a> Access<'a> {
    pub(super) fn new(session: &'a Session, repository: &'a Repository, calls: &Calls) -> Self {
        Self { session, repository, calls: calls.clone() }
    }

    /// Counts every request that really goes out.
    pub(super) fn meter(&self) -> Meter {
        let calls = self.calls.clone();
        Arc::new(move || calls.count(Service::Registry))
    }

    /// A request to `/v2/PATH/rest` of this repository.
    pub(super) async fn request(
        &self,
        operation: &'static str,
        method: Method,
        rest: &str,
    ) -> Result<Request, PushError> {
        let base = self.session.base(self.repository).await?;
        let url = base.join(&format!("v2/{}/{rest}", self.repository.path())).map_err(|_| {
            self.error(PushErrorKind::Protocol, format!("{operation}: no URL can be made for {rest}"))
        })?;
        Ok(Request::new(operation, method, url).trust(self.session.trust()).meter(self.meter()))
    }

    /// Sends `request` to the registry with what it wants to be shown. A 401 makes us log in, or renew once; the answer to
    /// that is final.
    pub(super) async fn send(&self, request: Request) -> Result<Answer, PushError> {
        let shown = self.authorization().await?;
        let answer = self.exchange(request.clone(), shown.clone()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.learn(answer, shown).await?;
        let shown = self.authorization().await?;
        self.exchange(request, shown).await
    }

    /// Sends `request` as it is, with what was wanted last. For bodies that are not sent twice without need.
    pub(super) async fn send_once(&self, request: Request) -> Result<Answer, PushError> {
        let shown = self.authorization().await?;
        let answer = self.exchange(request, shown.clone()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let mut error = self.unauthorized();
            error.message = format!("{} ({})", error.message, StatusCode::UNAUTHORIZED);
            self.learn(answer, shown).await?;
            return Err(error);
        }
        Ok(answer)
    }

    async fn exchange(&self, request: Request, shown: Option<HeaderValue>) -> Result<Answer, PushError> {
        let request = match shown {
            Some(header) => request.authorization(header),
            None => request,
        };
        self.session.client.send(request).await.map_err(|error| PushError::from_wire(error, self.repository))
    }

    /// The header that the registry wants, fetching a token if there is none with enough life left.
    async fn authorization(&self) -> Result<Option<HeaderValue>, PushError> {
        let login = self.session.login_of(self.repository.path());
        match self.session.scheme() {
            None => Ok(None),
            Some(Scheme::Basic) => {
                let found = self.credential(&login).await?;
                match basic(&found.credential) {
                    Some(header) => Ok(Some(header)),
                    None => Err(self.unauthorized()),
                }
            }
            Some(Scheme::Bearer { realm, scope }) => {
                let found = self.credential(&login).await?;
                let mut token = login.token.lock().await;
                if let Some(token) = token.as_ref().filter(|token| token.is_fresh()) {
                    return Ok(Some(token.header.clone()));
                }
                let scope = challenge::scope_for_push(scope.as_deref(), self.repository.path());
                let fetch = Fetch {
                    client: &self.session.client,
                    registry: self.session.base(self.repository).await?,
                    repository: self.repository,
                    realm: &realm,
                    scope: &scope,
                    credential: &found.credential,
                    trust: &self.session.trust(),
                    meter: self.meter(),
                };
                let fetched = fetch.token().await.map_err(|error| self.explain(error))?;
                Ok(Some(token.insert(fetched).header.clone()))
            }
        }
    }

    /// Takes a challenge in: how to log in from now on. A token that was shown and refused is forgotten.
    async fn learn(&self, answer: Answer, shown: Option<HeaderValue>) -> Result<(), PushError> {
        let scheme = read_scheme(answer.headers());
        let body = answer.excerpt(REFUSAL_LIMIT).await;
        let Some(scheme) = scheme else {
            let error = PushError::refusal(self.repository, "log in", 401, &body);
            return Err(self.explain(error));
        };
        let refused = matches!((&scheme, &shown), (Scheme::Basic, Some(_)));
        *self.session.scheme.lock().expect("nothing panics while it holds this") = Some(scheme);
        if refused {
            let error = PushError::refusal(self.repository, "log in", 401, &body);
            return Err(self.explain(error));
        }
        let login = self.session.login_of(self.repository.path());
        let mut token = login.token.lock().await;
        // Somebody else may have renewed it meanwhile: theirs stays.
        if token.as_ref().is_some_and(|token| Some(&token.header) == shown.as_ref()) {
            *token = None;
        }
        Ok(())
    }

    async fn credential<'l>(&self, login: &'l LoginOf) -> Result<&'l Found, PushError> {
        let find = async || match &self.session.credentials {
            Credentials::Given(credential) => {
                Ok(Found { credential: credential.clone(), origin: None, sought: Vec::new() })
            }
            Credentials::Keychain(keychain) => keychain
                .find(self.repository)
                .await
                .map_err(|error| PushError::from_keychain(error, self.repository)),
        };
        login.found.get_or_try_init(find).await
    }

    /// Turns an answer that is no success into the registry's own words.
    pub(super) async fn refused(&self, doing: &str, answer: Answer) -> PushError {
        let (status, attempts) = (answer.status().as_u16(), answer.attempts());
        let body = answer.excerpt(REFUSAL_LIMIT).await;
        self.explain(PushError::refusal(self.repository, doing, status, &body).after(attempts))
    }

    pub(super) fn error(&self, kind: PushErrorKind, message: String) -> PushError {
        PushError::new(kind, self.repository, message)
    }

    fn unauthorized(&self) -> PushError {
        self.explain(self.error(PushErrorKind::Unauthorized, "the registry wants a login".to_owned()))
    }

    /// Adds to a refused login where its credentials came from, or where none were found.
    fn explain(&self, mut error: PushError) -> PushError {
        if error.kind != PushErrorKind::Unauthorized || error.hint.is_some() {
            return error;
        }
        let login = self.session.login_of(self.repository.path());
        let host = self.repository.host();
        error.hint = Some(match (&self.session.credentials, login.found.get()) {
            (Credentials::Given(Credential::Anonymous), _) => {
                format!("no credentials were given for {host}: log in there")
            }
            (Credentials::Given(_), _) => "the credentials are those of the target's provider".to_owned(),
            (Credentials::Keychain(_), Some(Found { origin: Some(origin), .. })) => {
                format!("the credentials come from {origin}; log in anew: docker login {host}")
            }
            (Credentials::Keychain(_), Some(Found { sought, .. })) => {
                format!("no credentials for {host} in {}; log in: docker login {host}", sought.join(", "))
            }
            (Credentials::Keychain(_), None) => format!("log in: docker login {host}"),
        });
        error
    }
}

fn read_scheme(headers: &HeaderMap) -> Option<Scheme> {
    let values = headers.get_all(WWW_AUTHENTICATE);
    let challenges = challenge::read(values.iter().filter_map(|value| value.to_str().ok()));
    let bearer = challenges.iter().filter(|challenge| challenge.scheme == "bearer").find_map(|challenge| {
        let url: Url = challenge.parameters.get("realm")?.parse().ok()?;
        url.host()?;
        let service = challenge.parameters.get("service").cloned();
        let scope = challenge.parameters.get("scope").cloned();
        Some(Scheme::Bearer { realm: Realm { url, service }, scope })
    });
    let basic = || challenges.iter().any(|challenge| challenge.scheme == "basic").then_some(Scheme::Basic);
    bearer.or_else(basic)
}

/// What manifests we ask for: those we can send.
pub(super) fn accept_manifests(request: Request) -> Request {
    request.header(
        ACCEPT,
        HeaderValue::from_static(
            "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
             application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json",
        ),
    )
}
