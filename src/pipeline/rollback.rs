//! Bringing back at once what was live before: one read, one guarded write.

use longshore_contract::{Alias, Digest, Qualifier, State, Version};

use super::resume::go_on;
use super::stages::move_traffic;
use super::{Arrival, Context, Failure, Landed, Landing, Subject};
use crate::ledger::{Ending, Entry, Event, History, Meant, Opened, Verb};
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
    context.may_begin()?;
    let mut entries = subject.entries().await?;
    let mut history = History::of(&entries);
    if let Some(open) = history.open().cloned()
        && asked.is_none()
        && earnest == Earnest::Make
    {
        let arrival = go_on(subject, None, &entries, Order::Rollback, None, context, landing).await?;
        let was_over =
            arrival == Arrival::Ended(Ending::Arrived) && matches!(open.verb, Verb::Deploy | Verb::Promote);
        if !was_over {
            landing.notes.push(format!("run {} was open", open.run));
            return Ok(arrival);
        }
        // It had arrived, and only its end was not stored: now it is a run like any other, and is rolled back.
        entries = subject.entries().await?;
        history = History::of(&entries);
    }
    let functions = subject.provider.functions();
    let live = functions.alias(&subject.at).await?;
    let live = live.ok_or_else(|| Failure::NoAlias { alias: subject.at.to_string() })?;
    landing.routing = Some(live.routing.clone());
    landing.from = Some(live.routing.stable().clone());
    if earnest == Earnest::Make {
        super::none_open(subject, &history, None)?;
    }
    let mut target = match rollback::target(&history, &live, asked) {
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
    let brought = history.runs().iter().find(|run| run.to.as_ref() == Some(&target.version));
    let mut digest = brought.and_then(|run| run.digest.clone());
    // What the ledger saw live is believed; what a person or a description says is looked at first.
    if earnest == Earnest::Check || matches!(target.source, Source::Asked | Source::Breadcrumb) {
        digest = look_at(subject, &target.version).await?.or(digest);
        target.digest = digest.as_ref().map(|digest| digest.short().to_owned());
    }
    landing.image = digest.map(Landed::known);
    match earnest {
        Earnest::Check => Ok(Arrival::Planned),
        Earnest::Make => {
            begin(subject, Verb::Rollback, &Past { entries, live }, target, context, landing).await
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
    let Past { entries, live } = past;
    let mut journal = context.journal(subject, context.run, entries);
    landing.run = Some(context.run);
    let plan = rollback::plan(context.run, subject.at.clone(), live, &target);
    let opened = Opened {
        verb,
        audit: context.audit.clone(),
        from: Some(live.routing.clone()),
        image: landing.image.as_ref().map(|image| Meant { source: None, digest: image.digest.clone() }),
        steps: Vec::new(),
        plan: Some(Box::new(plan.clone())),
        config: None,
        undoes: target.undoes,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
    };
    context.may_begin()?;
    journal.append(context.clock.now(), Event::Opened(Box::new(opened))).await?;
    move_traffic(subject, context, &mut journal, Rollout::begin(plan), landing).await
}

/// Refuses a version that does not exist or cannot serve; tells its digest where the cloud does.
async fn look_at(subject: &Subject, version: &Version) -> Result<Option<Digest>, Failure> {
    let bad = |why: &str| Failure::BadTarget { version: version.clone(), why: why.to_owned() };
    let functions = subject.provider.functions();
    let found = functions.describe(&subject.at.function, &Qualifier::Version(version.clone())).await?;
    let found = found.ok_or_else(|| bad("it does not exist"))?;
    match found.state {
        State::Active => Ok(found.digest),
        State::Pending => Err(bad("it cannot serve yet")),
        State::Failed { why } => Err(bad(&why)),
    }
}

/// The function's other versions, newest first: candidates for `--to`.
async fn others(subject: &Subject, live: &Version) -> Result<Vec<Version>, Failure> {
    let versions = subject.provider.functions().versions(&subject.at.function, 20).await?;
    Ok(versions.into_iter().map(|summary| summary.version).filter(|version| version != live).collect())
}
