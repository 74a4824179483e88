//! Which version was live before. Pure.

use longshore_contract::{Alias, Progress, Routing, RunId, Version};

use crate::ledger::{History, RunState, RunSummary, Verb};

/// Where to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The version that is to be live again.
    pub version: Version,
    /// The first 12 hexadecimal digits of the digest it ran, where that is known.
    pub digest: Option<String>,
    /// The run whose effect is taken back, where that is known.
    pub undoes: Option<RunId>,
    /// What lies behind the target, newest first.
    pub behind: Vec<Version>,
    /// Who says so.
    pub source: Source,
}

/// Who says where to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The user.
    Asked,
    /// The ledger: the version was live.
    Ledger,
    /// The alias's description: anybody can write it, so the version is to be looked at before it is believed.
    Breadcrumb,
    /// The alias itself: it is split, and this is its stable side.
    Split,
}

/// Why there is nowhere to go back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// Nothing is known to have been live before.
    #[error("nothing that was live before version {live} is known")]
    NothingBehind {
        /// The version that is live.
        live: Version,
        /// Versions that this ledger knows to have been live at some time, newest first.
        candidates: Vec<Version>,
    },
    /// The version that was asked for has all traffic.
    #[error("version {version} has all traffic already")]
    AlreadyLive {
        /// The version.
        version: Version,
    },
}

/// Decides where to go back to from `live`: the version that was `asked` for; of a split alias its stable side; else
/// what lay before the newest run that arrived and is not undone; else what the breadcrumb says. It never counts down.
pub fn target(history: &History, live: &Alias, asked: Option<&Version>) -> Result<Target, NoTarget> {
    let stack = Stack::of(history);
    let now = live.routing.stable();
    match (&live.routing, asked) {
        (Routing::All(version), Some(asked)) if version == asked => {
            Err(NoTarget::AlreadyLive { version: version.clone() })
        }
        (Routing::All(_), Some(asked)) => {
            let behind = match stack.below(now) {
                Some(below) => below.iter().rev().map(|layer| layer.version.clone()).collect(),
                None => breadcrumb_prev(live),
            };
            Ok(stack.asked(asked, now, behind))
        }
        (Routing::Split { .. }, asked) => {
            let behind = match stack.below(now) {
                Some(below) => below.iter().rev().map(|layer| layer.version.clone()).collect(),
                None => breadcrumb_prev(live).into_iter().skip_while(|version| version == now).collect(),
            };
            let undoes = live.note.breadcrumb.as_ref().map(|breadcrumb| breadcrumb.run);
            let stable = Target {
                digest: stack.digest(now),
                version: now.clone(),
                undoes,
                behind,
                source: Source::Split,
            };
            match asked {
                Some(asked) if asked != now => {
                    Ok(Target { undoes, ..stack.asked(asked, now, stable.behind) })
                }
                _ => Ok(stable),
            }
        }
        (Routing::All(_), None) => previous(&stack, live, now),
    }
}

fn previous(stack: &Stack, live: &Alias, now: &Version) -> Result<Target, NoTarget> {
    if let Some(below) = stack.below(now) {
        let (last, older) = below.split_last().ok_or_else(|| stack.nothing_behind(now))?;
        return Ok(Target {
            version: last.version.clone(),
            digest: last.digest.clone(),
            undoes: stack.bringer(now),
            behind: older.iter().rev().map(|layer| layer.version.clone()).collect(),
            source: Source::Ledger,
        });
    }
    let prev: Vec<Version> = breadcrumb_prev(live).into_iter().skip_while(|version| version == now).collect();
    if let Some((version, behind)) = prev.split_first() {
        let ended = live.note.breadcrumb.as_ref().filter(|crumb| crumb.progress == Progress::Ended);
        return Ok(Target {
            version: version.clone(),
            digest: stack.digest(version),
            undoes: ended.map(|crumb| crumb.run),
            behind: behind.to_vec(),
            source: Source::Breadcrumb,
        });
    }
    // Somebody moved the alias past the ledger: before that, the newest layer was live.
    let (last, older) = stack.layers.split_last().ok_or_else(|| stack.nothing_behind(now))?;
    Ok(Target {
        version: last.version.clone(),
        digest: last.digest.clone(),
        undoes: None,
        behind: older.iter().rev().map(|layer| layer.version.clone()).collect(),
        source: Source::Ledger,
    })
}

fn breadcrumb_prev(live: &Alias) -> Vec<Version> {
    live.note.breadcrumb.as_ref().map(|breadcrumb| breadcrumb.prev.clone()).unwrap_or_default()
}

/// What was live on top of what, oldest first, as the arrived runs tell it; what was undone is taken off again.
#[derive(Debug, Default)]
struct Stack {
    layers: Vec<Layer>,
    /// Every version that was ever live, newest first.
    ever: Vec<Version>,
}

#[derive(Debug, Clone)]
struct Layer {
    version: Version,
    digest: Option<String>,
    /// The run that brought it; `None` where it was live before the ledger began, or came past it.
    run: Option<RunId>,
}

impl Stack {
    fn of(history: &History) -> Self {
        let mut stack = Self::default();
        for run in history.runs().iter().rev().filter(|run| run.state == RunState::Arrived) {
            stack.arrived(run);
        }
        let mut ever: Vec<Version> = Vec::new();
        for run in history.runs().iter().filter(|run| run.state == RunState::Arrived) {
            for version in [&run.to, &run.from].into_iter().flatten() {
                if !ever.contains(version) {
                    ever.push(version.clone());
                }
            }
        }
        Self { ever, ..stack }
    }

    fn arrived(&mut self, run: &RunSummary) {
        let Some(to) = &run.to else { return };
        let top = self.layers.last().map(|layer| &layer.version);
        if let Some(from) = run.from.as_ref().filter(|from| top != Some(from)) {
            self.layers.push(Layer { version: from.clone(), digest: None, run: None });
        }
        let digest = run.digest.as_ref().map(|digest| digest.short().to_owned());
        let layer = Layer { version: to.clone(), digest, run: Some(run.run) };
        match run.verb {
            Verb::Deploy | Verb::Promote => self.layers.push(layer),
            Verb::Rollback | Verb::Abort => {
                // What was live is bad, and off it comes; then everything above the target, where that is known.
                if run.from.as_ref() != Some(to) {
                    self.layers.pop();
                }
                match self.layers.iter().rposition(|layer| layer.version == *to) {
                    Some(at) => self.layers.truncate(at + 1),
                    None => self.layers.push(layer),
                }
            }
        }
    }

    /// The layers below `live`, where `live` is the top or, if somebody moved the alias past the ledger, further down.
    fn below(&self, live: &Version) -> Option<&[Layer]> {
        let at = self.layers.iter().rposition(|layer| layer.version == *live)?;
        Some(&self.layers[..at])
    }

    fn digest(&self, version: &Version) -> Option<String> {
        self.layers
            .iter()
            .rev()
            .find(|layer| layer.version == *version)
            .and_then(|layer| layer.digest.clone())
    }

    fn bringer(&self, live: &Version) -> Option<RunId> {
        self.layers.iter().rev().find(|layer| layer.version == *live).and_then(|layer| layer.run)
    }

    /// The user's own target, with what lies behind it: where `below`, what lies behind the live version, has it, only
    /// what is further back.
    fn asked(&self, asked: &Version, live: &Version, below: Vec<Version>) -> Target {
        let behind = match below.iter().position(|version| version == asked) {
            Some(at) => below[at + 1..].to_vec(),
            None => below,
        };
        Target {
            version: asked.clone(),
            digest: self.digest(asked),
            undoes: self.bringer(live),
            behind,
            source: Source::Asked,
        }
    }

    fn nothing_behind(&self, live: &Version) -> NoTarget {
        let candidates = self.ever.iter().filter(|version| *version != live).cloned().collect();
        NoTarget::NothingBehind { live: live.clone(), candidates }
    }
}
