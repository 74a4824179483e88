//! Requests to the daemon, and what it means when there is no answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use longshore_contract::{Calls, Endpoint, Error, ErrorKind, Result, Service};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::control::refusal::{ErrorBody, kind_of};
use crate::control::wire::BODY_LIMIT;
use crate::reactor::off_the_reactor;
use crate::state::{Running, StateDirectory, StateError};

/// How long the daemon may take to answer. It answers before it starts anything, so this is for a machine in trouble.
const PATIENCE: Duration = Duration::from_secs(30);

/// The code of an error about a request that was sent and not answered.
pub(crate) const NO_ANSWER: &str = "NoAnswer";

/// A connection to nowhere in particular: requests find the daemon anew each time, because it may have been restarted.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    directory: StateDirectory,
    endpoint: Option<Endpoint>,
    /// Which of the daemon's services is asked: where it listens, and what requests count as.
    service: Service,
    calls: Calls,
}

/// What it means when a request that was sent has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: it can be sent again.
    Read,
    /// It may have been carried out.
    Write,
}

/// What came of looking for something.
#[derive(Debug)]
pub(crate) enum Reached<T> {
    /// Here it is.
    Found(T),
    /// The cloud does not have it.
    Absent,
    /// There is no cloud that could have it.
    NeverStarted,
}

/// What a directory says of its daemon.
enum Daemon {
    /// It runs, or ran until it was killed.
    Runs(Running),
    /// It was ended.
    Ended,
    /// There was none ever.
    NeverStarted,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A request to the control API.
struct Call<'a> {
    effect: Effect,
    method: &'a str,
    path: &'a str,
    body: Option<Vec<u8>>,
    operation: &'static str,
    subject: &'a str,
}

/// A request for [`Client::exchange`].
pub(crate) struct Ask<'a> {
    pub(crate) effect: Effect,
    pub(crate) request: Request<Full<Bytes>>,
    /// The most that is taken of the answer's body.
    pub(crate) limit: usize,
    /// How long all of it may take, from the connection to the answer's last byte.
    pub(crate) patience: Duration,
    /// Where that time comes from, for whom it is over.
    pub(crate) reason: &'a str,
    pub(crate) operation: &'static str,
    pub(crate) subject: &'a str,
}

impl Client {
    /// Finds the daemon in `directory`, or at `endpoint` where one is stated, and counts into `calls`.
    pub(crate) fn new(directory: StateDirectory, endpoint: Option<Endpoint>, calls: Calls) -> Self {
        Self { directory, endpoint, service: Service::Functions, calls }
    }

    /// The same for another of the daemon's services, at `endpoint` where one is stated.
    pub(crate) fn service(self, service: Service, endpoint: Option<Endpoint>) -> Self {
        Self { service, endpoint, ..self }
    }

    /// The same, counting into `calls`.
    pub(crate) fn metered(&self, calls: Calls) -> Self {
        Self { calls, ..self.clone() }
    }

    /// Reads what must be there.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        operation: &'static str,
        subject: impl ToString,
    ) -> Result<T> {
        let body = self.send(Effect::Read, "GET", path, None, operation, &subject.to_string()).await?;
        understand(&body, operation, subject)
    }

    /// Reads what may not be there.
    pub(crate) async fn look<T: DeserializeOwned>(
        &self,
        path: &str,
        operation: &'static str,
        subject: impl ToString,
    ) -> Result<Reached<T>> {
        let subject = subject.to_string();
        let running = match self.daemon(operation, &subject).await? {
            Daemon::Runs(running) => running,
            Daemon::Ended => return Err(self.not_running("does not run", operation, &subject)),
            Daemon::NeverStarted => return Ok(Reached::NeverStarted),
        };
        let (effect, method, body) = (Effect::Read, "GET", None);
        let call = Call { effect, method, path, body, operation, subject: &subject };
        match self.send_to(&running, call).await {
            Ok(body) => understand(&body, operation, subject).map(Reached::Found),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Reached::Absent),
            Err(error) => Err(error),
        }
    }

    /// Writes, and reads the answer.
    pub(crate) async fn write<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
        operation: &'static str,
        subject: impl ToString,
    ) -> Result<T> {
        let subject = subject.to_string();
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::new(ErrorKind::Unexpected, operation, &subject, error))?;
        let answer = self.send(Effect::Write, method, path, Some(body), operation, &subject).await?;
        understand(&answer, operation, subject)
    }

    /// One request to the control API. A refusal is an error, with the daemon's code and name for the request.
    pub(crate) async fn send(
        &self,
        effect: Effect,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        operation: &'static str,
        subject: &str,
    ) -> Result<Bytes> {
        let running = self.running(operation, subject).await?;
        self.send_to(&running, Call { effect, method, path, body, operation, subject }).await
    }

    async fn send_to(&self, running: &Running, call: Call<'_>) -> Result<Bytes> {
        let Call { effect, method, path, body, operation, subject } = call;
        let invalid =
            |error: &dyn std::fmt::Display| Error::new(ErrorKind::Invalid, operation, subject, error);
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| invalid(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", running.token.expose()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|error| invalid(&error))?;
        let reason = "it answers before it starts anything";
        let ask = Ask { effect, request, limit: BODY_LIMIT, patience: PATIENCE, reason, operation, subject };
        let answer = self.exchange_with(running, ask).await?;
        if answer.status.is_success() { Ok(answer.body) } else { Err(refused(&answer, operation, subject)) }
    }

    /// Sends one request to the functions' endpoint and returns whatever was answered.
    pub(crate) async fn exchange(&self, ask: Ask<'_>) -> Result<Answer> {
        let running = self.running(ask.operation, ask.subject).await?;
        self.exchange_with(&running, ask).await
    }

    async fn exchange_with(&self, running: &Running, ask: Ask<'_>) -> Result<Answer> {
        let Ask { effect, mut request, limit, patience, reason, operation, subject } = ask;
        let address = self.address(running, operation, subject)?;
        self.calls.count(self.service);
        let unreachable = |error: &dyn std::fmt::Display| {
            let message = format!(
                "the local cloud in {} does not answer on {address} ({error}): `longshore local up` starts it",
                self.directory.path().display()
            );
            Error::new(ErrorKind::Unavailable, operation, subject, message)
        };
        let host = header::HeaderValue::from_str(&address).map_err(|error| unreachable(&error))?;
        request.headers_mut().entry(header::HOST).or_insert(host);
        let deadline = Instant::now() + patience;
        let connected = tokio::time::timeout_at(deadline, async {
            let stream = TcpStream::connect(&address).await.map_err(|error| unreachable(&error))?;
            stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))
        });
        let (mut sender, connection) =
            connected.await.map_err(|_| unreachable(&format_args!("nothing for {patience:?}")))??;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let (parts, body) = response.into_parts();
            let body =
                Limited::new(body, limit).collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok::<_, String>(Answer { status: parts.status, headers: parts.headers, body })
        };
        let driven = async {
            tokio::pin!(exchange, connection);
            tokio::select! {
                biased;
                answer = &mut exchange => answer,
                _ = &mut connection => exchange.await,
            }
        };
        let lost = match tokio::time::timeout_at(deadline, driven).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(why)) => why,
            Err(_) => format!("nothing for {patience:?}: {reason}"),
        };
        let (kind, message) = match effect {
            Effect::Read => (ErrorKind::Unavailable, format!("the local cloud did not answer: {lost}")),
            Effect::Write => (
                ErrorKind::Indeterminate,
                format!("the request was sent and no answer came ({lost}): it may have been carried out"),
            ),
        };
        Err(Error::new(kind, operation, subject, message).with_code(NO_ANSWER))
    }

    /// `HOST:PORT` to connect to.
    fn address(&self, running: &Running, operation: &'static str, subject: &str) -> Result<String> {
        let Some(endpoint) = &self.endpoint else {
            let address = match self.service {
                Service::Registry => running.registry,
                _ => running.functions,
            };
            return Ok(address.to_string());
        };
        let uri: Option<http::Uri> = endpoint.url.parse().ok();
        uri.filter(|uri| uri.scheme_str() == Some("http"))
            .and_then(|uri| Some(format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(80))))
            .ok_or_else(|| {
                let message =
                    format!("endpoints.{}: {:?} is not an http:// URL", self.service.word(), endpoint.url);
                Error::new(ErrorKind::Invalid, operation, subject, message)
            })
    }

    /// Reads what the directory says, anew for each request: the daemon may have been restarted.
    async fn daemon(&self, operation: &'static str, subject: &str) -> Result<Daemon> {
        let directory = self.directory.clone();
        let said = off_the_reactor(move || {
            if let Some(running) = directory.running()? {
                return Ok(Daemon::Runs(running));
            }
            Ok(if directory.identity()?.is_some() { Daemon::Ended } else { Daemon::NeverStarted })
        });
        said.await.map_err(|error: StateError| error.into_error(operation, subject))
    }

    async fn running(&self, operation: &'static str, subject: &str) -> Result<Running> {
        let how = match self.daemon(operation, subject).await? {
            Daemon::Runs(running) => return Ok(running),
            Daemon::Ended => "does not run",
            Daemon::NeverStarted => "was never started",
        };
        Err(self.not_running(how, operation, subject))
    }

    fn not_running(&self, how: &str, operation: &'static str, subject: &str) -> Error {
        let path = self.directory.path().display();
        let message = format!("the local cloud in {path} {how}: `longshore local up` starts it");
        Error::new(ErrorKind::Unavailable, operation, subject, message)
    }
}

fn understand<T: DeserializeOwned>(
    body: &[u8],
    operation: &'static str,
    subject: impl ToString,
) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the daemon's answer cannot be understood: {error}");
        Error::new(ErrorKind::Unexpected, operation, subject, message)
    })
}

/// The error in an answer that is not a success.
pub(crate) fn refused(answer: &Answer, operation: &'static str, subject: &str) -> Error {
    let after = answer
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    match serde_json::from_slice::<ErrorBody>(&answer.body) {
        Ok(ErrorBody { code, message, request_id }) => {
            Error::new(kind_of(&code, after), operation, subject, message)
                .with_code(code)
                .with_request_id(Some(request_id))
        }
        Err(_) => {
            let message = format!("it answered {}", answer.status);
            Error::new(ErrorKind::Unexpected, operation, subject, message).with_code(answer.status.as_u16())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustix::net::{AddressFamily, SocketType};

    use super::*;

    /// A client of a daemon that says that it listens on `functions`.
    fn client(functions: SocketAddr) -> (tempfile::TempDir, Client) {
        let folder = tempfile::tempdir().unwrap();
        let directory = StateDirectory::new(folder.path().to_owned());
        directory.make().unwrap();
        let token = longshore_contract::Secret::new("token");
        directory.announce(&Running { pid: 7, registry: functions, functions, token }).unwrap();
        (folder, Client::new(directory, None, Calls::default()))
    }

    fn ask(effect: Effect) -> Ask<'static> {
        let request = Request::get("/").body(Full::default()).unwrap();
        let patience = Duration::from_millis(100);
        Ask { effect, request, limit: 10, patience, reason: "all it has", operation: "ask", subject: "it" }
    }

    #[tokio::test]
    async fn a_connection_that_does_not_come_about_ends_in_time_and_has_sent_nothing() {
        let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
        // Nobody accepts: once the listener's queue is full, whoever connects hears nothing.
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(50), TcpStream::connect(address)).await
        {
            waiting.push(stream);
        }
        let (_folder, client) = client(address);
        let exchange = client.exchange(ask(Effect::Write));
        let answered = tokio::time::timeout(Duration::from_secs(20), exchange).await;
        let error = answered.expect("it gives up by itself").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("nothing for 100ms"), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_may_have_been_carried_out() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_folder, client) = client(listener.local_addr().unwrap());
        for (effect, kind) in
            [(Effect::Write, ErrorKind::Indeterminate), (Effect::Read, ErrorKind::Unavailable)]
        {
            let error = client.exchange(ask(effect)).await.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert_eq!(error.code.as_deref(), Some(NO_ANSWER));
            assert!(error.message.contains("nothing for 100ms: all it has"), "{error}");
        }
    }
}
