//! An event to a function that answers HTTP.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HOST, HeaderValue};
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use crate::control::raw::Kind;
use crate::router::delivery::{LogTail, Order};
use crate::router::dialect::{self, Carries, EventPath};
use crate::router::error::{Failure, RouterError};
use crate::router::forward::Router;
use crate::router::invoke::Carried;
use crate::router::outcome::{self, Fault, Outcome};
use crate::router::report::{Facts, Mark};
use crate::router::slot::Slot;
use crate::router::target::Target;
use crate::runtime_api::{PAYLOAD_LIMIT, RequestId};

impl Router {
    /// Posts the event where the function takes events, and answers with its body. A status of 400 or more is the
    /// function's failure.
    pub(super) async fn event_over_http(
        &self,
        slot: &Arc<Slot>,
        target: &Target,
        order: Order,
    ) -> Result<Carried, RouterError> {
        let Order { id, payload, log, .. } = order;
        let mark = (log == LogTail::Wanted).then(|| Mark::beginning(&slot.log));
        let begun = std::time::Instant::now();
        let (status, body) = match EventPath::stated(target.kind).or_else(|| slot.event_path()) {
            Some(path) => self.post(slot, target, path, &id, &payload).await?,
            None => self.find_event_path(slot, target, &id, &payload).await?,
        };
        let failed = status.as_u16() >= 400;
        let outcome = match body {
            None => outcome::too_large(),
            Some(body) if failed => Outcome::Failed(Fault::Function, body),
            Some(body) => Outcome::Answered(body),
        };
        let log = match mark {
            Some(mark) => {
                let (version, memory) = (target.version.as_str(), target.memory_mib);
                let status = failed.then_some("error");
                let facts = Facts { id: &id, version, took: begun.elapsed(), memory, status };
                Some(mark.report(&facts).await)
            }
            None => None,
        };
        Ok(Carried { outcome, log, status: Some(status), word: None })
    }

    /// Tries both paths where nobody knows yet: a function that has no `/invoke` may be one made for `/event-invoke`.
    /// Whichever it knows is remembered.
    async fn find_event_path(
        &self,
        slot: &Arc<Slot>,
        target: &Target,
        id: &RequestId,
        payload: &Bytes,
    ) -> Result<(StatusCode, Option<Bytes>), RouterError> {
        let first = self.post(slot, target, EventPath::Invoke, id, payload).await?;
        if first.0 != StatusCode::NOT_FOUND {
            slot.learn(EventPath::Invoke);
            return Ok(first);
        }
        let second = self.post(slot, target, EventPath::EventInvoke, id, payload).await?;
        if second.0 == StatusCode::NOT_FOUND {
            return Ok(first);
        }
        slot.learn(EventPath::EventInvoke);
        Ok(second)
    }

    /// Posts the event once. The body is `None` where it is larger than an answer may be.
    async fn post(
        &self,
        slot: &Arc<Slot>,
        target: &Target,
        path: EventPath,
        id: &RequestId,
        payload: &Bytes,
    ) -> Result<(StatusCode, Option<Bytes>), RouterError> {
        let mut request = Request::new(Body::from(payload.clone()));
        *request.method_mut() = axum::http::Method::POST;
        *request.uri_mut() = axum::http::Uri::from_static(path.as_str());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HOST, HeaderValue::from_static("127.0.0.1"));
        let found = (path == EventPath::EventInvoke).then_some(Kind::Scf);
        if let Some(kind) = target.kind.or(found) {
            dialect::tell(headers, &target.told(kind, id, Carries::Event));
        }
        let response = self.over_http(slot, target, request).await?;
        let (parts, body) = response.into_parts();
        match Limited::new(body, PAYLOAD_LIMIT).collect().await {
            Ok(whole) => Ok((parts.status, Some(whole.to_bytes()))),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Ok((parts.status, None)),
            Err(error) => Err(slot.error(Failure::NoAnswer, format!("its answer broke off: {error}"))),
        }
    }
}
