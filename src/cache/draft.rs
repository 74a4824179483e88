//! An entry on its way: a file that becomes one whole, or is gone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{self, HEAD, Head};
use super::layer::Layer;

/// The folder of entries on their way. Whoever writes one holds its lock, so what is not locked is a dead process's.
pub(super) const DRAFTS: &str = "drafts";

/// An entry on its way.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    /// `None` where it is not to be kept: then the file has no name.
    path: Option<PathBuf>,
    at: u64,
}

impl Draft {
    /// A draft in the cache's folder.
    pub(super) fn named(folder: &Path) -> io::Result<Self> {
        loop {
            let path = folder.join(DRAFTS).join(ulid::Ulid::generate().to_string());
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            file.lock()?;
            // Before it was locked it may have looked like a dead process's.
            if file.metadata()?.nlink() > 0 {
                return Ok(Self { file, path: Some(path), at: HEAD });
            }
        }
    }

    /// A draft that will not be kept.
    pub(super) fn unnamed(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(folder)?, path: None, at: HEAD })
    }

    /// Makes an entry of it. Where it cannot be given its name it is read from here all the same, and is not kept.
    pub(super) fn finish(mut self, folder: Option<&Path>, head: Head) -> io::Result<Layer> {
        self.file.write_all_at(&head.to_bytes(), 0)?;
        let wanted = folder.map(|folder| folder.join(entry::LAYERS).join(entry::name(&head.diff_id)));
        let kept = match (self.path.take(), wanted) {
            (Some(path), Some(wanted)) => match std::fs::rename(&path, &wanted) {
                Ok(()) => Some(wanted),
                Err(error) => {
                    tracing::warn!(entry = %wanted.display(), %error, "a compressed layer cannot be kept");
                    let _ = std::fs::remove_file(&path);
                    None
                }
            },
            (path, _) => {
                self.path = path;
                None
            }
        };
        let file = Arc::new(self.file.try_clone()?);
        let _ = self.file.unlock();
        let Head { diff_id, plain_size, digest, size, .. } = head;
        Ok(Layer { diff_id, plain_size, digest, size, file, entry: kept.map(Into::into) })
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes the drafts of processes that are dead.
pub(super) fn sweep(folder: &Path) {
    for found in std::fs::read_dir(folder.join(DRAFTS)).into_iter().flatten().flatten() {
        let path = found.path();
        if let Ok(file) = super::open_plain(&path)
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_file(&path);
        }
    }
}
