//! Every kind of image source, to every kind of registry, through the real binary, read back by skopeo.
//!
//! The images are those of real tools (tests/images/README.md). What is expected of a row is read out of the source here,
//! by a reader that shares no code with the one under test. One registry stands in every run of the tests; all of them, and
//! the container engines, take a minute and are what `.ci/run` runs.

mod push_support;
mod support;

#[path = "sources/daemons.rs"]
mod daemons;
#[path = "sources/destinations.rs"]
mod destinations;
#[path = "sources/expected.rs"]
mod expected;
#[path = "sources/read_back.rs"]
mod read_back;
#[path = "sources/table.rs"]
mod table;

use destinations::{Destination, Kind};
use serde_json::Value;
use table::Row;

/// Pushes every row to the destination, twice, and has skopeo read it back; all that went wrong is told at once.
fn all_arrive(destination: &Destination, rows: &[Row]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| arrives(destination, row).err().map(|why| format!("{}: {why}", row.name)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

fn arrives(destination: &Destination, row: &Row) -> Result<(), String> {
    let reference = format!("{}/sources/{}:v1", destination.host, row.name);
    let mut words = vec!["push", row.source.as_str(), reference.as_str()];
    if let Some(platform) = row.platform {
        words.extend(["--platform", platform]);
    }
    let first = destination.push(&words)?;
    if first["outcome"] != "arrived" {
        return Err(format!("the first push: {first}"));
    }
    let digest = digest_of(&first)?;
    row.expected.check_digest(&digest)?;
    let copied = destination.copied_by_skopeo(&reference, &digest)?;
    read_back::check(copied.path(), &digest, &row.expected)?;

    let second = destination.push(&words)?;
    if second["outcome"] != "unchanged" || digest_of(&second)? != digest {
        return Err(format!("pushed again it is not the same: {second}"));
    }
    Ok(())
}

fn digest_of(row: &Value) -> Result<String, String> {
    row["image"]["digest"].as_str().map(str::to_owned).ok_or_else(|| format!("no digest: {row}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_source_arrives_at_an_open_registry() {
    if let Some(destination) = Destination::start(Kind::Open).await {
        all_arrive(&destination, &table::files());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: cargo test --test sources -- --include-ignored"]
async fn every_source_arrives_at_a_registry_with_a_password() {
    if let Some(destination) = Destination::start(Kind::Basic).await {
        all_arrive(&destination, &table::files());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: cargo test --test sources -- --include-ignored"]
async fn every_source_arrives_at_a_registry_whose_tokens_last_a_second() {
    if let Some(destination) = Destination::start(Kind::Token).await {
        all_arrive(&destination, &table::files());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: cargo test --test sources -- --include-ignored"]
async fn every_source_arrives_at_a_registry_with_a_certificate_of_its_own() {
    if let Some(destination) = Destination::start(Kind::Tls).await {
        all_arrive(&destination, &table::files());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: cargo test --test sources -- --include-ignored"]
async fn every_source_arrives_at_the_local_cloud() {
    if let Some(destination) = Destination::start(Kind::Local).await {
        all_arrive(&destination, &table::files());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: cargo test --test sources -- --include-ignored"]
async fn what_one_registry_holds_arrives_at_every_other() {
    let Some(from) = Destination::start(Kind::Basic).await else { return };
    let rows = table::in_registry(&from);
    for kind in [Kind::Open, Kind::Token, Kind::Tls, Kind::Local] {
        if let Some(mut to) = Destination::start(kind).await {
            to.log_in_like(&from);
            all_arrive(&to, &rows);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: cargo test --test sources -- --include-ignored"]
async fn what_a_docker_daemon_holds_arrives_everywhere() {
    let Some(daemon) = daemons::Daemon::docker() else { return };
    everywhere(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: cargo test --test sources -- --include-ignored"]
async fn what_podman_holds_arrives_everywhere() {
    let Some(daemon) = daemons::Daemon::podman() else { return };
    everywhere(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_buildx_vouches_with_is_kept_beside_the_image_which_stays_what_it_was() {
    let Some(destination) = Destination::start(Kind::Local).await else { return };
    for (name, platform) in [
        ("buildx-provenance-min", "linux/amd64"),
        ("buildx-provenance-max", "linux/amd64"),
        ("buildx-two-platforms-provenance-max", "linux/arm64"),
    ] {
        let file = table::recorded().join(format!("{name}.oci.tar"));
        let expected = expected::Expected::of_layout(&file, None, Some(platform));
        let reference = format!("{}/vouched/{name}:v1", destination.host);
        let source = format!("oci-archive:{}", file.display());
        let row = destination
            .push(&["push", &source, &reference, "--platform", platform, "--keep-attestations"])
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        let digest = digest_of(&row).expect("a digest");
        assert_eq!(Some(digest.as_str()), expected.digest(), "{name}");
        let kept = row["image"]["changed"].as_array().expect("changes").iter();
        let kept = kept.filter(|change| change["what"] == "attestation kept beside the image").count();
        assert_eq!(kept, 1, "{name}: {row:#}");

        // Found as anybody finds it, and whole.
        let referrers = got(&destination.host, &format!("/v2/vouched/{name}/referrers/{digest}"));
        let referrers: Value = serde_json::from_str(&referrers).expect("an index");
        let [referrer] = referrers["manifests"].as_array().expect("entries").as_slice() else {
            panic!("{name}: {referrers:#}")
        };
        assert_eq!(referrer["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
        let beside =
            format!("/v2/vouched/{name}/manifests/{}", referrer["digest"].as_str().expect("a digest"));
        let manifest: Value = serde_json::from_str(&got(&destination.host, &beside)).expect("a manifest");
        assert_eq!(manifest["subject"]["digest"], digest.as_str());
        for statement in manifest["layers"].as_array().expect("layers") {
            let at = format!("/v2/vouched/{name}/blobs/{}", statement["digest"].as_str().expect("a digest"));
            let text = got(&destination.host, &at);
            assert_eq!(
                longshore::image::digest_of(text.as_bytes()).to_string(),
                statement["digest"].as_str().unwrap()
            );
            let said: Value = serde_json::from_str(&text).expect("a statement");
            let about = said["subject"][0]["digest"]["sha256"].as_str();
            assert!(about.is_none_or(|hex| digest.ends_with(hex)), "{name}: {about:?}");
        }

        // And again it is all there.
        let again = destination
            .push(&["push", &source, &reference, "--platform", platform, "--keep-attestations"])
            .expect("it is pushed");
        assert_eq!(again["outcome"], "unchanged", "{again:#}");
    }
}

/// What a registry that speaks plain http answers to a GET.
fn got(host: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(host).expect("it listens");
    let request = format!("GET {path} HTTP/1.0\r\nhost: {host}\r\naccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(" 200 "), "{path}: {head}");
    body.to_owned()
}

async fn everywhere(daemon: &daemons::Daemon) {
    for kind in [Kind::Open, Kind::Basic, Kind::Token, Kind::Tls, Kind::Local] {
        if let Some(mut to) = Destination::start(kind).await {
            to.reach(daemon);
            all_arrive(&to, daemon.rows());
        }
    }
}
