//! What has happened to an alias and what comes next, as a value. Pure.

use jiff::Timestamp;
use longshore_contract::{Alias, AliasWrite, Breadcrumb, Expect, Intent, Note, Progress, Routing, Version};

use super::clock::later;
use super::plan::UNKNOWN_DIGEST;
use crate::ledger::{Because, Ending, Entry, Event, Origin, Plan};

/// A run on its way: its plan, and the fold of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    plan: Plan,
    phase: Phase,
    /// The alias as it was last known to be: as the plan found it, as a write left it, as a look found it unchanged.
    left: Option<Alias>,
    /// How many writes are known to have happened.
    written: u32,
}

/// Which way the next write points.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leg {
    /// To this step of the plan.
    Forward(usize),
    /// To where the plan began.
    Back(Because),
}

/// What somebody asked for while a write was in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    /// Everything now.
    Hasten,
    /// Back.
    Back(Because),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// A write can be sent.
    Poised(Leg),
    /// A write was announced, and whether it happened is not known.
    InFlight { leg: Leg, order: Option<Order> },
    /// A step's share has been live since then.
    Soaking { step: usize, since: Timestamp },
    /// There is a reason to stop that is not stored yet.
    Holding { because: Because, then: Box<Phase> },
    /// Stopped; whoever takes the run up goes on with `then`.
    Held { because: Because, then: Box<Phase> },
    /// The run is over, and that is not stored yet.
    Due(Ending),
    /// The run is over.
    Over(Ending),
}

/// What to do next, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Announce this write in the ledger, then send it.
    Write {
        /// Names it.
        intent: Intent,
        /// The write.
        write: AliasWrite,
    },
    /// Read the alias: nothing can be decided before that.
    Look,
    /// Wait, and keep an eye on ledger and alias.
    Wait {
        /// Until then.
        until: Timestamp,
    },
    /// Store that the run is held, for this reason.
    Hold(Because),
    /// Store that the run is over.
    End(Ending),
    /// Nothing is left to do here.
    Stop(Ending),
}

/// An event that cannot have happened where the run stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot be here: {why}")]
pub struct Illegal {
    /// The event's word.
    pub event: &'static str,
    /// What speaks against it.
    pub why: String,
}

impl Rollout {
    /// A run that has its plan and nothing else.
    pub fn begin(plan: Plan) -> Self {
        let left = match &plan.origin {
            Origin::First => None,
            Origin::From(alias) => Some(alias.clone()),
        };
        Self { plan, phase: Phase::Poised(Leg::Forward(0)), left, written: 0 }
    }

    /// A run that has its plan and behind it `moves`, the entries of the run in order.
    pub fn replay<'a>(plan: Plan, moves: impl IntoIterator<Item = &'a Entry>) -> Result<Self, Illegal> {
        moves.into_iter().try_fold(Self::begin(plan), |rollout, entry| rollout.apply(entry.at, &entry.event))
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the alias sends its traffic as far as is known; `None` where it does not exist.
    pub fn routing(&self) -> Option<&Routing> {
        self.left.as_ref().map(|alias| &alias.routing)
    }

    /// Whether `found` is exactly as it was left: there is nothing to take into account.
    pub fn left_so(&self, found: Option<&Alias>) -> bool {
        found.map(|alias| &alias.revision) == self.left.as_ref().map(|alias| &alias.revision)
    }

    /// How the run came out, or comes out as soon as that is stored; `None` while it can still go either way.
    pub fn ending(&self) -> Option<&Ending> {
        match &self.phase {
            Phase::Due(ending) | Phase::Over(ending) => Some(ending),
            _ => None,
        }
    }

    /// The next thing to do, given the time. Asking twice answers twice the same.
    pub fn next(&self, now: Timestamp) -> Decision {
        match &self.phase {
            Phase::Poised(leg) => self.write(leg),
            Phase::InFlight { .. } => Decision::Look,
            Phase::Soaking { step, since } => {
                let soak = self.plan.steps[*step].soak;
                // Where the clock says that the soak has not begun yet, it begins now: it is never longer than itself.
                let until = later(*since, soak).min(later(now, soak));
                if now < until { Decision::Wait { until } } else { self.write(&Leg::Forward(step + 1)) }
            }
            Phase::Holding { because, .. } => Decision::Hold(because.clone()),
            Phase::Held { because, .. } => Decision::Stop(Ending::Held { because: because.clone() }),
            Phase::Due(ending) => Decision::End(ending.clone()),
            Phase::Over(ending) => Decision::Stop(ending.clone()),
        }
    }

    /// Takes one event into account, which happened `at`, or says why it cannot have happened here.
    pub fn apply(self, at: Timestamp, event: &Event) -> Result<Self, Illegal> {
        match (self.phase.clone(), event) {
            (Phase::Poised(leg), Event::Intended { intent, routing, expect }) => {
                self.intended(leg, *intent, routing, expect)
            }
            (Phase::Soaking { step, .. }, Event::Intended { intent, routing, expect }) => {
                self.intended(Leg::Forward(step + 1), *intent, routing, expect)
            }
            (Phase::InFlight { leg, order }, Event::Settled { alias })
                if self.wanted(&leg) == alias.routing =>
            {
                Ok(self.settled(leg, order, alias.clone(), at))
            }
            (Phase::InFlight { leg, order }, Event::Looked { alias }) => {
                Ok(self.looked(leg, order, alias.clone(), at))
            }
            (Phase::InFlight { leg, order }, Event::Refused { why }) => Ok(self.refused(leg, order, why)),
            (Phase::Soaking { step, .. }, Event::Looked { alias }) => Ok(self.watched(step, alias.clone())),
            (Phase::Held { then, .. } | Phase::Holding { then, .. }, Event::Hastened { .. }) => {
                Self { phase: *then, ..self }.hastened(event)
            }
            (Phase::Held { then, .. } | Phase::Holding { then, .. }, Event::Abandoned { by }) => {
                Self { phase: *then, ..self }.abandoned(event, by)
            }
            (_, Event::Hastened { .. }) => self.hastened(event),
            (_, Event::Abandoned { by }) => self.abandoned(event, by),
            (Phase::Held { then, .. } | Phase::Holding { then, .. }, Event::Resumed { .. }) => {
                Ok(self.resumed(*then, at))
            }
            (Phase::Over(_), Event::Resumed { .. } | Event::Held { .. }) => Err(self.illegal(event)),
            (Phase::Due(_), Event::Held { .. }) => Err(self.illegal(event)),
            (phase, Event::Resumed { .. }) => Ok(self.resumed(phase, at)),
            (Phase::Held { then, .. } | Phase::Holding { then, .. }, Event::Held { because }) => {
                Ok(Self { phase: Phase::Held { because: because.clone(), then }, ..self })
            }
            (phase, Event::Held { because }) => {
                Ok(Self { phase: Phase::Held { because: because.clone(), then: Box::new(phase) }, ..self })
            }
            (Phase::Due(due), Event::Ended { ending }) if due == *ending => {
                Ok(Self { phase: Phase::Over(due), ..self })
            }
            (_, event) => Err(self.illegal(event)),
        }
    }

    fn intended(self, leg: Leg, intent: Intent, routing: &Routing, expect: &Expect) -> Result<Self, Illegal> {
        let (meant, known) = (self.wanted(&leg), self.expect());
        if intent == self.intent() && *routing == meant && *expect == known {
            return Ok(Self { phase: Phase::InFlight { leg, order: None }, ..self });
        }
        let next = self.intent();
        Err(Illegal {
            event: "intended",
            why: format!("{intent} means {routing}, and the next write is {next}, which means {meant}"),
        })
    }

    /// The write of `leg` happened and left `alias`.
    fn settled(self, leg: Leg, order: Option<Order>, alias: Alias, at: Timestamp) -> Self {
        let last = self.plan.last();
        let phase = match (leg, order) {
            (Leg::Back(because), _) => Phase::Due(Ending::Returned { because }),
            (Leg::Forward(_), Some(Order::Back(because))) => Phase::Poised(Leg::Back(because)),
            (Leg::Forward(step), _) if step >= last => Phase::Due(Ending::Arrived),
            (Leg::Forward(_), Some(Order::Hasten)) => Phase::Poised(Leg::Forward(last)),
            (Leg::Forward(step), None) => Phase::Soaking { step, since: at },
        };
        Self { phase, left: Some(alias), written: self.written + 1, ..self }
    }

    /// The alias was read while the write of `leg` was in doubt.
    fn looked(self, leg: Leg, order: Option<Order>, found: Option<Alias>, at: Timestamp) -> Self {
        if let Some(alias) = found.as_ref().filter(|alias| self.is_effect(&leg, alias)) {
            return self.settled(leg, order, alias.clone(), at);
        }
        if self.is_unmoved(found.as_ref()) {
            let last = self.plan.last();
            let phase = match order {
                Some(Order::Back(because)) => self.way_back(because),
                Some(Order::Hasten) => Phase::Poised(Leg::Forward(last)),
                None => Phase::Poised(leg),
            };
            return Self { phase, left: found, ..self };
        }
        let given_up = match (&leg, &order) {
            (_, Some(Order::Back(because))) | (Leg::Back(because), None) => Some(because.clone()),
            _ => None,
        };
        let ours = found.as_ref().and_then(|alias| alias.note.breadcrumb.as_ref()).map(|crumb| crumb.run)
            == Some(self.plan.run);
        let routing = found.map(|alias| alias.routing);
        let back_already = routing.is_some() && routing.as_ref() == self.origin();
        let drift = Because::Drift { found: routing };
        let phase = match given_up {
            // Somebody wants this run gone, and somebody else has moved the alias: it is theirs now.
            Some(because @ Because::Abandoned { .. }) if back_already => {
                Phase::Due(Ending::Returned { because })
            }
            Some(Because::Abandoned { .. }) => Phase::Due(Ending::Held { because: drift }),
            // Nothing of this run is on the alias, and what its plan was made for is gone: there is nothing to resume.
            _ if self.written == 0 && !ours => Phase::Due(Ending::Held { because: drift }),
            _ => Phase::Holding { because: drift, then: Box::new(Phase::InFlight { leg, order }) },
        };
        Self { phase, ..self }
    }

    /// The alias was read while `step` was soaking.
    fn watched(self, step: usize, found: Option<Alias>) -> Self {
        if self.is_unmoved(found.as_ref()) {
            return Self { left: found, ..self };
        }
        let because = Because::Drift { found: found.map(|alias| alias.routing) };
        // Whoever takes the run up looks again. Where the share is back by then, its soak begins anew.
        let then = Box::new(Phase::InFlight { leg: Leg::Forward(step), order: None });
        Self { phase: Phase::Holding { because, then }, ..self }
    }

    /// The write of `leg` did not happen and never will.
    fn refused(self, leg: Leg, order: Option<Order>, why: &str) -> Self {
        let refusal = Because::Refused { why: why.to_owned() };
        let phase = match (leg, order) {
            (Leg::Back(because), _) => {
                Phase::Holding { because: refusal, then: Box::new(Phase::Poised(Leg::Back(because))) }
            }
            (Leg::Forward(_), Some(Order::Back(because))) => self.way_back(because),
            (Leg::Forward(_), _) if self.written == 0 => {
                Phase::Due(Ending::Refused { why: why.to_owned(), scan: None })
            }
            (Leg::Forward(_), _) => self.way_back(refusal),
        };
        Self { phase, ..self }
    }

    fn hastened(self, event: &Event) -> Result<Self, Illegal> {
        let last = self.plan.last();
        let phase = match &self.phase {
            Phase::Poised(Leg::Forward(_)) | Phase::Soaking { .. } => Phase::Poised(Leg::Forward(last)),
            Phase::InFlight { leg: leg @ Leg::Forward(_), order: None | Some(Order::Hasten) } => {
                Phase::InFlight { leg: leg.clone(), order: Some(Order::Hasten) }
            }
            _ => return Err(self.illegal(event)),
        };
        Ok(Self { phase, ..self })
    }

    fn abandoned(self, event: &Event, by: &str) -> Result<Self, Illegal> {
        let because = Because::Abandoned { by: by.to_owned() };
        let phase = match &self.phase {
            Phase::Poised(Leg::Forward(_)) | Phase::Soaking { .. } => self.way_back(because),
            Phase::Poised(Leg::Back(_)) => Phase::Poised(Leg::Back(because)),
            Phase::InFlight { .. } if self.plan.origin == Origin::First => {
                return Err(self.illegal(event));
            }
            Phase::InFlight { leg: leg @ Leg::Forward(_), .. } => {
                Phase::InFlight { leg: leg.clone(), order: Some(Order::Back(because)) }
            }
            Phase::InFlight { leg: Leg::Back(_), .. } => {
                Phase::InFlight { leg: Leg::Back(because), order: None }
            }
            _ => return Err(self.illegal(event)),
        };
        Ok(Self { phase, ..self })
    }

    /// Somebody goes on `at` this time. A soak that by their clock has not begun yet begins now.
    fn resumed(self, then: Phase, at: Timestamp) -> Self {
        let phase = match then {
            Phase::Soaking { step, since } => Phase::Soaking { step, since: since.min(at) },
            other => other,
        };
        Self { phase, ..self }
    }

    /// The way to where the plan began: a write, or none where nothing has been written.
    fn way_back(&self, because: Because) -> Phase {
        match self.written {
            0 => Phase::Due(Ending::Returned { because }),
            _ => Phase::Poised(Leg::Back(because)),
        }
    }

    fn write(&self, leg: &Leg) -> Decision {
        let write = AliasWrite { routing: self.wanted(leg), expect: self.expect(), note: self.note(leg) };
        Decision::Write { intent: self.intent(), write }
    }

    /// The name of the next write. Number 0 is the order to publish.
    fn intent(&self) -> Intent {
        Intent { run: self.plan.run, step: self.written + 1 }
    }

    fn expect(&self) -> Expect {
        match &self.left {
            Some(alias) => Expect::Revision(alias.revision.clone()),
            None => Expect::Absent,
        }
    }

    fn origin(&self) -> Option<&Routing> {
        match &self.plan.origin {
            Origin::First => None,
            Origin::From(alias) => Some(&alias.routing),
        }
    }

    /// Where the alias sends its traffic once `leg` is written.
    fn wanted(&self, leg: &Leg) -> Routing {
        match (leg, self.origin()) {
            (Leg::Back(_), Some(origin)) => origin.clone(),
            (Leg::Forward(step), _) => self.plan.routing(*step),
            (Leg::Back(_), None) => self.plan.routing(self.plan.last()),
        }
    }

    /// The description once `leg` is written: the user's text as it was last seen, and our breadcrumb.
    fn note(&self, leg: &Leg) -> Note {
        let crumb = |progress, prev: &[Version], digest: &str| Breadcrumb {
            run: self.plan.run,
            progress,
            prev: prev.to_vec(),
            digest: digest.to_owned(),
        };
        let breadcrumb = match (leg, &self.plan.origin) {
            (Leg::Back(_), Origin::From(alias)) => {
                alias.note.breadcrumb.as_ref().map(|old| match old.progress {
                    Progress::Ended => crumb(Progress::Ended, &old.prev, &old.digest),
                    // It told of a version that did not arrive, on top of the one that is live again.
                    Progress::Open => {
                        let skip = usize::from(old.prev.first() == Some(alias.routing.stable()));
                        crumb(Progress::Ended, &old.prev[skip..], UNKNOWN_DIGEST)
                    }
                })
            }
            (Leg::Forward(step), _) if *step < self.plan.last() => {
                Some(crumb(Progress::Open, &self.plan.prev, &self.plan.digest))
            }
            (Leg::Forward(_), _) | (Leg::Back(_), Origin::First) => {
                Some(crumb(Progress::Ended, &self.plan.prev, &self.plan.digest))
            }
        };
        let text = self.left.as_ref().map(|alias| alias.note.text.clone()).unwrap_or_default();
        Note { text, breadcrumb }
    }

    /// Whether `found` is what the write of `leg` leaves: its routing, and no other run's breadcrumb. A description that
    /// has no room for a breadcrumb has none.
    fn is_effect(&self, leg: &Leg, found: &Alias) -> bool {
        found.routing == self.wanted(leg)
            && found.note.breadcrumb.as_ref().is_none_or(|breadcrumb| breadcrumb.run == self.plan.run)
    }

    /// Whether `found` is the alias as it was left, though somebody may have edited its description.
    fn is_unmoved(&self, found: Option<&Alias>) -> bool {
        match (found, &self.left) {
            (None, None) => true,
            (Some(found), Some(left)) => {
                let run = |alias: &Alias| alias.note.breadcrumb.as_ref().map(|breadcrumb| breadcrumb.run);
                found.revision == left.revision
                    || (found.routing == left.routing && (run(found).is_none() || run(found) == run(left)))
            }
            _ => false,
        }
    }

    fn illegal(&self, event: &Event) -> Illegal {
        let why = match &self.phase {
            Phase::Poised(Leg::Back(_))
            | Phase::InFlight { leg: Leg::Back(_), .. }
            | Phase::InFlight { order: Some(Order::Back(_)), .. } => "the run is on its way back",
            Phase::Poised(Leg::Forward(_)) => "no write is under way",
            Phase::InFlight { .. } if self.plan.origin == Origin::First => {
                "it is the alias's first version, so there is nothing to go back to"
            }
            Phase::InFlight { .. } => "it is not what the write under way is for",
            Phase::Soaking { .. } => "a step is soaking",
            Phase::Holding { .. } | Phase::Held { .. } => "the run is held",
            Phase::Due(_) | Phase::Over(_) => "the run is over",
        };
        Illegal { event: event.word(), why: why.to_owned() }
    }
}
