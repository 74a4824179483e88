//! What the scan stage leaves in an entry: counts and the worst of what was found, within bounds.

use jiff::Timestamp;
use longshore_contract::{ScanFinding, ScanSeverity, ScanTicket};
use serde::{Deserialize, Serialize};

/// The most findings that are kept of a scan.
const MOST_KEPT: usize = 20;

/// The most characters that are kept of any text of a finding.
const LONGEST: usize = 200;

/// What the scan stage learned and decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanRecord {
    /// Who scanned; `None` where there is no scan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanner: Option<String>,
    /// When the scan was made, where that is known: what is known of an image grows while the image stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanned: Option<Timestamp>,
    /// Everything that was found, each finding once, whatever the policy says to it.
    pub findings: FindingCounts,
    /// How many of them the policy refuses.
    pub stopping: u32,
    /// How many more it would refuse, were they not on its list of ignored ones.
    pub ignored: u32,
    /// The worst of those that are refused; where none is, of those that were found. The rest are only counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worst: Vec<ScanFinding>,
    /// Why there is no scan, or why the image is refused, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who let the image pass all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<ScanWaiver>,
}

impl ScanRecord {
    /// The same with `findings`, the worst first, cut to what is kept.
    #[must_use]
    pub fn with_worst<'a>(self, findings: impl IntoIterator<Item = &'a ScanFinding>) -> Self {
        Self { worst: findings.into_iter().take(MOST_KEPT).map(cut).collect(), ..self }
    }
}

fn cut(finding: &ScanFinding) -> ScanFinding {
    let text = |text: &str| text.chars().take(LONGEST).collect::<String>();
    let maybe = |value: &Option<String>| value.as_deref().map(text);
    ScanFinding {
        id: text(&finding.id),
        severity: finding.severity,
        stated: text(&finding.stated),
        package: text(&finding.package),
        installed: text(&finding.installed),
        fixed: maybe(&finding.fixed),
        link: maybe(&finding.link),
    }
}

/// Somebody's word that an image which the policy refuses may pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanWaiver {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Findings by severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingCounts {
    /// Critical ones.
    pub critical: u32,
    /// High ones.
    pub high: u32,
    /// Medium ones.
    pub medium: u32,
    /// Low ones.
    pub low: u32,
    /// Ones whose severity nobody has stated.
    pub unknown: u32,
}

impl FindingCounts {
    /// The counts of `severities`.
    pub fn of(severities: impl IntoIterator<Item = ScanSeverity>) -> Self {
        let mut counts = Self::default();
        for severity in severities {
            let count = match severity {
                ScanSeverity::Critical => &mut counts.critical,
                ScanSeverity::High => &mut counts.high,
                ScanSeverity::Medium => &mut counts.medium,
                ScanSeverity::Low => &mut counts.low,
                ScanSeverity::Unknown => &mut counts.unknown,
            };
            *count = count.saturating_add(1);
        }
        counts
    }
}

impl std::fmt::Display for FindingCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            (self.critical, "critical"),
            (self.high, "high"),
            (self.medium, "medium"),
            (self.low, "low"),
            (self.unknown, "unknown"),
        ];
        let there: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        if there.is_empty() { f.write_str("no findings") } else { f.write_str(&there.join(", ")) }
    }
}

/// A scan that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanning {
    /// What it is known by.
    pub ticket: ScanTicket,
    /// When it was started, by the ledger.
    pub since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_scan_is_bounded() {
        let long = "x".repeat(100_000);
        let finding = ScanFinding {
            id: long.clone(),
            severity: ScanSeverity::High,
            stated: long.clone(),
            package: long.clone(),
            installed: long.clone(),
            fixed: Some(long.clone()),
            link: Some(long),
        };
        let findings = vec![finding; 10_000];
        let record = ScanRecord::default().with_worst(&findings);
        assert_eq!(record.worst.len(), MOST_KEPT);
        assert!(serde_json::to_vec(&record).unwrap().len() < 64 * 1024);
    }

    #[test]
    fn counts_are_told_in_order_and_zeros_are_not() {
        use ScanSeverity::{Critical, Low, Unknown};
        assert_eq!(
            FindingCounts::of([Low, Critical, Unknown, Low]).to_string(),
            "1 critical, 2 low, 1 unknown"
        );
        assert_eq!(FindingCounts::default().to_string(), "no findings");
    }
}
