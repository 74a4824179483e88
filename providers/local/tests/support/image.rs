//! Images for functions: a static program, packed and pushed with nothing but the standard library and a tar writer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use longshore_contract::Reference;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::http::call;

/// A sample as a static program, compiled once for all test programs.
fn program(source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(source);
    let text = std::fs::read(&source).expect("the sample's source");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = format!("function-{}", &digest(&text)["sha256:".len()..][..16]);
    let program = folder.join(&name);
    if !program.exists() {
        let building = folder.join(format!("{name}.building-{}", std::process::id()));
        let status = Command::new("rustc")
            .args([
                "--edition",
                "2024",
                "-O",
                "-C",
                "target-feature=+crt-static",
                "-C",
                "strip=symbols",
                "-o",
            ])
            .args([&building, &source])
            .status()
            .expect("rustc runs");
        assert!(status.success(), "the sample does not compile");
        std::fs::rename(building, &program).expect("it can be moved into place");
    }
    program
}

/// The layer that holds the sample functions, as a tar archive.
static LAYER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, source) in [("function", "function.rs"), ("lambda", "lambda.rs")] {
        let program = std::fs::read(program(source)).expect("the sample");
        let mut header = tar::Header::new_gnu();
        header.set_size(program.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        archive.append_data(&mut header, name, program.as_slice()).expect("it can be packed");
    }
    archive.into_inner().expect("it can be packed")
});

/// An image of the sample that asks for events, in the registry at `registry`.
pub(crate) fn asking(registry: SocketAddr) -> Reference {
    push(registry, &["/lambda"], &[])
}

/// An image of the sample function that answers with `answer`, in the registry at `registry`.
pub(crate) fn answering(registry: SocketAddr, answer: &str) -> Reference {
    push(registry, &["/function"], &[&format!("ANSWER={answer}")])
}

/// An image that ends with the status 3 as soon as it is started.
pub(crate) fn ending(registry: SocketAddr) -> Reference {
    push(registry, &["/function", "exit"], &[])
}

/// Pushes an image with one layer.
pub(crate) fn push(registry: SocketAddr, command: &[&str], environment: &[&str]) -> Reference {
    let layer = digest(&LAYER);
    let config = json!({
        "architecture": longshore_contract::Platform::host().architecture,
        "os": "linux",
        "config": { "Entrypoint": command, "Env": environment },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(&config),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer,
            "size": LAYER.len(),
        }],
    });
    let manifest = manifest.to_string().into_bytes();
    put_blob(registry, &LAYER);
    put_blob(registry, &config);
    let digest = digest(&manifest);
    let kind = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
    let answer = call(registry, "PUT", &format!("/v2/sample/manifests/{digest}"), &kind, &manifest);
    assert_eq!(answer.status, 201, "{}", answer.text());
    format!("{registry}/sample@{digest}").parse().expect("a reference")
}

fn put_blob(registry: SocketAddr, bytes: &[u8]) {
    let digest = digest(bytes);
    if call(registry, "HEAD", &format!("/v2/sample/blobs/{digest}"), &[], &[]).status == 200 {
        return;
    }
    let answer = call(registry, "POST", &format!("/v2/sample/blobs/uploads/?digest={digest}"), &[], bytes);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// The digest of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
