//! What a function answered to a Function-URL event, as an HTTP answer.

use axum::body::Bytes;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use axum::http::{Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The type of a streamed answer that begins with its status and headers.
pub(crate) const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";

/// What stands between such a beginning and the body.
const SEPARATOR: [u8; 8] = [0; 8];

/// The longest beginning that is looked for.
const PRELUDE_LIMIT: usize = 64 * 1024;

/// An answer that is none, and what is wrong with it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the function's answer is malformed: {0}")]
pub(crate) struct Malformed(String);

/// The HTTP answer in `payload`: an object with `statusCode` says all of it, any other JSON is the body itself.
pub(crate) fn answer(payload: Bytes) -> Result<Response<Bytes>, Malformed> {
    if payload.is_empty() {
        // A runtime that returns nothing sends nothing, or null.
        return Ok(json(StatusCode::OK, payload));
    }
    let value: Value =
        serde_json::from_slice(&payload).map_err(|error| Malformed(format!("it is not JSON: {error}")))?;
    let Value::Object(object) = value else { return Ok(json(StatusCode::OK, payload)) };
    if !object.contains_key("statusCode") {
        return Ok(json(StatusCode::OK, payload));
    }
    let body = body(&object)?;
    let mut response = Response::new(body);
    head(object, &mut response)?;
    Ok(response)
}

/// What a streamed answer begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Prelude {
    /// More of it has to come.
    More,
    /// It ends before this byte; the body begins at the second.
    Ends(usize, usize),
}

/// Looks for the end of the beginning of a streamed answer.
pub(crate) fn prelude(begun: &[u8]) -> Result<Prelude, Malformed> {
    match begun.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        Some(end) => Ok(Prelude::Ends(end, end + SEPARATOR.len())),
        None if begun.len() > PRELUDE_LIMIT => {
            Err(Malformed(format!("its status and headers do not end within {PRELUDE_LIMIT} bytes")))
        }
        None => Ok(Prelude::More),
    }
}

/// The status and the headers that a streamed answer begins with. Its body is empty here.
pub(crate) fn begun(prelude: &[u8]) -> Result<Response<()>, Malformed> {
    let object: Map<String, Value> = serde_json::from_slice(prelude)
        .map_err(|error| Malformed(format!("its beginning is not a JSON object: {error}")))?;
    let mut response = Response::new(());
    if object.contains_key("statusCode") || object.contains_key("headers") {
        head(object, &mut response)?;
    }
    Ok(response)
}

/// The answer where a function failed, in its caller's sight.
pub(crate) fn failed() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"Internal Server Error"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn json(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    status_code: Option<Value>,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
}

fn head<B>(object: Map<String, Value>, response: &mut Response<B>) -> Result<(), Malformed> {
    let head: Head = serde_json::from_value(Value::Object(object))
        .map_err(|error| Malformed(format!("headers is an object and cookies a list of texts: {error}")))?;
    if let Some(status) = &head.status_code {
        *response.status_mut() = self::status(status)?;
    }
    let headers = response.headers_mut();
    for (name, value) in head.headers.unwrap_or_default() {
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Null => continue,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return Err(Malformed(format!("the header {name:?} is not a text"))),
        };
        append(headers, &name, &text)?;
    }
    for cookie in head.cookies.unwrap_or_default() {
        append(headers, SET_COOKIE.as_str(), &cookie)?;
    }
    // What is sent is counted when it is sent.
    headers.remove(CONTENT_LENGTH);
    if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, JSON);
    }
    Ok(())
}

fn status(value: &Value) -> Result<StatusCode, Malformed> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    // What comes before the real answer is none.
    number
        .filter(|number| (200..600).contains(number))
        .and_then(|number| StatusCode::from_u16(u16::try_from(number).ok()?).ok())
        .ok_or_else(|| Malformed(format!("statusCode {value} is not a status")))
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Malformed> {
    let wrong = || Malformed(format!("{name:?} cannot be sent as a header"));
    let parsed: HeaderName = name.parse().map_err(|_| wrong())?;
    headers.append(parsed, HeaderValue::from_str(value).map_err(|_| wrong())?);
    Ok(())
}

fn body(object: &Map<String, Value>) -> Result<Bytes, Malformed> {
    let encoded = match object.get("isBase64Encoded") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(_) => return Err(Malformed("isBase64Encoded is neither true nor false".to_owned())),
    };
    match object.get("body") {
        None | Some(Value::Null) => Ok(Bytes::new()),
        Some(Value::String(text)) if encoded => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|error| Malformed(format!("its body is not Base64: {error}"))),
        Some(Value::String(text)) => Ok(Bytes::from(text.clone())),
        Some(_) => Err(Malformed("its body is not a text".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A status, headers and a body.
    type Told = (u16, Vec<(String, String)>, String);

    fn told(payload: &str) -> Result<Told, String> {
        let response = answer(Bytes::from(payload.to_owned())).map_err(|error| error.to_string())?;
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        Ok((response.status().as_u16(), headers, body))
    }

    fn header(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn any_json_is_a_body() {
        for payload in ["\"Hello from Lambda!\"", "{\"message\":\"hi\"}", "[1]", "null", "7"] {
            let expected = (200, vec![header("content-type", "application/json")], payload.to_owned());
            assert_eq!(told(payload), Ok(expected));
        }
    }

    #[test]
    fn an_answer_with_a_status_says_all_of_it() {
        let payload = r#"{"statusCode": 201, "headers": {"Content-Type": "text/plain", "My-Header": 7, "content-length": "99"},
            "body": "aGVsbG8=", "cookies": ["a=1; Expires=21 Oct 2021", "b=2"], "isBase64Encoded": true}"#;
        let (status, headers, body) = told(payload).unwrap();
        assert_eq!((status, body.as_str()), (201, "hello"));
        let expected = [
            header("content-type", "text/plain"),
            header("my-header", "7"),
            header("set-cookie", "a=1; Expires=21 Oct 2021"),
            header("set-cookie", "b=2"),
        ];
        assert_eq!(headers, expected);
        let bare = told(r#"{"statusCode": "204"}"#).unwrap();
        assert_eq!(bare, (204, vec![header("content-type", "application/json")], String::new()));
    }

    #[test]
    fn an_answer_that_is_none_says_why() {
        for (payload, why) in [
            ("Hello", "it is not JSON"),
            (r#"{"statusCode": 42}"#, "statusCode 42 is not a status"),
            (r#"{"statusCode": true}"#, "statusCode true"),
            (r#"{"statusCode": 200, "body": {}}"#, "its body is not a text"),
            (r#"{"statusCode": 200, "body": "?", "isBase64Encoded": true}"#, "its body is not Base64"),
            (r#"{"statusCode": 200, "headers": []}"#, "headers is an object"),
            (r#"{"statusCode": 200, "headers": {"a": []}}"#, "the header \"a\""),
            (r#"{"statusCode": 200, "headers": {"a b": "x"}}"#, "cannot be sent as a header"),
            (r#"{"statusCode": 200, "headers": {"a": "x\ny"}}"#, "cannot be sent as a header"),
            (r#"{"statusCode": 200, "cookies": "a"}"#, "cookies a list"),
        ] {
            let error = told(payload).unwrap_err();
            assert!(error.contains(why), "{payload}: {error}");
        }
    }

    #[test]
    fn a_streamed_answer_begins_with_its_head() {
        let bytes = b"{\"statusCode\":202,\"cookies\":[\"a=1\"]}\0\0\0\0\0\0\0\0body";
        assert_eq!(prelude(&bytes[..20]), Ok(Prelude::More));
        assert_eq!(prelude(&bytes[..40]), Ok(Prelude::More), "the separator is not whole yet");
        let Ok(Prelude::Ends(end, body)) = prelude(bytes) else { panic!("it is there") };
        assert_eq!(&bytes[body..], b"body");
        let response = begun(&bytes[..end]).unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert_eq!(response.headers()[SET_COOKIE], "a=1");
        assert_eq!(begun(b"{}").unwrap().status(), StatusCode::OK);
        assert!(begun(b"x").is_err());
        assert!(prelude(&vec![b'x'; PRELUDE_LIMIT + 1]).is_err());
    }
}
