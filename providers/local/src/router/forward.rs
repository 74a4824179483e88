//! One request to a function and its answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use longshore_contract::Version;
use tokio::time::Sleep;

use crate::control::store::Store;
use crate::router::delivery::count_failed_start;
use crate::router::dialect::{self, Carries};
use crate::router::error::{Failure, RouterError};
use crate::router::function_url;
use crate::router::headers;
use crate::router::instances::Instances;
use crate::router::invoke;
use crate::router::meter::End;
use crate::router::path::Asked;
use crate::router::process::{Speaks, Way};
use crate::router::slot::{Lease, Slot};
use crate::router::target::{Target, Targets};
use crate::router::upstream::Unanswered;
use crate::runtime_api::RequestId;

/// What the router works on.
pub(crate) struct Router {
    pub(super) store: Arc<Store>,
    pub(super) instances: Arc<Instances>,
    pub(super) targets: Targets,
}

/// Answers one request for a function.
pub(crate) async fn handle(
    State(router): State<Arc<Router>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    if let Some(call) = invoke::Call::of(request.method(), request.uri()) {
        return router.invoke(call, request).await;
    }
    router.forward(from, request).await.unwrap_or_else(|error| error.answer())
}

impl Router {
    /// Over one state and the processes that go with it.
    pub(crate) fn new(store: Arc<Store>, instances: Arc<Instances>) -> Self {
        Self { store, instances, targets: Targets::default() }
    }

    async fn forward(&self, from: SocketAddr, mut request: Request) -> Result<Response, RouterError> {
        let uri = request.uri().clone();
        let asked = Asked::parse(uri.path()).ok_or_else(|| {
            let message = format!("{}: a function is reached under /NAME/ALIAS or /NAME/VERSION", uri.path());
            RouterError::not_found(message)
        })?;
        // The routing is read here, once: a request is for the version that was right when it came.
        let target = self.targets.pick(&self.store.service(), &asked.function, &asked.at)?;
        let slot = self.instances.slot(&target.function, target.number);
        *request.uri_mut() = onward(asked.path, uri.query());
        headers::drop_hop_by_hop(request.headers_mut());
        headers::add_forwarded(request.headers_mut(), from, asked.prefix);
        let way = self.instances.way(&slot).await.inspect_err(|error| count_failed_start(&slot, error))?;
        match way {
            Way::Http => {
                if let Some(kind) = target.kind {
                    let id = RequestId::generate();
                    dialect::tell(request.headers_mut(), &target.told(kind, &id, Carries::Request));
                }
                self.over_http(&slot, &target, request).await
            }
            Way::Events => {
                let asked = function_url::Asked { from, at: asked.at, target };
                function_url::answer(&self.instances, &slot, asked, request).await
            }
        }
    }

    /// Sends a request to a process that answers HTTP, counts it, and hands the answer on as it comes.
    pub(super) async fn over_http(
        &self,
        slot: &Arc<Slot>,
        target: &Target,
        mut request: Request,
    ) -> Result<Response, RouterError> {
        *request.version_mut() = axum::http::Version::HTTP_11;
        let lease = self.instances.lease(slot).await.inspect_err(|error| count_failed_start(slot, error))?;
        // A function's time is its own: how long it took to start is not taken off it.
        let (begun, timeout) = (Instant::now(), target.timeout);
        let late = || {
            let message = format!("{}@{} did not answer within {timeout:?}", target.function, target.number);
            slot.error(Failure::Timeout, message)
        };
        let asked = self.ask(slot, lease, request);
        let answered = tokio::time::timeout(timeout, asked).await;
        let result = answered.unwrap_or_else(|_| Err(late()));
        let end = match &result {
            Ok((_, response)) if response.status() < StatusCode::INTERNAL_SERVER_ERROR => End::Good,
            _ => End::Bad,
        };
        slot.meter.count(end, begun.elapsed());
        let (lease, response) = result?;
        Ok(relay(lease, response, &target.version, end, begun + timeout))
    }

    /// Sends the request to a process of the version; to a new one where the process turns out to be gone.
    async fn ask(
        &self,
        slot: &Arc<Slot>,
        mut lease: Lease,
        mut request: axum::http::Request<Body>,
    ) -> Result<(Lease, axum::http::Response<Incoming>), RouterError> {
        loop {
            let Speaks::Http(connections) = &lease.process.speaks else {
                let message = "one instance of it answers HTTP and another asks for events: state its `kind`";
                return Err(slot.error(Failure::DoesNotStart, message.to_owned()));
            };
            match connections.send(&lease.process.instance, request).await {
                Ok(response) => return Ok((lease, response)),
                Err(Unanswered::Lost(error)) => {
                    let message =
                        format!("{}@{} hung up before it answered: {error}", slot.function, slot.number);
                    return Err(slot.error(Failure::NoAnswer, message));
                }
                Err(Unanswered::Gone(unsent)) => {
                    slot.forget(&lease.process).await;
                    request = *unsent;
                    // Ends when the version keeps dying: then it is left alone for a while, which is an error.
                    lease = self.instances.lease(slot).await?;
                }
            }
        }
    }
}

fn onward(path: &str, query: Option<&str>) -> Uri {
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    // Both were parts of a URI that was parsed already.
    text.parse::<PathAndQuery>().map_or_else(|_| Uri::from_static("/"), Uri::from)
}

fn relay(
    lease: Lease,
    response: axum::http::Response<Incoming>,
    version: &Version,
    end: End,
    deadline: Instant,
) -> Response {
    let (mut parts, body) = response.into_parts();
    headers::drop_hop_by_hop(&mut parts.headers);
    parts.headers.remove(headers::ERROR);
    headers::add_version(&mut parts.headers, version);
    let late = Box::pin(tokio::time::sleep_until(deadline.into()));
    Response::from_parts(parts, Body::new(Relayed { body, late, lease, end }))
}

/// The answer's body on its way. The process is not stopped before it is through.
struct Relayed {
    body: Incoming,
    late: Pin<Box<Sleep>>,
    lease: Lease,
    end: End,
}

impl Relayed {
    fn broke_off(&mut self) {
        if self.end == End::Good {
            self.end = End::Bad;
            self.lease.slot.meter.spoil();
        }
    }
}

impl hyper::body::Body for Relayed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Err(error))) => {
                self.broke_off();
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(ready) => Poll::Ready(ready.map(|frame| frame.map_err(Into::into))),
            Poll::Pending if self.late.as_mut().poll(context).is_ready() => {
                self.broke_off();
                Poll::Ready(Some(Err("the function's time is over".into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
