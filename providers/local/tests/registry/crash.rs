//! A daemon that is killed while it is being pushed to: what it acknowledged is there, and what it has is whole.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha512};

use crate::peer::{MANIFEST, Peer, bytes, digest, path};
use crate::support::Cloud;

/// How many clients push at once.
const CLIENTS: usize = 4;

/// What the clients were told is kept: names of blobs and manifests, as paths below `/v2/`.
#[derive(Default)]
struct Acknowledged {
    paths: Mutex<Vec<String>>,
    more: Condvar,
}

impl Acknowledged {
    fn add(&self, path: String) {
        self.paths.lock().expect("nobody panics with it").push(path);
        self.more.notify_all();
    }

    /// Waits until there are `count`.
    fn wait_for(&self, count: usize) {
        let paths = self.paths.lock().expect("nobody panics with it");
        let waited = self
            .more
            .wait_timeout_while(paths, std::time::Duration::from_secs(30), |paths| paths.len() < count)
            .expect("nobody panics with it");
        assert!(!waited.1.timed_out(), "only {} of {count} pushes in half a minute", waited.0.len());
    }
}

/// Pushes images of its own until the registry is gone.
fn push_on(address: SocketAddr, client: usize, turn: &AtomicUsize, acknowledged: &Acknowledged) {
    let name = format!("client/{client}");
    let peer = Peer { address, name: name.clone(), other: String::new() };
    loop {
        let number = turn.fetch_add(1, Ordering::Relaxed);
        let mut layer = format!("layer {number}").into_bytes();
        layer.extend(bytes(200_000));
        let location = path(&peer.patch(&peer.begin(), "0-99999", &layer[..100_000]));
        assert_eq!(peer.close(&location, &digest(&layer), &layer[100_000..]).status, 201);
        acknowledged.add(format!("{name}/blobs/{}", digest(&layer)));
        let mut image = peer.image(&format!("image {number}"));
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        image["layers"] = serde_json::json!([crate::peer::descriptor(media_type, &layer)]);
        let digest = peer.manifest(&format!("v{number}"), MANIFEST, &image);
        acknowledged.add(format!("{name}/manifests/v{number}"));
        acknowledged.add(format!("{name}/manifests/{digest}"));
    }
}

/// Gets `path` and checks it against the digest that the answer states.
fn assert_whole(peer: &Peer, path: &str) -> Vec<u8> {
    let got = peer.send("GET", &format!("/v2/{path}"), &[("accept", MANIFEST)], &[]);
    assert_eq!(got.status, 200, "{path} was acknowledged");
    assert_eq!(got.header("docker-content-digest"), Some(digest(&got.body).as_str()), "{path}");
    got.body
}

/// Checks that every file among the blobs is what its name says.
fn assert_no_half_blobs(registry: &Path) {
    for (algorithm, of) in [
        ("sha256", (|bytes| hex::encode(Sha256::digest(bytes))) as fn(&[u8]) -> String),
        ("sha512", |bytes| hex::encode(Sha512::digest(bytes))),
    ] {
        for entry in std::fs::read_dir(registry.join("blobs").join(algorithm)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let content = std::fs::read(&path).expect("it can be read");
            assert!(path.ends_with(of(&content)), "{} has other bytes", path.display());
        }
    }
    let uploads = std::fs::read_dir(registry.join("uploads")).expect("a folder").count();
    assert_eq!(uploads, 0, "uploads of a process that is gone");
}

#[test]
fn what_was_acknowledged_survives_kills_and_nothing_is_served_in_part() {
    let mut cloud = Cloud::start();
    let (turn, acknowledged) = (AtomicUsize::new(0), Acknowledged::default());
    for round in 1..=5 {
        let address = cloud.registry();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (turn, acknowledged) = (&turn, &acknowledged);
                // Each ends with the connection.
                scope.spawn(move || {
                    catch_unwind(AssertUnwindSafe(|| push_on(address, client, turn, acknowledged))).is_err()
                });
            }
            // An odd number, so that it falls between an image's blob and its manifest as well.
            acknowledged.wait_for(round * 23);
            cloud.kill();
        });
        cloud.start_again();
        assert_no_half_blobs(&cloud.directory.join("registry"));
    }
    let peer = Peer { address: cloud.registry(), name: String::new(), other: String::new() };
    for path in acknowledged.paths.lock().expect("nobody panics with it").iter() {
        assert_whole(&peer, path);
    }
    // Also what was not acknowledged any more is there whole or not at all.
    for client in 0..CLIENTS {
        let name = format!("client/{client}");
        let listed = peer.send("GET", &format!("/v2/{name}/tags/list"), &[], &[]);
        let listed: Value = serde_json::from_slice(&listed.body).expect("JSON");
        for tag in listed["tags"].as_array().expect("a list") {
            let manifest = assert_whole(&peer, &format!("{name}/manifests/{}", tag.as_str().expect("text")));
            let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
            for blob in [&manifest["config"], &manifest["layers"][0]] {
                let content =
                    assert_whole(&peer, &format!("{name}/blobs/{}", blob["digest"].as_str().expect("text")));
                assert_eq!(blob["size"], content.len());
            }
        }
    }
}
