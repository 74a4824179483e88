//! Evidence and policy to a verdict: pure.

use std::collections::HashSet;
use std::time::Duration;

use jiff::civil::Date;
use longshore_contract::{ScanFinding, ScanReport, ScanSeverity};

use crate::ledger::{FindingCounts, ScanRecord, ScanWaiver, ScanWord};
use crate::manifest::{Fixes, News, OnAbsent, ScanPolicy};

/// What is known of an image's findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// They are these.
    Report(ScanReport),
    /// Nothing is.
    Nothing(Absence),
}

/// Why nothing is known of an image's findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// The provider has no scanner.
    NoScanner,
    /// Nobody has scanned it.
    NotScanned {
        /// What was looked for.
        why: String,
    },
    /// The scanner cannot look into it.
    Unscannable {
        /// The scanner's reason.
        why: String,
    },
    /// Its scan broke off.
    Failed {
        /// The scanner's reason.
        why: String,
    },
    /// Its scan was not over in time.
    TooLate {
        /// How long it had.
        deadline: Duration,
    },
}

impl std::fmt::Display for Absence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoScanner => f.write_str("this provider scans no images"),
            Self::NotScanned { why } => write!(f, "the image is not scanned: {why}"),
            Self::Unscannable { why } => write!(f, "the image cannot be scanned: {why}"),
            Self::Failed { why } => write!(f, "the scan broke off: {why}"),
            Self::TooLate { deadline } => write!(f, "the scan was not over within {deadline:?}"),
        }
    }
}

/// What the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The findings are within the policy.
    Cleared,
    /// They are beyond it, and each was ignored by name, or somebody waived the policy.
    Waived,
    /// The image is refused.
    Refused,
    /// There is no scan, and the policy lets that pass.
    Absent,
}

impl Verdict {
    /// The word for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cleared => "cleared",
            Self::Waived => "waived",
            Self::Refused => "refused",
            Self::Absent => "absent",
        }
    }

    /// The word under which the ledger lets the image pass; `None` where it does not.
    pub fn passes(self) -> Option<ScanWord> {
        match self {
            Self::Cleared => Some(ScanWord::Cleared),
            Self::Waived => Some(ScanWord::Waived),
            Self::Absent => Some(ScanWord::Absent),
            Self::Refused => None,
        }
    }
}

impl From<ScanWord> for Verdict {
    fn from(word: ScanWord) -> Self {
        match word {
            ScanWord::Cleared => Self::Cleared,
            ScanWord::Waived => Self::Waived,
            ScanWord::Absent => Self::Absent,
        }
    }
}

/// A verdict with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// What the ledger keeps of it.
    pub record: ScanRecord,
    /// What somebody should know, one line each.
    pub notes: Vec<String>,
}

/// What is known of the image that is live, where the policy asks only for what is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// Nothing is live.
    Nothing,
    /// An image is, and this is known of it.
    Image(Evidence),
}

/// What `policy` says to `evidence` on the day `today` (in UTC). `before` is what is live, where the policy compares.
/// No scan is not a clean scan: it passes only where the policy says so.
pub fn judge(policy: &ScanPolicy, evidence: &Evidence, before: &Before, today: Date) -> Judged {
    match evidence {
        Evidence::Report(report) => judge_report(policy, report, before, today),
        Evidence::Nothing(absence) => judge_absence(policy, absence),
    }
}

fn judge_absence(policy: &ScanPolicy, absence: &Absence) -> Judged {
    let (verdict, why, notes) = match policy.on_absent {
        OnAbsent::Refuse => (Verdict::Refused, format!("{absence}, and `on_absent` is `refuse`"), Vec::new()),
        OnAbsent::Warn => (Verdict::Absent, absence.to_string(), vec![format!("scan: {absence}")]),
        OnAbsent::Allow => (Verdict::Absent, absence.to_string(), Vec::new()),
    };
    Judged { verdict, record: ScanRecord { why: Some(why), ..ScanRecord::default() }, notes }
}

fn judge_report(policy: &ScanPolicy, report: &ScanReport, before: &Before, today: Date) -> Judged {
    let mut notes = Vec::new();
    let findings = each_once(&report.findings);
    let threshold = threshold(policy, report, &mut notes);
    let known = known(policy, before, &mut notes);
    let beyond = |finding: &&ScanFinding| {
        counted_as(finding, policy) >= threshold
            && (policy.fixes == Fixes::AllCount || finding.fixed.is_some())
            && !known.contains(&(finding.id.as_str(), finding.package.as_str()))
    };
    let (ignored, mut stopping): (Vec<&ScanFinding>, Vec<&ScanFinding>) =
        findings.iter().copied().filter(beyond).partition(|finding| {
            policy.ignore.iter().any(|waiver| waiver.id == finding.id && waiver.until >= today)
        });
    for waiver in policy.ignore.iter().filter(|waiver| waiver.until < today) {
        if stopping.iter().any(|finding| finding.id == waiver.id) {
            let (id, by, until) = (&waiver.id, &waiver.by, waiver.until);
            notes.push(format!("scan: {id} was ignored by {by} until {until} and counts again"));
        }
    }
    let severities = findings.iter().map(|finding| finding.severity);
    let record = ScanRecord {
        scanner: Some(report.scanner.chars().take(200).collect()),
        scanned: report.scanned,
        findings: FindingCounts::of(severities),
        stopping: count(stopping.len()),
        ignored: count(ignored.len()),
        ..ScanRecord::default()
    };
    let worst_first = |findings: &mut Vec<&ScanFinding>| {
        findings.sort_by(|a, b| {
            let rank = |finding: &ScanFinding| {
                std::cmp::Reverse((counted_as(finding, policy), finding.fixed.is_some()))
            };
            (rank(a), &a.id, &a.package).cmp(&(rank(b), &b.id, &b.package))
        });
    };
    if stopping.is_empty() {
        let mut findings = findings;
        worst_first(&mut findings);
        let verdict = if ignored.is_empty() { Verdict::Cleared } else { Verdict::Waived };
        return Judged { verdict, record: record.with_worst(findings), notes };
    }
    worst_first(&mut stopping);
    let why = reason(policy, threshold, &stopping);
    Judged {
        verdict: Verdict::Refused,
        record: ScanRecord { why: Some(why), ..record }.with_worst(stopping),
        notes,
    }
}

/// The least severity that is refused. A threshold above what the scanner can say would let everything pass, so the
/// scanner's highest word counts for it.
fn threshold(policy: &ScanPolicy, report: &ScanReport, notes: &mut Vec<String>) -> ScanSeverity {
    let asked = ScanSeverity::from(policy.refuse);
    if report.ceiling >= asked || report.ceiling == ScanSeverity::Unknown {
        return asked;
    }
    let (scanner, ceiling) = (&report.scanner, report.ceiling);
    notes
        .push(format!("scan: {scanner} has no word above `{ceiling}`, so that counts for `refuse: {asked}`"));
    ceiling
}

fn counted_as(finding: &ScanFinding, policy: &ScanPolicy) -> ScanSeverity {
    match finding.severity {
        ScanSeverity::Unknown => policy.unknown_as.into(),
        severity => severity,
    }
}

/// The findings that do not count because the live image has them too, each by its name and package: a package that was
/// only updated to another bad version brings nothing new.
fn known<'a>(
    policy: &ScanPolicy,
    before: &'a Before,
    notes: &mut Vec<String>,
) -> HashSet<(&'a str, &'a str)> {
    match (policy.news, before) {
        (News::AllCount, _) | (News::OnlyNew, Before::Nothing) => HashSet::new(),
        (News::OnlyNew, Before::Image(Evidence::Report(live))) => {
            live.findings.iter().map(|finding| (finding.id.as_str(), finding.package.as_str())).collect()
        }
        (News::OnlyNew, Before::Image(Evidence::Nothing(absence))) => {
            notes.push(format!(
                "scan: what is live cannot be compared with ({absence}), so every finding counts"
            ));
            HashSet::new()
        }
    }
}

/// The findings without those that stand there again for another place in the image.
fn each_once(findings: &[ScanFinding]) -> Vec<&ScanFinding> {
    let mut seen = HashSet::new();
    let key = |finding: &&ScanFinding| {
        seen.insert((
            finding.id.clone(),
            finding.package.clone(),
            finding.installed.clone(),
            finding.severity,
        ))
    };
    findings.iter().filter(key).collect()
}

fn reason(policy: &ScanPolicy, threshold: ScanSeverity, stopping: &[&ScanFinding]) -> String {
    let counts = FindingCounts::of(stopping.iter().map(|finding| finding.severity));
    let what = match (policy.fixes, policy.news) {
        (Fixes::AllCount, News::AllCount) => "",
        (Fixes::OnlyFixable, News::AllCount) => "fixable ",
        (Fixes::AllCount, News::OnlyNew) => "new ",
        (Fixes::OnlyFixable, News::OnlyNew) => "new and fixable ",
    };
    let (number, worse) =
        (stopping.len(), if threshold == ScanSeverity::Critical { "" } else { " or worse" });
    let findings = if number == 1 { "finding" } else { "findings" };
    format!("{number} {what}{findings} of severity {threshold}{worse} ({counts})")
}

/// The same with somebody's word that the image may pass. Where it passes by itself the word is not needed, and not used.
pub fn waive(mut judged: Judged, waiver: ScanWaiver) -> Judged {
    if judged.verdict == Verdict::Refused {
        judged.verdict = Verdict::Waived;
        judged.notes.push(format!("scan: waived by {}: {}", waiver.by, waiver.reason));
        judged.record.waiver = Some(waiver);
    } else {
        judged.notes.push("scan: nothing had to be waived".to_owned());
    }
    judged
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::manifest::{FindingSeverity, Waiver};

    const TODAY: Date = date(2026, 11, 20);

    fn finding(id: &str, severity: ScanSeverity) -> ScanFinding {
        ScanFinding {
            id: id.to_owned(),
            severity,
            stated: severity.word().to_uppercase(),
            package: "openssl".to_owned(),
            installed: "3.0.1".to_owned(),
            fixed: Some("3.0.2".to_owned()),
            link: None,
        }
    }

    fn report(findings: Vec<ScanFinding>) -> Evidence {
        Evidence::Report(ScanReport {
            digest: format!("sha256:{}", "1".repeat(64)).parse().unwrap(),
            scanner: "trivy".to_owned(),
            scanned: None,
            ceiling: ScanSeverity::Critical,
            findings,
        })
    }

    fn judged(policy: &ScanPolicy, evidence: &Evidence) -> Judged {
        judge(policy, evidence, &Before::Nothing, TODAY)
    }

    fn waiver(id: &str, until: Date) -> Waiver {
        Waiver { id: id.to_owned(), until, because: "not reachable".to_owned(), by: "ann".to_owned() }
    }

    #[test]
    fn no_evidence_passes_only_where_the_policy_says_so() {
        let absences = [
            Absence::NoScanner,
            Absence::NotScanned { why: "no report".to_owned() },
            Absence::Unscannable { why: "no packages".to_owned() },
            Absence::Failed { why: "out of memory".to_owned() },
            Absence::TooLate { deadline: Duration::from_secs(600) },
        ];
        for absence in absences {
            let evidence = Evidence::Nothing(absence.clone());
            let of = |on_absent| judged(&ScanPolicy { on_absent, ..ScanPolicy::usual() }, &evidence);
            let refused = of(OnAbsent::Refuse);
            assert_eq!(refused.verdict, Verdict::Refused);
            assert!(refused.record.why.unwrap().contains(&absence.to_string()));
            let (warned, allowed) = (of(OnAbsent::Warn), of(OnAbsent::Allow));
            assert_eq!((warned.verdict, allowed.verdict), (Verdict::Absent, Verdict::Absent));
            assert_eq!((warned.notes.len(), allowed.notes.len()), (1, 0));
        }
    }

    #[test]
    fn a_finding_stops_from_the_threshold_on() {
        use ScanSeverity::{Critical, High, Low, Medium};
        let at = |refuse| ScanPolicy { refuse, ..ScanPolicy::usual() };
        for (threshold, severity, verdict) in [
            (FindingSeverity::High, Medium, Verdict::Cleared),
            (FindingSeverity::High, High, Verdict::Refused),
            (FindingSeverity::High, Critical, Verdict::Refused),
            (FindingSeverity::Critical, High, Verdict::Cleared),
            (FindingSeverity::Low, Low, Verdict::Refused),
        ] {
            let judged = judged(&at(threshold), &report(vec![finding("CVE-1", severity)]));
            assert_eq!(judged.verdict, verdict, "{threshold:?} {severity}");
        }
        assert_eq!(judged(&at(FindingSeverity::Low), &report(Vec::new())).verdict, Verdict::Cleared);
    }

    #[test]
    fn a_severity_that_nobody_stated_counts_as_the_policy_says() {
        let evidence = report(vec![finding("CVE-1", ScanSeverity::Unknown)]);
        let of = |unknown_as| judged(&ScanPolicy { unknown_as, ..ScanPolicy::usual() }, &evidence);
        assert_eq!(of(FindingSeverity::Medium).verdict, Verdict::Cleared);
        let refused = of(FindingSeverity::High);
        assert_eq!(refused.verdict, Verdict::Refused);
        assert_eq!(refused.record.findings, FindingCounts { unknown: 1, ..FindingCounts::default() });
    }

    #[test]
    fn a_scanner_without_the_word_is_held_to_its_highest() {
        let Evidence::Report(report) = report(vec![finding("CVE-1", ScanSeverity::High)]) else {
            unreachable!()
        };
        let policy = ScanPolicy { refuse: FindingSeverity::Critical, ..ScanPolicy::usual() };
        let lesser = Evidence::Report(ScanReport { ceiling: ScanSeverity::High, ..report });
        let judged = judged(&policy, &lesser);
        assert_eq!(judged.verdict, Verdict::Refused);
        assert!(judged.notes[0].contains("no word above `high`"), "{:?}", judged.notes);
    }

    #[test]
    fn only_fixable_lets_pass_what_no_version_mends() {
        let policy = ScanPolicy { fixes: Fixes::OnlyFixable, ..ScanPolicy::usual() };
        let hopeless = ScanFinding { fixed: None, ..finding("CVE-1", ScanSeverity::Critical) };
        let cleared = judged(&policy, &report(vec![hopeless.clone()]));
        assert_eq!((cleared.verdict, cleared.record.findings.critical), (Verdict::Cleared, 1));
        let both = report(vec![hopeless, finding("CVE-2", ScanSeverity::High)]);
        let refused = judged(&policy, &both);
        assert_eq!((refused.verdict, refused.record.stopping), (Verdict::Refused, 1));
        assert!(refused.record.why.unwrap().starts_with("1 fixable finding "));
    }

    #[test]
    fn new_since_live_counts_what_live_does_not_have() {
        let policy = ScanPolicy { news: News::OnlyNew, ..ScanPolicy::usual() };
        let (old, new) = (finding("CVE-1", ScanSeverity::High), finding("CVE-2", ScanSeverity::High));
        let updated = ScanFinding { installed: "3.0.9".to_owned(), ..old.clone() };
        let elsewhere = ScanFinding { package: "libssl3".to_owned(), ..old.clone() };
        let live = Before::Image(report(vec![old.clone()]));
        let of = |findings, before: &Before| judge(&policy, &report(findings), before, TODAY);
        assert_eq!(of(vec![old.clone()], &live).verdict, Verdict::Cleared);
        assert_eq!(of(vec![updated], &live).verdict, Verdict::Cleared, "another bad version is nothing new");
        assert_eq!(of(vec![elsewhere], &live).verdict, Verdict::Refused);
        let refused = of(vec![old.clone(), new], &live);
        assert_eq!((refused.verdict, refused.record.worst[0].id.as_str()), (Verdict::Refused, "CVE-2"));
        assert_eq!(of(vec![old.clone()], &Before::Nothing).verdict, Verdict::Refused);
        let unknown = Before::Image(Evidence::Nothing(Absence::NoScanner));
        let refused = of(vec![old], &unknown);
        assert_eq!(refused.verdict, Verdict::Refused, "what cannot be compared counts");
        assert!(refused.notes[0].contains("cannot be compared"), "{:?}", refused.notes);
    }

    #[test]
    fn an_ignored_finding_is_waived_to_the_end_of_its_last_day_and_counts_again() {
        let evidence = report(vec![finding("CVE-1", ScanSeverity::High)]);
        let of = |ignore| judged(&ScanPolicy { ignore, ..ScanPolicy::usual() }, &evidence);
        let waived = of(vec![waiver("CVE-1", TODAY)]);
        assert_eq!((waived.verdict, waived.record.ignored, waived.notes.len()), (Verdict::Waived, 1, 0));
        let expired = of(vec![waiver("CVE-1", date(2026, 11, 19))]);
        assert_eq!((expired.verdict, expired.record.stopping), (Verdict::Refused, 1));
        assert_eq!(expired.notes, ["scan: CVE-1 was ignored by ann until 2026-11-19 and counts again"]);
        assert_eq!(of(vec![waiver("CVE-2", TODAY)]).verdict, Verdict::Refused);
    }

    #[test]
    fn a_finding_in_several_places_is_one() {
        let one = finding("CVE-1", ScanSeverity::High);
        let judged = judged(&ScanPolicy::usual(), &report(vec![one.clone(), one.clone(), one]));
        assert_eq!((judged.record.findings.high, judged.record.stopping), (1, 1));
    }

    #[test]
    fn the_worst_come_first_and_those_that_can_be_mended_before_the_others() {
        use ScanSeverity::{Critical, High};
        let hopeless = ScanFinding { fixed: None, ..finding("CVE-1", Critical) };
        let all = vec![finding("CVE-3", High), hopeless, finding("CVE-2", Critical)];
        let judged = judged(&ScanPolicy::usual(), &report(all));
        let ids: Vec<&str> = judged.record.worst.iter().map(|finding| finding.id.as_str()).collect();
        assert_eq!(ids, ["CVE-2", "CVE-1", "CVE-3"]);
        assert_eq!(
            judged.record.why.as_deref(),
            Some("3 findings of severity high or worse (2 critical, 1 high)")
        );
    }

    #[test]
    fn a_waiver_turns_a_refusal_and_nothing_else() {
        let word = || ScanWaiver { by: "ann".to_owned(), reason: "mended tonight".to_owned() };
        let refused = judged(&ScanPolicy::usual(), &report(vec![finding("CVE-1", ScanSeverity::High)]));
        let waived = waive(refused, word());
        assert_eq!((waived.verdict, waived.record.waiver), (Verdict::Waived, Some(word())));
        let absent = waive(judged(&ScanPolicy::usual(), &Evidence::Nothing(Absence::NoScanner)), word());
        assert_eq!(absent.verdict, Verdict::Waived);
        let cleared = waive(judged(&ScanPolicy::usual(), &report(Vec::new())), word());
        assert_eq!((cleared.verdict, cleared.record.waiver), (Verdict::Cleared, None));
    }
}
