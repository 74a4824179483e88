//! Runs that are open: resume, promote, abort, and what a deploy says to them.

use serde_json::{Value, json};

use crate::support::Scratch;

#[test]
fn ctrl_c_leaves_traffic_as_it_is_and_resume_goes_on() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    let held = scratch.hold_canary("v2");
    assert_eq!(
        (&held["outcome"], &held["exit_code"], &held["error"]["kind"]),
        (&json!("held"), &json!(5), &json!("interrupted"))
    );
    assert!(held["error"]["hint"].as_str().unwrap().contains("longshore resume"));
    assert_eq!(held["functions"][0]["routing"], json!({ "stable": "1", "canary": "2", "share": 0.25 }));

    let status = scratch.json(0, &["status"]);
    assert_eq!(status["run"], held["run"]);
    assert_eq!(status["functions"][0]["open"]["run"], held["run"]);
    assert_eq!(status["functions"][0]["routing"]["share"], 0.25);

    // The soak is resumed, and interrupted again; then everything goes to the new version.
    let again = scratch.interrupted(&["resume"]);
    assert_eq!((&again["outcome"], &again["run"]), (&json!("held"), &held["run"]));
    let promoted = scratch.json(0, &["promote"]);
    assert_eq!((&promoted["outcome"], &promoted["run"]), (&json!("arrived"), &held["run"]));
    assert_eq!(promoted["functions"][0]["routing"], json!({ "stable": "2", "canary": null, "share": 0.0 }));
    assert_eq!(scratch.json(0, &["status"])["functions"][0]["open"], Value::Null);
}

#[test]
fn abort_returns_an_open_run() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    let held = scratch.hold_canary("v2");
    let wrong = scratch.json(6, &["abort", "--run", "01J8Z0B4Q5W6X7Y8Z9A0B1C2D3"]);
    assert_eq!(wrong["error"]["kind"], "open_run");
    let aborted = scratch.json(0, &["abort", "--run", held["run"].as_str().unwrap()]);
    assert_eq!(
        (&aborted["outcome"], &aborted["functions"][0]["routing"]["stable"]),
        (&json!("returned"), &json!("1"))
    );
    for verb in ["abort", "promote", "resume"] {
        let refused = scratch.json(3, &[verb]);
        assert_eq!(
            (&refused["outcome"], &refused["error"]["kind"]),
            (&json!("refused"), &json!("nothing_open")),
            "{verb}"
        );
    }
}

#[test]
fn a_deploy_beside_an_open_run_is_preempted_and_names_it() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    let held = scratch.hold_canary("v2");
    let run = held["run"].as_str().unwrap();
    let refused = scratch.json(6, &["deploy", "--set", "vars.version=v3"]);
    assert_eq!(refused["outcome"], "preempted");
    assert!(refused["error"]["message"].as_str().unwrap().contains(run));

    let deployed = scratch.json(0, &["deploy", "--abort", "--set", "vars.version=v3"]);
    assert_eq!(
        (&deployed["outcome"], &deployed["functions"][0]["from"], &deployed["functions"][0]["to"]),
        (&json!("arrived"), &json!("1"), &json!("3"))
    );
    let outcomes: Vec<Value> = scratch.json(0, &["history"])["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["outcome"].clone())
        .collect();
    assert_eq!(outcomes, [json!("arrived"), json!("returned"), json!("arrived")]);
}

#[test]
fn deploy_resume_goes_on_with_the_open_run() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    let held = scratch.hold_canary("v2");
    let again = scratch.interrupted(&["deploy", "--resume", "--env", "canary", "--set", "vars.version=v2"]);
    assert_eq!((&again["outcome"], &again["functions"][0]["to"]), (&json!("held"), &json!("2")));
    assert_eq!(again["run"], held["run"]);
}

#[test]
fn a_rollback_during_a_rollout_returns_it_and_the_driver_stops() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    let driver = scratch.start_canary("v2");
    let document = scratch.json(0, &["rollback"]);
    assert_eq!(
        (&document["outcome"], &document["functions"][0]["routing"]["stable"]),
        (&json!("returned"), &json!("1"))
    );
    let driven = driver.finish();
    assert_eq!(driven["exit_code"], 6, "{driven}");
    assert_eq!(driven["error"]["kind"], "taken_over");
    assert_eq!(scratch.json(0, &["status"])["functions"][0]["routing"]["stable"], "1");
}

#[test]
fn an_abort_by_the_alias_before_a_deploy_is_a_run_of_its_own() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    scratch.hold_canary("v2");
    std::fs::remove_dir_all(scratch.path().join(".longshore/ledger")).unwrap();
    scratch.json(0, &["deploy", "--abort", "--set", "vars.version=v3"]);
    let history = scratch.json(0, &["history"]);
    let runs = history["runs"].as_array().unwrap();
    let column = |key: &str| runs.iter().map(|run| run[key].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((column("verb"), column("outcome")), (vec!["deploy", "abort"], vec!["arrived", "returned"]));
    assert_ne!(runs[0]["run"], runs[1]["run"]);
}

#[test]
fn every_verb_that_moves_traffic_tells_where_it_is_reached() {
    let scratch = Scratch::new();
    let url = scratch.deploy("v1")["url"].clone();
    assert!(url.is_string());
    scratch.hold_canary("v2");
    assert_eq!(scratch.json(0, &["promote"])["functions"][0]["url"], url);
    assert_eq!(scratch.json(0, &["rollback"])["functions"][0]["url"], url);
    assert_eq!(scratch.json(0, &["status"])["functions"][0]["url"], url);
}

#[test]
fn without_the_ledger_a_split_can_still_be_decided() {
    for (verb, stable) in [("promote", "2"), ("abort", "1")] {
        let scratch = Scratch::new();
        scratch.deploy("v1");
        scratch.hold_canary("v2");
        std::fs::remove_dir_all(scratch.path().join(".longshore/ledger")).unwrap();
        let elsewhere = scratch.json(6, &["deploy", "--set", "vars.version=v3"]);
        assert_eq!(elsewhere["error"]["kind"], "open_run", "the alias's description says so");
        let status = scratch.json(0, &["status"]);
        assert!(
            status["functions"][0]["notes"][0]
                .as_str()
                .unwrap()
                .contains("is open by the alias's description")
        );
        let document = scratch.json(0, &[verb]);
        assert_eq!(
            document["functions"][0]["routing"],
            json!({ "stable": stable, "canary": null, "share": 0.0 })
        );
    }
}
