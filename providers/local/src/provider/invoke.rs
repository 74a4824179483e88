//! Sending one request to a function.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{Request, StatusCode};
use http_body_util::Full;
use longshore_contract::{Error, ErrorKind, FunctionName, Invocation, Payload, Qualifier, Result, Version};
use serde_json::Value;

use crate::control::wire::{FunctionView, TIMEOUT, function_path};
use crate::provider::Local;
use crate::provider::client::{Answer, Ask, Effect, Reached, refused};
use crate::reactor::off_the_reactor;
use crate::router::headers;
use crate::runtime_api::PAYLOAD_LIMIT;

const OPERATION: &str = "invoke";

/// The most that is taken of a function's answer.
const ANSWER_LIMIT: usize = PAYLOAD_LIMIT;

/// How long a version that does not run may need until it takes the request: its image is unpacked, and a process that is
/// refused its port is started twice.
const START: Duration = Duration::from_secs(30);

/// How much of the log's end is handed out.
const LOG_END: u64 = 4 * 1024;

impl Local {
    /// Sends one request the way everybody's requests go, and an event by the call that the SDKs have for it.
    pub(super) async fn invoke_function(
        &self,
        name: &FunctionName,
        at: &Qualifier,
        payload: &Payload,
    ) -> Result<Invocation> {
        let subject = format!("{name}:{at}");
        let request = request(name, at, payload)
            .map_err(|error| Error::new(ErrorKind::Invalid, OPERATION, &subject, error))?;
        let path = format!("{}?at={at}", function_path(name));
        let timeouts = match self.client.look::<FunctionView>(&path, OPERATION, &subject).await? {
            Reached::Found(view) => view.timeouts_ms,
            // The request itself is told so, in the words for it.
            Reached::Absent | Reached::NeverStarted => Vec::new(),
        };
        let (patience, reason) = patience(&timeouts);
        let ask = Ask {
            effect: Effect::Write,
            request,
            limit: ANSWER_LIMIT,
            patience,
            reason: &reason,
            operation: OPERATION,
            subject: &subject,
        };
        let answer = self.client.exchange(ask).await?;
        if let Some(error) = refusal(&answer, &subject) {
            return Err(error);
        }
        let text = |name: &HeaderName| Some(answer.headers.get(name)?.to_str().ok()?.to_owned());
        let version: Option<Version> = text(&headers::VERSION).and_then(|version| version.parse().ok());
        // A function that answers HTTP speaks through its status, around which the call has another.
        let own_status = text(&headers::STATUS).and_then(|status| status.parse().ok());
        let function_error = if own_status.is_some() { None } else { text(&headers::ERROR) };
        let log = match (text(&LOG_RESULT), &version) {
            (Some(tail), _) => {
                STANDARD.decode(tail).ok().map(|tail| String::from_utf8_lossy(&tail).into_owned())
            }
            (None, Some(version)) => {
                let path = self.directory.version_log(name, version);
                off_the_reactor(move || end_of(&path)).await
            }
            (None, None) => None,
        };
        let status = own_status.unwrap_or(answer.status.as_u16());
        Ok(Invocation { version, status, payload: answer.body, function_error, log })
    }
}

const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The error in an answer that no function gave: there is none of that name, it may not have more instances, or the call
/// was wrong.
fn refusal(answer: &Answer, subject: &str) -> Option<Error> {
    if answer.headers.contains_key(headers::ERROR) {
        let error = refused(answer, OPERATION, subject);
        return (answer.status == StatusCode::NOT_FOUND)
            .then_some(Error { kind: ErrorKind::NotFound, ..error });
    }
    let code = answer.headers.get(ERROR_TYPE)?.to_str().ok()?;
    let kind = match answer.status {
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::Throttled { after: Some(Duration::from_secs(1)) },
        _ => ErrorKind::Invalid,
    };
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let message = body.get("message").or_else(|| body.get("Message")).and_then(Value::as_str);
    let message = message.map_or_else(|| format!("it answered {}", answer.status), str::to_owned);
    Some(Error::new(kind, OPERATION, subject, message).with_code(code))
}

/// How long an answer is waited for, where each of the versions that may answer has one of `timeouts` (milliseconds), and
/// why that long. The router ends a request after the version's own time: this ends one that even the router forgot.
fn patience(timeouts: &[Option<u64>]) -> (Duration, String) {
    let times = timeouts.iter().map(|stated| stated.map_or(TIMEOUT, Duration::from_millis));
    let time = times.max().unwrap_or(TIMEOUT);
    let whose = if timeouts.contains(&Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))) {
        format!("`timeout` in config gives it {time:?}")
    } else {
        format!("config states no `timeout`, which gives it {time:?}")
    };
    (time.saturating_add(START), format!("{whose}, and its start has {START:?}"))
}

fn request(name: &FunctionName, at: &Qualifier, payload: &Payload) -> http::Result<Request<Full<Bytes>>> {
    match payload {
        Payload::Event(event) => {
            Request::post(format!("/2015-03-31/functions/{name}/invocations?Qualifier={at}"))
                .header(header::CONTENT_TYPE, "application/json")
                .header("x-amz-log-type", "Tail")
                .body(Full::from(event.to_string()))
        }
        Payload::Http { method, path, headers, body } => {
            let mut request = Request::builder().method(method.as_str()).uri(format!("/{name}/{at}{path}"));
            for (name, value) in headers {
                request = request.header(name, value);
            }
            request.body(Full::from(body.clone()))
        }
    }
}

/// The end of a log, from the beginning of a line.
fn end_of(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_END).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = if length > LOG_END { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
    Some(whole.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_waited_for_as_long_as_the_slowest_version_may_take() {
        let stated = patience(&[Some(1500)]);
        let reason = "`timeout` in config gives it 1.5s, and its start has 30s";
        assert_eq!(stated, (Duration::from_millis(31_500), reason.to_owned()));
        assert_eq!(patience(&[Some(1500), Some(900_000)]).0, Duration::from_secs(930));
        let unstated = patience(&[None]);
        let reason = "config states no `timeout`, which gives it 30s, and its start has 30s";
        assert_eq!(unstated, (Duration::from_secs(60), reason.to_owned()));
        assert_eq!(patience(&[Some(1500), None]), unstated, "the one that does not say may take longer");
        assert_eq!(patience(&[]), unstated);
        assert_eq!(patience(&[Some(u64::MAX)]).0, Duration::from_millis(u64::MAX).saturating_add(START));
    }
}
