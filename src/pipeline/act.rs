//! Deciding about an open run from another terminal or another machine: everything now, or back.

use longshore_contract::{Alias, Routing, RunId, Version};

use super::resume::go_on;
use super::rollback::{Past, begin};
use super::{Arrival, Context, Failure, Landing, Subject};
use crate::ledger::{Ending, History, Verb};
use crate::rollback::{Source, Target};
use crate::shift::Order;

/// What is decided about an open run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// All traffic to the new version now.
    Promote,
    /// Back to what was live before.
    Abort,
}

/// Takes the open run of `subject` and ends it as `act` says. Where the ledger knows no open run and the alias is split by
/// a run that its description names, the alias alone decides, as on a machine that never saw the run's ledger.
pub async fn act(
    subject: &Subject,
    act: Act,
    only: Option<RunId>,
    context: &Context,
    landing: &mut Landing,
) -> Result<Arrival, Failure> {
    let order = match act {
        Act::Promote => Order::Promote,
        Act::Abort => Order::Abort,
    };
    context.may_begin()?;
    let entries = subject.entries().await?;
    let history = History::of(&entries);
    if let Some(open) = history.open() {
        let arrival = go_on(subject, None, &entries, order, only, context, landing).await?;
        if act == Act::Abort && arrival == Arrival::Ended(Ending::Arrived) && open.verb != Verb::Abort {
            return Err(Failure::Unfit { run: open.run, why: "it had arrived already".to_owned() });
        }
        return Ok(arrival);
    }
    let nothing_open = || Failure::NothingOpen { alias: subject.at.to_string() };
    let live = subject.provider.functions().alias(&subject.at).await?.ok_or_else(nothing_open)?;
    let (Routing::Split { stable, canary, .. }, Some(crumb)) = (&live.routing, &live.note.breadcrumb) else {
        return Err(nothing_open());
    };
    if let Some(wanted) = only.filter(|wanted| *wanted != crumb.run) {
        return Err(Failure::AnotherRun { alias: subject.at.to_string(), wanted, open: crumb.run });
    }
    let (verb, target) = match act {
        Act::Promote => (Verb::Promote, aim(&live, canary, Some(crumb.digest.clone()), 0)),
        Act::Abort => (Verb::Abort, aim(&live, stable, None, 1)),
    };
    begin(subject, verb, &Past { entries, live }, target, context, landing).await
}

/// A target taken from a split alias itself; `skip` of what its description calls previous lies on top of it.
fn aim(live: &Alias, version: &Version, digest: Option<String>, skip: usize) -> Target {
    let prev = live.note.breadcrumb.iter().flat_map(|crumb| crumb.prev.iter().skip(skip));
    Target {
        version: version.clone(),
        digest,
        undoes: None,
        behind: prev.cloned().collect(),
        source: Source::Split,
    }
}
