//! Evidence and policy to a verdict: pure.

use crate::manifest::{OnAbsent, ScanPolicy};

/// What is known of an image's findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The provider has no scanner.
    NoScanner,
}

/// What the policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is no scan, and the policy lets that pass.
    Absent,
    /// The image is refused.
    Refused {
        /// The reason.
        why: String,
    },
}

/// What `policy` says to `evidence`. No scan is not a clean scan: it passes only where the policy says so.
pub fn judge(policy: &ScanPolicy, evidence: &Evidence) -> Verdict {
    match (evidence, policy.on_absent) {
        (Evidence::NoScanner, OnAbsent::Refuse) => {
            Verdict::Refused { why: "this provider scans no images, and `on_absent` is `refuse`".to_owned() }
        }
        (Evidence::NoScanner, OnAbsent::Warn | OnAbsent::Allow) => Verdict::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::FindingSeverity;

    #[test]
    fn no_scan_passes_only_where_the_policy_says_so() {
        let policy = |on_absent| ScanPolicy { refuse: FindingSeverity::High, on_absent, ignore: Vec::new() };
        assert!(matches!(judge(&policy(OnAbsent::Refuse), &Evidence::NoScanner), Verdict::Refused { .. }));
        assert_eq!(judge(&policy(OnAbsent::Warn), &Evidence::NoScanner), Verdict::Absent);
        assert_eq!(judge(&policy(OnAbsent::Allow), &Evidence::NoScanner), Verdict::Absent);
    }
}
