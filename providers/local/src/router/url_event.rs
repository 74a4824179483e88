//! An HTTP request as the event that a Function URL makes of it (payload format 2.0).

use std::net::IpAddr;

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST, HeaderMap, USER_AGENT};
use axum::http::{Method, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A request whose body is there.
pub(crate) struct Asking<'a> {
    pub(crate) function: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) from: IpAddr,
    pub(crate) method: &'a Method,
    pub(crate) version: Version,
    /// The function's own path, as it was sent.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// The event. What cannot be text in JSON is in Base64, and says so.
pub(crate) fn event(asking: &Asking<'_>) -> Value {
    let query = asking.query.unwrap_or_default();
    let host = text(asking.headers, HOST.as_str());
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": asking.path,
        "rawQueryString": query,
    });
    let cookies = cookies(asking.headers);
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    event["headers"] = Value::Object(headers(asking.headers));
    let parameters = parameters(query);
    if !parameters.is_empty() {
        event["queryStringParameters"] = Value::Object(parameters);
    }
    event["requestContext"] = json!({
        "accountId": "anonymous",
        "apiId": asking.function,
        "domainName": host,
        "domainPrefix": asking.function,
        "http": {
            "method": asking.method.as_str(),
            "path": asking.path,
            "protocol": protocol(asking.version),
            "sourceIp": asking.from.to_string(),
            "userAgent": text(asking.headers, USER_AGENT.as_str()),
        },
        "requestId": asking.request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": asking.at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
        "timeEpoch": asking.at.as_millisecond(),
    });
    let readable = if is_text(asking.headers) { std::str::from_utf8(asking.body).ok() } else { None };
    let (body, encoded) = match readable {
        Some(text) => (text.to_owned(), false),
        None => (STANDARD.encode(asking.body), true),
    };
    if !asking.body.is_empty() {
        event["body"] = body.into();
    }
    event["isBase64Encoded"] = (encoded && !asking.body.is_empty()).into();
    event
}

/// Whether a body of this type goes into the event as it is.
fn is_text(headers: &HeaderMap) -> bool {
    let encoded = headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    let stated = text(headers, CONTENT_TYPE.as_str()).to_ascii_lowercase();
    let kind = stated.split(';').next().unwrap_or_default().trim();
    let known = ["application/json", "application/javascript", "application/xml"];
    !encoded
        && (kind.starts_with("text/")
            || known.contains(&kind)
            || kind.ends_with("+json")
            || kind.ends_with("+xml"))
}

/// The headers by their names in lower case; several values of one are joined. Cookies are not among them.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let names = headers.keys().filter(|name| *name != COOKIE);
    names.map(|name| (name.as_str().to_owned(), text(headers, name.as_str()).into())).collect()
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let values = headers.get_all(name).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(",")
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(COOKIE).iter();
    lines
        .flat_map(|line| {
            let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
            line.split(';').map(|cookie| cookie.trim().to_owned()).collect::<Vec<_>>()
        })
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

/// The parameters, decoded; several values of one are joined.
fn parameters(query: &str) -> Map<String, Value> {
    let mut parameters = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match parameters.get_mut(&*name) {
            Some(Value::String(before)) => {
                before.push(',');
                before.push_str(&value);
            }
            _ => {
                parameters.insert(name.into_owned(), value.into_owned().into());
            }
        }
    }
    parameters
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn made(headers: &[(&'static str, &str)], query: Option<&str>, body: &[u8]) -> Value {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        event(&Asking {
            function: "shop",
            request_id: "id",
            at: Timestamp::from_millisecond(1_583_348_638_390).unwrap(),
            from: "192.0.2.3".parse().unwrap(),
            method: &Method::POST,
            version: Version::HTTP_11,
            path: "/my/path",
            query,
            headers: &headers,
            body,
        })
    }

    #[test]
    fn a_request_becomes_the_documented_event() {
        let headers = [
            ("host", "127.0.0.1:8080"),
            ("cookie", "cookie1=a; cookie2=b"),
            ("header1", "value1"),
            ("header1", "value2"),
            ("user-agent", "agent"),
            ("content-type", "text/plain"),
        ];
        let event =
            made(&headers, Some("parameter1=value1&parameter1=value2&parameter2=a%20b+c&x"), b"Hello");
        assert_eq!(
            event,
            json!({
                "version": "2.0",
                "routeKey": "$default",
                "rawPath": "/my/path",
                "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=a%20b+c&x",
                "cookies": ["cookie1=a", "cookie2=b"],
                "headers": {
                    "host": "127.0.0.1:8080",
                    "header1": "value1,value2",
                    "user-agent": "agent",
                    "content-type": "text/plain",
                },
                "queryStringParameters": { "parameter1": "value1,value2", "parameter2": "a b c", "x": "" },
                "requestContext": {
                    "accountId": "anonymous",
                    "apiId": "shop",
                    "domainName": "127.0.0.1:8080",
                    "domainPrefix": "shop",
                    "http": {
                        "method": "POST",
                        "path": "/my/path",
                        "protocol": "HTTP/1.1",
                        "sourceIp": "192.0.2.3",
                        "userAgent": "agent",
                    },
                    "requestId": "id",
                    "routeKey": "$default",
                    "stage": "$default",
                    "time": "04/Mar/2020:19:03:58 +0000",
                    "timeEpoch": 1_583_348_638_390_i64,
                },
                "body": "Hello",
                "isBase64Encoded": false,
            })
        );
    }

    #[test]
    fn a_body_is_text_where_its_type_says_so_and_base64_elsewhere() {
        for (headers, body, text) in [
            (&[("content-type", "application/json; charset=utf-8")][..], &b"{}"[..], true),
            (&[("content-type", "Text/HTML")], b"<p>", true),
            (&[("content-type", "application/problem+json")], b"{}", true),
            (&[("content-type", "application/x-www-form-urlencoded")], b"a=b", false),
            (&[("content-type", "application/octet-stream")], b"abc", false),
            (&[], b"abc", false),
            (&[("content-type", "text/plain")], b"\xff", false),
            (&[("content-type", "text/plain"), ("content-encoding", "gzip")], b"abc", false),
        ] {
            let event = made(headers, None, body);
            let expected =
                if text { String::from_utf8(body.to_vec()).unwrap() } else { STANDARD.encode(body) };
            assert_eq!((&event["body"], &event["isBase64Encoded"]), (&expected.into(), &(!text).into()));
        }
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let event = made(&[], None, b"");
        assert_eq!(event["rawQueryString"], "");
        assert_eq!(event["isBase64Encoded"], false);
        for absent in ["cookies", "queryStringParameters", "body"] {
            assert!(event.get(absent).is_none(), "{absent}");
        }
    }
}
