//! What images that answer HTTP are told with a request, in the words of the cloud they were made for, and where they take
//! events.

use std::time::Duration;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::control::raw::Kind;
use crate::router::environment::ACCOUNT;
use crate::runtime_api::RequestId;

/// Where an event goes in HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventPath {
    /// `POST /invoke`.
    Invoke,
    /// `POST /event-invoke`.
    EventInvoke,
}

impl EventPath {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => "/invoke",
            Self::EventInvoke => "/event-invoke",
        }
    }

    /// The path that an image of a stated kind takes events at; `None` where it is found out.
    pub(crate) fn stated(kind: Option<Kind>) -> Option<Self> {
        match kind? {
            Kind::Scf => Some(Self::EventInvoke),
            Kind::Http | Kind::Fc | Kind::Lambda => Some(Self::Invoke),
        }
    }
}

/// What a function is told about itself and a request.
pub(crate) struct Told<'a> {
    pub(crate) kind: Kind,
    pub(crate) function: &'a str,
    pub(crate) version: &'a str,
    pub(crate) handler: &'a str,
    pub(crate) memory_mib: u64,
    pub(crate) timeout: Duration,
    pub(crate) id: &'a RequestId,
    /// Whether it is an event.
    pub(crate) carries: Carries,
}

/// What a request to a function carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    /// An event.
    Event,
    /// A client's own request.
    Request,
}

/// Adds what an image of this kind is told, in place of whatever the client claims of it.
pub(crate) fn tell(headers: &mut HeaderMap, told: &Told<'_>) {
    let seconds = told.timeout.as_secs().max(1).to_string();
    let memory = told.memory_mib.to_string();
    let pairs: &[(&'static str, &str)] = match told.kind {
        Kind::Http | Kind::Lambda => &[],
        Kind::Scf => &[
            ("x-scf-request-id", told.id.as_str()),
            ("x-scf-name", told.function),
            ("x-scf-version", told.version),
            ("x-scf-namespace", "default"),
            ("x-scf-memory", &memory),
            ("x-scf-timeout", &seconds),
            ("x-scf-region", "local"),
        ],
        Kind::Fc => &[
            ("x-fc-request-id", told.id.as_str()),
            ("x-fc-function-name", told.function),
            ("x-fc-version-id", told.version),
            ("x-fc-function-handler", told.handler),
            ("x-fc-function-memory", &memory),
            ("x-fc-function-timeout", &seconds),
            ("x-fc-region", "local"),
            ("x-fc-account-id", ACCOUNT),
            ("x-fc-control-path", if told.carries == Carries::Event { "/invoke" } else { "/http-invoke" }),
        ],
    };
    for (name, value) in pairs {
        match HeaderValue::from_str(value) {
            Ok(value) => drop(headers.insert(HeaderName::from_static(name), value)),
            Err(_) => drop(headers.remove(*name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: Kind, carries: Carries) -> HeaderMap {
        let id = RequestId::generate();
        let mut headers = HeaderMap::new();
        headers.insert("x-scf-name", HeaderValue::from_static("forged"));
        let told = Told {
            kind,
            function: "shop",
            version: "7",
            handler: "app.main",
            memory_mib: 512,
            timeout: Duration::from_millis(2500),
            id: &id,
            carries,
        };
        tell(&mut headers, &told);
        headers
    }

    #[test]
    fn each_kind_is_told_in_its_own_headers() {
        let scf = told(Kind::Scf, Carries::Event);
        assert_eq!(scf["x-scf-name"], "shop");
        assert_eq!(scf["x-scf-version"], "7");
        assert_eq!(scf["x-scf-memory"], "512");
        assert_eq!(scf["x-scf-timeout"], "2");
        assert_eq!(scf["x-scf-request-id"].len(), 36);
        let fc = told(Kind::Fc, Carries::Event);
        assert_eq!(fc["x-fc-function-handler"], "app.main");
        assert_eq!(fc["x-fc-control-path"], "/invoke");
        assert_eq!(told(Kind::Fc, Carries::Request)["x-fc-control-path"], "/http-invoke");
        assert_eq!(told(Kind::Http, Carries::Event).len(), 1, "nothing is added");
    }

    #[test]
    fn a_stated_kind_says_where_events_go() {
        assert_eq!(EventPath::stated(None), None);
        assert_eq!(EventPath::stated(Some(Kind::Scf)).map(EventPath::as_str), Some("/event-invoke"));
        for kind in [Kind::Http, Kind::Fc] {
            assert_eq!(EventPath::stated(Some(kind)).map(EventPath::as_str), Some("/invoke"));
        }
    }
}
