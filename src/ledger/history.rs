//! An alias's runs, out of its entries. Pure.

use std::collections::HashMap;

use jiff::Timestamp;
use longshore_contract::{Digest, RunId, Version};
use serde::Serialize;

use super::{Ending, Entry, Event, Opened, ScanRecord, Verb};

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
    /// What its scan found, where one was asked for and is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan: Option<Box<ScanRecord>>,
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

impl RunState {
    /// The word for it, as programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Held => "held",
            Self::Arrived => "arrived",
            Self::Unchanged => "unchanged",
            Self::Returned => "returned",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
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
        let Opened { verb, audit, from, image, plan, undoes, steps: _, config: _, tool: _ } = opened.clone();
        Self {
            run: entry.run,
            verb,
            state: RunState::Open,
            from: from.map(|routing| routing.stable().clone()),
            to: plan.map(|plan| plan.to),
            digest: image.map(|image| image.digest),
            by: audit.by,
            host: audit.host,
            commit: audit.commit,
            ci_url: audit.ci_url,
            message: audit.message,
            started: entry.at,
            ended: None,
            undoes,
            scan: None,
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
                if let Ending::Refused { scan: Some(scan), .. } = ending {
                    self.scan = Some(scan.clone());
                }
                self.state = RunState::from(ending);
                self.ended = Some(at);
            }
            Event::Cleared { scan, .. } => {
                self.scan.clone_from(scan);
                self.go_on();
            }
            Event::Opened(_)
            | Event::Resumed { .. }
            | Event::Pushed { .. }
            | Event::Publishing { .. }
            | Event::Intended { .. }
            | Event::Settled { .. }
            | Event::Refused { .. }
            | Event::Looked { .. }
            | Event::Hastened { .. }
            | Event::Abandoned { .. } => self.go_on(),
        }
    }

    fn go_on(&mut self) {
        if self.ended.is_none() {
            self.state = RunState::Open;
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_contract::Published;

    use super::*;
    use crate::ledger::memory::entry;
    use crate::ledger::{Audit, Because, Meant, Recalled, ScanWord};

    fn audit(by: &str) -> Audit {
        Audit {
            by: by.to_owned(),
            host: Some("ci-3".to_owned()),
            commit: None,
            ci_url: None,
            message: Some("fix the till".to_owned()),
        }
    }

    fn opened(by: &str) -> Event {
        Event::Opened(Box::new(Opened {
            verb: Verb::Deploy,
            audit: audit(by),
            from: Some(longshore_contract::Routing::All("41".parse().unwrap())),
            image: Some(Meant { source: Some("oci:image".to_owned()), digest: digest("a") }),
            steps: Vec::new(),
            plan: None,
            config: None,
            undoes: None,
            tool: "0.1.0".to_owned(),
        }))
    }

    fn digest(of: &str) -> Digest {
        format!("sha256:{of:0>64}").parse().unwrap()
    }

    fn published() -> Published {
        Published { version: "42".parse().unwrap(), digest: digest("b") }
    }

    fn told(runs: &[(RunId, Event)]) -> Vec<Entry> {
        let number = |(at, (run, event)): (usize, &(RunId, Event))| Entry {
            run: *run,
            at: Timestamp::from_second(i64::try_from(at).unwrap()).unwrap(),
            event: event.clone(),
            ..entry(at as u64 + 1)
        };
        runs.iter().enumerate().map(number).collect()
    }

    #[test]
    fn runs_are_told_newest_first_with_what_came_of_them() {
        let (one, two) = (RunId::generate(), RunId::generate());
        let entries = told(&[
            (one, opened("ann")),
            (one, Event::Ended { ending: Ending::Refused { why: "CVE".to_owned(), scan: None } }),
            (two, opened("bob")),
            (two, Event::Published { published: published() }),
        ]);
        let history = History::of(&entries);
        let told: Vec<_> = history
            .runs()
            .iter()
            .map(|run| (run.run, run.by.as_str(), run.state, run.to.is_some()))
            .collect();
        assert_eq!(told, [(two, "bob", RunState::Open, true), (one, "ann", RunState::Refused, false)]);
        assert_eq!(history.open().map(|run| run.run), Some(two));
        assert_eq!(
            serde_json::to_string(&history.runs()[0]).unwrap(),
            format!(
                r#"{{"run":"{two}","verb":"deploy","outcome":"open","from":"41","to":"42","digest":"{}","by":"bob","host":"ci-3","commit":null,"ci_url":null,"message":"fix the till","started":"1970-01-01T00:00:02Z","ended":null,"undoes":null}}"#,
                digest("b")
            )
        );
    }

    #[test]
    fn a_held_run_is_open_until_it_ends_and_open_again_when_it_is_resumed() {
        let run = RunId::generate();
        let held = Event::Held { because: Because::Interrupted };
        let resumed = Event::Resumed { audit: audit("bob") };
        let ended = Event::Ended { ending: Ending::Held { because: Because::Interrupted } };
        let events = [opened("ann"), held, resumed, ended].map(|event| (run, event));
        let states: Vec<_> = (1..=4)
            .map(|count| {
                let history = History::of(&told(&events[..count]));
                (history.runs()[0].state, history.open().is_some())
            })
            .collect();
        assert_eq!(
            states,
            [(RunState::Open, true), (RunState::Held, true), (RunState::Open, true), (RunState::Held, false)]
        );
    }

    #[test]
    fn a_run_is_recalled_as_far_as_it_came() {
        let (run, other) = (RunId::generate(), RunId::generate());
        let reference: longshore_contract::Reference =
            format!("127.0.0.1:5000/shop@{}", digest("b")).parse().unwrap();
        let intent = longshore_contract::Intent { run, step: 0 };
        let entries = told(&[
            (other, opened("bob")),
            (other, Event::Ended { ending: Ending::Arrived }),
            (run, opened("ann")),
            (run, Event::Pushed { reference: reference.clone(), scan: None }),
            (run, Event::Cleared { verdict: Some(ScanWord::Waived), scan: None }),
            (run, Event::Publishing { intent }),
        ]);
        let recalled = Recalled::of(run, &entries).unwrap();
        assert_eq!(recalled.pushed, Some(reference));
        assert_eq!(recalled.cleared, Some(Some(ScanWord::Waived)));
        assert_eq!((recalled.publishing, recalled.published), (Some(intent), None));
        assert_eq!((recalled.plan, recalled.moves, recalled.ending), (None, vec![], None));
        assert_eq!(Recalled::of(RunId::generate(), &entries), None);
    }
}
