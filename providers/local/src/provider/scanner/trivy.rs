//! What `trivy image --format json` writes.

use jiff::Timestamp;
use longshore_contract::{ScanFinding, ScanSeverity};
use serde::Deserialize;

use super::report::{Outcome, Read, Subjects, said};

/// The document.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Document {
    artifact_name: String,
    created_at: Option<Timestamp>,
    #[serde(default)]
    metadata: Metadata,
    /// Left out where there was nothing to look at.
    results: Option<Vec<Part>>,
    trivy: Option<Tool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tool {
    version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    #[serde(rename = "ImageID")]
    image_id: Option<String>,
    repo_digests: Option<Vec<String>>,
}

/// The packages of a system, of a language, or something else that was looked at.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    class: Option<String>,
    vulnerabilities: Option<Vec<Vulnerability>>,
}

impl Part {
    /// Whether vulnerable packages were looked for in it: secrets and misconfigurations are other parts.
    fn is_of_packages(&self) -> bool {
        let class = self.class.as_deref();
        matches!(class, None | Some("os-pkgs" | "lang-pkgs")) || self.vulnerabilities.is_some()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vulnerability {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    pkg_name: Option<String>,
    installed_version: Option<String>,
    fixed_version: Option<String>,
    severity: Option<String>,
    #[serde(rename = "PrimaryURL")]
    primary_url: Option<String>,
}

pub(super) fn read(document: Document) -> Read {
    let Document { artifact_name, created_at, metadata, results, trivy } = document;
    let mut subjects = Subjects::default();
    if artifact_name.contains('@') {
        subjects.manifest(&artifact_name);
    }
    metadata.repo_digests.iter().flatten().for_each(|text| subjects.manifest(text));
    metadata.image_id.iter().for_each(|text| subjects.config(text));
    let parts = results.unwrap_or_default();
    let outcome = if parts.iter().any(Part::is_of_packages) {
        let found = parts.into_iter().flat_map(|part| part.vulnerabilities.unwrap_or_default());
        Outcome::Findings(found.map(finding).collect())
    } else {
        // An image without packages it knows is told as an empty report: that is not the same as a clean image.
        Outcome::Unscannable("trivy found no packages in it to look at".to_owned())
    };
    let version = trivy.and_then(|tool| tool.version);
    let scanner = version.map_or_else(|| "trivy".to_owned(), |version| format!("trivy {version}"));
    Read { scanner, scanned: created_at, subjects, outcome }
}

fn finding(found: Vulnerability) -> ScanFinding {
    let stated = said(found.severity).unwrap_or_else(|| "UNKNOWN".to_owned());
    ScanFinding {
        id: found.id,
        severity: ScanSeverity::from_word(&stated),
        stated,
        package: found.pkg_name.unwrap_or_default(),
        installed: found.installed_version.unwrap_or_default(),
        fixed: said(found.fixed_version),
        link: said(found.primary_url),
    }
}
