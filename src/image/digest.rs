//! Digests of bytes.

use std::io;

use longshore_contract::Digest;
use sha2::{Digest as _, Sha256};

/// Computes a digest from pieces.
#[derive(Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        format!("sha256:{}", hex::encode(self.0.finalize())).parse().expect("a SHA-256 is a digest")
    }
}

/// A reader that hashes what is read through it.
pub(super) struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R> Hashing<R> {
    pub(super) fn of(inner: R) -> Self {
        Self { inner, hasher: Hasher::default() }
    }

    /// The digest of what was read.
    pub(super) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<R: io::Read> io::Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// The digest of `bytes`.
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_does_not_depend_on_the_pieces() {
        let mut hasher = Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), digest_of(b"abc"));
        assert_eq!(
            digest_of(b"abc").as_str(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
