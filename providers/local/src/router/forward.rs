//! One request to a function and its answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use longshore_contract::{AliasName, FunctionName, Qualifier, Routing, Version};
use longshore_model::{AliasRecord, Service};
use tokio::time::Sleep;

use crate::control::api::named;
use crate::control::store::Store;
use crate::router::error::{Failure, RouterError};
use crate::router::headers;
use crate::router::instances::{Instances, Lease};
use crate::router::meter::End;
use crate::router::path::Asked;
use crate::router::split;
use crate::router::upstream::Unanswered;

/// How long a request may take where the function's settings do not say: the longest that a cloud allows.
const LONGEST: Duration = Duration::from_secs(900);

/// What the router works on.
pub(crate) struct Router {
    store: Arc<Store>,
    instances: Arc<Instances>,
    /// How many requests came to each alias.
    counters: RwLock<HashMap<(FunctionName, AliasName), Arc<AtomicU64>>>,
}

/// Answers one request for a function.
pub(crate) async fn handle(
    State(router): State<Arc<Router>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    router.forward(from, request).await.unwrap_or_else(|error| error.answer())
}

impl Router {
    /// Over one state and the processes that go with it.
    pub(crate) fn new(store: Arc<Store>, instances: Arc<Instances>) -> Self {
        Self { store, instances, counters: RwLock::default() }
    }

    async fn forward(&self, from: SocketAddr, mut request: Request) -> Result<Response, RouterError> {
        let uri = request.uri().clone();
        let asked = Asked::parse(uri.path()).ok_or_else(|| {
            let message = format!("{}: a function is reached under /NAME/ALIAS or /NAME/VERSION", uri.path());
            RouterError::not_found(message)
        })?;
        // The routing is read here, once: a request is for the version that was right when it came.
        let service = self.store.service();
        let number = self.version(&service, &asked)?;
        let timeout = timeout(&service, &asked.function, number);
        *request.uri_mut() = onward(asked.path, uri.query());
        *request.version_mut() = axum::http::Version::HTTP_11;
        headers::drop_hop_by_hop(request.headers_mut());
        headers::add_forwarded(request.headers_mut(), from, asked.prefix);

        let begun = Instant::now();
        let lease = self.instances.lease(&asked.function, number).await?;
        let slot = Arc::clone(&lease.slot);
        let late = || {
            let message = format!("{}@{number} did not answer within {timeout:?}", asked.function);
            slot.error(Failure::Timeout, message)
        };
        let answered = tokio::time::timeout(timeout, self.ask(&asked.function, number, lease, request)).await;
        let result = answered.unwrap_or_else(|_| Err(late()));
        let end = match &result {
            Ok((_, response)) if response.status() < StatusCode::INTERNAL_SERVER_ERROR => End::Good,
            _ => End::Bad,
        };
        slot.meter.count(end, begun.elapsed());
        let (lease, response) = result?;
        Ok(relay(lease, response, named(number), end, begun + timeout))
    }

    /// Sends the request to a process of the version; to a new one where the process turns out to be gone.
    async fn ask(
        &self,
        function: &FunctionName,
        number: u64,
        mut lease: Lease,
        mut request: Request,
    ) -> Result<(Lease, axum::http::Response<Incoming>), RouterError> {
        loop {
            match lease.upstream.send(request).await {
                Ok(response) => return Ok((lease, response)),
                Err(Unanswered::Lost(error)) => {
                    let message = format!("{function}@{number} hung up before it answered: {error}");
                    return Err(lease.slot.error(Failure::NoAnswer, message));
                }
                Err(Unanswered::Gone(unsent)) => {
                    lease.slot.forget(&lease.upstream).await;
                    request = *unsent;
                    // Ends when the version keeps dying: then it is left alone for a while, which is an error.
                    lease = self.instances.lease(function, number).await?;
                }
            }
        }
    }

    /// The number of the version that answers this request.
    fn version(&self, service: &Service, asked: &Asked<'_>) -> Result<u64, RouterError> {
        let name = &asked.function;
        let not_found = |error: longshore_model::Refusal| RouterError::not_found(error);
        let function = service.function(name).map_err(not_found)?;
        let version = match &asked.at {
            Qualifier::Latest => return Ok(function.head_number()),
            Qualifier::Version(version) => version.clone(),
            Qualifier::Alias(alias) => {
                self.pick(name, alias, service.alias(name, alias).map_err(not_found)?).clone()
            }
        };
        // "007" is not version 7.
        let number = version.as_str().parse().ok().filter(|number| named(*number) == version);
        number
            .filter(|number| function.versions.contains_key(number))
            .ok_or_else(|| RouterError::not_found(format_args!("there is no version {version} of {name}")))
    }

    fn pick<'a>(&self, name: &FunctionName, alias: &AliasName, record: &'a AliasRecord) -> &'a Version {
        match &record.routing {
            Routing::All(version) => version,
            Routing::Split { stable, canary, share } => {
                let n = self.counter(name, alias).fetch_add(1, Ordering::Relaxed);
                if split::picks(n, *share) { canary } else { stable }
            }
        }
    }

    fn counter(&self, name: &FunctionName, alias: &AliasName) -> Arc<AtomicU64> {
        let key = (name.clone(), alias.clone());
        if let Some(counter) = self.counters.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(counter);
        }
        Arc::clone(self.counters.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }
}

fn timeout(service: &Service, name: &FunctionName, number: u64) -> Duration {
    let function = service.function(name).ok();
    let content = function.and_then(|function| match function.versions.get(&number) {
        Some(version) => Some(&version.content),
        None => function.head.settled(),
    });
    content
        .and_then(|content| content.configuration.0.get("timeout_ms")?.as_u64())
        .map_or(LONGEST, Duration::from_millis)
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
    version: Version,
    end: End,
    deadline: Instant,
) -> Response {
    let (mut parts, body) = response.into_parts();
    headers::drop_hop_by_hop(&mut parts.headers);
    parts.headers.remove(headers::ERROR);
    headers::add_version(&mut parts.headers, &version);
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
