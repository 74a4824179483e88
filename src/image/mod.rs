//! Images as values: where one comes from, what it is, and what is in it.
//!
//! [`open`] turns an [`ImageSource`] into an [`Image`]: a tree of manifests, verified and held verbatim, whose blobs can be
//! read again and again from where they lie. [`Image::pick`] takes one platform out of it. Nothing here writes, but
//! [`assemble`](ImageSource::Assemble), which makes a layer in the temporary directory.

mod archive;
mod assemble;
mod beneath;
mod content;
mod digest;
mod docker_archive;
mod document;
mod engine;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod inflate;
mod kept;
mod layout;
pub mod media;
mod mirrors;
mod pick;
mod registry;
mod remote;
mod save;
mod source;
mod spool;
mod tar_index;
mod tree;
mod world;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use longshore_contract::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};

pub use content::{Content, Opens, Reach, Reader, Verify};
pub use digest::{Hasher, digest_of};
pub use error::{ImageError, ImageErrorKind};
pub use source::{Add, Assembly, Base, ImageSource, InvalidSource, StoredName};
pub use world::{Tell, World};

/// An image: one manifest, or an index of several. The bytes of every manifest are those that were found.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it is.
    pub digest: Digest,
    /// What it was before anything was picked out of it; equal to `digest` when nothing was.
    pub source_digest: Digest,
    /// The manifest's media type, as it is sent along.
    pub media_type: String,
    /// The manifest, verbatim.
    pub manifest: Bytes,
    /// What the manifest lists.
    pub kind: Kind,
    /// Whose words the manifest is.
    pub origin: Origin,
    /// Where it comes from, in words.
    pub source: String,
    /// How it came to differ from what the source holds, in the order it happened.
    pub changed: Vec<Change>,
}

/// Whose words an image's manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The source's own: its digest is known elsewhere, and it is changed only where it must be.
    Source,
    /// Made here, because the source has none (a docker daemon, a docker archive): nobody knows its digest, and its layers are
    /// as that source keeps them, which is not how they are sent.
    Here,
}

/// What a manifest lists.
#[derive(Debug, Clone)]
pub enum Kind {
    /// One image's configuration and layers.
    Manifest(Box<Manifest>),
    /// Other manifests.
    Index(Vec<Child>),
}

/// One image's parts.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its configuration; always held in memory.
    pub config: Blob,
    /// Its layers, the lowest first.
    pub layers: Vec<Blob>,
    /// What the configuration says; `None` where it is no image's (an artifact).
    pub facts: Option<Facts>,
    /// What sort of artifact it says it is.
    pub artifact_type: Option<String>,
    /// The manifest it is about, where it is about another one.
    pub subject: Option<Digest>,
    /// Whether it only vouches for another manifest: by its type, its subject or what its layers are.
    pub is_attestation: bool,
}

/// What an image's configuration says, as far as it decides whether and how the image runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it is built for.
    pub platform: Platform,
    /// What is started.
    pub entrypoint: Vec<String>,
    /// The arguments to it.
    pub command: Vec<String>,
    /// The digests of the layers' plain tars, the lowest first; as many as there are layers, where nobody lies.
    pub diff_ids: Vec<Digest>,
}

/// One entry of an index.
#[derive(Debug, Clone)]
pub struct Child {
    /// The manifest's digest.
    pub digest: Digest,
    /// What it is for, by the entry or by the manifest.
    pub role: Role,
    /// Which manifest it vouches for, where it is an attestation that says so.
    pub about: Option<Digest>,
    /// The manifest itself; `None` where the source lists it and does not hold it, or where it was not asked for: out of a
    /// registry only what may serve the wanted platform is read.
    pub image: Option<Image>,
}

/// What an entry of an index is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It runs on this platform.
    Platform(Platform),
    /// It vouches for another entry and runs nowhere.
    Attestation,
    /// The entry does not say; the manifest's own configuration does.
    Unstated,
}

/// Some bytes an image needs: a configuration or a layer.
#[derive(Debug, Clone)]
pub struct Blob {
    /// What they are, as the manifest says.
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
    /// How many.
    pub size: u64,
    /// Where they are read from.
    pub content: Content,
}

/// One way in which an image differs from what its source holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What was done, as in `attestation dropped`.
    pub what: String,
    /// To which manifest.
    pub digest: Digest,
    /// For what reason.
    pub why: String,
}

impl Image {
    /// Shows `seen` every configuration and layer beneath it, one that stands twice twice.
    pub fn each_blob<'a>(&'a self, seen: &mut dyn FnMut(&'a Blob)) {
        match &self.kind {
            Kind::Manifest(manifest) => manifest.layers.iter().chain([&manifest.config]).for_each(seen),
            Kind::Index(children) => {
                children
                    .iter()
                    .filter_map(|child| child.image.as_ref())
                    .for_each(|image| image.each_blob(seen));
            }
        }
    }

    /// Bytes of all configurations and layers beneath it, one that stands twice counted twice.
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::Manifest(manifest) => {
                manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>()
            }
            Kind::Index(children) => {
                children.iter().filter_map(|child| child.image.as_ref()).map(Self::size).sum()
            }
        }
    }
}

/// What opening an image depends on besides its source.
#[derive(Debug, Clone)]
pub struct Context {
    /// What relative paths are relative to, absolute.
    pub directory: PathBuf,
    /// What the image is meant for; decides the platform of what is assembled on scratch, and what is read of an index in a
    /// registry. Any other index is opened whole.
    pub platform: Option<Platform>,
    /// Registries, engines and the cache.
    pub world: World,
}

/// Opens the image that `source` names, where that holds nobody up.
pub async fn open_for(source: ImageSource, context: Context) -> Result<Image, ImageError> {
    match tokio::task::spawn_blocking(move || open(&source, &context)).await {
        Ok(image) => image,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Opens the image that `source` names: manifests and configurations are read and verified, layers are found and their
/// sizes compared. Blocks; sources that somebody is asked for need a thread of a runtime that may be blocked. An assembled
/// image is made before this returns, and so is what an engine hands out, in files that are gone with the value.
pub fn open(source: &ImageSource, context: &Context) -> Result<Image, ImageError> {
    let Context { directory: around, platform, world } = context;
    let name = source.to_string();
    match source {
        ImageSource::Layout { directory, tag } => {
            let store = layout::Directory::open(&around.join(directory), name)?;
            tree::read(&store, tag.as_deref())
        }
        ImageSource::Archive { file } => {
            let store = archive::Archive::open(&around.join(file), name, world)?;
            tree::read(&store, None)
        }
        ImageSource::DockerArchive { file, name: stored } => {
            let archive = archive::Archive::open(&around.join(file), name, world)?;
            docker_archive::read(&archive, stored.as_ref())
        }
        ImageSource::Daemon { name: stored } => engine::open(stored, &name, world),
        ImageSource::Registry { reference } => registry::open(reference, platform.as_ref(), name, world)
            .map_err(|error| near_miss(error, reference, around)),
        ImageSource::Assemble(assembly) => assemble::assemble(assembly, context),
    }
}

/// A bare word is an image of docker's own registry; where a folder of that name lies here, another source was meant.
fn near_miss(error: ImageError, reference: &Reference, around: &Path) -> ImageError {
    let path = reference.repository.path();
    let word = path.strip_prefix("library/").unwrap_or(path);
    let lies_here =
        reference.repository.host() == "docker.io" && around.join(word).join("oci-layout").is_file();
    if lies_here { error.hint(format!("did you mean oci:{word}?")) } else { error }
}
