//! A smoke request's answer against what was expected: pure.

use longshore_contract::{Invocation, Payload};
use serde_json::Value;

use crate::manifest::{Smoke, SmokeExpectation, SmokeRequest};

/// What is sent.
pub(super) fn payload(smoke: &Smoke) -> Payload {
    match &smoke.request {
        SmokeRequest::Payload(event) => Payload::Event(event.clone()),
        SmokeRequest::Http { path } => Payload::Http {
            method: "GET".to_owned(),
            path: path.clone(),
            headers: Vec::new(),
            body: bytes::Bytes::new(),
        },
    }
}

/// Whether `answer` is what was expected, or why not.
pub(super) fn assess(expect: &SmokeExpectation, answer: &Invocation) -> Result<(), String> {
    if let Some(error) = &answer.function_error {
        return Err(format!("the function failed: {error}{}", quoted(&answer.payload)));
    }
    if answer.status != expect.status {
        return Err(format!("status {} and not {}{}", answer.status, expect.status, quoted(&answer.payload)));
    }
    let Some(wanted) = &expect.json else { return Ok(()) };
    match serde_json::from_slice::<Value>(&answer.payload) {
        Ok(found) if holds(&found, wanted) => Ok(()),
        Ok(_) => Err(format!("the answer does not hold {wanted}{}", quoted(&answer.payload))),
        Err(error) => Err(format!("the answer is no JSON ({error}){}", quoted(&answer.payload))),
    }
}

/// Whether every value of `wanted` is in `found`; an object may hold more.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| found.get(key).is_some_and(|found| holds(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| holds(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

/// The beginning of a body, on one line.
fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    match text.split_whitespace().collect::<Vec<_>>().join(" ").as_str() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Invocation {
        Invocation { version: None, status, payload: body.into(), function_error: None, log: None }
    }

    fn expect(status: u16, json: Option<Value>) -> SmokeExpectation {
        SmokeExpectation { status, json }
    }

    #[test]
    fn an_object_may_hold_more_than_was_asked_for() {
        let wanted = serde_json::json!({ "ok": true, "list": [{ "a": 1 }] });
        let answered = answer(200, r#"{"ok":true,"list":[{"a":1,"b":2}],"more":null}"#);
        assert_eq!(assess(&expect(200, Some(wanted.clone())), &answered), Ok(()));
        let missing = assess(&expect(200, Some(wanted)), &answer(200, r#"{"ok":true,"list":[]}"#));
        assert!(missing.unwrap_err().starts_with("the answer does not hold"));
    }

    #[test]
    fn a_failure_quotes_the_answer() {
        let told = assess(&expect(200, None), &answer(503, "down\nfor tea")).unwrap_err();
        assert_eq!(told, "status 503 and not 200: down for tea");
        let told = assess(&expect(200, Some(Value::Null)), &answer(200, "<html>")).unwrap_err();
        assert!(told.contains("is no JSON"), "{told}");
        let failed = Invocation { function_error: Some("Unhandled".into()), ..answer(200, "") };
        assert_eq!(assess(&expect(200, None), &failed).unwrap_err(), "the function failed: Unhandled");
    }
}
