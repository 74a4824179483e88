//! A function, its versions and its aliases, as they are kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use longshore_contract::{AliasName, Intent, Routing, State};
use serde::{Deserialize, Serialize};

use crate::content::Content;

/// A function with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// What updates change and publishing copies.
    pub head: Head,
    /// Published versions by number. Their contents never change.
    pub versions: BTreeMap<u64, VersionRecord>,
    /// Aliases by name.
    pub aliases: BTreeMap<AliasName, AliasRecord>,
    /// The number the next version gets: above every number ever given out.
    pub next_version: u64,
}

impl Function {
    /// The number under which the head is known: the version it was published as, or the one it would become.
    pub fn head_number(&self) -> u64 {
        self.head.published_as.unwrap_or(self.next_version)
    }

    /// Whether an alias sends traffic to version `number`.
    pub fn is_routed(&self, number: u64) -> bool {
        self.aliases.values().any(|alias| alias.names(number))
    }
}

/// The mutable head of a function, with its newest update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What the newest update asked for.
    pub content: Content,
    /// How that update stands.
    pub state: State,
    /// What the head was before, while the newest update has not come to a good end: what the next update begins from.
    pub fallback: Option<Content>,
    /// Who asked for the newest update, where they said so.
    pub intent: Option<Intent>,
    /// When the newest update was accepted.
    pub updated: Timestamp,
    /// Which state of the head this is.
    pub revision: u64,
    /// The version that captured this head, until the head changes.
    pub published_as: Option<u64>,
}

impl Head {
    /// The newest content that is known to be good; `None` while a function's first update has not come to a good end.
    pub fn settled(&self) -> Option<&Content> {
        if self.state == State::Active { Some(&self.content) } else { self.fallback.as_ref() }
    }
}

/// A published version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// What it captured.
    pub content: Content,
    /// Whether it can serve.
    pub state: State,
    /// Its description.
    pub description: String,
    /// The intent that made it, where one was stated.
    pub intent: Option<Intent>,
    /// When it was published.
    pub published: Timestamp,
    /// Which state of the version this is.
    pub revision: u64,
}

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// Where it sends its traffic.
    pub routing: Routing,
    /// Its description.
    pub description: String,
    /// When it was written last.
    pub written: Timestamp,
    /// Which state of the alias this is.
    pub revision: u64,
}

impl AliasRecord {
    /// Whether it sends traffic to version `number`.
    pub fn names(&self, number: u64) -> bool {
        [Some(self.routing.stable()), self.routing.canary()]
            .into_iter()
            .flatten()
            .any(|version| version.as_str().parse() == Ok(number))
    }
}
