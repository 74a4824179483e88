//! What a daemon collects when it starts: nothing that one of its versions uses.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use longshore_contract::Config;

use crate::peer::Peer;
use crate::support::{Cloud, Function, image};

/// Makes everything in the registry look as if nobody had asked for it for two days.
fn age(directory: &Path) {
    let mut folders = vec![directory.join("registry/repositories")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let file = std::fs::File::open(&path).expect("it is there");
                let then = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
                file.set_modified(then).expect("it is ours");
            }
        }
    }
}

#[tokio::test]
async fn a_daemon_that_starts_collects_what_no_version_uses() {
    let mut cloud = Cloud::start();
    // Neither image has a tag.
    let used = image::answering(cloud.registry(), "used");
    let unused = image::answering(cloud.registry(), "unused");
    let provider = cloud.provider();
    let shop = Function { provider: &*provider, name: "shop".parse().expect("a name") };
    shop.version(&used, Config::default()).await;
    cloud.kill();
    age(&cloud.directory);
    cloud.start_again();

    let [used, unused] = [used, unused].map(|reference| reference.digest.expect("a digest"));
    let manifest = |digest: &longshore_contract::Digest| {
        cloud.directory.join("registry/repositories/sample/_manifests").join(digest.hex())
    };
    // Looked for on disk: asking the registry would keep it.
    let began = Instant::now();
    while manifest(&unused).exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "the image that nobody uses is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    let peer = Peer { address: cloud.registry(), name: "sample".to_owned(), other: String::new() };
    let kept = peer.get_manifest(&used.to_string());
    assert_eq!(kept.status, 200);
    let kept: serde_json::Value = serde_json::from_slice(&kept.body).expect("JSON");
    for blob in [&kept["config"], &kept["layers"][0]] {
        assert_eq!(peer.head(&format!("blobs/{}", blob["digest"].as_str().expect("text"))).status, 200);
    }
}
