//! Images read out of registries: real ones, and one that breaks off, lies and counts.

mod push_support;
mod support_peer;

use std::io::Read as _;
use std::sync::Arc;

use longshore::cache::Cache;
use longshore::image::Verify;
use longshore::image::{
    Blob, Child, Context, Image, ImageError, ImageErrorKind, Kind, Role, World, digest_of, open_for,
};
use longshore::push::{Registries, Sender, Silent, push};
use longshore::registry::{RegistryErrorKind, Sessions};
use longshore_contract::{Calls, Service};
use longshore_wire::{Backoff, Client, Limits};
use push_support::layout::{Layout, noise};
use push_support::registry::{Auth, Registry, Transport};
use push_support::{anonymous, basic, have};
use serde_json::{Value, json};
use support_peer::{Asked, Peer, Said};

fn limits() -> Limits {
    let first = std::time::Duration::from_millis(1);
    Limits {
        backoff: Backoff { first, longest: first, attempts: 4, ..Backoff::default() },
        ..Limits::default()
    }
}

fn world() -> World {
    World::from_environment(
        Sessions::new(Client::with_certificates_in(limits(), Vec::new())),
        Cache::nowhere(),
    )
}

async fn open(source: &str, platform: Option<&str>, world: &World) -> Result<Image, ImageError> {
    let platform = platform.map(|platform| platform.parse().unwrap());
    open_for(source.parse().unwrap(), Context { directory: "/".into(), platform, world: world.clone() }).await
}

/// Reads a blob on a thread that may wait.
async fn read(blob: &Blob) -> std::io::Result<Vec<u8>> {
    let blob = blob.clone();
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        blob.content.open(blob.size)?.read_to_end(&mut bytes).map(|_| bytes)
    })
    .await
    .unwrap()
}

fn layers(image: &Image) -> &[Blob] {
    match &image.kind {
        Kind::Manifest(parts) => &parts.layers,
        Kind::Index(_) => panic!("it is one image"),
    }
}

fn missing() -> bool {
    !have("docker-registry") || !have("skopeo") || !have("htpasswd")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_goes_from_one_registry_to_another_verbatim_and_touches_no_disk() {
    if missing() {
        return;
    }
    let (from, to) = (
        Registry::start(&Auth::Open, &Transport::Http),
        Registry::start(&Auth::Basic("ann", "pw"), &Transport::Http),
    );
    let mut layout = Layout::new();
    let one = layout.child("linux", "amd64", &[&noise(3 << 20, 1)]);
    let two = layout.child("linux", "arm64", &[&noise(5, 2)]);
    let attestation = layout.attestation(&one);
    let index = layout.index(&[one.clone(), two, attestation]);
    layout.list(index, None);
    let image = push_support::open(layout.path()).unwrap();
    let registries = Registries::new(Client::with_certificates_in(limits(), Vec::new()), Box::new(Sender));
    let place = anonymous(&format!("{}/team/app:v1", from.host));
    push(&registries, &image, &place, Verify::Size, &Calls::default(), &Silent).await.unwrap();

    let calls = Calls::default();
    let source = format!("{}/team/app:v1", from.host);
    let found = open(&source, None, &world().counting(&calls)).await.unwrap();
    assert_eq!((&found.digest, &found.manifest), (&image.digest, &image.manifest));
    let asked = calls.to(Service::Registry);
    assert!((7..=8).contains(&asked), "an index, three manifests and three configurations: {asked} requests");
    let there = basic(&format!("{}/copy:v1", to.host), "ann", "pw");
    push(&registries, &found, &there, Verify::Size, &Calls::default(), &Silent).await.unwrap();
    assert_eq!(to.digest_by_skopeo("copy:v1", Some("ann:pw")), image.digest.to_string());
    for blob in layers(&found.clone().pick(&"linux/amd64".parse().unwrap()).unwrap()) {
        assert_eq!(to.stored(blob.digest.as_str()), Some(blob.size));
    }

    // For one platform the others are not asked for, nor what vouches for them.
    let calls = Calls::default();
    let arm = "linux/arm64".parse().unwrap();
    let picked =
        open(&source, Some("linux/arm64"), &world().counting(&calls)).await.unwrap().pick(&arm).unwrap();
    assert_eq!(layers(&picked)[0].digest, digest_of(&noise(5, 2)));
    let asked = calls.to(Service::Registry);
    assert!((3..=4).contains(&asked), "{asked} requests");

    // By digest, and by what is not there.
    let by_digest = open(&format!("{}/team/app@{}", from.host, image.digest), None, &world()).await.unwrap();
    assert_eq!(by_digest.digest, image.digest);
    let error = open(&format!("{}/team/app:gone", from.host), None, &world()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Missing);
    assert!(error.message.contains("has no manifest gone"), "{error}");
    let error = open(&format!("{}/copy:v1", to.host), None, &world()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Unauthorized, "{error}");
}

/// A registry with one image of one layer.
struct One {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl One {
    fn new(size: usize) -> Self {
        Self::changed(size, |_| ())
    }

    fn changed(size: usize, change: impl FnOnce(&mut Value)) -> Self {
        let layer = noise(size, 9);
        let config = serde_json::to_vec(&json!({"os": "linux", "architecture": "amd64"})).unwrap();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": push_support::layout::MANIFEST,
            "config": {"mediaType": push_support::layout::CONFIG, "digest": digest_of(&config), "size": config.len()},
            "layers": [{"mediaType": push_support::layout::LAYER, "digest": digest_of(&layer), "size": size}],
        });
        change(&mut manifest);
        Self { layer, config, manifest: serde_json::to_vec(&manifest).unwrap() }
    }

    /// What an honest registry says.
    fn says(&self, asked: &Asked) -> Said {
        let last = asked.path.rsplit('/').next().unwrap();
        if asked.path.contains("/manifests/") {
            return Said::whole(push_support::layout::MANIFEST, &self.manifest);
        }
        let bytes = if last == digest_of(&self.layer).as_str() { &self.layer } else { &self.config };
        match asked.range {
            Some(from) => Said::part(bytes, from),
            None => Said::whole("application/octet-stream", bytes),
        }
    }

    fn is_layer(&self, asked: &Asked) -> bool {
        asked.path.ends_with(digest_of(&self.layer).as_str())
    }
}

const SIZE: usize = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_breaks_off_is_read_on_where_it_did() {
    let one = Arc::new(One::new(SIZE));
    let served = Arc::clone(&one);
    // Twice it breaks off; the first time ranges are known, the second time they are not.
    let peer = Peer::start(move |asked| {
        let said = served.says(asked);
        match (served.is_layer(asked), asked.before) {
            (true, 0) => said.cut(300_000),
            (true, 1) => said.cut(200_000),
            (true, 2) => Said::whole("application/octet-stream", &served.layer),
            _ => said,
        }
    });
    let image = open(&peer.reference("app:1"), None, &world()).await.unwrap();
    assert_eq!(read(&layers(&image)[0]).await.unwrap(), one.layer);
    let ranges: Vec<_> =
        peer.asked().iter().filter(|asked| one.is_layer(asked)).map(|asked| asked.range).collect();
    assert_eq!(ranges, [None, Some(300_000), Some(500_000)]);
    // And again from the beginning.
    assert_eq!(read(&layers(&image)[0]).await.unwrap(), one.layer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_breaks_off_for_ever_is_an_error_that_says_so() {
    let one = One::new(SIZE);
    let peer = Peer::start(move |asked| {
        let said = one.says(asked);
        if one.is_layer(asked) { said.cut(0) } else { said }
    });
    let image = open(&peer.reference("app:1"), None, &world()).await.unwrap();
    let error = read(&layers(&image)[0]).await.unwrap_err();
    assert!(error.to_string().contains("(tried 4 times)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_falls_silent_while_it_is_pushed_from_has_refused_nothing() {
    let one = One::new(SIZE);
    let peer = Peer::start(move |asked| {
        let said = one.says(asked);
        if one.is_layer(asked) { said.cut(0) } else { said }
    });
    let image = open(&peer.reference("app:1"), None, &world()).await.unwrap();
    let registries = Registries::new(Client::with_certificates_in(limits(), Vec::new()), Box::new(Sender));
    let to = push_support::double::Double::honest().await;
    let place = anonymous(&to.reference("copy:v1"));
    let error =
        push(&registries, &image, &place, Verify::Size, &Calls::default(), &Silent).await.unwrap_err();
    assert_eq!((error.kind, error.is_refusal()), (RegistryErrorKind::Unavailable, false), "{error}");
    assert!(error.message.contains("pull from 127.0.0.1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_goes_to_another_repository_of_its_registry_is_taken_over_there() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Open, &Transport::Http);
    let layout = Layout::with_layers(&[&noise(1 << 20, 1), &noise(1 << 20, 2)]);
    let image = push_support::open(layout.path()).unwrap();
    let registries = || Registries::new(Client::with_certificates_in(limits(), Vec::new()), Box::new(Sender));
    let place = anonymous(&format!("{}/team/app:v1", registry.host));
    push(&registries(), &image, &place, Verify::Size, &Calls::default(), &Silent).await.unwrap();

    // Nobody remembers that push: the source itself says where its layers are.
    let read = Calls::default();
    let source = format!("{}/team/app:v1", registry.host);
    let found = open(&source, None, &world().counting(&read)).await.unwrap();
    let opened = read.to(Service::Registry);
    let place = anonymous(&format!("{}/copy:v1", registry.host));
    let pushed = push(&registries(), &found, &place, Verify::Size, &Calls::default(), &Silent).await.unwrap();
    // The configuration is in memory and small.
    assert_eq!((pushed.blobs.mounted, pushed.blobs.sent), (2, 1));
    assert_eq!(read.to(Service::Registry), opened, "no layer was read");
    assert_eq!(registry.digest_by_skopeo("copy:v1", None), image.digest.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_of_other_bytes_is_never_given_whole() {
    for lie in 0..3 {
        let one = One::new(SIZE);
        let peer = Peer::start(move |asked| {
            if !one.is_layer(asked) {
                return one.says(asked);
            }
            let mut bytes = one.layer.clone();
            match lie {
                0 => bytes[SIZE / 2] ^= 1,
                1 => bytes.push(0),
                _ => bytes.truncate(SIZE - 1),
            }
            Said::whole("application/octet-stream", &bytes)
        });
        let image = open(&peer.reference("app:1"), None, &world()).await.unwrap();
        let error = read(&layers(&image)[0]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().contains("it is damaged at 127.0.0.1"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_lies_about_is_refused_when_the_image_is_opened() {
    type Change = fn(&mut Value);
    for (change, kind, text) in [
        ((|manifest| manifest["config"]["size"] = json!(3)) as Change, ImageErrorKind::Corrupt, "config"),
        (
            |manifest| manifest["config"]["size"] = json!(1_u64 << 40),
            ImageErrorKind::Limit,
            "1099511627776 bytes are more",
        ),
        (
            |manifest| manifest["layers"] = vec![manifest["layers"][0].clone(); 1_001].into(),
            ImageErrorKind::Corrupt,
            "1001 layers are more",
        ),
        (
            |manifest| manifest["mediaType"] = json!("application/vnd.oci.image.index.v1+json"),
            ImageErrorKind::Corrupt,
            "what points to it says",
        ),
        (|manifest| manifest["schemaVersion"] = json!(1), ImageErrorKind::Corrupt, "schemaVersion 1"),
    ] {
        let one = One::changed(10, change);
        let peer = Peer::start(move |asked| one.says(asked));
        let error = open(&peer.reference("app:1"), None, &world()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_another_digest_than_was_asked_for_is_refused() {
    let one = One::new(10);
    let peer = Peer::start(move |asked| one.says(asked));
    let wanted = digest_of(b"another");
    let error = open(&peer.reference(&format!("app@{wanted}")), None, &world()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Corrupt);
    assert!(error.message.contains(&format!("calls it {wanted}")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_without_end_is_stopped() {
    let peer = Peer::start(|_| Said::endless(push_support::layout::MANIFEST));
    let error = open(&peer.reference("app:1"), None, &world()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Limit);
    assert!(error.message.contains("more than the 4194304 bytes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_lie_in_each_other_without_end_are_stopped() {
    // Every index lists another one, and none has the digest it is asked for: the first lie ends it.
    let peer = Peer::start(|asked| {
        let next = digest_of(asked.path.as_bytes());
        let index = json!({"schemaVersion": 2, "mediaType": push_support::layout::INDEX,
            "manifests": [{"mediaType": push_support::layout::INDEX, "digest": next, "size": 246}]});
        Said::whole(push_support::layout::INDEX, &serde_json::to_vec(&index).unwrap())
    });
    let error = open(&peer.reference("app:1"), None, &world()).await.unwrap_err();
    assert!(matches!(error.kind, ImageErrorKind::Corrupt | ImageErrorKind::Limit), "{error}");
    assert!(peer.asked().len() <= 3, "{} requests", peer.asked().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_manifests_are_refused_before_they_are_asked_for() {
    let entries: Vec<Value> = (0..5_u8)
        .map(|number| json!({"mediaType": push_support::layout::MANIFEST, "digest": digest_of(&[number]), "size": 4 << 20}))
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": push_support::layout::INDEX, "manifests": entries});
    let index = serde_json::to_vec(&index).unwrap();
    let peer = Peer::start(move |_| Said::whole(push_support::layout::INDEX, &index));
    let error = open(&peer.reference("app:1"), None, &world()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Limit, "{error}");
    assert_eq!(peer.asked().iter().filter(|asked| asked.path.contains("/manifests/")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_pulls_is_told_with_a_way_around() {
    let peer = Peer::start(|_| {
        Said::status(
            "429 Too Many Requests",
            &["ratelimit-limit: 100;w=21600", "ratelimit-remaining: 0;w=21600"],
        )
    });
    let error = open(&peer.reference("app:1"), None, &world()).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Unavailable);
    assert!(error.message.contains("its limit on pulls is reached (100 pulls in 6 h)"), "{error}");
    assert!(error.hint.unwrap().contains("LONGSHORE_MIRRORS=127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_the_registry_where_it_does_not_serve() {
    let one = Arc::new(One::new(1_000));
    let (served, there) = (Arc::clone(&one), Arc::clone(&one));
    let mirror = Peer::start(move |asked| {
        if asked.path.starts_with("/v2/hub/app/") {
            served.says(asked)
        } else {
            Said::status("404 Not Found", &[])
        }
    });
    let registry = Peer::start(move |asked| there.says(asked));
    let host = registry.reference("");
    let mirrors = format!("{}={}", host.trim_end_matches('/'), mirror.reference("hub"));
    let notes: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&notes);
    let world =
        world().mirrored(&mirrors).unwrap().telling(Arc::new(move |line| heard.lock().unwrap().push(line)));

    let image = open(&registry.reference("app:1"), None, &world).await.unwrap();
    assert_eq!(read(&layers(&image)[0]).await.unwrap(), one.layer);
    assert!(registry.asked().is_empty(), "{:?}", registry.asked());

    open(&registry.reference("other:1"), None, &world).await.unwrap();
    assert!(!registry.asked().is_empty());
    let notes = notes.lock().unwrap();
    assert!(notes[0].contains("from 127.0.0.1") && notes[1].contains("does not serve it"), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attestations_are_told_in_every_form() {
    let mut layout = Layout::new();
    let image = layout.child("linux", "amd64", &[b"layer"]);
    let by_annotation = layout.attestation(&image);
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let statement = layout.blob("application/vnd.in-toto+json", b"{\"statement\": 1}");
    let manifest = json!({"schemaVersion": 2, "mediaType": push_support::layout::MANIFEST, "config": config,
        "layers": [statement], "subject": image});
    let by_subject = layout.blob(push_support::layout::MANIFEST, &serde_json::to_vec(&manifest).unwrap());
    let index = layout.index(&[image.clone(), by_annotation, by_subject]);
    layout.list(index, None);
    let opened = push_support::open(layout.path()).unwrap();
    let Kind::Index(children) = &opened.kind else { panic!("it is an index") };
    let told: Vec<_> = children
        .iter()
        .map(|Child { role, about, .. }| (role, about.as_ref().map(ToString::to_string)))
        .collect();
    let about = image["digest"].as_str().map(str::to_owned);
    assert_eq!(told[1..], [(&Role::Attestation, about.clone()), (&Role::Attestation, about)]);
}
