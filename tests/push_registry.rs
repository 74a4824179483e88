//! Pushing to a real registry, and reading back with somebody else's client.

mod push_support;

use std::time::Duration;

use longshore::image::{ImageSource, Verify};
use longshore::push::{
    BlobCounts, Destination, PushOutcome, Pushed, Recorded, Recorder, Registries, Sender, Silent, push,
};
use longshore::registry::{RegistryError, RegistryErrorKind};
use longshore_contract::{Calls, Endpoint, PlainHttp, Service};
use longshore_wire::{Client, Limits};
use push_support::layout::{Layout, noise};
use push_support::registry::{Auth, Registry, Transport, certificate};
use push_support::tokens::token_service;
use push_support::{anonymous, basic, have, open, open_source};

fn client() -> Client {
    Client::with_certificates_in(Limits::default(), Vec::new())
}

fn registries() -> Registries {
    Registries::new(client(), Box::new(Sender))
}

async fn send(layout: &Layout, to: &Destination) -> (Result<Pushed, RegistryError>, u32) {
    let (image, calls) = (open(layout.path()).unwrap(), Calls::default());
    let pushed = push(&registries(), &image, to, Verify::Size, &calls, &Silent).await;
    (pushed, calls.to(Service::Registry))
}

fn missing() -> bool {
    !have("docker-registry") || !have("skopeo") || !have("htpasswd")
}

#[tokio::test]
async fn an_image_arrives_verbatim_and_a_second_push_sends_nothing() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Open, &Transport::Http);
    let layout = Layout::with_layers(&[&noise(3 << 20, 1), &noise(5, 2), &noise(1 << 17, 3)]);
    let image = open(layout.path()).unwrap();
    let to = anonymous(&format!("{}/team/app:v1", registry.host));

    let (pushed, _) = send(&layout, &to).await;
    let pushed = pushed.unwrap();
    assert_eq!(pushed.outcome, PushOutcome::Arrived);
    assert_eq!(pushed.blobs, BlobCounts { sent: 4, mounted: 0, present: 0 });
    assert_eq!(registry.digest_by_skopeo("team/app:v1", None), image.digest.to_string());
    let copied = tempfile::tempdir().unwrap();
    registry.copy_out("team/app:v1", copied.path());

    let (pushed, calls) = send(&layout, &to).await;
    let pushed = pushed.unwrap();
    assert_eq!((pushed.outcome, pushed.bytes_sent), (PushOutcome::Unchanged, 0));
    assert_eq!(pushed.blobs, BlobCounts { sent: 0, mounted: 0, present: 4 });
    assert!(calls <= 2, "{calls} requests");

    // Another tag of the same image: the blobs are there, only the name is new.
    let (pushed, _) = send(&layout, &anonymous(&format!("{}/team/app:v2", registry.host))).await;
    assert_eq!(pushed.unwrap().blobs, BlobCounts { sent: 0, mounted: 0, present: 4 });
    assert_eq!(registry.digest_by_skopeo("team/app:v2", None), image.digest.to_string());
}

#[tokio::test]
async fn a_moved_tag_names_what_it_named_before() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Open, &Transport::Http);
    let (one, two) = (Layout::with_layers(&[b"one"]), Layout::with_layers(&[b"two"]));
    let to = anonymous(&format!("{}/app:v1", registry.host));
    let first = send(&one, &to).await.0.unwrap();
    let second = send(&two, &to).await.0.unwrap();
    assert_eq!((first.replaced, second.replaced), (None, Some(first.digest)));
}

#[tokio::test]
async fn an_index_arrives_whole_and_one_platform_of_it_alone() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Open, &Transport::Http);
    let mut layout = Layout::new();
    let shared = noise(1000, 7);
    let amd = layout.child("linux", "amd64", &[&shared, b"amd"]);
    let arm = layout.child("linux", "arm64", &[&shared, b"arm"]);
    let attestation = layout.attestation(&amd);
    let index = layout.index(&[amd, arm, attestation]);
    layout.list(index, Some("v1"));
    let image = open(layout.path()).unwrap();

    let whole = anonymous(&format!("{}/whole:v1", registry.host));
    let pushed = push(&registries(), &image, &whole, Verify::Hash, &Calls::default(), &Silent).await.unwrap();
    assert_eq!(registry.digest_by_skopeo("whole:v1", None), image.digest.to_string());
    // Seven of eight: the shared layer counts once.
    assert_eq!(pushed.blobs.sent, 7);

    let picked = image.clone().pick(&"linux/arm64".parse().unwrap()).unwrap();
    let one = anonymous(&format!("{}/one", registry.host));
    let pushed = push(&registries(), &picked, &one, Verify::Size, &Calls::default(), &Silent).await.unwrap();
    assert_eq!(pushed.reference.to_string(), format!("{}/one@{}", registry.host, picked.digest));
    let name = format!("one@{}", picked.digest);
    assert_eq!(registry.digest_by_skopeo(&name, None), picked.digest.to_string());
    assert_eq!(picked.source_digest, image.digest);
}

#[tokio::test]
async fn an_assembled_image_is_one_that_others_can_read() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Open, &Transport::Http);
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("app"), noise(300_000, 9)).unwrap();
    let assembly = longshore::image::Assembly {
        base: longshore::image::Base::Scratch,
        add: vec![longshore::image::Add {
            source: files.path().join("app"),
            destination: "/opt/app".into(),
            mode: Some(0o755),
        }],
        entrypoint: vec!["/opt/app".into()],
        command: Vec::new(),
        environment: [("A".to_owned(), "b".to_owned())].into(),
        workdir: None,
        user: None,
        platform: Some("linux/amd64".parse().unwrap()),
    };
    let image = open_source(&ImageSource::Assemble(assembly)).unwrap();
    let to = anonymous(&format!("{}/made:v1", registry.host));
    push(&registries(), &image, &to, Verify::Size, &Calls::default(), &Silent).await.unwrap();
    assert_eq!(registry.digest_by_skopeo("made:v1", None), image.digest.to_string());
    let copied = tempfile::tempdir().unwrap();
    registry.copy_out("made:v1", copied.path());
}

#[tokio::test]
async fn a_registry_that_asks_for_a_password_gets_it_and_a_wrong_one_is_explained() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Basic("ann", "correct horse"), &Transport::Http);
    let layout = Layout::with_layers(&[b"layer"]);
    let reference = format!("{}/app:v1", registry.host);

    let (pushed, _) = send(&layout, &basic(&reference, "ann", "correct horse")).await;
    let digest = pushed.unwrap().digest.to_string();
    assert_eq!(registry.digest_by_skopeo("app:v1", Some("ann:correct horse")), digest);

    let error = send(&layout, &basic(&reference, "ann", "wrong one")).await.0.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unauthorized);
    assert!(error.to_string().contains("the login is refused (401"), "{error}");
    let error = send(&layout, &anonymous(&reference)).await.0.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unauthorized);
    assert!(error.hint.unwrap().contains("no credentials were given"));
    for shown in [format!("{:?}", basic(&reference, "ann", "wrong one")), error.message] {
        assert!(!shown.contains("wrong one") && !shown.contains("horse"), "{shown}");
    }
}

#[tokio::test]
async fn a_registry_that_asks_for_a_token_is_content_with_one_for_all_of_a_push() {
    if missing() {
        return;
    }
    let tokens = token_service(Duration::from_secs(300)).await;
    let registry =
        Registry::start(&Auth::Token(format!("http://{}/token", tokens.address)), &Transport::Http);
    let layout = Layout::with_layers(&[&noise(500_000, 1), b"two"]);
    let to = basic(&format!("{}/team/app:v1", registry.host), "ann", "p");
    let (pushed, calls) = send(&layout, &to).await;
    let pushed = pushed.unwrap();
    assert_eq!((pushed.outcome, pushed.blobs.sent), (PushOutcome::Arrived, 3));
    assert_eq!(tokens.seen().len(), 1);
    // Tag without and with a token, the token, three blobs of three requests each, manifest, proof.
    assert_eq!(calls, 14);
    let (pushed, calls) = send(&layout, &to).await;
    assert_eq!((pushed.unwrap().outcome, calls), (PushOutcome::Unchanged, 3));
}

#[tokio::test]
async fn a_registry_with_a_certificate_of_its_own_is_reached_without_a_scheme() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Open, &Transport::Https);
    let layout = Layout::with_layers(&[b"layer"]);
    let reference = format!("{}/app:v1", registry.host);

    // Nobody said https: the port was asked. Its certificate is nobody's, and that is not passed over.
    let error = send(&layout, &anonymous(&reference)).await.0.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unreachable);
    assert!(error.message.contains("UnknownIssuer"), "{error}");
    assert!(error.hint.unwrap().contains("certs.d"));

    let endpoint = Endpoint {
        url: format!("https://{}", registry.host),
        plain_http: PlainHttp::LoopbackOnly,
        ca: Some(certificate("ca.pem")),
    };
    let to = Destination { endpoint: Some(endpoint), ..anonymous("registry.example/app:v1") };
    let pushed = send(&layout, &to).await.0.unwrap();
    assert!(pushed.reference.to_string().starts_with("registry.example/app:v1@"));

    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join(&registry.host);
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(certificate("ca.pem"), folder.join("ca.crt")).unwrap();
    let client = Client::with_certificates_in(Limits::default(), vec![directory.path().to_owned()]);
    let registries = Registries::new(client, Box::new(Sender));
    let image = open(layout.path()).unwrap();
    let calls = Calls::default();
    let to = anonymous(&reference);
    let pushed = push(&registries, &image, &to, Verify::Size, &calls, &Silent).await.unwrap();
    assert_eq!(pushed.outcome, PushOutcome::Unchanged);
}

#[tokio::test]
async fn a_rehearsal_asks_the_same_and_writes_nothing() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Open, &Transport::Http);
    let layout = Layout::with_layers(&[b"one", b"two"]);
    let image = open(layout.path()).unwrap();
    let to = anonymous(&format!("{}/app:v1", registry.host));
    let recorder = Recorder::default();
    let registries = Registries::new(client(), Box::new(recorder.clone()));
    let pushed = push(&registries, &image, &to, Verify::Size, &Calls::default(), &Silent).await.unwrap();
    assert_eq!((pushed.outcome, pushed.blobs.sent), (PushOutcome::Planned, 3));
    let recorded = recorder.recorded();
    assert_eq!(recorded.len(), 4);
    assert!(matches!(recorded.last(), Some(Recorded::Manifest { name, .. }) if name == "v1"));
    for blob in &recorded[..3] {
        let Recorded::Blob { digest, .. } = blob else { panic!("{blob:?} before the blobs") };
        assert_eq!(registry.stored(digest.as_str()), None);
    }
}

#[tokio::test]
async fn a_blob_that_is_not_what_its_name_says_is_refused_by_the_registry_and_found_here() {
    if missing() {
        return;
    }
    let registry = Registry::start(&Auth::Open, &Transport::Http);
    let layer = noise(400_000, 4);
    let layout = Layout::with_layers(&[&layer]);
    let digest = longshore::image::digest_of(&layer).to_string();
    let mut damaged = layer;
    damaged[200_000] ^= 1;
    std::fs::write(layout.blob_path(&digest), damaged).unwrap();
    let to = anonymous(&format!("{}/app:v1", registry.host));

    let error = send(&layout, &to).await.0.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::DigestMismatch, "{error}");
    assert!(error.message.contains(&digest) && error.message.contains("DIGEST_INVALID"), "{error}");

    let image = open(layout.path()).unwrap();
    let hashed = push(&registries(), &image, &to, Verify::Hash, &Calls::default(), &Silent).await;
    let error = hashed.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::DigestMismatch, "{error}");
    assert!(error.message.contains(&digest) && error.message.contains("damaged"), "{error}");
    assert_eq!(registry.stored(&digest), None);
}

#[tokio::test]
async fn nobody_at_the_port_is_said_with_host_and_port() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let layout = Layout::with_layers(&[b"layer"]);
    let quick = Limits { connect: Duration::from_secs(5), ..Limits::default() };
    let registries = Registries::new(Client::with_certificates_in(quick, Vec::new()), Box::new(Sender));
    let image = open(layout.path()).unwrap();
    let to = anonymous(&format!("{address}/app:v1"));
    let error = push(&registries, &image, &to, Verify::Size, &Calls::default(), &Silent).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unreachable);
    assert!(error.message.contains(&address.to_string()), "{error}");
}
