//! What came of a command, told twice: as one JSON document and as text for people. Both are made from one [`Report`].

pub mod cache;
pub mod human;
pub mod outcome;
pub mod pictures;
pub mod rows;

use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

pub use outcome::Outcome;
pub use rows::{CallCounts, FunctionRow, HistoryRow, ImageFacts, PushRow, RoutingFacts};

/// Something that went wrong, for people and programs alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// A stable word for the sort of fault.
    pub kind: String,
    /// What went wrong: the thing, the cause. No secret is ever in it.
    pub message: String,
    /// What to do next, where we know.
    pub hint: Option<String>,
    /// Where in a file, where it has a place.
    pub at: Option<At>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct At {
    /// The file as it was named.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

/// What a command brings beside its outcome.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Rows of functions, as `deploy`, `rollback`, `resume`, `promote`, `abort`, `plan` and `status` have them.
    Functions {
        /// The run that wrote, or that is open; none where there is neither.
        run: Option<String>,
        /// A row per function and target.
        functions: Vec<FunctionRow>,
    },
    /// Rows of pushed images.
    Images {
        /// A row per destination.
        images: Vec<PushRow>,
        /// Requests that reading the source took: one reading serves every row.
        source_calls: CallCounts,
    },
    /// Rows of judged images.
    Scans {
        /// A row per image.
        images: Vec<rows::ScanRow>,
    },
    /// Past runs, newest first.
    History {
        /// A row per run and alias.
        runs: Vec<HistoryRow>,
    },
    /// A function's answer.
    Invocation(rows::InvocationFacts),
    /// What the embedded cloud is doing.
    Embedded(rows::EmbeddedFacts),
    /// What a preflight found.
    Findings {
        /// A row per function and target.
        checks: Vec<rows::CheckRow>,
    },
    /// A log.
    Log {
        /// Its lines, the oldest first; none where they were told as they came.
        lines: Vec<String>,
    },
    /// What is in an image.
    Picture {
        /// It.
        image: pictures::Picture,
    },
    /// An image in the shape that was asked for.
    Shape(pictures::ShapeFacts),
    /// What the cache holds.
    Cache {
        /// It.
        cache: cache::CacheFacts,
    },
    /// A file that was written.
    Written {
        /// Its path.
        file: String,
    },
}

/// What came of a command.
#[derive(Debug, Clone)]
pub struct Report {
    /// The verb, as it was typed.
    pub command: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub elapsed: Duration,
    /// What went wrong; the first is the document's `error`.
    pub errors: Vec<Fault>,
    /// What it brings beside its outcome.
    pub body: Body,
}

impl Report {
    /// The document on one line.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| unwritable(&error))
    }

    /// The document over several lines, for people who read JSON.
    pub fn to_pretty(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|error| unwritable(&error))
    }
}

/// Every value in a report is text, a number or a list of them: this cannot happen, and if it does it is still JSON.
fn unwritable(error: &serde_json::Error) -> String {
    serde_json::json!({ "schema": 1, "outcome": "failed", "exit_code": 1, "error": { "kind": "internal", "message": error.to_string() } })
        .to_string()
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", &1)?;
        map.serialize_entry("command", self.command)?;
        map.serialize_entry("outcome", self.outcome.word())?;
        map.serialize_entry("exit_code", &self.outcome.exit_code())?;
        map.serialize_entry("elapsed_ms", &u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX))?;
        map.serialize_entry("error", &self.errors.first())?;
        map.serialize_entry("errors", &self.errors)?;
        if let serde_json::Value::Object(body) =
            serde_json::to_value(&self.body).map_err(serde::ser::Error::custom)?
        {
            for (key, value) in body {
                map.serialize_entry(&key, &value)?;
            }
        }
        map.end()
    }
}
