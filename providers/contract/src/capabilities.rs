//! How clouds differ, as enums that say what each difference means for the caller.

use crate::names::Platform;
use crate::routing::Share;

/// What a provider can do, known without I/O.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// What happens when two writers move one alias at the same moment.
    pub alias_writes: AliasWrites,
    /// Whether and how finely an alias splits traffic.
    pub split: Split,
    /// What publishing the same thing twice makes.
    pub publish: PublishDedup,
    /// What the functions' hosts run; the first is taken where a manifest states no platform.
    pub platforms: Vec<Platform>,
    /// How many bytes an alias's description holds.
    pub description_limit: usize,
}

/// What happens when two writers move one alias at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasWrites {
    /// The service refuses a stale revision.
    Atomic,
    /// We compare just before writing and read back after it; a race is narrowed, not closed.
    Checked,
}

/// Whether an alias can send traffic to two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// All traffic goes to one version; a plan with shares is refused.
    None,
    /// Two versions, the canary's share a multiple of `granularity`.
    TwoWay {
        /// The smallest step of a share.
        granularity: Share,
    },
}

/// What publishing the same thing twice makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishDedup {
    /// Publishing unchanged code and configuration answers with the version that exists.
    ByContent,
    /// Every publish makes a version; whoever repeats one must look for its own first.
    ByIntent,
}
