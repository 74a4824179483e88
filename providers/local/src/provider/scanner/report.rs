//! Which tool wrote a report is found out from its content; what is not known in it is passed over.

use std::fmt;

use jiff::Timestamp;
use longshore_contract::{Digest, ScanFinding};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{grype, sarif, trivy};

/// The most findings that are taken from a report.
pub(super) const MOST_FINDINGS: usize = 200_000;

/// A report that was understood.
#[derive(Debug, PartialEq)]
pub(super) struct Read {
    /// Who wrote it, with the version where it says so.
    pub(super) scanner: String,
    /// When the scan was made.
    pub(super) scanned: Option<Timestamp>,
    /// The images that it says it is about.
    pub(super) subjects: Subjects,
    /// What it says of them.
    pub(super) outcome: Outcome,
}

/// What a report says of its image.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// This was found.
    Findings(Vec<ScanFinding>),
    /// There was nothing in it that the tool can look at, and why.
    Unscannable(String),
    /// The tool did not come to its end, and why.
    Failed(String),
}

/// The digests under which a report names its image.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Subjects {
    /// Of its manifest.
    pub(super) manifests: Vec<Digest>,
    /// Of its config, which tools call the image's id.
    pub(super) configs: Vec<Digest>,
}

impl Subjects {
    /// Takes note of `text`, which is a digest or has one behind an `@`. Anything else names no image for us.
    pub(super) fn manifest(&mut self, text: &str) {
        let digest = text.rsplit_once('@').map_or(text, |(_, digest)| digest);
        self.manifests.extend(digest.parse::<Digest>());
    }

    /// Takes note of a config's digest.
    pub(super) fn config(&mut self, text: &str) {
        self.configs.extend(text.parse::<Digest>());
    }
}

/// Why a report is none.
#[derive(Debug, PartialEq)]
pub(super) enum Garbage {
    /// It is no JSON, or a part of it is not what its tool writes.
    Malformed(String),
    /// It is JSON of something else.
    Unknown,
    /// It has more findings than are taken.
    TooMany,
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(
                f,
                "it is no report: {why}; one that is still being written belongs under its name with `.partial` behind it"
            ),
            Self::Unknown => f.write_str("it is JSON, but no report of trivy or grype and no SARIF"),
            Self::TooMany => write!(f, "it has more than {MOST_FINDINGS} findings"),
        }
    }
}

/// The keys by which the formats are known.
#[derive(Deserialize)]
struct Probe {
    #[serde(rename = "SchemaVersion")]
    schema_version: Option<IgnoredAny>,
    #[serde(rename = "ArtifactName")]
    artifact_name: Option<IgnoredAny>,
    matches: Option<IgnoredAny>,
    runs: Option<IgnoredAny>,
}

/// Understands a report.
pub(super) fn read(bytes: &[u8]) -> Result<Read, Garbage> {
    // Some tools on some systems put a mark before their text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first != b'{') {
        // Valid JSON or not: no format of ours begins so.
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(malformed)?;
        return Err(Garbage::Unknown);
    }
    let probe: Probe = serde_json::from_slice(bytes).map_err(malformed)?;
    let read = match probe {
        Probe { matches: Some(_), .. } => grype::read(serde_json::from_slice(bytes).map_err(malformed)?),
        Probe { runs: Some(_), .. } => sarif::read(serde_json::from_slice(bytes).map_err(malformed)?),
        Probe { schema_version: Some(_), artifact_name: Some(_), .. } => {
            trivy::read(serde_json::from_slice(bytes).map_err(malformed)?)
        }
        _ => return Err(Garbage::Unknown),
    };
    match &read.outcome {
        Outcome::Findings(findings) if findings.len() > MOST_FINDINGS => Err(Garbage::TooMany),
        _ => Ok(read),
    }
}

fn malformed(error: serde_json::Error) -> Garbage {
    Garbage::Malformed(error.to_string())
}

/// A text that says something.
pub(super) fn said(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}
