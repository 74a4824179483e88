//! How a command or one of its rows ended, and the exit code that says so.

/// How a command or one of its rows ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The asked-for version is live.
    Arrived,
    /// It was live already; nothing was written.
    Unchanged,
    /// It was only planned.
    Planned,
    /// The old version is back because the user asked for it.
    ReturnedAsAsked,
    /// What a verb that moves no traffic is for has been done.
    Done,
    /// Something unexpected.
    Failed,
    /// The command line or the manifest is wrong.
    Invalid,
    /// Preflight, policy or readiness said no; no traffic moved.
    Refused,
    /// A gate or a failure brought the old version back.
    Returned,
    /// Somebody must look or approve; traffic is as it was.
    Held,
    /// Another run, or the ledger, is in the way.
    Preempted,
    /// Rows ended under different codes.
    Partial,
}

impl Outcome {
    /// Every outcome, in the order of their codes; under one code, what is most worth saying first.
    pub const ALL: [Self; 12] = [
        Self::Arrived,
        Self::ReturnedAsAsked,
        Self::Planned,
        Self::Unchanged,
        Self::Done,
        Self::Failed,
        Self::Invalid,
        Self::Refused,
        Self::Returned,
        Self::Held,
        Self::Preempted,
        Self::Partial,
    ];

    /// The process's exit code: public, and never given another meaning.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Arrived | Self::Unchanged | Self::Planned | Self::ReturnedAsAsked | Self::Done => 0,
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::Refused => 3,
            Self::Returned => 4,
            Self::Held => 5,
            Self::Preempted => 6,
            Self::Partial => 7,
        }
    }

    /// The word for it in JSON and on the terminal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Unchanged => "unchanged",
            Self::Planned => "planned",
            Self::ReturnedAsAsked | Self::Returned => "returned",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::Held => "held",
            Self::Preempted => "preempted",
            Self::Partial => "partial",
        }
    }

    /// When it is the outcome, as a sentence for the page of exit codes.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Arrived => "The asked-for version is live.",
            Self::Unchanged => "The asked-for version was live already; nothing was written.",
            Self::Planned => "A plan was made (`plan`, `deploy --dry-run`); nothing was written.",
            Self::ReturnedAsAsked => {
                "The old version is back because it was asked for (`rollback`, `abort`)."
            }
            Self::Done => {
                "Every other verb did what it is for; `status` says so beside an open run too, and `invoke` when the \
                 function answered."
            }
            Self::Failed => "Something unexpected, as a function that answers `invoke` with an error.",
            Self::Invalid => "The command line or the manifest is wrong. Nothing was done.",
            Self::Refused => {
                "Preflight, policy or readiness said no: a failed `build:`, an unfit, corrupt or hostile image, no \
                 such platform, a version that does not start, a taken port, an alias split by no known run, nothing \
                 further back, no open run to resume, promote or abort. No traffic moved."
            }
            Self::Returned => "A gate or a failure brought the old version back.",
            Self::Held => "Somebody must look or approve; Ctrl-C ends here too. Traffic is as it was left.",
            Self::Preempted => {
                "Another run, or the ledger, is in the way; also a run that somebody else took over."
            }
            Self::Partial => {
                "Several destinations, and their rows fall under different codes; rows that all fall under one code \
                 give that code."
            }
        }
    }

    /// The outcome of several rows together: theirs where all fall under one code, else [`Outcome::Partial`]; `none`
    /// where there are no rows.
    pub fn of_rows(rows: impl IntoIterator<Item = Self>, none: Self) -> Self {
        // `ALL` stands in order of weight within a code, so the least is what is worth saying.
        let weight = |outcome: &Self| Self::ALL.iter().position(|other| other == outcome);
        let mut rows: Vec<Self> = rows.into_iter().collect();
        rows.sort_by_key(weight);
        match (rows.first(), rows.last()) {
            (Some(first), Some(last)) if first.exit_code() == last.exit_code() => *first,
            (Some(_), _) => Self::Partial,
            (None, _) => none,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_under_one_code_give_that_code() {
        let of = |rows: &[Outcome]| Outcome::of_rows(rows.iter().copied(), Outcome::Done);
        assert_eq!(of(&[]), Outcome::Done);
        assert_eq!(of(&[Outcome::Unchanged, Outcome::Arrived]), Outcome::Arrived);
        assert_eq!(of(&[Outcome::Unchanged, Outcome::ReturnedAsAsked]), Outcome::ReturnedAsAsked);
        assert_eq!(of(&[Outcome::Refused, Outcome::Refused]), Outcome::Refused);
        assert_eq!(of(&[Outcome::Arrived, Outcome::Refused]), Outcome::Partial);
        assert_eq!(of(&[Outcome::Refused, Outcome::Failed]), Outcome::Partial);
    }

    #[test]
    fn every_outcome_is_listed_once() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::ALL.iter().filter(|other| **other == outcome).count(), 1);
        }
        assert!(Outcome::ALL.is_sorted_by_key(|outcome| outcome.exit_code()));
    }
}
