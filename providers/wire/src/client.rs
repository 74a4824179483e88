//! The client: which connection a request takes, redirects, retries.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use url::Url;

use crate::address::{Loopback, admit, authority, is_loopback, same_origin};
use crate::answer::Answer;
use crate::error::{Error, ErrorKind, SourceError};
use crate::probe::{self, Protocol};
use crate::request::{Body, Redirects, Repeats, Request, Trust};
use crate::retry::Backoff;
use crate::stall::{Waiting, Watch};
use crate::tls;

const MOST_REDIRECTS: u32 = 5;

/// How long things may take, and how often they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to come about, TLS included.
    pub connect: Duration,
    /// For an answer to begin once the request is sent.
    pub answer: Duration,
    /// For an answer to begin once a large body is sent whose sender lets the peer think about it.
    pub settle: Duration,
    /// For the next byte of a body, out or in.
    pub stall: Duration,
    /// How a request that may be repeated is repeated.
    pub backoff: Backoff,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            // Large bodies are hashed and moved.
            settle: Duration::from_secs(15 * 60),
            stall: Duration::from_secs(60),
            backoff: Backoff::default(),
        }
    }
}

/// The one HTTP client. Clones share connections and certificates.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    limits: Limits,
    certificate_directories: Vec<PathBuf>,
    roots: tls::Roots,
    /// For plain http on loopback: no certificates, no proxy.
    plain: OnceLock<reqwest::Client>,
    secure: Mutex<HashMap<Way, reqwest::Client>>,
    /// The one way there is, where it was stated.
    only: Option<reqwest::Client>,
}

/// The one way that a client takes, whatever the host in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Road {
    /// A socket in the file system.
    Socket(PathBuf),
    /// TLS, showing a certificate of our own and trusting nobody but `ca`.
    Mutual {
        /// A file of PEM certificates.
        ca: PathBuf,
        /// A file of PEM certificates, ours first.
        certificate: PathBuf,
        /// A file with the private key in PEM.
        key: PathBuf,
    },
}

/// What tells one pool of connections from another.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Way {
    reach: Reach,
    certificates: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Reach {
    Loopback,
    Beyond,
}

impl Client {
    /// A client under `limits` that looks for registries' certificates where container tools keep them. Reads nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self::with_certificates_in(limits, tls::usual_directories())
    }

    /// The same, with folders of certificates (`HOST[:PORT]/*.crt`) in `directories` in place of the usual ones.
    pub fn with_certificates_in(limits: Limits, directories: Vec<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            limits,
            certificate_directories: directories,
            roots: tls::Roots::default(),
            plain: OnceLock::new(),
            secure: Mutex::default(),
            only: None,
        }))
    }

    /// A client under `limits` whose every request takes `road`. Blocks while it reads certificates; an error says which
    /// file is wrong.
    pub fn through(limits: Limits, road: &Road) -> Result<Self, String> {
        let only = match road {
            Road::Socket(path) => {
                builder(&limits, tls::trusting_nobody()).unix_socket(path.as_path()).no_proxy()
            }
            Road::Mutual { ca, certificate, key } => builder(&limits, tls::mutual(ca, certificate, key)?),
        };
        Ok(Self(Arc::new(Inner {
            limits,
            certificate_directories: Vec::new(),
            roots: tls::Roots::default(),
            plain: OnceLock::new(),
            secure: Mutex::default(),
            only: Some(only.build().expect("nothing in this configuration can be refused")),
        })))
    }

    /// The limits it keeps.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Sends `request` and waits for an answer to begin, whatever its status.
    ///
    /// What may be retried is: a connection that does not come about or is lost, 408, 429 and every 5xx but 501 and 505.
    /// When that is used up, the last answer or the last error is the result, and says how often it was tried. Redirects
    /// are followed where that changes neither method nor body; credentials stay with the host they were for.
    pub async fn send(&self, request: Request) -> Result<Answer, Error> {
        let started = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = self.follow(&request).await;
            let (again, asked) = match &outcome {
                Ok(answer) => (status_permits(request.repeats, answer.status()), answer.retry_after()),
                Err(error) => (error_permits(request.repeats, error.kind), None),
            };
            let pause =
                if again { self.0.limits.backoff.pause(tries, started.elapsed(), asked) } else { None };
            let Some(pause) = pause else {
                return match outcome {
                    Ok(answer) => Ok(Answer { attempts: tries, ..answer }),
                    Err(error) => Err(error.after(tries)),
                };
            };
            match outcome {
                Ok(answer) => {
                    tracing::info!(
                        operation = request.operation,
                        host = authority(&answer.url),
                        status = answer.status().as_u16(),
                        ?pause,
                        "trying again"
                    );
                }
                Err(error) => tracing::info!(%error, ?pause, "trying again"),
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// What the port of `url` speaks, whatever its scheme says: one connection, no request, no certificate loaded.
    pub async fn speaks(&self, operation: &'static str, url: &Url) -> Result<Protocol, Error> {
        probe::speaks(url, self.0.limits.connect, operation).await
    }

    /// One try: the request and the redirects behind it.
    async fn follow(&self, request: &Request) -> Result<Answer, Error> {
        let mut request = request.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.exchange(&request).await?;
            let Some(next) = redirect(&request, &answer)? else { return Ok(answer) };
            if !same_origin(&request.url, &next) {
                request.headers.remove(AUTHORIZATION);
            }
            request.url = next;
        }
        let message = format!("more than {MOST_REDIRECTS} redirects");
        Err(Error::new(ErrorKind::Redirect, request.operation, authority(&request.url), message))
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, Error> {
        let Request { operation, url, .. } = request;
        admit(url, request.trust.plain_http, operation)?;
        let client = self.way(url, &request.trust, operation).await?;
        let limits = &self.0.limits;
        let (watch, body) = outgoing(&request.body);
        let mut headers = request.headers.clone();
        match request.body {
            Body::Stream { length, .. } => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            // Some front ends refuse such a request that does not say that it has no body.
            Body::Empty if matches!(request.method, Method::POST | Method::PUT | Method::PATCH) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            }
            Body::Empty | Body::Bytes(_) => {}
        }
        let mut sending = client.request(request.method.clone(), url.clone()).headers(headers);
        if let Some(body) = body {
            sending = sending.body(body);
        }
        if let Some(meter) = &request.meter {
            meter();
        }
        let answer = request.answer_within.unwrap_or(limits.answer);
        let started = Instant::now();
        let outcome = match watch.over(sending.send(), limits.stall, answer).await {
            Ok(Ok(response)) => {
                Ok(Answer { response, operation, url: url.clone(), stall: limits.stall, attempts: 1 })
            }
            Ok(Err(error)) => Err(Error::from_client(error, operation, url)),
            Err(Waiting::Sending) => Err(Error::stalled(operation, authority(url), limits.stall)),
            Err(Waiting::Answer) => Err(Error::late(operation, authority(url), answer)),
        };
        // Paths are names of images; queries hold upload states and tokens, so they are left out.
        tracing::debug!(
            operation, method = %request.method, host = authority(url), path = url.path(),
            status = outcome.as_ref().ok().map(|answer| answer.status().as_u16()),
            error = outcome.as_ref().err().map(tracing::field::display),
            elapsed = ?started.elapsed(),
            "request"
        );
        outcome
    }

    /// The pool of connections that leads to `url`.
    async fn way(&self, url: &Url, trust: &Trust, operation: &'static str) -> Result<reqwest::Client, Error> {
        if let Some(only) = &self.0.only {
            return Ok(only.clone());
        }
        let reach = if is_loopback(url) { Reach::Loopback } else { Reach::Beyond };
        let limits = self.0.limits;
        if reach == Reach::Loopback && url.scheme() == "http" {
            let plain = self.0.plain.get_or_init(|| build(&limits, reach, tls::trusting_nobody()));
            return Ok(plain.clone());
        }
        let host = url.host_str().unwrap_or_default();
        let mut certificates =
            tls::certificates_for(&self.0.certificate_directories, host, url.port_or_known_default());
        certificates.extend(trust.ca.clone());
        let way = Way { reach, certificates };
        if let Some(client) = self.0.secure.lock().expect("nothing panics while it holds this").get(&way) {
            return Ok(client.clone());
        }
        let inner = Arc::clone(&self.0);
        let files = way.certificates.clone();
        let failed = |message| Error::new(ErrorKind::Certificates, operation, authority(url), message);
        let configuration = tokio::task::spawn_blocking(move || inner.roots.trusting(&files))
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(failed)?;
        let mut secure = self.0.secure.lock().expect("nothing panics while it holds this");
        Ok(secure.entry(way).or_insert_with(|| build(&limits, reach, configuration)).clone())
    }
}

fn builder(limits: &Limits, configuration: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(configuration)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .connect_timeout(limits.connect)
        // What was handed to the kernel and nobody takes is a stall too, and no piece of ours shows it.
        .tcp_user_timeout(limits.stall)
        .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
}

fn build(limits: &Limits, reach: Reach, configuration: rustls::ClientConfig) -> reqwest::Client {
    let mut builder = builder(limits, configuration);
    if reach == Reach::Loopback {
        builder = builder.no_proxy().dns_resolver(Loopback);
    }
    builder.build().expect("nothing in this configuration can be refused")
}

/// The body for one try, and the watch that sees it move.
fn outgoing(body: &Body) -> (Watch, Option<reqwest::Body>) {
    match body {
        Body::Empty => (Watch::begin(Waiting::Answer), None),
        Body::Bytes(bytes) => (Watch::begin(Waiting::Answer), Some(bytes.clone().into())),
        Body::Stream { length, make } => {
            let watch = Watch::begin(Waiting::Sending);
            let (seen, mut left) = (watch.clone(), *length);
            let stream = make().map_err(SourceError).inspect(move |piece| {
                if let Ok(piece) = piece {
                    left = left.saturating_sub(piece.len() as u64);
                    seen.moved(if left == 0 { Waiting::Answer } else { Waiting::Sending });
                }
            });
            (watch, Some(reqwest::Body::wrap_stream(stream)))
        }
    }
}

/// Where `answer` sends us, if it does and that can be followed without asking for something else.
fn redirect(request: &Request, answer: &Answer) -> Result<Option<Url>, Error> {
    let safe = matches!(request.method, Method::GET | Method::HEAD);
    let follows = match answer.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => safe,
        _ => false,
    };
    if !follows {
        return Ok(None);
    }
    let failed =
        |message: &str| Error::new(ErrorKind::Redirect, request.operation, authority(&request.url), message);
    if request.redirects == Redirects::Refused {
        return Err(failed("a redirect is not followed with what was sent"));
    }
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|location| request.url.join(location).ok());
    let next = next.ok_or_else(|| failed("a redirect that leads nowhere"))?;
    if request.url.scheme() == "https" && next.scheme() == "http" {
        return Err(failed("a redirect from https to plain http is not followed"));
    }
    Ok(Some(next))
}

fn status_permits(repeats: Repeats, status: StatusCode) -> bool {
    match repeats {
        Repeats::Freely => match status.as_u16() {
            408 | 429 => true,
            501 | 505 => false,
            code => code >= 500,
        },
        Repeats::IfUnsent => status == StatusCode::TOO_MANY_REQUESTS,
        Repeats::Never => false,
    }
}

fn error_permits(repeats: Repeats, kind: ErrorKind) -> bool {
    match repeats {
        Repeats::Freely => kind.is_transient(),
        Repeats::IfUnsent => kind.is_transient() && kind.nothing_was_sent(),
        Repeats::Never => false,
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn plain_http_on_loopback_loads_no_certificate() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1000]).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 Nothing\r\n\r\n").await.unwrap();
        });
        let client = Client::new(Limits::default());
        client.send(Request::new("ask", Method::GET, url)).await.unwrap();
        assert!(!client.0.roots.are_loaded() && client.0.secure.lock().unwrap().is_empty());
    }
}
