//! Every source to every destination, each read back by skopeo, blob for blob.

mod push_support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use longshore::image::{Add, Assembly, Base, ImageSource, Verify};
use longshore::push::{Destination, PushOutcome, Registries, Sender, Silent, push};
use longshore_contract::{Calls, Endpoint, PlainHttp};
use longshore_local::registry::Registry as OwnRegistry;
use longshore_wire::{Client, Limits};
use push_support::layout::{Layout, noise};
use push_support::registry::{Auth, Registry, Transport, certificate, copy_out};
use push_support::tokens::{READER, token_service};
use push_support::{anonymous, basic, have, open_source};

/// A source: its name, and how it is made in a folder. A further kind of source is a further line.
type Source = (&'static str, fn(&Path) -> ImageSource);

const SOURCES: [Source; 5] = [
    ("a layout", |folder| {
        write(&Layout::with_layers(&[&noise(300_000, 1), &noise(1_200_000, 2)]), folder);
        ImageSource::Layout { directory: folder.to_owned(), tag: None }
    }),
    ("a layout of an image without layers", |folder| {
        write(&Layout::with_layers(&[]), folder);
        ImageSource::Layout { directory: folder.to_owned(), tag: None }
    }),
    ("an index of two platforms and an attestation", |folder| {
        let mut layout = Layout::new();
        let amd = layout.child("linux", "amd64", &[&noise(200_000, 3)]);
        let arm = layout.child("linux", "arm64", &[&noise(200_000, 4)]);
        let attestation = layout.attestation(&amd);
        let index = layout.index(&[amd, arm, attestation]);
        layout.list(index, None);
        write(&layout, folder);
        ImageSource::Layout { directory: folder.to_owned(), tag: None }
    }),
    ("an archive of a layout", |folder| {
        let file = folder.join("image.tar");
        std::fs::write(&file, Layout::with_layers(&[&noise(300_000, 5)]).tar()).unwrap();
        ImageSource::Archive { file }
    }),
    ("an image assembled from files", |folder| {
        let program = folder.join("function");
        std::fs::write(&program, noise(100_000, 6)).unwrap();
        let add = vec![Add { source: program, destination: "/function".to_owned(), mode: Some(0o755) }];
        ImageSource::Assemble(Assembly {
            base: Base::Scratch,
            add,
            entrypoint: vec!["/function".to_owned()],
            command: Vec::new(),
            environment: BTreeMap::new(),
            workdir: None,
            user: None,
            platform: Some(longshore_contract::Platform::host()),
        })
    }),
];

fn write(layout: &Layout, folder: &Path) {
    std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    for name in ["oci-layout", "index.json"] {
        std::fs::copy(layout.path().join(name), folder.join(name)).unwrap();
    }
    for entry in std::fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.join("blobs/sha256").join(entry.file_name())).unwrap();
    }
}

/// Pushes every source to the registry at `host`, as `to` says, and reads each back.
async fn every_source(host: &str, credentials: Option<&str>, to: impl Fn(&str) -> Destination) {
    for (number, (name, make)) in SOURCES.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let image = open_source(&make(folder.path())).unwrap();
        // A session of its own for each: nothing is known from the one before.
        let registries =
            Registries::new(Client::with_certificates_in(Limits::default(), Vec::new()), Box::new(Sender));
        let to = to(&format!("team/app{number}:v1"));
        let calls = Calls::default();
        let pushed = push(&registries, &image, &to, Verify::Hash, &calls, &Silent).await;
        let pushed = pushed.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((pushed.outcome, &pushed.digest), (PushOutcome::Arrived, &image.digest), "{name}");
        let out = tempfile::tempdir().unwrap();
        let found = copy_out(host, &format!("team/app{number}:v1"), credentials, out.path());
        assert_eq!(found, image.digest.to_string(), "{name}");
        let pushed = push(&registries, &image, &to, Verify::Size, &Calls::default(), &Silent).await.unwrap();
        assert_eq!(pushed.outcome, PushOutcome::Unchanged, "{name}");
    }
}

fn missing() -> bool {
    !have("docker-registry") || !have("skopeo") || !have("htpasswd")
}

// skopeo blocks the test's own thread while it reads; what serves it has others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_source_arrives_at_an_open_registry() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Open, &Transport::Http);
    let host = &registry.host;
    every_source(host, None, |name| anonymous(&format!("{host}/{name}"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_source_arrives_at_a_registry_with_passwords() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Basic("ann", "p"), &Transport::Http);
    let host = &registry.host;
    every_source(host, Some("ann:p"), |name| basic(&format!("{host}/{name}"), "ann", "p")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_source_arrives_at_a_registry_whose_tokens_live_for_a_second() {
    if missing() {
        return;
    }
    let tokens = token_service(Duration::from_secs(1)).await;
    let realm = format!("http://{}/token", tokens.address);
    let registry = Registry::start(&Auth::Token(realm), &Transport::Http);
    let host = &registry.host;
    every_source(host, Some(READER), |name| basic(&format!("{host}/{name}"), "ann", "p")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_source_arrives_at_a_registry_with_a_certificate_of_its_own() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Open, &Transport::Https);
    let host = &registry.host;
    let endpoint = Endpoint {
        url: format!("https://{host}"),
        plain_http: PlainHttp::LoopbackOnly,
        ca: Some(certificate("ca.pem")),
    };
    every_source(host, None, |name| Destination {
        endpoint: Some(endpoint.clone()),
        ..anonymous(&format!("{host}/{name}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_source_arrives_at_the_registry_of_the_local_cloud() {
    if missing() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let registry = OwnRegistry::open(&directory.path().join("registry")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, registry.routes()).await });
    every_source(&host, None, |name| anonymous(&format!("{host}/{name}"))).await;
}
