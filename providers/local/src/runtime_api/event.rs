//! One event on its way to a process.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use rustix::rand::{GetRandomFlags, getrandom};

/// The most bytes of an event and of its answer: 6 MiB, and the hundred bytes that AWS's emulator adds.
pub(crate) const PAYLOAD_LIMIT: usize = 6 * 1024 * 1024 + 100;

/// The name of one invocation: a random UUID, as runtimes and their users expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// A new one.
    pub(crate) fn generate() -> Self {
        let mut bytes = random();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let text = hex::encode(bytes);
        let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
        Self(parts.join("-"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // So few bytes come whole, and a kernel without them has not come up.
    let _ = getrandom(&mut bytes, GetRandomFlags::empty());
    bytes
}

/// The header for a trace that nobody began: it is not sampled.
pub(crate) fn new_trace(now: Timestamp) -> String {
    let text = hex::encode(random());
    format!("Root=1-{:08x}-{};Sampled=0", now.as_second(), &text[..24])
}

/// An event, with what its process is told beside it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Which invocation it is.
    pub(crate) id: RequestId,
    /// The event itself, mostly JSON.
    pub(crate) payload: Bytes,
    /// When the process's time for it is over.
    pub(crate) deadline: Timestamp,
    /// The name of what was invoked, in the form of an ARN.
    pub(crate) arn: String,
    /// The trace it belongs to.
    pub(crate) trace: String,
    /// What the caller says of itself, in JSON.
    pub(crate) client_context: Option<String>,
}

impl Event {
    /// The headers under which the process gets it.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| {
            // What cannot be a header's value came from a header and cannot be here.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("lambda-runtime-aws-request-id", self.id.as_str());
        set("lambda-runtime-deadline-ms", &self.deadline.as_millisecond().to_string());
        set("lambda-runtime-invoked-function-arn", &self.arn);
        set("lambda-runtime-trace-id", &self.trace);
        if let Some(context) = &self.client_context {
            set("lambda-runtime-client-context", context);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_uuid_of_its_own() {
        let id = RequestId::generate();
        let shape: String = id.as_str().chars().map(|c| if c == '-' { '-' } else { 'x' }).collect();
        assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        assert_eq!(&id.as_str()[14..15], "4");
        assert!("89ab".contains(&id.as_str()[19..20]), "{id}");
        assert_ne!(id, RequestId::generate());
    }

    #[test]
    fn a_process_is_told_what_its_runtime_asks_for() {
        let event = Event {
            id: RequestId("7".to_owned()),
            payload: Bytes::from_static(b"{}"),
            deadline: Timestamp::from_millisecond(1_795_180_886_179).unwrap(),
            arn: "arn:aws:lambda:local:000000000000:function:shop:live".to_owned(),
            trace: "Root=1-0-0".to_owned(),
            client_context: Some("{\"a\":1}".to_owned()),
        };
        let headers = event.headers();
        assert_eq!(headers["lambda-runtime-aws-request-id"], "7");
        assert_eq!(headers["lambda-runtime-deadline-ms"], "1795180886179");
        assert_eq!(headers["lambda-runtime-invoked-function-arn"], event.arn.as_str());
        assert_eq!(headers["lambda-runtime-trace-id"], "Root=1-0-0");
        assert_eq!(headers["lambda-runtime-client-context"], "{\"a\":1}");
        assert!(!headers.contains_key("lambda-runtime-cognito-identity"), "nobody here has one");
    }
}
