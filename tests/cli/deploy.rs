//! Deploying: first, again, and as a rehearsal.

use serde_json::{Value, json};

use crate::support::{Scratch, http};

/// The shape of a document: every key with the sort of its value.
fn keys(value: &Value) -> Vec<String> {
    value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn a_first_deploy_prints_the_document_and_serves() {
    let scratch = Scratch::new();
    let document = scratch.json(0, &["deploy"]);
    assert_eq!(
        keys(&document),
        ["schema", "command", "outcome", "exit_code", "elapsed_ms", "error", "errors", "run", "functions"]
    );
    assert_eq!(
        (&document["schema"], &document["command"], &document["outcome"]),
        (&json!(1), &json!("deploy"), &json!("arrived"))
    );
    assert_eq!((&document["error"], &document["errors"]), (&Value::Null, &json!([])));
    assert_eq!(document["run"].as_str().unwrap().len(), 26);

    let row = &document["functions"][0];
    for key in [
        "function", "target", "provider", "name", "alias", "outcome", "image", "url", "from", "to",
        "routing", "scan", "calls", "error",
    ] {
        assert!(row.get(key).is_some(), "the row has no {key}: {row}");
    }
    assert_eq!(row["name"], "shop-hello");
    assert_eq!((&row["from"], &row["to"]), (&Value::Null, &json!("1")));
    assert_eq!(row["routing"], json!({ "stable": "1", "canary": null, "share": 0.0 }));
    assert_eq!(row["scan"], Value::Null);
    assert_eq!(
        keys(&row["calls"]),
        ["functions", "registry_api", "registry", "scanner", "metrics", "identity"]
    );
    let image = &row["image"];
    assert_eq!(keys(image), ["source", "digest", "reference", "source_digest", "changed"]);
    assert!(image["reference"].as_str().unwrap().ends_with(image["digest"].as_str().unwrap()));

    // Exactly the text of `url`, by GET and by POST, with no redirect.
    let url = row["url"].as_str().unwrap();
    let got = http("GET", url, "").unwrap();
    assert_eq!((got.status, got.body.as_str()), (200, "<h1>v1</h1>\n"));
    assert_eq!(got.header("x-longshore-version"), Some("1"));
    let posted = http("POST", url, "{}").unwrap();
    assert_eq!((posted.status, posted.body.as_str()), (200, "{\"hello\":\"v1\",\"received\":2}\n"));
}

#[test]
fn deploying_the_same_again_is_unchanged_and_writes_nothing() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    let (writes, ledger) = (scratch.writes(), scratch.ledger());
    let document = scratch.json(0, &["deploy"]);
    assert_eq!(document["outcome"], "unchanged");
    assert_eq!(document["functions"][0]["outcome"], "unchanged");
    assert_eq!(document["functions"][0]["calls"]["registry"], 0);
    assert_eq!(scratch.writes(), writes);
    assert_eq!(scratch.ledger(), ledger);

    // The configuration counts too.
    let changed = scratch.json(0, &["deploy", "--set", "functions.hello.config.environment.GREETING=hi"]);
    assert_eq!((&changed["outcome"], &changed["functions"][0]["to"]), (&json!("arrived"), &json!("2")));
}

#[test]
fn plan_says_what_deploy_would_do_and_changes_nothing() {
    let scratch = Scratch::new();
    let first = scratch.json(0, &["plan"]);
    assert_eq!(
        (&first["outcome"], &first["functions"][0]["outcome"]),
        (&json!("planned"), &json!("planned"))
    );
    assert!(!scratch.path().join(".longshore").exists(), "a plan on nothing makes nothing");

    scratch.deploy("v1");
    let (writes, ledger) = (scratch.writes(), scratch.ledger());
    for words in [&["plan"][..], &["deploy", "--dry-run"]] {
        let mut all = words.to_vec();
        all.extend(["--env", "canary", "--set", "vars.version=v2"]);
        let plan = scratch.json(0, &all);
        assert_eq!(plan["outcome"], "planned");
        let row = &plan["functions"][0];
        assert_eq!((&row["from"], &row["to"]), (&json!("1"), &Value::Null));
        assert_eq!(row["steps"], json!([{ "share": 0.25, "soak_s": 600 }, { "share": 1.0, "soak_s": 0 }]));
        assert!(row["image"]["digest"].as_str().unwrap().starts_with("sha256:"));
        assert_eq!(plan["run"], Value::Null, "a run that was only rehearsed is nobody's");
    }
    let told = scratch.run(&["plan", "--output", "jsonl", "--set", "vars.version=v2"]).stdout;
    for never in ["\"ledger\"", "\"pushed\"", "\"published\"", "\"routed\""] {
        assert!(!told.contains(&format!("\"event\":{never}")), "{told}");
    }
    let same = scratch.json(0, &["plan"]);
    assert_eq!(same["outcome"], "unchanged");
    assert_eq!((scratch.writes(), scratch.ledger()), (writes, ledger));
    let url = scratch.json(0, &["status"])["functions"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(http("GET", &url, "").unwrap().body, "<h1>v1</h1>\n");
}

#[test]
fn a_canary_goes_through_its_steps() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    let document = scratch.json(0, &["deploy", "--env", "quick", "--set", "vars.version=v2"]);
    assert_eq!(document["functions"][0]["routing"], json!({ "stable": "2", "canary": null, "share": 0.0 }));
    let shares: Vec<Value> = scratch
        .writes()
        .iter()
        .filter_map(|write| write.get("routing").cloned().filter(|routing| !routing.is_null()))
        .collect();
    let split = |share: u16| json!({ "split": { "stable": "1", "canary": "2", "share": share } });
    assert_eq!(shares, [json!({ "all": "1" }), split(500), split(2500), json!({ "all": "2" })]);
}

#[test]
fn jsonl_ends_with_the_document_and_has_the_ledgers_events() {
    let scratch = Scratch::new();
    let ran = scratch.run(&["deploy", "--output", "jsonl"]);
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let (document, events) = lines.split_last().unwrap();
    assert_eq!((&document["outcome"], ran.code), (&json!("arrived"), 0));
    assert!(
        events.iter().all(|event| event["event"].is_string() && event["at"].is_string()),
        "{}",
        ran.stdout
    );
    let entries: Vec<&str> = events
        .iter()
        .filter(|event| event["event"] == "ledger")
        .map(|event| event["entry"]["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        entries,
        ["opened", "pushed", "cleared", "publishing", "published", "planned", "intended", "settled", "ended"]
    );
}

#[test]
fn a_build_runs_once_in_the_manifests_directory_and_stdout_stays_the_results() {
    let scratch = Scratch::new();
    let manifest = scratch.read("deploy.yaml").replace(
        "  hello:\n",
        "  hello:\n    build: 'echo built in $(pwd) and noisy; echo x >> built; cp function-v1 function-built'\n",
    );
    scratch.write("deploy.yaml", &manifest.replace("function-${vars.version}", "function-built"));
    let ran = scratch.run(&["deploy", "--output", "json"]);
    assert_eq!(ran.document()["outcome"], "arrived", "{}", ran.stderr);
    assert!(ran.stderr.contains("and noisy"), "{}", ran.stderr);
    assert_eq!(scratch.read("built"), "x\n");

    scratch.write("deploy.yaml", &manifest.replace("echo built in", "exit 3; echo"));
    let refused = scratch.json(3, &["deploy"]);
    assert_eq!(refused["error"]["kind"], "build");
}

#[test]
fn the_image_may_lie_in_a_layout_or_an_archive() {
    let scratch = Scratch::new();
    let digest = scratch.deploy("v1")["image"]["digest"].as_str().unwrap().to_owned();
    scratch.layout_of(&digest, "image");
    let tar = std::process::Command::new("tar")
        .args(["cf", "image.tar", "-C", "image", "."])
        .current_dir(scratch.path())
        .status();
    assert!(tar.unwrap().success());
    for source in ["oci:image:v1", "oci:image", "oci-archive:image.tar"] {
        let document = scratch.json(0, &["deploy", "--set", &format!("functions.hello.image={source}")]);
        let row = &document["functions"][0];
        assert_eq!((&row["image"]["digest"], &row["image"]["source"]), (&json!(digest), &json!(source)));
        assert_eq!(row["outcome"], "unchanged", "the very image that is live");
    }
}
