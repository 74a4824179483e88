//! What is live, and which run is open.

use longshore_contract::Progress;

use super::deploy::look;
use super::{Failure, Landed, Landing, Subject};
use crate::ledger::{History, RunSummary};

/// What is live on an alias.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The run that is open by this ledger.
    pub open: Option<RunSummary>,
}

/// Reads what is live and what the ledger knows, and writes nothing.
pub async fn status(subject: &Subject, landing: &mut Landing) -> Result<Status, Failure> {
    let (function, live, entries) = look(subject, landing).await?;
    let history = History::of(&entries);
    let crumb = live.as_ref().and_then(|alias| alias.note.breadcrumb.clone());
    if let Some(alias) = live {
        landing.to = Some(alias.routing.canary().unwrap_or(alias.routing.stable()).clone());
    }
    let open = history.open().cloned();
    // A split alias has two digests; what is being tried is the one worth telling.
    let tried = open.as_ref().and_then(|open| open.digest.clone());
    landing.image = function.and_then(|function| function.digest).or(tried).map(Landed::known);
    landing.run = open.as_ref().map(|open| open.run);
    landing.from = match &open {
        Some(open) => open.from.clone(),
        None => crumb.as_ref().and_then(|crumb| crumb.prev.first().cloned()),
    };
    let elsewhere = crumb.filter(|crumb| {
        crumb.progress == Progress::Open && history.runs().iter().all(|run| run.run != crumb.run)
    });
    if let Some(crumb) = elsewhere {
        landing.run = Some(crumb.run);
        landing
            .notes
            .push(format!("run {} is open by the alias's description, and not in this ledger", crumb.run));
    }
    Ok(Status { open })
}
