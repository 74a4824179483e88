//! Image scanners: a scan is started or joined, looked at until it is over, and told as findings in one vocabulary.
//!
//! What a scan is known by differs from cloud to cloud (a digest, a task, a row of a table, a time), so it is a
//! [`ScanTicket`] that nobody but its provider reads. "There is no scan" and "this image cannot be scanned" are answers of
//! their own, never an empty list of findings; what they mean is for the policy of whoever asks.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::names::Digest;
use crate::registry::{Reference, Repository, Tag};

/// The image scanner of one cloud.
#[async_trait]
pub trait Scanner: Send + Sync {
    /// What makes a scan begin, known without I/O.
    fn trigger(&self) -> ScanTrigger;

    /// Starts a scan of `image`, or joins the one that is under way or over for this digest: asked twice, there is one
    /// scan. The ticket is good in another process, another day. Fails with [`NotFound`](crate::ErrorKind::NotFound) where
    /// the service needs the image and does not have it.
    async fn start(&self, image: &StoredImage) -> Result<ScanTicket>;

    /// How the scan stands, without starting another one. A report is handed out only when it is whole and about the
    /// ticket's digest: a service that says "complete" without its evidence is still [`ScanProgress::Pending`].
    async fn poll(&self, ticket: &ScanTicket) -> Result<ScanProgress>;
}

/// What makes a scan begin: what a caller must expect of [`Scanner::start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanTrigger {
    /// The registry scans what is pushed to it. Starting joins that scan.
    OnPush,
    /// Starting starts one, which may cost money; within `cooldown` of the last scan of an image it joins that one.
    OnDemand {
        /// How long one scan of an image stands for the next.
        cooldown: Duration,
    },
    /// Something else scans and leaves its report. Starting only looks for it: it costs and changes nothing.
    Deposited,
}

/// An image that lies in a registry. Some scanners know it by its tag, all by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Where it lies.
    pub repository: Repository,
    /// The tag it was pushed under, where it has one.
    pub tag: Option<Tag>,
    /// What it is.
    pub digest: Digest,
}

impl StoredImage {
    /// The image that `reference` names; `None` where it names no digest.
    pub fn of(reference: &Reference) -> Option<Self> {
        let Reference { repository, tag, digest } = reference.clone();
        Some(Self { repository, tag, digest: digest? })
    }
}

/// What a scan is known by. Only its provider looks inside; everybody else stores it and hands it back. It is small (a few
/// hundred bytes) and holds no secret, because it is kept in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScanTicket(Value);

impl ScanTicket {
    /// A ticket as a provider makes it.
    pub fn from_provider(known_by: Value) -> Self {
        Self(known_by)
    }

    /// What the provider put into it.
    pub fn as_value(&self) -> &Value {
        &self.0
    }
}

/// How a scan stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanProgress {
    /// It is under way, or about to begin.
    Pending {
        /// How long to wait before the next look; whoever waits may look earlier or later.
        look_again: Duration,
    },
    /// It is over, and this is what it found.
    Finished(ScanReport),
    /// There is no scan of this image, and none is coming by itself.
    Absent {
        /// What was looked for and not found, in one line.
        why: String,
    },
    /// The scanner cannot look into this image.
    Unscannable {
        /// The scanner's reason, in one line.
        why: String,
    },
    /// The scan broke off. It is not a clean scan.
    Failed {
        /// The scanner's reason, in one line.
        why: String,
    },
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanReport {
    /// The image it is about: always the one that was asked about.
    pub digest: Digest,
    /// Who scanned, and in which version where that is known, as in `trivy 0.58.1`.
    pub scanner: String,
    /// When the scan was made, where the report tells.
    pub scanned: Option<jiff::Timestamp>,
    /// The most severe word this scanner has. A scanner without `critical` never says it, whatever it finds.
    pub ceiling: ScanSeverity,
    /// Everything it found, in no order; the same finding may stand there for several places in the image.
    pub findings: Vec<ScanFinding>,
}

/// One thing that a scan found in one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanFinding {
    /// Its name in public, as in `CVE-2025-1`.
    pub id: String,
    /// How severe it is, in our words.
    pub severity: ScanSeverity,
    /// How severe it is, in the scanner's own word.
    pub stated: String,
    /// The package it is in; empty where the scanner names none.
    pub package: String,
    /// The package's version in the image; empty where the scanner names none.
    pub installed: String,
    /// The version that has it mended, where there is one.
    pub fixed: Option<String>,
    /// Where more is told.
    pub link: Option<String>,
}

/// How severe a finding is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanSeverity {
    /// Nobody has said how severe it is. That is not the same as harmless.
    Unknown,
    /// Low; also what scanners call negligible or informational.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

impl ScanSeverity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// What most scanners mean by `word`, in any case. A word that is not known is [`ScanSeverity::Unknown`], so that no
    /// finding is taken for a lesser one because its scanner has learnt a new word. A scanner with a scale of its own maps
    /// it itself.
    pub fn from_word(word: &str) -> Self {
        match word.trim().to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "high" | "important" => Self::High,
            "medium" | "moderate" => Self::Medium,
            "low" | "negligible" | "informational" | "info" | "none" => Self::Low,
            _ => Self::Unknown,
        }
    }

    /// What a CVSS base score means, by the ratings of CVSS version 3 and later.
    pub fn from_score(score: f64) -> Self {
        match score {
            score if score >= 9.0 => Self::Critical,
            score if score >= 7.0 => Self::High,
            score if score >= 4.0 => Self::Medium,
            score if score >= 0.0 => Self::Low,
            _ => Self::Unknown,
        }
    }
}

impl std::fmt::Display for ScanSeverity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_word_is_unknown_and_never_harmless() {
        for (word, severity) in [
            ("CRITICAL", ScanSeverity::Critical),
            ("High", ScanSeverity::High),
            ("medium", ScanSeverity::Medium),
            ("Negligible", ScanSeverity::Low),
            ("INFORMATIONAL", ScanSeverity::Low),
            ("UNDEFINED", ScanSeverity::Unknown),
            ("UNTRIAGED", ScanSeverity::Unknown),
            ("catastrophic", ScanSeverity::Unknown),
            ("", ScanSeverity::Unknown),
        ] {
            assert_eq!(ScanSeverity::from_word(word), severity, "{word:?}");
        }
    }

    #[test]
    fn a_score_is_rated_as_cvss_rates_it() {
        for (score, severity) in [
            (10.0, ScanSeverity::Critical),
            (9.0, ScanSeverity::Critical),
            (8.9, ScanSeverity::High),
            (7.0, ScanSeverity::High),
            (6.9, ScanSeverity::Medium),
            (4.0, ScanSeverity::Medium),
            (3.9, ScanSeverity::Low),
            (0.0, ScanSeverity::Low),
            (f64::NAN, ScanSeverity::Unknown),
        ] {
            assert_eq!(ScanSeverity::from_score(score), severity, "{score}");
        }
    }

    #[test]
    fn only_a_reference_with_a_digest_is_an_image() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let reference: Reference = format!("127.0.0.1:1/shop:v1@{digest}").parse().unwrap();
        let image = StoredImage::of(&reference).unwrap();
        assert_eq!(
            (image.digest.as_str(), image.tag.as_ref().map(Tag::as_str)),
            (digest.as_str(), Some("v1"))
        );
        assert_eq!(StoredImage::of(&"127.0.0.1:1/shop:v1".parse().unwrap()), None);
    }
}
