//! The ways a blob takes: taken over from another repository, read once for several destinations, forgotten when nothing
//! comes of it.

mod push_support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use longshore::image::{Verify, digest_of};
use longshore::push::{Destination, PushOutcome, Pushed, Registries, Sender, Shipment, Silent, push};
use longshore::registry::{Credentials, KnownRegistry, Mounts, PLAIN, RegistryError, RegistryErrorKind};
use longshore_contract::{Calls, Credential, Endpoint, PlainHttp};
use longshore_wire::{Backoff, Client, Limits};
use push_support::double::{Act, Double, Seen, reply};
use push_support::layout::{Layout, noise};
use push_support::{anonymous, basic, open};

fn registries() -> Registries {
    let backoff = Backoff {
        attempts: 4,
        first: Duration::from_millis(1),
        longest: Duration::from_millis(5),
        budget: Duration::from_secs(10),
    };
    let limits = Limits {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(5),
        settle: Duration::from_secs(5),
        stall: Duration::from_secs(5),
        backoff,
    };
    Registries::new(Client::with_certificates_in(limits, Vec::new()), Box::new(Sender))
}

async fn send(registries: &Registries, layout: &Layout, to: &Destination) -> Result<Pushed, RegistryError> {
    let image = open(layout.path()).unwrap();
    push(registries, &image, to, Verify::Size, &Calls::default(), &Silent).await
}

/// Pushes to all at once, as the command line does.
async fn send_to_all(
    registries: &Registries,
    layout: &Layout,
    all: &[Destination],
) -> Vec<Result<Pushed, RegistryError>> {
    let image = open(layout.path()).unwrap();
    let shipment = Shipment::new(&image, Verify::Size);
    let parties: Vec<_> = all.iter().map(|to| (shipment.party(), to)).collect();
    let calls = Calls::default();
    let pushes = parties.into_iter().map(|(party, to)| party.push(registries, to, &calls, &Silent));
    futures::future::join_all(pushes).await
}

fn is_blob_put(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.path.contains("/blobs/uploads/")
}

fn is_mount(seen: &Seen) -> bool {
    seen.method == "POST" && seen.query.contains("mount=")
}

#[tokio::test]
async fn a_blob_that_another_repository_got_is_taken_over_from_there() {
    let double = Double::honest().await;
    let layout = Layout::with_layers(&[&noise(500_000, 1), b"small"]);
    let registries = registries();
    send(&registries, &layout, &anonymous(&double.reference("team/one:v1"))).await.unwrap();
    let pushed = send(&registries, &layout, &anonymous(&double.reference("team/two:v1"))).await.unwrap();
    assert_eq!((pushed.blobs.mounted, pushed.blobs.sent, pushed.bytes_sent), (3, 0, 0));
    assert_eq!(double.held_by("team/one"), double.held_by("team/two"));
    assert_eq!(double.seen().iter().filter(|seen| is_blob_put(seen)).count(), 3);
    let mount = double.seen().into_iter().find(is_mount).unwrap();
    assert!(
        mount.path == "/v2/team/two/blobs/uploads/" && mount.query.ends_with("&from=team%2Fone"),
        "{mount:?}"
    );
}

#[tokio::test]
async fn a_blob_that_is_found_in_one_repository_is_taken_over_to_another() {
    let double = Double::honest().await;
    let layout = Layout::with_layers(&[b"layer"]);
    send(&registries(), &layout, &anonymous(&double.reference("one:v1"))).await.unwrap();
    // Another run, and another tag: nothing is sent, but now it is known who holds what.
    let registries = registries();
    send(&registries, &layout, &anonymous(&double.reference("one:v2"))).await.unwrap();
    let pushed = send(&registries, &layout, &anonymous(&double.reference("two:v1"))).await.unwrap();
    assert_eq!((pushed.blobs.mounted, pushed.blobs.sent), (2, 0));
}

#[tokio::test]
async fn two_repositories_at_once_get_one_blob_of_one_sending() {
    let double = Double::honest().await;
    let shared = noise(3_000_000, 1);
    let layout = Layout::with_layers(&[&shared]);
    let both = ["one:v1", "two:v1"].map(|name| anonymous(&double.reference(name)));
    let started = std::time::Instant::now();
    let pushed = send_to_all(&registries(), &layout, &both).await;
    let pushed: Vec<Pushed> = pushed.into_iter().map(Result::unwrap).collect();
    assert_eq!(pushed.iter().map(|pushed| pushed.blobs.sent).sum::<u64>(), 2);
    assert_eq!(pushed.iter().map(|pushed| pushed.blobs.mounted).sum::<u64>(), 2);
    let sent = double.seen().into_iter().filter(|seen| is_blob_put(seen) && seen.length == shared.len());
    assert_eq!(sent.count(), 1);
    // Nobody waits for a partner in reading who waits for a mount.
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_mount_that_opens_an_upload_is_gone_on_with_there() {
    let double = Double::start(|seen, _| {
        if is_mount(seen) {
            // What the specification calls "not mounted": the upload is open.
            let place = format!("{}opened?_state=secret%2Bstate", seen.path);
            Act::Answer(reply(202, &[("location", &place)], ""))
        } else {
            Act::Serve
        }
    })
    .await;
    let layout = Layout::with_layers(&[b"layer"]);
    let registries = registries();
    send(&registries, &layout, &anonymous(&double.reference("one:v1"))).await.unwrap();
    let pushed = send(&registries, &layout, &anonymous(&double.reference("two:v1"))).await.unwrap();
    assert_eq!((pushed.blobs.mounted, pushed.blobs.sent), (0, 2));
    let to_two: Vec<Seen> =
        double.seen().into_iter().filter(|seen| seen.path.starts_with("/v2/two/blobs/uploads/")).collect();
    let posts = to_two.iter().filter(|seen| seen.method == "POST");
    assert!(posts.clone().all(is_mount) && posts.count() == 2, "{to_two:?}");
    assert!(to_two.iter().filter(|seen| is_blob_put(seen)).all(|seen| seen.path.ends_with("/opened")));
}

#[tokio::test]
async fn a_registry_that_does_not_like_mounts_is_sent_the_bytes() {
    for status in [400, 401, 403, 404, 405, 500] {
        let double = Double::start(move |seen, _| {
            if is_mount(seen) {
                let challenge = [("www-authenticate", "Basic realm=\"r\"")];
                Act::Answer(reply(status, if status == 401 { &challenge } else { &[] }, ""))
            } else {
                Act::Serve
            }
        })
        .await;
        let layout = Layout::with_layers(&[b"layer"]);
        let registries = registries();
        let to = |name: &str| basic(&double.reference(name), "ann", "p");
        send(&registries, &layout, &to("one:v1")).await.unwrap();
        let pushed = send(&registries, &layout, &to("two:v1")).await;
        let pushed = pushed.unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!((pushed.outcome, pushed.blobs.sent), (PushOutcome::Arrived, 2), "{status}");
    }
}

#[tokio::test]
async fn a_registry_that_never_mounts_is_not_asked_to() {
    static NEVER: [KnownRegistry; 1] =
        [KnownRegistry { name: "ours", hosts: &["127.0.0.1"], mounts: Mounts::Never, ..PLAIN }];
    let double = Double::honest().await;
    let layout = Layout::with_layers(&[b"layer"]);
    let registries = registries().knowing(&NEVER);
    for name in ["one:v1", "two:v1"] {
        let pushed = send(&registries, &layout, &anonymous(&double.reference(name))).await.unwrap();
        assert_eq!(pushed.blobs.sent, 2);
    }
    assert!(!double.seen().iter().any(is_mount));
}

/// A registry that wants a token whose scope covers what is asked, and writes down the scopes it was asked for.
async fn with_scopes() -> (Double, Arc<Mutex<Vec<String>>>) {
    let (address, scopes) = (Arc::new(OnceLock::new()), Arc::new(Mutex::new(Vec::new())));
    let (at, asked) = (Arc::clone(&address), Arc::clone(&scopes));
    let double = Double::start(move |seen, _| {
        if seen.path == "/token" {
            let query = url::form_urlencoded::parse(seen.query.as_bytes());
            let scope: Vec<String> =
                query.filter(|(key, _)| key == "scope").map(|(_, value)| value.into_owned()).collect();
            let scope = scope.join(" ");
            asked.lock().unwrap().push(scope.clone());
            let token: String = scope.bytes().map(|byte| format!("{byte:02x}")).collect();
            return Act::Answer(reply(200, &[], format!(r#"{{"token": "{token}", "expires_in": 300}}"#)));
        }
        let repository =
            seen.path.trim_start_matches("/v2/").split(['/']).next().unwrap_or_default().to_owned();
        let mut needed = vec![if matches!(seen.method.as_str(), "GET" | "HEAD") {
            format!("repository:{repository}:pull")
        } else {
            format!("repository:{repository}:pull,push")
        }];
        needed.extend(
            url::form_urlencoded::parse(seen.query.as_bytes())
                .filter(|(key, _)| key == "from")
                .map(|(_, from)| format!("repository:{from}:pull")),
        );
        let shown = seen.authorization.as_deref().and_then(|shown| shown.strip_prefix("Bearer "));
        let granted: Vec<u8> = shown
            .unwrap_or_default()
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let granted = String::from_utf8(granted).unwrap();
        if needed.iter().all(|needed| granted.split(' ').any(|granted| granted.starts_with(needed.as_str())))
        {
            return Act::Serve;
        }
        let challenge =
            format!(r#"Bearer realm="http://{}/token",service="s",scope="{}""#, at.get().unwrap(), needed[0]);
        Act::Answer(reply(401, &[("www-authenticate", &challenge)], ""))
    })
    .await;
    address.set(double.address).unwrap();
    (double, scopes)
}

#[tokio::test]
async fn a_mount_is_asked_for_with_a_token_for_both_repositories() {
    let (double, scopes) = with_scopes().await;
    let layout = Layout::with_layers(&[b"layer"]);
    let registries = registries();
    let to = |name: &str| basic(&double.reference(name), "ann", "p");
    send(&registries, &layout, &to("one:v1")).await.unwrap();
    let pushed = send(&registries, &layout, &to("two:v1")).await.unwrap();
    assert_eq!((pushed.blobs.mounted, pushed.blobs.sent), (2, 0));
    assert_eq!(
        *scopes.lock().unwrap(),
        [
            "repository:one:pull,push",
            "repository:two:pull,push",
            "repository:two:pull,push repository:one:pull",
        ]
    );
}

/// How often `file` is opened while `work` runs, asked of the kernel.
async fn opened_during<T>(file: &std::path::Path, work: impl Future<Output = T>) -> (T, usize) {
    use rustix::fs::inotify;
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, file, inotify::WatchFlags::OPEN).unwrap();
    let done = work.await;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    let mut count = 0;
    while reader.next().is_ok() {
        count += 1;
    }
    (done, count)
}

#[tokio::test]
async fn a_layer_is_read_once_for_all_who_need_it() {
    let doubles = [Double::honest().await, Double::honest().await, Double::honest().await];
    let layer = noise(5_000_000, 1);
    let layout = Layout::with_layers(&[&layer]);
    let digest = digest_of(&layer).to_string();
    // The third has it already: nobody waits for that one.
    send(&registries(), &layout, &anonymous(&doubles[2].reference("app:v0"))).await.unwrap();
    let all: Vec<_> = doubles.iter().map(|double| anonymous(&double.reference("app:v1"))).collect();
    // Reading the layout opens the file too; that much is told apart by a destination of its own.
    let alone = Double::honest().await;
    let (_, for_one) = opened_during(
        &layout.blob_path(&digest),
        send_to_all(&registries(), &layout, &[anonymous(&alone.reference("app:v1"))]),
    )
    .await;
    let registries = registries();
    let (pushed, for_all) =
        opened_during(&layout.blob_path(&digest), send_to_all(&registries, &layout, &all)).await;
    let sent: Vec<u64> = pushed.into_iter().map(|pushed| pushed.unwrap().blobs.sent).collect();
    assert_eq!(sent, [2, 2, 0]);
    assert!(doubles.iter().all(|double| double.holds(&digest)));
    assert_eq!(for_all, for_one);
}

#[tokio::test]
async fn each_destination_fails_alone() {
    let good = Double::honest().await;
    let refuses =
        Double::start(
            |seen, _| {
                if seen.method == "POST" { Act::Answer(reply(403, &[], "")) } else { Act::Serve }
            },
        )
        .await;
    let cuts = AtomicU32::new(0);
    let stumbles = Double::start(move |seen, _| {
        if is_blob_put(seen) && cuts.fetch_add(1, Ordering::Relaxed) < 2 { Act::HangUp } else { Act::Serve }
    })
    .await;
    let layer = noise(5_000_000, 1);
    let layout = Layout::with_layers(&[&layer]);
    let all = [&good, &refuses, &stumbles].map(|double| anonymous(&double.reference("app:v1")));
    let pushed = send_to_all(&registries(), &layout, &all).await;
    assert_eq!(pushed[0].as_ref().unwrap().outcome, PushOutcome::Arrived);
    assert_eq!(pushed[1].as_ref().unwrap_err().kind, RegistryErrorKind::Denied);
    assert_eq!(pushed[2].as_ref().unwrap().outcome, PushOutcome::Arrived);
    let digest = digest_of(&layer).to_string();
    assert!(good.holds(&digest) && stumbles.holds(&digest));
}

#[tokio::test]
async fn an_upload_that_comes_to_nothing_is_ended() {
    let cuts = AtomicU32::new(0);
    let double = Double::start(move |seen, _| {
        if is_blob_put(seen) && cuts.fetch_add(1, Ordering::Relaxed) == 0 { Act::HangUp } else { Act::Serve }
    })
    .await;
    let layout = Layout::with_layers(&[&noise(2_000_000, 1)]);
    let registries = registries();
    send(&registries, &layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
    registries.sessions().tidied().await;
    let seen = double.seen();
    let cut = seen.iter().find(|seen| is_blob_put(seen)).unwrap();
    let ended: Vec<&Seen> = seen.iter().filter(|seen| seen.method == "DELETE").collect();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].path, cut.path);
    assert!(ended[0].query.starts_with("_state=secret%2Bstate"), "{ended:?}");
}

#[tokio::test]
async fn a_push_that_fails_ends_the_uploads_of_its_other_blobs() {
    // One blob is refused while the other is still being taken.
    let (refused, taken) = (noise(100, 1), noise(8_000_000, 2));
    let name = digest_of(&refused).to_string();
    let reached = Arc::new(AtomicU32::new(0));
    let seen_put = Arc::clone(&reached);
    let double = Double::start(move |seen, _| {
        if !is_blob_put(seen) {
            return Act::Serve;
        }
        seen_put.fetch_add(1, Ordering::Relaxed);
        if seen.query.contains(&name[7..]) {
            Act::Answer(reply(400, &[], r#"{"errors": [{"code": "DIGEST_INVALID"}]}"#))
        } else {
            Act::Serve
        }
    })
    .await;
    let layout = Layout::with_layers(&[&refused, &taken]);
    let error = send(&registries(), &layout, &anonymous(&double.reference("app:v1"))).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::DigestMismatch);
    let posts = double.seen().iter().filter(|seen| seen.method == "POST").count();
    let arrived = double.seen().iter().filter(|seen| is_blob_put(seen) && double.holds_of(seen)).count();
    let ended = double.count("DELETE", "/blobs/uploads/");
    // Every upload that was begun has either become a blob or been ended.
    assert_eq!(posts, arrived + ended);
    assert!(ended >= 1);
}

#[tokio::test]
async fn a_token_that_is_called_forbidden_when_it_ends_is_renewed() {
    let address = Arc::new(OnceLock::new());
    let at = Arc::clone(&address);
    let (given, used) = (AtomicU32::new(0), AtomicU32::new(0));
    let double = Double::start(move |seen, _| {
        if seen.path == "/token" {
            let number = given.fetch_add(1, Ordering::Relaxed) + 1;
            return Act::Answer(reply(200, &[], format!(r#"{{"token": "t{number}", "expires_in": 300}}"#)));
        }
        match (seen.authorization.as_deref(), given.load(Ordering::Relaxed)) {
            (Some("Bearer t1"), 1) if used.fetch_add(1, Ordering::Relaxed) < 4 => Act::Serve,
            (Some("Bearer t2"), _) => Act::Serve,
            (Some(_), _) => {
                let body =
                    r#"{"errors": [{"code": "DENIED", "message": "Your authorization token has expired."}]}"#;
                Act::Answer(reply(403, &[], body))
            }
            (None, _) => {
                let challenge = format!(r#"Bearer realm="http://{}/token",service="s""#, at.get().unwrap());
                Act::Answer(reply(401, &[("www-authenticate", &challenge)], ""))
            }
        }
    })
    .await;
    address.set(double.address).unwrap();
    let layout = Layout::with_layers(&[&noise(300_000, 1)]);
    let to = basic(&double.reference("app:v1"), "ann", "p");
    let pushed = send(&registries(), &layout, &to).await.unwrap();
    assert_eq!((pushed.outcome, double.count("GET", "/token")), (PushOutcome::Arrived, 2));
}

#[tokio::test]
async fn a_fixed_tag_that_somebody_gave_to_the_same_image_meanwhile_is_done() {
    let layout = Layout::with_layers(&[b"layer"]);
    let manifest = open(layout.path()).unwrap().manifest;
    let race = Arc::new(OnceLock::<Double>::new());
    let (other, bytes) = (Arc::clone(&race), manifest.clone());
    let double = Double::start(move |seen, _| {
        if seen.method == "PUT" && seen.path.ends_with("/manifests/v1") {
            other.get().unwrap().put_manifest("v1", &bytes);
            other.get().unwrap().put_manifest(digest_of(&bytes).as_str(), &bytes);
            let body = r#"{"errors": [{"code": "TAG_INVALID", "message": "The tag is immutable"}]}"#;
            return Act::Answer(reply(400, &[], body));
        }
        Act::Serve
    })
    .await;
    assert!(race.set(double.clone()).is_ok());
    let pushed = send(&registries(), &layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
    assert_eq!(pushed.outcome, PushOutcome::Arrived);
}

#[tokio::test]
async fn a_place_may_be_told_in_every_way_a_place_can_be_told() {
    let layout = Layout::with_layers(&[&noise(1000, 1)]);
    for place in [
        "7?_state=secret%2Bstate",
        "./7?_state=secret%2Bstate",
        "/v2/app/blobs/uploads/7?_state=secret%2Bstate",
    ] {
        let double = Double::start(move |seen, _| {
            if seen.method == "POST" {
                Act::Answer(reply(202, &[("location", place)], ""))
            } else {
                Act::Serve
            }
        })
        .await;
        send(&registries(), &layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
        assert_eq!(double.held_by("app").len(), 2, "{place}");
    }
    for (place, said) in [(None, "names no place"), (Some("http://[::1"), "a place that is no URL")] {
        let double = Double::start(move |seen, _| {
            let header = place.map(|place| ("location", place));
            if seen.method == "POST" { Act::Answer(reply(202, header.as_slice(), "")) } else { Act::Serve }
        })
        .await;
        let error = send(&registries(), &layout, &anonymous(&double.reference("app:v1"))).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Protocol);
        assert!(error.message.contains(said), "{error}");
    }
}

#[tokio::test]
async fn an_index_without_a_media_type_is_sent_as_what_it_is_and_no_blob_in_chunks() {
    let double = Double::honest().await;
    let mut layout = Layout::new();
    let child = layout.child("linux", "amd64", &[&noise(6_000_000, 1)]);
    let bytes = serde_json::to_vec(&serde_json::json!({"schemaVersion": 2, "manifests": [child]})).unwrap();
    let index = layout.blob(push_support::layout::INDEX, &bytes);
    layout.list(index, None);
    send(&registries(), &layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
    let seen = double.seen();
    let put = seen.iter().find(|seen| seen.method == "PUT" && seen.path.ends_with("/manifests/v1")).unwrap();
    assert_eq!(put.content_type.as_deref(), Some(push_support::layout::INDEX));
    assert_eq!(double.manifest("v1").unwrap(), bytes);
    assert!(seen.iter().all(|seen| seen.method != "PATCH"));
}

/// A registry under a name that people know, at an address of ours.
fn behind(name: &str, double: &Double, user: &str, password: &str) -> Destination {
    let url = format!("http://{}", double.address);
    let credential = Credential::Basic { user: user.to_owned(), password: password.to_owned().into() };
    Destination {
        endpoint: Some(Endpoint { url, plain_http: PlainHttp::LoopbackOnly, ca: None }),
        credentials: Credentials::Given(credential),
        ..anonymous(name)
    }
}

#[tokio::test]
async fn an_access_token_is_changed_into_a_refresh_token_where_the_registry_does_that() {
    use base64::Engine as _;
    let jwt = |claims: &str| {
        format!("e30.{}.c2ln", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims))
    };
    for (password, exchanges) in
        [(jwt(r#"{"aud": "https://management.example"}"#), 1), (jwt(r#"{"aud": "shop.azurecr.io"}"#), 0)]
    {
        let address = Arc::new(OnceLock::new());
        let at = Arc::clone(&address);
        let double = Double::start(move |seen, _| match seen.path.as_str() {
            "/oauth2/exchange" => Act::Answer(reply(200, &[], r#"{"refresh_token": "refreshing"}"#)),
            "/oauth2/token" => Act::Answer(reply(200, &[], r#"{"access_token": "t"}"#)),
            _ if seen.authorization.as_deref() == Some("Bearer t") => Act::Serve,
            _ => {
                let challenge = format!(
                    r#"Bearer realm="http://{}/oauth2/token",service="shop.azurecr.io",scope="repository:app:pull""#,
                    at.get().unwrap()
                );
                Act::Answer(reply(401, &[("www-authenticate", &challenge)], ""))
            }
        })
        .await;
        address.set(double.address).unwrap();
        let layout = Layout::with_layers(&[b"layer"]);
        let user = "00000000-0000-0000-0000-000000000000";
        send(&registries(), &layout, &behind("shop.azurecr.io/app:v1", &double, user, &password))
            .await
            .unwrap();
        assert_eq!(double.count("POST", "/oauth2/exchange"), exchanges);
        assert_eq!(double.count("POST", "/oauth2/token"), 1);
        let secrets = [password.as_str(), "refreshing"];
        assert!(double.seen().iter().all(|seen| {
            let shown = format!("{seen:?}");
            secrets.iter().all(|secret| !shown.contains(secret))
        }));
    }
}

#[tokio::test]
async fn what_is_exchanged_follows_no_redirect() {
    let elsewhere = Double::honest().await;
    let address = Arc::new(OnceLock::new());
    let (at, to) = (Arc::clone(&address), format!("http://{}/token", elsewhere.address));
    let double = Double::start(move |seen, _| match seen.path.as_str() {
        "/token" => Act::Answer(reply(307, &[("location", &to)], "")),
        _ => {
            let challenge = format!(r#"Bearer realm="http://{}/token",service="s""#, at.get().unwrap());
            Act::Answer(reply(401, &[("www-authenticate", &challenge)], ""))
        }
    })
    .await;
    address.set(double.address).unwrap();
    let credential = Credential::Refresh { token: "the-identity".to_owned().into() };
    let to =
        Destination { credentials: Credentials::Given(credential), ..anonymous(&double.reference("app:v1")) };
    let error = send(&registries(), &Layout::with_layers(&[b"layer"]), &to).await.unwrap_err();
    assert!(error.message.contains("a redirect is not followed"), "{error}");
    assert!(elsewhere.seen().is_empty() && !format!("{error:?}").contains("the-identity"));
}

#[tokio::test]
async fn a_known_registry_is_explained_in_its_own_words() {
    let layout = Layout::with_layers(&[b"layer"]);
    let double = Double::start(|_, _| Act::Answer(reply(429, &[("retry-after", "86400")], ""))).await;
    let error =
        send(&registries(), &layout, &behind("docker.io/ann/app:v1", &double, "ann", "p")).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unavailable);
    assert!(error.hint.unwrap().contains("Docker Hub counts pulls"));

    // Known by what it calls itself: the host is anybody's.
    let address = Arc::new(OnceLock::new());
    let at = Arc::clone(&address);
    let double = Double::start(move |seen, _| match (seen.path.as_str(), &seen.authorization) {
        ("/service/token", _) => Act::Answer(reply(200, &[], r#"{"token": "t"}"#)),
        (_, None) => {
            let realm = format!("http://{}/service/token", at.get().unwrap());
            let challenge = format!(r#"Bearer realm="{realm}",service="harbor-registry""#);
            Act::Answer(reply(401, &[("www-authenticate", &challenge)], ""))
        }
        _ if seen.method == "POST" => {
            Act::Answer(reply(404, &[], r#"{"errors": [{"code": "NAME_UNKNOWN"}]}"#))
        }
        _ => Act::Serve,
    })
    .await;
    address.set(double.address).unwrap();
    let error =
        send(&registries(), &layout, &basic(&double.reference("shop/app:v1"), "ann", "p")).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::RepositoryMissing);
    let hint = error.hint.unwrap();
    assert!(hint.contains("make the repository shop/app") && hint.contains("must be a project"), "{hint}");
}

#[tokio::test]
async fn a_blob_that_another_host_took_is_there_when_the_registry_says_so() {
    // It takes everything and keeps nothing.
    let thief = Double::start(|_, _| Act::Answer(reply(201, &[], ""))).await;
    let (place, lures) = (format!("http://{}/v2/x", thief.address), AtomicU32::new(0));
    let double = Double::start(move |seen, _| {
        if seen.method == "POST" && lures.fetch_add(1, Ordering::Relaxed) < 2 {
            Act::Answer(reply(202, &[("location", &place)], ""))
        } else {
            Act::Serve
        }
    })
    .await;
    let layout = Layout::with_layers(&[b"layer"]);
    let pushed = send(&registries(), &layout, &anonymous(&double.reference("app:v1"))).await.unwrap();
    assert_eq!((pushed.outcome, double.held_by("app").len()), (PushOutcome::Arrived, 2));
    assert_eq!(thief.seen().len(), 2);
}
