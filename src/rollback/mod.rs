//! Back to what was live before: which version that is, and a plan of one step that the engine of
//! [`shift`](crate::shift) drives.

mod target;

use longshore_contract::{Alias, AliasRef, RunId, Share};
use std::time::Duration;

use crate::ledger::{Origin, Plan, Step};
use crate::shift::UNKNOWN_DIGEST;

pub use target::{NoTarget, Source, Target, target};

/// A plan of one write: from `live`, split or not, to `target` with all traffic. Its breadcrumb goes on behind the
/// target, so that rolling back again goes further back.
pub fn plan(run: RunId, alias: AliasRef, live: &Alias, target: &Target) -> Plan {
    Plan {
        run,
        alias,
        origin: Origin::From(live.clone()),
        to: target.version.clone(),
        digest: target.digest.clone().unwrap_or_else(|| UNKNOWN_DIGEST.to_owned()),
        prev: target.behind.clone(),
        steps: vec![Step { share: Share::ALL, soak: Duration::ZERO }],
        remarks: Vec::new(),
    }
}
