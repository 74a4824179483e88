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
    let past = Past::of(&stack, live);
    match (&live.routing, asked) {
        (Routing::All(version), Some(asked)) if version == asked => {
            Err(NoTarget::AlreadyLive { version: version.clone() })
        }
        (Routing::Split { .. }, None) => Ok(past.target(&stack, now, Source::Split)),
        (_, Some(asked)) => Ok(past.target(&stack, asked, Source::Asked)),
        (Routing::All(_), None) => match past.behind.first() {
            Some(last) => Ok(past.target(&stack, last, past.source)),
            None => {
                let candidates = stack.ever.into_iter().filter(|version| version != now).collect();
                Err(NoTarget::NothingBehind { live: now.clone(), candidates })
            }
        },
    }
}

/// What lies behind the live version, and who says so.
struct Past {
    /// Newest first.
    behind: Vec<Version>,
    source: Source,
    /// The run that made the alias what it is, where that is known.
    brought_by: Option<RunId>,
}

impl Past {
    fn of(stack: &Stack, live: &Alias) -> Self {
        let now = live.routing.stable();
        let ledger = |layers: &[Layer], brought_by| Self {
            behind: layers.iter().rev().map(|layer| layer.version.clone()).collect(),
            source: Source::Ledger,
            brought_by,
        };
        let crumb = live.note.breadcrumb.as_ref();
        // A split was made by a run that has not arrived, so that no layer tells of it.
        let split_by = live.routing.canary().and(crumb).map(|crumb| crumb.run);
        if let Some((top, below)) = stack.layers.split_last()
            && top.version == *now
            && !below.is_empty()
        {
            return ledger(below, split_by.or(top.run));
        }
        // The ledger knows nothing behind what is live, or somebody has moved the alias past it.
        let prev = crumb.map(|crumb| crumb.prev.as_slice()).unwrap_or_default();
        let prev: Vec<Version> = prev.iter().skip_while(|version| *version == now).cloned().collect();
        if !prev.is_empty() {
            let ended = crumb.filter(|crumb| crumb.progress == Progress::Ended).map(|crumb| crumb.run);
            return Self { behind: prev, source: Source::Breadcrumb, brought_by: split_by.or(ended) };
        }
        match stack.layers.iter().rposition(|layer| layer.version == *now) {
            Some(at) => ledger(&stack.layers[..at], split_by.or(stack.layers[at].run)),
            // What is live now came past the ledger: before that, its newest layer was live.
            None => ledger(&stack.layers, split_by),
        }
    }

    /// Going back to `version`: what lies behind it is what lies behind the live version, less what is on top of it.
    fn target(&self, stack: &Stack, version: &Version, source: Source) -> Target {
        let skip = self.behind.iter().position(|behind| behind == version).map_or(0, |at| at + 1);
        Target {
            version: version.clone(),
            digest: stack.digest(version),
            undoes: self.brought_by,
            behind: self.behind[skip..].to_vec(),
            source,
        }
    }
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

    /// The digest that `version` ran when it was live.
    fn digest(&self, version: &Version) -> Option<String> {
        self.layers
            .iter()
            .rev()
            .find(|layer| layer.version == *version)
            .and_then(|layer| layer.digest.clone())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use longshore_contract::{Breadcrumb, Note, Revision, Share};

    use super::*;
    use crate::ledger::memory::{entry, key};
    use crate::ledger::{Audit, Because, Ending, Entry, Event, Meant, Opened, Plan};
    use crate::shift::{ShiftSpec, Strategy};

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn versions(texts: &[&str]) -> Vec<Version> {
        texts.iter().map(|text| version(text)).collect()
    }

    fn alias(routing: Routing, breadcrumb: Option<Breadcrumb>) -> Alias {
        let note = Note { text: String::new(), breadcrumb };
        Alias { routing, revision: Revision::from_provider("r"), note }
    }

    fn at(live: &str) -> Alias {
        alias(Routing::All(version(live)), None)
    }

    fn crumb(prev: &[&str]) -> Option<Breadcrumb> {
        Some(Breadcrumb {
            run: RunId::generate(),
            progress: Progress::Ended,
            prev: versions(prev),
            digest: "0123456789ab".to_owned(),
        })
    }

    fn digest(of: &str) -> longshore_contract::Digest {
        format!("sha256:{of:0>64}").parse().unwrap()
    }

    /// A ledger that is written as the pipeline writes it.
    #[derive(Default)]
    struct Story(Vec<Entry>);

    impl Story {
        fn run(&mut self, verb: Verb, plan: &Plan, ending: Ending) -> RunId {
            let audit = Audit { by: "ann".to_owned(), host: None, commit: None, ci_url: None, message: None };
            let image = Meant { source: None, digest: digest(plan.to.as_str()) };
            let opened = Opened {
                verb,
                audit,
                from: None,
                image: Some(image),
                steps: Vec::new(),
                plan: None,
                config: None,
                undoes: None,
                tool: "0".to_owned(),
            };
            let events = [
                Event::Opened(Box::new(opened)),
                Event::Planned { plan: Box::new(plan.clone()) },
                Event::Ended { ending },
            ];
            let run = RunId::generate();
            for event in events {
                let seq = self.0.len() as u64 + 1;
                self.0.push(Entry { run, event, at: Timestamp::UNIX_EPOCH, ..entry(seq) });
            }
            run
        }

        fn deploy(&mut self, from: Option<&str>, to: &str, ending: Ending) -> RunId {
            let spec = ShiftSpec {
                run: RunId::generate(),
                alias: key().alias,
                to: version(to),
                digest: digest(to),
                strategy: Strategy::AllAtOnce,
            };
            let can = longshore_contract::Capabilities {
                alias_writes: longshore_contract::AliasWrites::Atomic,
                split: longshore_contract::Split::None,
                publish: longshore_contract::PublishDedup::ByContent,
                platforms: Vec::new(),
                description_limit: 256,
            };
            let plan = crate::shift::plan(&spec, &can, from.map(at).as_ref()).unwrap();
            self.run(Verb::Deploy, &plan, ending)
        }

        fn arrive(&mut self, from: Option<&str>, to: &str) -> RunId {
            self.deploy(from, to, Ending::Arrived)
        }

        /// Rolls back from `live` as the ledger says, and tells where that went.
        fn back(&mut self, live: &Alias, asked: Option<&str>) -> Result<Target, NoTarget> {
            let target = self.target(live, asked)?;
            let plan = crate::rollback::plan(RunId::generate(), key().alias, live, &target);
            self.run(Verb::Rollback, &plan, Ending::Arrived);
            Ok(target)
        }

        fn target(&self, live: &Alias, asked: Option<&str>) -> Result<Target, NoTarget> {
            target(&History::of(&self.0), live, asked.map(version).as_ref())
        }
    }

    #[test]
    fn the_target_is_what_was_live_before_and_not_the_next_lower_number() {
        let mut story = Story::default();
        story.arrive(None, "7");
        let bad = story.arrive(Some("7"), "42");
        let target = story.target(&at("42"), None).unwrap();
        assert_eq!(
            target,
            Target {
                version: version("7"),
                digest: Some(digest("7").short().to_owned()),
                undoes: Some(bad),
                behind: vec![],
                source: Source::Ledger
            }
        );
    }

    #[test]
    fn a_version_that_never_arrived_is_never_a_target() {
        let mut story = Story::default();
        story.arrive(None, "40");
        let by = || Because::Abandoned { by: "ann".to_owned() };
        story.deploy(Some("40"), "41", Ending::Returned { because: by() });
        story.deploy(Some("40"), "42", Ending::Refused { why: "no".to_owned(), scan: None });
        story.deploy(Some("40"), "43", Ending::Held { because: by() });
        story.arrive(Some("40"), "44");
        assert_eq!(story.target(&at("44"), None).unwrap().version, version("40"));
        assert_eq!(
            story.target(&at("40"), None),
            Err(NoTarget::NothingBehind { live: version("40"), candidates: versions(&["44"]) })
        );
    }

    #[test]
    fn rolling_back_twice_goes_further_back_and_then_no_further() {
        let mut story = Story::default();
        story.arrive(None, "1");
        story.arrive(Some("1"), "2");
        story.arrive(Some("2"), "3");
        assert_eq!(story.back(&at("3"), None).unwrap().version, version("2"));
        let second = story.back(&at("2"), None).unwrap();
        assert_eq!((second.version, second.behind), (version("1"), vec![]));
        let error = story.back(&at("1"), None).unwrap_err();
        assert_eq!(error, NoTarget::NothingBehind { live: version("1"), candidates: versions(&["2", "3"]) });
        assert_eq!(error.to_string(), "nothing that was live before version 1 is known");
    }

    #[test]
    fn after_a_rollback_and_a_new_deployment_the_way_back_is_what_was_live_before_that() {
        let mut story = Story::default();
        story.arrive(None, "1");
        story.arrive(Some("1"), "2");
        story.back(&at("2"), None).unwrap();
        story.arrive(Some("1"), "3");
        assert_eq!(story.back(&at("3"), None).unwrap().version, version("1"));
    }

    #[test]
    fn a_version_that_was_live_twice_is_gone_back_through_twice() {
        let mut story = Story::default();
        story.arrive(None, "1");
        story.arrive(Some("1"), "2");
        story.arrive(Some("2"), "1");
        assert_eq!(story.back(&at("1"), None).unwrap().version, version("2"));
        assert_eq!(story.back(&at("2"), None).unwrap().version, version("1"));
    }

    #[test]
    fn the_user_may_name_the_target_and_the_next_rollback_goes_behind_it() {
        let mut story = Story::default();
        for (from, to) in [(None, "1"), (Some("1"), "2"), (Some("2"), "3"), (Some("3"), "4")] {
            story.arrive(from, to);
        }
        let asked = story.back(&at("4"), Some("2")).unwrap();
        assert_eq!((asked.version, asked.source), (version("2"), Source::Asked));
        assert_eq!(asked.behind, versions(&["1"]));
        assert_eq!(story.target(&at("2"), None).unwrap().version, version("1"));
        assert_eq!(story.target(&at("2"), Some("2")), Err(NoTarget::AlreadyLive { version: version("2") }));
    }

    #[test]
    fn a_named_target_that_was_never_live_takes_the_place_of_the_bad_one() {
        let mut story = Story::default();
        story.arrive(None, "1");
        story.arrive(Some("1"), "2");
        assert_eq!(story.back(&at("2"), Some("9")).unwrap().behind, versions(&["1"]));
        assert_eq!(story.target(&at("9"), None).unwrap().version, version("1"));
    }

    #[test]
    fn without_a_ledger_the_breadcrumb_tells() {
        let live = alias(Routing::All(version("42")), crumb(&["39", "36"]));
        let target = Story::default().target(&live, None).unwrap();
        assert_eq!((target.version, target.source), (version("39"), Source::Breadcrumb));
        assert_eq!(target.behind, versions(&["36"]));
        assert_eq!(target.undoes, live.note.breadcrumb.map(|crumb| crumb.run));
    }

    #[test]
    fn with_neither_ledger_nor_breadcrumb_there_is_no_target() {
        assert_eq!(
            Story::default().target(&at("42"), None),
            Err(NoTarget::NothingBehind { live: version("42"), candidates: vec![] })
        );
    }

    #[test]
    fn a_forged_breadcrumb_changes_nothing_where_the_ledger_knows() {
        let mut story = Story::default();
        story.arrive(None, "1");
        story.arrive(Some("1"), "2");
        let forged = alias(Routing::All(version("2")), crumb(&["666"]));
        assert_eq!(story.target(&forged, None).unwrap().version, version("1"));
    }

    #[test]
    fn where_the_ledger_ends_the_breadcrumb_goes_on() {
        let mut story = Story::default();
        story.arrive(Some("1"), "2");
        let live = alias(Routing::All(version("2")), crumb(&["1", "0"]));
        story.back(&live, None).unwrap();
        let live = alias(Routing::All(version("1")), crumb(&["0"]));
        let target = story.target(&live, None).unwrap();
        assert_eq!((target.version, target.source), (version("0"), Source::Breadcrumb));
    }

    #[test]
    fn a_version_that_came_past_the_ledger_goes_back_to_what_the_breadcrumb_or_else_the_ledger_knows() {
        let mut story = Story::default();
        story.arrive(None, "1");
        story.arrive(Some("1"), "2");
        let marked = alias(Routing::All(version("9")), crumb(&["8"]));
        assert_eq!(story.target(&marked, None).unwrap().version, version("8"));
        let unmarked = story.target(&at("9"), None).unwrap();
        assert_eq!((unmarked.version, unmarked.behind), (version("2"), versions(&["1"])));
    }

    #[test]
    fn a_split_alias_goes_back_to_its_stable_side() {
        let mut story = Story::default();
        story.arrive(None, "1");
        let stable = story.arrive(Some("1"), "2");
        let share = Share::basis_points(500).unwrap();
        let split = alias(Routing::split(version("2"), version("3"), share), crumb(&["2", "1"]));
        let target = story.back(&split, None).unwrap();
        assert_eq!((target.version, target.source), (version("2"), Source::Split));
        assert_eq!(target.behind, versions(&["1"]));
        let next = story.target(&at("2"), None).unwrap();
        assert_eq!((next.version, next.undoes), (version("1"), Some(stable)));
        let without = Story::default().target(&split, None).unwrap();
        assert_eq!((without.version, without.behind), (version("2"), versions(&["1"])));
    }
}
