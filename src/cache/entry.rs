//! One kept layer as a file: a head of fixed length that says what it is, then the compressed bytes.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use longshore_contract::Digest;
use serde::{Deserialize, Serialize};

use super::layer::Layer;
use super::pack::RECIPE;

/// The folder of entries.
pub(super) const LAYERS: &str = "layers";
/// How long a head is. An entry that is not finished has none, only zeros.
pub(super) const HEAD: u64 = 512;

/// What a head says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// How it was compressed; another recipe makes other bytes, so its entries are others.
    pub(super) recipe: String,
    /// The digest of the uncompressed bytes.
    pub(super) diff_id: Digest,
    /// How many they are.
    pub(super) plain_size: u64,
    /// The digest of the compressed bytes.
    pub(super) digest: Digest,
    /// How many they are.
    pub(super) size: u64,
}

impl Head {
    /// The head's bytes: one line of JSON, filled up with spaces.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("text and numbers are JSON");
        assert!(text.len() < HEAD as usize, "two digests, two numbers and a word are shorter");
        text.resize(HEAD as usize - 1, b' ');
        text.push(b'\n');
        text
    }
}

/// An entry's file name.
pub(super) fn name(diff_id: &Digest) -> String {
    format!("{}.{RECIPE}", diff_id.hex())
}

/// The entry at `path`, where there is one and it is what its name says; one that is not is removed.
pub(super) fn open(path: &Path, diff_id: &Digest) -> Option<Layer> {
    let file = super::open_plain(path).ok()?;
    match read(&file).filter(|head| head.diff_id == *diff_id && head.recipe == RECIPE) {
        Some(Head { diff_id, plain_size, digest, size, .. }) => {
            Some(Layer { diff_id, plain_size, digest, size, file: Arc::new(file), entry: Some(path.into()) })
        }
        None => {
            tracing::warn!(entry = %path.display(), "an entry of the cache is damaged and is removed");
            let _ = std::fs::remove_file(path);
            None
        }
    }
}

/// The head of an entry whose length agrees with it.
pub(super) fn read(file: &File) -> Option<Head> {
    let mut bytes = [0; HEAD as usize];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let head: Head = serde_json::from_slice(&bytes).ok()?;
    let whole = HEAD.checked_add(head.size)?;
    (file.metadata().ok()?.len() == whole).then_some(head)
}

/// Notes that an entry is used now. Where that cannot be noted it only goes earlier than it should.
pub(super) fn touch(path: &Path) {
    let _ = File::options()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(std::time::SystemTime::now()));
}
