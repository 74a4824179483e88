//! Real clients: what they push comes back to themselves and to each other.

use std::path::Path;
use std::process::Command;

use crate::peer::{MANIFEST, Peer, Served, have};

/// Runs a program that must succeed; answers with what it said.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn served() -> (Served, Peer) {
    let served = Served::start();
    let peer = Peer { address: served.address, name: "shop".to_owned(), other: "other".to_owned() };
    (served, peer)
}

/// Every blob of the layout at `one` is in the one at `two`, unchanged.
fn assert_same_layout(one: &Path, two: &Path) {
    for entry in std::fs::read_dir(one.join("blobs/sha256")).expect("a layout") {
        let name = entry.expect("an entry").file_name();
        let [ours, theirs] = [one, two].map(|layout| std::fs::read(layout.join("blobs/sha256").join(&name)));
        assert!(ours.expect("it is there") == theirs.expect("it came back"), "{name:?}");
    }
}

#[test]
fn skopeo_copies_indexes_lists_tags_and_deletes() {
    if !have("skopeo") {
        return;
    }
    let (_served, peer) = served();
    let child = peer.image("one");
    let child_digest = peer.manifest("child", MANIFEST, &child);
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": crate::peer::INDEX,
        "manifests": [{
            "mediaType": MANIFEST, "digest": child_digest, "size": child.to_string().len(),
            "platform": { "os": "linux", "architecture": "amd64" },
        }],
    });
    peer.manifest("index", crate::peer::INDEX, &index);
    let at = |name: &str| format!("docker://{}/{name}", peer.address);
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    let copy = |from: &str, to: &str| {
        let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        run("skopeo", &["copy", "--all", "--preserve-digests", plain[0], plain[1], from, to]);
    };
    let layout = |path: &Path| format!("oci:{}:v1", path.display());
    copy(&at("shop:index"), &layout(&one));
    copy(&layout(&one), &at("other/deep:v1"));
    copy(&at("other/deep:v1"), &at("third:v2"));
    copy(&at("third:v2"), &layout(&two));
    assert_same_layout(&one, &two);
    let tags = run("skopeo", &["list-tags", "--tls-verify=false", &at("shop")]);
    assert!(tags.contains("\"child\"") && tags.contains("\"index\""), "{tags}");
    run("skopeo", &["delete", "--tls-verify=false", &at("third:v2")]);
    let third = Peer { address: peer.address, name: "third".to_owned(), other: String::new() };
    assert_eq!(third.get_manifest("v2").status, 404);
}

/// Whether `program` is there and we may use its storage; said where not.
fn have_engine(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    let root = rustix::process::geteuid().is_root();
    if !found || !root {
        let why = if found { "needs root" } else { "is not installed" };
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("skipped: {program} {why}\n").as_bytes(),
        );
    }
    found && root
}

/// The options that keep an engine's storage in `folder`.
fn storage(folder: &Path) -> Vec<String> {
    let at = |name: &str| folder.join(name).display().to_string();
    vec!["--root".into(), at("root"), "--runroot".into(), at("run"), "--storage-driver".into(), "vfs".into()]
}

#[test]
fn buildah_and_podman_push_and_pull() {
    if !have_engine("buildah") || !have_engine("podman") {
        return;
    }
    let (served, peer) = served();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hello"), "hello").expect("it can be written");
    let options = storage(folder.path());
    let engine = |program: &str, arguments: &[&str]| {
        let words: Vec<&str> = options.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        run(program, &words)
    };
    let container = engine("buildah", &["from", "scratch"]);
    let container = container.trim();
    let hello = folder.path().join("hello").display().to_string();
    engine("buildah", &["copy", container, &hello, "/hello"]);
    engine("buildah", &["config", "--cmd", "/hello", container]);
    engine("buildah", &["commit", container, "hello"]);
    let at = |name: &str| format!("{}/{name}", peer.address);
    engine("buildah", &["push", "--tls-verify=false", "hello", &format!("docker://{}", at("shop:buildah"))]);
    // In the older kind of manifest as well.
    let docker = format!("docker://{}", at("shop:docker"));
    engine("buildah", &["push", "--tls-verify=false", "--format", "v2s2", "hello", &docker]);
    engine("buildah", &["rm", container]);
    engine("podman", &["rmi", "--all", "--force"]);

    engine("podman", &["pull", "--tls-verify=false", &at("shop:buildah")]);
    engine("podman", &["tag", &at("shop:buildah"), &at("other:podman")]);
    engine("podman", &["push", "--tls-verify=false", &at("other:podman")]);
    let other = Peer { address: peer.address, name: "other".to_owned(), other: String::new() };
    let pushed = other.get_manifest("podman");
    assert_eq!(pushed.status, 200);
    for (path, reference) in [("shop", "buildah"), ("shop", "docker"), ("other", "podman")] {
        let of = Peer { address: peer.address, name: path.to_owned(), other: String::new() };
        let digest = of.get_manifest(reference).header("docker-content-digest").expect("a digest").to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let image = runtime.block_on(served.registry.image(path, &digest.parse().expect("a digest")));
        assert_eq!(image.expect("it can be run").command, ["/hello"], "{reference}");
    }
}
