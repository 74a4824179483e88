use std::path::Path;

use longshore_contract::ScanFinding;
use serde_json::{Value, json};

use super::report::{Garbage, Outcome, Read};
use super::*;
use crate::state::StateDirectory;

const OURS: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const OTHER: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

/// As trivy documents it, with keys that we do not know.
fn trivy(repo_digests: &[&str], image_id: &str) -> Value {
    json!({
        "SchemaVersion": 2,
        "CreatedAt": "2026-11-19T08:30:00.123456789Z",
        "ArtifactName": "127.0.0.1:5000/team/shop:v1",
        "ArtifactType": "container_image",
        "Trivy": { "Version": "0.58.1" },
        "Metadata": {
            "OS": { "Family": "debian", "Name": "12.8" },
            "ImageID": image_id,
            "DiffIDs": [OTHER],
            "RepoTags": ["127.0.0.1:5000/team/shop:v1"],
            "RepoDigests": repo_digests,
            "ImageConfig": { "architecture": "amd64", "os": "linux" },
        },
        "Results": [
            {
                "Target": "127.0.0.1:5000/team/shop:v1 (debian 12.8)",
                "Class": "os-pkgs",
                "Type": "debian",
                "Vulnerabilities": [
                    {
                        "VulnerabilityID": "CVE-2025-1",
                        "PkgID": "libssl3@3.0.1",
                        "PkgName": "libssl3",
                        "InstalledVersion": "3.0.1",
                        "FixedVersion": "3.0.2",
                        "Status": "fixed",
                        "SeveritySource": "debian",
                        "PrimaryURL": "https://avd.aquasec.com/nvd/cve-2025-1",
                        "Title": "openssl: something",
                        "Severity": "CRITICAL",
                        "CVSS": { "nvd": { "V3Score": 9.8 } },
                    },
                    {
                        "VulnerabilityID": "CVE-2025-2",
                        "PkgName": "zlib1g",
                        "InstalledVersion": "1.2",
                        "Status": "will_not_fix",
                        "Severity": "UNKNOWN",
                    },
                ],
            },
            { "Target": "app/requirements.txt", "Class": "lang-pkgs", "Type": "pip" },
            { "Target": "/app/key.pem", "Class": "secret", "Secrets": [{ "RuleID": "private-key" }] },
        ],
    })
}

/// As grype documents it.
fn grype(target: Value) -> Value {
    json!({
        "matches": [
            {
                "vulnerability": {
                    "id": "CVE-2025-1",
                    "dataSource": "https://security-tracker.debian.org/tracker/CVE-2025-1",
                    "namespace": "debian:distro:debian:12",
                    "severity": "High",
                    "cvss": [{ "metrics": { "baseScore": 8.1 } }],
                    "fix": { "versions": ["3.0.2"], "state": "fixed" },
                },
                "relatedVulnerabilities": [],
                "matchDetails": [{ "type": "exact-direct-match" }],
                "artifact": { "id": "x", "name": "libssl3", "version": "3.0.1", "type": "deb", "locations": [] },
            },
            {
                "vulnerability": { "id": "CVE-2025-3", "severity": "Negligible", "fix": { "versions": [], "state": "wont-fix" } },
                "artifact": { "name": "tar", "version": "1.34" },
            },
        ],
        "source": { "type": "image", "target": target },
        "distro": { "name": "debian", "version": "12" },
        "descriptor": { "name": "grype", "version": "0.84.0", "timestamp": "2026-11-19T08:30:00Z", "db": {} },
    })
}

/// Two runs: as trivy writes a result, and as grype does.
fn sarif() -> Value {
    json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [
            {
                "tool": { "driver": {
                    "name": "Trivy",
                    "version": "0.58.1",
                    "rules": [{
                        "id": "CVE-2025-1",
                        "name": "OsPackageVulnerability",
                        "helpUri": "https://avd.aquasec.com/nvd/cve-2025-1",
                        "help": { "text": "Vulnerability CVE-2025-1\nSeverity: HIGH\nPackage: libssl3\nFixed Version: 3.0.2" },
                        "properties": { "security-severity": "8.0", "tags": ["vulnerability", "security", "HIGH"] },
                    }],
                } },
                "results": [{
                    "ruleId": "CVE-2025-1",
                    "ruleIndex": 0,
                    "level": "error",
                    "message": { "text": "Package: libssl3\nInstalled Version: 3.0.1\nVulnerability CVE-2025-1\nSeverity: HIGH\nFixed Version: 3.0.2\nLink: [CVE-2025-1](https://avd.aquasec.com/nvd/cve-2025-1)" },
                    "locations": [{ "physicalLocation": { "artifactLocation": { "uri": "team/shop" } } }],
                }],
                "properties": { "imageName": "team/shop:v1", "repoDigests": [format!("team/shop@{OURS}")] },
            },
            {
                "tool": { "driver": {
                    "name": "Grype",
                    "rules": [
                        {
                            "id": "CVE-2025-3-tar",
                            "help": { "text": "Vulnerability CVE-2025-3\nSeverity: Medium\nPackage: tar\nVersion: 1.34\nFix Version: \nType: deb" },
                            "properties": { "security-severity": "5.5" },
                        },
                        { "id": "NOBODY-RATED-IT" },
                        { "id": "ONLY-A-SCORE", "properties": { "security-severity": 9.1 } },
                    ],
                } },
                "results": [
                    { "ruleId": "CVE-2025-3-tar", "message": { "text": "A medium vulnerability in deb package: tar, version 1.34 was found" } },
                    { "ruleId": "NOBODY-RATED-IT", "message": { "text": "something" } },
                    { "ruleIndex": 2, "message": { "text": "something" } },
                ],
            },
        ],
    })
}

fn understood(report: &Value) -> Result<Read, Garbage> {
    report::read(report.to_string().as_bytes())
}

fn findings(read: Read) -> Vec<ScanFinding> {
    match read.outcome {
        Outcome::Findings(findings) => findings,
        other => panic!("{other:?}"),
    }
}

fn told(finding: &ScanFinding) -> (&str, ScanSeverity, &str, &str, &str, Option<&str>) {
    let ScanFinding { id, severity, stated, package, installed, fixed, .. } = finding;
    (id, *severity, stated, package, installed, fixed.as_deref())
}

#[test]
fn a_report_of_trivy_is_understood() {
    let read = understood(&trivy(&[&format!("team/shop@{OURS}")], OTHER)).unwrap();
    assert_eq!(read.scanner, "trivy 0.58.1");
    assert_eq!(read.scanned, Some("2026-11-19T08:30:00.123456789Z".parse().unwrap()));
    assert_eq!(read.subjects.manifests, [OURS.parse().unwrap()]);
    assert_eq!(read.subjects.configs, [OTHER.parse().unwrap()]);
    let findings = findings(read);
    let told: Vec<_> = findings.iter().map(told).collect();
    assert_eq!(
        told,
        [
            ("CVE-2025-1", ScanSeverity::Critical, "CRITICAL", "libssl3", "3.0.1", Some("3.0.2")),
            ("CVE-2025-2", ScanSeverity::Unknown, "UNKNOWN", "zlib1g", "1.2", None),
        ]
    );
    assert_eq!(findings[0].link.as_deref(), Some("https://avd.aquasec.com/nvd/cve-2025-1"));
}

#[test]
fn a_report_of_trivy_about_nothing_is_not_a_clean_one() {
    let mut empty = trivy(&[OURS], OTHER);
    empty["Results"] = json!([{ "Target": "/key", "Class": "secret", "Secrets": [] }]);
    assert!(matches!(understood(&empty).unwrap().outcome, Outcome::Unscannable(_)));
    empty.as_object_mut().unwrap().remove("Results");
    assert!(matches!(understood(&empty).unwrap().outcome, Outcome::Unscannable(_)));
    // Packages were looked at, and nothing is wrong with them.
    empty["Results"] = json!([{ "Target": "alpine 3.20", "Class": "os-pkgs", "Type": "alpine" }]);
    assert_eq!(understood(&empty).unwrap().outcome, Outcome::Findings(Vec::new()));
}

#[test]
fn a_report_of_grype_is_understood() {
    let target = json!({
        "userInput": "team/shop:v1", "imageID": OTHER, "manifestDigest": OURS,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "repoDigests": [format!("team/shop@{OURS}")], "tags": [],
    });
    let read = understood(&grype(target)).unwrap();
    assert_eq!((read.scanner.as_str(), read.scanned.is_some()), ("grype 0.84.0", true));
    assert_eq!(read.subjects.configs, [OTHER.parse().unwrap()]);
    assert_eq!(read.subjects.manifests, [OURS, OURS].map(|digest| digest.parse().unwrap()));
    let findings = findings(read);
    assert_eq!(
        findings.iter().map(told).collect::<Vec<_>>(),
        [
            ("CVE-2025-1", ScanSeverity::High, "High", "libssl3", "3.0.1", Some("3.0.2")),
            ("CVE-2025-3", ScanSeverity::Low, "Negligible", "tar", "1.34", None),
        ]
    );
    let of_a_folder = super::report::read(grype(json!("/srv/shop")).to_string().as_bytes()).unwrap();
    assert_eq!(of_a_folder.subjects, Subjects::default());
}

#[test]
fn sarif_is_understood() {
    let read = understood(&sarif()).unwrap();
    assert_eq!((read.scanner.as_str(), read.scanned), ("Trivy 0.58.1, Grype", None));
    assert_eq!(read.subjects.manifests, [OURS.parse().unwrap()]);
    let findings = findings(read);
    assert_eq!(
        findings.iter().map(told).collect::<Vec<_>>(),
        [
            ("CVE-2025-1", ScanSeverity::High, "HIGH", "libssl3", "3.0.1", Some("3.0.2")),
            ("CVE-2025-3", ScanSeverity::Medium, "Medium", "tar", "1.34", None),
            ("NOBODY-RATED-IT", ScanSeverity::Unknown, "unknown", "", "", None),
            ("ONLY-A-SCORE", ScanSeverity::Critical, "CVSS 9.1", "", "", None),
        ]
    );
    let mut broken = sarif();
    broken["runs"][1]["invocations"] = json!([{ "executionSuccessful": false }]);
    assert!(matches!(understood(&broken).unwrap().outcome, Outcome::Failed(_)));
    let mut unlooked = sarif();
    unlooked["runs"][0].as_object_mut().unwrap().remove("results");
    assert!(matches!(understood(&unlooked).unwrap().outcome, Outcome::Failed(_)));
    assert!(matches!(understood(&json!({ "runs": [] })).unwrap().outcome, Outcome::Failed(_)));
}

#[test]
fn sarif_may_name_its_rules_in_every_way_and_tell_what_is_in_order() {
    let rule = json!({ "id": "CVE-2025-9", "properties": { "security-severity": "9.8" } });
    let message = json!({ "text": "bad" });
    for (driver, extensions, result) in [
        (json!([rule]), json!(null), json!({ "ruleId": "CVE-2025-9", "ruleIndex": -1, "message": message })),
        (json!([rule]), json!(null), json!({ "rule": { "id": "CVE-2025-9" }, "message": message })),
        (json!([rule]), json!(null), json!({ "ruleIndex": 0, "kind": "fail", "message": message })),
        (json!(null), json!([{ "rules": [rule] }]), json!({ "ruleId": "CVE-2025-9", "message": message })),
    ] {
        let passed = json!({ "ruleId": "CVE-2025-9", "kind": "pass", "message": message });
        let report = json!({ "version": "2.1.0", "runs": [{
            "tool": { "driver": { "name": "a", "rules": driver }, "extensions": extensions },
            "invocations": null,
            "properties": null,
            "results": [passed, result],
        }] });
        let findings = findings(understood(&report).unwrap());
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        let severity = (finding.id.as_str(), finding.severity);
        assert_eq!(severity, ("CVE-2025-9", ScanSeverity::Critical), "{report}");
    }
}

#[test]
fn what_is_no_report_is_said_to_be_none() {
    for (text, known) in [
        ("", false),
        ("{", false),
        ("not json", false),
        ("{\"matches\": 7}", false),
        ("{\"matches\": [{}]}", false),
        ("{\"runs\": [{\"tool\": {}}]}", false),
        (
            "{\"SchemaVersion\": 2, \"ArtifactName\": \"x\", \"Results\": [{\"Vulnerabilities\": [{}]}]}",
            false,
        ),
        ("[]", true),
        ("{}", true),
        ("\"text\"", true),
        ("{\"bomFormat\": \"CycloneDX\", \"vulnerabilities\": []}", true),
    ] {
        match report::read(text.as_bytes()) {
            Err(Garbage::Malformed(_)) if !known => {}
            Err(Garbage::Unknown) if known => {}
            other => panic!("{text:?}: {other:?}"),
        }
    }
    // A nest of brackets ends as an error, not as the end of the stack.
    let deep = format!("{{\"runs\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(report::read(deep.as_bytes()), Err(Garbage::Malformed(_))));
    let mut with_a_mark = b"\xef\xbb\xbf".to_vec();
    with_a_mark.extend(trivy(&[OURS], OTHER).to_string().into_bytes());
    assert!(report::read(&with_a_mark).is_ok());
}

#[test]
fn a_report_has_no_more_findings_than_are_taken() {
    let one = "{\"vulnerability\":{\"id\":\"a\"},\"artifact\":{\"name\":\"b\"}},";
    let many = format!("{{\"matches\":[{}]}}", one.repeat(200_001).trim_end_matches(','));
    assert_eq!(report::read(many.as_bytes()), Err(Garbage::TooMany));
}

/// A folder of reports about an image that no registry has.
struct Folder {
    folder: tempfile::TempDir,
    reports: Reports,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A cloud that was never started has no registry to ask.
        let state = StateDirectory::new(folder.path().join("cloud"));
        let images = Client::new(state, None, Calls::default()).service(Service::Registry, None);
        let reports = Reports::new(folder.path().join("scans"), images, Calls::default());
        Self { folder, reports }
    }

    fn write(&self, name: &str, text: impl ToString) {
        let file = self.folder.path().join("scans").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join("scans").join(name).display().to_string()
    }

    async fn look(&self) -> Result<ScanProgress> {
        let image = StoredImage {
            repository: "127.0.0.1:5000/team/shop".parse().unwrap(),
            tag: None,
            digest: OURS.parse().unwrap(),
        };
        let ticket = self.reports.start(&image).await.unwrap();
        self.reports.poll(&ticket).await
    }

    async fn absent(&self) -> String {
        match self.look().await.unwrap() {
            ScanProgress::Absent { why } => why,
            other => panic!("{other:?}"),
        }
    }
}

fn hex() -> String {
    OURS.trim_start_matches("sha256:").to_owned()
}

#[tokio::test]
async fn without_a_report_there_is_no_scan_and_it_is_said_where_one_was_looked_for() {
    let folder = Folder::new();
    let why = folder.absent().await;
    assert!(
        why.contains(&format!("no {}.json in {}", hex(), folder.folder.path().join("scans").display())),
        "{why}"
    );
    assert_eq!(folder.reports.calls.to(Service::Scanner), 1);
}

#[tokio::test]
async fn a_report_is_found_by_digest_and_by_repository() {
    for name in [format!("{}.json", hex()), format!("{}.sarif", hex()), "team/shop.json".to_owned()] {
        let folder = Folder::new();
        folder.write(&name, trivy(&[&format!("team/shop@{OURS}")], OTHER));
        let progress = folder.look().await.unwrap();
        let ScanProgress::Finished(report) = &progress else { panic!("{name}: {progress:?}") };
        assert_eq!((report.digest.as_str(), report.findings.len()), (OURS, 2));
    }
}

#[tokio::test]
async fn a_report_about_another_image_is_never_taken_for_ours() {
    let folder = Folder::new();
    folder.write("team/shop.json", trivy(&[&format!("team/shop@{OTHER}")], OTHER));
    let why = folder.absent().await;
    assert!(why.contains("team/shop.json is about sha256:2222"), "{why}");
    // One that is named after our digest and is about another image is an error, whatever the policy says to absence.
    folder.write(&format!("{}.json", hex()), grype(json!({ "manifestDigest": OTHER, "imageID": OTHER })));
    let error = folder.look().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains(&format!("{}.json", hex())) && error.message.contains(OTHER), "{error}");
}

#[tokio::test]
async fn a_report_that_names_no_image_counts_only_under_the_digest() {
    let folder = Folder::new();
    let mut nameless = sarif();
    nameless["runs"][0].as_object_mut().unwrap().remove("properties");
    folder.write("team/shop.sarif", &nameless);
    assert!(folder.absent().await.contains("does not say which image it is about"));
    folder.write(&format!("{}.sarif", hex()), &nameless);
    assert!(matches!(folder.look().await, Ok(ScanProgress::Finished(_))));
}

#[tokio::test]
async fn a_report_by_the_images_id_counts_under_the_digest_before_the_image_is_pushed() {
    let folder = Folder::new();
    folder.write("team/shop.json", trivy(&[], OTHER));
    assert!(folder.absent().await.contains("is about sha256:2222"));
    folder.write(&format!("{}.json", hex()), trivy(&[], OTHER));
    assert!(matches!(folder.look().await, Ok(ScanProgress::Finished(_))));
}

#[tokio::test]
async fn a_report_that_is_being_written_is_waited_for() {
    let folder = Folder::new();
    folder.write(&format!("{}.json.partial", hex()), "{");
    assert!(matches!(folder.look().await, Ok(ScanProgress::Pending { .. })));
    // So is a new one beside an old one about another image.
    let folder = Folder::new();
    folder.write("team/shop.json", trivy(&[OTHER], OTHER));
    folder.write("team/shop.json.partial", "");
    assert!(matches!(folder.look().await, Ok(ScanProgress::Pending { .. })));
    folder.write("team/shop.json", trivy(&[OURS], OTHER));
    assert!(matches!(folder.look().await, Ok(ScanProgress::Finished(_))));
}

#[tokio::test]
async fn garbage_is_an_error_that_names_the_file() {
    let folder = Folder::new();
    let name = format!("{}.json", hex());
    folder.write(&name, "{\"Results\": [");
    let error = folder.look().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains(&folder.path(&name)), "{error}");
    assert!(error.message.contains("line 1") && error.message.contains(".partial"), "{error}");
}

#[tokio::test]
async fn only_a_file_of_bearable_size_is_read() {
    let folder = Folder::new();
    let name = format!("{}.json", hex());
    folder.write(&name, "");
    let file = std::fs::File::options().write(true).open(folder.path(&name)).unwrap();
    file.set_len(65 << 20).unwrap();
    assert!(folder.look().await.unwrap_err().message.contains("larger than a report is read"));
    std::fs::remove_file(folder.path(&name)).unwrap();
    // A pipe that nobody writes to would be waited for without end.
    let pipe = folder.path(&name);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        Path::new(&pipe),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(folder.look().await.unwrap_err().message.contains("not a file"));
}

#[tokio::test]
async fn a_ticket_of_somebody_elses_is_refused() {
    let folder = Folder::new();
    let foreign = ScanTicket::from_provider(json!({ "task": 7 }));
    assert_eq!(folder.reports.poll(&foreign).await.unwrap_err().kind, ErrorKind::Invalid);
}
