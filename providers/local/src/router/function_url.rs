//! An HTTP request to a function that asks for events: in as a Function-URL event, out as whatever its answer says.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::BytesMut;
use futures::stream;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use longshore_contract::Qualifier;
use tokio::sync::mpsc;

use crate::router::delivery::{self, Delivered, LogTail, Order};
use crate::router::error::{Failure, RouterError};
use crate::router::headers;
use crate::router::instances::Instances;
use crate::router::invoke::arn;
use crate::router::meter::End;
use crate::router::outcome::Outcome;
use crate::router::slot::Slot;
use crate::router::target::Target;
use crate::router::url_answer::{self, Prelude};
use crate::router::url_event::{self, Asking};
use crate::runtime_api::{Broken, PAYLOAD_LIMIT, RequestId, Streamed, new_trace};

/// A request, as far as it was read already.
pub(crate) struct Asked {
    pub(crate) from: SocketAddr,
    pub(crate) at: Qualifier,
    pub(crate) target: Target,
}

const TRACE: &str = "x-amzn-trace-id";

/// Answers one request.
pub(crate) async fn answer(
    instances: &Arc<Instances>,
    slot: &Arc<Slot>,
    asked: Asked,
    request: Request,
) -> Result<Response<Body>, RouterError> {
    let Asked { from, at, target } = asked;
    let (mut parts, body) = request.into_parts();
    let body = read(body).await.map_err(|unread| match unread {
        Unread::TooLarge => too_large(slot),
        Unread::BrokeOff => slot.error(Failure::BrokeOff, "the request's body broke off".to_owned()),
    })?;
    let (id, now) = (RequestId::generate(), Timestamp::now());
    let trace = parts.headers.get(TRACE).and_then(|trace| trace.to_str().ok()).map(str::to_owned);
    let trace = trace.unwrap_or_else(|| new_trace(now));
    if let Ok(value) = HeaderValue::from_str(&trace) {
        parts.headers.insert(TRACE, value);
    }
    let event = url_event::event(&Asking {
        function: target.function.as_str(),
        request_id: id.as_str(),
        at: now,
        from: from.ip(),
        method: &parts.method,
        version: parts.version,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
        body: &body,
    });
    drop(body);
    let payload = Bytes::from(event.to_string());
    if payload.len() > PAYLOAD_LIMIT {
        return Err(too_large(slot));
    }
    let order = Order {
        id,
        payload,
        arn: arn(&target.function, Some(&at)),
        trace,
        client_context: None,
        timeout: target.timeout,
        memory_mib: target.memory_mib,
        log: LogTail::Unwanted,
    };
    let shaped = delivery::deliver(instances, slot, order, shape).await?;
    let mut response = shaped.answer(slot).await;
    headers::drop_hop_by_hop(response.headers_mut());
    headers::add_version(response.headers_mut(), &target.version);
    Ok(response)
}

fn too_large(slot: &Slot) -> RouterError {
    let message = format!("an event may have {PAYLOAD_LIMIT} bytes, and this request makes a larger one");
    slot.error(Failure::TooLarge, message)
}

enum Unread {
    TooLarge,
    BrokeOff,
}

async fn read(body: Body) -> Result<Bytes, Unread> {
    let collected = Limited::new(body, PAYLOAD_LIMIT).collect().await;
    collected.map(|whole| whole.to_bytes()).map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() { Unread::TooLarge } else { Unread::BrokeOff }
    })
}

/// An answer that is whole, or comes in pieces.
enum Shaped {
    Whole(Response<Bytes>),
    Streamed(Streamed),
}

/// What a delivered event looks like to an HTTP client. A status of 500 or more is a bad end, as it is where a function
/// answers HTTP itself.
fn shape(delivered: Delivered) -> (Shaped, End) {
    let whole = match delivered.outcome {
        Outcome::Streamed(streamed) => return (Shaped::Streamed(streamed), End::Good),
        Outcome::Answered(payload) => match url_answer::answer(payload) {
            Ok(response) => response,
            Err(malformed) => {
                tracing::warn!("{malformed}");
                told("MalformedResponse")
            }
        },
        Outcome::Failed(fault, _) => told(fault.word()),
    };
    let end = if whole.status() < StatusCode::INTERNAL_SERVER_ERROR { End::Good } else { End::Bad };
    (Shaped::Whole(whole), end)
}

/// The answer where there is none of the function's.
fn told(word: &'static str) -> Response<Bytes> {
    let mut response = url_answer::failed();
    response.headers_mut().insert(headers::ERROR, HeaderValue::from_static(word));
    response
}

impl Shaped {
    async fn answer(self, slot: &Slot) -> Response<Body> {
        match self {
            Self::Whole(response) => response.map(Body::from),
            Self::Streamed(streamed) => stream_out(streamed).await.unwrap_or_else(|broken| {
                tracing::warn!(function = %slot.function, number = slot.number, "{broken}");
                slot.meter.spoil();
                told("ResponseBrokeOff").map(Body::from)
            }),
        }
    }
}

/// A streamed answer: its head where it begins with one, and its pieces as they come.
async fn stream_out(
    mut streamed: Streamed,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let kind = streamed.content_type.take();
    let mut begun = BytesMut::new();
    let mut response = Response::new(());
    if kind.as_deref().is_some_and(|kind| kind.starts_with(url_answer::WITH_PRELUDE)) {
        loop {
            match url_answer::prelude(&begun)? {
                Prelude::Ends(end, body) => {
                    response = url_answer::begun(&begun[..end])?;
                    let _ = begun.split_to(body);
                    break;
                }
                Prelude::More => match streamed.pieces.recv().await {
                    Some(piece) => begun.extend_from_slice(&piece?),
                    None => return Err(Broken::BrokeOff.into()),
                },
            }
        }
    } else {
        let kind = kind.and_then(|kind| HeaderValue::from_str(&kind).ok());
        let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    let first = (!begun.is_empty()).then(|| Ok::<_, Broken>(begun.freeze()));
    let pieces = stream::unfold(
        (first, streamed.pieces),
        |(first, mut pieces): (Option<_>, mpsc::Receiver<_>)| async move {
            let piece = match first {
                Some(first) => first,
                None => pieces.recv().await?,
            };
            if piece.is_err() {
                // The server sends what it has only where there is nothing more at once, and an error ends the connection.
                tokio::task::yield_now().await;
            }
            Some((piece, (None, pieces)))
        },
    );
    Ok(response.map(|()| Body::from_stream(pieces)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn streamed(kind: &str, pieces: &[&'static [u8]]) -> Response<Body> {
        let (sender, streamed) = Streamed::new(Some(kind.to_owned()));
        let answer = tokio::spawn(async move {
            let slot = Slot::new("shop".parse().unwrap(), 1, "/nowhere".into());
            Shaped::Streamed(streamed).answer(&slot).await
        });
        for piece in pieces {
            sender.send(Ok(Bytes::from_static(piece))).await.unwrap();
        }
        drop(sender);
        answer.await.unwrap()
    }

    #[tokio::test]
    async fn a_head_may_come_in_pieces_and_the_body_with_it() {
        let pieces: &[&[u8]] = &[b"{\"statusCode\":", b"201}\0\0\0\0", b"\0\0\0\0one", b"two"];
        let response = streamed(url_answer::WITH_PRELUDE, pieces).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"onetwo");
    }

    #[tokio::test]
    async fn a_stream_without_a_head_is_the_body() {
        let response = streamed("text/event-stream", &[b"data: 1\n\n"]).await;
        assert_eq!(
            (response.status(), &response.headers()[CONTENT_TYPE]),
            (StatusCode::OK, &HeaderValue::from_static("text/event-stream"))
        );
        assert_eq!(&response.into_body().collect().await.unwrap().to_bytes()[..], b"data: 1\n\n");
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_no_answer() {
        let response = streamed(url_answer::WITH_PRELUDE, &[b"{}"]).await;
        assert_eq!(
            (response.status(), &response.headers()[headers::ERROR]),
            (StatusCode::BAD_GATEWAY, &HeaderValue::from_static("ResponseBrokeOff"))
        );
    }
}
