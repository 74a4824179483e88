//! From errors to faults: what programs read and people see.

use longshore_contract::Error;

use super::{Answer, exit, hints};
use crate::ledger::Ending;
use crate::manifest::{Mistake, Mistakes};
use crate::pipeline::{Arrival, Failure};
use crate::report::{At, Fault, Outcome};

/// A fault of the command line.
pub(super) fn usage(message: impl Into<String>) -> Fault {
    let hint = Some("`longshore VERB --help` shows what a verb takes".to_owned());
    Fault { kind: "usage".to_owned(), message: message.into(), hint, at: None }
}

/// A fault without a place.
pub(super) fn fault(kind: &str, message: impl Into<String>, hint: Option<String>) -> Fault {
    Fault { kind: kind.to_owned(), message: message.into(), hint, at: None }
}

/// What prevented a run, and the outcome it makes.
pub(super) fn of_failure(failure: &Failure) -> (Outcome, Fault) {
    let (outcome, kind) = exit::of_failure(failure);
    (outcome, fault(kind, failure.to_string(), hints::of_failure(failure)))
}

/// Why a run that was not prevented did not come to what was asked; `None` where it did.
pub(super) fn of_arrival(arrival: &Arrival, outcome: Outcome) -> Option<Fault> {
    let Arrival::Ended(ending) = arrival else { return None };
    match ending {
        Ending::Arrived | Ending::Unchanged => None,
        Ending::Returned { .. } if outcome == Outcome::ReturnedAsAsked => None,
        Ending::Returned { because } => {
            let message = format!("the old version is back: {because}");
            Some(fault(exit::word_of(because), message, Some(hints::of_because(because))))
        }
        Ending::Held { because } => {
            Some(fault(exit::word_of(because), format!("held: {because}"), Some(hints::of_because(because))))
        }
        Ending::Refused { why, .. } | Ending::Failed { why } => Some(fault("not_moved", why.clone(), None)),
    }
}

impl Answer {
    /// A cloud that could not be connected to.
    pub(super) fn of_cloud(error: Error) -> Self {
        Self::of_failure(&Failure::Cloud(error))
    }

    /// A verb that a failure kept from making any row.
    pub(super) fn of_failure(failure: &Failure) -> Self {
        let (outcome, fault) = of_failure(failure);
        Self::failed(outcome, vec![fault])
    }

    /// A manifest with mistakes.
    pub(super) fn of_mistakes(mistakes: &Mistakes) -> Self {
        Self::Mistakes(mistakes.clone())
    }
}

/// A mistake as a fault; people see its excerpt instead.
pub(super) fn of_mistake(mistake: &Mistake) -> Fault {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let expected = mistake.expected.as_ref().map(|expected| format!("expected {expected}"));
    Fault {
        kind: "manifest".to_owned(),
        message: if mistake.at.line > 0 {
            mistake.message.clone()
        } else {
            format!("{}: {}", mistake.at, mistake.message)
        },
        hint: match (expected, &mistake.hint) {
            (Some(expected), Some(hint)) => Some(format!("{expected}; {hint}")),
            (expected, hint) => expected.or_else(|| hint.clone()),
        },
        // Line 0 means the file as a whole: that is no place.
        at: (mistake.at.line > 0).then(|| At {
            file: mistake.at.file.clone(),
            line: number(mistake.at.line),
            column: number(mistake.at.column),
        }),
    }
}
