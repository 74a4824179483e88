//! Real peers: skopeo reads what was pushed, and Debian's registry takes it.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Ran, Scratch, have, http, until};

fn skopeo_digest(reference: &str) -> Value {
    let ran = Ran::of(Command::new("skopeo").args(["inspect", "--tls-verify=false", &format!("docker://{reference}")]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.document()["Digest"].clone()
}

/// Debian's registry on a free port, ended with the value.
struct Registry {
    child: std::process::Child,
    address: String,
}

impl Registry {
    fn start(scratch: &Scratch) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: '{address}'}}\n",
            scratch.path().join("registry-data").display()
        );
        scratch.write("registry.yml", &config);
        let child = Command::new("docker-registry")
            .args(["serve", "registry.yml"])
            .current_dir(scratch.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the registry", || http("GET", &format!("http://{address}/v2/"), "").ok());
        Self { child, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn skopeo_reads_what_was_deployed_and_what_was_pushed() {
    if !have("skopeo") || !have("docker-registry") {
        return;
    }
    let scratch = Scratch::new();
    let row = scratch.deploy("v1");
    let digest = row["image"]["digest"].clone();
    assert_eq!(skopeo_digest(row["image"]["reference"].as_str().unwrap()), digest);

    scratch.layout_of(digest.as_str().unwrap(), "image");
    let registry = Registry::start(&scratch);
    let destination = format!("{}/team/hello:v1", registry.address);
    let first = scratch.json(0, &["push", "oci:image:v1", &destination]);
    assert_eq!((&first["command"], &first["outcome"]), (&json!("push"), &json!("arrived")));
    let row = &first["images"][0];
    assert_eq!((&row["image"]["digest"], &row["destination"]), (&digest, &json!(destination)));
    assert_eq!((&row["blobs"]["sent"], &row["blobs"]["present"]), (&json!(2), &json!(0)));
    assert!(row["bytes_sent"].as_u64().unwrap() > 10_000);
    assert_eq!(skopeo_digest(&destination), digest);

    let again = scratch.json(0, &["push", "oci:image:v1", &destination]);
    let row = &again["images"][0];
    assert_eq!((&row["outcome"], &row["bytes_sent"], &row["blobs"]["sent"]), (&json!("unchanged"), &json!(0), &json!(0)));
    assert!(row["calls"]["registry"].as_u64().unwrap() <= 2, "{row}");

    // Another tag: the blobs are there, only the manifest goes over.
    let tag = scratch.json(0, &["push", "oci:image:v1", &format!("{}/team/hello:v2", registry.address)]);
    assert_eq!((&tag["images"][0]["blobs"]["sent"], &tag["images"][0]["bytes_sent"]), (&json!(0), &json!(0)));
}

#[test]
fn destinations_fail_alone_and_the_code_tells() {
    if !have("docker-registry") {
        return;
    }
    let scratch = Scratch::new();
    let digest = scratch.deploy("v1")["image"]["digest"].as_str().unwrap().to_owned();
    scratch.layout_of(&digest, "image");
    let registry = Registry::start(&scratch);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (good, bad) = (format!("{}/a:v1", registry.address), format!("{closed}/a:v1"));
    let document = scratch.json(7, &["push", "oci:image", &good, &bad]);
    let outcomes: Vec<&Value> = document["images"].as_array().unwrap().iter().map(|row| &row["outcome"]).collect();
    assert_eq!(outcomes, ["arrived", "failed"]);
    assert!(document["error"]["message"].as_str().unwrap().contains(&closed.to_string()));

    let platform = scratch.json(3, &["push", "oci:image", &good, "--platform", "linux/s390x"]);
    assert_eq!(platform["error"]["kind"], "image_platform");
}

#[test]
fn skopeo_pushes_to_the_local_registry_and_longshore_deploys_what_it_pulls() {
    if !have("skopeo") {
        return;
    }
    let scratch = Scratch::new();
    let digest = scratch.deploy("v1")["image"]["digest"].as_str().unwrap().to_owned();
    scratch.layout_of(&digest, "image");
    let registry = scratch.json(0, &["local", "status"])["endpoints"]["registry"].as_str().unwrap().replace("http://", "");
    let there = format!("docker://{registry}/by/skopeo:x");
    for (from, to) in [("oci:image:v1", there.as_str()), (there.as_str(), "oci:back:v1")] {
        let ran = Ran::of(
            Command::new("skopeo")
                .args(["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", from, to])
                .current_dir(scratch.path()),
        );
        assert_eq!(ran.code, 0, "{from} {to}: {}", ran.stderr);
    }
    let document = scratch.json(0, &["deploy", "--set", "functions.hello.image=oci:back:v1"]);
    assert_eq!((&document["outcome"], &document["functions"][0]["image"]["digest"]), (&json!("unchanged"), &json!(digest)));
}
