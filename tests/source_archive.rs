//! Docker archives as `docker save`, `podman save` and builders write them, old and new, honest and not.

mod push_support;

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use longshore::image::{Image, ImageError, ImageErrorKind, Kind, Manifest, Origin, digest_of};
use push_support::open_source;
use serde_json::{Value, json};
use tar::{EntryType, Header};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A docker archive in the making.
struct Saved {
    directory: tempfile::TempDir,
    builder: tar::Builder<Vec<u8>>,
}

impl Saved {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), builder: tar::Builder::new(Vec::new()) }
    }

    fn file(&mut self, name: &str, bytes: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        self.builder.append_data(&mut header, name, bytes).unwrap();
    }

    fn link(&mut self, name: &str, target: &str) {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        self.builder.append_link(&mut header, name, target).unwrap();
    }

    /// The configuration of an image with these plain layers, under the name docker gives it; the name is the answer.
    fn config(&mut self, layers: &[&[u8]]) -> String {
        let diff_ids: Vec<_> = layers.iter().map(|layer| digest_of(layer)).collect();
        let config = json!({"os": "linux", "architecture": "amd64", "config": {"Cmd": ["/app"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let bytes = serde_json::to_vec(&config).unwrap();
        let name = format!("{}.json", digest_of(&bytes).hex());
        self.file(&name, &bytes);
        name
    }

    fn manifest(&mut self, images: &Value) {
        self.file("manifest.json", &serde_json::to_vec(images).unwrap());
    }

    fn write(&mut self, bytes: &[u8]) -> String {
        let file = self.directory.path().join("image.tar");
        std::fs::write(&file, bytes).unwrap();
        format!("docker-archive:{}", file.display())
    }

    /// Writes the tar and answers with it as a source.
    fn source(&mut self) -> String {
        let builder = std::mem::replace(&mut self.builder, tar::Builder::new(Vec::new()));
        let bytes = builder.into_inner().unwrap();
        self.write(&bytes)
    }
}

fn open(source: &str) -> Result<Image, ImageError> {
    open_source(&source.parse().unwrap())
}

fn parts(image: &Image) -> &Manifest {
    match &image.kind {
        Kind::Manifest(parts) => parts,
        Kind::Index(_) => panic!("it is one image"),
    }
}

fn read(image: &Image, layer: usize) -> Vec<u8> {
    let layer = &parts(image).layers[layer];
    let mut bytes = Vec::new();
    layer.content.open(layer.size).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// As docker before 25 writes it: a folder a layer, `manifest.json` last.
fn before_25() -> Saved {
    let mut saved = Saved::new();
    saved.file("0a/VERSION", b"1.0");
    saved.file("0a/layer.tar", b"upper");
    saved.file("0b/layer.tar", b"lower");
    let config = saved.config(&[b"lower", b"upper"]);
    saved.manifest(&json!([
        {"Config": config, "RepoTags": ["shop/app:1", "shop/app:2"], "Layers": ["0b/layer.tar", "0a/layer.tar"]}
    ]));
    saved.file("repositories", b"{}");
    saved
}

#[test]
fn an_archive_of_an_old_docker_is_read_and_its_manifest_is_the_same_every_time() {
    let mut saved = before_25();
    let source = saved.source();
    let image = open(&source).unwrap();
    assert_eq!((image.media_type.as_str(), image.origin), (DOCKER_MANIFEST, Origin::Here));
    assert_eq!((read(&image, 0), read(&image, 1)), (b"lower".to_vec(), b"upper".to_vec()));
    let types: Vec<&str> = parts(&image).layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, ["application/vnd.docker.image.rootfs.diff.tar"; 2]);
    assert_eq!(parts(&image).layers[0].digest, digest_of(b"lower"));
    let written: Value = serde_json::from_slice(&image.manifest).unwrap();
    assert_eq!(written["layers"][1]["digest"], digest_of(b"upper").as_str());
    assert_eq!(image.digest, digest_of(&image.manifest));
    assert_eq!(open(&before_25().source()).unwrap().digest, image.digest);
}

#[test]
fn an_image_is_found_by_any_of_its_names_and_by_its_id() {
    let mut saved = Saved::new();
    let (one, two) = (saved.config(&[b"one"]), saved.config(&[b"two"]));
    saved.file("1.tar", b"one");
    saved.file("2.tar", b"two");
    saved.manifest(&json!([
        {"Config": one, "RepoTags": ["docker.io/library/app:latest", "localhost/ann/app:1"], "Layers": ["1.tar"]},
        {"Config": two, "RepoTags": null, "Layers": ["./2.tar"]},
    ]));
    let source = saved.source();
    for name in ["app", "app:latest", "ann/app:1", &format!("sha256:{}", &one[..20])] {
        assert_eq!(read(&open(&format!("{source}:{name}")).unwrap(), 0), b"one", "{name}");
    }
    assert_eq!(read(&open(&format!("{source}:sha256:{}", &two[..64])).unwrap(), 0), b"two");
    let error = open(&source).unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Tag);
    assert!(
        error.message.contains("2 images and none is named (names: docker.io/library/app:latest,"),
        "{error}"
    );
    let error = open(&format!("{source}:other")).unwrap_err();
    assert!(error.message.contains("no image is called \"other\""), "{error}");
}

#[test]
fn podmans_links_lead_to_the_layers() {
    let mut saved = Saved::new();
    saved.file("abc.tar", b"layer");
    saved.link("id/layer.tar", "../abc.tar");
    let config = saved.config(&[b"layer"]);
    saved.manifest(&json!([{"Config": config, "RepoTags": [], "Layers": ["id/layer.tar"]}]));
    assert_eq!(read(&open(&saved.source()).unwrap(), 0), b"layer");
}

#[test]
fn links_that_lead_in_a_circle_or_outside_lead_nowhere() {
    for (name, target) in [("a", "a"), ("a", "../../etc/passwd"), ("a", "/etc/passwd")] {
        let mut saved = Saved::new();
        saved.link(name, target);
        let config = saved.config(&[b"layer"]);
        saved.manifest(&json!([{"Config": config, "Layers": ["a"]}]));
        let error = open(&saved.source()).unwrap_err();
        assert_eq!(error.kind, ImageErrorKind::Missing, "{error}");
    }
}

#[test]
fn packed_layers_stay_as_they_are_and_get_the_digest_of_their_bytes() {
    let mut saved = Saved::new();
    let packed = gzip(b"layer");
    saved.file("l.tar.gz", &packed);
    let config = saved.config(&[b"layer"]);
    saved.manifest(&json!([{"Config": config, "Layers": ["l.tar.gz"]}]));
    let image = open(&saved.source()).unwrap();
    let layer = &parts(&image).layers[0];
    assert_eq!(layer.media_type, "application/vnd.docker.image.rootfs.diff.tar.gzip");
    assert_eq!((&layer.digest, read(&image, 0)), (&digest_of(&packed), packed.clone()));
}

#[test]
fn a_packed_layer_that_holds_something_else_is_refused() {
    let mut saved = Saved::new();
    saved.file("l.tar.gz", &gzip(b"another"));
    let config = saved.config(&[b"layer"]);
    saved.manifest(&json!([{"Config": config, "Layers": ["l.tar.gz"]}]));
    let error = open(&saved.source()).unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Corrupt);
    assert!(error.message.contains(&format!("the configuration says {}", digest_of(b"layer"))), "{error}");
}

#[test]
fn a_packed_archive_is_spooled_and_reads_the_same() {
    let mut saved = before_25();
    let plain = open(&saved.source()).unwrap();
    let (digest, upper) = (plain.digest.clone(), read(&plain, 1));
    let file = saved.directory.path().join("image.tar");
    let packed = gzip(&std::fs::read(&file).unwrap());
    let source = saved.write(&packed);
    let spooled = open(&source).unwrap();
    assert_eq!((&spooled.digest, read(&spooled, 1)), (&digest, upper));
}

#[test]
fn what_does_not_hold_together_is_refused_with_its_reason() {
    let with = |images: fn(&str) -> Value| {
        let mut saved = Saved::new();
        saved.file("l.tar", b"layer");
        let config = saved.config(&[b"layer"]);
        saved.manifest(&images(&config));
        open(&saved.source()).unwrap_err()
    };
    for (images, kind, text) in [
        ((|_| json!([])) as fn(&str) -> Value, ImageErrorKind::Tag, "holds no image"),
        (
            |config| json!([{"Config": config, "Layers": []}]),
            ImageErrorKind::Corrupt,
            "lists 0 layers, and its configuration 1",
        ),
        (
            |config| json!([{"Config": config, "Layers": ["gone.tar"]}]),
            ImageErrorKind::Missing,
            "the layer \"gone.tar\" is not there",
        ),
        (
            |config| json!([{"Config": config, "Layers": ["../l.tar"]}]),
            ImageErrorKind::Corrupt,
            "is no path in the archive",
        ),
        (
            |_| json!([{"Config": "gone.json", "Layers": []}]),
            ImageErrorKind::Missing,
            "\"gone.json\" is not there",
        ),
        (|_| json!({"Config": 1}), ImageErrorKind::Corrupt, "manifest.json: "),
        (
            |config| json!([{"Config": config, "Layers": vec!["l.tar"; 100_000]}]),
            ImageErrorKind::Limit,
            "100000 layers are more",
        ),
    ] {
        let error = with(images);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
}

#[test]
fn a_configuration_that_does_not_have_its_name_for_a_digest_is_refused() {
    let mut saved = Saved::new();
    let name = format!("{}.json", digest_of(b"something else").hex());
    saved.file(&name, br#"{"os": "linux", "architecture": "amd64"}"#);
    saved.manifest(&json!([{"Config": name, "Layers": []}]));
    let error = open(&saved.source()).unwrap_err();
    assert!(error.message.contains("is damaged: its bytes have the digest"), "{error}");
}

#[test]
fn what_is_no_docker_archive_is_told_what_it_is() {
    let mut saved = Saved::new();
    saved.file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#);
    let error = open(&saved.source()).unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("it is an OCI image layout: use oci-archive:FILE"));
    let mut saved = Saved::new();
    saved.file("repositories", b"{}");
    assert!(open(&saved.source()).unwrap_err().hint.unwrap().contains("older than 1.10"));
}

#[test]
fn a_bomb_of_an_archive_is_stopped_early() {
    // A tar of one file of zeros, 3 GiB in 3 MiB, that would be spooled until the disk is full.
    let mut header = Header::new_gnu();
    header.set_path("blobs/zeros").unwrap();
    header.set_size(3 << 30);
    header.set_cksum();
    let zeros = gzip(&vec![0; 32 << 20]);
    let bomb = [gzip(header.as_bytes()), zeros.repeat(96)].concat();
    let mut saved = Saved::new();
    let error = open(&saved.write(&bomb)).unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Limit);
    assert!(error.message.contains("bytes of gzip inflate to more than"), "{error}");
}

/// As docker since 25 writes it: an OCI layout and a `manifest.json` in one.
fn since_25(layer: &[u8], media_type: &str) -> (Saved, String) {
    let mut saved = Saved::new();
    let config = json!({"os": "linux", "architecture": "amd64", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(b"layer")]}});
    let config = serde_json::to_vec(&config).unwrap();
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", digest_of(bytes).hex());
    let described = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": digest_of(bytes), "size": bytes.len()});
    let manifest = serde_json::to_vec_pretty(&json!({
        "schemaVersion": 2,
        "mediaType": push_support::layout::MANIFEST,
        "config": described(push_support::layout::CONFIG, &config),
        "layers": [described(media_type, layer)],
    }))
    .unwrap();
    let mut entry = described(push_support::layout::MANIFEST, &manifest);
    entry["annotations"] =
        json!({"io.containerd.image.name": "docker.io/shop/app:1", "org.opencontainers.image.ref.name": "1"});
    for bytes in [&config[..], layer, &manifest] {
        saved.file(&path(bytes), bytes);
    }
    saved
        .file("index.json", &serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]})).unwrap());
    saved.file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#);
    saved.manifest(&json!([{"Config": path(&config), "RepoTags": ["shop/app:1"], "Layers": [path(layer)]}]));
    (saved, digest_of(&manifest).to_string())
}

#[test]
fn a_manifest_that_the_engine_keeps_is_taken_verbatim() {
    let (mut saved, digest) = since_25(&gzip(b"layer"), push_support::layout::LAYER);
    let source = saved.source();
    for source in [source.clone(), format!("{source}:shop/app:1")] {
        let image = open(&source).unwrap();
        assert_eq!((image.digest.as_str(), image.origin), (digest.as_str(), Origin::Source));
    }
}

#[test]
fn a_manifest_that_was_made_for_the_archive_is_not() {
    let (mut saved, digest) = since_25(b"layer", "application/vnd.oci.image.layer.v1.tar");
    let image = open(&format!("{}:shop/app:1", saved.source())).unwrap();
    assert_eq!((image.origin, image.media_type.as_str()), (Origin::Here, DOCKER_MANIFEST));
    assert_ne!(image.digest.as_str(), digest);
    assert_eq!(read(&image, 0), b"layer");
}
