//! Where a URL leads, as far as it decides what may be said there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::error::{Error, ErrorKind};

/// Whether plain http may be spoken to a host that is not loopback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// It is refused; loopback is always fine.
    #[default]
    LoopbackOnly,
    /// The user asked for it.
    Allowed,
}

/// Whether `url` leads to this machine's loopback: `localhost`, a name below it, or a loopback address. Such names are
/// never looked up, so nobody's name server can point them elsewhere.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
        }
        None => false,
    }
}

/// `HOST:PORT`, for messages.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether two URLs name the same scheme, host and port: what credentials are meant for.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Refuses what is neither http nor https, and plain http where it may not be spoken.
pub(crate) fn admit(url: &Url, plain: PlainHttp, operation: &'static str) -> Result<(), Error> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) || plain == PlainHttp::Allowed => Ok(()),
        "http" => Err(Error::new(
            ErrorKind::PlainHttp,
            operation,
            authority(url),
            "plain http is spoken on loopback only, unless it is allowed for this host",
        )),
        other => Err(Error::new(
            ErrorKind::Invalid,
            operation,
            authority(url),
            format!("{other} is neither http nor https"),
        )),
    }
}

/// A resolver that knows loopback and nothing else.
pub(crate) struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_is_told_by_the_address_and_not_by_how_it_begins() {
        for text in [
            "http://localhost",
            "http://a.localhost:1/",
            "http://127.0.0.1",
            "http://127.9.9.9",
            "http://[::1]:5",
        ] {
            assert!(is_loopback(&url(text)), "{text}");
        }
        for text in [
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://[::2]",
        ] {
            assert!(!is_loopback(&url(text)), "{text}");
        }
    }

    #[test]
    fn plain_http_is_refused_beyond_loopback_unless_it_is_allowed() {
        let far = url("http://registry.example:5000/v2/");
        let error = admit(&far, PlainHttp::LoopbackOnly, "read manifest").unwrap_err();
        assert_eq!(error.kind, ErrorKind::PlainHttp);
        assert_eq!(error.host, "registry.example:5000");
        assert!(admit(&far, PlainHttp::Allowed, "read manifest").is_ok());
        assert!(admit(&url("http://127.0.0.1:1"), PlainHttp::LoopbackOnly, "read manifest").is_ok());
        assert_eq!(admit(&url("ftp://h/"), PlainHttp::Allowed, "x").unwrap_err().kind, ErrorKind::Invalid);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert!(same_origin(&url("https://h/a"), &url("https://h:443/b?c")));
        assert!(!same_origin(&url("https://h/"), &url("http://h/")));
        assert!(!same_origin(&url("https://h/"), &url("https://h:444/")));
        assert!(!same_origin(&url("https://h/"), &url("https://i/")));
    }
}
