//! The registry over a real socket.

mod bounds;
mod collect;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use http::{Method, StatusCode};
use longshore_contract::{Digest, Platform};
use serde_json::json;

use super::{ImageRefusal, Packing, Registry};
use crate::testing::{INDEX, Image, MANIFEST, Served, Tar, digest_of, eventually, gzip};

fn absent() -> Digest {
    digest_of(b"nobody ever pushed this")
}

#[tokio::test]
async fn a_blob_pushed_in_chunks_comes_back_whole_and_in_parts() {
    let served = Served::new().await;
    let begun = served.send(Method::POST, "/v2/a/b/blobs/uploads/", &[], "").await;
    assert_eq!(begun.status, StatusCode::ACCEPTED);
    let location = begun.header("location").to_owned();
    let first = served.send(Method::PATCH, &location, &[("content-range", "0-4")], "01234").await;
    assert_eq!((first.status, first.header("range")), (StatusCode::ACCEPTED, "0-4"));
    // Without a range a chunk goes behind what is there.
    let second = served.send(Method::PATCH, &location, &[], "56").await;
    assert_eq!(second.header("range"), "0-6");
    let status = served.get(&location).await;
    assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-6"));
    let digest = digest_of(b"0123456789");
    let closed = served.send(Method::PUT, &format!("{location}?digest={digest}"), &[], "789").await;
    assert_eq!(closed.status, StatusCode::CREATED);
    assert_eq!(closed.header("docker-content-digest"), digest.to_string());
    assert_eq!(served.get(&location).await.code(), "BLOB_UPLOAD_UNKNOWN");

    let path = closed.header("location").to_owned();
    let whole = served.get(&path).await;
    assert_eq!((whole.status, whole.body.as_ref()), (StatusCode::OK, b"0123456789".as_ref()));
    let head = served.send(Method::HEAD, &path, &[], "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (StatusCode::OK, "10", 0));
    let part = served.send(Method::GET, &path, &[("range", "bytes=3-5")], "").await;
    assert_eq!((part.status, part.body.as_ref()), (StatusCode::PARTIAL_CONTENT, b"345".as_ref()));
    assert_eq!(part.header("content-range"), "bytes 3-5/10");
    let end = served.send(Method::GET, &path, &[("range", "bytes=8-")], "").await;
    assert_eq!(end.body.as_ref(), b"89");
    let behind = served.send(Method::GET, &path, &[("range", "bytes=10-")], "").await;
    assert_eq!(
        (behind.status, behind.header("content-range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */10")
    );
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let served = Served::new().await;
    let digest = served.push_blob("a", b"").await;
    let answer = served.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (StatusCode::OK, "0", 0));
}

#[tokio::test]
async fn a_chunk_out_of_order_is_refused_and_told_where_to_go_on() {
    let served = Served::new().await;
    let begun = served.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    let location = begun.header("location");
    served.send(Method::PATCH, location, &[("content-range", "0-2")], "abc").await;
    for range in ["0-2", "4-6"] {
        let wrong = served.send(Method::PATCH, location, &[("content-range", range)], "def").await;
        assert_eq!((wrong.status, wrong.header("range")), (StatusCode::RANGE_NOT_SATISFIABLE, "0-2"));
        assert_eq!(wrong.header("location"), location);
    }
    let lying = served.send(Method::PATCH, location, &[("content-range", "3-9")], "def").await;
    assert_eq!((lying.status, lying.code().as_str()), (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"));
    let right = served.send(Method::PATCH, location, &[("content-range", "3-5")], "def").await;
    assert_eq!(right.status, StatusCode::ACCEPTED);
    let path = format!("{location}?digest={}", digest_of(b"abcdef"));
    assert_eq!(served.send(Method::PUT, &path, &[], "").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_refused_and_forgotten() {
    let served = Served::new().await;
    let path = format!("/v2/a/blobs/uploads/?digest={}", absent());
    let refused = served.send(Method::POST, &path, &[], "something else").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
    assert_eq!(served.get(&format!("/v2/a/blobs/{}", absent())).await.code(), "BLOB_UNKNOWN");
    let uploads = served.directory.path().join("registry/uploads");
    assert_eq!(std::fs::read_dir(uploads).unwrap().count(), 0);
    let path = format!("/v2/a/manifests/{}", absent());
    let refused = served.send(Method::PUT, &path, &[("content-type", MANIFEST)], "{}").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
}

#[tokio::test]
async fn what_arrived_before_a_connection_broke_stays() {
    let served = Served::new().await;
    let begun = served.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    let location = begun.header("location").to_owned();
    let address = served.address;
    let patch =
        format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{}", "x".repeat(40));
    tokio::task::spawn_blocking(move || {
        TcpStream::connect(address).unwrap().write_all(patch.as_bytes()).unwrap()
    })
    .await
    .unwrap();
    let mut range = String::new();
    for _ in 0..1000 {
        range = served.get(&location).await.header("range").to_owned();
        if range == "0-39" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(range, "0-39");
    let digest = digest_of("x".repeat(50).as_bytes());
    let path = format!("{location}?digest={digest}");
    let closed = served.send(Method::PUT, &path, &[("content-range", "40-49")], "x".repeat(10)).await;
    assert_eq!(closed.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_upload_can_be_given_up() {
    let served = Served::new().await;
    let begun = served.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    let location = begun.header("location");
    served.send(Method::PATCH, location, &[], "abc").await;
    assert_eq!(served.send(Method::DELETE, location, &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(served.send(Method::PATCH, location, &[], "abc").await.code(), "BLOB_UPLOAD_UNKNOWN");
    let other = location.replace("/v2/a/", "/v2/b/");
    assert_eq!(served.get(&other).await.code(), "BLOB_UPLOAD_UNKNOWN");
    let uploads = served.directory.path().join("registry/uploads");
    eventually("the file is gone", || std::fs::read_dir(&uploads).unwrap().count() == 0).await;
}

#[tokio::test]
async fn uploads_that_nobody_goes_on_with_make_room() {
    let served = Served::new().await;
    let first =
        served.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    let mut last = String::new();
    for _ in 0..256 {
        last = served.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.header("location").to_owned();
    }
    assert_eq!(served.get(&first).await.code(), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(served.get(&last).await.status, StatusCode::NO_CONTENT);
    let uploads = served.directory.path().join("registry/uploads");
    assert_eq!(std::fs::read_dir(uploads).unwrap().count(), 256);
}

#[tokio::test]
async fn a_blob_is_mounted_where_the_other_repository_has_it() {
    let served = Served::new().await;
    let digest = served.push_blob("base", b"shared").await;
    let path = format!("/v2/shop/blobs/uploads/?mount={digest}&from=nowhere");
    let opened = served.send(Method::POST, &path, &[], "").await;
    assert_eq!(opened.status, StatusCode::ACCEPTED);
    assert!(opened.header("location").contains("/blobs/uploads/"));
    let path = format!("/v2/shop/blobs/uploads/?mount={digest}&from=base");
    let mounted = served.send(Method::POST, &path, &[], "").await;
    assert_eq!(mounted.status, StatusCode::CREATED);
    assert_eq!(served.get(mounted.header("location")).await.body.as_ref(), b"shared");
}

#[tokio::test]
async fn a_manifest_without_its_parts_is_refused() {
    let served = Served::new().await;
    let blob = |digest: &Digest, size: usize| json!({ "mediaType": "x", "digest": digest, "size": size });
    let here = served.push_blob("a", b"here").await;
    served.push_blob("elsewhere", b"there").await;
    let there = digest_of(b"there");
    for (config, layer) in [(blob(&absent(), 1), blob(&here, 4)), (blob(&here, 4), blob(&there, 5))] {
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        let refused = served.push_manifest("a", "v1", MANIFEST, &manifest).await;
        assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN");
    }
    let wrong_size = json!({ "schemaVersion": 2, "config": blob(&here, 5), "layers": [] });
    assert_eq!(served.push_manifest("a", "v1", MANIFEST, &wrong_size).await.code(), "MANIFEST_INVALID");
    let index = json!({ "schemaVersion": 2, "manifests": [blob(&absent(), 1)] });
    assert_eq!(served.push_manifest("a", "v1", INDEX, &index).await.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(served.get("/v2/a/manifests/v1").await.code(), "MANIFEST_UNKNOWN");

    let child = json!({ "schemaVersion": 2, "config": blob(&here, 4), "layers": [] });
    assert_eq!(served.push_manifest("a", "child", MANIFEST, &child).await.status, StatusCode::CREATED);
    let child = digest_of(child.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [blob(&child, 1)] });
    assert_eq!(served.push_manifest("a", "v1", INDEX, &index).await.status, StatusCode::CREATED);
    let got = served.get("/v2/a/manifests/v1").await;
    assert_eq!((got.header("content-type"), got.body.as_ref()), (INDEX, index.to_string().as_bytes()));
}

#[tokio::test]
async fn a_manifest_of_more_than_four_megabytes_is_refused() {
    let served = Served::new().await;
    let large = vec![b' '; (4 << 20) + 1];
    let refused = served.send(Method::PUT, "/v2/a/manifests/v1", &[("content-type", MANIFEST)], large).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn tags_are_listed_in_order_and_in_pages() {
    let served = Served::new().await;
    assert_eq!(served.get("/v2/a/tags/list").await.code(), "NAME_UNKNOWN");
    let config = served.push_blob("a", b"{}").await;
    let manifest = json!({
        "schemaVersion": 2, "config": { "mediaType": "x", "digest": config, "size": 2 }, "layers": [],
    });
    for tag in ["b", "a", "Z", "c"] {
        assert_eq!(served.push_manifest("a", tag, MANIFEST, &manifest).await.status, StatusCode::CREATED);
    }
    let page = served.get("/v2/a/tags/list?n=2").await;
    assert_eq!(page.body.as_ref(), br#"{"name":"a","tags":["Z","a"]}"#);
    assert_eq!(page.header("link"), "</v2/a/tags/list?n=2&last=a>; rel=\"next\"");
    let page = served.get("/v2/a/tags/list?n=2&last=a").await;
    assert_eq!((page.body.as_ref(), page.header("link")), (br#"{"name":"a","tags":["b","c"]}"#.as_ref(), ""));

    assert_eq!(served.send(Method::DELETE, "/v2/a/manifests/b", &[], "").await.status, StatusCode::ACCEPTED);
    let digest = digest_of(manifest.to_string().as_bytes());
    assert_eq!(served.get(&format!("/v2/a/manifests/{digest}")).await.status, StatusCode::OK);
    let path = format!("/v2/a/manifests/{digest}");
    assert_eq!(served.send(Method::DELETE, &path, &[], "").await.status, StatusCode::ACCEPTED);
    assert_eq!(served.get("/v2/a/manifests/c").await.code(), "MANIFEST_UNKNOWN");
    assert_eq!(served.get("/v2/a/tags/list").await.body.as_ref(), br#"{"name":"a","tags":[]}"#);
}

#[tokio::test]
async fn nothing_leads_out_of_the_directory() {
    let served = Served::new().await;
    for path in
        ["/v2/../x/tags/list", "/v2/a/../../tags/list", "/v2/%2e%2e/tags/list", "/v2/_blobs/tags/list"]
    {
        let answer = served.get(path).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
    }
    let begun = served.send(Method::POST, "/v2/a%2f..%2f..%2fb/blobs/uploads/", &[], "").await;
    assert_eq!(begun.code(), "NAME_INVALID");
    assert_eq!(served.get("/v2/a/blobs/uploads/..%2f..%2fformat").await.code(), "BLOB_UPLOAD_UNKNOWN");
    let post = "/v2/a/blobs/uploads/?mount=sha256:../../../etc/passwd&from=a";
    assert_eq!(served.send(Method::POST, post, &[], "").await.code(), "DIGEST_INVALID");
}

#[tokio::test]
async fn eight_pushes_of_one_blob_at_once_all_succeed() {
    let served = Served::new().await;
    let bytes = vec![7; 3 << 20];
    let pushes = (0..8).map(|_| served.push_blob("a", &bytes));
    let digests = futures::future::join_all(pushes).await;
    let got = served.get(&format!("/v2/a/blobs/{}", digests[0])).await;
    assert!(got.body.as_ref() == bytes.as_slice());
}

#[tokio::test]
async fn a_push_survives_the_process() {
    let served = Served::new().await;
    let digest =
        served.push("shop", &Image::new(Tar::new().file("a", "a").done(), json!({ "Cmd": ["/a"] }))).await;
    // Opened again as after a kill: nothing was closed.
    let again = Registry::open(&served.directory.path().join("registry")).unwrap();
    assert_eq!(again.image("shop", &digest).await.unwrap().command, ["/a"]);
}

#[tokio::test]
async fn an_image_is_read_with_all_that_its_process_needs() {
    let served = Served::new().await;
    let tar = Tar::new().file("a", "a").done();
    let mut image = Image::new(
        tar.clone(),
        json!({
            "Entrypoint": ["/a"], "Cmd": ["-v"], "Env": ["A=1=2", "B=", "broken"], "WorkingDir": "/srv", "User": "7:8",
            "ExposedPorts": { "8080/tcp": {}, "53/udp": {}, "9000": {} },
        }),
    );
    image.layers = vec![(gzip(&tar), "application/vnd.docker.image.rootfs.diff.tar.gzip")];
    let digest = served.push("shop", &image).await;
    let stored = served.registry.image("shop", &digest).await.unwrap();
    assert_eq!((stored.entrypoint, stored.command), (vec!["/a".to_owned()], vec!["-v".to_owned()]));
    assert_eq!(stored.environment, [("A".to_owned(), "1=2".to_owned()), ("B".to_owned(), String::new())]);
    assert_eq!((stored.working_directory.as_str(), stored.user.as_str()), ("/srv", "7:8"));
    assert_eq!(stored.exposed_ports, [8080, 9000]);
    assert_eq!(stored.layers[0].packing, Packing::Gzip);
    assert_eq!(stored.layers[0].diff_id, digest_of(&tar));
}

#[tokio::test]
async fn an_image_that_cannot_run_here_is_refused_in_plain_words() {
    let served = Served::new().await;
    let image = || Image::new(Tar::new().file("a", "a").done(), json!({}));
    let refusal = async |digest: &Digest| served.registry.image("shop", digest).await.unwrap_err();

    assert!(matches!(refusal(&absent()).await, ImageRefusal::Unknown { .. }));

    let mut foreign = image();
    foreign.platform = Platform { os: "linux".to_owned(), architecture: "s390x".to_owned(), variant: None };
    let text = refusal(&served.push("shop", &foreign).await).await.to_string();
    assert!(text.contains("linux/s390x") && text.contains(&Platform::host().to_string()), "{text}");

    let mut packed = image();
    packed.layers[0].1 = "application/vnd.oci.image.layer.v1.tar+lz4";
    let text = refusal(&served.push("shop", &packed).await).await.to_string();
    assert!(text.contains("plain, gzip and zstd"), "{text}");

    let mut short = image();
    short.diff_ids.clear();
    let text = refusal(&served.push("shop", &short).await).await.to_string();
    assert!(text.contains("1 layers and its configuration names 0"), "{text}");

    let digest = served.push("shop", &image()).await;
    let index =
        json!({ "schemaVersion": 2, "manifests": [{ "mediaType": MANIFEST, "digest": digest, "size": 1 }] });
    served.push_manifest("shop", "all", INDEX, &index).await;
    let refused = refusal(&digest_of(index.to_string().as_bytes())).await;
    assert!(matches!(refused, ImageRefusal::Index { count: 1, .. }));

    let config = digest_of(image().configuration().to_string().as_bytes());
    let path = served.directory.path().join("registry/blobs/sha256").join(config.hex());
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(refusal(&digest).await, ImageRefusal::Corrupt { .. }));
    served.send(Method::DELETE, &format!("/v2/shop/blobs/{config}"), &[], "").await;
    assert!(matches!(refusal(&digest).await, ImageRefusal::MissingBlob { .. }));
}

/// Runs skopeo; false when it is not installed, which continuous integration must not be.
fn skopeo(arguments: &[&str]) -> bool {
    match Command::new("skopeo").args(arguments).output() {
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "skopeo {arguments:?}: {error}");
            true
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "skopeo: {error}");
            let mut stderr = std::io::stderr();
            writeln!(stderr, "skipped: skopeo cannot be run ({error})").unwrap();
            false
        }
    }
}

/// Writes `image` as an OCI layout and returns its manifest's digest.
fn layout(directory: &Path, image: &Image) -> Digest {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let keep = |bytes: &[u8], media_type: &str| {
        let digest = digest_of(bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let layers: Vec<_> = image.layers.iter().map(|(bytes, media_type)| keep(bytes, media_type)).collect();
    let config =
        keep(image.configuration().to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }).to_string();
    let index = json!({ "schemaVersion": 2, "manifests": [keep(manifest.as_bytes(), MANIFEST)] });
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    digest_of(manifest.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_pushes_and_pulls() {
    let served = Served::new().await;
    let folder = tempfile::tempdir().unwrap();
    let mut noise = Vec::new();
    std::fs::File::open("/dev/urandom").unwrap().take(6 << 20).read_to_end(&mut noise).unwrap();
    let tar = Tar::new().file_with("noise", 0o644, &noise).done();
    let mut image = Image::new(tar.clone(), json!({ "Cmd": ["/noise"] }));
    image.layers = vec![(gzip(&tar), "application/vnd.oci.image.layer.v1.tar+gzip")];
    let (from, back) = (folder.path().join("from"), folder.path().join("back"));
    let digest = layout(&from, &image);

    let there = format!("docker://{}/shop/checkout:v1", served.address);
    let copy = |from: &str, to: &str| {
        let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        skopeo(&["--insecure-policy", "copy", plain[0], plain[1], "--preserve-digests", from, to])
    };
    let done = tokio::task::block_in_place(|| {
        copy(&format!("oci:{}", from.display()), &there)
            // A second push finds everything there; another repository is offered a mount.
            && copy(&format!("oci:{}", from.display()), &there)
            && copy(&there, &format!("docker://{}/other:v2", served.address))
            && copy(&there, &format!("oci:{}", back.display()))
    });
    if !done {
        return;
    }
    assert_eq!(served.registry.image("shop/checkout", &digest).await.unwrap().command, ["/noise"]);
    assert_eq!(served.registry.image("other", &digest).await.unwrap().digest, digest);
    for entry in std::fs::read_dir(from.join("blobs/sha256")).unwrap() {
        let name = entry.unwrap().file_name();
        let (ours, theirs) = (from.join("blobs/sha256").join(&name), back.join("blobs/sha256").join(&name));
        assert!(std::fs::read(ours).unwrap() == std::fs::read(theirs).unwrap(), "{name:?}");
    }
    tokio::task::block_in_place(|| skopeo(&["inspect", "--tls-verify=false", &there]));
    tokio::task::block_in_place(|| skopeo(&["delete", "--tls-verify=false", &there]));
    assert_eq!(served.get("/v2/shop/checkout/manifests/v1").await.code(), "MANIFEST_UNKNOWN");
}
