//! The AWS CLI invokes what Longshore deployed.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::Ran;
use crate::{Runtime, Shop, tools};

struct Cli {
    shop: Shop,
    program: std::path::PathBuf,
    endpoint: String,
}

impl Cli {
    /// Runs `aws lambda invoke` and returns what it printed, and the payload it wrote.
    fn invoke(&self, words: &[&str]) -> (Ran, Value) {
        let out = self.shop.scratch.path().join("out.json");
        let _ = std::fs::remove_file(&out);
        let ran = Ran::of(
            Command::new(&self.program)
                .args(["lambda", "invoke", "--endpoint-url", &self.endpoint, "--region", "us-east-1"])
                .args(["--output", "json"])
                .args(words)
                .arg(&out)
                .env("AWS_ACCESS_KEY_ID", "any")
                .env("AWS_SECRET_ACCESS_KEY", "any")
                .env("AWS_CONFIG_FILE", "/dev/null")
                .env("AWS_MAX_ATTEMPTS", "1")
                .env("HOME", self.shop.scratch.path()),
        );
        let payload = std::fs::read(&out).unwrap_or_default();
        (ran, serde_json::from_slice(&payload).unwrap_or_default())
    }
}

#[test]
fn the_aws_cli_invokes_an_alias_a_version_and_learns_what_went_wrong() {
    let Some(tools) = tools() else { return };
    let Some(shop) = Shop::deployed(Runtime::Own) else { return };
    let endpoint = shop.endpoint();
    let cli = Cli { shop, program: tools.join("aws"), endpoint };

    let (ran, payload) =
        cli.invoke(&["--function-name", "shop-rust", "--qualifier", "live", "--payload", r#"{"a": 1}"#]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(payload, json!({ "you_sent": { "a": 1 } }));
    assert_eq!(ran.document(), json!({ "StatusCode": 200, "ExecutedVersion": "1" }));

    let (ran, payload) = cli.invoke(&[
        "--function-name",
        "shop-events:1",
        "--payload",
        r#"{"b": 2}"#,
        "--log-type",
        "Tail",
        "--query",
        "LogResult",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(payload, json!({ "you_sent": { "b": 2 } }));
    let log = decoded(ran.stdout.trim().trim_matches('"'));
    for line in ["START RequestId: ", "handling {'b': 2}", "END RequestId: ", "REPORT RequestId: "] {
        assert!(log.contains(line), "{line:?} in {log}");
    }

    let (ran, payload) = cli.invoke(&[
        "--function-name",
        "shop-events",
        "--qualifier",
        "live",
        "--payload",
        r#"{"do": "fail"}"#,
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.document()["FunctionError"], "Unhandled");
    assert_eq!(
        (&payload["errorType"], &payload["errorMessage"]),
        (&json!("ValueError"), &json!("as it was asked to"))
    );

    let (ran, _) = cli.invoke(&["--function-name", "shop-rust", "--qualifier", "nobody"]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("(ResourceNotFoundException)"), "{}", ran.stderr);
    let (ran, _) =
        cli.invoke(&["--function-name", "shop-rust", "--qualifier", "live", "--payload", "no json"]);
    assert!(ran.stderr.contains("(InvalidRequestContentException)"), "{}", ran.stderr);
    let (ran, _) =
        cli.invoke(&["--function-name", "shop-rust", "--qualifier", "live", "--invocation-type", "DryRun"]);
    assert_eq!((ran.code, &ran.document()["StatusCode"]), (0, &json!(204)), "{}", ran.stderr);
}

/// Standard base64, decoded by the system's own tool.
fn decoded(text: &str) -> String {
    let mut child = Command::new("base64")
        .arg("-d")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("base64 runs");
    std::io::Write::write_all(&mut child.stdin.take().expect("its stdin"), text.as_bytes())
        .expect("it reads");
    String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("UTF-8")
}
