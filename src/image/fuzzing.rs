//! Doors to this module's parsers, for fuzzing. Each takes any bytes and fails by panicking.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::OnceLock;

use bytes::Bytes;
use longshore_contract::{Digest, Platform};

use super::document::{self, Descriptor, Listed, MOST_LAYERS, MOST_MANIFESTS};
use super::error::ImageError;
use super::media::LayerKind;
use super::mirrors::Mirrors;
use super::tree::{self, Store};
use super::{
    Content, Context, Image, ImageSource, Kind, World, digest_of, engine, media, registry, tar_index,
};

/// A manifest or an index, and how it is pointed to.
pub(crate) fn manifest(bytes: &[u8]) {
    for described in [None, Some(media::OCI_INDEX), Some(media::OCI_MANIFEST), Some("text/plain")] {
        match document::read_manifest(bytes, described) {
            Ok((media_type, Listed::Parts(parts))) => {
                assert!(parts.layers.len() <= MOST_LAYERS && media_type.starts_with("application/vnd."));
                parts.is_attestation();
                for layer in &parts.layers {
                    LayerKind::of(layer.media_type.as_deref().unwrap_or_default());
                }
            }
            Ok((media_type, Listed::Manifests(manifests))) => {
                assert!(manifests.len() <= MOST_MANIFESTS && media_type.starts_with("application/vnd."));
                for entry in &manifests {
                    entry.is_attestation();
                    entry.platform.as_ref().map(document::DescribedPlatform::read);
                }
            }
            Err(why) => assert!(!why.is_empty()),
        }
    }
}

/// An image's configuration.
pub(crate) fn config(bytes: &[u8]) {
    if let Err(why) = document::read_config(bytes) {
        assert!(!why.is_empty());
    }
}

/// The headers of a tar: what is found lies within it. Their checksums are made good first: no fuzzer finds one.
pub(crate) fn tar(bytes: &[u8]) {
    let Ok(index) = tar_index::read(&file_of(&with_checksums(bytes))) else { return };
    let inside = |name: &str| !name.starts_with('/') && !name.split('/').any(|part| part == "..");
    for (name, entry) in &index.files {
        let end = entry.offset.checked_add(entry.size).expect("an end");
        assert!(end <= bytes.len() as u64 && inside(name));
    }
    assert!(index.links.iter().all(|(name, target)| inside(name) && inside(target)));
}

fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
    bytes
}

fn file_of(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    file
}

/// An archive, plain or gzip, as the command line opens one: of a layout, and of docker.
pub(crate) fn archive(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&with_checksums(bytes)).expect("room for it");
    let path = || file.path().to_owned();
    for source in [
        ImageSource::Archive { file: path() },
        ImageSource::DockerArchive { file: path(), name: None },
        ImageSource::DockerArchive { file: path(), name: Some("greeting:1".parse().expect("a name")) },
    ] {
        let context = Context { directory: "/".into(), platform: None, world: world() };
        match super::open(&source, &context) {
            Ok(image) => whole(&image),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

fn world() -> World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::default).clone()
}

/// A layout of several documents. A reader of digests does not get far with random ones, so here the input is `index.json`
/// and the blobs, a NUL byte between them, and `@1` in one stands for `"sha256:…","size":…` of the blob with that number,
/// counted from `index.json`, which is 0. What is pointed to comes later, as a digest cannot be known before its bytes.
pub(crate) fn layout(bytes: &[u8]) {
    if let Some(image) = image(bytes) {
        whole(&image);
    }
}

/// The image of such a layout.
pub(crate) fn image(bytes: &[u8]) -> Option<Image> {
    let texts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).take(10).collect();
    let mut pointers: Vec<(String, String)> = Vec::new();
    let mut blobs = HashMap::new();
    let mut index = Bytes::new();
    for (number, text) in texts.iter().enumerate().rev() {
        let mut text = String::from_utf8_lossy(text).into_owned();
        for (pointer, value) in &pointers {
            text = text.replace(pointer, value);
        }
        let (digest, size) = (digest_of(text.as_bytes()), text.len());
        pointers.push((format!("@{number}"), format!("\"{digest}\",\"size\":{size}")));
        index = Bytes::from(text);
        blobs.insert(digest, index.clone());
    }
    match tree::read(&Memory { index, blobs }, None) {
        Ok(image) => Some(image),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

struct Memory {
    index: Bytes,
    blobs: HashMap<Digest, Bytes>,
}

impl Store for Memory {
    fn name(&self) -> &str {
        "oci:memory"
    }

    fn file(&self, path: &str, _: u64) -> Result<Option<Bytes>, ImageError> {
        Ok(match path {
            "index.json" => Some(self.index.clone()),
            "oci-layout" => Some(Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#)),
            _ => None,
        })
    }

    fn blob(&self, entry: &Descriptor) -> Result<Option<Content>, ImageError> {
        Ok(self.blobs.get(&entry.digest).cloned().map(Content::Bytes))
    }
}

/// What an image that was accepted can be relied on for: its digest is its bytes', and everything it lists can be read.
fn whole(image: &Image) {
    assert_eq!(digest_of(&image.manifest), image.digest);
    image.size();
    match &image.kind {
        Kind::Manifest(parts) => {
            for blob in parts.layers.iter().chain([&parts.config]) {
                let mut reader = blob.content.open(blob.size).expect("it was found");
                std::io::copy(&mut reader, &mut std::io::sink()).expect("its bytes are there");
            }
        }
        Kind::Index(children) => children.iter().filter_map(|child| child.image.as_ref()).for_each(whole),
    }
    let platform: Platform = "linux/amd64".parse().expect("a platform");
    if let Ok(picked) = image.clone().pick(&platform) {
        assert_eq!(picked.source_digest, image.source_digest);
    }
}

/// Where an image comes from, as somebody writes it.
pub(crate) fn source(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<ImageSource>() {
        Ok(source) => assert_eq!(source.to_string().parse::<ImageSource>().as_ref(), Ok(&source)),
        Err(error) => assert!(error.to_string().chars().count() < 2000),
    }
}

/// The list of mirrors in the environment.
pub(crate) fn mirrors(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Mirrors>() {
        Ok(mirrors) => {
            mirrors.of(&"docker.io/library/a".parse().expect("a repository"));
        }
        Err(why) => assert!(why.chars().count() < 2000),
    }
}

/// What a container engine answers.
pub(crate) fn engine_answer(bytes: &[u8]) {
    let said = engine::said(bytes);
    assert!(said.chars().count() < 2000 && !said.chars().any(char::is_control));
    let _ = serde_json::from_slice::<engine::Inspected>(bytes);
}

/// What a registry says of its limits.
pub(crate) fn pull_limit(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        registry::counted(text);
    }
}
