//! Bringing back at once what was live before: one read, one guarded write.

use longshore_contract::{Alias, Qualifier, State, Version};

use super::resume::go_on;
use super::stages::move_traffic;
use super::{Arrival, Context, Failure, Landed, Landing, Subject};
use crate::ledger::{Entry, Event, History, Meant, Opened, Verb};
use crate::rollback::{self, NoTarget, Source, Target};
use crate::shift::{Order, Rollout};

/// Whether a rollback is made or only looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earnest {
    /// It is made.
    Make,
    /// The target is looked at, and nothing is written.
    Check,
}

/// An alias and what is known of it.
pub(super) struct Past {
    pub(super) entries: Vec<Entry>,
    pub(super) history: History,
    pub(super) live: Alias,
}

/// Sends all traffic back to what was live before, or to `asked`. A run that is open is returned instead: that is what
/// was live before it.
pub async fn rollback(
    subject: &Subject,
    asked: Option<&Version>,
    earnest: Earnest,
    context: &Context,
    landing: &mut Landing,
) -> Result<Arrival, Failure> {
    let entries = subject.entries().await?;
    let history = History::of(&entries);
    if let Some(open) = history.open()
        && asked.is_none()
        && earnest == Earnest::Make
    {
        landing.notes.push(format!("run {} was open: it is returned", open.run));
        return go_on(subject, None, Order::Rollback, None, context, landing).await;
    }
    let functions = subject.provider.functions();
    let live = functions.alias(&subject.at).await?;
    let live = live.ok_or_else(|| Failure::NoAlias { alias: subject.at.to_string() })?;
    landing.routing = Some(live.routing.clone());
    landing.from = Some(live.routing.stable().clone());
    if earnest == Earnest::Make {
        super::none_open(subject, &history, None)?;
    }
    let target = match rollback::target(&history, &live, asked) {
        Ok(target) => target,
        Err(NoTarget::AlreadyLive { version }) => {
            landing.to = Some(version);
            return Ok(Arrival::Unchanged);
        }
        Err(NoTarget::NothingBehind { live, candidates }) => {
            let candidates = if candidates.is_empty() { others(subject, &live).await? } else { candidates };
            return Err(Failure::NothingBehind { alias: subject.at.to_string(), live, candidates });
        }
    };
    landing.to = Some(target.version.clone());
    // What the ledger saw live is believed; what a person or a description says is looked at first.
    if earnest == Earnest::Check || matches!(target.source, Source::Asked | Source::Breadcrumb) {
        look_at(subject, &target.version, landing).await?;
    }
    match earnest {
        Earnest::Check => Ok(Arrival::Planned),
        Earnest::Make => {
            begin(subject, Verb::Rollback, &Past { entries, history, live }, target, context, landing).await
        }
    }
}

/// Begins a run of one write that sends all traffic to `target`, and drives it.
pub(super) async fn begin(
    subject: &Subject,
    verb: Verb,
    past: &Past,
    target: Target,
    context: &Context,
    landing: &mut Landing,
) -> Result<Arrival, Failure> {
    let Past { entries, history, live } = past;
    let brought = history.runs().iter().find(|run| run.to.as_ref() == Some(&target.version));
    let digest = brought.and_then(|run| run.digest.clone());
    if let Some(digest) = &digest {
        landing.image.get_or_insert_with(|| Landed {
            source: None,
            digest: digest.clone(),
            reference: None,
            source_digest: None,
            changed: Vec::new(),
        });
    }
    let mut journal = context.journal(subject, context.run, entries);
    landing.run = Some(context.run);
    let version = Some(target.version.clone());
    let opened = Opened {
        verb,
        audit: context.audit.clone(),
        from: Some(live.routing.clone()),
        image: digest.map(|digest| Meant { source: None, digest, version }),
        config: None,
        undoes: target.undoes,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
    };
    journal.append(context.clock.now(), Event::Opened(Box::new(opened))).await?;
    let plan = rollback::plan(context.run, subject.at.clone(), live, &target);
    journal.append(context.clock.now(), Event::Planned { plan: Box::new(plan.clone()) }).await?;
    move_traffic(subject, context, &mut journal, Rollout::begin(plan), landing).await
}

/// Refuses a version that does not exist or cannot serve.
async fn look_at(subject: &Subject, version: &Version, landing: &mut Landing) -> Result<(), Failure> {
    let bad = |why: &str| Failure::BadTarget { version: version.clone(), why: why.to_owned() };
    let functions = subject.provider.functions();
    let found = functions.describe(&subject.at.function, &Qualifier::Version(version.clone())).await?;
    let found = found.ok_or_else(|| bad("it does not exist"))?;
    if let Some(digest) = found.digest {
        landing.image =
            Some(Landed { source: None, digest, reference: None, source_digest: None, changed: Vec::new() });
    }
    match found.state {
        State::Active => Ok(()),
        State::Pending => Err(bad("it cannot serve yet")),
        State::Failed { why } => Err(bad(&why)),
    }
}

/// The function's other versions, newest first: candidates for `--to`.
async fn others(subject: &Subject, live: &Version) -> Result<Vec<Version>, Failure> {
    let versions = subject.provider.functions().versions(&subject.at.function, 20).await?;
    Ok(versions.into_iter().map(|summary| summary.version).filter(|version| version != live).collect())
}
