//! Small files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Writes files by way of a folder of its own, which must be on the same file system.
#[derive(Debug)]
pub(super) struct Placer {
    folder: PathBuf,
    count: AtomicU64,
}

impl Placer {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, count: AtomicU64::new(0) }
    }

    /// Makes the file at `path` say `text`, whole or not at all, durably. Its folders are made.
    pub(super) fn place(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!("place-{number}"));
        let placed = (|| {
            let mut file = File::create_new(&temporary)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            sync_folder_of(path)
        })();
        if placed.is_err() {
            // What is left over would be swept at the next opening.
            let _ = fs::remove_file(&temporary);
        }
        placed
    }
}

/// Makes a folder and those above it, durably.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        // Somebody else was faster, or something is in the way, which whoever writes there is told.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| sync_folder_of(folder)),
    }
}

/// The file's content; `None` where there is no file. More than `limit` bytes are an error.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes")));
    }
    Ok(Some(bytes))
}

/// The file; `None` where there is none.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    unless_absent(File::open(path))
}

/// Removes a file, durably. False when there was none.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    match unless_absent(fs::remove_file(path))? {
        Some(()) => sync_folder_of(path).map(|()| true),
        None => Ok(false),
    }
}

/// Says that the file was looked at now. False when there is none.
pub(super) fn touch(path: &Path) -> io::Result<bool> {
    let Some(file) = open(path)? else { return Ok(false) };
    file.set_modified(SystemTime::now()).map(|()| true)
}

/// The names in a folder, with when each was last written or touched; none where there is no folder. Names that are no
/// text are none of ours.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<(String, SystemTime)>> {
    let mut found = Vec::new();
    let Some(entries) = unless_absent(fs::read_dir(folder))? else { return Ok(found) };
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.metadata()?.modified()?));
        }
    }
    Ok(found)
}

/// Makes what was renamed into or removed from `folder` survive a loss of power.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_folder)
}

fn unless_absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
