//! Steps from what is wanted, what the cloud can do and what is live. Pure.

use std::time::Duration;

use longshore_contract::{Alias, AliasRef, Capabilities, Digest, Routing, RunId, Share, Split, Version};

use crate::ledger::{Origin, Plan, Remark, Step};

/// What is wanted of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShiftSpec {
    /// The run that moves it.
    pub run: RunId,
    /// The alias.
    pub alias: AliasRef,
    /// The version that is to have all traffic.
    pub to: Version,
    /// What that version runs.
    pub digest: Digest,
    /// The way there.
    pub strategy: Strategy,
}

/// The way from one version to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// All traffic in one write.
    AllAtOnce,
    /// These shares, each for its soak, and then all traffic. Strictly growing; a share of everything may stand last.
    Steps(Vec<Step>),
}

/// Why there is no plan. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The version is live already: there is nothing to do.
    #[error("version {version} has all traffic already")]
    AlreadyLive {
        /// The version.
        version: Version,
    },
    /// The alias is split: another run is under way, or was left.
    #[error("the alias is split already ({routing}){}", .run.map(|run| format!(", left so by run {run}")).unwrap_or_default())]
    AlreadySplit {
        /// Where it sends its traffic.
        routing: Routing,
        /// The run that its breadcrumb names.
        run: Option<RunId>,
    },
    /// The cloud's aliases do not split traffic.
    #[error(
        "this cloud's aliases send all traffic to one version (capability split: none), so a share of {share} cannot be kept"
    )]
    SplitUnsupported {
        /// The first share that was wanted.
        share: Share,
    },
    /// A share is not a multiple of what the cloud can do.
    #[error(
        "a share of {share} is finer than this cloud splits traffic (capability split: multiples of {granularity})"
    )]
    TooFine {
        /// The share.
        share: Share,
        /// What it must be a multiple of.
        granularity: Share,
    },
    /// The shares do not grow from step to step.
    #[error("step {number} is {share}: shares must grow from more than 0% to at most 100%")]
    NotGrowing {
        /// Which step, counted from 1.
        number: usize,
        /// Its share.
        share: Share,
    },
}

/// How many versions a breadcrumb is offered; a cloud's limit may take fewer.
const MOST_PREVIOUS: usize = 16;

/// Stands for a digest that nobody knows, where a breadcrumb needs one.
pub(crate) const UNKNOWN_DIGEST: &str = "000000000000";

/// The plan that brings `spec` about on an alias that is `live` now, with no I/O. The same input gives the same plan.
pub fn plan(spec: &ShiftSpec, capabilities: &Capabilities, live: Option<&Alias>) -> Result<Plan, Refusal> {
    let steps = steps(&spec.strategy, capabilities.split)?;
    let (origin, prev, steps, remarks) = match live {
        None => {
            let remarks = if steps.is_empty() { Vec::new() } else { vec![Remark::FirstIsAtOnce] };
            (Origin::First, Vec::new(), Vec::new(), remarks)
        }
        Some(alias) => match &alias.routing {
            Routing::All(version) if *version == spec.to => {
                return Err(Refusal::AlreadyLive { version: version.clone() });
            }
            Routing::All(version) => (Origin::From(alias.clone()), behind(version, alias), steps, Vec::new()),
            Routing::Split { .. } => {
                let run = alias.note.breadcrumb.as_ref().map(|breadcrumb| breadcrumb.run);
                return Err(Refusal::AlreadySplit { routing: alias.routing.clone(), run });
            }
        },
    };
    let last = Step { share: Share::ALL, soak: Duration::ZERO };
    Ok(Plan {
        run: spec.run,
        alias: spec.alias.clone(),
        origin,
        to: spec.to.clone(),
        digest: spec.digest.short().to_owned(),
        prev,
        steps: steps.into_iter().chain([last]).collect(),
        remarks,
    })
}

/// The steps before the last one.
fn steps(strategy: &Strategy, split: Split) -> Result<Vec<Step>, Refusal> {
    let Strategy::Steps(wanted) = strategy else { return Ok(Vec::new()) };
    let mut below = Share::NONE;
    for (index, step) in wanted.iter().enumerate() {
        if step.share <= below {
            return Err(Refusal::NotGrowing { number: index + 1, share: step.share });
        }
        below = step.share;
    }
    let steps: Vec<Step> = wanted.iter().copied().filter(|step| step.share < Share::ALL).collect();
    for Step { share, .. } in &steps {
        match split {
            Split::None => return Err(Refusal::SplitUnsupported { share: *share }),
            Split::TwoWay { granularity } if share.points() % granularity.points().max(1) != 0 => {
                return Err(Refusal::TooFine { share: *share, granularity });
            }
            Split::TwoWay { .. } => {}
        }
    }
    Ok(steps)
}

/// What will lie behind the new version once it is live: what is live now, and what the breadcrumb knows behind that.
/// A breadcrumb of a run that never arrived begins with what is live now, which counts once.
fn behind(version: &Version, alias: &Alias) -> Vec<Version> {
    let older = alias.note.breadcrumb.iter().flat_map(|breadcrumb| &breadcrumb.prev);
    let mut all: Vec<Version> = std::iter::once(version).chain(older).cloned().collect();
    all.dedup();
    all.truncate(MOST_PREVIOUS);
    all
}

#[cfg(test)]
mod tests {
    use longshore_contract::{AliasWrites, Breadcrumb, Note, Progress, PublishDedup, Revision};

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn spec(strategy: Strategy) -> ShiftSpec {
        ShiftSpec {
            run: "01J8Z0B4Q5W6X7Y8Z9A0B1C2D3".parse().unwrap(),
            alias: AliasRef { function: "shop".parse().unwrap(), alias: "live".parse().unwrap() },
            to: version("42"),
            digest: format!("sha256:{}", "3f9a61c0b2de".repeat(6).get(..64).unwrap()).parse().unwrap(),
            strategy,
        }
    }

    fn shares(points: &[u16]) -> Strategy {
        let step = |points: &u16| Step {
            share: Share::basis_points(*points).unwrap(),
            soak: Duration::from_secs(60),
        };
        Strategy::Steps(points.iter().map(step).collect())
    }

    fn can(split: Split) -> Capabilities {
        Capabilities {
            alias_writes: AliasWrites::Atomic,
            split,
            publish: PublishDedup::ByContent,
            platforms: Vec::new(),
            description_limit: 256,
        }
    }

    fn percent() -> Capabilities {
        can(Split::TwoWay { granularity: Share::basis_points(100).unwrap() })
    }

    fn live(routing: Routing, prev: &[&str], progress: Progress) -> Alias {
        Alias {
            routing,
            revision: Revision::from_provider("r1"),
            note: Note {
                text: "owned by ann".to_owned(),
                breadcrumb: Some(Breadcrumb {
                    run: "01J8Z0B4Q5W6X7Y8Z9A0B1C2D4".parse().unwrap(),
                    progress,
                    prev: prev.iter().map(|text| version(text)).collect(),
                    digest: "0123456789ab".to_owned(),
                }),
            },
        }
    }

    fn at(version_text: &str, prev: &[&str]) -> Alias {
        live(Routing::All(version(version_text)), prev, Progress::Ended)
    }

    #[test]
    fn every_way_ends_with_everything() {
        for (strategy, expected) in [
            (Strategy::AllAtOnce, vec![10_000]),
            (shares(&[]), vec![10_000]),
            (shares(&[500, 2_500]), vec![500, 2_500, 10_000]),
            (shares(&[500, 10_000]), vec![500, 10_000]),
            (shares(&[10_000]), vec![10_000]),
        ] {
            let plan = plan(&spec(strategy), &percent(), Some(&at("41", &["39", "36"]))).unwrap();
            let points: Vec<u16> = plan.steps.iter().map(|step| step.share.points()).collect();
            assert_eq!(points, expected);
            assert_eq!(plan.prev, ["41", "39", "36"].map(version));
            assert_eq!(plan.digest, "3f9a61c0b2de");
            assert_eq!(plan.steps.last().unwrap().soak, Duration::ZERO);
            assert_eq!(plan.remarks, []);
        }
    }

    #[test]
    fn a_first_deployment_is_one_write_and_says_so_where_steps_were_asked_for() {
        let plain = plan(&spec(Strategy::AllAtOnce), &percent(), None).unwrap();
        assert_eq!((plain.steps.len(), plain.origin), (1, Origin::First));
        assert_eq!(plain.remarks, []);
        let canary = plan(&spec(shares(&[500])), &percent(), None).unwrap();
        assert_eq!(canary.steps.len(), 1);
        assert_eq!(canary.remarks, [Remark::FirstIsAtOnce]);
        assert_eq!((canary.from(), &canary.prev[..]), (None, &[][..]));
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_never_rounded() {
        let refused = |strategy, capabilities: &Capabilities, alias: &Alias| {
            plan(&spec(strategy), capabilities, Some(alias)).unwrap_err().to_string()
        };
        let alias = at("41", &[]);
        assert_eq!(
            refused(shares(&[550]), &percent(), &alias),
            "a share of 5.5% is finer than this cloud splits traffic (capability split: multiples of 1%)"
        );
        assert_eq!(
            refused(shares(&[500]), &can(Split::None), &alias),
            "this cloud's aliases send all traffic to one version (capability split: none), so a share of 5% cannot be kept"
        );
        for (bad, number) in [(&[0][..], 1), (&[500, 500], 2), (&[2_500, 500], 2), (&[10_000, 10_000], 2)] {
            let text = refused(shares(bad), &percent(), &alias);
            assert!(text.starts_with(&format!("step {number} is ")), "{text}");
        }
        assert_eq!(
            refused(Strategy::AllAtOnce, &percent(), &at("42", &[])),
            "version 42 has all traffic already"
        );
        let split = Routing::split(version("41"), version("42"), Share::basis_points(500).unwrap());
        assert_eq!(
            refused(Strategy::AllAtOnce, &percent(), &live(split, &["41"], Progress::Open)),
            "the alias is split already (5% to 42, the rest to 41), left so by run 01J8Z0B4Q5W6X7Y8Z9A0B1C2D4"
        );
    }

    #[test]
    fn all_at_once_needs_no_split() {
        plan(&spec(Strategy::AllAtOnce), &can(Split::None), Some(&at("41", &[]))).unwrap();
        plan(&spec(shares(&[10_000])), &can(Split::None), Some(&at("41", &[]))).unwrap();
    }

    #[test]
    fn a_way_that_was_not_gone_to_its_end_is_not_remembered_as_gone() {
        let half = live(Routing::All(version("41")), &["41", "39"], Progress::Open);
        let plan = plan(&spec(Strategy::AllAtOnce), &percent(), Some(&half)).unwrap();
        assert_eq!(plan.prev, ["41", "39"].map(version));
    }
}
