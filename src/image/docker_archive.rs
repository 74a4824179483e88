//! A tar as `docker save` and `podman save` write it: `manifest.json` says which images are in it and what they consist of.
//!
//! Docker since 25 also writes an OCI layout into the same tar; then its `index.json` is believed first, because it holds
//! manifests, which `manifest.json` does not. Where there is none the manifest is made here, the same for the same parts.

use std::io::{self, Read as _};

use bytes::Bytes;
use longshore_contract::{Compression, Digest, Format};
use serde::Deserialize;
use serde_json::json;

use super::archive::{Archive, of_reading};
use super::digest::Hashing;
use super::document::{self, Descriptor, Listed, MOST_LAYERS, REFERENCE_NAME};
use super::error::{ImageError, ImageErrorKind};
use super::inflate::gunzip;
use super::media::{compression_by, config_in, layer_in, manifest_in};
use super::source::StoredName;
use super::tree::{self, DOCUMENT_LIMIT, Store as _};
use super::{Blob, Content, Hasher, Image, Kind, Manifest, Origin, digest_of};

/// What containerd calls an image in an index.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// One image of a `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Reads the image that `name` means in `archive`, or the only one there.
pub(super) fn read(archive: &Archive, name: Option<&StoredName>) -> Result<Image, ImageError> {
    let by_index = by_index(archive, name)?;
    if let Some(image) = by_index.as_ref().filter(|image| !is_made_by_saving(image)) {
        return Ok(image.clone());
    }
    let text = match (archive.file("manifest.json", DOCUMENT_LIMIT)?, by_index) {
        (Some(text), _) => text,
        (None, Some(image)) => return Ok(image),
        (None, None) => return Err(no_archive(archive)),
    };
    let saved: Vec<Saved> =
        serde_json::from_slice(&text).map_err(|error| corrupt(archive, format!("manifest.json: {error}")))?;
    image(archive, choose(archive, saved, name)?)
}

/// The image that `name` means in the archive's OCI layout, where there is one.
fn by_index(archive: &Archive, name: Option<&StoredName>) -> Result<Option<Image>, ImageError> {
    if !archive.holds("oci-layout") {
        return Ok(None);
    }
    let Some(index) = archive.file("index.json", DOCUMENT_LIMIT)? else { return Ok(None) };
    let entry = entry_of(archive, &index, name)?;
    entry.map(|entry| tree::read_at(archive, &entry)).transpose()
}

/// Whether the manifest came into being when the image was saved: its layers are plain, as docker's own store keeps them and
/// no registry does. Then it says no more than `manifest.json`, and another docker would have written another.
fn is_made_by_saving(image: &Image) -> bool {
    match &image.kind {
        Kind::Manifest(manifest) => {
            manifest.facts.is_some() && manifest.layers.iter().all(|layer| layer.media_type.ends_with(".tar"))
        }
        Kind::Index(_) => false,
    }
}

/// The entry of `index.json` that `name` means; `None` where it names none or several, and `manifest.json` may know better.
fn entry_of(
    archive: &Archive,
    index: &[u8],
    name: Option<&StoredName>,
) -> Result<Option<Descriptor>, ImageError> {
    let (_, listed) = document::read_manifest(index, None)
        .map_err(|problem| corrupt(archive, format!("index.json: {problem}")))?;
    let Listed::Manifests(entries) = listed else {
        return Err(corrupt(archive, "index.json: it lists no manifests".to_owned()));
    };
    let fits = |entry: &Descriptor| {
        let names = [CONTAINERD_NAME, REFERENCE_NAME].into_iter().filter_map(|key| entry.annotation(key));
        name.is_none_or(|name| name.fits(entry.digest.hex(), names))
    };
    let mut fitting = entries.into_iter().filter(fits);
    let Some(first) = fitting.next() else { return Ok(None) };
    Ok(fitting.all(|other| other.digest == first.digest).then_some(first))
}

fn choose(archive: &Archive, saved: Vec<Saved>, name: Option<&StoredName>) -> Result<Saved, ImageError> {
    let fits = |saved: &Saved| {
        let names = saved.repo_tags.iter().flatten().map(String::as_str);
        name.is_none_or(|name| name.fits(id_in(&saved.config), names))
    };
    let there: Vec<&str> =
        saved.iter().flat_map(|saved| saved.repo_tags.iter().flatten()).map(String::as_str).collect();
    let there = match there.len() {
        0 => "none has a name".to_owned(),
        1..=20 => format!("names: {}", there.join(", ")),
        count => format!("{count} names, {} the first", there[0]),
    };
    let count = saved.len();
    let wrong = |message: String| Err(ImageError::new(ImageErrorKind::Tag, archive.name(), message));
    let mut fitting = saved.into_iter().filter(fits);
    match (fitting.next(), name) {
        // The same image under several entries is one image.
        (Some(first), _) if fitting.all(|other| other.config == first.config) => Ok(first),
        (Some(_), Some(name)) => wrong(format!("several images are called {:?}", name.as_str())),
        (Some(_), None) => wrong(format!("it holds {count} images and none is named ({there})")),
        (None, Some(name)) => wrong(format!("no image is called {:?} ({there})", name.as_str())),
        (None, None) => wrong("it holds no image".to_owned()),
    }
}

/// The id in a configuration's path: `HEX.json`, or `blobs/sha256/HEX`.
fn id_in(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.strip_suffix(".json").unwrap_or(name)
}

/// The image that `saved` describes, with a manifest made here.
fn image(archive: &Archive, saved: Saved) -> Result<Image, ImageError> {
    let config = archive.file(&plain_path(archive, &saved.config)?, DOCUMENT_LIMIT)?.ok_or_else(|| {
        missing(archive, format!("the configuration {} is not there", shown(&saved.config)))
    })?;
    let config_digest = digest_of(&config);
    let named = format!("sha256:{}", id_in(&saved.config)).parse::<Digest>();
    if named.as_ref().is_ok_and(|named| *named != config_digest) {
        let message = format!(
            "the configuration {} is damaged: its bytes have the digest {config_digest}",
            shown(&saved.config)
        );
        return Err(corrupt(archive, message));
    }
    let facts = document::read_config(&config)
        .map_err(|problem| corrupt(archive, format!("config {config_digest}: {problem}")))?;
    let paths = saved.layers.unwrap_or_default();
    if paths.len() > MOST_LAYERS {
        let message = format!("{} layers are more than the {MOST_LAYERS} that are read", paths.len());
        return Err(ImageError::new(ImageErrorKind::Limit, archive.name(), message));
    }
    if paths.len() != facts.diff_ids.len() {
        let message =
            format!("it lists {} layers, and its configuration {}", paths.len(), facts.diff_ids.len());
        return Err(corrupt(archive, message));
    }
    let mut layers = Vec::new();
    for (path, diff_id) in paths.iter().zip(&facts.diff_ids) {
        layers.push(layer(archive, path, diff_id)?);
    }
    let format = format_for(&layers);
    let layers: Vec<Blob> = layers.into_iter().map(|found| found.blob(format)).collect();
    let size = config.len() as u64;
    let config = Blob {
        media_type: config_in(format).to_owned(),
        digest: config_digest,
        size,
        content: Content::Bytes(config),
    };
    let described =
        |blob: &Blob| json!({"mediaType": blob.media_type, "size": blob.size, "digest": blob.digest});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": manifest_in(format),
        "config": described(&config),
        "layers": layers.iter().map(described).collect::<Vec<_>>(),
    });
    let manifest = Bytes::from(serde_json::to_vec(&manifest).expect("JSON is JSON"));
    let digest = digest_of(&manifest);
    Ok(Image {
        source_digest: digest.clone(),
        digest,
        media_type: manifest_in(format).to_owned(),
        manifest,
        kind: Kind::Manifest(Box::new(Manifest {
            config,
            layers,
            facts: Some(facts),
            artifact_type: None,
            subject: None,
            is_attestation: false,
        })),
        origin: Origin::Here,
        source: archive.name().to_owned(),
        changed: Vec::new(),
    })
}

/// A layer as it lies in the archive.
struct Found {
    compression: Compression,
    digest: Digest,
    size: u64,
    content: Content,
}

impl Found {
    fn blob(self, format: Format) -> Blob {
        let media_type = layer_in(format, self.compression).to_owned();
        Blob { media_type, digest: self.digest, size: self.size, content: self.content }
    }
}

/// Docker's own format, as what is read is; docker's has no zstd that anybody reads.
fn format_for(layers: &[Found]) -> Format {
    let zstd = layers.iter().any(|layer| layer.compression == Compression::Zstd);
    if zstd { Format::Oci } else { Format::Docker }
}

/// Finds a layer. A plain one has the diff id as its digest, and whoever takes it compares it, as with a layout's blobs; a
/// packed one has none that anybody stated, so it is read once, and what is in it is compared with the diff id.
fn layer(archive: &Archive, path: &str, diff_id: &Digest) -> Result<Found, ImageError> {
    let (content, size) = archive
        .content(&plain_path(archive, path)?)
        .ok_or_else(|| missing(archive, format!("the layer {} is not there", shown(path))))?;
    let what = format!("layer {}", shown(path));
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::FileTooLarge => {
            of_reading(archive.name(), &what, &io::Error::new(error.kind(), format!("{what}: {error}")))
        }
        _ => of_reading(archive.name(), &what, error),
    };
    let mut beginning = Vec::new();
    let read = content.open(size).and_then(|reader| reader.take(4).read_to_end(&mut beginning));
    read.map_err(|error| failed(&error))?;
    let compression = compression_by(&beginning);
    let digest = match compression {
        Compression::Plain => diff_id.clone(),
        Compression::Gzip | Compression::Zstd => {
            let (digest, plain) = digests(&content, size, compression).map_err(|error| failed(&error))?;
            if let Some(plain) = plain.filter(|plain| plain != diff_id) {
                let message =
                    format!("layer {} holds {plain}, and the configuration says {diff_id}", shown(path));
                return Err(corrupt(archive, message));
            }
            digest
        }
    };
    Ok(Found { compression, digest, size, content })
}

/// The digests of a layer's bytes and, where we can unpack them, of what is in them; in one reading.
fn digests(content: &Content, size: u64, compression: Compression) -> io::Result<(Digest, Option<Digest>)> {
    let mut packed = Hashing::of(content.open(size)?);
    let plain = match compression {
        Compression::Gzip => {
            let mut hasher = Hasher::default();
            let mut inflated = gunzip(io::BufReader::with_capacity(1 << 17, &mut packed), size);
            copy_into(&mut inflated, |piece| hasher.update(piece))?;
            Some(hasher.finish())
        }
        Compression::Plain | Compression::Zstd => None,
    };
    copy_into(&mut packed, |_| ())?;
    Ok((packed.finish(), plain))
}

fn copy_into(from: &mut impl io::Read, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => each(&buffer[..read]),
        }
    }
}

/// A path in `manifest.json` as it stands in the tar.
fn plain_path(archive: &Archive, path: &str) -> Result<String, ImageError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if path.starts_with('/') || parts.contains(&"..") || parts.is_empty() {
        return Err(corrupt(archive, format!("manifest.json: {} is no path in the archive", shown(path))));
    }
    Ok(parts.join("/"))
}

/// A foreign path in a message.
fn shown(path: &str) -> String {
    format!("{:?}", path.chars().take(100).collect::<String>())
}

fn no_archive(archive: &Archive) -> ImageError {
    let error = missing(archive, "no manifest.json: this is no docker archive".to_owned());
    if archive.holds("oci-layout") {
        error.hint("it is an OCI image layout: use oci-archive:FILE")
    } else if archive.holds("repositories") {
        error.hint("it was saved by a docker older than 1.10: load it there and save it with a newer one")
    } else {
        error
    }
}

fn missing(archive: &Archive, message: String) -> ImageError {
    ImageError::new(ImageErrorKind::Missing, archive.name(), message)
}

fn corrupt(archive: &Archive, message: String) -> ImageError {
    ImageError::new(ImageErrorKind::Corrupt, archive.name(), message)
}
