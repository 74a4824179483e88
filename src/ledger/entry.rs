//! Entries: what is stored, and their format.

use std::fmt;

use jiff::Timestamp;
use longshore_contract::{Alias, Digest, Expect, Intent, Published, Reference, Routing, RunId, ScanTicket};
use serde::{Deserialize, Serialize};

use super::record::{Because, Ending, Plan, Step};
use super::{Audit, LedgerError, ScanRecord};

/// The format that is written, and the newest that is read. Fields may be added to it; a new event, or a field that
/// changes what an old one means, is a new format.
pub const FORMAT: u32 = 1;

/// The most bytes an entry has: a reader takes no more.
pub(super) const MOST_BYTES: usize = 1 << 20;

/// One immutable entry of an alias's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The format it is written in.
    pub format: u32,
    /// Its number on this alias, counted from 1.
    pub seq: u64,
    /// The run it belongs to.
    pub run: RunId,
    /// Tells this entry from any other that was meant for the same number, by the same run too.
    pub nonce: Nonce,
    /// When it was written, by the writer's clock.
    pub at: Timestamp,
    /// What happened or is about to.
    #[serde(flatten)]
    pub event: Event,
}

impl Entry {
    /// The bytes to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("an entry holds nothing that JSON cannot");
        bytes.push(b'\n');
        bytes
    }

    /// Understands what is stored at `at` as entry number `seq`. Fails with [`LedgerError::Newer`] or
    /// [`LedgerError::Torn`].
    pub fn from_bytes(bytes: &[u8], seq: u64, at: &dyn fmt::Display) -> Result<Self, LedgerError> {
        #[derive(Deserialize)]
        struct Probe {
            format: u32,
        }
        let torn = |why: String| LedgerError::Torn { at: at.to_string(), why };
        if bytes.len() > MOST_BYTES {
            return Err(torn(format!("it is larger than an entry can be ({MOST_BYTES} bytes)")));
        }
        let probe: Probe = serde_json::from_slice(bytes).map_err(|error| torn(error.to_string()))?;
        if probe.format > FORMAT {
            return Err(LedgerError::Newer { at: at.to_string(), format: probe.format });
        }
        let entry: Self = serde_json::from_slice(bytes).map_err(|error| torn(error.to_string()))?;
        if entry.seq != seq {
            return Err(torn(format!("it says that it is entry {}", entry.seq)));
        }
        Ok(entry)
    }
}

/// A text that nobody else has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(String);

impl Nonce {
    /// A fresh one.
    pub fn generate() -> Self {
        Self(ulid::Ulid::generate().to_string())
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happened, or is about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began. Always its first entry.
    Opened(Box<Opened>),
    /// Somebody took up a run that was left open; from here on the one who drove it before is refused.
    Resumed {
        /// Who.
        #[serde(flatten)]
        audit: Audit,
    },
    /// The image is readable at its destination.
    Pushed {
        /// Where, with its digest.
        reference: Reference,
        /// What its scan is known by, where one was started: whoever resumes the run looks at the same scan. A run has a
        /// second such entry where the scan was started later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scan: Option<ScanTicket>,
    },
    /// The scan stage let the image pass.
    Cleared {
        /// Its verdict; `None` where the manifest asks for no scan.
        verdict: Option<ScanWord>,
        /// What was found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scan: Option<Box<ScanRecord>>,
    },
    /// A version is about to be published under this intent.
    Publishing {
        /// Names the order: repeated, it answers with the same version.
        intent: Intent,
    },
    /// The version can serve.
    Published {
        /// The version and the digest it captured.
        #[serde(flatten)]
        published: Published,
    },
    /// What will be done to the alias was decided.
    Planned {
        /// The plan.
        plan: Box<Plan>,
    },
    /// A write to the alias is about to be sent.
    Intended {
        /// Names the write.
        intent: Intent,
        /// Where the alias is to send its traffic.
        routing: Routing,
        /// What the alias must be like before.
        expect: Expect,
    },
    /// The write happened.
    Settled {
        /// The alias after it.
        alias: Alias,
    },
    /// The write did not happen, and never will as it is.
    Refused {
        /// The service's reason.
        why: String,
    },
    /// The alias was read, because it was in doubt or not as it was left.
    Looked {
        /// The alias; `None` where it does not exist.
        alias: Option<Alias>,
    },
    /// Somebody asked for all traffic now.
    Hastened {
        /// Who.
        by: String,
    },
    /// Somebody gave the run up.
    Abandoned {
        /// Who.
        by: String,
    },
    /// The driver stopped with traffic as it is. The run stays open: it can be resumed, hastened or abandoned.
    Held {
        /// Why.
        because: Because,
    },
    /// The run is over. Always its last entry.
    Ended {
        /// How it came out.
        ending: Ending,
    },
}

impl Event {
    /// The event's word, as it is stored.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Opened(_) => "opened",
            Self::Resumed { .. } => "resumed",
            Self::Pushed { .. } => "pushed",
            Self::Cleared { .. } => "cleared",
            Self::Publishing { .. } => "publishing",
            Self::Published { .. } => "published",
            Self::Planned { .. } => "planned",
            Self::Intended { .. } => "intended",
            Self::Settled { .. } => "settled",
            Self::Refused { .. } => "refused",
            Self::Looked { .. } => "looked",
            Self::Hastened { .. } => "hastened",
            Self::Abandoned { .. } => "abandoned",
            Self::Held { .. } => "held",
            Self::Ended { .. } => "ended",
        }
    }

    /// Who did it, where the event says so.
    pub fn who(&self) -> Option<&str> {
        match self {
            Self::Opened(opened) => Some(&opened.audit.by),
            Self::Resumed { audit } => Some(&audit.by),
            Self::Hastened { by } | Self::Abandoned { by } => Some(by),
            _ => None,
        }
    }
}

/// The first entry of a run: who, from where, and what is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// What was asked for.
    pub verb: Verb,
    /// Who asked, and from where.
    #[serde(flatten)]
    pub audit: Audit,
    /// Where the alias sent its traffic; `None` where it did not exist or was not asked.
    pub from: Option<Routing>,
    /// The image that is meant, where it is known.
    pub image: Option<Meant>,
    /// The shares on the way that the manifest states for a deploy, without the last one: whoever resumes it goes this way,
    /// whatever the manifest says by then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What will be done to the alias, where the version exists already and so everything is decided: then no other
    /// entry holds a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<Plan>>,
    /// The configuration that is meant, without its values.
    pub config: Option<ConfigFacts>,
    /// The run whose effect this one takes back.
    pub undoes: Option<RunId>,
    /// The Longshore that wrote it.
    pub tool: String,
}

/// What a run was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Bring a new image.
    Deploy,
    /// Go back to a version that was live.
    Rollback,
    /// Finish a split whose run is not in this ledger.
    Promote,
    /// Take back a split whose run is not in this ledger.
    Abort,
}

impl Verb {
    /// The word for it, as it is stored.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Promote => "promote",
            Self::Abort => "abort",
        }
    }
}

/// The image a run means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meant {
    /// Where it came from, as it was written in the manifest; `None` for a version that was live before.
    pub source: Option<String>,
    /// What it is.
    pub digest: Digest,
}

/// A configuration without its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFacts {
    /// The settings that were stated, environment variables by their names.
    pub keys: Vec<String>,
    /// A digest of keys and values: equal where the configuration is.
    pub hash: String,
}

/// The scan stage's word for an image that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanWord {
    /// The findings are within the policy.
    Cleared,
    /// Findings beyond the policy were each ignored by name, or somebody waived the policy for this run.
    Waived,
    /// There is no scan, and the policy lets that pass.
    Absent,
}
