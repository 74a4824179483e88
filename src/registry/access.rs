//! A session as it is used for one repository: requests, logged in, counted.

use std::sync::Arc;

use http::header::{ACCEPT, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use longshore_contract::{Calls, Credential, Repository, Service};
use longshore_wire::{Answer, Meter, Request};
use url::Url;

use super::challenge::{self, Scope};
use super::credentials::Found;
use super::error::{REFUSAL_LIMIT, RegistryError, RegistryErrorKind};
use super::exchange::Exchanging;
use super::session::{Scheme, Session, Sessions};
use super::token::{Fetch, Realm, Token, basic};
use super::{Credentials, Errand, Purpose, Reach};

/// A session as it is used for one repository. Clones use the same login.
#[derive(Clone)]
pub struct Access {
    session: Arc<Session>,
    errand: Errand,
    scope: Scope,
    calls: Calls,
}

/// What came of a request that is sent once.
pub(crate) enum Once {
    /// An answer, whatever its status.
    Answered(Answer),
    /// The login had ended; it is renewed for the next request.
    LoginEnded(RegistryError),
}

/// What is shown to the registry.
#[derive(Clone)]
enum Shown {
    Nothing,
    Basic(HeaderValue),
    Bearer(Token),
}

impl Access {
    /// Access to `repository` for `purpose`, in the session that `sessions` has for its host reached so. Nothing is asked
    /// yet. Every request that really goes out is counted into `calls`.
    pub fn new(
        sessions: &Sessions,
        repository: &Repository,
        reach: &Reach,
        purpose: Purpose,
        calls: &Calls,
    ) -> Self {
        let scope = Scope { path: repository.path().to_owned(), purpose, also: None };
        Self {
            session: sessions.session(repository.host(), reach),
            errand: Errand { purpose, repository: repository.clone() },
            scope,
            calls: calls.clone(),
        }
    }

    /// The same, allowed to read from `path` of the same registry as well.
    pub(crate) fn reading_also(&self, path: &str) -> Self {
        let scope = Scope { also: Some(path.to_owned()), ..self.scope.clone() };
        Self { scope, ..self.clone() }
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.errand.repository
    }

    /// Counts every request that really goes out.
    pub(crate) fn meter(&self) -> Meter {
        let calls = self.calls.clone();
        Arc::new(move || calls.count(Service::Registry))
    }

    /// A request to `/v2/PATH/rest` of this repository.
    pub(crate) async fn request(
        &self,
        operation: &'static str,
        method: Method,
        rest: &str,
    ) -> Result<Request, RegistryError> {
        let base = self.session.base(&self.errand).await?;
        let url = base.join(&format!("v2/{}/{rest}", self.repository().path())).map_err(|_| {
            self.error(RegistryErrorKind::Protocol, format!("{operation}: no URL can be made for {rest}"))
        })?;
        Ok(self.request_to(operation, method, url))
    }

    /// A request to a place of this registry.
    pub(crate) fn request_to(&self, operation: &'static str, method: Method, url: Url) -> Request {
        Request::new(operation, method, url).trust(self.session.trust()).meter(self.meter())
    }

    /// Sends `request` to the registry with what it wants to be shown. A login that is missing or has ended is made good
    /// once; the answer to that is final.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, RegistryError> {
        let shown = self.shown().await?;
        let answer = self.exchange(request.clone(), &shown).await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => self.learn(answer, &shown).await?,
            StatusCode::FORBIDDEN if self.may_have_ended(&shown) => self.forget(&shown).await,
            _ => return Ok(answer),
        }
        let shown = self.shown().await?;
        self.exchange(request, &shown).await
    }

    /// Sends `request` once, with what was wanted last: for a body that is not sent again unasked.
    pub(crate) async fn send_once(&self, doing: &str, request: Request) -> Result<Once, RegistryError> {
        let shown = self.shown().await?;
        let answer = self.exchange(request, &shown).await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => {
                self.learn(answer, &shown).await?;
                let error = RegistryError::refusal(&self.errand, doing, 401, &[]);
                Ok(Once::LoginEnded(self.explain(error)))
            }
            StatusCode::FORBIDDEN if self.may_have_ended(&shown) => {
                self.forget(&shown).await;
                Ok(Once::LoginEnded(self.refused(doing, answer).await))
            }
            _ => Ok(Once::Answered(answer)),
        }
    }

    /// Sends `request` to a host that is not the registry: it is shown nothing.
    pub(crate) async fn send_elsewhere(&self, request: Request) -> Result<Answer, RegistryError> {
        self.exchange(request, &Shown::Nothing).await
    }

    async fn exchange(&self, request: Request, shown: &Shown) -> Result<Answer, RegistryError> {
        let request = match shown {
            Shown::Nothing => request,
            Shown::Basic(header) => request.authorization(header.clone()),
            Shown::Bearer(token) => request.authorization(token.header.clone()),
        };
        let answer = self.session.client.send(request).await;
        let answer = answer.map_err(|error| RegistryError::from_wire(error, &self.errand))?;
        if let Shown::Bearer(token) = shown
            && !matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        {
            token.accepted();
        }
        Ok(answer)
    }

    /// What the registry wants to be shown, fetching a token if there is none with enough life left.
    async fn shown(&self) -> Result<Shown, RegistryError> {
        let Some(scheme) = self.session.scheme() else { return Ok(Shown::Nothing) };
        let found = self.session.found(self.repository().path());
        let found = self.credential(&found).await?;
        let realm = match scheme {
            Scheme::Basic => {
                return match basic(&found.credential) {
                    Some(header) => Ok(Shown::Basic(header)),
                    None => {
                        let message = "the registry wants a login".to_owned();
                        Err(self.explain(self.error(RegistryErrorKind::Unauthorized, message)))
                    }
                };
            }
            Scheme::Bearer(realm) => realm,
        };
        let login = self.session.login(&self.scope);
        let mut token = login.token.lock().await;
        if let Some(token) = token.as_ref().filter(|token| token.is_fresh()) {
            return Ok(Shown::Bearer(token.clone()));
        }
        let challenged = login.challenged.lock().expect("nothing panics while it holds this").clone();
        let scope = self.scope.text(challenged.as_deref());
        let fetch = Fetch {
            client: &self.session.client,
            registry: self.session.base(&self.errand).await?,
            errand: &self.errand,
            realm: &realm,
            scope: &scope,
            credential: self.exchanged(found).await?,
            trust: &self.session.trust(),
            meter: self.meter(),
        };
        let fetched = fetch.token().await.map_err(|error| {
            // Where tokens come from may have been told wrong, or have changed: the next request asks again.
            self.session.show_from_now_on(None);
            self.explain(error)
        })?;
        Ok(Shown::Bearer(token.insert(fetched).clone()))
    }

    /// Takes a challenge in: how to log in from now on. A token that was shown and refused is forgotten.
    async fn learn(&self, answer: Answer, shown: &Shown) -> Result<(), RegistryError> {
        let read = read_scheme(answer.headers());
        let body = answer.excerpt(REFUSAL_LIMIT).await;
        let refused = || self.explain(RegistryError::refusal(&self.errand, "log in", 401, &body));
        let (scheme, challenged) = read.ok_or_else(refused)?;
        if let Scheme::Bearer(Realm { service: Some(service), .. }) = &scheme {
            self.session.calls_itself(service);
        }
        let hopeless = matches!((&scheme, shown), (Scheme::Basic, Shown::Basic(_)));
        self.session.show_from_now_on(Some(scheme));
        if hopeless {
            return Err(refused());
        }
        let login = self.session.login(&self.scope);
        *login.challenged.lock().expect("nothing panics while it holds this") = challenged;
        self.forget(shown).await;
        Ok(())
    }

    /// Whether a refusal may mean that the login has ended: some registries say 403 of a token that they took before.
    fn may_have_ended(&self, shown: &Shown) -> bool {
        matches!(shown, Shown::Bearer(token) if token.was_accepted())
    }

    /// Forgets the token that was shown. Somebody else may have renewed it meanwhile: theirs stays.
    async fn forget(&self, shown: &Shown) {
        let Shown::Bearer(shown) = shown else { return };
        let login = self.session.login(&self.scope);
        let mut token = login.token.lock().await;
        if token.as_ref().is_some_and(|token| token.header == shown.header) {
            *token = None;
        }
    }

    async fn credential<'f>(
        &self,
        found: &'f tokio::sync::OnceCell<Found>,
    ) -> Result<&'f Found, RegistryError> {
        let find = async || match &self.session.reach.credentials {
            Credentials::Given(credential) => Ok(Found::new(credential.clone(), None, Vec::new())),
            Credentials::Keychain(keychain) => keychain
                .find(self.repository(), self.session.known())
                .await
                .map_err(|error| RegistryError::from_keychain(error, &self.errand)),
        };
        found.get_or_try_init(find).await
    }

    /// What to ask for tokens with.
    async fn exchanged<'f>(&self, found: &'f Found) -> Result<&'f Credential, RegistryError> {
        let exchanged = async || {
            let Some(exchange) = self.session.known().exchange else { return Ok(found.credential.clone()) };
            let exchanging = Exchanging {
                client: &self.session.client,
                registry: self.session.base(&self.errand).await?,
                errand: &self.errand,
                exchange,
                trust: &self.session.trust(),
                meter: self.meter(),
            };
            exchanging.credential(&found.credential).await.map_err(|error| self.explain(error))
        };
        found.exchanged.get_or_try_init(exchanged).await
    }

    /// Turns an answer that is no success into the registry's own words.
    pub(crate) async fn refused(&self, doing: &str, answer: Answer) -> RegistryError {
        let (status, attempts) = (answer.status().as_u16(), answer.attempts());
        let body = answer.excerpt(REFUSAL_LIMIT).await;
        let mut error = RegistryError::refusal(&self.errand, doing, status, &body).after(attempts);
        let known = self.session.known();
        if let (429, Some(limits)) = (status, known.limits) {
            error.hint = Some(limits.to_owned());
        }
        if let (RegistryErrorKind::RepositoryMissing, Purpose::Push, Some(how)) =
            (error.kind, self.errand.purpose, known.repositories)
        {
            error.hint = error.hint.map(|hint| format!("{hint} ({how})"));
        }
        self.explain(error)
    }

    pub(crate) fn error(&self, kind: RegistryErrorKind, message: String) -> RegistryError {
        RegistryError::new(kind, &self.errand, message)
    }

    /// What the connection said while a body was read.
    pub(crate) fn broken(&self, error: longshore_wire::Error) -> RegistryError {
        RegistryError::from_wire(error, &self.errand)
    }

    /// Adds to a refused login where the credentials come from, or where none were found.
    fn explain(&self, mut error: RegistryError) -> RegistryError {
        if error.kind != RegistryErrorKind::Unauthorized || error.hint.is_some() {
            return error;
        }
        let found = self.session.found(self.repository().path());
        let host = self.repository().host();
        let hint = match (&self.session.reach.credentials, found.get()) {
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
        };
        error.hint = Some(match (&self.session.reach.credentials, self.session.known().login) {
            (Credentials::Keychain(_), Some(login)) => format!("{hint}, with {login}"),
            _ => hint,
        });
        error
    }
}

/// How to log in, and for what; a token where there is a choice.
pub(super) fn read_scheme(headers: &HeaderMap) -> Option<(Scheme, Option<String>)> {
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

/// What manifests we ask for: those we can read and send.
pub(crate) fn accept_manifests(request: Request) -> Request {
    request.header(
        ACCEPT,
        HeaderValue::from_static(
            "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
             application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json",
        ),
    )
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("errand", &self.errand).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::KnownRegistry;

    /// What registries answer to somebody who is not logged in, as they are remembered, and what a push to and a pull from
    /// `PATH` there then ask a token for. `basic` where there is nothing to ask.
    const RECALLED: [(&str, &str, &str, &str, &str); 12] = [
        (
            "docker.io",
            "library/ubuntu",
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/ubuntu:pull""#,
            "https://auth.docker.io/token registry.docker.io repository:library/ubuntu:pull,push",
            "https://auth.docker.io/token registry.docker.io repository:library/ubuntu:pull",
        ),
        (
            "ghcr.io",
            "ann/app",
            r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:ann/app:pull""#,
            "https://ghcr.io/token ghcr.io repository:ann/app:pull,push",
            "https://ghcr.io/token ghcr.io repository:ann/app:pull",
        ),
        (
            "gcr.io",
            "project/app",
            r#"Bearer realm="https://gcr.io/v2/token",service="gcr.io",scope="repository:project/app:pull""#,
            "https://gcr.io/v2/token gcr.io repository:project/app:pull,push",
            "https://gcr.io/v2/token gcr.io repository:project/app:pull",
        ),
        (
            "europe-west1-docker.pkg.dev",
            "project/shop/app",
            r#"Bearer realm="https://europe-west1-docker.pkg.dev/v2/token",service="europe-west1-docker.pkg.dev",scope="repository:project/shop/app:pull""#,
            "https://europe-west1-docker.pkg.dev/v2/token europe-west1-docker.pkg.dev repository:project/shop/app:pull,push",
            "https://europe-west1-docker.pkg.dev/v2/token europe-west1-docker.pkg.dev repository:project/shop/app:pull",
        ),
        (
            "shop.azurecr.io",
            "app",
            r#"Bearer realm="https://shop.azurecr.io/oauth2/token",service="shop.azurecr.io",scope="repository:app:metadata_read""#,
            "https://shop.azurecr.io/oauth2/token shop.azurecr.io repository:app:metadata_read,pull,push",
            "https://shop.azurecr.io/oauth2/token shop.azurecr.io repository:app:metadata_read,pull",
        ),
        (
            "quay.io",
            "ann/app",
            r#"Bearer realm="https://quay.io/v2/auth",service="quay.io",scope="repository:ann/app:pull""#,
            "https://quay.io/v2/auth quay.io repository:ann/app:pull,push",
            "https://quay.io/v2/auth quay.io repository:ann/app:pull",
        ),
        (
            "harbor.example",
            "project/app",
            r#"Bearer realm="https://harbor.example/service/token",service="harbor-registry",scope="repository:project/app:pull""#,
            "https://harbor.example/service/token harbor-registry repository:project/app:pull,push",
            "https://harbor.example/service/token harbor-registry repository:project/app:pull",
        ),
        // Of the container registry that is a service of a code host: several challenges, and no scope on the root.
        (
            "registry.gitlab.com",
            "group/app",
            r#"Bearer realm="https://gitlab.com/jwt/auth",service="container_registry",scope="repository:group/app:pull",error="invalid_token""#,
            "https://gitlab.com/jwt/auth container_registry repository:group/app:pull,push",
            "https://gitlab.com/jwt/auth container_registry repository:group/app:pull",
        ),
        // A region's instance registry that reads no scope out of the request.
        (
            "registry.cn-hangzhou.cloud.example",
            "shop/app",
            r#"Bearer realm="https://dockerauth.cn-hangzhou.cloud.example/auth",service="registry.cloud.example:cn-hangzhou:26842""#,
            "https://dockerauth.cn-hangzhou.cloud.example/auth registry.cloud.example:cn-hangzhou:26842 repository:shop/app:pull,push",
            "https://dockerauth.cn-hangzhou.cloud.example/auth registry.cloud.example:cn-hangzhou:26842 repository:shop/app:pull",
        ),
        // One that asks for a right over the whole service and not for one repository.
        (
            "public.registry.example",
            "alias/app",
            r#"Bearer realm="https://public.registry.example/token/",service="public.registry.example",scope="all""#,
            "https://public.registry.example/token/ public.registry.example all repository:alias/app:pull,push",
            "https://public.registry.example/token/ public.registry.example all repository:alias/app:pull",
        ),
        (
            "1.dkr.registry.example",
            "app",
            r#"Basic realm="https://1.dkr.registry.example/",service="x""#,
            "basic",
            "basic",
        ),
        ("127.0.0.1:5000", "app", r#"Basic realm="Registry Realm""#, "basic", "basic"),
    ];

    #[test]
    fn what_registries_are_remembered_to_ask_for_is_what_is_fetched() {
        for (host, path, challenge, to_push, to_pull) in RECALLED {
            let mut headers = HeaderMap::new();
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            let (scheme, challenged) = read_scheme(&headers).unwrap_or_else(|| panic!("{host}"));
            for (purpose, expected) in [(Purpose::Push, to_push), (Purpose::Pull, to_pull)] {
                let scope = Scope { path: path.to_owned(), purpose, also: None };
                let asked = match &scheme {
                    Scheme::Basic => "basic".to_owned(),
                    Scheme::Bearer(Realm { url, service }) => {
                        let service = service.as_deref().unwrap_or_default();
                        format!("{url} {service} {}", scope.text(challenged.as_deref()))
                    }
                };
                assert_eq!(asked, expected, "{host}");
            }
        }
    }

    #[test]
    fn every_public_registry_has_a_host_or_calls_itself_something() {
        for KnownRegistry { name, hosts, services, uploads, .. } in crate::registry::PUBLIC_REGISTRIES {
            assert!((hosts.is_empty() != services.is_empty()) && *uploads > 0, "{name}");
        }
    }
}
