//! Every image is started as it says, and answers.

use serde_json::{Value, json};

use crate::support::{Answer, http};
use crate::{Runtime, Shop, engine};

fn get(url: &str) -> (Answer, Value) {
    let answer = http("GET", url, "").expect("an answer");
    let document = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer, document)
}

fn answers_through_the_router(runtime: Runtime) {
    let Some(shop) = Shop::deployed(runtime) else { return };

    // Debian with Python: dynamic, with a working directory, a user, a command and a file that only the lower layer has.
    let (answer, told) = get(&format!("{}/some/path?q=1", shop.url("python").trim_end_matches('/')));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let expected = json!({
        "path": "/some/path?q=1", "directory": "/srv/app", "user": "worker", "greeting": "hello from the image",
        "in_the_lower_layer": false, "kept": true, "openssl": "OpenSSL",
    });
    assert_eq!(told, expected);
    let posted = http("POST", &shop.url("python"), "a body").expect("an answer");
    assert!(posted.body.contains("\"you_sent\": \"a body\""), "{}", posted.body);

    // Node, on a port of its own choice.
    let (answer, told) = get(&shop.url("node"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!((&told["release"], &told["method"]), (&json!("one"), &json!("GET")));
    assert!(told["node"].as_str().is_some_and(|version| !version.is_empty()), "{told}");

    // Python over the runtime API: an HTTP request is an event of a function URL, and its answer shapes the response.
    let answer = http("POST", &format!("{}a/b?x=1&y=2", with_slash(&shop.url("events"))), "{}").unwrap();
    assert_eq!((answer.status, answer.header("x-method")), (201, Some("POST")), "{}", answer.body);
    assert!(answer.body.ends_with("/a/b?x=1&y=2"), "{}", answer.body);
    let cookies: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
    assert_eq!(cookies.len(), 2, "{:?}", answer.headers);
    let event = shop.invoke(0, "events", r#"{"a": 1}"#);
    assert_eq!(event["payload"], json!({ "you_sent": { "a": 1 } }), "{event}");

    // Rust with lambda_runtime.
    let event = shop.invoke(0, "rust", r#"{"a": 1}"#);
    assert_eq!(
        (&event["payload"], &event["function_error"]),
        (&json!({ "you_sent": { "a": 1 } }), &Value::Null)
    );
    let context = &shop.invoke(0, "rust", r#"{"do": "context"}"#)["payload"];
    assert_eq!((&context["function"], &context["version"]), (&json!("shop-rust"), &json!("1")), "{context}");
    assert_eq!(context["memory"], 128, "{context}");
    assert!((1..=2000).contains(&context["milliseconds_left"].as_u64().unwrap_or(0)), "{context}");
    let environment = &shop.invoke(0, "rust", r#"{"do": "environment"}"#)["payload"];
    assert_eq!(environment["LEVEL"], "info", "{environment}");
    for needed in [
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_REGION",
        "LAMBDA_TASK_ROOT",
        "PORT",
    ] {
        assert!(environment[needed].is_string(), "{needed} in {environment}");
    }
}

fn with_slash(url: &str) -> String {
    if url.ends_with('/') { url.to_owned() } else { format!("{url}/") }
}

/// Two versions of a function that both listen on the port 8080 share traffic, and the old one still answers by its number.
fn two_versions_listen_on_the_same_port(runtime: Runtime) {
    let Some(shop) = Shop::deployed(runtime) else { return };
    let second = shop.scratch.json(0, &["deploy", "--env", "second", "--only", "node"]);
    assert_eq!(second["functions"][0]["to"], "2", "{second}");
    let base = shop.endpoint();
    for (version, release) in [("1", "one"), ("2", "two"), ("1", "one")] {
        let (answer, told) = get(&format!("{base}/shop-node/{version}/"));
        assert_eq!((answer.status, &told["release"]), (200, &json!(release)), "{}", answer.body);
        assert_eq!(answer.header("x-longshore-version"), Some(version));
    }
}

#[test]
fn each_image_answers_through_the_router() {
    answers_through_the_router(Runtime::Own);
}

#[test]
fn two_versions_of_a_function_with_a_port_of_its_own_run_at_once() {
    two_versions_listen_on_the_same_port(Runtime::Own);
}

#[test]
fn each_image_answers_under_podman() {
    if engine(Runtime::Podman) {
        answers_through_the_router(Runtime::Podman);
        two_versions_listen_on_the_same_port(Runtime::Podman);
    }
}

#[test]
fn each_image_answers_under_docker() {
    if engine(Runtime::Docker) {
        answers_through_the_router(Runtime::Docker);
        two_versions_listen_on_the_same_port(Runtime::Docker);
    }
}

#[test]
fn after_a_crash_another_instance_serves() {
    let Some(shop) = Shop::deployed(Runtime::Own) else { return };
    let failed = shop.invoke(1, "rust", r#"{"do": "crash"}"#);
    assert_eq!(failed["payload"]["errorType"], "Runtime.ExitError", "{failed}");
    let event = shop.invoke(0, "rust", r#"{"a": 2}"#);
    assert_eq!(event["payload"], json!({ "you_sent": { "a": 2 } }), "{event}");
}
