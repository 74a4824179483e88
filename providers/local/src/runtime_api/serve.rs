//! The HTTP of the runtime API.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::serve::ListenerExt as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::answer::{Broken, Reply, Streamed};
use super::desk::{Desk, ERROR, RESPONSE, Refused};
use super::event::PAYLOAD_LIMIT;

const MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");

/// A runtime API that answers for as long as this is held.
#[derive(Debug)]
pub(crate) struct Serving(JoinHandle<io::Result<()>>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers on `listener` for the process that `desk` belongs to.
pub(crate) fn serve(listener: TcpListener, desk: Arc<Desk>) -> Serving {
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let routes = axum::Router::new().fallback(handle).with_state(desk);
    Serving(tokio::spawn(async { axum::serve(listener, routes).await }))
}

async fn handle(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
    match (&parts.method, path.as_slice()) {
        (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => {
            let event = desk.next().await;
            (event.headers(), event.payload.clone()).into_response()
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
            let streams = parts
                .headers
                .get(&MODE)
                .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming"));
            match desk.answer(id, RESPONSE) {
                Err(refused) => refused.answer(),
                Ok(reply) if streams => take_stream(reply, &parts.headers, body).await,
                Ok(reply) => take_whole(reply, body, Reply::Whole).await,
            }
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => match desk.answer(id, ERROR)
        {
            Err(refused) => refused.answer(),
            Ok(reply) => take_whole(reply, body, Reply::Failed).await,
        },
        (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => match read(body).await {
            Ok(why) => match desk.fail(why) {
                Ok(()) => accepted(),
                Err(refused) => refused.answer(),
            },
            Err(unread) => unread.answer(),
        },
        (_, ["2018-06-01", "runtime", "invocation", "next"]) => not_so("GET"),
        (
            _,
            ["2018-06-01", "runtime", "invocation", _, "response" | "error"]
            | ["2018-06-01", "runtime", "init", "error"],
        ) => not_so("POST"),
        (_, ["2020-01-01" | "2022-07-01", ..]) => problem(
            StatusCode::NOT_FOUND,
            "Extension.NotOffered",
            "The local cloud has no Extensions API and no Telemetry API: a function runs without its extensions",
        ),
        _ => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

/// A body that is not to be had whole.
enum Unread {
    TooLarge,
    BrokeOff,
}

impl Unread {
    fn answer(&self) -> Response {
        match self {
            Self::TooLarge => problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                &format!("Exceeded maximum allowed payload size ({PAYLOAD_LIMIT} bytes)."),
            ),
            Self::BrokeOff => problem(StatusCode::BAD_REQUEST, "Truncated", "The body broke off"),
        }
    }
}

async fn read(mut body: Body) -> Result<Bytes, Unread> {
    let mut whole = BytesMut::new();
    let mut fits = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Unread::BrokeOff) };
        let Ok(piece) = frame.into_data() else { continue };
        fits &= whole.len() + piece.len() <= PAYLOAD_LIMIT;
        if fits {
            whole.extend_from_slice(&piece);
        } else {
            // What is too much is let go as it comes: a client that still writes does not read our answer.
            whole = BytesMut::new();
        }
    }
    if fits { Ok(whole.freeze()) } else { Err(Unread::TooLarge) }
}

async fn take_whole(reply: oneshot::Sender<Reply>, body: Body, kind: fn(Bytes) -> Reply) -> Response {
    match read(body).await {
        Ok(whole) => {
            // Whoever asked may have given up.
            let _ = reply.send(kind(whole));
            accepted()
        }
        Err(unread) => {
            if let Unread::TooLarge = unread {
                let _ = reply.send(Reply::TooLarge);
            }
            unread.answer()
        }
    }
}

/// Hands the pieces on as they come. A process is not read faster than its answer is.
async fn take_stream(reply: oneshot::Sender<Reply>, headers: &HeaderMap, mut body: Body) -> Response {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (pieces, streamed) = Streamed::new(content_type);
    let _ = reply.send(Reply::Streamed(streamed));
    while let Some(frame) = body.frame().await {
        let piece = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(rest)) => match rest.trailers_ref().and_then(failure) {
                Some(why) => Err(Broken::Failed(why)),
                None => continue,
            },
            Err(_) => Err(Broken::BrokeOff),
        };
        // Nobody reads any more: what still comes is let go, so that the process comes to its next event.
        let _ = pieces.send(piece).await;
    }
    accepted()
}

/// What the trailers of a streamed answer say of a failure half way.
fn failure(trailers: &HeaderMap) -> Option<String> {
    let kind = trailers.get(&ERROR_TYPE)?.to_str().unwrap_or("Runtime.UnknownReason").to_owned();
    let body = trailers.get(&ERROR_BODY).and_then(|body| STANDARD.decode(body).ok());
    Some(match body {
        Some(body) => format!("{kind}: {}", String::from_utf8_lossy(&body)),
        None => kind,
    })
}

impl Refused {
    fn answer(&self) -> Response {
        match self {
            Self::WrongId => problem(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
            Self::OutOfTurn { from, to } => problem(
                StatusCode::FORBIDDEN,
                "InvalidStateTransition",
                &format!(
                    "State transition from {from} to {to} failed for runtime. Error: State transition is not allowed"
                ),
            ),
        }
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "errorMessage")]
    message: &'a str,
    #[serde(rename = "errorType")]
    kind: &'a str,
}

fn problem(status: StatusCode, kind: &str, message: &str) -> Response {
    (status, Json(Problem { message, kind })).into_response()
}

fn accepted() -> Response {
    #[derive(Serialize)]
    struct Accepted {
        status: &'static str,
    }
    (StatusCode::ACCEPTED, Json(Accepted { status: "OK" })).into_response()
}

fn not_so(allowed: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, HeaderValue::from_static(allowed))]).into_response()
}
