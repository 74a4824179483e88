//! Going on with a run where it stopped.

use std::sync::Arc;

use longshore_contract::RunId;

use super::deploy::Wish;
use super::stages::{self, Stage};
use super::{Arrival, Context, Failure, Landed, Landing, Subject};
use crate::ledger::{Entry, History, Recalled};
use crate::shift::{NotTaken, Order, Taken, take_over};

/// Takes the open run of `subject` and goes on with it from the stage in which it stopped. The stages before the plan
/// need `wish`, and refuse one that is not what the run began with.
pub async fn resume(
    subject: &Subject,
    wish: Option<&Wish>,
    only: Option<RunId>,
    context: &Context,
    landing: &mut Landing,
) -> Result<Arrival, Failure> {
    context.may_begin()?;
    let entries = subject.entries().await?;
    go_on(subject, wish, &entries, Order::Resume, only, context, landing).await
}

/// Takes the open run of `subject`, gives it `order`, and drives it to where nothing is left to do. `entries` are its ledger
/// as it was just read.
pub(super) async fn go_on(
    subject: &Subject,
    wish: Option<&Wish>,
    entries: &[Entry],
    order: Order,
    only: Option<RunId>,
    context: &Context,
    landing: &mut Landing,
) -> Result<Arrival, Failure> {
    let history = History::of(entries);
    let alias = subject.at.to_string();
    let open = history.open().ok_or_else(|| Failure::NothingOpen { alias: alias.clone() })?;
    if let Some(wanted) = only.filter(|wanted| *wanted != open.run) {
        return Err(Failure::AnotherRun { alias, wanted, open: open.run });
    }
    landing.run = Some(open.run);
    landing.from.clone_from(&open.from);
    landing.to.clone_from(&open.to);
    if order == Order::Resume
        && let Some(recalled) = Recalled::of(open.run, entries).filter(|recalled| recalled.plan.is_none())
    {
        // What is not so is found out before the run is taken from whoever has it.
        still_meant(subject, wish, &recalled, context, landing).await?;
    }
    let (ledger, observer) = (subject.ledger.clone(), Arc::new(context.teller(subject)));
    let (key, clock) = (subject.key(), &*context.clock);
    let taken = take_over(ledger, &key, entries, order, &context.audit, clock, observer).await;
    let Taken { mut journal, recalled, rollout } = taken.map_err(|error| refused(error, &alias))?;
    name_image(&recalled, landing);
    if let Some(ending) = recalled.ending.clone() {
        return Ok(Arrival::Ended(ending));
    }
    match rollout {
        Some(rollout) => stages::move_traffic(subject, context, &mut journal, rollout, landing).await,
        None => {
            let stage = Stage { recalled, live: None, image: None };
            stages::run(subject, wish, context, &mut journal, stage, landing).await
        }
    }
}

/// Refuses to go on with an image or a configuration that is not what the run began with.
async fn still_meant(
    subject: &Subject,
    wish: Option<&Wish>,
    recalled: &Recalled,
    context: &Context,
    landing: &mut Landing,
) -> Result<(), Failure> {
    let wish = wish.ok_or(Failure::NeedsManifest { run: recalled.run })?;
    if let Some(began) = &recalled.opened.config {
        let now = wish.facts(recalled.run);
        if *began != now {
            let keys = |facts: &crate::ledger::ConfigFacts| {
                format!("{} (digest {})", facts.keys.join(", "), facts.hash.get(..12).unwrap_or_default())
            };
            return Err(Failure::Changed {
                what: "another configuration, scan, smoke or tag",
                began: keys(began),
                now: keys(&now),
            });
        }
    }
    if recalled.pushed.is_none() {
        let image = super::deploy::open_image(subject, wish, context, landing).await?;
        if let Some(began) = recalled.opened.image.as_ref().filter(|began| began.digest != image.digest) {
            let (began, now) = (began.digest.to_string(), image.digest.to_string());
            return Err(Failure::Changed { what: "another image", began, now });
        }
    }
    Ok(())
}

/// Puts what the ledger knows of the image into the landing, where it was not just read.
fn name_image(recalled: &Recalled, landing: &mut Landing) {
    let Some(meant) = &recalled.opened.image else { return };
    let reference =
        recalled.pushed.clone().map(|reference| longshore_contract::Reference { tag: None, ..reference });
    let known = || Landed { source: meant.source.clone(), ..Landed::known(meant.digest.clone()) };
    let landed = landing.image.get_or_insert_with(known);
    landed.reference = reference;
}

fn refused(error: NotTaken, alias: &str) -> Failure {
    match error {
        NotTaken::NothingOpen { .. } => Failure::NothingOpen { alias: alias.to_owned() },
        NotTaken::NoPlan { run } => Failure::Unfit {
            run,
            why: "it has published no version yet, so there is no traffic to move".to_owned(),
        },
        NotTaken::Unfit { run, why } => Failure::Unfit { run, why },
        NotTaken::Illegal(illegal) => Failure::Replay(illegal),
        NotTaken::TakenOver(by) => Failure::Shift(crate::shift::Stopped::TakenOver(by)),
        NotTaken::Ledger(error) => Failure::Ledger(error),
    }
}
