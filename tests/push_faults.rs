//! What a push does when a registry, a token service or the network misbehaves.

mod push_support;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use longshore::image::Verify;
use longshore::push::{
    BlobState, Destination, Event, Progress, PushOutcome, Pushed, Registries, Sender, Silent, push,
};
use longshore::registry::{Credentials, Keychain, RegistryError, RegistryErrorKind};
use longshore_contract::{Calls, Credential, Service};
use longshore_wire::{Backoff, Client, Limits};
use push_support::double::{Act, Double, Seen, reply};
use push_support::layout::{Layout, noise};
use push_support::{anonymous, basic, open};

fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(5),
        settle: Duration::from_secs(5),
        stall: Duration::from_secs(5),
        backoff: Backoff {
            attempts: 4,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(5),
            budget: Duration::from_secs(10),
        },
    }
}

fn registries() -> Registries {
    Registries::new(Client::with_certificates_in(limits(), Vec::new()), Box::new(Sender))
}

async fn send_with(
    registries: &Registries,
    layout: &Layout,
    to: &Destination,
) -> Result<Pushed, RegistryError> {
    let image = open(layout.path()).unwrap();
    push(registries, &image, to, Verify::Size, &Calls::default(), &Silent).await
}

async fn send(layout: &Layout, to: &Destination) -> Result<Pushed, RegistryError> {
    send_with(&registries(), layout, to).await
}

fn is_blob_put(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.path.contains("/blobs/uploads/")
}

/// Whether a question for a blob is for one that the registry keeps at another host.
fn is_kept_in(store: &Double, seen: &Seen) -> bool {
    let name = seen.path.rsplit('/').next().unwrap_or_default();
    seen.method == "HEAD" && seen.path.contains("/blobs/") && store.holds(name)
}

/// A registry that wants a token, and `/token` that hands them out. The first is good for `uses` requests only.
async fn with_tokens(uses: usize, hook: impl Fn(&Seen) -> Option<Act> + Send + Sync + 'static) -> Double {
    let address = std::sync::Arc::new(std::sync::OnceLock::new());
    let (given, used) = (std::sync::Mutex::new(0), std::sync::Mutex::new(0));
    let at = std::sync::Arc::clone(&address);
    let double = Double::start(move |seen, _| {
        if let Some(act) = hook(seen) {
            return act;
        }
        if seen.path == "/token" {
            let mut given = given.lock().unwrap();
            *given += 1;
            let token = format!(r#"{{"token": "t{given}", "expires_in": 300}}"#);
            return Act::Answer(reply(200, &[], token));
        }
        let given = *given.lock().unwrap();
        let mut used = used.lock().unwrap();
        if seen.authorization.as_ref() == Some(&format!("Bearer t{given}")) {
            *used += 1;
            if given > 1 || *used <= uses {
                return Act::Serve;
            }
        }
        let challenge = format!(
            r#"Bearer realm="http://{}/token",service="the registry",scope="repository:app:pull""#,
            at.get().unwrap()
        );
        Act::Answer(reply(
            401,
            &[("www-authenticate", &challenge)],
            r#"{"errors": [{"code": "UNAUTHORIZED"}]}"#,
        ))
    })
    .await;
    address.set(double.address).unwrap();
    double
}

#[tokio::test]
async fn one_token_is_fetched_for_everybody_and_names_what_pushing_needs() {
    let double = with_tokens(usize::MAX, |_| None).await;
    let layers: Vec<Vec<u8>> = (0..8).map(|seed| noise(1000, seed)).collect();
    let layout = Layout::with_layers(&layers.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let registries = registries();
    let to = basic(&double.reference("app:v1"), "ann", "pass word");
    send_with(&registries, &layout, &to).await.unwrap();
    let tokens: Vec<_> = double.seen().into_iter().filter(|seen| seen.path == "/token").collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].query, "service=the+registry&scope=repository%3Aapp%3Apull%2Cpush");
    assert_eq!(tokens[0].authorization.as_deref(), Some("Basic YW5uOnBhc3Mgd29yZA=="));
    let others = double.seen().into_iter().filter(|seen| seen.path != "/token");
    assert!(others.skip(1).all(|seen| seen.authorization.as_deref() == Some("Bearer t1")));

    // The same session again: one request, no login.
    let before = double.seen().len();
    assert_eq!(send_with(&registries, &layout, &to).await.unwrap().outcome, PushOutcome::Unchanged);
    assert_eq!(double.seen().len(), before + 1);
}

#[tokio::test]
async fn a_token_that_ends_in_mid_push_is_renewed_and_nothing_arrives_twice() {
    // Tag, two blobs of three requests each, manifest, proof: nine requests with a token.
    for uses in 1..=9 {
        let double = with_tokens(uses, |_| None).await;
        let layer = noise(300_000, 1);
        let layout = Layout::with_layers(&[&layer]);
        let to = basic(&double.reference("app:v1"), "ann", "p");
        let pushed = send(&layout, &to).await.unwrap_or_else(|error| panic!("{uses} uses: {error}"));
        assert_eq!((pushed.outcome, pushed.blobs.sent), (PushOutcome::Arrived, 2));
        assert!(double.manifest("v1").is_some());
        assert_eq!(double.count("GET", "/token"), if uses == 9 { 1 } else { 2 }, "{uses} uses");
        let arrived =
            double.seen().into_iter().filter(|seen| is_blob_put(seen) && seen.length == layer.len());
        assert_eq!(arrived.count(), 1);
    }
}

#[tokio::test]
async fn an_identity_token_is_exchanged_and_never_shown_to_the_registry() {
    let double = with_tokens(usize::MAX, |_| None).await;
    let layout = Layout::with_layers(&[b"layer"]);
    let credential = Credential::Refresh { token: "the-identity".to_owned().into() };
    let to =
        Destination { credentials: Credentials::Given(credential), ..anonymous(&double.reference("app:v1")) };
    send(&layout, &to).await.unwrap();
    let seen = double.seen();
    let token = seen.iter().find(|seen| seen.path == "/token").unwrap();
    assert_eq!((token.method.as_str(), token.query.as_str()), ("POST", ""));
    assert!(seen.iter().all(|seen| !format!("{seen:?}").contains("the-identity")));
}

#[tokio::test]
async fn a_token_services_no_is_shown_with_where_the_credentials_come_from() {
    let refuse = |seen: &Seen| {
        (seen.path == "/token").then(|| Act::Answer(reply(401, &[], r#"{"details": "incorrect password"}"#)))
    };
    let double = with_tokens(1, refuse).await;
    let layout = Layout::with_layers(&[b"layer"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let host = double.address;
    std::fs::write(&file, format!(r#"{{"auths": {{"{host}": {{"auth": "YW5uOnMzY3JldA=="}}}}}}"#)).unwrap();
    let keychain = Keychain::of_files([file.clone()]);
    let to = Destination {
        credentials: Credentials::Keychain(keychain),
        ..anonymous(&double.reference("app:v1"))
    };
    let error = send(&layout, &to).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unauthorized);
    assert!(error.message.contains("incorrect password"), "{error}");
    let hint = error.hint.clone().unwrap();
    assert!(hint.contains(&file.display().to_string()) && hint.contains("docker login"), "{hint}");
    assert!(!format!("{error:?}").contains("s3cret"));

    let to = Destination {
        credentials: Credentials::Keychain(Keychain::of_files([directory.path().join("none.json")])),
        ..anonymous(&double.reference("app:v1"))
    };
    let hint = send(&layout, &to).await.unwrap_err().hint.unwrap();
    assert!(hint.contains("no credentials for") && hint.contains("none.json"), "{hint}");
}

#[tokio::test]
async fn credentials_are_not_shown_to_a_realm_over_plain_http() {
    let double = Double::start(|_, _| {
        let challenge = r#"Bearer realm="http://tokens.example/token",service="s""#;
        Act::Answer(reply(401, &[("www-authenticate", challenge)], ""))
    })
    .await;
    let layout = Layout::with_layers(&[b"layer"]);
    let error = send(&layout, &basic(&double.reference("app:v1"), "ann", "p")).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unauthorized);
    assert!(error.message.contains("tokens.example over plain http"), "{error}");
}

#[tokio::test]
async fn a_connection_that_ends_in_a_blob_is_begun_anew_in_another_upload() {
    let cuts = std::sync::atomic::AtomicU32::new(0);
    let double = Double::start(move |seen, _| {
        if is_blob_put(seen) && cuts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 3 {
            Act::HangUp
        } else {
            Act::Serve
        }
    })
    .await;
    let layout = Layout::with_layers(&[&noise(2_000_000, 1)]);
    let pushed = send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
    assert_eq!((pushed.outcome, pushed.bytes_sent > 2_000_000), (PushOutcome::Arrived, true));
    let mut places: Vec<String> =
        double.seen().into_iter().filter(is_blob_put).map(|seen| seen.path).collect();
    assert_eq!(places.len(), 5);
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 5, "an upload was used twice");
}

#[tokio::test]
async fn a_blob_whose_answer_was_lost_is_not_sent_again() {
    let cuts = std::sync::atomic::AtomicU32::new(0);
    let double = Double::start(move |seen, _| {
        if is_blob_put(seen) && cuts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            Act::ServeAndHangUp
        } else {
            Act::Serve
        }
    })
    .await;
    let layout = Layout::with_layers(&[b"layer"]);
    send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
    assert_eq!(double.count("PUT", "/blobs/uploads/"), 2);
}

#[tokio::test]
async fn a_blob_that_never_goes_through_says_how_often_it_was_tried() {
    let double = Double::start(|seen, _| if is_blob_put(seen) { Act::HangUp } else { Act::Serve }).await;
    let layout = Layout::with_layers(&[&noise(100_000, 1)]);
    let error = send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (RegistryErrorKind::Unavailable, 4), "{error}");
    assert!(error.to_string().ends_with("(tried 4 times)"), "{error}");
    assert!(!error.to_string().contains("_state"), "{error}");
    assert!(double.manifest("v1").is_none());
}

#[tokio::test]
async fn too_many_requests_is_waited_for_as_long_as_is_asked() {
    let double = Double::start(|seen, before| {
        if seen.method == "POST" && before == 0 {
            Act::Answer(reply(429, &[("retry-after", "1")], r#"{"errors": [{"code": "TOOMANYREQUESTS"}]}"#))
        } else {
            Act::Serve
        }
    })
    .await;
    let layout = Layout::with_layers(&[]);
    let started = Instant::now();
    send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(double.count("POST", "/blobs/uploads/"), 2);
}

#[tokio::test]
async fn a_pause_beyond_all_patience_is_not_waited_for() {
    let double = Double::start(|_, _| Act::Answer(reply(429, &[("retry-after", "86400")], ""))).await;
    let layout = Layout::with_layers(&[]);
    let error = send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap_err();
    assert_eq!((error.kind, double.seen().len()), (RegistryErrorKind::Unavailable, 1));
    assert!(error.message.contains("429"), "{error}");
}

#[tokio::test]
async fn a_registry_that_fails_for_a_while_is_asked_again_and_its_last_word_survives() {
    let double = Double::start(|seen, before| {
        if seen.method == "HEAD" && before < 2 { Act::Answer(reply(503, &[], "")) } else { Act::Serve }
    })
    .await;
    let layout = Layout::with_layers(&[b"layer"]);
    send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap();

    let double = Double::start(|seen, _| {
        if seen.method == "PUT" && seen.path.contains("/manifests/") {
            Act::Answer(reply(500, &[], r#"{"errors": [{"code": "UNKNOWN", "message": "disk full"}]}"#))
        } else {
            Act::Serve
        }
    })
    .await;
    let error = send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (RegistryErrorKind::Unavailable, 4));
    assert!(error.message.contains("500: UNKNOWN disk full"), "{error}");
}

#[tokio::test]
async fn a_digest_that_is_not_the_one_that_was_sent_is_an_error() {
    let lie = format!("sha256:{}", "0".repeat(64));
    let layout = Layout::with_layers(&[b"layer"]);
    for (method, liar) in [("PUT", "/manifests/v1"), ("HEAD", "/manifests/sha256:")] {
        let lie = lie.clone();
        let double = Double::start(move |seen, _| {
            if seen.method == method && seen.path.contains(liar) {
                let status = if method == "PUT" { 201 } else { 200 };
                Act::Answer(reply(status, &[("docker-content-digest", &lie)], ""))
            } else {
                Act::Serve
            }
        })
        .await;
        let error = send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::DigestMismatch, "{error}");
        assert!(error.message.contains(&"0".repeat(64)), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_that_was_taken_and_is_gone_is_an_error() {
    let double = Double::start(|seen, _| {
        if seen.method == "HEAD" && seen.path.contains("/manifests/") {
            Act::Answer(reply(404, &[], ""))
        } else {
            Act::Serve
        }
    })
    .await;
    let layout = Layout::with_layers(&[b"layer"]);
    let error = send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap_err();
    assert!(error.message.contains("and does not have it"), "{error}");
}

#[tokio::test]
async fn without_the_digest_header_the_manifest_itself_is_compared() {
    let double = Double::start(|seen, _| {
        if seen.method == "HEAD" && seen.path.contains("/manifests/sha256:") {
            Act::Answer(reply(200, &[], ""))
        } else {
            Act::Serve
        }
    })
    .await;
    let layout = Layout::with_layers(&[b"layer"]);
    send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
    assert_eq!(double.count("GET", "/manifests/sha256:"), 1);
}

#[tokio::test]
async fn an_upload_on_another_host_gets_the_bytes_and_no_credentials() {
    let elsewhere = Double::start(|_, _| Act::Serve).await;
    let place = format!("http://{}/v2/x/blobs/uploads/1?_state=secret%2Bstate&part=1", elsewhere.address);
    let store = elsewhere.clone();
    let double = Double::start(move |seen, _| {
        if seen.authorization.is_none() {
            return Act::Answer(reply(401, &[("www-authenticate", "Basic realm=\"r\"")], ""));
        }
        match seen.method.as_str() {
            "POST" => Act::Answer(reply(202, &[("location", &place)], "")),
            _ if is_kept_in(&store, seen) => Act::Answer(reply(200, &[], "")),
            _ => Act::Serve,
        }
    })
    .await;
    let layer = noise(300_000, 1);
    let layout = Layout::with_layers(&[&layer]);
    send(&layout, &basic(&double.reference("app:v1"), "ann", "p")).await.unwrap();
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
    assert!(
        seen.iter().all(|seen| seen.query.starts_with("_state=secret%2Bstate&part=1&digest=sha256")),
        "{seen:?}"
    );
    assert!(elsewhere.holds(longshore::image::digest_of(&layer).as_str()));
}

#[tokio::test]
async fn a_redirected_upload_goes_on_without_credentials_elsewhere() {
    let elsewhere = Double::start(|_, _| Act::Serve).await;
    let (host, store) = (elsewhere.address, elsewhere.clone());
    let double = Double::start(move |seen, _| {
        if seen.authorization.is_none() {
            return Act::Answer(reply(401, &[("www-authenticate", "Basic realm=\"r\"")], ""));
        }
        if is_blob_put(seen) {
            let to = format!("http://{host}{}?{}", seen.path, seen.query);
            return Act::Answer(reply(307, &[("location", &to), ("connection", "close")], ""));
        }
        if is_kept_in(&store, seen) {
            return Act::Answer(reply(200, &[], ""));
        }
        Act::Serve
    })
    .await;
    let layout = Layout::with_layers(&[b"layer"]);
    send(&layout, &basic(&double.reference("app:v1"), "ann", "p")).await.unwrap();
    assert_eq!(elsewhere.count("PUT", "/blobs/uploads/"), 2);
    assert!(elsewhere.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn a_huge_refusal_is_read_in_part_and_shown_in_one_line() {
    let double = Double::start(|seen, _| {
        if seen.method == "POST" { Act::Answer(reply(400, &[], vec![b'x'; 50 << 20])) } else { Act::Serve }
    })
    .await;
    let layout = Layout::with_layers(&[b"layer"]);
    let error = send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Refused);
    assert!(
        error.message.len() < 500 && error.message.contains("begin upload: the registry answered 400: xxx")
    );
}

#[tokio::test]
async fn a_missing_repository_and_a_missing_right_are_told_apart() {
    let layout = Layout::with_layers(&[b"layer"]);
    for (status, body, kind, hint) in [
        (
            404,
            r#"{"errors": [{"code": "NAME_UNKNOWN"}]}"#,
            RegistryErrorKind::RepositoryMissing,
            "make the repository app",
        ),
        (404, "", RegistryErrorKind::RepositoryMissing, "make the repository app"),
        (403, r#"{"errors": [{"code": "DENIED"}]}"#, RegistryErrorKind::Denied, "may not push"),
    ] {
        let double = Double::start(move |seen, _| {
            if seen.method == "POST" { Act::Answer(reply(status, &[], body)) } else { Act::Serve }
        })
        .await;
        let error = send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.hint.unwrap().contains(hint));
    }
}

#[tokio::test]
async fn a_tag_that_may_not_move_is_refused_with_both_digests() {
    let double = Double::start(|seen, _| {
        if seen.method == "PUT" && seen.path.ends_with("/manifests/v1") {
            let body = r#"{"errors": [{"code": "TAG_INVALID", "message": "The image tag is immutable"}]}"#;
            Act::Answer(reply(400, &[], body))
        } else {
            Act::Serve
        }
    })
    .await;
    double.put_manifest("v1", b"another");
    let layout = Layout::with_layers(&[b"layer"]);
    let error = send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::TagTaken);
    let held = longshore::image::digest_of(b"another").to_string();
    let ours = open(layout.path()).unwrap().digest.to_string();
    assert!(error.message.contains(&held) && error.message.contains(&ours), "{error}");

    // The same digest at a tag that may not move is nothing to do.
    let image = open(layout.path()).unwrap();
    double.put_manifest("v1", &image.manifest);
    let pushed = send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
    assert_eq!(pushed.outcome, PushOutcome::Unchanged);
}

#[tokio::test]
async fn manifests_come_last_children_first_and_as_they_are() {
    let double = Double::honest().await;
    let mut layout = Layout::new();
    let amd = layout.child("linux", "amd64", &[b"amd"]);
    let arm = layout.child("linux", "arm64", &[b"arm"]);
    let (first, second) =
        (amd["digest"].as_str().unwrap().to_owned(), arm["digest"].as_str().unwrap().to_owned());
    let index = layout.index(&[amd, arm]);
    let whole = index["digest"].as_str().unwrap().to_owned();
    layout.list(index, None);
    send(&layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
    let puts: Vec<String> = double.lines().into_iter().filter(|line| line.starts_with("PUT")).collect();
    let expected = [first, second, "v1".to_owned()].map(|name| format!("PUT /v2/app/manifests/{name}"));
    assert_eq!(puts[puts.len() - 3..], expected);
    assert!(puts[..puts.len() - 3].iter().all(|line| line.contains("/blobs/uploads/")));
    assert_eq!(double.manifest("v1").unwrap(), std::fs::read(layout.blob_path(&whole)).unwrap());
    let sent =
        double.seen().into_iter().find(|seen| seen.path.ends_with("/manifests/v1") && seen.method == "PUT");
    assert_eq!(sent.unwrap().content_type.as_deref(), Some(push_support::layout::INDEX));
}

#[tokio::test]
async fn an_unchanged_image_costs_one_request() {
    let double = Double::honest().await;
    let layout = Layout::with_layers(&[b"layer"]);
    let image = open(layout.path()).unwrap();
    let to = anonymous(&double.reference("app:v1"));
    let calls = Calls::default();
    push(&registries(), &image, &to, Verify::Size, &calls, &Silent).await.unwrap();
    // Tag, two blobs of three requests each, manifest, proof.
    assert_eq!((calls.to(Service::Registry), double.seen().len()), (9, 9));
    let calls = Calls::default();
    push(&registries(), &image, &to, Verify::Size, &calls, &Silent).await.unwrap();
    assert_eq!(calls.to(Service::Registry), 1);
}

#[tokio::test]
async fn a_blob_that_two_images_share_is_sent_once() {
    let double = Double::honest().await;
    let shared = noise(500_000, 1);
    let (one, two) = (Layout::with_layers(&[&shared, b"one"]), Layout::with_layers(&[&shared, b"two"]));
    let registries = registries();
    let (to_one, to_two) = (anonymous(&double.reference("app:one")), anonymous(&double.reference("app:two")));
    let (first, second) =
        tokio::join!(send_with(&registries, &one, &to_one), send_with(&registries, &two, &to_two));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.blobs.sent + second.blobs.sent, 5);
    assert_eq!(first.blobs.present + second.blobs.present, 1);
    assert_eq!(
        double.seen().iter().filter(|seen| is_blob_put(seen) && seen.length == shared.len()).count(),
        1
    );
}

#[tokio::test]
async fn progress_is_told_and_begins_anew_with_a_new_try() {
    #[derive(Default)]
    struct Heard(std::sync::Mutex<Vec<(u64, BlobState)>>);
    impl Progress for Heard {
        fn event(&self, event: Event<'_>) {
            if let Event::Blob { size, sent, state, .. } = event
                && size > 1_000_000
            {
                self.0.lock().unwrap().push((sent, state));
            }
        }
    }
    let cuts = std::sync::atomic::AtomicU32::new(0);
    let double = Double::start(move |seen, _| {
        if is_blob_put(seen) && cuts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            Act::HangUp
        } else {
            Act::Serve
        }
    })
    .await;
    let layout = Layout::with_layers(&[&noise(2_000_000, 1), &noise(3_000_000, 2)]);
    let image = open(layout.path()).unwrap();
    let heard = Heard::default();
    let to = anonymous(&double.reference("app:v1"));
    push(&registries(), &image, &to, Verify::Size, &Calls::default(), &heard).await.unwrap();
    let heard = heard.0.into_inner().unwrap();
    assert!(heard.contains(&(0, BlobState::Again)));
    assert!(heard.contains(&(2_000_000, BlobState::Sent)) && heard.contains(&(3_000_000, BlobState::Sent)));
}

#[tokio::test]
async fn a_destination_that_names_another_digest_is_refused_before_anything_is_asked() {
    let double = Double::honest().await;
    let layout = Layout::with_layers(&[b"layer"]);
    let other = format!("app@sha256:{}", "1".repeat(64));
    let error = send(&layout, &anonymous(&double.reference(&other))).await.unwrap_err();
    assert_eq!((error.kind, double.seen().len()), (RegistryErrorKind::Image, 0));
}

#[tokio::test]
async fn a_file_that_vanishes_while_it_is_pushed_is_named() {
    let double = Double::honest().await;
    let layer = noise(100_000, 1);
    let layout = Layout::with_layers(&[&layer]);
    let image = open(layout.path()).unwrap();
    let digest = longshore::image::digest_of(&layer).to_string();
    std::fs::remove_file(layout.blob_path(&digest)).unwrap();
    let to = anonymous(&double.reference("app:v1"));
    let error = push(&registries(), &image, &to, Verify::Size, &Calls::default(), &Silent).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unreadable, "{error}");
    assert!(error.message.contains(&digest) && error.message.contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_helper_is_asked_through_its_pipes_and_its_failures_are_explained() {
    // PATH is the whole process's, so the helpers of this test live in a child's.
    let directory = tempfile::tempdir().unwrap();
    for (name, script) in [
        (
            "good",
            "#!/bin/sh\n[ \"$*\" = get ] || exit 9\nread -r server\necho \"{\\\"ServerURL\\\":\\\"$server\\\",\\\"Username\\\":\\\"u-$server\\\",\\\"Secret\\\":\\\"s\\\"}\"\n",
        ),
        ("none", "#!/bin/sh\necho credentials not found in native keychain\nexit 1\n"),
        ("bad", "#!/bin/sh\necho the keyring is locked\nexit 1\n"),
    ] {
        let path = directory.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_child_with_helpers_in_its_path", "--ignored", "--nocapture"])
        .env("PATH", format!("{}:/usr/bin:/bin", directory.path().display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run by the test before it, with helpers in its PATH"]
async fn in_a_child_with_helpers_in_its_path() {
    let layout = Layout::with_layers(&[b"layer"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let double = Double::start(|seen, _| match seen.authorization {
        Some(_) => Act::Serve,
        None => Act::Answer(reply(401, &[("www-authenticate", "Basic realm=\"r\"")], "")),
    })
    .await;
    let with = |helper: &str| {
        std::fs::write(&file, format!(r#"{{"credsStore": "{helper}"}}"#)).unwrap();
        let credentials = Credentials::Keychain(Keychain::of_files([file.clone()]));
        Destination { credentials, ..anonymous(&double.reference("app:v1")) }
    };
    send(&layout, &with("good")).await.unwrap();
    let shown = double.seen().pop().unwrap().authorization.unwrap();
    let expected =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("u-{}:s", double.address));
    assert_eq!(shown, format!("Basic {expected}"));
    for (helper, kind, text) in [
        ("none", RegistryErrorKind::Unauthorized, "wants a login"),
        ("bad", RegistryErrorKind::Keychain, "the keyring is locked"),
        ("absent", RegistryErrorKind::Keychain, "not in PATH"),
        ("../evil", RegistryErrorKind::Keychain, "letters, digits"),
    ] {
        let error = send(&layout, &with(helper)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
}
