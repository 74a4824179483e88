//! From a layout's `index.json` down to the blobs: every manifest and configuration verified, every layer found.

use std::io::Read as _;

use bytes::Bytes;
use serde::Deserialize;

use super::document::{self, Descriptor, Listed, REFERENCE_NAME};
use super::error::{ImageError, ImageErrorKind};
use super::{Blob, Child, Content, Image, Kind, Manifest, Origin, Role, digest_of};

/// An OCI image layout, wherever it is kept.
pub(super) trait Store {
    /// The source, as it was written.
    fn name(&self) -> &str;
    /// The file at a path of the layout, at most `limit` bytes of it; `None` when it is not there.
    fn file(&self, path: &str, limit: u64) -> Result<Option<Bytes>, ImageError>;
    /// Where the blob is; `None` when it is not there.
    fn blob(&self, entry: &Descriptor) -> Result<Option<Content>, ImageError>;
    /// Where the manifest is; `None` when it is not there.
    fn manifest(&self, entry: &Descriptor) -> Result<Option<Content>, ImageError> {
        self.blob(entry)
    }
    /// Which of an index's entries are read; the others are listed only.
    fn wants(&self, _entry: &Descriptor) -> bool {
        true
    }
    /// Hears which manifests are asked for next, so that they can be fetched side by side.
    fn expect(&self, _entries: &[&Descriptor]) -> Result<(), ImageError> {
        Ok(())
    }
}

/// What is held in memory: manifests, indexes, configurations.
pub(super) const DOCUMENT_LIMIT: u64 = 4 << 20;
/// All manifests of one image together.
const ALTOGETHER_LIMIT: u64 = 16 << 20;
/// How deep indexes may lie in indexes, `index.json` not counted. A loop cannot be: no document holds its own digest.
const DEEPEST: usize = 4;
/// How many manifests one image may have altogether.
const MOST_ALTOGETHER: usize = 2_000;

/// Reads the image that `tag` names in `store`, or the only one there.
pub(super) fn read(store: &dyn Store, tag: Option<&str>) -> Result<Image, ImageError> {
    check_version(store)?;
    let index = store.file("index.json", DOCUMENT_LIMIT)?;
    let index = index.ok_or_else(|| missing(store, "no index.json: this is no OCI image layout"))?;
    let (_, listed) = document::read_manifest(&index, None)
        .map_err(|problem| corrupt(store, format!("index.json: {problem}")))?;
    let Listed::Manifests(entries) = listed else {
        return Err(corrupt(store, "index.json: it lists no manifests".to_owned()));
    };
    read_at(store, choose(store, &entries, tag)?)
}

/// Reads the image that `entry` points to.
pub(super) fn read_at(store: &dyn Store, entry: &Descriptor) -> Result<Image, ImageError> {
    let mut walk = Walk { store, depth: 0, read: 0, held: 0 };
    let image = walk.image(entry)?;
    image.ok_or_else(|| missing(store, &format!("blob {} is not there", entry.digest)))
}

fn check_version(store: &dyn Store) -> Result<(), ImageError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let text = store.file("oci-layout", 1 << 16)?;
    let text = text.ok_or_else(|| missing(store, "no file oci-layout: this is no OCI image layout"))?;
    let layout: Layout =
        serde_json::from_slice(&text).map_err(|error| corrupt(store, format!("oci-layout: {error}")))?;
    if !layout.image_layout_version.starts_with("1.") {
        let message =
            format!("image layout version {:?} is not read, only 1 is", layout.image_layout_version);
        return Err(ImageError::new(ImageErrorKind::Unsupported, store.name(), message));
    }
    Ok(())
}

fn choose<'a>(
    store: &dyn Store,
    entries: &'a [Descriptor],
    tag: Option<&str>,
) -> Result<&'a Descriptor, ImageError> {
    let fits = |entry: &&Descriptor| match tag {
        Some(tag) => entry.annotation(REFERENCE_NAME) == Some(tag),
        None => !entry.is_attestation(),
    };
    let mut fitting = entries.iter().filter(fits);
    let wrong = |message: String| Err(ImageError::new(ImageErrorKind::Tag, store.name(), message));
    let tags: Vec<&str> = entries.iter().filter_map(|entry| entry.annotation(REFERENCE_NAME)).collect();
    let tags =
        if tags.is_empty() { "none has a tag".to_owned() } else { format!("tags: {}", tags.join(", ")) };
    match (fitting.next(), tag) {
        // The same image under several tags is one image.
        (Some(first), _) if fitting.all(|other| other.digest == first.digest) => Ok(first),
        (Some(_), Some(tag)) => wrong(format!("several images have the tag {tag:?}")),
        (Some(_), None) => wrong(format!("it holds {} images and no tag is stated ({tags})", entries.len())),
        (None, Some(tag)) => wrong(format!("no image has the tag {tag:?} ({tags})")),
        (None, None) => wrong("it holds no image".to_owned()),
    }
}

struct Walk<'a> {
    store: &'a dyn Store,
    depth: usize,
    read: usize,
    /// Bytes of all manifests that were read or are about to be.
    held: u64,
}

impl Walk<'_> {
    /// The image `entry` points to; `None` when its manifest is not there.
    fn image(&mut self, entry: &Descriptor) -> Result<Option<Image>, ImageError> {
        self.read += 1;
        if self.depth > DEEPEST || self.read > MOST_ALTOGETHER {
            let message = format!(
                "more than {DEEPEST} indexes in each other or {MOST_ALTOGETHER} manifests are not read"
            );
            return Err(ImageError::new(ImageErrorKind::Limit, self.store.name(), message));
        }
        let found = self.store.manifest(entry)?;
        let Some(manifest) = self.document(entry, "manifest", found)? else { return Ok(None) };
        let (media_type, listed) = document::read_manifest(&manifest, entry.media_type.as_deref())
            .map_err(|problem| corrupt(self.store, format!("manifest {}: {problem}", entry.digest)))?;
        let kind = match listed {
            Listed::Parts(parts) => Kind::Manifest(Box::new(self.parts(*parts)?)),
            Listed::Manifests(entries) => Kind::Index(self.children(&entries)?),
        };
        Ok(Some(Image {
            digest: entry.digest.clone(),
            source_digest: entry.digest.clone(),
            media_type,
            manifest,
            kind,
            origin: Origin::Source,
            source: self.store.name().to_owned(),
            changed: Vec::new(),
        }))
    }

    fn children(&mut self, entries: &[Descriptor]) -> Result<Vec<Child>, ImageError> {
        let wanted: Vec<&Descriptor> =
            entries.iter().filter(|entry| !entry.is_attestation() && self.store.wants(entry)).collect();
        // What vouches for an entry is read where that entry is.
        let vouching = |entry: &Descriptor| match entry.about() {
            Some(of) => wanted.iter().any(|wanted| wanted.digest == of),
            None => true,
        };
        let read: Vec<bool> = entries
            .iter()
            .map(|entry| if entry.is_attestation() { vouching(entry) } else { self.store.wants(entry) })
            .collect();
        let next: Vec<&Descriptor> =
            entries.iter().zip(&read).filter(|(_, read)| **read).map(|(entry, _)| entry).collect();
        self.may_hold(&next)?;
        self.store.expect(&next)?;
        self.depth += 1;
        let children = entries.iter().zip(&read).map(|(entry, read)| self.child(entry, *read)).collect();
        self.depth -= 1;
        children
    }

    /// Refuses an index whose manifests together are more than is held in memory, before any of them is read.
    fn may_hold(&mut self, entries: &[&Descriptor]) -> Result<(), ImageError> {
        self.held = entries.iter().fold(self.held, |held, entry| held.saturating_add(entry.size));
        if self.held > ALTOGETHER_LIMIT {
            let message = format!(
                "its manifests have {} bytes together, more than the {ALTOGETHER_LIMIT} that are read",
                self.held
            );
            return Err(ImageError::new(ImageErrorKind::Limit, self.store.name(), message));
        }
        Ok(())
    }

    fn child(&mut self, entry: &Descriptor, read: bool) -> Result<Child, ImageError> {
        let image = match read.then(|| self.image(entry)).transpose() {
            Ok(image) => image.flatten(),
            // An index lists every platform, and an engine holds what it pulled of them: only what is asked for must be there.
            Err(error) if error.kind == ImageErrorKind::Missing => {
                tracing::info!(%error, "an entry of an index is not all there");
                None
            }
            Err(error) => return Err(error),
        };
        // What the entry does not say the manifest may.
        let parts = image.as_ref().and_then(|image| match &image.kind {
            Kind::Manifest(parts) => Some(parts),
            Kind::Index(_) => None,
        });
        let role = if entry.is_attestation() || parts.is_some_and(|parts| parts.is_attestation) {
            Role::Attestation
        } else {
            entry
                .platform
                .as_ref()
                .and_then(document::DescribedPlatform::read)
                .map_or(Role::Unstated, Role::Platform)
        };
        let about = match role {
            Role::Attestation => entry.about().or_else(|| parts.and_then(|parts| parts.subject.clone())),
            Role::Platform(_) | Role::Unstated => None,
        };
        Ok(Child { digest: entry.digest.clone(), role, about, image })
    }

    fn parts(&self, parts: document::Parts) -> Result<Manifest, ImageError> {
        let is_attestation = parts.is_attestation();
        let document::Parts { config, layers, artifact_type, subject } = parts;
        let found = self.store.blob(&config)?;
        let text = self.document(&config, "config", found)?;
        let text =
            text.ok_or_else(|| missing(self.store, &format!("config {} is not there", config.digest)))?;
        let media_type = config.media_type.clone().unwrap_or_default();
        let facts = document::is_image_config(&media_type)
            .then(|| document::read_config(&text))
            .transpose()
            .map_err(|problem| corrupt(self.store, format!("config {}: {problem}", config.digest)))?;
        let layers = layers.iter().map(|layer| self.layer(layer)).collect::<Result<_, _>>()?;
        let config = Blob {
            media_type,
            digest: config.digest.clone(),
            size: config.size,
            content: Content::Bytes(text),
        };
        Ok(Manifest { config, layers, facts, artifact_type, subject, is_attestation })
    }

    fn layer(&self, layer: &Descriptor) -> Result<Blob, ImageError> {
        let Descriptor { digest, size, .. } = layer;
        let content = self.store.blob(layer)?;
        let content = content.ok_or_else(|| missing(self.store, &format!("layer {digest} is not there")))?;
        content.probe(*size).map_err(|error| damaged(self.store, &format!("layer {digest}"), &error))?;
        let media_type = layer.media_type.clone().unwrap_or_default();
        Ok(Blob { media_type, digest: digest.clone(), size: *size, content })
    }

    /// The document `entry` points to, bounded and verified; `None` when it is not there.
    fn document(
        &self,
        entry: &Descriptor,
        what: &str,
        found: Option<Content>,
    ) -> Result<Option<Bytes>, ImageError> {
        let Descriptor { digest, size, .. } = entry;
        if *size > DOCUMENT_LIMIT {
            let message =
                format!("{what} {digest}: {size} bytes are more than the {DOCUMENT_LIMIT} that are read");
            return Err(ImageError::new(ImageErrorKind::Limit, self.store.name(), message));
        }
        let Some(content) = found else { return Ok(None) };
        let mut bytes = Vec::new();
        content
            .open(*size)
            .and_then(|mut reader| reader.read_to_end(&mut bytes))
            .map_err(|error| damaged(self.store, &format!("{what} {digest}"), &error))?;
        let found = digest_of(&bytes);
        if found != *digest {
            let message = format!("{what} {digest} is damaged: its bytes have the digest {found}");
            return Err(corrupt(self.store, message));
        }
        Ok(Some(bytes.into()))
    }
}

fn missing(store: &dyn Store, message: &str) -> ImageError {
    ImageError::new(ImageErrorKind::Missing, store.name(), message)
}

fn corrupt(store: &dyn Store, message: String) -> ImageError {
    ImageError::new(ImageErrorKind::Corrupt, store.name(), message)
}

/// What reading a blob that is there came to.
fn damaged(store: &dyn Store, what: &str, error: &std::io::Error) -> ImageError {
    if let Some(told) = ImageError::told_in(store.name(), error) {
        return told;
    }
    match error.kind() {
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
            corrupt(store, format!("{what} is damaged: {error}"))
        }
        _ => ImageError::io(store.name(), what, error),
    }
}
