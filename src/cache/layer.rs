//! A compressed layer at hand, and its bytes, verified on the way.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::GzDecoder;
use longshore_contract::Digest;
use sha2::{Digest as _, Sha256};

use super::entry::HEAD;

/// A compressed layer. It can be read as long as the value lives, also when its entry is evicted meanwhile.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The digest of its uncompressed bytes.
    pub diff_id: Digest,
    /// How many they are.
    pub plain_size: u64,
    /// The digest of its compressed bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    pub(super) file: Arc<File>,
    /// The entry's path, where it is kept.
    pub(super) entry: Option<Arc<Path>>,
}

impl Layer {
    /// Its compressed bytes, from their beginning. The last of them are given only when the digest is right.
    pub fn packed(&self) -> Packed {
        Packed(Checked::new(self.part(), self.size, self.digest.clone(), self.entry.clone()))
    }

    /// Its uncompressed bytes, from their beginning. The last of them are given only when the diff id is right.
    pub fn plain(&self) -> Plain {
        let inflated = GzDecoder::new(io::BufReader::with_capacity(1 << 18, self.part()));
        Plain(Checked::new(inflated, self.plain_size, self.diff_id.clone(), self.entry.clone()))
    }

    fn part(&self) -> Part {
        Part { file: Arc::clone(&self.file), at: HEAD, end: HEAD + self.size }
    }
}

/// A layer's compressed bytes.
#[derive(Debug)]
pub struct Packed(Checked<Part>);

/// A layer's uncompressed bytes.
#[derive(Debug)]
pub struct Plain(Checked<GzDecoder<io::BufReader<Part>>>);

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// A part of a file that others read at the same time.
#[derive(Debug)]
struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Bytes whose number and digest are known: any other is an error, and the entry they came from is removed.
#[derive(Debug)]
struct Checked<R> {
    inner: R,
    left: u64,
    hash: Sha256,
    digest: Digest,
    entry: Option<Arc<Path>>,
}

impl<R> Checked<R> {
    fn new(inner: R, left: u64, digest: Digest, entry: Option<Arc<Path>>) -> Self {
        Self { inner, left, hash: Sha256::new(), digest, entry }
    }

    fn damaged(&self, why: &str) -> io::Error {
        let removed = self.entry.as_deref().is_some_and(|entry| std::fs::remove_file(entry).is_ok());
        let removed = if removed { "; it was removed: run it again" } else { "" };
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the copy in the cache is damaged ({why}){removed}"),
        )
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let read = match self.inner.read(&mut buffer[..want]) {
            Ok(0) => return Err(self.damaged(&format!("it ends {} bytes early", self.left))),
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) =>
            {
                return Err(self.damaged(&error.to_string()));
            }
            Err(error) => return Err(error),
        };
        self.hash.update(&buffer[..read]);
        self.left -= read as u64;
        if self.left == 0 {
            let found = hex::encode(self.hash.finalize_reset());
            if found != self.digest.hex() {
                return Err(self.damaged(&format!("its bytes have the digest sha256:{found}")));
            }
        }
        Ok(read)
    }
}
