//! A login that is changed into a refresh token before tokens are asked for.
//!
//! Where a registry has its own word for "the password is a token" ([`Exchange`]), that token is either the
//! registry's refresh token already, or an access token of its cloud, which the registry changes into one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use longshore_contract::{Credential, Secret};
use longshore_wire::{Body, Client, Meter, Redirects, Repeats, Request, Trust};
use serde::Deserialize;
use url::Url;

use super::errand::Errand;
use super::error::{REFUSAL_LIMIT, RegistryError, RegistryErrorKind};
use super::known::Exchange;

const ANSWER_LIMIT: usize = 1 << 20;
const OPERATION: &str = "exchange token";

/// Everything that an exchange depends on.
pub(super) struct Exchanging<'a> {
    pub(super) client: &'a Client,
    pub(super) registry: &'a Url,
    pub(super) errand: &'a Errand,
    pub(super) exchange: &'a Exchange,
    pub(super) trust: &'a Trust,
    pub(super) meter: Meter,
}

impl Exchanging<'_> {
    /// The credential to ask for tokens with: the same one, unless its user says that its password is a token.
    pub(super) async fn credential(self, credential: &Credential) -> Result<Credential, RegistryError> {
        let Credential::Basic { user, password } = credential else { return Ok(credential.clone()) };
        if user != self.exchange.user {
            return Ok(credential.clone());
        }
        if !is_for_another(password.expose(), self.errand.repository.host()) {
            return Ok(Credential::Refresh { token: password.clone() });
        }
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "access_token")
            .append_pair("service", self.errand.repository.host())
            .append_pair("access_token", password.expose())
            .finish();
        let url = self.registry.join(self.exchange.path).map_err(|_| {
            self.error(RegistryErrorKind::Protocol, format!("no URL can be made for {}", self.exchange.path))
        })?;
        let request = Request::new(OPERATION, Method::POST, url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .body(Body::Bytes(form.into()))
            .redirects(Redirects::Refused)
            .repeats(Repeats::IfUnsent)
            .trust(self.trust.clone())
            .meter(self.meter.clone());
        let broken = |error| RegistryError::from_wire(error, self.errand);
        let answer = self.client.send(request).await.map_err(broken)?;
        if answer.status() != StatusCode::OK {
            let status = answer.status().as_u16();
            let body = answer.excerpt(REFUSAL_LIMIT).await;
            let error = RegistryError::refusal(self.errand, OPERATION, status, &body);
            return Err(match status {
                400 | 401 | 403 => {
                    RegistryError { kind: RegistryErrorKind::Unauthorized, hint: None, ..error }
                }
                _ => error,
            });
        }
        #[derive(Deserialize)]
        struct Answered {
            refresh_token: String,
        }
        let body = answer.read_up_to(ANSWER_LIMIT).await.map_err(broken)?;
        // The text is not shown: a token may be in it.
        let Answered { refresh_token } = serde_json::from_slice(&body).map_err(|_| {
            self.error(RegistryErrorKind::Protocol, format!("{OPERATION}: the answer holds no refresh token"))
        })?;
        Ok(Credential::Refresh { token: Secret::new(refresh_token) })
    }

    fn error(&self, kind: RegistryErrorKind, message: String) -> RegistryError {
        RegistryError::new(kind, self.errand, message)
    }
}

/// Whether `token` says that it is meant for somebody else than `host`. A token that says nothing is taken for the host's.
pub(super) fn is_for_another(token: &str, host: &str) -> bool {
    #[derive(Deserialize)]
    struct Claims {
        aud: String,
    }
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|text| serde_json::from_slice::<Claims>(&text).ok());
    claims.is_some_and(|claims| !claims.aud.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whom_it_is_for_or_is_the_registrys_own() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        assert!(is_for_another(&token(r#"{"aud": "https://management.example"}"#), "shop.azurecr.io"));
        assert!(!is_for_another(&token(r#"{"aud": "shop.azurecr.io"}"#), "shop.azurecr.io"));
        for nothing in ["", "opaque", "a.b.c", &token("{}"), &token(r#"{"aud": ["x"]}"#)] {
            assert!(!is_for_another(nothing, "shop.azurecr.io"), "{nothing}");
        }
    }
}
