//! What `grype --output json` writes.

use jiff::Timestamp;
use longshore_contract::{ScanFinding, ScanSeverity};
use serde::Deserialize;
use serde_json::Value;

use super::report::{Outcome, Read, Subjects, said};

/// The document.
#[derive(Deserialize)]
pub(super) struct Document {
    matches: Vec<Match>,
    source: Option<Source>,
    descriptor: Option<Descriptor>,
}

#[derive(Deserialize)]
struct Match {
    vulnerability: Vulnerability,
    artifact: Artifact,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vulnerability {
    id: String,
    severity: Option<String>,
    data_source: Option<String>,
    fix: Option<Fix>,
}

#[derive(Deserialize)]
struct Fix {
    versions: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Artifact {
    name: String,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct Source {
    /// A table for an image, a path for a folder.
    target: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    manifest_digest: Option<String>,
    #[serde(rename = "imageID")]
    image_id: Option<String>,
    repo_digests: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Descriptor {
    version: Option<String>,
    timestamp: Option<Timestamp>,
}

pub(super) fn read(document: Document) -> Read {
    let target = document.source.and_then(|source| source.target);
    let target: Target = target.and_then(|target| serde_json::from_value(target).ok()).unwrap_or_default();
    let mut subjects = Subjects::default();
    target.manifest_digest.iter().for_each(|text| subjects.manifest(text));
    target.repo_digests.iter().flatten().for_each(|text| subjects.manifest(text));
    target.image_id.iter().for_each(|text| subjects.config(text));
    let (version, scanned) = match document.descriptor {
        Some(descriptor) => (descriptor.version, descriptor.timestamp),
        None => (None, None),
    };
    let scanner = version.map_or_else(|| "grype".to_owned(), |version| format!("grype {version}"));
    let outcome = Outcome::Findings(document.matches.into_iter().map(finding).collect());
    Read { scanner, scanned, subjects, outcome }
}

fn finding(found: Match) -> ScanFinding {
    let Match { vulnerability, artifact } = found;
    let stated = said(vulnerability.severity).unwrap_or_else(|| "Unknown".to_owned());
    let fixed = vulnerability.fix.and_then(|fix| fix.versions).map(|versions| versions.join(", "));
    ScanFinding {
        id: vulnerability.id,
        severity: ScanSeverity::from_word(&stated),
        stated,
        package: artifact.name,
        installed: artifact.version,
        fixed: said(fixed),
        link: said(vulnerability.data_source),
    }
}
