//! Tokens for one scope: fetched once for everybody who waits, renewed before they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use longshore_contract::{Credential, PlainHttp};
use longshore_wire::{Body, Client, Meter, Redirects, Repeats, Request, Trust, is_loopback};
use serde::Deserialize;
use url::Url;

use super::errand::Errand;
use super::error::{REFUSAL_LIMIT, RegistryError, RegistryErrorKind};

/// Where tokens come from, as the registry's challenge says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Realm {
    pub(super) url: Url,
    pub(super) service: Option<String>,
}

/// A token that can be shown.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    renew_at: Instant,
    accepted: Arc<AtomicBool>,
}

impl Token {
    /// Whether it has so much life left that it can be shown.
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.renew_at
    }

    /// The registry has let somebody in with it.
    pub(super) fn accepted(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// What a token service answers, one of the two names filled.
#[derive(Deserialize)]
pub(super) struct Answered {
    token: Option<String>,
    access_token: Option<String>,
    /// In seconds; a number nearly everywhere.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl Answered {
    pub(super) fn token(&self) -> Option<&str> {
        [&self.token, &self.access_token]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .find(|token| !token.is_empty())
    }

    /// A service that tells no life means a minute.
    pub(super) fn life(&self) -> Duration {
        let stated = match &self.expires_in {
            serde_json::Value::String(text) => text.parse().ok(),
            number => number.as_f64(),
        };
        let seconds = stated.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        Duration::from_secs_f64(
            seconds.unwrap_or(UNSTATED_LIFE.as_secs_f64()).clamp(1.0, LONGEST_LIFE.as_secs_f64()),
        )
    }
}

const ANSWER_LIMIT: usize = 1 << 20;
const UNSTATED_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
const OPERATION: &str = "get token";

/// Everything that fetching a token depends on.
pub(super) struct Fetch<'a> {
    pub(super) client: &'a Client,
    pub(super) registry: &'a Url,
    pub(super) errand: &'a Errand,
    pub(super) realm: &'a Realm,
    pub(super) scope: &'a str,
    pub(super) credential: &'a Credential,
    pub(super) trust: &'a Trust,
    pub(super) meter: Meter,
}

impl Fetch<'_> {
    /// Asks the realm for a token. Credentials go over TLS or loopback only, unless the registry itself is allowed plain
    /// http and its own host asks.
    pub(super) async fn token(self) -> Result<Token, RegistryError> {
        let protocol =
            |message: String| RegistryError::new(RegistryErrorKind::Protocol, self.errand, message);
        let url = &self.realm.url;
        let host = url.host_str().unwrap_or_default();
        let own = url.host() == self.registry.host();
        let trust = Trust {
            plain_http: if own { self.trust.plain_http } else { longshore_wire::PlainHttp::LoopbackOnly },
            ca: self.trust.ca.clone(),
        };
        if url.scheme() == "http"
            && !is_loopback(url)
            && trust.plain_http != longshore_wire::PlainHttp::Allowed
        {
            let message =
                format!("the registry asks to show credentials to {host} over plain http, which is refused");
            return Err(RegistryError::new(RegistryErrorKind::Unauthorized, self.errand, message));
        }
        let request = self.request().trust(trust).meter(self.meter.clone());
        let answer =
            self.client.send(request).await.map_err(|error| RegistryError::from_wire(error, self.errand))?;
        let status = answer.status();
        if status != StatusCode::OK {
            let body = answer.excerpt(REFUSAL_LIMIT).await;
            let mut error = RegistryError::refusal(
                self.errand,
                &format!("{OPERATION} at {host}"),
                status.as_u16(),
                &body,
            );
            // Whatever the service's code for it: it is the credentials that it does not like.
            if matches!(status.as_u16(), 400 | 401 | 403) {
                error.kind = RegistryErrorKind::Unauthorized;
                error.hint = None;
            }
            return Err(error);
        }
        let body = answer
            .read_up_to(ANSWER_LIMIT)
            .await
            .map_err(|error| RegistryError::from_wire(error, self.errand))?;
        // The text is not shown: a token may be in it.
        let answered: Answered = serde_json::from_slice(&body)
            .map_err(|_| protocol(format!("{OPERATION} at {host}: the answer is no token document")))?;
        let token = answered
            .token()
            .ok_or_else(|| protocol(format!("{OPERATION} at {host}: the answer holds no token")))?;
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| protocol(format!("{OPERATION} at {host}: the token does not fit into a header")))?;
        header.set_sensitive(true);
        let renew_at = Instant::now() + answered.life().mul_f64(0.8);
        Ok(Token { header, renew_at, accepted: Arc::default() })
    }

    fn request(&self) -> Request {
        let scopes = self.scope.split_whitespace().map(|scope| ("scope", scope));
        let service = self.realm.service.as_deref().map(|service| ("service", service));
        match self.credential {
            Credential::Refresh { token } => {
                let form = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "longshore")
                    .append_pair("scope", self.scope)
                    .append_pair("refresh_token", token.expose())
                    .extend_pairs(service)
                    .finish();
                // A refresh token may be good for one use, so this is not repeated once it may have been taken.
                Request::new(OPERATION, Method::POST, self.realm.url.clone())
                    .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
                    .body(Body::Bytes(form.into()))
                    .redirects(Redirects::Refused)
                    .repeats(Repeats::IfUnsent)
            }
            Credential::Anonymous | Credential::Basic { .. } => {
                let mut url = self.realm.url.clone();
                url.query_pairs_mut().extend_pairs(service).extend_pairs(scopes);
                let request = Request::new(OPERATION, Method::GET, url);
                match basic(self.credential) {
                    Some(header) => request.authorization(header),
                    None => request,
                }
            }
        }
    }
}

/// The credential as Basic, where it can be.
pub(super) fn basic(credential: &Credential) -> Option<HeaderValue> {
    let Credential::Basic { user, password } = credential else { return None };
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.expose()));
    let mut header = HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 fits into a header");
    header.set_sensitive(true);
    Some(header)
}

/// The contract's word in the client's.
pub(crate) fn plain_http(policy: PlainHttp) -> longshore_wire::PlainHttp {
    match policy {
        PlainHttp::LoopbackOnly => longshore_wire::PlainHttp::LoopbackOnly,
        PlainHttp::Allowed => longshore_wire::PlainHttp::Allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_token_services_are_read_as_they_are_remembered() {
        for (answer, token, seconds) in [
            // Docker Hub and docker-registry's own.
            (
                r#"{"token": "t", "access_token": "t", "expires_in": 300, "issued_at": "2026-11-20T00:00:00Z"}"#,
                "t",
                300,
            ),
            // GitHub and Quay tell no life.
            (r#"{"token": "t"}"#, "t", 60),
            // Azure.
            (r#"{"access_token": "a"}"#, "a", 60),
            // Harbor fills one name and leaves the other empty.
            (r#"{"token": "t", "access_token": "", "expires_in": 1800, "issued_at": ""}"#, "t", 1800),
            (r#"{"token": "", "access_token": "a", "expires_in": 1800}"#, "a", 1800),
            // Google.
            (r#"{"expires_in": 43200, "token": "t"}"#, "t", 43_200),
            (r#"{"token": "t", "expires_in": "600"}"#, "t", 600),
            (r#"{"token": "t", "expires_in": 90.5}"#, "t", 90),
            // Nobody's: a life that makes no sense is none, or as much as makes sense.
            (r#"{"token": "t", "expires_in": -1}"#, "t", 60),
            (r#"{"token": "t", "expires_in": null}"#, "t", 60),
            (r#"{"token": "t", "expires_in": {}}"#, "t", 60),
            (r#"{"token": "t", "expires_in": 0.01}"#, "t", 1),
            (r#"{"token": "t", "expires_in": 1e300}"#, "t", 86_400),
        ] {
            let answered: Answered = serde_json::from_str(answer).unwrap();
            assert_eq!((answered.token(), answered.life().as_secs()), (Some(token), seconds), "{answer}");
        }
        let empty: Answered = serde_json::from_str(r#"{"token": "", "access_token": null}"#).unwrap();
        assert_eq!(empty.token(), None);
    }
}
