//! Going back.

use serde_json::{Value, json};

use crate::support::{Scratch, http};

#[test]
fn rollback_is_one_read_and_one_write_and_twice_goes_further_back() {
    let scratch = Scratch::new();
    for version in ["v1", "v2", "v3"] {
        scratch.deploy(version);
    }
    let url = scratch.json(0, &["status"])["functions"][0]["url"].as_str().unwrap().to_owned();
    for (from, to, answer) in [("3", "2", "<h1>v2</h1>\n"), ("2", "1", "<h1>v1</h1>\n")] {
        let document = scratch.json(0, &["rollback", "--message", "bad"]);
        assert_eq!((&document["command"], &document["outcome"]), (&json!("rollback"), &json!("returned")));
        let row = &document["functions"][0];
        assert_eq!((&row["from"], &row["to"]), (&json!(from), &json!(to)));
        assert_eq!(row["calls"]["functions"], 2, "{row}");
        assert_eq!(http("GET", &url, "").unwrap().body, answer);
    }
    let refused = scratch.json(3, &["rollback"]);
    assert_eq!(
        (&refused["outcome"], &refused["error"]["kind"]),
        (&json!("refused"), &json!("nothing_behind"))
    );
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.ends_with("versions that exist: 2, 3"),
        "candidates, the last one that was live first: {message}"
    );
    assert!(refused["error"]["hint"].as_str().unwrap().contains("--to"));

    let asked = scratch.json(0, &["rollback", "--to", "3"]);
    assert_eq!(asked["functions"][0]["to"], "3");
    // Its own time, by the quickest of several: what it needs, not what else the machine was doing.
    let quickest = ["2", "3", "2", "3", "2", "3"]
        .map(|to| scratch.json(0, &["rollback", "--to", to])["elapsed_ms"].as_u64().unwrap())
        .into_iter()
        .min();
    assert!(quickest < Some(50), "{quickest:?}");
    let again = scratch.json(0, &["rollback", "--to", "3"]);
    assert_eq!(again["outcome"], "unchanged");
    let absent = scratch.json(3, &["rollback", "--to", "99"]);
    assert_eq!(absent["error"]["kind"], "bad_target");
}

#[test]
fn a_version_that_never_arrived_is_no_target() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    scratch.deploy("v2");
    // Version 3 is published and its run is given up before it has all traffic.
    scratch.hold_canary("v3");
    assert_eq!(scratch.json(0, &["abort"])["outcome"], "returned");
    let document = scratch.json(0, &["rollback"]);
    assert_eq!(
        (&document["functions"][0]["from"], &document["functions"][0]["to"]),
        (&json!("2"), &json!("1"))
    );
}

#[test]
fn the_alias_alone_is_enough_on_a_machine_without_the_ledger() {
    let scratch = Scratch::new();
    for version in ["v1", "v2", "v3"] {
        scratch.deploy(version);
    }
    let elsewhere = Scratch::empty();
    let address = format!("local:{}:shop-hello:live", scratch.path().join(".longshore/local").display());
    let status = elsewhere.json(0, &["status", &address]);
    assert_eq!((&status["functions"][0]["to"], &status["functions"][0]["from"]), (&json!("3"), &json!("2")));
    for to in ["2", "1"] {
        let document = elsewhere.json(0, &["rollback", &address]);
        let row = &document["functions"][0];
        assert_eq!(row["to"], to);
        assert_eq!(row["calls"]["functions"], 3, "a breadcrumb is looked at before it is believed");
    }
    assert_eq!(elsewhere.json(3, &["rollback", &address])["error"]["kind"], "nothing_behind");
}

#[test]
fn a_check_looks_at_the_target_and_writes_nothing() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    scratch.deploy("v2");
    let before = (scratch.writes(), scratch.ledger());
    let document = scratch.json(0, &["rollback", "--check"]);
    assert_eq!((&document["outcome"], &document["functions"][0]["to"]), (&json!("planned"), &json!("1")));
    assert_eq!((scratch.writes(), scratch.ledger()), before);
}

#[test]
fn history_tells_who_did_what_and_what_undid_it() {
    let scratch = Scratch::new();
    let ran = scratch
        .command(&["deploy", "--message", "the first"])
        .env("USER", "ann")
        .env("GITHUB_SHA", "3f9a61c")
        .output();
    assert!(ran.unwrap().status.success());
    scratch.deploy("v2");
    scratch.json(0, &["rollback"]);
    let document = scratch.json(0, &["history"]);
    let runs = document["runs"].as_array().unwrap();
    let column = |key: &str| runs.iter().map(|run| run[key].clone()).collect::<Vec<Value>>();
    assert_eq!(column("verb"), [json!("rollback"), json!("deploy"), json!("deploy")]);
    assert_eq!(column("from"), [json!("2"), json!("1"), Value::Null]);
    assert_eq!(column("to"), [json!("1"), json!("2"), json!("1")]);
    assert_eq!(runs[0]["undoes"], runs[1]["run"]);
    let first = &runs[2];
    assert_eq!(
        (&first["by"], &first["commit"], &first["message"]),
        (&json!("ann"), &json!("3f9a61c"), &json!("the first"))
    );
    for key in ["run", "outcome", "digest", "host", "ci_url", "started", "ended"] {
        assert!(first.get(key).is_some(), "{key}");
    }
}
