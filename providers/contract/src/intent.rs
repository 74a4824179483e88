//! The names of runs and of the writes they mean to make.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::InvalidName;

/// One run of a verb: a ULID, so that runs sort by the time they began. On every alias it works on, its entries carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(ulid::Ulid);

impl RunId {
    /// A run's name that nobody else has.
    pub fn generate() -> Self {
        Self(ulid::Ulid::generate())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        ulid::Ulid::from_string(text)
            .map(Self)
            .map_err(|_| InvalidName::new(text, "a run (26 characters, as in 01J8Z0B4Q5W6X7Y8Z9A0B1C2D3)"))
    }
}

impl TryFrom<String> for RunId {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> String {
        run.to_string()
    }
}

/// Names one intended write: the same intent, repeated, is the same write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intent {
    /// The run that means to write.
    pub run: RunId,
    /// Which of the run's writes; counted from 0.
    pub step: u32,
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.step)
    }
}

impl FromStr for Intent {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let parse = || {
            let (run, step) = text.split_once('/')?;
            Some(Self { run: run.parse().ok()?, step: step.parse().ok()? })
        };
        parse().ok_or_else(|| InvalidName::new(text, "an intent (RUN/STEP)"))
    }
}
