//! `invoke`: one request to a function.

use std::io::Read as _;

use longshore_contract::{Invocation, Payload, Qualifier};
use serde_json::Value;

use super::super::args::{InvokeArgs, OutputArgs};
use super::super::clouds::{Seat, Wake};
use super::super::session::{Mode, context, invalid, seats};
use super::super::{Answer, faults};
use crate::report::rows::InvocationFacts;
use crate::report::{Body, Outcome};

/// The largest event read from stdin: what the strictest cloud takes.
const LARGEST_EVENT: u64 = 6 << 20;

/// Sends one request and shows the answer.
pub(super) async fn invoke(args: &InvokeArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Reading, None)?;
    let payload = payload(args)?;
    let seats = seats(&context, &args.subject, Wake::Existing).await?;
    let [seat] = <[Seat; 1]>::try_from(seats).map_err(|seats| {
        let names: Vec<String> = seats.iter().map(|seat| seat.who.name.to_string()).collect();
        invalid(format!("invoke asks one function: name one of {}", names.join(", ")))
    })?;
    let subject = seat.subject.map_err(|failure| Answer::of_failure(&failure))?;
    let at = match &args.version {
        Some(version) => Qualifier::Version(version.clone()),
        None => Qualifier::Alias(subject.at.alias.clone()),
    };
    let answer = subject.provider.functions().invoke(&subject.at.function, &at, &payload).await;
    let answer = answer.map_err(Answer::of_cloud)?;
    Ok(told(&format!("{}:{at}", subject.at.function), answer))
}

fn payload(args: &InvokeArgs) -> Result<Payload, Answer> {
    if let Some(path) = &args.path {
        if !path.starts_with('/') {
            return Err(invalid(format!("--path {path:?} must begin with /")));
        }
        let method = args.method.clone().unwrap_or_else(|| "GET".to_owned());
        if http::Method::from_bytes(method.as_bytes()).is_err() {
            return Err(invalid(format!("--method {method:?} is no HTTP method")));
        }
        return Ok(Payload::Http {
            method,
            path: path.clone(),
            headers: Vec::new(),
            body: bytes::Bytes::new(),
        });
    }
    let text = match args.payload.as_deref() {
        None => "{}".to_owned(),
        Some("-") => {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(LARGEST_EVENT + 1).read_to_string(&mut text);
            read.map_err(|error| invalid(format!("the event on stdin: {error}")))?;
            if text.len() as u64 > LARGEST_EVENT {
                return Err(invalid("the event on stdin is larger than 6 MiB"));
            }
            text
        }
        Some(text) => text.to_owned(),
    };
    let event =
        serde_json::from_str(&text).map_err(|error| invalid(format!("the event is no JSON: {error}")))?;
    Ok(Payload::Event(event))
}

fn told(what: &str, answer: Invocation) -> Answer {
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    let facts = InvocationFacts {
        version: answer.version.map(|version| version.to_string()),
        status: answer.status,
        payload: serde_json::from_slice(&answer.payload).unwrap_or(Value::String(text)),
        function_error: answer.function_error.clone(),
        log: answer.log,
    };
    let failed = match &answer.function_error {
        Some(error) => Some(format!("{what} failed: {error}: {}", first_line(&facts.payload))),
        None if answer.status >= 400 => Some(format!("{what} answered {}", answer.status)),
        None => None,
    };
    let (outcome, errors) = match failed {
        Some(message) => (Outcome::Failed, vec![faults::fault("function_error", message, None)]),
        None => (Outcome::Done, Vec::new()),
    };
    Answer::told(outcome, errors, Body::Invocation(facts))
}

/// The beginning of an answer, on one line.
fn first_line(payload: &Value) -> String {
    let text = payload["message"].as_str().map_or_else(|| payload.to_string(), str::to_owned);
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}
