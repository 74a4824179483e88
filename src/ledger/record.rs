//! The parts of an entry that the engine makes: plans and endings.

use std::fmt;
use std::time::Duration;

use longshore_contract::{Alias, AliasRef, Routing, RunId, Share, Version};
use serde::{Deserialize, Serialize};

use super::ScanRecord;

/// Everything a run has decided about an alias before it moves traffic. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The run.
    pub run: RunId,
    /// The alias it moves.
    pub alias: AliasRef,
    /// What the alias was like when the plan was made.
    pub origin: Origin,
    /// The version that is to have all traffic.
    pub to: Version,
    /// The first 12 hexadecimal digits of the digest that `to` runs, for the breadcrumb.
    pub digest: String,
    /// What lies behind `to`, newest first, for the breadcrumb.
    pub prev: Vec<Version>,
    /// The shares on the way, strictly growing. The last is everything.
    pub steps: Vec<Step>,
    /// What a reader of the plan should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Remark>,
}

impl Plan {
    /// The version that was live when the plan was made; of a split, its stable side.
    pub fn from(&self) -> Option<&Version> {
        match &self.origin {
            Origin::First => None,
            Origin::From(alias) => Some(alias.routing.stable()),
        }
    }

    /// Where the alias sends its traffic after step `step`; after the last one where there is no such step.
    pub(crate) fn routing(&self, step: usize) -> Routing {
        let share = self.steps.get(step).map_or(Share::ALL, |step| step.share);
        match self.from() {
            Some(from) => Routing::split(from.clone(), self.to.clone(), share),
            None => Routing::All(self.to.clone()),
        }
    }

    /// The number of the last step.
    pub(crate) fn last(&self) -> usize {
        self.steps.len().saturating_sub(1)
    }
}

/// What an alias was like when a plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It did not exist: there is no way back.
    First,
    /// It was like this. The way back is its routing.
    From(Alias),
}

/// One share of traffic, and how long it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The new version's share.
    pub share: Share,
    /// How long the share stays before the next step; nothing on the last one.
    #[serde(rename = "soak_ms", with = "milliseconds")]
    pub soak: Duration,
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(soak: &Duration, out: S) -> Result<S::Ok, S::Error> {
        u64::try_from(soak.as_millis()).unwrap_or(u64::MAX).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// What a reader of a plan should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// Steps were asked for, and nothing is live that could share the traffic.
    FirstIsAtOnce,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstIsAtOnce => f.write_str(
                "the alias does not exist yet, so its first version gets all traffic at once: there is nothing to share it with",
            ),
        }
    }
}

/// How a run came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The new version has all traffic.
    Arrived,
    /// What was asked for was live already; nothing was moved.
    Unchanged,
    /// The alias is as it was before the run.
    Returned {
        /// Why it went back.
        because: Because,
    },
    /// Traffic was left as it is, and somebody must look.
    Held {
        /// Why nothing more was done.
        because: Because,
    },
    /// The run was refused before it moved traffic.
    Refused {
        /// Who said no, and why, in one line.
        why: String,
        /// What a scan found, where its policy said no.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scan: Option<Box<ScanRecord>>,
    },
    /// The run broke off before it moved traffic.
    Failed {
        /// What happened, in one line.
        why: String,
    },
}

/// Why a run did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// Somebody gave it up.
    Abandoned {
        /// Who.
        by: String,
    },
    /// The alias is not as this run left it: somebody else moved it.
    Drift {
        /// Where it sends its traffic now; `None` where the alias is gone.
        found: Option<Routing>,
    },
    /// The service refused a write that would never be accepted as it is.
    Refused {
        /// The service's reason.
        why: String,
    },
    /// The service gave no usable answer for too long.
    Unanswered {
        /// The last thing that was heard.
        why: String,
    },
    /// The process was told to stop.
    Interrupted,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abandoned { by } => write!(f, "{by} gave it up"),
            Self::Drift { found: Some(routing) } => {
                write!(f, "somebody else moved the alias: it now sends {routing}")
            }
            Self::Drift { found: None } => f.write_str("somebody else deleted the alias"),
            Self::Refused { why } => write!(f, "the service refused the next write: {why}"),
            Self::Unanswered { why } => write!(f, "the service did not answer: {why}"),
            Self::Interrupted => f.write_str("it was interrupted"),
        }
    }
}
