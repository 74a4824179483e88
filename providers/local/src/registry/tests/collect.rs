//! What nobody needs goes, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use longshore_contract::Digest;
use serde_json::{Value, json};

use crate::registry::{Collected, Registry};
use crate::testing::{INDEX, Image, MANIFEST, Served, Tar, digest_of};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Makes everything in the registry look as if nobody had asked for it in a long time.
fn age(served: &Served) {
    let mut folders = vec![served.directory.path().join("registry/repositories")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                age_file(&entry.path());
            }
        }
    }
}

fn age_file(path: &std::path::Path) {
    let file = std::fs::File::open(path).unwrap();
    file.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
}

async fn collect(served: &Served, keep: &[&Digest]) -> Collected {
    let keep: Vec<Digest> = keep.iter().map(|digest| (*digest).clone()).collect();
    served.registry.collect(move || keep, HOUR).await.unwrap()
}

/// An image whose only layer says `text`.
fn image(text: &str) -> Image {
    Image::new(Tar::new().file("a", text).done(), json!({ "Cmd": [text] }))
}

async fn has(served: &Served, path: &str) -> bool {
    // Read through a listing and a file, because asking for something keeps it.
    let (name, digest) = path.rsplit_once('@').unwrap();
    let link = digest.strip_prefix("sha256:").unwrap();
    served.directory.path().join("registry/repositories").join(name).join(link).exists()
}

async fn push(served: &Served, name: &str, tag: &str, media_type: &str, manifest: &Value) -> Digest {
    let answer = served.push_manifest(name, tag, media_type, manifest).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    digest_of(manifest.to_string().as_bytes())
}

#[tokio::test]
async fn what_no_tag_names_any_more_goes_and_what_one_names_stays() {
    let served = Served::new().await;
    let old = served.push("shop", &image("old")).await;
    let new = served.push("shop", &image("new")).await;
    age(&served);
    let gone = collect(&served, &[]).await;
    assert_eq!((gone.manifests, gone.blobs), (1, 2));
    assert!(gone.bytes > 0);
    assert_eq!(served.get(&format!("/v2/shop/manifests/{old}")).await.code(), "MANIFEST_UNKNOWN");
    assert_eq!(served.registry.image("shop", &new).await.unwrap().command, ["new"]);
    age(&served);
    assert_eq!(collect(&served, &[]).await, Collected::default());
}

#[tokio::test]
async fn what_a_version_uses_stays_without_a_tag() {
    let served = Served::new().await;
    let used = served.push("shop", &image("used")).await;
    served.push("shop", &image("new")).await;
    age(&served);
    assert_eq!(collect(&served, &[&used]).await, Collected::default());
    let answer = served.get(&format!("/v2/shop/manifests/{used}")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(served.registry.image("shop", &used).await.unwrap().command, ["used"]);
}

#[tokio::test]
async fn a_layer_that_two_repositories_have_goes_with_the_last_of_them() {
    let served = Served::new().await;
    let same = image("same");
    served.push("a", &same).await;
    served.push("b", &same).await;
    for (name, bytes_go) in [("a", false), ("b", true)] {
        let path = format!("/v2/{name}/manifests/latest");
        assert_eq!(served.send(Method::DELETE, &path, &[], "").await.status, StatusCode::ACCEPTED);
        age(&served);
        let gone = collect(&served, &[]).await;
        assert_eq!((gone.manifests, gone.blobs, gone.bytes > 0), (1, 2, bytes_go), "{name}");
    }
    let blobs = served.directory.path().join("registry/blobs/sha256");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_in_an_index_stays_with_it() {
    let served = Served::new().await;
    let child = served.push("shop", &image("child")).await;
    let size = served.get(&format!("/v2/shop/manifests/{child}")).await.body.len();
    let listed = json!([{ "mediaType": MANIFEST, "digest": child, "size": size }]);
    let inner = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed });
    let inner_digest = push(&served, "shop", "inner", INDEX, &inner).await;
    let size = inner.to_string().len();
    let listed = json!([{ "mediaType": INDEX, "digest": inner_digest, "size": size }]);
    let outer = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed });
    push(&served, "shop", "outer", INDEX, &outer).await;
    for tag in ["latest", "inner"] {
        served.send(Method::DELETE, &format!("/v2/shop/manifests/{tag}"), &[], "").await;
    }
    age(&served);
    assert_eq!(collect(&served, &[]).await, Collected::default());
    served.send(Method::DELETE, "/v2/shop/manifests/outer", &[], "").await;
    age(&served);
    let gone = collect(&served, &[]).await;
    assert_eq!((gone.manifests, gone.blobs), (3, 2));
}

#[tokio::test]
async fn what_refers_to_something_stays_as_long_as_that_does() {
    let served = Served::new().await;
    let subject = served.push("shop", &image("signed")).await;
    let empty = served.push_blob("shop", b"{}").await;
    let about = |of: &Digest| {
        json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.signature",
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 },
            "layers": [], "subject": { "mediaType": MANIFEST, "digest": of, "size": 7 },
        })
    };
    let put = async |manifest: &Value| {
        let digest = digest_of(manifest.to_string().as_bytes());
        push(&served, "shop", &digest.to_string(), MANIFEST, manifest).await
    };
    let signature = put(&about(&subject)).await;
    let of_signature = put(&about(&signature)).await;
    let of_nothing = put(&about(&digest_of(b"never pushed"))).await;
    age(&served);
    assert_eq!(collect(&served, &[]).await.manifests, 1, "only what is about nothing goes");
    assert!(!has(&served, &format!("shop/_manifests@{of_nothing}")).await);
    for kept in [&subject, &signature, &of_signature] {
        assert!(has(&served, &format!("shop/_manifests@{kept}")).await);
    }
    served.send(Method::DELETE, "/v2/shop/manifests/latest", &[], "").await;
    age(&served);
    assert_eq!(collect(&served, &[]).await.manifests, 3);
}

#[tokio::test]
async fn what_came_or_was_told_of_lately_stays() {
    let served = Served::new().await;
    let [fresh, asked, mounted, forgotten] = ["fresh", "asked", "mounted", "forgotten"];
    for text in [asked, mounted, forgotten] {
        served.push_blob("a", text.as_bytes()).await;
    }
    let untagged = served.push("a", &image("untagged")).await;
    served.send(Method::DELETE, "/v2/a/manifests/latest", &[], "").await;
    age(&served);
    served.push_blob("a", fresh.as_bytes()).await;
    let asked = digest_of(asked.as_bytes());
    let answer = served.send(Method::HEAD, &format!("/v2/a/blobs/{asked}"), &[], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    let mounted = digest_of(mounted.as_bytes());
    let answer =
        served.send(Method::POST, &format!("/v2/b/blobs/uploads/?mount={mounted}&from=a"), &[], "").await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let answer = served.send(Method::HEAD, &format!("/v2/a/manifests/{untagged}"), &[], "").await;
    assert_eq!(answer.status, StatusCode::OK);

    let gone = collect(&served, &[]).await;
    // In `a` the mounted blob and the forgotten one were not asked for; the manifest keeps its own two.
    assert_eq!((gone.manifests, gone.blobs), (0, 2));
    assert_eq!(gone.bytes, "forgotten".len() as u64);
    for (name, digest) in [("a", asked), ("b", mounted), ("a", digest_of(fresh.as_bytes()))] {
        assert_eq!(served.get(&format!("/v2/{name}/blobs/{digest}")).await.status, StatusCode::OK);
    }
    assert!(served.registry.image("a", &untagged).await.is_ok());
}

#[tokio::test]
async fn a_repository_with_a_damaged_manifest_is_left_alone() {
    let served = Served::new().await;
    let tagged = served.push("damaged", &image("a")).await;
    served.push_blob("damaged", b"nobody needs it, as far as one can see").await;
    served.push_blob("other", b"nobody needs it").await;
    let bytes = served.directory.path().join("registry/blobs/sha256").join(tagged.hex());
    std::fs::write(bytes, "{").unwrap();
    age(&served);
    let gone = collect(&served, &[]).await;
    assert_eq!((gone.manifests, gone.blobs), (0, 1));
}

#[tokio::test]
async fn a_pull_goes_on_when_what_it_pulls_is_deleted_and_collected() {
    let served = Served::new().await;
    let bytes = vec![7; 32 << 20];
    let digest = served.push_blob("a", &bytes).await;
    let mut pull = served.begin_get(&format!("/v2/a/blobs/{digest}")).await;
    let first = pull.some().await;
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(served.send(Method::DELETE, &path, &[], "").await.status, StatusCode::ACCEPTED);
    age(&served);
    assert_eq!(collect(&served, &[]).await.bytes, bytes.len() as u64);
    assert_eq!(served.get(&path).await.status, StatusCode::NOT_FOUND);
    let rest = pull.rest().await;
    assert!(first.len() < bytes.len(), "the pull was over before anything was deleted");
    assert!([first, rest].concat() == bytes, "other bytes came");
}

/// How often it was collected so far.
type Rounds = tokio::sync::watch::Receiver<u64>;

/// Collects without pause until it is told to end.
struct Collector {
    ended: Arc<AtomicBool>,
    rounds: Rounds,
    task: tokio::task::JoinHandle<Collected>,
}

impl Collector {
    fn start(registry: Registry) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (count, rounds) = tokio::sync::watch::channel(0);
        let over = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            let mut all = Collected::default();
            while !over.load(Ordering::Relaxed) {
                let gone = registry.collect(Vec::new, HOUR).await.unwrap();
                all.blobs += gone.blobs;
                all.manifests += gone.manifests;
                count.send_modify(|count| *count += 1);
            }
            all
        });
        Self { ended, rounds, task }
    }

    /// Waits until a collection began and came to its end from here on.
    async fn one_whole(rounds: &mut Rounds) {
        let begun = *rounds.borrow();
        rounds.wait_for(|count| *count >= begun + 2).await.unwrap();
    }
}

/// The promise that a push relies on: a blob that was there a moment ago is there when its manifest comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blob_that_a_client_was_told_of_is_there_for_its_manifest() {
    let served = Arc::new(Served::new().await);
    let collector = Collector::start(served.registry.clone());
    let clients = (0..4).map(|client| {
        let (served, rounds) = (Arc::clone(&served), collector.rounds.clone());
        tokio::spawn(async move { push_over_and_over(&served, rounds, &format!("client-{client}")).await })
    });
    let (mut told, mut gone) = (0, 0);
    for client in futures::future::join_all(clients).await {
        let (was_told, was_gone) = client.unwrap();
        (told, gone) = (told + was_told, gone + was_gone);
    }
    collector.ended.store(true, Ordering::Relaxed);
    let all = collector.task.await.unwrap();
    assert!(told > 0 && gone > 0 && all.blobs > 0, "there was no race: {told} told, {gone} gone, {all:?}");
}

/// Pushes one image again and again, and forgets it each time; answers with how often its blob was there still, and how
/// often it was not.
async fn push_over_and_over(served: &Served, mut rounds: Rounds, name: &str) -> (u32, u32) {
    let (mut told, mut gone) = (0, 0);
    let blob = digest_of(name.as_bytes());
    let descriptor = json!({ "mediaType": "x", "digest": blob, "size": name.len() });
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor, "layers": [] });
    let digest = digest_of(manifest.to_string().as_bytes());
    for turn in 0..30 {
        let path = format!("/v2/{name}/blobs/{blob}");
        match served.send(Method::HEAD, &path, &[], "").await.status {
            StatusCode::OK => told += 1,
            _ => {
                gone += 1;
                served.push_blob(name, name.as_bytes()).await;
            }
        }
        if turn % 3 == 0 {
            Collector::one_whole(&mut rounds).await;
        }
        let answer = served.push_manifest(name, &digest.to_string(), MANIFEST, &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "turn {turn}: {:?}", answer.body);
        served.send(Method::DELETE, &format!("/v2/{name}/manifests/{digest}"), &[], "").await;
        let link = served.directory.path().join("registry/repositories").join(name).join("_blobs");
        age_file(&link.join(blob.hex()));
        if turn % 2 == 0 {
            Collector::one_whole(&mut rounds).await;
        }
    }
    (told, gone)
}

/// A measure of how long nobody is told anything; for people, so it asserts only that it is no matter of minutes.
#[tokio::test]
async fn a_thousand_manifests_are_looked_through_in_no_time() {
    let served = Served::new().await;
    let blob = served.push_blob("many", b"{}").await;
    let digest = served.push("many", &image("a")).await;
    let (manifests, blobs) = (
        served.directory.path().join("registry/repositories/many/_manifests"),
        served.directory.path().join("registry/blobs/sha256"),
    );
    for number in 0..1000 {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "annotations": { "number": number.to_string() },
            "config": { "mediaType": "x", "digest": blob, "size": 2 }, "layers": [],
            "subject": { "mediaType": MANIFEST, "digest": digest, "size": 1 },
        });
        let bytes = manifest.to_string();
        let digest = digest_of(bytes.as_bytes());
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        std::fs::write(manifests.join(digest.hex()), MANIFEST).unwrap();
    }
    let began = std::time::Instant::now();
    let answer = served.get(&format!("/v2/many/referrers/{digest}")).await;
    let listed: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 1000);
    let listing = began.elapsed();
    age(&served);
    let began = std::time::Instant::now();
    assert_eq!(collect(&served, &[]).await, Collected::default(), "all of them are about what a tag names");
    let line = format!("1,000 manifests: listed in {listing:?}, collected in {:?}\n", began.elapsed());
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    assert!(began.elapsed() < Duration::from_secs(60));
}
