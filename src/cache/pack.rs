//! Compressing a layer, the same bytes every time.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use longshore_contract::Digest;
use sha2::{Digest as _, Sha256};

use super::draft::Draft;
use super::entry::Head;
use super::layer::Layer;
use super::{Cache, Limit};

/// How a layer is compressed. Whatever changes its bytes changes this word: the level, the encoder, the encoder's version.
/// A test compresses a known layer and fails when the bytes are others.
pub(super) const RECIPE: &str = "gzip-6-zlib-rs-1";

const LEVEL: u32 = 6;
const PIECE: usize = 1 << 18;

/// A compressor with every choice made that would differ from machine to machine.
fn encoder<W: Write>(to: W) -> GzEncoder<W> {
    // 255 is "unknown": the system that wrote it is not in the bytes.
    GzBuilder::new().mtime(0).operating_system(255).write(to, Compression::new(LEVEL))
}

/// A layer that is to be compressed.
#[derive(Debug, Clone, Copy)]
pub struct Packing<'a> {
    /// What its uncompressed bytes must have for a digest.
    pub diff_id: &'a Digest,
    /// How many there may be.
    pub bounds: Bounds,
    /// Tells whether the result is still wanted.
    pub stop: &'a Stop,
}

/// How far a layer that was itself compressed may swell before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many uncompressed bytes there may be at most.
    pub most: u64,
}

/// Tells work on another thread that nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Says that nobody waits any more.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// Why a layer could not be compressed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It could not be read, or not to its end.
    #[error("{0}")]
    Read(io::Error),
    /// The compressed bytes could not be written anywhere.
    #[error("its compressed bytes cannot be written to {folder}: {error}")]
    Write {
        /// Where they were to go in the end.
        folder: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// It is larger than what is read.
    #[error("it has more than the {most} uncompressed bytes that are read")]
    TooLarge {
        /// How many that are.
        most: u64,
    },
    /// It is another layer.
    #[error("its contents have the digest {found}, the configuration says {wanted}")]
    WrongDiffId {
        /// What it has.
        found: Digest,
        /// What it should have.
        wanted: Digest,
    },
    /// Nobody waits for it any more.
    #[error("stopped")]
    Stopped,
}

impl Cache {
    /// The compressed layer: out of the cache where it is kept, else made from the uncompressed bytes that `open` gives, and
    /// kept. `open` may be called again, where the disk filled up. Blocks. While one caller compresses a layer, others in this
    /// process that want the same one wait for it. What comes back has the diff id that was asked for.
    pub fn pack<R: Read>(
        &self,
        packing: Packing<'_>,
        open: impl Fn() -> io::Result<R>,
    ) -> Result<Layer, PackError> {
        if let Some(layer) = self.layer(packing.diff_id) {
            return Ok(layer);
        }
        let turn = self.packing(packing.diff_id);
        let _turn = turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(layer) = self.layer(packing.diff_id) {
            return Ok(layer);
        }
        let folder = self.prepared().filter(|_| self.0.limit != Limit::Bytes(0));
        let mut result = pack_into(folder, packing, &open);
        if folder.is_some() && is_full(&result) {
            // What is kept may be of use some day; what is asked for is now.
            let _ = self.give_way();
            result = pack_into(folder, packing, &open);
        }
        if folder.is_some() && matches!(result, Err(PackError::Write { .. })) {
            result = pack_into(None, packing, &open);
        }
        // Where nothing can be kept there is nothing to keep small, and that is told already.
        if folder.is_some()
            && let Err(error) = self.keep_limit()
        {
            tracing::warn!(%error, "the cache cannot be kept to its limit");
        }
        result
    }
}

fn is_full(result: &Result<Layer, PackError>) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(result, Err(PackError::Write { error, .. }) if matches!(error.kind(), StorageFull | QuotaExceeded))
}

/// Compresses into `folder`, or where there is none into a file that is not kept.
fn pack_into<R: Read>(
    folder: Option<&Path>,
    packing: Packing<'_>,
    open: &impl Fn() -> io::Result<R>,
) -> Result<Layer, PackError> {
    let scratch = std::env::temp_dir();
    let failed = |error| PackError::Write { folder: folder.unwrap_or(&scratch).display().to_string(), error };
    let draft = folder.map_or_else(|| Draft::unnamed(&scratch), Draft::named).map_err(failed)?;
    let mut plain = open().map_err(PackError::Read)?;
    let mut encoder = encoder(Counted { inner: draft, hash: Sha256::new(), size: 0 });
    let (mut hash, mut plain_size) = (Sha256::new(), 0);
    let mut buffer = vec![0; PIECE];
    loop {
        packing.stop.check().map_err(|_| PackError::Stopped)?;
        // Whole pieces: what comes out must not depend on how a source happens to hand its bytes over.
        let read = fill(&mut plain, &mut buffer).map_err(PackError::Read)?;
        if read == 0 {
            break;
        }
        plain_size += read as u64;
        if plain_size > packing.bounds.most {
            return Err(PackError::TooLarge { most: packing.bounds.most });
        }
        hash.update(&buffer[..read]);
        encoder.write_all(&buffer[..read]).map_err(failed)?;
    }
    let found = digest(hash);
    if found != *packing.diff_id {
        return Err(PackError::WrongDiffId { found, wanted: packing.diff_id.clone() });
    }
    let Counted { inner: draft, hash, size } = encoder.finish().map_err(failed)?;
    let head = Head { recipe: RECIPE.to_owned(), diff_id: found, plain_size, digest: digest(hash), size };
    draft.finish(folder, head).map_err(failed)
}

/// Reads until `buffer` is full or there is no more.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn digest(hash: Sha256) -> Digest {
    format!("sha256:{}", hex::encode(hash.finalize())).parse().expect("a SHA-256 is a digest")
}

/// Counts and hashes what is written.
struct Counted<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
