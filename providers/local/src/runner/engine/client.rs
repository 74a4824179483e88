//! Requests to a container engine, over its socket.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

/// The most bytes of an answer that is read whole.
const ANSWER_LIMIT: usize = 4 << 20;

/// What a request brings along.
pub(super) type Body = BoxBody<Bytes, io::Error>;

/// A container engine that listens on a socket.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request and waits until its answer begins. An answer that is no success is an error with the engine's words.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Body,
    ) -> io::Result<Response<Incoming>> {
        let answer = self.ask(method, path, media_type, body).await?;
        if answer.status().is_success() || answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let status = answer.status();
        let text = read(answer).await.unwrap_or_default();
        let said = serde_json::from_slice::<Value>(&text).ok();
        let said = said.as_ref().and_then(|value| value["message"].as_str()).unwrap_or_default();
        let kind =
            if status == StatusCode::NOT_FOUND { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
        Err(io::Error::new(kind, format!("the engine answers {status}: {said}")))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Body,
    ) -> io::Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Ends with the answer's body.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "engine")
            .header("content-type", media_type)
            .body(body)
            .map_err(io::Error::other)?;
        sender.send_request(request).await.map_err(io::Error::other)
    }

    /// A request without a body, whose answer nobody reads.
    pub(super) async fn order(&self, method: Method, path: &str) -> io::Result<()> {
        let answer = self.send(method, path, "application/json", empty()).await?;
        read(answer).await.map(|_| ())
    }

    /// A request whose answer is read whole.
    pub(super) async fn fetch<T: DeserializeOwned>(&self, method: Method, path: &str) -> io::Result<T> {
        let answer = self.send(method, path, "application/json", empty()).await?;
        serde_json::from_slice(&read(answer).await?).map_err(io::Error::other)
    }

    /// The same with `document` sent along.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, document: &Value) -> io::Result<T> {
        let body = Full::from(document.to_string()).map_err(|never| match never {}).boxed();
        let answer = self.send(Method::POST, path, "application/json", body).await?;
        serde_json::from_slice(&read(answer).await?).map_err(io::Error::other)
    }
}

pub(super) fn empty() -> Body {
    Full::default().map_err(|never| match never {}).boxed()
}

/// All of an answer, within bounds.
pub(super) async fn read(answer: Response<Incoming>) -> io::Result<Bytes> {
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await;
    Ok(body.map_err(io::Error::other)?.to_bytes())
}
