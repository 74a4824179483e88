//! Layers that were compressed once, kept so that they are neither compressed nor sent again, and spool files.
//!
//! A docker daemon hands out layers uncompressed, and some destinations take one compression and not another. What a layer
//! compresses to depends on its contents and on how it is compressed and on nothing else, so [`Cache`] maps a layer's diff id
//! to its compressed bytes. Every entry is a file of its own that appears whole or not at all; it is verified while it is
//! read, and one that is damaged is removed. Entries stay until the cache is larger than its limit: then the one that was
//! used longest ago goes first. Processes may share a cache. Without a folder, or with a full disk, the same calls work and
//! nothing is kept.
//!
//! A [`Spool`] is a file in the same folder that nobody can see: it is gone when it is dropped or its process ends, however it
//! ends.

mod draft;
mod entry;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod layer;
mod limit;
mod pack;
mod room;
mod spool;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use longshore_contract::Digest;

pub use layer::{Layer, Packed, Plain};
pub use limit::{InvalidLimit, Limit};
pub use pack::{Bounds, PackError, Packing, Stop};
pub use room::{Cleared, Contents, Kept};
pub use spool::Spool;

/// A cache of compressed layers. Clones are the same cache.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Option<PathBuf>,
    limit: Limit,
    /// Whether the folder could be made, found out at the first use.
    prepared: OnceLock<bool>,
    /// A lock per layer that is being compressed in this process, so that one waits for the other.
    packing: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
}

impl Cache {
    /// The cache in `folder`, which is made when something is first kept. Nothing is read or written yet.
    pub fn at(folder: PathBuf, limit: Limit) -> Self {
        Self::new(Some(folder), limit)
    }

    /// A cache that keeps nothing; spools go to the temporary directory.
    pub fn nowhere() -> Self {
        Self::new(None, Limit::Bytes(0))
    }

    fn new(folder: Option<PathBuf>, limit: Limit) -> Self {
        Self(Arc::new(Inner { folder, limit, prepared: OnceLock::new(), packing: Mutex::default() }))
    }

    /// Where it is; `None` where nothing is kept.
    pub fn folder(&self) -> Option<&Path> {
        self.0.folder.as_deref()
    }

    /// The layer whose uncompressed bytes have the digest `diff_id`; `None` when it is not kept. An entry that is found counts
    /// as used now; what it holds is verified when it is read.
    pub fn layer(&self, diff_id: &Digest) -> Option<Layer> {
        let path = self.0.folder.as_deref()?.join(entry::LAYERS).join(entry::name(diff_id));
        let layer = entry::open(&path, diff_id)?;
        entry::touch(&path);
        Some(layer)
    }

    /// A file for bytes that are on their way, at most `limit` of them; it is nobody else's and gone when it is dropped or
    /// this process ends.
    pub fn spool(&self, limit: u64) -> io::Result<Spool> {
        Spool::new(&self.scratch(), limit)
    }

    /// The folder for files that have no name: the cache's own where it can be written, else the temporary directory.
    fn scratch(&self) -> PathBuf {
        self.prepared().map_or_else(std::env::temp_dir, Path::to_owned)
    }

    /// The folder, once it is there and what dead processes left in it is gone; `None` where nothing can be kept.
    fn prepared(&self) -> Option<&Path> {
        let folder = self.0.folder.as_deref()?;
        let prepared = *self.0.prepared.get_or_init(|| match prepare(folder) {
            Ok(()) => {
                draft::sweep(folder);
                true
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "the cache cannot be used, so nothing is kept");
                false
            }
        });
        prepared.then_some(folder)
    }

    /// The lock that whoever compresses the layer holds.
    fn packing(&self, diff_id: &Digest) -> Arc<Mutex<()>> {
        let mut packing = self.0.packing.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(packing.entry(diff_id.clone()).or_default())
    }
}

/// Says to programs that make backups that this need not be in one.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of longshore: `longshore cache clear` empties it.\n";

/// Makes the folder, for nobody else's eyes: layers are as private as the images they come from.
fn prepare(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder.join(entry::LAYERS))?;
    builder.create(folder.join(draft::DRAFTS))?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("CACHEDIR.TAG")) {
        Ok(mut tag) => io::Write::write_all(&mut tag, TAG.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading, whatever it is, without waiting and without following a link.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

#[cfg(test)]
mod tests;
