//! An alias's runs, out of its entries. Pure.

use std::collections::HashMap;

use jiff::Timestamp;
use longshore_contract::{Digest, RunId, Version};
use serde::Serialize;

use super::{Ending, Entry, Event, Opened, Verb};

/// All runs of one alias, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    runs: Vec<RunSummary>,
}

/// One run in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// What it was asked to do.
    pub verb: Verb,
    /// Where it stands.
    #[serde(rename = "outcome")]
    pub state: RunState,
    /// The version that was live before; of a split, its stable side.
    pub from: Option<Version>,
    /// The version it brings, where that exists.
    pub to: Option<Version>,
    /// The digest it brings, where that is known.
    pub digest: Option<Digest>,
    /// Who asked.
    pub by: String,
    /// From which machine.
    pub host: Option<String>,
    /// From which commit.
    pub commit: Option<String>,
    /// In which CI job.
    pub ci_url: Option<String>,
    /// What they said about it.
    pub message: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it was over; `None` while it is open.
    pub ended: Option<Timestamp>,
    /// The run whose effect it takes back.
    pub undoes: Option<RunId>,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It is under way, or its process died.
    Open,
    /// Nothing more is done until somebody has looked.
    Held,
    /// Its version has, or had, all traffic.
    Arrived,
    /// What it was asked for was live already.
    Unchanged,
    /// The alias went back to what it was.
    Returned,
    /// It was refused before it moved traffic.
    Refused,
    /// It broke off before it moved traffic.
    Failed,
}

impl From<&Ending> for RunState {
    fn from(ending: &Ending) -> Self {
        match ending {
            Ending::Arrived => Self::Arrived,
            Ending::Unchanged => Self::Unchanged,
            Ending::Returned { .. } => Self::Returned,
            Ending::Held { .. } => Self::Held,
            Ending::Refused { .. } => Self::Refused,
            Ending::Failed { .. } => Self::Failed,
        }
    }
}

impl History {
    /// The runs in `entries`, which are an alias's ledger in order.
    pub fn of(entries: &[Entry]) -> Self {
        let mut runs: Vec<RunSummary> = Vec::new();
        let mut at: HashMap<RunId, usize> = HashMap::new();
        for entry in entries {
            match (&entry.event, at.get(&entry.run)) {
                (Event::Opened(opened), None) => {
                    at.insert(entry.run, runs.len());
                    runs.push(RunSummary::begun(entry, opened));
                }
                (event, Some(&index)) => runs[index].take(event, entry.at),
                // An entry of a run that never began says nothing that could be shown.
                (_, None) => {}
            }
        }
        runs.reverse();
        Self { runs }
    }

    /// Every run, newest first.
    pub fn runs(&self) -> &[RunSummary] {
        &self.runs
    }

    /// The run that is not over, if there is one: it decides what happens next to the alias.
    pub fn open(&self) -> Option<&RunSummary> {
        self.runs.iter().find(|run| run.ended.is_none())
    }
}

impl RunSummary {
    fn begun(entry: &Entry, opened: &Opened) -> Self {
        let Opened { verb, audit, from, image, undoes, config: _, tool: _ } = opened.clone();
        Self {
            run: entry.run,
            verb,
            state: RunState::Open,
            from: from.map(|routing| routing.stable().clone()),
            to: image.as_ref().and_then(|image| image.version.clone()),
            digest: image.map(|image| image.digest),
            by: audit.by,
            host: audit.host,
            commit: audit.commit,
            ci_url: audit.ci_url,
            message: audit.message,
            started: entry.at,
            ended: None,
            undoes,
        }
    }

    fn take(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Published { published } => {
                self.to = Some(published.version.clone());
                self.digest = Some(published.digest.clone());
            }
            Event::Planned { plan } => {
                self.from = plan.from().cloned();
                self.to = Some(plan.to.clone());
            }
            Event::Held { .. } => self.state = RunState::Held,
            Event::Ended { ending } => {
                self.state = RunState::from(ending);
                self.ended = Some(at);
            }
            Event::Opened(_)
            | Event::Resumed { .. }
            | Event::Pushed { .. }
            | Event::Cleared { .. }
            | Event::Publishing { .. }
            | Event::Intended { .. }
            | Event::Settled { .. }
            | Event::Refused { .. }
            | Event::Looked { .. }
            | Event::Hastened { .. }
            | Event::Abandoned { .. } => {
                if self.ended.is_none() {
                    self.state = RunState::Open;
                }
            }
        }
    }
}
