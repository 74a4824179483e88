//! The real binary bringing images into the shape of their destination, against a registry that writes down what it is asked.

mod push_support;
mod support;

use std::io::{Read as _, Write as _};

use longshore::image::digest_of;
use push_support::double::{Act, Double, reply};
use push_support::layout::{INDEX, LAYER, Layout, noise};
use serde_json::{Value, json};
use support::{Ran, Scratch, have};

const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A layer's tar: one file of bytes that do not compress.
fn tar(name: &str, seed: u64) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(40_000);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, &noise(40_000, seed)[..]).unwrap();
    builder.into_inner().unwrap()
}

fn packed(media_type: &str, tar: &[u8]) -> Vec<u8> {
    match media_type {
        ZSTD => zstd::encode_all(tar, 3).unwrap(),
        PLAIN => tar.to_vec(),
        _ => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// Writes an image of real layers into `layout`; answers with its descriptor, the platform in it.
fn image(layout: &mut Layout, architecture: &str, layers: &[(&str, Vec<u8>)]) -> Value {
    let diff_ids: Vec<_> = layers.iter().map(|(_, tar)| digest_of(tar)).collect();
    let config = json!({ "os": "linux", "architecture": architecture, "config": { "Cmd": ["/app"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = layout.blob(push_support::layout::CONFIG, config.to_string().as_bytes());
    let layers: Vec<_> =
        layers.iter().map(|(media_type, tar)| layout.blob(media_type, &packed(media_type, tar))).collect();
    let manifest = json!({ "layers": layers, "config": config, "schemaVersion": 2,
        "mediaType": push_support::layout::MANIFEST });
    let mut descriptor = layout.blob(push_support::layout::MANIFEST, manifest.to_string().as_bytes());
    descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
    descriptor
}

/// A layout with one image of a gzip layer and one of another kind.
fn mixed(other: &str) -> Layout {
    let mut layout = Layout::new();
    let image = image(&mut layout, "amd64", &[(LAYER, tar("a", 1)), (other, tar("b", 2))]);
    layout.list(image, None);
    layout
}

/// What a builder makes of two platforms, with a statement about the first; and that one's digest.
fn multi(layers: &str) -> (Layout, String) {
    let mut layout = Layout::new();
    let amd = image(&mut layout, "amd64", &[(layers, tar("a", 1))]);
    let arm = image(&mut layout, "arm64", &[(layers, tar("a", 3))]);
    let attestation = layout.attestation(&amd);
    let index = layout.index(&[amd.clone(), arm, attestation]);
    layout.list(index, None);
    (layout, amd["digest"].as_str().unwrap().to_owned())
}

fn source(layout: &Layout) -> String {
    format!("oci:{}", layout.path().display())
}

/// Runs the binary with `--output json` beside the test's runtime.
async fn json_of(code: i32, words: Vec<String>, scratch: &std::sync::Arc<Scratch>) -> Value {
    let scratch = scratch.clone();
    let run = move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        scratch.json(code, &words)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

macro_rules! words {
    ($($word:expr),* $(,)?) => { vec![$($word.to_string()),*] };
}

fn scratch() -> std::sync::Arc<Scratch> {
    std::sync::Arc::new(Scratch::empty())
}

fn said(row: &Value) -> Vec<&str> {
    row["image"]["changed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["what"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_is_in_the_shape_that_was_asked_for() {
    let registry = Double::honest().await;
    let scratch = scratch();
    let (layout, to) = (mixed(ZSTD), registry.reference("shop:v1"));
    let words = words!["push", source(&layout), to, "--profile", "docker"];
    let document = json_of(0, words.clone(), &scratch).await;
    let row = &document["images"][0];
    assert_eq!(
        said(row),
        ["manifest turned from OCI to Docker schema 2", "layer compressed anew, with gzip instead of zstd"]
    );
    assert_ne!(row["image"]["digest"], row["image"]["source_digest"]);
    let bytes = registry.manifest("v1").unwrap();
    assert_eq!(row["image"]["digest"], digest_of(&bytes).as_str());
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(manifest["mediaType"], DOCKER);
    for layer in manifest["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
        assert!(registry.holds(layer["digest"].as_str().unwrap()));
    }
    assert_eq!(row["blobs"], json!({ "sent": 3, "mounted": 0, "present": 0 }));

    // Again: nothing is compressed, for the source's layer may be gone to be read, and nothing is sent.
    let sent = registry.count("PUT", "/");
    let cached = json_of(0, words!["cache", "show"], &scratch).await;
    assert_eq!(cached["cache"]["layers"].as_array().unwrap().len(), 1, "only one had to be compressed");
    let again = json_of(0, words, &scratch).await;
    assert_eq!(again["images"][0]["outcome"], "unchanged");
    assert_eq!(again["images"][0]["image"]["digest"], row["image"]["digest"]);
    assert_eq!(registry.count("PUT", "/"), sent);

    // Without a profile a registry that nobody claims gets it as it is.
    let plain = json_of(0, words!["push", source(&layout), registry.reference("shop:v2")], &scratch).await;
    assert_eq!(plain["images"][0]["image"]["changed"], json!([]));
    assert_eq!(plain["images"][0]["image"]["digest"], plain["images"][0]["image"]["source_digest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_needs_a_platform_where_one_image_is_taken() {
    let registry = Double::honest().await;
    let scratch = scratch();
    let (layout, amd) = multi(LAYER);
    let to = registry.reference("shop:v1");
    let push = |more: &[&str]| {
        let mut words = words!["push", source(&layout), to];
        words.extend(more.iter().map(ToString::to_string));
        words
    };
    for profile in ["lambda", "scf", "fc", "docker"] {
        let refused = json_of(3, push(&["--profile", profile]), &scratch).await;
        assert_eq!(refused["error"]["kind"], "image_platform", "{refused}");
        assert_eq!(refused["error"]["hint"], "say which one: --platform linux/amd64");
        assert_eq!(refused["images"][0]["outcome"], "refused");
    }
    let absent = json_of(3, push(&["--platform", "linux/s390x"]), &scratch).await;
    let message = absent["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("no image for linux/s390x; there is linux/amd64, linux/arm64"), "{message}");
    // A runtime that has no machine of that kind.
    let refused = json_of(3, push(&["--platform", "linux/arm64", "--profile", "fc"]), &scratch).await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("it is for linux/arm64, and fc runs linux/amd64"), "{message}");
    assert_eq!(registry.count("PUT", "/"), 0, "nothing was sent");

    let picked = json_of(0, push(&["--platform", "linux/amd64", "--profile", "lambda"]), &scratch).await;
    assert_eq!(picked["images"][0]["image"]["digest"], *amd);
    assert_eq!(said(&picked["images"][0]), ["platform picked out of an index", "attestation dropped"]);

    let whole = json_of(0, push(&["--profile", "oci"]), &scratch).await;
    assert_eq!(said(&whole["images"][0]), [""; 0]);
    let manifest: Value = serde_json::from_slice(&registry.manifest("v1").unwrap()).unwrap();
    assert_eq!(manifest["mediaType"], INDEX);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_is_kept_where_the_registry_lists_what_refers_to_an_image() {
    let scratch = scratch();
    let (layout, amd) = multi(LAYER);
    let words = |registry: &Double| {
        words![
            "push",
            source(&layout),
            registry.reference("shop:v1"),
            "--platform",
            "linux/amd64",
            "--keep-attestations"
        ]
    };
    let listing = Double::start(|seen, _| match seen.path.contains("/referrers/") {
        true => Act::Answer(reply(200, &[], r#"{"schemaVersion":2,"manifests":[]}"#)),
        false => Act::Serve,
    })
    .await;
    let document = json_of(0, words(&listing), &scratch).await;
    let row = &document["images"][0];
    assert_eq!(said(row)[1], "attestation kept beside the image");
    let referrer = row["image"]["changed"][1]["why"].as_str().unwrap().rsplit(' ').next().unwrap();
    let manifest: Value = serde_json::from_slice(&listing.manifest(referrer).unwrap()).unwrap();
    assert_eq!(manifest["subject"]["digest"], *amd);
    assert!(listing.holds(manifest["layers"][0]["digest"].as_str().unwrap()));
    assert_eq!(row["image"]["digest"], *amd);

    let older = Double::honest().await;
    let document = json_of(0, words(&older), &scratch).await;
    let changed = &document["images"][0]["image"]["changed"][1];
    assert_eq!(changed["what"], "attestation dropped");
    assert_eq!(changed["why"], "the registry does not list what refers to an image");
    assert!(older.manifest(referrer).is_none());

    // Shaped, it is another image, and nobody vouches for that one.
    let (layout, amd) = multi(ZSTD);
    let words = words![
        "push",
        source(&layout),
        listing.reference("shop:v2"),
        "--platform",
        "linux/amd64",
        "--profile",
        "docker",
        "--keep-attestations"
    ];
    let document = json_of(0, words, &scratch).await;
    let changed = &document["images"][0]["image"]["changed"][1];
    assert_eq!(changed["why"], format!("it vouches for {amd}, which is not what is pushed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_get_each_its_own_shape_and_fail_each_alone() {
    let registry = Double::honest().await;
    let scratch = scratch();
    let layout = mixed(PLAIN);
    // A host that a cloud claims and that is not there: its shape is made, and the other destination does not wait for it.
    let claimed = "localhost:1/shop:v1";
    let words = words!["push", source(&layout), registry.reference("shop:v1"), claimed];
    let document = json_of(7, words, &scratch).await;
    assert_eq!(document["images"][0]["outcome"], "arrived");
    assert_ne!(document["images"][1]["error"], Value::Null);
}

#[test]
fn what_is_in_an_image_and_what_would_become_of_it_is_shown() {
    let scratch = Scratch::empty();
    let (layout, amd) = multi(ZSTD);
    let text = source(&layout);
    let document = scratch.json(0, &["image", "inspect", &text]);
    assert_eq!(document["command"], "image inspect");
    let image = &document["image"];
    assert_eq!(image["images"].as_array().unwrap().len(), 2);
    let first = &image["images"][0];
    assert_eq!((&first["platform"], &first["digest"]), (&json!("linux/amd64"), &json!(amd)));
    assert_eq!(first["config"]["command"], json!(["/app"]));
    assert_eq!(first["layers"][0]["media_type"], ZSTD);
    assert_eq!(first["layers"][0]["diff_id"], digest_of(&tar("a", 1)).as_str());
    assert_eq!(first["layers"][0]["shared"], Value::Null);
    assert_eq!(image["attestations"][0]["about"], *amd);
    let profile = |index: usize, name: &str| {
        let profiles = image["images"][index]["profiles"].as_array().unwrap().clone();
        profiles.into_iter().find(|profile| profile["profile"] == name).unwrap()
    };
    let what = "layer compressed anew, with gzip instead of zstd";
    assert_eq!(profile(0, "lambda")["changes"][0]["what"], what);
    assert_eq!(profile(0, "oci")["changes"], json!([]));
    assert_eq!(profile(1, "scf")["taken"], false);
    assert!(profile(1, "scf")["refused"].as_str().unwrap().contains("linux/arm64"));

    let human = scratch.run(&["image", "inspect", &text]);
    assert_eq!(human.code, 0, "{}", human.stderr);
    for part in
        ["linux/arm64", "oci: as it is", "fc: refused: it is for linux/arm64", "attestation sha256:", ZSTD]
    {
        assert!(human.stdout.contains(part), "{part}: {}", human.stdout);
    }

    // Layers that another image has too.
    let mut other = Layout::new();
    let shared = self::image(&mut other, "amd64", &[(ZSTD, tar("a", 1)), (LAYER, tar("x", 9))]);
    other.list(shared, None);
    let document = scratch.json(0, &["image", "inspect", &text, "--with", &source(&other)]);
    assert_eq!(document["image"]["images"][0]["layers"][0]["shared"], true);
    assert_eq!(document["image"]["images"][1]["layers"][0]["shared"], false);
    assert_eq!(document["image"]["shared"]["layers"], 1);
    assert_eq!(document["image"]["shared"]["bytes"], document["image"]["images"][0]["layers"][0]["size"]);
}

#[test]
fn an_image_in_another_shape_is_written_as_a_layout() {
    let scratch = Scratch::empty();
    let (layout, _) = multi(ZSTD);
    let text = source(&layout);
    let shape = ["image", "shape", &text, "--profile", "lambda", "--platform", "linux/amd64"];
    let shown = scratch.json(0, &shape);
    assert_eq!(shown["written"], Value::Null);
    let written = scratch.json(0, &[&shape[..], &["--to", "oci:out:v1"]].concat());
    assert_eq!(written["image"]["digest"], shown["image"]["digest"]);
    assert_eq!(written["written"], "oci:out:v1");
    let read = scratch.json(0, &["image", "inspect", "oci:out:v1"]);
    assert_eq!(read["image"]["digest"], written["image"]["digest"]);
    assert_eq!(read["image"]["media_type"], push_support::layout::MANIFEST);
    // What it holds is what it says, for us and for others.
    let manifest = std::fs::read(blob(&scratch, written["image"]["digest"].as_str().unwrap())).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layer = std::fs::read(blob(&scratch, manifest["layers"][0]["digest"].as_str().unwrap())).unwrap();
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(&layer[..]).read_to_end(&mut inflated).unwrap();
    assert_eq!(inflated, tar("a", 1));
    if have("skopeo") {
        let out = format!("oci:{}:v1", scratch.path().join("out").display());
        let ran = Ran::of(std::process::Command::new("skopeo").args(["inspect", &out]));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(ran.document()["Digest"], written["image"]["digest"]);
    }
    // A directory with something in it is nobody's to write into.
    let error = scratch.json(3, &[&shape[..], &["--to", "oci:out"]].concat());
    assert!(error["error"]["message"].as_str().unwrap().contains("not empty"), "{error}");
    scratch.json(2, &[&shape[..], &["--to", "oci-archive:out.tar"]].concat());
}

fn blob(scratch: &Scratch, digest: &str) -> std::path::PathBuf {
    scratch.path().join("out/blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

#[test]
fn what_is_kept_is_shown_and_can_be_removed() {
    let scratch = Scratch::empty();
    let layout = mixed(ZSTD);
    let shape = |scratch: &Scratch| {
        scratch.json(0, &["image", "shape", &source(&layout), "--profile", "lambda"])["image"]["digest"]
            .clone()
    };
    let empty = scratch.json(0, &["cache", "show"]);
    assert_eq!((&empty["cache"]["bytes"], &empty["cache"]["layers"]), (&json!(0), &json!([])));
    let first = shape(&scratch);
    let kept = scratch.json(0, &["cache", "show"]);
    let cache = &kept["cache"];
    assert_eq!(cache["folder"], scratch.path().join(".cache/longshore").to_str().unwrap());
    assert_eq!(cache["layers"][0]["diff_id"], digest_of(&tar("b", 2)).as_str());
    assert!(cache["bytes"].as_u64() > cache["layers"][0]["size"].as_u64());
    let human = scratch.run(&["cache", "show"]);
    assert!(human.stdout.contains("LAST USED"), "{}", human.stdout);

    let cleared = scratch.json(0, &["cache", "clear"]);
    assert_eq!(cleared["cache"]["cleared"], json!({ "files": 1, "bytes": cache["bytes"] }));
    assert_eq!(scratch.json(0, &["cache", "show"])["cache"]["layers"], json!([]));
    assert_eq!(shape(&scratch), first, "the same bytes, made anew");
}

#[test]
fn a_damaged_cache_is_said_and_mended() {
    let scratch = Scratch::empty();
    let layout = mixed(ZSTD);
    let text = source(&layout);
    let to = |name: &str| format!("oci:{name}");
    let shape = ["image", "shape", &text, "--profile", "lambda", "--to"];
    scratch.json(0, &[&shape[..], &[&to("one")]].concat());
    let folder = scratch.path().join(".cache/longshore/layers");
    let entry = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&entry).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    std::fs::write(&entry, bytes).unwrap();
    let error = scratch.json(3, &[&shape[..], &[&to("two")]].concat());
    assert!(
        error["error"]["message"].as_str().unwrap().contains("the copy in the cache is damaged"),
        "{error}"
    );
    scratch.json(0, &[&shape[..], &[&to("three")]].concat());
}

#[test]
fn a_cache_that_cannot_be_is_done_without_and_a_wrong_limit_is_said() {
    let scratch = Scratch::empty();
    let layout = mixed(ZSTD);
    let run = |name: &str, value: &str| {
        let mut command =
            scratch.command(&["image", "shape", &source(&layout), "--profile", "lambda", "--output", "json"]);
        Ran::of(command.env(name, value))
    };
    scratch.write("file", "");
    let without = run("LONGSHORE_CACHE_DIR", "file/cache");
    assert_eq!(without.code, 0, "{}", without.stderr);
    assert!(without.stderr.contains("nothing is kept"), "{}", without.stderr);
    let wrong = run("LONGSHORE_CACHE_MAX", "lots");
    assert_eq!(wrong.code, 2);
    let message = wrong.document()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("LONGSHORE_CACHE_MAX: \"lots\" is not a size"), "{message}");
    let none = run("LONGSHORE_CACHE_MAX", "0");
    assert_eq!(none.code, 0);
    let layers = scratch.path().join(".cache/longshore/layers");
    assert_eq!(std::fs::read_dir(layers).map_or(0, Iterator::count), 0);
}

#[test]
fn a_profile_that_is_none_is_told_with_those_that_are() {
    let scratch = Scratch::empty();
    let document = scratch.json(2, &["push", "oci:x", "localhost/x", "--profile", "lamda"]);
    let message = document["error"]["message"].as_str().unwrap();
    assert!(message.contains("lambda, scf, fc, oci or docker"), "{message}");
    scratch.json(2, &["push", "oci:x", "localhost/x", "--keep-attestations"]);
}

#[test]
fn a_layer_that_swells_without_end_is_refused_in_little_memory_and_time() {
    // 3 GiB of zeros: what is read is bounded long before.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..3 << 10 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let mut layout = Layout::new();
    let layer = layout.blob(ZSTD, &bomb);
    let config = json!({ "os": "linux", "architecture": "amd64",
        "rootfs": { "type": "layers", "diff_ids": [digest_of(b"whatever")] } });
    let config = layout.blob(push_support::layout::CONFIG, config.to_string().as_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": push_support::layout::MANIFEST, "config": config,
        "layers": [layer] });
    let manifest = layout.blob(push_support::layout::MANIFEST, manifest.to_string().as_bytes());
    layout.list(manifest, None);
    let scratch = Scratch::empty();
    let error = scratch.json(3, &["image", "shape", &source(&layout), "--profile", "lambda"]);
    assert_eq!(error["error"]["kind"], "image_limit");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("more than the 1073741824 uncompressed bytes that are read"), "{message}");
    assert_eq!(scratch.json(0, &["cache", "show"])["cache"]["layers"], json!([]));
}
