//! What a cache holds, and making room in it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use longshore_contract::Digest;

use super::{Cache, draft, entry};

/// What a cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its layers, the one used last first.
    pub layers: Vec<Kept>,
    /// How many bytes on disk they are.
    pub bytes: u64,
    /// How many there may be.
    pub limit: u64,
}

/// A layer that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The digest of its uncompressed bytes.
    pub diff_id: Digest,
    /// How many they are.
    pub plain_size: u64,
    /// The digest of its compressed bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// When it was last used.
    pub used: Timestamp,
}

/// What was removed from a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleared {
    /// How many files.
    pub files: u64,
    /// How many bytes on disk they were.
    pub bytes: u64,
}

/// A file among the entries, whatever is in it.
struct Found {
    path: PathBuf,
    bytes: u64,
    used: std::time::SystemTime,
}

impl Cache {
    /// What it holds now. A cache that was never used holds nothing.
    pub fn contents(&self) -> io::Result<Contents> {
        let Some(folder) = self.folder() else {
            return Ok(Contents { layers: Vec::new(), bytes: 0, limit: 0 });
        };
        let mut found = list(folder)?;
        found.sort_by_key(|found| std::cmp::Reverse(found.used));
        let bytes = found.iter().map(|found| found.bytes).sum();
        let layers = found.iter().filter_map(|found| {
            let head = entry::read(&super::open_plain(&found.path).ok()?)?;
            let entry::Head { diff_id, plain_size, digest, size, .. } = head;
            Some(Kept { diff_id, plain_size, digest, size, used: found.used.try_into().unwrap_or_default() })
        });
        Ok(Contents { layers: layers.collect(), bytes, limit: self.0.limit.bytes(folder, bytes) })
    }

    /// Removes every entry and what dead processes left. Who reads an entry now reads it to its end.
    pub fn clear(&self) -> io::Result<Cleared> {
        let mut cleared = Cleared::default();
        let Some(folder) = self.folder() else { return Ok(cleared) };
        draft::sweep(folder);
        for found in list(folder)? {
            match std::fs::remove_file(&found.path) {
                Ok(()) => {
                    cleared.files += 1;
                    cleared.bytes += found.bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(cleared)
    }

    /// Removes what was used longest ago until the limit is kept; what was put there last too, where it alone is more. Only one
    /// process does so at a time; another one leaves it to that.
    pub(super) fn keep_limit(&self) -> io::Result<()> {
        let Some(folder) = self.folder() else { return Ok(()) };
        let used: u64 = list(folder)?.iter().map(|found| found.bytes).sum();
        self.shrink(folder, self.0.limit.bytes(folder, used))
    }

    /// Removes everything: a disk that is full has no room for what might be used again.
    pub(super) fn give_way(&self) -> io::Result<()> {
        self.folder().map_or(Ok(()), |folder| self.shrink(folder, 0))
    }

    fn shrink(&self, folder: &Path, limit: u64) -> io::Result<()> {
        let lock = File::options().create(true).append(true).open(folder.join("lock"))?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        let mut found = list(folder)?;
        found.sort_by_key(|found| found.used);
        let mut total: u64 = found.iter().map(|found| found.bytes).sum();
        for found in found {
            if total <= limit {
                break;
            }
            tracing::debug!(entry = %found.path.display(), bytes = found.bytes, "evicted from the cache");
            std::fs::remove_file(&found.path)?;
            total -= found.bytes;
        }
        Ok(())
    }
}

fn list(folder: &Path) -> io::Result<Vec<Found>> {
    let entries = match std::fs::read_dir(folder.join(entry::LAYERS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // What goes while we look is not there.
    let found = entries.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(Found { path: entry.path(), bytes: metadata.len(), used: metadata.modified().ok()? })
    });
    Ok(found.collect())
}
