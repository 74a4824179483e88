//! Lambda's Invoke call, as far as its clients can tell: `POST /2015-03-31/functions/NAME/invocations`. A signature is taken
//! and not looked at.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use longshore_contract::{FunctionName, Qualifier};
use serde::de::IgnoredAny;

use crate::router::delivery::{self, Delivered, LogTail, Order};
use crate::router::environment::{ACCOUNT, REGION};
use crate::router::error::{Failure, RouterError};
use crate::router::forward::Router;
use crate::router::headers;
use crate::router::invoke_name::{self, Named};
use crate::router::invoke_refusal::Refusal;
use crate::router::meter::End;
use crate::router::outcome::{self, Outcome};
use crate::router::process::Way;
use crate::router::slot::Slot;
use crate::router::target::Target;
use crate::runtime_api::{PAYLOAD_LIMIT, RequestId, Streamed, new_trace};

/// The most bytes of an event whose answer nobody waits for.
const EVENT_LIMIT: usize = 1024 * 1024;

/// The most bytes of what a caller says of itself, in Base64.
const CONTEXT_LIMIT: usize = 3583;

const INVOCATION_TYPE: &str = "x-amz-invocation-type";
const LOG_TYPE: &str = "x-amz-log-type";
const CLIENT_CONTEXT: &str = "x-amz-client-context";
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// A call of Invoke, as its path and query say it.
pub(crate) struct Call {
    name: String,
    qualifier: Option<String>,
}

impl Call {
    /// The call in a request's first line; `None` where it is none.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let rest = uri.path().strip_prefix("/2015-03-31/functions/")?;
        let name =
            rest.strip_suffix("/invocations").filter(|name| !name.is_empty() && !name.contains('/'))?;
        if method != Method::POST {
            return None;
        }
        let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
        let query = uri.query().unwrap_or_default();
        let qualifier = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "Qualifier");
        Some(Self { name: decoded, qualifier: qualifier.map(|(_, value)| value.into_owned()) })
    }
}

/// The name of a function, or of one of its faces, in AWS's form. There is neither a region nor an account here.
pub(crate) fn arn(function: &FunctionName, at: Option<&Qualifier>) -> String {
    let whole = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}");
    match at {
        None | Some(Qualifier::Latest) => whole,
        Some(at) => format!("{whole}:{at}"),
    }
}

/// What the caller wants of the answer.
enum Wanted {
    Answer,
    /// None: the event is delivered once, some time.
    Nothing,
    /// To know whether it could be invoked.
    DryRun,
}

impl Router {
    /// Answers one call.
    pub(super) async fn invoke(self: &Arc<Self>, call: Call, request: Request) -> Response {
        let id = RequestId::generate();
        let mut response = match self.called(call, request, &id).await {
            Ok(response) => response,
            Err(refusal) => refusal.answer(),
        };
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    async fn called(
        self: &Arc<Self>,
        call: Call,
        request: Request,
        id: &RequestId,
    ) -> Result<Response, Refusal> {
        let Named { function, at } = invoke_name::parse(&call.name, call.qualifier.as_deref())?;
        let (parts, body) = request.into_parts();
        let wanted = wanted(&parts.headers)?;
        let log = log_tail(&parts.headers)?;
        let client_context = client_context(&parts.headers)?;
        let target = self
            .targets
            .pick(&self.store.service(), &function, &at)
            .map_err(|_| Refusal::not_found(&arn(&function, Some(&at))))?;
        let limit = if let Wanted::Nothing = wanted { EVENT_LIMIT } else { PAYLOAD_LIMIT };
        let payload = payload(body, limit).await?;
        let slot = self.instances.slot(&function, target.number);
        let (order, executed) = {
            let trace = parts.headers.get("x-amzn-trace-id").and_then(|trace| trace.to_str().ok());
            let trace = trace.map_or_else(|| new_trace(Timestamp::now()), str::to_owned);
            let (timeout, memory_mib) = (target.timeout, target.memory_mib);
            let (id, arn) = (id.clone(), arn(&function, Some(&at)));
            let order = Order { id, payload, arn, trace, client_context, timeout, memory_mib, log };
            let executed = match at {
                Qualifier::Latest => "$LATEST".to_owned(),
                _ => target.version.to_string(),
            };
            (order, executed)
        };
        match wanted {
            Wanted::DryRun => Ok(empty(StatusCode::NO_CONTENT)),
            Wanted::Nothing => {
                let router = Arc::clone(self);
                tokio::spawn(async move {
                    let id = order.id.clone();
                    if let Err(error) = router.carry_out(&slot, &target, order).await {
                        tracing::warn!(%id, "an event that nobody waits for was not delivered: {}", error.message);
                    }
                });
                Ok(empty(StatusCode::ACCEPTED))
            }
            Wanted::Answer => {
                let carried = match self.carry_out(&slot, &target, order).await {
                    Ok(carried) => carried,
                    Err(error) => failed(id, error)?,
                };
                Ok(carried.answer(&target, &executed).await)
            }
        }
    }

    async fn carry_out(
        &self,
        slot: &Arc<Slot>,
        target: &Target,
        order: Order,
    ) -> Result<Carried, RouterError> {
        match self.instances.way(slot).await.inspect_err(|error| delivery::count_failed_start(slot, error))? {
            Way::Events => {
                let delivered = delivery::deliver(&self.instances, slot, order, |delivered| {
                    let failed = matches!(delivered.outcome, Outcome::Failed(..));
                    (delivered, if failed { End::Bad } else { End::Good })
                });
                let Delivered { outcome, log } = delivered.await?;
                Ok(Carried { outcome, log, status: None, word: None })
            }
            Way::Http => self.event_over_http(slot, target, order).await,
        }
    }
}

/// What came of a call.
pub(super) struct Carried {
    pub(super) outcome: Outcome,
    pub(super) log: Option<String>,
    /// The status of a function that answers HTTP.
    pub(super) status: Option<StatusCode>,
    /// Our own word for what went wrong, where the outcome has none.
    pub(super) word: Option<&'static str>,
}

impl Carried {
    async fn answer(self, target: &Target, executed: &str) -> Response {
        let Self { outcome, log, status, word } = self;
        let outcome = match outcome {
            Outcome::Streamed(streamed) => collect(streamed).await,
            other => other,
        };
        let (payload, fault) = match outcome {
            Outcome::Failed(fault, payload) => (payload, Some(fault)),
            Outcome::Answered(payload) => (payload, None),
            Outcome::Streamed(_) => (Bytes::new(), None),
        };
        let mut response = Response::new(Body::from(payload));
        let answered = response.headers_mut();
        answered.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers::add_version(answered, &target.version);
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                answered.insert(name, value);
            }
        };
        set(EXECUTED_VERSION, executed);
        if let Some(fault) = fault {
            // There was a "Handled" once; no runtime of today's makes one.
            set(FUNCTION_ERROR, "Unhandled");
            set(headers::ERROR, word.unwrap_or(fault.word()));
        }
        if let Some(status) = status {
            set(headers::STATUS, status.as_str());
        }
        if let Some(log) = log {
            set(LOG_RESULT, &STANDARD.encode(log));
        }
        response
    }
}

/// A call that no process answered: what the caller of a function has to know is the function's failure, the rest is a
/// refusal.
fn failed(id: &RequestId, error: RouterError) -> Result<Carried, Refusal> {
    let outcome = match error.failure {
        Failure::NotFound | Failure::TooLarge | Failure::BrokeOff => {
            return Err(Refusal::not_found(&error.message));
        }
        Failure::Throttled => return Err(Refusal::throttled(&error.message)),
        Failure::Resting(_) | Failure::DoesNotStart | Failure::NoAnswer | Failure::Timeout => {
            outcome::does_not_start(id, &error.message)
        }
    };
    Ok(Carried { outcome, log: None, status: None, word: Some(error.failure.word()) })
}

async fn collect(mut streamed: Streamed) -> Outcome {
    let mut whole = bytes::BytesMut::new();
    while let Some(piece) = streamed.pieces.recv().await {
        match piece {
            Ok(piece) if whole.len() + piece.len() > PAYLOAD_LIMIT => return outcome::too_large(),
            Ok(piece) => whole.extend_from_slice(&piece),
            Err(broken) => return outcome::broken(&broken),
        }
    }
    Outcome::Answered(whole.freeze())
}

fn wanted(headers: &HeaderMap) -> Result<Wanted, Refusal> {
    match stated(headers, INVOCATION_TYPE) {
        None | Some("RequestResponse") => Ok(Wanted::Answer),
        Some("Event") => Ok(Wanted::Nothing),
        Some("DryRun") => Ok(Wanted::DryRun),
        Some(other) => {
            let message =
                format!("{INVOCATION_TYPE}: {other:?} is none of RequestResponse, Event and DryRun");
            Err(Refusal::invalid(&message))
        }
    }
}

fn log_tail(headers: &HeaderMap) -> Result<LogTail, Refusal> {
    match stated(headers, LOG_TYPE) {
        None | Some("None") => Ok(LogTail::Unwanted),
        Some("Tail") => Ok(LogTail::Wanted),
        Some(other) => Err(Refusal::invalid(&format!("{LOG_TYPE}: {other:?} is neither None nor Tail"))),
    }
}

fn client_context(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(context) = stated(headers, CLIENT_CONTEXT) else { return Ok(None) };
    let decoded = STANDARD.decode(context).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded
        .filter(|text| context.len() <= CONTEXT_LIMIT && serde_json::from_str::<IgnoredAny>(text).is_ok())
    {
        Some(text) => Ok(Some(text)),
        None => Err(Refusal::content("Client context must be a valid Base64-encoded JSON object.")),
    }
}

fn stated<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The event: JSON, or an empty object where there is nothing.
async fn payload(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let collected = Limited::new(body, limit).collect().await;
    let bytes = match collected {
        Ok(whole) => whole.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Refusal::too_large(limit));
        }
        Err(_) => return Err(Refusal::content("Could not parse request body into json: it broke off")),
    };
    if bytes.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    serde_json::from_slice::<IgnoredAny>(&bytes).map_err(|error| {
        // Serde's own message may repeat a value.
        let message = format!(
            "Could not parse request body into json: line {}, column {}",
            error.line(),
            error.column()
        );
        Refusal::content(&message)
    })?;
    Ok(bytes)
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(uri: &str) -> Option<(String, Option<String>)> {
        Call::of(&Method::POST, &uri.parse().unwrap()).map(|call| (call.name, call.qualifier))
    }

    #[test]
    fn a_call_is_told_from_other_requests() {
        assert_eq!(call("/2015-03-31/functions/shop/invocations"), Some(("shop".to_owned(), None)));
        let live = call(
            "/2015-03-31/functions/arn%3Aaws%3Alambda%3Ax%3A1%3Afunction%3Ashop/invocations?Qualifier=live",
        );
        assert_eq!(live, Some(("arn:aws:lambda:x:1:function:shop".to_owned(), Some("live".to_owned()))));
        for other in
            ["/2015-03-31/functions/shop", "/shop/live/invocations", "/2015-03-31/functions/a/b/invocations"]
        {
            assert_eq!(call(other), None, "{other}");
        }
        assert!(Call::of(&Method::GET, &"/2015-03-31/functions/shop/invocations".parse().unwrap()).is_none());
    }

    #[test]
    fn what_a_caller_says_of_itself_is_json_in_base64() {
        let told = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CLIENT_CONTEXT, HeaderValue::from_str(text).unwrap());
            client_context(&headers).ok().flatten()
        };
        assert_eq!(told(&STANDARD.encode("{\"a\":1}")).as_deref(), Some("{\"a\":1}"));
        assert_eq!(told("{}"), None);
        assert_eq!(told(&STANDARD.encode("nonsense")), None);
        assert_eq!(told(&STANDARD.encode(format!("\"{}\"", "x".repeat(4000)))), None);
    }

    #[tokio::test]
    async fn an_event_is_json_of_a_bounded_length() {
        assert_eq!(&payload(Body::empty(), 10).await.ok().unwrap()[..], b"{}");
        assert_eq!(&payload(Body::from("[1]"), 10).await.ok().unwrap()[..], b"[1]");
        for (body, limit, status) in [("[1", 10, 400), ("[1,2,3,4,5,6]", 10, 413)] {
            let refused = payload(Body::from(body), limit).await.err().unwrap().answer();
            assert_eq!(refused.status().as_u16(), status);
        }
    }
}
