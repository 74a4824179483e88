//! Pushes in bad weather: whatever happens on the way, the result is the image, whole, or one clear error.
//!
//! Each seed is an image, a registry and what happens to every request. Without a wish of ours a sample of them runs;
//! `LONGSHORE_FAULT_SEEDS=500` runs that many and `LONGSHORE_FAULT_SEED=17` that one, and says what happened in it.

mod push_support;

use std::time::Duration;

use futures::StreamExt as _;
use longshore::image::{Image, Verify, digest_of};
use longshore::push::{PushOutcome, Registries, Sender, Silent, push};
use longshore_contract::Calls;
use longshore_local::registry::Registry as OwnRegistry;
use longshore_wire::{Backoff, Client, Limits, Request};
use push_support::double::{Act, Double, reply};
use push_support::layout::{Layout, noise};
use push_support::registry::{Auth, Registry, Transport};
use push_support::weather::{PASSWORD, TOKEN, USER, Weather};
use push_support::{basic, have, open};

const SAMPLE: u64 = 40;
/// How many at once: most of their time they wait for a limit to pass.
const ABREAST: usize = 8;
/// Far longer than all limits and tries together: whatever takes longer hangs.
const FOREVER: Duration = Duration::from_secs(60);

fn registries() -> Registries {
    let limits = Limits {
        connect: Duration::from_secs(2),
        answer: Duration::from_millis(600),
        settle: Duration::from_millis(600),
        stall: Duration::from_millis(400),
        backoff: Backoff {
            attempts: 4,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(5),
            budget: Duration::from_secs(5),
        },
    };
    Registries::new(Client::with_certificates_in(limits, Vec::new()), Box::new(Sender))
}

/// The image of a seed: some layers of some sizes, sometimes for two platforms.
fn layout(seed: u64) -> Layout {
    let layers: Vec<Vec<u8>> = (0..1 + seed % 4)
        .map(|number| {
            noise(usize::try_from((seed * 7919 + number * 104_729) % 400_000).unwrap(), seed * 10 + number)
        })
        .collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    if !seed.is_multiple_of(3) {
        return Layout::with_layers(&layers);
    }
    let mut layout = Layout::new();
    let children = [layout.child("linux", "amd64", &layers), layout.child("linux", "arm64", &layers[..1])];
    let index = layout.index(&children);
    layout.list(index, None);
    layout
}

/// Reads `path` from the registry itself, past all weather.
async fn read(host: &str, path: &str) -> Option<bytes::Bytes> {
    let url = format!("http://{host}/v2/{path}").parse().unwrap();
    let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
    let request = Request::new("read back", http::Method::GET, url)
        .header(http::header::ACCEPT, http::HeaderValue::from_static(accept));
    let client = Client::with_certificates_in(Limits::default(), Vec::new());
    let answer = client.send(request).await.unwrap();
    match answer.status().as_u16() {
        200 => Some(answer.read_up_to(10 << 20).await.unwrap()),
        404 => None,
        status => panic!("reading {path} back: {status}"),
    }
}

/// Everything of `image` is at `name` and is what its digest says; or, where it may be, the tag is not there at all.
async fn verify(host: &str, name: &str, tag: &str, image: &Image, may_be_absent: bool) {
    match read(host, &format!("{name}/manifests/{tag}")).await {
        Some(manifest) => assert_eq!(manifest, image.manifest, "the tag names another manifest"),
        None => {
            assert!(may_be_absent, "the tag is not there");
            return;
        }
    }
    let mut blobs = Vec::new();
    image.each_blob(&mut |blob| blobs.push(blob.digest.clone()));
    for digest in blobs {
        let bytes = read(host, &format!("{name}/blobs/{digest}")).await;
        assert_eq!(digest_of(&bytes.unwrap_or_else(|| panic!("no {digest}"))), digest);
    }
}

/// Plays one seed before the registry at `host`; what came of it, in a word.
async fn play(seed: u64, host: &str) -> &'static str {
    // It takes whatever it is sent and says that all is well.
    let elsewhere = Double::start(|_, _| Act::Answer(reply(201, &[], ""))).await;
    let weather = Weather::start(seed, host, elsewhere.address).await;
    let layout = layout(seed);
    let image = open(layout.path()).unwrap();
    let name = format!("storm/s{seed}");
    let to = basic(&format!("{}/{name}:v1", weather.address), USER, PASSWORD);
    let registries = registries();
    let calls = Calls::default();
    let pushed = push(&registries, &image, &to, Verify::Size, &calls, &Silent).await;
    let word = match &pushed {
        Ok(pushed) => {
            assert_eq!(pushed.digest, image.digest);
            verify(host, &name, "v1", &image, false).await;
            "arrived"
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n') && text.len() > 20, "{text:?} is no clear error");
            for secret in [PASSWORD, TOKEN] {
                assert!(!format!("{error:?}").contains(secret), "{error:?} tells a secret");
            }
            // What was asked for last may have been done, its answer lost: then it is the right thing that was done.
            verify(host, &name, "v1", &image, true).await;
            "refused"
        }
    };
    for seen in elsewhere.seen() {
        let shown = format!("{seen:?}");
        assert!(seen.authorization.is_none(), "credentials at another host: {shown}");
        assert!(!shown.contains(PASSWORD) && !shown.contains(TOKEN), "a secret at another host: {shown}");
    }
    // When the weather clears up the next push makes it good.
    weather.clear_up();
    let again = push(&registries, &image, &to, Verify::Size, &calls, &Silent).await;
    let again = again.unwrap_or_else(|error| panic!("in good weather: {error}"));
    assert!(pushed.is_err() || again.outcome == PushOutcome::Unchanged);
    verify(host, &name, "v1", &image, false).await;
    if wished("LONGSHORE_FAULT_SEED").is_some() {
        tell(&format!("{:#?}\n{pushed:#?}", weather.played()));
    }
    word
}

fn wished(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}: a number")))
}

#[expect(clippy::print_stderr, reason = "what a seed did is what one looks for")]
fn tell(text: &str) {
    eprintln!("{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_weather_the_image_arrives_whole_or_one_error_says_why() {
    if !have("docker-registry") {
        return;
    }
    let theirs = Registry::start(&Auth::Open, &Transport::Http);
    let directory = tempfile::tempdir().unwrap();
    let own = OwnRegistry::open(&directory.path().join("registry")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own_host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, own.routes()).await });

    let seeds: Vec<u64> = match wished("LONGSHORE_FAULT_SEED") {
        Some(seed) => vec![seed],
        None => (0..wished("LONGSHORE_FAULT_SEEDS").unwrap_or(SAMPLE)).collect(),
    };
    let hosts = [theirs.host.clone(), own_host];
    let total = seeds.len();
    let words: Vec<Result<&str, String>> = futures::stream::iter(seeds)
        .map(|seed| {
            let host = hosts[usize::try_from(seed / 5 % 2).unwrap()].clone();
            async move {
                let played = tokio::spawn(async move { play(seed, &host).await });
                match tokio::time::timeout(FOREVER, played).await {
                    Ok(Ok(word)) => Ok(word),
                    Ok(Err(_)) => Err(format!("LONGSHORE_FAULT_SEED={seed} went wrong; its words are above")),
                    Err(_) => Err(format!("LONGSHORE_FAULT_SEED={seed} hangs")),
                }
            }
        })
        .buffer_unordered(ABREAST)
        .collect()
        .await;
    let wrong: Vec<&String> = words.iter().filter_map(|word| word.as_ref().err()).collect();
    let arrived = words.iter().filter(|word| **word == Ok("arrived")).count();
    tell(&format!(
        "{total} seeds: {arrived} arrived, {} refused, {} wrong",
        total - arrived - wrong.len(),
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Weather in which everything arrives, or nothing, tests nothing.
    assert!(total < 10 || (arrived > 0 && arrived < total));
}
