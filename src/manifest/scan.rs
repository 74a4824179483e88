//! Which findings stop a deploy.

use std::time::Duration;

use jiff::civil::Date;
use longshore_contract::ScanSeverity;

use super::mistake::Drafts;
use super::schema::{ScanTable, WaiverTable};
use super::shape::{Field, words};

/// Which findings of the registry's scanner stop a deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPolicy {
    /// The lowest severity that does.
    pub refuse: FindingSeverity,
    /// What a finding counts as whose severity nobody has stated.
    pub unknown_as: FindingSeverity,
    /// Whether findings count that no version mends.
    pub fixes: Fixes,
    /// Whether findings count that the live image has too.
    pub news: News,
    /// What happens where there is no scan to show.
    pub on_absent: OnAbsent,
    /// How long a scan may take, from its start.
    pub deadline: Duration,
    /// Findings that do not count until a day; no finding twice.
    pub ignore: Vec<Waiver>,
}

/// Whether findings count that no version mends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixes {
    /// They do.
    AllCount,
    /// Only those count that a newer version of the package mends.
    OnlyFixable,
}

/// Whether findings count that the live image has too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// They do.
    AllCount,
    /// Only those count that the deploy would bring.
    OnlyNew,
}

/// A finding that is known and accepted for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// The finding's name, as in `CVE-2025-1`.
    pub id: String,
    /// The last day it does not count, in UTC.
    pub until: Date,
    /// Why.
    pub because: String,
    /// Who decided it.
    pub by: String,
}

words! {
    /// How severe a finding is, the least first.
    pub enum FindingSeverity, "a severity" {
        /// Low.
        Low = "low",
        /// Medium.
        Medium = "medium",
        /// High.
        High = "high",
        /// Critical.
        Critical = "critical",
    }
}

impl From<FindingSeverity> for ScanSeverity {
    fn from(severity: FindingSeverity) -> Self {
        match severity {
            FindingSeverity::Low => Self::Low,
            FindingSeverity::Medium => Self::Medium,
            FindingSeverity::High => Self::High,
            FindingSeverity::Critical => Self::Critical,
        }
    }
}

words! {
    /// What happens where an image has no scan to show.
    pub enum OnAbsent, "an answer to a missing scan" {
        /// The deploy is refused.
        Refuse = "refuse",
        /// The deploy goes on and says so.
        Warn = "warn",
        /// The deploy goes on.
        Allow = "allow",
    }
}

impl ScanPolicy {
    /// What an empty `scan:` asks for.
    pub fn usual() -> Self {
        Self {
            refuse: FindingSeverity::High,
            unknown_as: FindingSeverity::Medium,
            fixes: Fixes::AllCount,
            news: News::AllCount,
            on_absent: OnAbsent::Refuse,
            deadline: Duration::from_secs(600),
            ignore: Vec::new(),
        }
    }
}

impl ScanTable {
    /// The policy that is asked for.
    pub(crate) fn resolve(self, drafts: &mut Drafts) -> Option<ScanPolicy> {
        let waivers = match self.ignore {
            Field::Absent => Vec::new(),
            Field::Broken => return None,
            Field::Stated(list) => list.value,
        };
        let mut ignore: Vec<Waiver> = Vec::new();
        for waiver in waivers {
            let at = waiver.value.id.stated().map_or(waiver.at, |id| id.at);
            let waiver = waiver.value.resolve()?;
            if ignore.iter().any(|other| other.id == waiver.id) {
                drafts.add(at, "this finding is ignored twice").hint("keep the entry that is right");
                return None;
            }
            ignore.push(waiver);
        }
        Some(ScanPolicy {
            refuse: self.refuse.value()?,
            unknown_as: self.unknown_as.value()?,
            fixes: if self.only_fixable.value()? { Fixes::OnlyFixable } else { Fixes::AllCount },
            news: if self.new_since_live.value()? { News::OnlyNew } else { News::AllCount },
            on_absent: self.on_absent.value()?,
            deadline: self.deadline.value()?,
            ignore,
        })
    }
}

impl WaiverTable {
    fn resolve(self) -> Option<Waiver> {
        Some(Waiver {
            id: self.id.value()?,
            until: self.until.value()?,
            because: self.because.value()?,
            by: self.by.value()?,
        })
    }
}
