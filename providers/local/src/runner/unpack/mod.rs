//! Layers into a root directory.
//!
//! A layer is foreign bytes: nothing it says may reach outside the root, and nothing it holds may grow without bound.
//! Both of its digests are checked while it streams, and a root is used only after all of its layers passed.
//!
//! Owners are not kept, everything belongs to who unpacks it; neither are extended attributes, set-user-id bits, devices
//! and pipes.

mod archive;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod layer;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use longshore_contract::Digest;
use sha2::{Digest as _, Sha256};

use crate::registry::{Layer, Packing, Registry, StoredImage, finish};
use archive::Archive;
pub(super) use folder::Root;
use layer::{Budget, lay};

/// How much one image may unpack to.
#[derive(Debug, Clone)]
struct Limits {
    /// Members of all layers together.
    entries: u64,
    /// Bytes of all layers together, unpacked.
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

/// Unpacks all layers of `image` into the empty directory `into`. Blocks. When it fails, `into` is worth nothing.
pub(super) fn unpack(registry: &Registry, image: &StoredImage, into: &Path) -> Result<(), UnpackError> {
    let open = |layer: &Layer| registry.bytes(&layer.digest);
    unpack_layers(&image.layers, open, into, &LIMITS)
}

fn unpack_layers(
    layers: &[Layer],
    open: impl Fn(&Layer) -> io::Result<File>,
    into: &Path,
    limits: &Limits,
) -> Result<(), UnpackError> {
    let disk = |source| UnpackError::Disk { path: into.display().to_string(), source };
    let root = Root::open(into).map_err(disk)?;
    let mut budget = Budget::new(limits);
    let mut left = limits.bytes;
    for layer in layers {
        let file = open(layer).map_err(|error| Refused::unreadable(error).of(&layer.digest))?;
        let used = unpack_layer(layer, file, &root, limits, &mut budget, left);
        left -= used.map_err(|refused| refused.of(&layer.digest))?;
    }
    Ok(())
}

/// Lays one layer; answers with how many bytes it unpacked to.
fn unpack_layer(
    layer: &Layer,
    file: File,
    root: &Root,
    limits: &Limits,
    budget: &mut Budget,
    left: u64,
) -> Result<u64, Refused> {
    let packed = Rc::new(Cell::new(0));
    let file = Packed { file, hasher: Sha256::new(), read: Rc::clone(&packed) };
    let mut file = BufReader::with_capacity(256 << 10, file);
    let (unpacked, diff_id) = {
        let stream: Box<dyn Read + '_> = match layer.packing {
            Packing::Plain => Box::new(&mut file),
            Packing::Gzip => Box::new(MultiGzDecoder::new(&mut file)),
        };
        let unpacked = Unpacked { stream, hasher: Sha256::new(), read: 0, left, packed, limits };
        let mut archive = Archive::new(unpacked);
        lay(&mut archive, root, limits, budget)?;
        // What is behind the archive belongs to the layer, and to its digest.
        let mut unpacked = archive.into_inner();
        io::copy(&mut unpacked, &mut io::sink()).map_err(Refused::unreadable)?;
        (unpacked.read, finish(unpacked.hasher))
    };
    io::copy(&mut file, &mut io::sink()).map_err(Refused::unreadable)?;
    let digest = finish(file.into_inner().hasher);
    if digest != layer.digest {
        return Err(Refused::new(format!("the digest of its bytes is {digest}")));
    }
    if diff_id != layer.diff_id {
        return Err(Refused::new(format!("it unpacks to {diff_id} and the image says {}", layer.diff_id)));
    }
    Ok(unpacked)
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
    left: u64,
    packed: Rc<Cell<u64>>,
    limits: &'a Limits,
}

impl Read for Unpacked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.read += read as u64;
        let too_much = |why: String| Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        if self.read > self.left {
            return too_much(format!("the image unpacks to more than {} bytes", self.limits.bytes));
        }
        if self.read > self.limits.ratio_from && self.read / self.limits.ratio > self.packed.get() {
            return too_much(format!("{} bytes unpack to {} and more", self.packed.get(), self.read));
        }
        Ok(read)
    }
}
