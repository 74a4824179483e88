//! Sending one request to a function.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use longshore_contract::{Error, ErrorKind, FunctionName, Invocation, Payload, Qualifier, Result, Version};

use crate::provider::Local;
use crate::provider::client::{Ask, Effect, refused};
use crate::reactor::off_the_reactor;
use crate::router::headers;

const OPERATION: &str = "invoke";

/// The most that is taken of a function's answer.
const ANSWER_LIMIT: usize = 6 * 1024 * 1024;

/// The function's own time ends a request; this only ends one that even the router forgot.
const PATIENCE: Duration = Duration::from_secs(960);

/// How much of the log's end is handed out.
const LOG_END: u64 = 4 * 1024;

impl Local {
    /// Sends one request the way everybody's requests go. An event goes to `POST /invoke`.
    pub(super) async fn invoke_function(
        &self,
        name: &FunctionName,
        at: &Qualifier,
        payload: &Payload,
    ) -> Result<Invocation> {
        let subject = format!("{name}:{at}");
        let request = request(&format!("/{name}/{at}"), payload)
            .map_err(|error| Error::new(ErrorKind::Invalid, OPERATION, &subject, error))?;
        let ask = Ask {
            effect: Effect::Write,
            request,
            limit: ANSWER_LIMIT,
            patience: PATIENCE,
            operation: OPERATION,
            subject: &subject,
        };
        let answer = self.client.exchange(ask).await?;
        let text = |name: &header::HeaderName| Some(answer.headers.get(name)?.to_str().ok()?.to_owned());
        let function_error = text(&headers::ERROR);
        if answer.status == StatusCode::NOT_FOUND && function_error.is_some() {
            let error = refused(&answer, OPERATION, &subject);
            return Err(Error { kind: ErrorKind::NotFound, ..error });
        }
        let version: Option<Version> = text(&headers::VERSION).and_then(|version| version.parse().ok());
        let log = match &version {
            Some(version) => {
                let path = self.directory.version_log(name, version);
                off_the_reactor(move || end_of(&path)).await
            }
            None => None,
        };
        Ok(Invocation { version, status: answer.status.as_u16(), payload: answer.body, function_error, log })
    }
}

fn request(prefix: &str, payload: &Payload) -> http::Result<Request<Full<Bytes>>> {
    match payload {
        Payload::Event(event) => Request::post(format!("{prefix}/invoke"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(event.to_string())),
        Payload::Http { method, path, headers, body } => {
            let mut request = Request::builder().method(method.as_str()).uri(format!("{prefix}{path}"));
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
