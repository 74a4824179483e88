//! A session as one push uses it: requests to one repository, logged in, counted.

use std::sync::Arc;

use http::header::{ACCEPT, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use longshore_contract::{Calls, Credential, Repository, Service};
use longshore_wire::{Answer, Meter, Request};
use url::Url;

use super::Credentials;
use super::challenge;
use super::credentials::Found;
use super::error::{PushError, PushErrorKind, REFUSAL_LIMIT};
use super::session::{LoginOf, Scheme, Session};
use super::token::{Fetch, Realm, basic};

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

    /// Sends `request` once, with what was wanted last: for a body that is not sent again unasked. After a 401 the login is
    /// renewed for the next request, and the error is of kind [`Unauthorized`](PushErrorKind::Unauthorized).
    pub(super) async fn send_once(&self, doing: &str, request: Request) -> Result<Answer, PushError> {
        let shown = self.authorization().await?;
        let answer = self.exchange(request, shown.clone()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.learn(answer, shown).await?;
        Err(self.explain(PushError::refusal(self.repository, doing, 401, &[])))
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
            Some(Scheme::Bearer(realm)) => {
                let found = self.credential(&login).await?;
                let mut token = login.token.lock().await;
                if let Some(token) = token.as_ref().filter(|token| token.is_fresh()) {
                    return Ok(Some(token.header.clone()));
                }
                let asked = login.scope.lock().expect("nothing panics while it holds this").clone();
                let scope = challenge::scope_for_push(asked.as_deref(), self.repository.path());
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
        let read = read_scheme(answer.headers());
        let body = answer.excerpt(REFUSAL_LIMIT).await;
        let Some((scheme, scope)) = read else {
            let error = PushError::refusal(self.repository, "log in", 401, &body);
            return Err(self.explain(error));
        };
        let refused = matches!((&scheme, &shown), (Scheme::Basic, Some(_)));
        self.session.show_from_now_on(scheme);
        if refused {
            let error = PushError::refusal(self.repository, "log in", 401, &body);
            return Err(self.explain(error));
        }
        let login = self.session.login_of(self.repository.path());
        *login.scope.lock().expect("nothing panics while it holds this") = scope;
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

/// How to log in, and for what; a token where there is a choice.
fn read_scheme(headers: &HeaderMap) -> Option<(Scheme, Option<String>)> {
    let values = headers.get_all(WWW_AUTHENTICATE);
    let challenges = challenge::read(values.iter().filter_map(|value| value.to_str().ok()));
    let bearer = challenges.iter().filter(|challenge| challenge.scheme == "bearer").find_map(|challenge| {
        let url: Url = challenge.parameters.get("realm")?.parse().ok()?;
        url.host()?;
        let service = challenge.parameters.get("service").cloned();
        let scope = challenge.parameters.get("scope").cloned();
        Some((Scheme::Bearer(Realm { url, service }), scope))
    });
    let basic =
        || challenges.iter().any(|challenge| challenge.scheme == "basic").then_some((Scheme::Basic, None));
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
