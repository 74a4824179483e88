//! How traffic is to move, as it is asked for.

use std::time::Duration;

use longshore_contract::Share;

use super::mistake::{Drafts, quote};
use super::schema::{ErrorsTable, GateTable, LatencyTable, ShiftTable};
use super::shape::{At, Field, Form, FromText, Leaf, Refusal, spell, words};
use super::source::Span;

/// The smallest step of a linear strategy.
const SMALLEST_STEP: u16 = 100;

/// How traffic moves to a new version, and what stops it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShiftSpec {
    /// The way it goes.
    pub strategy: Strategy,
    /// What brings the old version back; `None` where only time passes. Never there with [`Strategy::AllAtOnce`].
    pub gate: Option<GateSpec>,
}

/// The way traffic goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// All of it in one write.
    AllAtOnce,
    /// Through these steps, at least one, their shares rising and all below [`Share::ALL`]; all of it comes behind the
    /// last.
    Steps(Vec<StepSpec>),
}

/// One share of traffic and how long it is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepSpec {
    /// The new version's share.
    pub share: Share,
    /// How long it stays there.
    pub soak: Duration,
}

/// How the new version is judged. At least one of `errors` and `p95` is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateSpec {
    /// How often it is judged; never longer than the shortest soak.
    pub every: Duration,
    /// How many bad judgements in a row bring the old version back; at least 1.
    pub bad: u32,
    /// How many judgements in a row without enough requests are silence; at least 1.
    pub silent: u32,
    /// Limits on failing requests.
    pub errors: Option<ErrorLimits>,
    /// Limits on the 95th percentile of latency.
    pub p95: Option<LatencyLimit>,
    /// With fewer requests than this a judgement says nothing.
    pub min_invocations: u64,
    /// What silence leads to.
    pub on_silence: OnSilence,
}

/// Limits on failing requests; at least one is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorLimits {
    /// The largest share of requests that may fail.
    pub max: Option<Share>,
    /// By how much that share may be above the stable version's.
    pub worse_than_stable_by: Option<Share>,
}

/// A limit on latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyLimit {
    /// The longest that 95 of 100 requests may take.
    pub max: Duration,
}

words! {
    /// What a gate does when there is nothing to judge by.
    pub enum OnSilence, "a way out of silence" {
        /// The run holds: somebody must look.
        Hold = "hold",
        /// The old version comes back.
        Return = "return",
        /// The run goes on as if all were well.
        Proceed = "proceed",
    }
}

/// A strategy as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StrategyWord {
    AllAtOnce,
    Canary,
    Linear,
    /// A name of CodeDeploy's, which says everything.
    Named(Strategy),
}

impl FromText for StrategyWord {
    fn leaf() -> Leaf {
        Leaf {
            word: "a strategy".into(),
            expected:
                "`all-at-once`, `canary`, `linear` or a name of CodeDeploy's, as in `Canary10Percent5Minutes`"
                    .to_owned(),
            form: Form::Text(concat!(
                "^(all-at-once|canary|linear|",
                "(CodeDeployDefault\\.[A-Za-z]*)?",
                "(AllAtOnce|Canary[0-9]+Percent[0-9]+Minutes?|Linear[0-9]+PercentEvery[0-9]+Minutes?))$"
            )),
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "all-at-once" => Ok(Self::AllAtOnce),
            "canary" => Ok(Self::Canary),
            "linear" => Ok(Self::Linear),
            _ => named(text).map(Self::Named).ok_or_else(|| Refusal {
                message: None,
                hint: super::mistake::did_you_mean(text, ["all-at-once", "canary", "linear"]),
            }),
        }
    }
}

/// Reads CodeDeploy's names, with or without `CodeDeployDefault.` and the platform's name before them.
fn named(text: &str) -> Option<Strategy> {
    let name = match text.strip_prefix("CodeDeployDefault.") {
        Some(name) => {
            let at = ["Canary", "Linear", "AllAtOnce"].iter().find_map(|kind| name.find(kind))?;
            name[..at].chars().all(|c| c.is_ascii_alphabetic()).then(|| &name[at..])?
        }
        None => text,
    };
    if name == "AllAtOnce" {
        return Some(Strategy::AllAtOnce);
    }
    let minutes = |text: &str| {
        let number = text.strip_suffix("Minutes").or_else(|| text.strip_suffix("Minute"))?;
        Some(Duration::from_secs(60 * u64::from(whole(number)?)))
    };
    if let Some(rest) = name.strip_prefix("Canary") {
        let (percent, rest) = rest.split_once("Percent")?;
        let share =
            Share::basis_points(whole(percent)?.checked_mul(100)?).filter(|share| *share < Share::ALL)?;
        return Some(Strategy::Steps(vec![StepSpec { share, soak: minutes(rest)? }]));
    }
    let (percent, rest) = name.strip_prefix("Linear")?.split_once("PercentEvery")?;
    let step = Share::basis_points(whole(percent)?.checked_mul(100)?).filter(|share| *share < Share::ALL)?;
    Some(linear(step, minutes(rest)?))
}

/// A whole number from 1 to 1000.
fn whole(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (1..=1000).contains(number))
}

/// Shares that rise by `step`, each watched for `every`. `step` is at least one basis point.
fn linear(step: Share, every: Duration) -> Strategy {
    let shares = (1..).map_while(|nth: u16| step.points().checked_mul(nth).and_then(Share::basis_points));
    let below_all = shares.take_while(|share| *share < Share::ALL);
    Strategy::Steps(below_all.map(|share| StepSpec { share, soak: every }).collect())
}

impl ShiftTable {
    /// The shift that is asked for; `owner` is the key it stands under.
    pub(crate) fn resolve(self, owner: Span, drafts: &mut Drafts) -> Option<ShiftSpec> {
        let before = drafts.count();
        let strategy = self.strategy(owner, drafts);
        if let (Some(Strategy::AllAtOnce), Some(gate)) = (&strategy, self.gate.stated()) {
            drafts
                .add(
                    gate.owner,
                    "`gate` has nothing to judge: all at once, no traffic is left on the old version",
                )
                .hint("take `gate` away, or choose `canary` or `linear`");
        }
        let gate_owner = place(&self.gate).unwrap_or(owner);
        let gate = self.gate.value().map(|gate| gate.resolve(gate_owner, strategy.as_ref(), drafts));
        let gate = match gate {
            Some(None) => return None,
            Some(Some(gate)) => Some(gate),
            None => None,
        };
        strategy.filter(|_| drafts.count() == before).map(|strategy| ShiftSpec { strategy, gate })
    }

    fn strategy(&self, owner: Span, drafts: &mut Drafts) -> Option<Strategy> {
        let word = &self.strategy.stated()?.value;
        let canary = [place(&self.steps).map(|at| (at, "steps")), place(&self.soak).map(|at| (at, "soak"))];
        let linear_keys =
            [place(&self.step).map(|at| (at, "step")), place(&self.every).map(|at| (at, "every"))];
        let mut refuse = |stated: &[Option<(Span, &str)>], why: &dyn Fn(&str) -> String, hint: &str| {
            for (at, key) in stated.iter().flatten() {
                drafts.add(*at, why(key)).hint(hint);
            }
        };
        match word {
            StrategyWord::AllAtOnce => {
                let why = |key: &str| {
                    format!("{} means nothing here: `all-at-once` moves all traffic in one write", quote(key))
                };
                refuse(&[canary, linear_keys].concat(), &why, "take it away, or choose `canary` or `linear`");
                Some(Strategy::AllAtOnce)
            }
            StrategyWord::Named(strategy) => {
                let why = |key: &str| {
                    format!("{} means nothing here: the strategy's name says it already", quote(key))
                };
                let hint = "take it away, or write `canary` or `linear` and state everything";
                refuse(&[canary, linear_keys].concat(), &why, hint);
                Some(strategy.clone())
            }
            StrategyWord::Canary => {
                let why = |key: &str| format!("{} belongs to `linear`, this is `canary`", quote(key));
                refuse(&linear_keys, &why, "`canary` takes `steps` and `soak`");
                let (steps, soak) = (&self.steps, &self.soak);
                let steps = needed(
                    steps,
                    "steps",
                    "`canary` needs `steps`, the shares it goes through",
                    "[ 5%, 25% ]",
                    owner,
                    drafts,
                );
                let soak = needed(
                    soak,
                    "soak",
                    "`canary` needs `soak`, how long each share is watched",
                    "5m",
                    owner,
                    drafts,
                );
                rising(&steps?.value, steps?.owner, soak?.value, drafts)
            }
            StrategyWord::Linear => {
                let why = |key: &str| format!("{} belongs to `canary`, this is `linear`", quote(key));
                refuse(&canary, &why, "`linear` takes `step` and `every`");
                let step = needed(
                    &self.step,
                    "step",
                    "`linear` needs `step`, how much the share goes up by",
                    "10%",
                    owner,
                    drafts,
                );
                let every = needed(
                    &self.every,
                    "every",
                    "`linear` needs `every`, how long each share is watched",
                    "1m",
                    owner,
                    drafts,
                );
                let (step, every) = (step?, every?);
                if !(SMALLEST_STEP..10_000).contains(&step.value.points()) {
                    drafts.add(step.at, "a `step` is at least 1% and less than 100%");
                    return None;
                }
                Some(linear(step.value, every.value))
            }
        }
    }
}

/// The key's place, where it is stated.
fn place<T>(field: &Field<T>) -> Option<Span> {
    field.stated().map(|stated| stated.owner)
}

/// The key's value; where it is absent, a note that the strategy needs it.
fn needed<'f, T>(
    field: &'f Field<T>,
    key: &str,
    why: &str,
    example: &str,
    owner: Span,
    drafts: &mut Drafts,
) -> Option<&'f At<T>> {
    if field.is_absent() {
        drafts.add(owner, why).hint(format!("add `{key}: {example}`"));
    }
    field.stated()
}

/// The steps of a canary. All of the traffic may be stated as the last share; it comes there anyway.
fn rising(shares: &[At<Share>], at: Span, soak: Duration, drafts: &mut Drafts) -> Option<Strategy> {
    let mut steps: Vec<StepSpec> = Vec::new();
    let mut fine = true;
    for (index, share) in shares.iter().enumerate() {
        let last = index + 1 == shares.len();
        let before = index.checked_sub(1).map_or(Share::NONE, |before| shares[before].value);
        if share.value <= before {
            let message = match before {
                Share::NONE => "a step of 0% moves nothing".to_owned(),
                before => format!("the shares must rise, and {} is not more than {before}", share.value),
            };
            drafts.add(share.at, message);
            fine = false;
        } else if share.value < Share::ALL || !last {
            steps.push(StepSpec { share: share.value, soak });
        }
    }
    if fine && steps.is_empty() {
        drafts.add(at, "there is no share below 100% in `steps`").hint("add one, or choose `all-at-once`");
        return None;
    }
    fine.then_some(Strategy::Steps(steps))
}

impl GateTable {
    fn resolve(self, owner: Span, strategy: Option<&Strategy>, drafts: &mut Drafts) -> Option<GateSpec> {
        if self.errors.is_absent() && self.p95.is_absent() {
            drafts
                .add(owner, "`gate` judges nothing")
                .hint("add `errors: { max: 1% }` or `p95: { max: 800ms }`");
            return None;
        }
        let every = self.every.stated()?;
        if let Some(Strategy::Steps(steps)) = strategy
            && let Some(soak) = steps.iter().map(|step| step.soak).min()
            && every.value > soak
        {
            let (every_text, soak) = (spell(every.value), spell(soak));
            drafts
                .add(
                    every.at,
                    format!("the gate judges every {every_text}, but a share is watched for {soak} only"),
                )
                .hint(format!("state `every` in `gate`, at most {soak}, or a longer soak"));
            return None;
        }
        let errors_at = place(&self.errors).unwrap_or(owner);
        let errors = match self.errors {
            Field::Absent => None,
            Field::Broken => return None,
            Field::Stated(errors) => Some(errors.value.resolve(errors_at, drafts)?),
        };
        let p95 = match self.p95 {
            Field::Absent => None,
            Field::Broken => return None,
            Field::Stated(latency) => Some(latency.value.resolve()?),
        };
        let small = |number: u64| u32::try_from(number).ok();
        Some(GateSpec {
            every: every.value,
            bad: small(self.bad.value()?.0)?,
            silent: small(self.silent.value()?.0)?,
            errors,
            p95,
            min_invocations: self.min_invocations.value()?.0,
            on_silence: self.on_silence.value()?,
        })
    }
}

impl ErrorsTable {
    fn resolve(self, owner: Span, drafts: &mut Drafts) -> Option<ErrorLimits> {
        if self.max.is_absent() && self.worse_than_stable_by.is_absent() {
            drafts
                .add(owner, "`errors` states no limit")
                .hint("add `max: 1%` or `worse_than_stable_by: 0.5%`");
            return None;
        }
        let limit = |field: Field<Share>| match field {
            Field::Absent => Some(None),
            Field::Broken => None,
            Field::Stated(share) => Some(Some(share.value)),
        };
        Some(ErrorLimits { max: limit(self.max)?, worse_than_stable_by: limit(self.worse_than_stable_by)? })
    }
}

impl LatencyTable {
    fn resolve(self) -> Option<LatencyLimit> {
        Some(LatencyLimit { max: self.max.value()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(number: u64) -> Duration {
        Duration::from_secs(60 * number)
    }

    #[test]
    fn every_name_of_codedeploys_is_understood() {
        let prefix = ["CodeDeployDefault.", "Lamb", "da"].concat();
        for soak in [5, 10, 15, 30] {
            for before in ["", "CodeDeployDefault.", &prefix] {
                let share = Share::basis_points(1000).unwrap();
                let expected = Strategy::Steps(vec![StepSpec { share, soak: minutes(soak) }]);
                assert_eq!(named(&format!("{before}Canary10Percent{soak}Minutes")), Some(expected));
            }
        }
        for every in [1, 2, 3, 10] {
            let plural = if every == 1 { "" } else { "s" };
            let Some(Strategy::Steps(steps)) =
                named(&format!("{prefix}Linear10PercentEvery{every}Minute{plural}"))
            else {
                panic!("Linear10PercentEvery{every}Minute{plural} was not understood")
            };
            let shares: Vec<u16> = steps.iter().map(|step| step.share.points()).collect();
            assert_eq!(shares, [1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000]);
            assert!(steps.iter().all(|step| step.soak == minutes(every)));
        }
        assert_eq!(named("CodeDeployDefault.ECSAllAtOnce"), Some(Strategy::AllAtOnce));
        for bad in [
            "Canary",
            "Canary0Percent5Minutes",
            "Canary100Percent5Minutes",
            "Canary10Percent5",
            "Linear10PercentEveryMinute",
            "OneAtATime",
            "XCanary10Percent5Minutes",
            "Canary+1Percent5Minutes",
        ] {
            assert_eq!(named(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_linear_way_ends_below_everything() {
        let shares = |step: u16| match linear(Share::basis_points(step).unwrap(), minutes(1)) {
            Strategy::Steps(steps) => steps.iter().map(|step| step.share.points()).collect::<Vec<_>>(),
            Strategy::AllAtOnce => Vec::new(),
        };
        assert_eq!(shares(3000), [3000, 6000, 9000]);
        assert_eq!(shares(5000), [5000]);
        assert_eq!(shares(100).len(), 99);
    }
}
