//! An image out of the registry, ready to be run.

use std::io;

use longshore_contract::{Digest, Platform};

use super::digest::{Algorithm, ContentDigest};
use super::document::{Configuration, Descriptor, Document, Parts};
use super::files::read;
use super::name::RepositoryPath;
use super::store::Store;

/// The most bytes an image's configuration may have.
const CONFIGURATION_LIMIT: u64 = 8 << 20;

/// An image in the registry, with what is needed to run it. Its manifest and configuration were verified.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// The manifest's digest: what the image is.
    pub digest: Digest,
    /// The digest of its configuration.
    pub configuration: Digest,
    /// What it was built for; it serves this machine.
    pub platform: Platform,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// The first words of its command line.
    pub entrypoint: Vec<String>,
    /// The words behind [`StoredImage::entrypoint`].
    pub command: Vec<String>,
    /// Its environment, in its order; text without a `=` was left out.
    pub environment: Vec<(String, String)>,
    /// The directory it starts in; `/` where it names none.
    pub working_directory: String,
    /// The user it runs as, `USER[:GROUP]` in names or numbers; empty where it names none.
    pub user: String,
    /// The TCP ports it says that it listens on.
    pub exposed_ports: Vec<u16>,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The digest of its bytes in the registry.
    pub digest: Digest,
    /// How they are packed.
    pub packing: Packing,
    /// The digest of the unpacked tar archive.
    pub diff_id: Digest,
}

/// How a layer's tar archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstandard,
}

/// Why an image cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum ImageRefusal {
    /// The repository has no such manifest.
    #[error("the registry has no manifest {digest} in {repository:?}: push the image first")]
    Unknown {
        /// The repository's path.
        repository: String,
        /// What was asked for.
        digest: Digest,
    },
    /// The digest names a list of images.
    #[error("{digest} is an index of {count} images and not one image: name the one for {host}")]
    Index {
        /// The index.
        digest: Digest,
        /// How many images it lists.
        count: usize,
        /// What this machine runs.
        host: Platform,
    },
    /// A layer is of a kind that cannot be unpacked.
    #[error(
        "layer {digest} is {media_type:?}, which cannot be unpacked here: plain, gzip and zstd layers can"
    )]
    LayerKind {
        /// The layer.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// A blob that the manifest names is gone.
    #[error("the registry has no blob {digest}, which image {image} needs: push the image again")]
    MissingBlob {
        /// The image.
        image: Digest,
        /// What is gone.
        digest: Digest,
    },
    /// The image was built for another machine.
    #[error("image {digest} is built for {platform} and this machine runs {host}: build it for {host}")]
    Platform {
        /// The image.
        digest: Digest,
        /// What it was built for.
        platform: String,
        /// What this machine runs.
        host: Platform,
    },
    /// Bytes on disk are not what their name says.
    #[error(
        "blob {digest} is damaged on disk: delete it from the registry's directory and push the image again"
    )]
    Corrupt {
        /// What they should be.
        digest: Digest,
    },
    /// The manifest or the configuration makes no sense.
    #[error("image {digest}: {why}")]
    Malformed {
        /// The image.
        digest: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// The registry's directory could not be read.
    #[error("the registry's directory: {0}")]
    Disk(#[from] io::Error),
}

/// Blob `digest`, which really has that digest; `None` when it is gone.
fn read_verified(store: &Store, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, ImageRefusal> {
    let Some(bytes) = read(&store.bytes(&digest.into()), limit)? else { return Ok(None) };
    verify(&bytes, digest).map(|()| Some(bytes))
}

fn verify(bytes: &[u8], digest: &Digest) -> Result<(), ImageRefusal> {
    match ContentDigest::of(Algorithm::Sha256, bytes) == digest.into() {
        true => Ok(()),
        false => Err(ImageRefusal::Corrupt { digest: digest.clone() }),
    }
}

pub(super) fn image(store: &Store, path: &str, digest: &Digest) -> Result<StoredImage, ImageRefusal> {
    let unknown = || ImageRefusal::Unknown { repository: path.to_owned(), digest: digest.clone() };
    let malformed = |why: String| ImageRefusal::Malformed { digest: digest.clone(), why };
    let repository: RepositoryPath = path.parse().map_err(|_| unknown())?;
    let manifest = store.manifest(&repository, &digest.into())?.ok_or_else(unknown)?;
    verify(&manifest.bytes, digest)?;
    let (document, _) = Document::read(Some(&manifest.media_type), &manifest.bytes).map_err(malformed)?;
    let (config, layers) = match document.parts {
        Parts::Image { config, layers } => (config, layers),
        Parts::Index { children } => {
            let (count, host) = (children.len(), Platform::host());
            return Err(ImageRefusal::Index { digest: digest.clone(), count, host });
        }
    };

    // Everything that runs is named by sha256: a version, its unpacked files, what it is proved by.
    let named = |blob: &Descriptor| {
        let name = blob.digest.sha256();
        name.ok_or_else(|| malformed(format!("{} cannot be run here: push it by sha256", blob.digest)))
    };
    let missing = |blob: Digest| ImageRefusal::MissingBlob { image: digest.clone(), digest: blob };
    for blob in layers.iter().chain([&config]) {
        let name = named(blob)?;
        if !store.has_blob(&repository, &blob.digest)? {
            return Err(missing(name));
        }
    }
    let name = named(&config)?;
    let bytes = read_verified(store, &name, CONFIGURATION_LIMIT)?.ok_or_else(|| missing(name.clone()))?;
    let configuration: Configuration = serde_json::from_slice(&bytes)
        .map_err(|error| malformed(format!("its configuration cannot be read: {error}")))?;

    let (platform, host) = (platform_of(&configuration), Platform::host());
    if !platform.serves(&host) {
        let platform =
            if platform.os.is_empty() { "an unknown platform".to_owned() } else { platform.to_string() };
        return Err(ImageRefusal::Platform { digest: digest.clone(), platform, host });
    }
    let diff_ids = configuration.rootfs.diff_ids;
    if diff_ids.len() != layers.len() {
        let (has, names) = (layers.len(), diff_ids.len());
        return Err(malformed(format!("it has {has} layers and its configuration names {names}")));
    }
    let layers = layers
        .into_iter()
        .zip(diff_ids)
        .map(|(blob, diff_id)| layer(named(&blob)?, &blob.media_type, diff_id));
    let process = configuration.config.unwrap_or_default();
    Ok(StoredImage {
        digest: digest.clone(),
        configuration: name,
        platform,
        layers: layers.collect::<Result<_, _>>()?,
        entrypoint: process.entrypoint.unwrap_or_default(),
        command: process.cmd.unwrap_or_default(),
        environment: process
            .env
            .unwrap_or_default()
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        working_directory: process
            .working_dir
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| "/".to_owned()),
        user: process.user.unwrap_or_default(),
        exposed_ports: process
            .exposed_ports
            .unwrap_or_default()
            .keys()
            .filter_map(|key| tcp_port(key))
            .collect(),
    })
}

fn platform_of(configuration: &Configuration) -> Platform {
    Platform {
        os: configuration.os.clone(),
        architecture: configuration.architecture.clone(),
        variant: configuration.variant.clone().filter(|variant| !variant.is_empty()),
    }
}

/// `8080`, `8080/tcp`; nothing for other protocols.
fn tcp_port(key: &str) -> Option<u16> {
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    (protocol == "tcp").then(|| port.parse().ok()).flatten()
}

fn layer(digest: Digest, media_type: &str, diff_id: Digest) -> Result<Layer, ImageRefusal> {
    let packing = match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Packing::Plain,
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Packing::Gzip,
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => Packing::Zstandard,
        other => {
            return Err(ImageRefusal::LayerKind { digest, media_type: other.to_owned() });
        }
    };
    Ok(Layer { digest, packing, diff_id })
}
