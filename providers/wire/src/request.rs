//! What is asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use url::Url;

use crate::address::PlainHttp;

/// A stream of the pieces of a body.
pub type Chunks = BoxStream<'static, std::io::Result<Bytes>>;

/// Counts the requests that really go out, retries, redirects and all.
pub type Meter = Arc<dyn Fn() + Send + Sync>;

/// A request: what, where, and what is fine on the way there.
#[derive(Clone)]
pub struct Request {
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) repeats: Repeats,
    pub(crate) redirects: Redirects,
    pub(crate) trust: Trust,
    pub(crate) meter: Option<Meter>,
    pub(crate) answer_within: Option<Duration>,
}

/// What goes out behind the headers.
#[derive(Clone)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Some bytes.
    Bytes(Bytes),
    /// A stream of exactly `length` bytes, made anew for every try.
    Stream {
        /// How many bytes it has.
        length: u64,
        /// Makes the stream from its beginning.
        make: Arc<dyn Fn() -> Chunks + Send + Sync>,
    },
}

/// Whether a request may be sent more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// It may: carried out twice it does what it does once.
    Freely,
    /// Only while it is certain that nothing came of it: no connection, or the peer said "too many requests".
    IfUnsent,
    /// It may not; its sender decides.
    Never,
}

/// Whether a redirect is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// It is, where that changes neither method nor body; credentials in headers stay with the host they were for.
    Followed,
    /// It is an error: for a body that only its own host may see.
    Refused,
}

/// Whom a request trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Whether plain http is fine beyond loopback.
    pub plain_http: PlainHttp,
    /// A file of PEM certificates to trust besides the usual ones.
    pub ca: Option<PathBuf>,
}

impl Request {
    /// A request without a body that may be sent more than once and trusts what everybody trusts. `operation` is a verb for
    /// messages: `read manifest`.
    pub fn new(operation: &'static str, method: Method, url: Url) -> Self {
        Self {
            operation,
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
            repeats: Repeats::Freely,
            redirects: Redirects::Followed,
            trust: Trust::default(),
            meter: None,
            answer_within: None,
        }
    }

    /// With this header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With credentials: sent to the host of the request's URL and, after a redirect, to no other.
    pub fn authorization(mut self, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        self
    }

    /// With this body.
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Says whether it may be sent more than once.
    pub fn repeats(mut self, repeats: Repeats) -> Self {
        self.repeats = repeats;
        self
    }

    /// Says whether a redirect is followed.
    pub fn redirects(mut self, redirects: Redirects) -> Self {
        self.redirects = redirects;
        self
    }

    /// Trusts `trust`.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Counted by `meter`.
    pub fn meter(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Waits this long for the answer once everything is sent, in place of the client's limit.
    pub fn answer_within(mut self, limit: Duration) -> Self {
        self.answer_within = Some(limit);
        self
    }
}
