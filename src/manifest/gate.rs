//! What brings the old version back while a share of traffic is watched.

use std::time::Duration;

use longshore_contract::Share;

use super::mistake::Drafts;
use super::schema::{ErrorsTable, GateTable, LatencyTable};
use super::shape::{Field, spell, words};
use super::shift::{Strategy, place};
use super::source::Span;

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
        /// The run waits until there is something to judge by.
        Wait = "wait",
        /// The run goes on as if all were well.
        Promote = "promote",
        /// The old version comes back.
        Return = "return",
        /// The smoke requests are sent to the new version itself.
        Probe = "probe",
    }
}

impl GateTable {
    /// The gate that is asked for, for a way that traffic goes; `owner` is its key.
    pub(crate) fn resolve(
        self,
        owner: Span,
        strategy: Option<&Strategy>,
        drafts: &mut Drafts,
    ) -> Option<GateSpec> {
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
