//! Who may use the control API: whoever can read the daemon's token, and no web page.

use axum::http::{HeaderMap, header};
use longshore_contract::Secret;

use crate::control::refusal::ApiError;

/// Lets a request pass that shows `token` and does not come from a web page. A browser says where a request comes from,
/// and a page in one could otherwise reach loopback.
pub(crate) fn authorize(headers: &HeaderMap, token: &Secret) -> Result<(), ApiError> {
    if headers.contains_key(header::ORIGIN) {
        return Err(ApiError::denied("the control API takes no requests from web pages"));
    }
    let shown = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match shown {
        Some(shown) if equal(shown.as_bytes(), token.expose().as_bytes()) => Ok(()),
        Some(_) => Err(ApiError::denied("the token is not this daemon's: read daemon.json again")),
        None => Err(ApiError::denied("the control API wants the token that lies in daemon.json")),
    }
}

/// Compares in a time that does not tell where two texts of one length differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(pairs: &[(header::HeaderName, &str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        authorize(&headers, &Secret::new("right")).is_ok()
    }

    #[test]
    fn only_the_token_opens() {
        assert!(passes(&[(header::AUTHORIZATION, "Bearer right")]));
        assert!(!passes(&[]));
        assert!(!passes(&[(header::AUTHORIZATION, "Bearer wrong")]));
        assert!(!passes(&[(header::AUTHORIZATION, "Bearer righ")]));
        assert!(!passes(&[(header::AUTHORIZATION, "right")]));
    }

    #[test]
    fn a_web_page_is_refused_even_with_the_token() {
        assert!(!passes(&[(header::AUTHORIZATION, "Bearer right"), (header::ORIGIN, "http://127.0.0.1:1")]));
        assert!(!passes(&[(header::AUTHORIZATION, "Bearer right"), (header::ORIGIN, "null")]));
    }
}
