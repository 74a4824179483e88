//! Images that are made to hurt, through the real binary: each ends soon, in little memory, with an error that says what
//! was refused.

mod push_support;
mod support;

#[path = "hostile/bombs.rs"]
mod bombs;
#[path = "hostile/endless.rs"]
mod endless;
#[path = "hostile/measured.rs"]
mod measured;

use std::fs::File;
use std::io::Write as _;

use longshore::image::digest_of;
use measured::refused;
use push_support::double::Double;
use push_support::layout::{CONFIG, INDEX, LAYER, Layout, MANIFEST};
use serde_json::{Value, json};
use support::Scratch;

/// A manifest for `linux/amd64` with these layers, listed in a layout.
fn listed(layout: &mut Layout, layers: &[Value]) {
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    let config =
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = layout.blob(CONFIG, &serde_json::to_vec(&config).unwrap());
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    let manifest = layout.blob(MANIFEST, &serde_json::to_vec(&manifest).unwrap());
    layout.list(manifest, None);
}

async fn layout_is_refused(layout: &Layout, words: &[&str]) {
    let registry = Double::honest().await;
    refused(&format!("oci:{}", layout.path().display()), &registry.reference("a:v1"), &[], words);
    assert_eq!(registry.count("PUT", "/manifests/"), 0, "something was published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_layers() {
    let mut layout = Layout::new();
    let layer = layout.blob(LAYER, b"layer");
    listed(&mut layout, &vec![layer; 100_000]);
    layout_is_refused(&layout, &["bytes are more than the 4194304"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_layers_than_anybody_has_in_a_manifest_that_is_small_enough() {
    let mut layout = Layout::new();
    let layer = layout.blob(LAYER, b"layer");
    listed(&mut layout, &vec![layer; 20_000]);
    layout_is_refused(&layout, &["20000 layers are more than the"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_archive_of_a_hundred_thousand_layers() {
    let scratch = Scratch::empty();
    let path = scratch.path().join("many.tar");
    let config =
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}});
    let saved = json!([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": vec!["l.tar"; 100_000]}]);
    bombs::tar(
        &path,
        &[
            ("c.json", &serde_json::to_vec(&config).unwrap()),
            ("l.tar", &[0; 1024]),
            ("manifest.json", &serde_json::to_vec(&saved).unwrap()),
        ],
    );
    let registry = Double::honest().await;
    let source = format!("docker-archive:{}", path.display());
    refused(&source, &registry.reference("a:v1"), &[], &["100000 layers are more than the"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_a_gibibyte() {
    let mut layout = Layout::new();
    let digest = digest_of(b"whatever").to_string();
    File::create(layout.blob_path(&digest)).unwrap().set_len(1 << 30).unwrap();
    layout.list(json!({"mediaType": MANIFEST, "digest": digest, "size": 1 << 30}), None);
    layout_is_refused(&layout, &["1073741824 bytes are more than the 4194304"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_a_gibibyte_that_says_it_is_small() {
    let mut layout = Layout::new();
    let digest = digest_of(b"whatever").to_string();
    File::create(layout.blob_path(&digest)).unwrap().set_len(1 << 30).unwrap();
    layout.list(json!({"mediaType": MANIFEST, "digest": digest, "size": 100}), None);
    layout_is_refused(&layout, &["1073741824 bytes where 100 are expected"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_json_of_a_gibibyte() {
    let layout = Layout::new();
    File::create(layout.path().join("index.json")).unwrap().set_len(1 << 30).unwrap();
    layout_is_refused(&layout, &["index.json", "more than the 4194304"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_json_of_a_gibibyte_in_a_tar() {
    let scratch = Scratch::empty();
    let path = scratch.path().join("large.tar");
    bombs::sparse_tar(&path, "manifest.json", 1 << 30);
    let registry = Double::honest().await;
    let source = format!("docker-archive:{}", path.display());
    refused(
        &source,
        &registry.reference("a:v1"),
        &[],
        &["manifest.json", "1073741824 bytes are more than the"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_lies() {
    for stated in [3, 5_000_000_000_u64] {
        let mut layout = Layout::new();
        let mut layer = layout.blob(LAYER, b"layer");
        layer["size"] = json!(stated);
        listed(&mut layout, &[layer]);
        layout_is_refused(&layout, &["it has 5 bytes where", &stated.to_string()]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_of_a_manifest_that_lies() {
    let mut layout = Layout::with_layers(&[b"layer"]);
    let other = digest_of(b"other").to_string();
    std::fs::write(layout.blob_path(&other), b"{\"schemaVersion\": 2}").unwrap();
    layout = {
        let mut lying = Layout::new();
        std::fs::write(lying.blob_path(&other), b"{\"schemaVersion\": 2}").unwrap();
        lying.list(json!({"mediaType": MANIFEST, "digest": other, "size": 20}), None);
        lying
    };
    layout_is_refused(&layout, &[&other, "is damaged: its bytes have the digest"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_of_a_layer_that_lies() {
    let layout = Layout::with_layers(&[b"layer"]);
    let digest = digest_of(b"layer").to_string();
    std::fs::write(layout.blob_path(&digest), b"other").unwrap();
    let registry = Double::honest().await;
    let source = format!("oci:{}", layout.path().display());
    refused(&source, &registry.reference("a:v1"), &[], &[&digest]);
    refused(&source, &registry.reference("a:v1"), &["--verify"], &[&digest, "damaged"]);
    assert_eq!(registry.count("PUT", "/manifests/"), 0, "something was published");
    assert!(!registry.holds(&digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_lists_itself() {
    // No honest digest can do that, so the lie is the digest: the file that it names is the index which names it.
    let mut layout = Layout::new();
    let digest = digest_of(b"round and round").to_string();
    let index = |size: usize| {
        let entry = json!({"mediaType": INDEX, "digest": digest, "size": size});
        serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})).unwrap()
    };
    let size = index(100).len();
    std::fs::write(layout.blob_path(&digest), index(size)).unwrap();
    layout.list(json!({"mediaType": INDEX, "digest": digest, "size": size}), None);
    layout_is_refused(&layout, &[&digest, "is damaged"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_in_indexes_in_indexes() {
    let mut layout = Layout::new();
    let mut inner = layout.image("linux", "amd64", &[b"layer"]);
    for _ in 0..100 {
        inner = layout.index(&[inner]);
    }
    layout.list(inner, None);
    layout_is_refused(&layout, &["indexes in each other"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_indexes_that_list_each_other_a_billion_times() {
    let mut layout = Layout::new();
    let mut inner = layout.image("linux", "amd64", &[b"layer"]);
    for _ in 0..3 {
        inner = layout.index(&vec![inner; 1000]);
    }
    layout.list(inner, None);
    layout_is_refused(&layout, &["its manifests have", "bytes together, more than"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_as_deep_as_a_well() {
    let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let mut layout = Layout::new();
    layout.write("index.json", deep.as_bytes());
    layout_is_refused(&layout, &["index.json"]).await;

    let mut layout = Layout::new();
    let config = format!(r#"{{"os": "linux", "architecture": "amd64", "config": {deep}}}"#);
    let config = layout.blob(CONFIG, config.as_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []});
    let manifest = layout.blob(MANIFEST, &serde_json::to_vec(&manifest).unwrap());
    layout.list(manifest, None);
    layout_is_refused(&layout, &["config sha256:"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_gibibytes_of_zeros_in_ten_mebibytes_of_an_archive() {
    let scratch = Scratch::empty();
    let path = scratch.path().join("bomb.tar.gz");
    let length = bombs::gzip_of_tar(&path, "blobs/sha256/zeros", 10 << 30);
    assert!((5 << 20..20 << 20).contains(&length), "{length} bytes");
    let registry = Double::honest().await;
    for scheme in ["oci-archive", "docker-archive"] {
        let source = format!("{scheme}:{}", path.display());
        refused(&source, &registry.reference("a:v1"), &[], &["inflate"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_gibibytes_of_zeros_in_a_layer_that_has_to_be_looked_into() {
    let scratch = Scratch::empty();
    let layer = scratch.path().join("bomb.gz");
    bombs::gzip_of_tar(&layer, "zeros", 10 << 30);
    let layer = std::fs::read(&layer).unwrap();
    let diff_id = digest_of(b"nobody gets so far").to_string();
    let config =
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
    let saved = json!([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l.tar"]}]);
    let path = scratch.path().join("bomb.tar");
    let documents = [serde_json::to_vec(&config).unwrap(), serde_json::to_vec(&saved).unwrap()];
    bombs::tar(&path, &[("c.json", &documents[0]), ("l.tar", &layer), ("manifest.json", &documents[1])]);
    drop(layer);
    let registry = Double::honest().await;
    let source = format!("docker-archive:{}", path.display());
    refused(&source, &registry.reference("a:v1"), &[], &["l.tar", "inflate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_gibibytes_of_zeros_in_a_layer_that_has_to_be_compressed_anew() {
    const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    let mut layout = Layout::new();
    let layer = layout.blob(ZSTD, &bombs::zstd(10 << 30));
    listed(&mut layout, std::slice::from_ref(&layer));
    let registry = Double::honest().await;
    let source = format!("oci:{}", layout.path().display());
    let digest = layer["digest"].as_str().unwrap();
    refused(&source, &registry.reference("a:v1"), &["--profile", "docker"], &[digest]);
    assert_eq!(registry.count("POST", "/blobs/"), 0, "something was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_an_archive_lead_nowhere_outside_and_not_in_circles() {
    let scratch = Scratch::empty();
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest_of(b"")]}});
    let config = serde_json::to_vec(&config).unwrap();
    for (layer, target) in [
        ("l", "/etc/passwd"),
        ("l", "../../../../etc/passwd"),
        ("l", "l"),
        ("l", "m"),
        ("/etc/passwd", ""),
        ("../x", ""),
    ] {
        let path = scratch.path().join("links.tar");
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        let mut file = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes).unwrap();
        };
        file("c.json", &config);
        let saved = json!([{"Config": "c.json", "Layers": [layer]}]);
        file("manifest.json", &serde_json::to_vec(&saved).unwrap());
        for (name, target) in [("l", target), ("m", "l")] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_path(name).unwrap();
            header.set_cksum();
            builder.append(&header, &b""[..]).unwrap();
        }
        builder.into_inner().unwrap().flush().unwrap();
        let registry = Double::honest().await;
        let source = format!("docker-archive:{}", path.display());
        refused(&source, &registry.reference("a:v1"), &[], &[layer]);
        assert_eq!(registry.count("POST", "/blobs/"), 0, "{layer} -> {target}: something was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_whose_manifest_never_ends() {
    let source = endless::Registry::start(endless::Lie::ManifestWithoutEnd);
    let registry = Double::honest().await;
    refused(&source.reference("a:v1"), &registry.reference("a:v1"), &[], &["manifest", "more than"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_whose_manifest_says_that_it_is_a_gibibyte() {
    let source = endless::Registry::start(endless::Lie::ManifestOfAGibibyte);
    let registry = Double::honest().await;
    refused(&source.reference("a:v1"), &registry.reference("a:v1"), &[], &["manifest", "more than"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_gives_another_manifest_than_was_asked_for() {
    let source = endless::Registry::start(endless::Lie::AnotherManifest);
    let registry = Double::honest().await;
    let digest = digest_of(b"the one that is meant");
    refused(&source.reference(&format!("a@{digest}")), &registry.reference("a:v1"), &[], &["digest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_whose_layer_is_longer_than_it_says() {
    let source = endless::Registry::start(endless::Lie::LayerWithoutEnd);
    let registry = Double::honest().await;
    refused(&source.reference("a:v1"), &registry.reference("a:v1"), &[], &["more bytes"]);
    assert_eq!(registry.count("PUT", "/manifests/"), 0, "something was published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_whose_layer_is_another_one() {
    let source = endless::Registry::start(endless::Lie::AnotherLayer);
    let registry = Double::honest().await;
    refused(&source.reference("a:v1"), &registry.reference("a:v1"), &[], &["digest"]);
    assert_eq!(registry.count("PUT", "/manifests/"), 0, "something was published");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_in_a_gibibyte_of_words() {
    let source = endless::Registry::start(endless::Lie::RefusalWithoutEnd);
    let registry = Double::honest().await;
    refused(&source.reference("a:v1"), &registry.reference("a:v1"), &[], &["403"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_sends_us_in_circles() {
    let source = endless::Registry::start(endless::Lie::RedirectToItself);
    let registry = Double::honest().await;
    let message = measured::failed(&source.reference("a:v1"), &registry.reference("a:v1"), &[]);
    assert!(message.contains("redirect") || message.contains("307"), "{message}");
}
