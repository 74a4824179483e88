//! Layers into a root directory, in two steps.
//!
//! A layer is foreign bytes: nothing it says may reach outside the root, and nothing it holds may grow without bound. First
//! a layer is taken apart, once for all images that have it: the contents of its files, each under a number, and an index of
//! its members. No name that it has is used for that. Both of its digests are checked meanwhile, and it is used only when
//! they are right. Then a root is made of the indexes of an image's layers, one laid over the other; its files are links to
//! the contents, so that images share them.
//!
//! Owners are kept where a range of users can be mapped. Elsewhere everything belongs to who unpacks it. Extended attributes,
//! set-user-id bits, devices and pipes are not kept.

mod archive;
mod content;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod index;
mod layer;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use longshore_contract::Digest;
use sha2::{Digest as _, Sha256};

use super::sandbox::Users;
use crate::registry::{Layer, Packing, Registry, finish};
use archive::Archive;
pub(super) use folder::Root;
use index::Entries;
use layer::{Budget, lay};

/// In a layer that was taken apart: its index, and the directory of its files' contents.
const INDEX: &str = "index";
const CONTENTS: &str = "contents";

/// How much one image, and each layer of it, may unpack to.
#[derive(Debug, Clone)]
struct Limits {
    /// Layers of one image.
    layers: usize,
    /// Members.
    entries: u64,
    /// Bytes, unpacked. Never more than nine tenths of what is free on the disk.
    bytes: u64,
    /// Bytes of one path.
    path_bytes: usize,
    /// Bytes of all paths together.
    name_bytes: u64,
    /// How many bytes one packed byte may become, and from how many unpacked bytes on that is looked at.
    ratio: u64,
    ratio_from: u64,
}

const LIMITS: Limits = Limits {
    layers: 512,
    entries: 500_000,
    bytes: 10 << 30,
    path_bytes: 4096,
    name_bytes: 128 << 20,
    ratio: 500,
    ratio_from: 256 << 20,
};

/// Why an image could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A layer is damaged, hostile or beyond a limit.
    #[error("layer {layer} cannot be unpacked: {why}")]
    Refused {
        /// The layer.
        layer: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// Files could not be written.
    #[error("unpacking the image: {path}: {source}")]
    Disk {
        /// What could not be written, from the image's root.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Why a layer could not be laid; which one is added by who knows it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0}")]
    Layer(String),
    #[error("{path}: {source}")]
    Disk { path: String, source: io::Error },
}

impl Refused {
    fn new(why: impl Into<String>) -> Self {
        Self::Layer(why.into())
    }

    fn unreadable(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Layer("it ends too early".to_owned()),
            _ => Self::Layer(format!("it cannot be read: {error}")),
        }
    }

    fn disk(path: &Path, error: impl Into<io::Error>) -> Self {
        Self::Disk { path: path.display().to_string(), source: error.into() }
    }

    fn of(self, layer: &Digest) -> UnpackError {
        match self {
            Self::Layer(why) => UnpackError::Refused { layer: layer.clone(), why },
            Self::Disk { path, source } => UnpackError::Disk { path, source },
        }
    }
}

/// Takes `layer` apart into the empty directory `into`, for images whose users are `users`. Blocks. When it fails, `into` is
/// worth nothing.
pub(super) fn take_apart(
    registry: &Registry,
    layer: &Layer,
    users: Users,
    into: &Path,
) -> Result<(), UnpackError> {
    take_apart_within(layer, |layer| registry.bytes(&layer.digest), users, into, &LIMITS)
}

fn take_apart_within(
    layer: &Layer,
    open: impl Fn(&Layer) -> io::Result<File>,
    users: Users,
    into: &Path,
    limits: &Limits,
) -> Result<(), UnpackError> {
    let file = open(layer).map_err(|error| Refused::unreadable(error).of(&layer.digest))?;
    // What is unpacked must leave the machine some room.
    let free = rustix::fs::statvfs(into).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let limits = Limits { bytes: limits.bytes.min(free / 10 * 9), ..limits.clone() };
    try_take_apart(layer, file, users, into, &limits).map_err(|refused| refused.of(&layer.digest))
}

fn try_take_apart(
    layer: &Layer,
    file: File,
    users: Users,
    into: &Path,
    limits: &Limits,
) -> Result<(), Refused> {
    let packed = Rc::new(Cell::new(0));
    let file = Packed { file, hasher: Sha256::new(), read: Rc::clone(&packed) };
    let mut file = BufReader::with_capacity(256 << 10, file);
    let diff_id = {
        let stream: Box<dyn Read + '_> = match layer.packing {
            Packing::Plain => Box::new(&mut file),
            Packing::Gzip => Box::new(MultiGzDecoder::new(&mut file)),
            Packing::Zstandard => {
                Box::new(zstd::stream::read::Decoder::with_buffer(&mut file).map_err(Refused::unreadable)?)
            }
        };
        let unpacked = Unpacked { stream, hasher: Sha256::new(), read: 0, packed, limits };
        let mut archive = Archive::new(unpacked);
        let index = into.join(INDEX);
        let failed = |error: io::Error| Refused::disk(&index, error);
        let mut writer = BufWriter::new(File::create_new(&index).map_err(failed)?);
        content::keep(&mut archive, &mut writer, &into.join(CONTENTS), users, limits)?;
        // What is behind the archive belongs to the layer, and to its digest.
        let mut unpacked = archive.into_inner();
        io::copy(&mut unpacked, &mut io::sink()).map_err(Refused::unreadable)?;
        index::finish(&mut writer, unpacked.read).and_then(|()| writer.flush()).map_err(failed)?;
        finish(unpacked.hasher)
    };
    io::copy(&mut file, &mut io::sink()).map_err(Refused::unreadable)?;
    let digest = finish(file.into_inner().hasher);
    if digest != layer.digest {
        return Err(Refused::new(format!("the digest of its bytes is {digest}")));
    }
    if diff_id != layer.diff_id {
        return Err(Refused::new(format!("it unpacks to {diff_id} and the image says {}", layer.diff_id)));
    }
    Ok(())
}

/// Makes a root in the empty directory `into`, of layers that were taken apart, each in its directory, lowest first. Blocks.
/// When it fails, `into` is worth nothing.
pub(super) fn put_together(
    layers: &[(Digest, PathBuf)],
    users: Users,
    into: &Path,
) -> Result<(), UnpackError> {
    put_together_within(layers, users, into, &LIMITS)
}

fn put_together_within(
    layers: &[(Digest, PathBuf)],
    users: Users,
    into: &Path,
    limits: &Limits,
) -> Result<(), UnpackError> {
    if let Some((layer, _)) = layers.get(limits.layers) {
        return Err(Refused::new(format!("the image has more than {} layers", limits.layers)).of(layer));
    }
    let disk = |source| UnpackError::Disk { path: into.display().to_string(), source };
    let root = Root::open_for(into, users).map_err(disk)?;
    let mut budget = Budget::new(limits);
    let mut left = limits.bytes;
    for (digest, directory) in layers {
        let laid = lay_one(directory, &root, users, limits, &mut budget);
        let used = laid.map_err(|refused| refused.of(digest))?;
        left = left.checked_sub(used).ok_or_else(|| too_much(limits.bytes).of(digest))?;
    }
    Ok(())
}

/// Lays one layer; answers with how many bytes it unpacked to.
fn lay_one(
    directory: &Path,
    root: &Root,
    users: Users,
    limits: &Limits,
    budget: &mut Budget,
) -> Result<u64, Refused> {
    let (index, contents) = (directory.join(INDEX), directory.join(CONTENTS));
    let failed = |error: io::Error| Refused::disk(directory, error);
    let reader = BufReader::new(File::open(index).map_err(failed)?);
    let contents = OwnedFd::from(File::open(contents).map_err(failed)?);
    let mut bytes = 0;
    lay(Entries::new(reader, &mut bytes), &contents, root, users, limits, budget)?;
    Ok(bytes)
}

fn too_much(most: u64) -> Refused {
    Refused::new(format!(
        "the image unpacks to more than {most} bytes: it may have 10 GiB, and nine tenths of what is free on the disk"
    ))
}

/// The bytes in the registry, hashed and counted.
struct Packed {
    file: File,
    hasher: Sha256,
    read: Rc<Cell<u64>>,
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

/// The unpacked bytes, hashed, counted and cut off where they are too many.
struct Unpacked<'a> {
    stream: Box<dyn Read + 'a>,
    hasher: Sha256,
    read: u64,
    packed: Rc<Cell<u64>>,
    limits: &'a Limits,
}

impl Read for Unpacked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.read += read as u64;
        let too_much = |why: String| Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        if self.read > self.limits.bytes {
            return too_much(self::too_much(self.limits.bytes).to_string());
        }
        if self.read > self.limits.ratio_from && self.read / self.limits.ratio > self.packed.get() {
            return too_much(format!("{} bytes unpack to {} and more", self.packed.get(), self.read));
        }
        Ok(read)
    }
}
