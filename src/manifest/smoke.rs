//! Requests that a new version must answer before it gets traffic.

use serde_json::Value;

use super::mistake::Drafts;
use super::schema::{ExpectTable, RequestTable, SmokeTable};
use super::shape::Field;
use super::source::Span;

/// One request and what must come back.
#[derive(Debug, Clone, PartialEq)]
pub struct Smoke {
    /// What is sent.
    pub request: SmokeRequest,
    /// What must come back.
    pub expect: SmokeExpectation,
}

/// What is sent to a new version.
#[derive(Debug, Clone, PartialEq)]
pub enum SmokeRequest {
    /// An event, through the cloud's invoke call.
    Payload(Value),
    /// A GET request.
    Http {
        /// The path with its query, beginning with `/`.
        path: String,
    },
}

/// What a request must be answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct SmokeExpectation {
    /// The status.
    pub status: u16,
    /// What the body must hold: every value here, where an object in the body may hold more keys. `None` where the body
    /// is not looked at.
    pub json: Option<Value>,
}

impl SmokeTable {
    /// The request that is asked for; `owner` is the item it stands in.
    pub(crate) fn resolve(self, owner: Span, drafts: &mut Drafts) -> Option<Smoke> {
        let request = match (self.payload, self.http) {
            (Field::Absent, Field::Absent) => {
                drafts
                    .add(owner, "this request says nothing to send")
                    .expected("`payload: …` for an event, or `http: { path: /health }`");
                return None;
            }
            (Field::Stated(payload), Field::Absent) => SmokeRequest::Payload(payload.value.0),
            (Field::Absent, Field::Stated(http)) => http.value.resolve()?,
            (Field::Broken, _) | (_, Field::Broken) => return None,
            (Field::Stated(_), Field::Stated(http)) => {
                drafts
                    .add(http.owner, "a request has either `payload` or `http`, not both")
                    .hint("make two requests of it");
                return None;
            }
        };
        let expect = match self.expect {
            Field::Absent => SmokeExpectation { status: 200, json: None },
            Field::Broken => return None,
            Field::Stated(expect) => expect.value.resolve()?,
        };
        Some(Smoke { request, expect })
    }
}

impl RequestTable {
    fn resolve(self) -> Option<SmokeRequest> {
        Some(SmokeRequest::Http { path: self.path.value()?.0 })
    }
}

impl ExpectTable {
    fn resolve(self) -> Option<SmokeExpectation> {
        let json = match self.json {
            Field::Absent => None,
            Field::Broken => return None,
            Field::Stated(json) => Some(json.value.0),
        };
        Some(SmokeExpectation { status: u16::try_from(self.status.value()?.0).ok()?, json })
    }
}
