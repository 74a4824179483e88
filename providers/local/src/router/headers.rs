//! Which headers travel and which do not.

use std::net::SocketAddr;

use axum::http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use longshore_contract::Version;

/// Says which version answered.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("x-longshore-version");

/// Says in a word why the router answered in the function's place.
pub(crate) const ERROR: HeaderName = HeaderName::from_static("x-longshore-error");

/// The status of a function that answers HTTP, where the answer around it has one of its own.
pub(crate) const STATUS: HeaderName = HeaderName::from_static("x-longshore-status");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Takes out what is meant for one connection only (RFC 9110, 7.6.1).
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let always = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        PROXY_CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in named.iter().chain(&always) {
        headers.remove(name);
    }
}

/// Tells the function where the request came from, in place of whatever its sender claimed about us.
pub(crate) fn add_forwarded(headers: &mut HeaderMap, from: SocketAddr, prefix: &str) {
    let set = |headers: &mut HeaderMap, name: &'static str, value: Option<HeaderValue>| {
        let name = HeaderName::from_static(name);
        match value {
            Some(value) => drop(headers.insert(name, value)),
            None => drop(headers.remove(name)),
        }
    };
    let before = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let chain = match before {
        Some(before) => format!("{before}, {}", from.ip()),
        None => from.ip().to_string(),
    };
    let host = headers.get(HOST).cloned();
    set(headers, "x-forwarded-for", HeaderValue::from_str(&chain).ok());
    set(headers, "x-forwarded-proto", Some(HeaderValue::from_static("http")));
    set(headers, "x-forwarded-host", host);
    set(headers, "x-forwarded-prefix", HeaderValue::from_str(prefix).ok());
}

/// Says in an answer which version gave it.
pub(crate) fn add_version(headers: &mut HeaderMap, version: &Version) {
    if let Ok(value) = HeaderValue::from_str(version.as_str()) {
        headers.insert(VERSION, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_is_for_one_connection_does_not_travel() {
        let mut sent = headers(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("keep-alive", "timeout=5"),
            ("content-type", "text/plain"),
            ("x-other", "2"),
        ]);
        drop_hop_by_hop(&mut sent);
        assert_eq!(sent, headers(&[("content-type", "text/plain"), ("x-other", "2")]));
    }

    #[test]
    fn a_function_learns_where_a_request_came_from() {
        let mut sent = headers(&[
            ("host", "127.0.0.1:4000"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-prefix", "/forged"),
        ]);
        add_forwarded(&mut sent, "127.0.0.1:9".parse().unwrap(), "/shop/live");
        assert_eq!(sent["x-forwarded-for"], "10.0.0.1, 127.0.0.1");
        assert_eq!(sent["x-forwarded-host"], "127.0.0.1:4000");
        assert_eq!(sent["x-forwarded-proto"], "http");
        assert_eq!(sent["x-forwarded-prefix"], "/shop/live");
    }
}
