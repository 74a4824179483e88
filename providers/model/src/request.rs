//! What can be asked of the service.

use longshore_contract::{AliasName, FunctionName, Intent, PublishDedup, Routing};

use crate::content::{Configuration, Image};

/// Makes a function. Its head is pending until it is settled.
#[derive(Debug, Clone)]
pub struct Create {
    /// The new function's name.
    pub function: FunctionName,
    /// What it runs.
    pub image: Image,
    /// Its settings.
    pub configuration: Configuration,
    /// Who asks, for those who look later for their own update.
    pub intent: Option<Intent>,
}

/// Changes a function's head. It is pending until it is settled.
#[derive(Debug, Clone)]
pub struct Update {
    /// The function.
    pub function: FunctionName,
    /// The new image; `None` leaves it as it is.
    pub image: Option<Image>,
    /// Changes to the settings, as [`Configuration::with`] takes them.
    pub changes: Configuration,
    /// Who asks. The intent that made the newest update, repeated with the same content, changes nothing, unless that
    /// update failed: then it is tried again.
    pub intent: Option<Intent>,
    /// The revision the head must have, where one is stated.
    pub revision: Option<u64>,
}

/// How an update, or a version's start, came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It serves.
    Ok,
    /// It does not, and why.
    Failed(String),
}

/// Makes a version of the head.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The function.
    pub function: FunctionName,
    /// The version's description.
    pub description: String,
    /// Who asks: the same intent, repeated, answers with the version it made, whatever the head is by then.
    pub intent: Option<Intent>,
    /// What publishing an unchanged head makes.
    pub dedup: PublishDedup,
    /// The revision the head must have, where one is stated.
    pub revision: Option<u64>,
}

/// Writes a whole alias.
#[derive(Debug, Clone)]
pub struct PutAlias {
    /// The function.
    pub function: FunctionName,
    /// The alias.
    pub alias: AliasName,
    /// Where it is to send its traffic.
    pub routing: Routing,
    /// Its description.
    pub description: String,
    /// What it must be like before.
    pub guard: Guard,
}

/// What an alias must be like for a write or a deletion to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// It does not exist.
    Absent,
    /// It exists, in whatever state: all that a cloud without guarded writes can be told.
    Present,
    /// It is in exactly this state.
    Revision(u64),
}
