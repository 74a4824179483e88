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

async fn everywhere(daemon: &daemons::Daemon) {
    for kind in [Kind::Open, Kind::Basic, Kind::Token, Kind::Tls, Kind::Local] {
        if let Some(mut to) = Destination::start(kind).await {
            to.reach(daemon);
            all_arrive(&to, daemon.rows());
        }
    }
}
