//! The scan stage and the verb `scan`, over reports that lie in a folder as scanners leave them.

use serde_json::{Value, json};

use crate::support::{Scratch, until};

/// One vulnerability as trivy writes it.
fn found(id: &str, package: &str, severity: &str, fixed: Option<&str>) -> Value {
    json!({
        "VulnerabilityID": id, "PkgName": package, "InstalledVersion": "3.0.1", "FixedVersion": fixed,
        "Severity": severity, "PrimaryURL": format!("https://avd.example/{id}"),
    })
}

/// A report of trivy about the image `digest`.
fn report(digest: &str, found: &[Value]) -> String {
    json!({
        "SchemaVersion": 2,
        "CreatedAt": "2026-11-19T08:30:00Z",
        "ArtifactName": "hello",
        "Trivy": { "Version": "0.58.1" },
        "Metadata": { "RepoDigests": [format!("hello@{digest}")] },
        "Results": [{ "Target": "debian 12.8", "Class": "os-pkgs", "Vulnerabilities": found }],
    })
    .to_string()
}

/// A folder whose target reads reports out of `scans`, with `scan` as the function's policy.
fn scratch(scan: &str) -> Scratch {
    let scratch = Scratch::new();
    let manifest = scratch
        .read("deploy.yaml")
        .replace("{ provider: local }", "{ provider: local, scan_reports: scans }")
        .replace("    tag: ${vars.version}\n", &format!("    tag: ${{vars.version}}\n    scan: {scan}\n"));
    scratch.write("deploy.yaml", &manifest);
    std::fs::create_dir(scratch.path().join("scans")).unwrap();
    scratch
}

/// The digest of the image that a deploy of `version` would bring.
fn digest(scratch: &Scratch, version: &str) -> String {
    let plan = scratch.json(0, &["plan", "--set", &set(version), "--set", "functions.hello.scan=null"]);
    plan["functions"][0]["image"]["digest"].as_str().unwrap().to_owned()
}

fn set(version: &str) -> String {
    format!("vars.version={version}")
}

/// Leaves a report about the image of `version`.
fn scan(scratch: &Scratch, version: &str, found: &[Value]) -> String {
    let digest = digest(scratch, version);
    let name = format!("scans/{}.json", digest.trim_start_matches("sha256:"));
    scratch.write(&name, &report(&digest, found));
    name
}

fn deploy(scratch: &Scratch, code: i32, version: &str, more: &[&str]) -> Value {
    let set = set(version);
    let mut words = vec!["deploy", "--set", &set];
    words.extend(more);
    scratch.json(code, &words)
}

fn row(document: &Value) -> &Value {
    &document["functions"][0]
}

/// The entries of the ledger.
fn entries(scratch: &Scratch) -> Vec<Value> {
    scratch.ledger().iter().map(|(_, text)| serde_json::from_str(text).expect("an entry")).collect()
}

fn counts(critical: u32, high: u32, medium: u32, low: u32, unknown: u32) -> Value {
    json!({ "critical": critical, "high": high, "medium": medium, "low": low, "unknown": unknown })
}

#[test]
fn an_image_within_the_policy_is_cleared_and_the_ledger_keeps_what_was_found() {
    let scratch = scratch("{ refuse: high }");
    scan(&scratch, "v1", &[found("CVE-1", "tar", "MEDIUM", None), found("CVE-2", "tar", "UNKNOWN", None)]);
    let document = deploy(&scratch, 0, "v1", &[]);
    let told = &row(&document)["scan"];
    assert_eq!((&told["verdict"], &told["findings"]), (&json!("cleared"), &counts(0, 0, 1, 0, 1)));
    assert!(row(&document)["calls"]["scanner"].as_u64().unwrap() >= 1);
    let entries = entries(&scratch);
    let events: Vec<&str> = entries.iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(
        events,
        ["opened", "pushed", "cleared", "publishing", "published", "planned", "intended", "settled", "ended"]
    );
    assert!(entries[1]["scan"].is_object(), "the ticket is stored with the push: {}", entries[1]);
    let kept = &entries[2]["scan"];
    assert_eq!(entries[2]["verdict"], "cleared");
    assert_eq!((&kept["scanner"], &kept["findings"]), (&json!("trivy 0.58.1"), &counts(0, 0, 1, 0, 1)));
    assert_eq!(kept["worst"].as_array().unwrap().len(), 2);
    let history = scratch.json(0, &["history"]);
    assert_eq!(history["runs"][0]["scan"]["findings"], counts(0, 0, 1, 0, 1));
}

#[test]
fn a_refused_image_publishes_nothing_and_the_worst_is_told() {
    let scratch = scratch("{ refuse: high }");
    scan(&scratch, "v1", &[]);
    deploy(&scratch, 0, "v1", &[]);
    let writes = scratch.writes();
    let bad = [
        found("CVE-2025-1", "libssl3", "HIGH", None),
        found("CVE-2025-2", "libssl3", "CRITICAL", Some("3.0.2")),
        found("CVE-2025-3", "tar", "LOW", None),
    ];
    scan(&scratch, "v2", &bad);
    let document = deploy(&scratch, 3, "v2", &[]);
    assert_eq!((&document["outcome"], &document["error"]["kind"]), (&json!("refused"), &json!("scan")));
    let told = &row(&document)["scan"];
    assert_eq!((&told["verdict"], &told["findings"]), (&json!("refused"), &counts(1, 1, 0, 1, 0)));
    assert_eq!(told["worst"][0]["id"], "CVE-2025-2");
    assert_eq!(told["worst"].as_array().unwrap().len(), 2, "only what is refused");
    let message = row(&document)["error"]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "the scan policy refuses the image: 2 findings of severity high or worse (1 critical, 1 high)\n  \
         critical  CVE-2025-2  libssl3 3.0.1 -> 3.0.2  https://avd.example/CVE-2025-2\n  \
         high      CVE-2025-1  libssl3 3.0.1 (no fix)  https://avd.example/CVE-2025-1"
    );
    assert!(document["error"]["hint"].as_str().unwrap().contains("--waive-scan"));

    assert_eq!(scratch.writes(), writes, "nothing was published");
    let status = scratch.json(0, &["status"]);
    assert_eq!((&row(&status)["routing"]["stable"], &row(&status)["open"]), (&json!("1"), &Value::Null));
    let last = entries(&scratch).pop().unwrap();
    let refused = &last["ending"]["refused"];
    assert_eq!((&last["event"], &refused["scan"]["stopping"]), (&json!("ended"), &json!(2)));
    assert!(!refused["why"].as_str().unwrap().contains('\n'), "{refused}");
    assert_eq!(scratch.json(0, &["history"])["runs"][0]["scan"]["findings"], counts(1, 1, 0, 1, 0));

    let human = scratch.run(&["deploy", "--set", "vars.version=v2"]);
    assert_eq!(human.code, 3);
    assert!(human.stderr.contains("\n  critical  CVE-2025-2  libssl3 3.0.1 -> 3.0.2"), "{}", human.stderr);
    assert!(human.stdout.contains("scan: refused (1 critical, 1 high, 1 low)"), "{}", human.stdout);
}

#[test]
fn a_refused_image_may_be_waived_with_a_reason_that_stays() {
    let scratch = scratch("{ refuse: high }");
    scan(&scratch, "v1", &[found("CVE-1", "libssl3", "HIGH", None)]);
    deploy(&scratch, 3, "v1", &[]);
    let empty = scratch.json(2, &["deploy", "--waive-scan", ""]);
    assert_eq!(empty["error"]["kind"], "usage");
    let document = deploy(&scratch, 0, "v1", &["--waive-scan", "the proxy in front is patched"]);
    let told = &row(&document)["scan"];
    assert_eq!((&told["verdict"], &told["findings"]), (&json!("waived"), &counts(0, 1, 0, 0, 0)));
    assert_eq!(told["waiver"]["reason"], "the proxy in front is patched");
    let cleared = entries(&scratch).into_iter().find(|entry| entry["event"] == "cleared").unwrap();
    assert_eq!(
        (&cleared["verdict"], &cleared["scan"]["waiver"]["reason"]),
        (&json!("waived"), &json!("the proxy in front is patched"))
    );
    let history = scratch.run(&["history"]);
    assert!(history.stdout.contains("scan waived by"), "{}", history.stdout);
}

#[test]
fn without_a_report_the_policy_decides() {
    let scratch = scratch("{ on_absent: refuse }");
    let document = deploy(&scratch, 3, "v1", &[]);
    assert_eq!(
        (&document["error"]["kind"], &row(&document)["scan"]["verdict"]),
        (&json!("scan"), &json!("refused"))
    );
    assert!(
        document["error"]["message"].as_str().unwrap().contains("the image is not scanned: there is no ")
    );
    assert!(scratch.writes().is_empty());
    let human = scratch.run(&["deploy", "--set", "vars.version=v1"]);
    assert!(human.stderr.contains("scan: refused (no scan)"), "{}", human.stderr);

    let warned = deploy(&scratch, 0, "v1", &["--set", "functions.hello.scan.on_absent=warn"]);
    assert_eq!(row(&warned)["scan"], json!({ "verdict": "absent", "findings": counts(0, 0, 0, 0, 0) }));
    let notes = row(&warned)["notes"].to_string();
    assert!(notes.contains("the image is not scanned"), "{notes}");

    let allowed = deploy(&scratch, 0, "v2", &["--set", "functions.hello.scan.on_absent=allow"]);
    assert_eq!(row(&allowed)["scan"]["verdict"], "absent");
    assert_eq!(row(&allowed).get("notes"), None);
}

#[test]
fn an_ignored_finding_is_let_pass_until_its_day_and_counts_again_after_it() {
    let scratch = scratch("{ refuse: high }");
    scan(&scratch, "v1", &[found("CVE-1", "libssl3", "HIGH", None)]);
    let ignore = |until: &str| {
        format!(
            "functions.hello.scan.ignore=[{{ id: CVE-1, until: {until}, because: not reachable, by: ann }}]"
        )
    };
    let expired = deploy(&scratch, 3, "v1", &["--set", &ignore("2020-01-31")]);
    let notes = row(&expired)["notes"].to_string();
    assert!(notes.contains("CVE-1 was ignored by ann until 2020-01-31 and counts again"), "{notes}");
    let ignored = deploy(&scratch, 0, "v1", &["--set", &ignore("9999-12-31")]);
    assert_eq!(row(&ignored)["scan"]["verdict"], "waived");
    let cleared = entries(&scratch).into_iter().find(|entry| entry["event"] == "cleared").unwrap();
    assert_eq!((&cleared["scan"]["ignored"], &cleared["scan"]["waiver"]), (&json!(1), &Value::Null));
}

#[test]
fn only_fixable_and_new_since_live_narrow_what_counts() {
    let scratch = scratch("{ refuse: high, only_fixable: true, new_since_live: true }");
    scan(&scratch, "v1", &[found("CVE-1", "libssl3", "HIGH", Some("3.0.2"))]);
    let first = deploy(&scratch, 3, "v1", &[]);
    assert!(first["error"]["message"].as_str().unwrap().contains("1 new and fixable finding of"), "{first}");
    deploy(&scratch, 0, "v1", &["--waive-scan", "nothing is live yet"]);

    // What is live has the one already, and nobody mends the other.
    scan(
        &scratch,
        "v2",
        &[found("CVE-1", "libssl3", "HIGH", Some("3.0.2")), found("CVE-2", "tar", "CRITICAL", None)],
    );
    let cleared = deploy(&scratch, 0, "v2", &[]);
    assert_eq!(row(&cleared)["scan"]["verdict"], "cleared");

    scan(&scratch, "v3", &[found("CVE-3", "tar", "CRITICAL", Some("2"))]);
    let refused = deploy(&scratch, 3, "v3", &[]);
    assert_eq!(row(&refused)["scan"]["worst"][0]["id"], "CVE-3");
}

#[test]
fn a_report_that_is_none_or_of_another_image_is_refused_by_name() {
    let scratch = scratch("{ on_absent: allow }");
    let name = scan(&scratch, "v1", &[]);
    let other = digest(&scratch, "v2");
    for (text, part) in [("{ \"Results\": [", "it is no report"), (&report(&other, &[]), other.as_str())] {
        scratch.write(&name, text);
        let document = deploy(&scratch, 3, "v1", &[]);
        let message = document["error"]["message"].as_str().unwrap();
        assert!(message.contains(&name) && message.contains(part), "{message}");
    }
    assert!(scratch.writes().is_empty());
    // Under the repository's name it is merely old.
    std::fs::rename(scratch.path().join(&name), scratch.path().join("scans/hello.json")).unwrap();
    assert_eq!(row(&deploy(&scratch, 0, "v1", &[]))["scan"]["verdict"], "absent");
}

#[test]
fn a_run_that_stops_in_the_middle_of_a_scan_goes_on_with_the_same_scan() {
    let scratch = scratch("{ refuse: high }");
    let name = scan(&scratch, "v1", &[found("CVE-1", "tar", "LOW", None)]);
    let (report, draft) = (scratch.path().join(&name), scratch.path().join(format!("{name}.partial")));
    std::fs::rename(&report, &draft).unwrap();
    let running = scratch.start(&["deploy"]);
    until("the push", || (scratch.last_event() == "pushed").then_some(()));
    running.interrupt();
    let held = running.finish();
    assert_eq!((&held["outcome"], &held["exit_code"]), (&json!("held"), &json!(5)));
    let before = entries(&scratch);
    assert!(scratch.writes().is_empty(), "nothing is published before the verdict");

    std::fs::rename(&draft, &report).unwrap();
    let resumed = scratch.json(0, &["resume"]);
    assert_eq!(
        (&resumed["outcome"], &row(&resumed)["scan"]["verdict"]),
        (&json!("arrived"), &json!("cleared"))
    );
    let after = entries(&scratch);
    let pushed = |entries: &[Value]| entries.iter().filter(|entry| entry["event"] == "pushed").count();
    assert_eq!((pushed(&before), pushed(&after)), (1, 1), "the scan was not started again");
    assert_eq!(row(&resumed)["calls"]["registry"], 0, "nor was the image pushed again: {resumed}");
}

#[test]
fn a_scan_that_never_ends_is_given_up_at_its_deadline() {
    let scratch = scratch("{ on_absent: refuse, deadline: 300ms }");
    let name = scan(&scratch, "v1", &[]);
    std::fs::rename(scratch.path().join(&name), scratch.path().join(format!("{name}.partial"))).unwrap();
    let document = deploy(&scratch, 3, "v1", &[]);
    let message = document["error"]["message"].as_str().unwrap();
    assert!(message.contains("the scan was not over within 300ms"), "{message}");
    assert!(scratch.writes().is_empty());
}

#[test]
fn a_plan_and_a_check_tell_the_verdict_and_write_nothing() {
    let scratch = scratch("{ refuse: high }");
    scan(&scratch, "v1", &[found("CVE-1", "tar", "MEDIUM", None)]);
    let plan = scratch.json(0, &["plan"]);
    assert_eq!(row(&plan)["scan"]["verdict"], "cleared");
    let refused = scratch.json(3, &["plan", "--set", "functions.hello.scan.refuse=low"]);
    assert_eq!(row(&refused)["scan"]["verdict"], "refused");
    scratch.json(0, &["check"]);
    let checked = scratch.json(3, &["check", "--set", "functions.hello.scan.refuse=low"]);
    assert_eq!(checked["checks"][0]["findings"][0]["kind"], "scan");
    assert!(scratch.ledger().is_empty());

    // Without anybody to scan, everybody knows at once.
    let nobody = ["--set", "targets.here.scan_reports=null"];
    for verb in ["check", "plan", "deploy"] {
        let document = scratch.json(3, &[&[verb][..], &nobody].concat());
        assert!(document["error"]["message"].as_str().unwrap().contains("scans no images"), "{document}");
    }
    assert!(scratch.ledger().is_empty(), "it is known before a run begins");
}

#[test]
fn scan_judges_what_would_be_deployed_and_what_serves() {
    let scratch = scratch("{ refuse: high }");
    scan(&scratch, "v1", &[found("CVE-1", "tar", "MEDIUM", None)]);
    let early = scratch.json(3, &["scan"]);
    assert_eq!((&early["outcome"], &early["error"]["kind"]), (&json!("refused"), &json!("not_pushed")));
    assert_eq!(scratch.json(3, &["scan", "--live"])["error"]["kind"], "no_alias");
    deploy(&scratch, 0, "v1", &[]);

    let document = scratch.json(0, &["scan"]);
    assert_eq!((&document["command"], &document["outcome"]), (&json!("scan"), &json!("done")));
    let image = &document["images"][0];
    let keys: Vec<&String> = image.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "function", "target", "provider", "name", "alias", "version", "outcome", "image", "scan",
            "calls", "error"
        ]
    );
    assert_eq!((&image["version"], &image["scan"]["verdict"]), (&Value::Null, &json!("cleared")));
    assert_eq!(image["image"]["digest"], digest(&scratch, "v1"));

    // What was clean when it was deployed is not any more: the nightly job says so.
    scan(&scratch, "v1", &[found("CVE-2", "libssl3", "CRITICAL", Some("3.0.2"))]);
    let ledger = scratch.ledger();
    let nightly = scratch.json(3, &["scan", "--live", "hello", "hello@here"]);
    assert_eq!(nightly["images"].as_array().unwrap().len(), 1, "named twice, judged once");
    let image = &nightly["images"][0];
    assert_eq!(
        (&image["version"], &image["outcome"], &image["scan"]["findings"]),
        (&json!("1"), &json!("refused"), &counts(1, 0, 0, 0, 0))
    );
    assert!(
        image["image"]["reference"].as_str().unwrap().ends_with(image["image"]["digest"].as_str().unwrap())
    );
    let human = scratch.run(&["scan", "--live"]);
    assert_eq!(human.code, 3);
    assert!(human.stdout.starts_with("hello@here version 1 refused  sha256:"), "{}", human.stdout);
    assert!(human.stderr.contains("critical  CVE-2  libssl3 3.0.1 -> 3.0.2"), "{}", human.stderr);
    assert_eq!(scratch.ledger(), ledger, "a scan writes nothing");

    // Of a split both sides serve, and the rows fall under different codes.
    scan(&scratch, "v2", &[]);
    scratch.hold_canary("v2");
    let both = scratch.json(7, &["scan", "--live"]);
    let told: Vec<(&Value, &Value)> = both["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| (&image["version"], &image["outcome"]))
        .collect();
    assert_eq!(told, [(&json!("1"), &json!("refused")), (&json!("2"), &json!("done"))]);

    let addressed = scratch.json(2, &["scan", "local:.longshore/local:shop-hello:live"]);
    assert!(addressed["error"]["message"].as_str().unwrap().contains("manifest"), "{addressed}");
}

#[test]
fn a_function_without_a_policy_is_judged_by_the_usual_one() {
    let scratch = scratch("{ refuse: high }");
    scan(&scratch, "v1", &[found("CVE-1", "tar", "HIGH", None)]);
    scratch.json(0, &["deploy", "--set", "functions.hello.scan=null"]);
    let judged = scratch.json(3, &["scan", "--live", "--set", "functions.hello.scan=null"]);
    assert_eq!(judged["images"][0]["scan"]["verdict"], "refused");
}
