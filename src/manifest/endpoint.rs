//! Addresses that stand in for a service's usual one.

use std::net::IpAddr;
use std::path::Path;

use longshore_contract::{Endpoint, PlainHttp};

use super::mistake::Drafts;
use super::schema::EndpointTable;
use super::shape::{Field, Form, FromText, Leaf, Refusal};

/// An absolute `http` or `https` URL without user, query or fragment, and without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url(url::Url);

impl FromText for Url {
    fn leaf() -> Leaf {
        Leaf {
            word: "an address".into(),
            expected: "`https://HOST[:PORT]`, or `http://…`".to_owned(),
            form: Form::Text("^https?://"),
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let refused = |message: &str| Refusal { message: Some(message.to_owned()), hint: None };
        if !text.starts_with("http://") && !text.starts_with("https://") {
            let hint = (!text.contains("://") && !text.is_empty())
                .then(|| format!("did you mean `https://{text}`?"));
            return Err(Refusal { message: None, hint });
        }
        let url = url::Url::parse(text).map_err(|_| Refusal::plain())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("an address here takes no user and no password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("an address here takes no `?` and no `#`"));
        }
        Ok(Self(url))
    }
}

impl Url {
    fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
            Some(url::Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
            None => false,
        }
    }
}

impl EndpointTable {
    /// The endpoint with its paths absolute; plain http to another machine must have been asked for.
    pub(crate) fn resolve(self, directory: &Path, drafts: &mut Drafts) -> Option<Endpoint> {
        let plain_http = match self.plain_http {
            Field::Stated(stated) if stated.value => PlainHttp::Allowed,
            Field::Stated(_) | Field::Absent => PlainHttp::LoopbackOnly,
            Field::Broken => return None,
        };
        let ca = self.ca.value().map(|file| directory.join(file));
        let Field::Stated(url) = self.url else { return None };
        if url.value.0.scheme() == "http" && !url.value.is_loopback() && plain_http == PlainHttp::LoopbackOnly
        {
            drafts
                .add(url.at, "plain http to another machine must be asked for")
                .hint("use https, or write `{ url: …, plain_http: true }`");
            return None;
        }
        let url = url.value.0.as_str().trim_end_matches('/').to_owned();
        Some(Endpoint { url, plain_http, ca })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_absolute_and_holds_no_secret() {
        for good in ["https://a.example", "http://127.0.0.1:80/prefix", "https://[::1]:5000"] {
            assert!(Url::from_text(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a.example:5000",
            "ftp://a",
            "https://",
            "https://u:p@a",
            "https://u@a",
            "https://a?b",
            "https://a#b",
        ] {
            assert!(Url::from_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_this_machine_only() {
        let loopback = |text: &str| Url::from_text(text).is_ok_and(|url| url.is_loopback());
        assert!(loopback("http://localhost:1") && loopback("http://127.9.9.9") && loopback("http://[::1]"));
        assert!(!loopback("http://localhost.example") && !loopback("http://10.0.0.1"));
    }
}
