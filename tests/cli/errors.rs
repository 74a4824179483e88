//! One clear error each: what, where, what to do; the right code, one document, no traffic moved.

use serde_json::{Value, json};

use crate::support::{MANIFEST, Scratch, http};

fn error(document: &Value) -> (&str, &str) {
    let error = &document["error"];
    assert!(
        error["message"].is_string() && error.get("hint").is_some() && error.get("at").is_some(),
        "{document}"
    );
    assert_eq!(document["errors"][0], *error);
    (error["kind"].as_str().unwrap(), error["message"].as_str().unwrap())
}

#[test]
fn a_usage_error_is_a_document_too() {
    let scratch = Scratch::empty();
    for (words, command) in [
        (&["deploy", "--colour"][..], "deploy"),
        (&["rollback", "--to", "x"], "rollback"),
        (&["push", "oci:x"], "push"),
        (&["local"], "local"),
        (&["frobnicate"], "longshore"),
        (&[], "longshore"),
        (&["history", "a:b:c"], "history"),
    ] {
        let document = scratch.json(2, words);
        assert_eq!(
            (&document["outcome"], &document["command"]),
            (&json!("invalid"), &json!(command)),
            "{words:?}"
        );
        assert_eq!(error(&document).0, "usage");
    }
    let human = scratch.run(&["deploy", "--colour"]);
    assert_eq!((human.code, human.stdout.as_str()), (2, ""));
    assert!(human.stderr.contains("--color"), "{}", human.stderr);
}

#[test]
fn mistakes_of_a_manifest_are_told_all_at_once() {
    let scratch = Scratch::empty();
    scratch.write("deploy.yaml", &MANIFEST.replace("targets:", "target:").replace("tag:", "tga:"));
    let document = scratch.json(2, &["deploy"]);
    let errors = document["errors"].as_array().unwrap();
    assert!(errors.len() >= 2, "{document}");
    assert_eq!(errors[0]["at"], json!({ "file": "deploy.yaml", "line": 4, "column": 1 }));
    let human = scratch.run(&["deploy"]);
    assert!(
        human.stderr.contains("unknown key `tga`") && human.stderr.contains("did you mean `tag`?"),
        "{}",
        human.stderr
    );

    let missing = Scratch::empty();
    let document = missing.json(2, &["deploy"]);
    assert!(document["error"]["hint"].as_str().unwrap().contains("longshore init"));
}

#[test]
fn an_image_that_cannot_be_used_is_refused_and_moves_nothing() {
    let scratch = Scratch::new();
    let first = scratch.deploy("v1");
    let digest = first["image"]["digest"].as_str().unwrap().to_owned();
    let url = first["url"].as_str().unwrap().to_owned();
    let deploy =
        |image: &str| scratch.json(3, &["deploy", "--set", &format!("functions.hello.image={image}")]);
    let before = (scratch.writes(), scratch.ledger());

    assert_eq!(error(&deploy("oci:nowhere")).0, "image_missing");
    assert_eq!(error(&deploy("oci-archive:nothing.tar")).0, "image_missing");

    let fresh = |name: &str| {
        scratch.layout_of(&digest, name);
        scratch.path().join(name)
    };
    let manifest = format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));

    let truncated = fresh("truncated").join(&manifest);
    let text = std::fs::read(&truncated).unwrap();
    std::fs::write(&truncated, &text[..text.len() / 2]).unwrap();
    assert_eq!(error(&deploy("oci:truncated")).0, "image_corrupt");

    let swapped = fresh("swapped").join(&manifest);
    std::fs::write(
        &swapped,
        String::from_utf8(text.clone()).unwrap().replace("\"schemaVersion\":2", "\"schemaVersion\":1"),
    )
    .unwrap();
    assert_eq!(error(&deploy("oci:swapped")).0, "image_corrupt");

    let parsed: Value = serde_json::from_slice(&text).unwrap();
    let layer = parsed["layers"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let short = fresh("short").join("blobs/sha256").join(&layer);
    std::fs::write(&short, "short").unwrap();
    assert_eq!(error(&deploy("oci:short")).0, "image_corrupt");

    let escaping = fresh("escaping").join("blobs/sha256").join(&layer);
    std::fs::remove_file(&escaping).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &escaping).unwrap();
    let refused = deploy("oci:escaping");
    assert!(["image_corrupt", "image_missing", "image_io"].contains(&error(&refused).0), "{refused}");
    assert!(!refused.to_string().contains("root:"), "nothing outside is read");

    fresh("huge");
    let index = std::fs::File::create(scratch.path().join("huge/index.json")).unwrap();
    index.set_len(1 << 30).unwrap();
    assert_eq!(error(&deploy("oci:huge")).0, "image_limit");

    std::fs::write(fresh("climbing").join("index.json"), r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../../../../etc/passwd","size":10}]}"#).unwrap();
    assert_eq!(error(&deploy("oci:climbing")).0, "image_corrupt");

    let other = scratch.json(
        3,
        &[
            "deploy",
            "--set",
            "functions.hello.image=oci:image",
            "--set",
            "functions.hello.platform=linux/s390x",
        ],
    );
    assert!(error(&other).0.starts_with("image_"), "{other}");

    assert_eq!((scratch.writes(), scratch.ledger()), before);
    assert_eq!(http("GET", &url, "").unwrap().body, "<h1>v1</h1>\n");
}

#[test]
fn a_version_that_does_not_start_is_refused_and_the_old_one_serves() {
    let scratch = Scratch::new();
    let url = scratch.deploy("v1")["url"].as_str().unwrap().to_owned();
    scratch.write("broken", "#!/nowhere/sh\n");
    for (program, said) in [("/app/absent", "/app/absent"), ("/app/broken", "broken")] {
        let manifest =
            MANIFEST.replace("entrypoint: [/app/function]", &format!("entrypoint: [{program}]")).replace(
                "source: page.html, destination: /app/page.html",
                "source: broken, destination: /app/broken, mode: '0755'",
            );
        scratch.write("broken.yaml", &manifest);
        let document = scratch.json(3, &["deploy", "-f", "broken.yaml"]);
        assert_eq!(document["outcome"], "refused");
        let (kind, message) = error(&document);
        assert_eq!(kind, "not_ready");
        assert!(message.contains(said), "{message}");
        assert_eq!(document["functions"][0]["routing"]["stable"], "1");
    }
    assert_eq!(http("GET", &url, "").unwrap().body, "<h1>v1</h1>\n");
    // The refused runs are over: nothing is in the way of the next.
    assert_eq!(scratch.deploy("v2")["outcome"], "arrived");
}

#[test]
fn a_function_that_crashes_or_fails_is_told_by_invoke() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    let fine = scratch.json(0, &["invoke", "hello", "--payload", r#"{"ping": true}"#]);
    assert_eq!(
        (&fine["version"], &fine["status"], &fine["function_error"]),
        (&json!("1"), &json!(200), &Value::Null)
    );
    assert_eq!(fine["payload"]["hello"], "v1");
    for key in ["version", "status", "payload", "function_error", "log"] {
        assert!(fine.get(key).is_some(), "{key}");
    }
    let failed = scratch.json(1, &["invoke", "--path", "/fail"]);
    assert_eq!((&failed["outcome"], &failed["status"]), (&json!("failed"), &json!(500)));
    let crashed = scratch.json(1, &["invoke", "--path", "/crash"]);
    assert_eq!(crashed["outcome"], "failed");
    assert!(error(&crashed).1.contains("shop-hello"), "{crashed}");
    // It is started again for the next request.
    assert_eq!(scratch.json(0, &["invoke", "--path", "/health"])["payload"], "ok\n");
    assert_eq!(error(&scratch.json(2, &["invoke", "--payload", "{"])).0, "usage");
}

#[test]
fn a_smoke_request_that_fails_moves_no_traffic() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    let smoke = |path: &str| format!("functions.hello.smoke=[{{ http: {{ path: {path} }} }}]");
    let refused = scratch.json(3, &["deploy", "--set", "vars.version=v2", "--set", &smoke("/fail")]);
    assert_eq!(error(&refused).0, "smoke");
    assert_eq!(scratch.json(0, &["status"])["functions"][0]["routing"]["stable"], "1");
    assert_eq!(
        scratch.json(0, &["deploy", "--set", "vars.version=v2", "--set", &smoke("/health")])["outcome"],
        "arrived"
    );
}

#[test]
fn what_the_provider_does_not_offer_is_refused_by_name() {
    let scratch = Scratch::new();
    scratch.deploy("v1");
    let scan = scratch
        .json(3, &["deploy", "--set", "vars.version=v2", "--set", "functions.hello.scan={ refuse: high }"]);
    assert_eq!((error(&scan).0, &scan["functions"][0]["scan"]["verdict"]), ("scan", &json!("refused")));
    let gate =
        "functions.hello.shift={ strategy: canary, steps: [10%], soak: 1m, gate: { errors: { max: 1% } } }";
    let gate = scratch.json(3, &["deploy", "--set", "vars.version=v2", "--set", gate]);
    assert_eq!(error(&gate).0, "unsupported");
    let warned = scratch.json(
        0,
        &[
            "deploy",
            "--set",
            "vars.version=v2",
            "--set",
            "functions.hello.scan={ refuse: high, on_absent: warn }",
        ],
    );
    assert_eq!(
        warned["functions"][0]["scan"],
        json!({ "verdict": "absent", "findings": { "critical": 0, "high": 0, "medium": 0, "low": 0, "unknown": 0 } })
    );
}

#[test]
fn check_finds_what_would_fail_and_writes_nothing() {
    let scratch = Scratch::new();
    let fresh = scratch.json(0, &["check"]);
    assert_eq!(
        (&fresh["outcome"], &fresh["checks"][0]["findings"][0]["severity"]),
        (&json!("done"), &json!("notice"))
    );
    assert_eq!(scratch.json(0, &["check", "--offline"])["outcome"], "done");
    assert!(!scratch.path().join(".longshore").exists());
    let missing = scratch.json(3, &["check", "--offline", "--set", "functions.hello.image=oci:nowhere"]);
    assert_eq!(missing["checks"][0]["findings"][0]["severity"], "blocking");
}

#[test]
fn init_writes_a_manifest_that_is_read_and_never_writes_over_one() {
    let scratch = Scratch::empty();
    let document = scratch.json(0, &["init"]);
    assert_eq!(document["file"], "deploy.yaml");
    // It is valid; only its image is not there yet.
    assert_eq!(error(&scratch.json(3, &["check", "--offline"])).0, "image_missing");
    let text = scratch.read("deploy.yaml");
    assert_eq!(error(&scratch.json(3, &["init"])).0, "exists");
    assert_eq!(scratch.read("deploy.yaml"), text);
}

#[test]
fn the_schema_is_json_and_knows_the_manifests_keys() {
    let ran = Scratch::empty().run(&["schema"]);
    let schema: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(schema["$defs"]["manifest"]["properties"]["functions"].is_object() && ran.code == 0);
}

#[test]
fn no_secret_of_the_environment_is_ever_shown() {
    let scratch = Scratch::new();
    let secret = "s3cr3t-v4lue";
    let manifest = MANIFEST.replace("GREETING: hello", "GREETING: '${env.TOKEN}'");
    scratch.write("deploy.yaml", &manifest.replace("    tag:", "    build: 'true ${env.TOKEN}'\n    tag:"));
    let mut seen = String::new();
    for words in [
        &["deploy", "-vv", "--output", "json"][..],
        &["plan", "--output", "json"],
        &["status", "-vv"],
        &["history"],
        &["deploy", "-vv", "--output", "jsonl", "--set", "vars.version=v2"],
    ] {
        let output = scratch.command(words).env("TOKEN", secret).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        seen.push_str(&String::from_utf8_lossy(&output.stdout));
        seen.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    for (_, text) in scratch.ledger() {
        seen.push_str(&text);
    }
    seen.push_str(&scratch.read(".longshore/local/daemon.log"));
    seen.push_str(&scratch.read(".longshore/local/functions/journal.jsonl"));
    assert!(!seen.contains(secret), "the value leaked");
}
