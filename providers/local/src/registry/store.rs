//! The registry's directory. Everything here blocks.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use longshore_contract::{Digest, Tag};
use sha2::{Digest as _, Sha256};

use super::MANIFEST_LIMIT;
use super::document::Document;
use super::name::RepositoryPath;
use super::refusal::Refusal;

const BLOBS: &str = "_blobs";
const MANIFESTS: &str = "_manifests";
const TAGS: &str = "_tags";

/// A manifest as it is kept.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    /// Held by whoever changes a repository, so that what a manifest needs cannot go away while it is checked.
    changing: Mutex<()>,
    temporary: AtomicU64,
}

impl Store {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let store =
            Self { directory: directory.to_owned(), changing: Mutex::new(()), temporary: AtomicU64::new(0) };
        fs::create_dir_all(directory.join("blobs/sha256"))?;
        fs::create_dir_all(directory.join("repositories"))?;
        match fs::remove_dir_all(store.uploads()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(store.uploads())?,
        }
        store.sweep()?;
        Ok(store)
    }

    /// Removes bytes that no repository has: their upload was killed before it was linked, or they were deleted.
    fn sweep(&self) -> io::Result<()> {
        let mut linked = BTreeSet::new();
        let mut folders = vec![self.directory.join("repositories")];
        while let Some(folder) = folders.pop() {
            let holds_links = folder.ends_with(BLOBS) || folder.ends_with(MANIFESTS);
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if holds_links {
                    linked.insert(entry.file_name());
                }
            }
        }
        for entry in fs::read_dir(self.directory.join("blobs/sha256"))? {
            let entry = entry?;
            if !linked.contains(&entry.file_name()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Where blob `digest` is, if anybody has it.
    pub(super) fn bytes(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }

    /// Where what is on its way in is kept.
    pub(super) fn uploads(&self) -> PathBuf {
        self.directory.join("uploads")
    }

    fn entry(&self, repository: &RepositoryPath, folder: &str, name: &str) -> PathBuf {
        self.directory.join("repositories").join(repository.as_str()).join(folder).join(name)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        // The lock guards files, and each of them is whole whatever happened to who held it.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blob `digest` and its size; `None` when the repository has no such blob.
    pub(super) fn blob(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> io::Result<Option<(File, u64)>> {
        if !self.has_blob(repository, digest)? {
            return Ok(None);
        }
        match File::open(self.bytes(digest)) {
            Ok(file) => {
                let size = file.metadata()?.len();
                Ok(Some((file, size)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn has_blob(&self, repository: &RepositoryPath, digest: &Digest) -> io::Result<bool> {
        Ok(self.entry(repository, BLOBS, digest.hex()).try_exists()? && self.bytes(digest).try_exists()?)
    }

    fn has_manifest(&self, repository: &RepositoryPath, digest: &Digest) -> io::Result<bool> {
        self.entry(repository, MANIFESTS, digest.hex()).try_exists()
    }

    /// Takes the complete and synced file at `from`, whose digest is `digest`, into the repository.
    pub(super) fn adopt(&self, repository: &RepositoryPath, digest: &Digest, from: &Path) -> io::Result<()> {
        let _changing = self.change();
        let bytes = self.bytes(digest);
        if bytes.try_exists()? {
            fs::remove_file(from)?;
        } else {
            fs::rename(from, &bytes)?;
            sync_folder_of(&bytes)?;
        }
        self.place(&self.entry(repository, BLOBS, digest.hex()), b"")
    }

    /// Gives the repository a blob that another has: `from`, or any where none is named. False when there is none.
    pub(super) fn mount(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
        from: Option<&RepositoryPath>,
    ) -> io::Result<bool> {
        let _changing = self.change();
        let there = match from {
            Some(from) => self.has_blob(from, digest)?,
            None => self.bytes(digest).try_exists()?,
        };
        if there {
            self.place(&self.entry(repository, BLOBS, digest.hex()), b"")?;
        }
        Ok(there)
    }

    /// Takes the blob from the repository; its bytes go when the registry is opened next. False when it was not there.
    pub(super) fn remove_blob(&self, repository: &RepositoryPath, digest: &Digest) -> io::Result<bool> {
        let _changing = self.change();
        remove(&self.entry(repository, BLOBS, digest.hex()))
    }

    /// Manifest `digest`; `None` when the repository has none.
    pub(super) fn manifest(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> io::Result<Option<Manifest>> {
        let Some(media_type) = read(&self.entry(repository, MANIFESTS, digest.hex()), 1 << 10)? else {
            return Ok(None);
        };
        let bytes = read(&self.bytes(digest), MANIFEST_LIMIT)?;
        let media_type = String::from_utf8_lossy(&media_type).into_owned();
        Ok(bytes.map(|bytes| Manifest { media_type, bytes }))
    }

    /// What `tag` names; `None` when the repository has no such tag.
    pub(super) fn tag(&self, repository: &RepositoryPath, tag: &Tag) -> io::Result<Option<Digest>> {
        let text = read(&self.entry(repository, TAGS, tag.as_str()), 1 << 10)?;
        Ok(text.and_then(|text| String::from_utf8_lossy(&text).parse().ok()))
    }

    /// Keeps `manifest`, whose digest is `digest`, and points `tag` at it. Refused unless all it names is there.
    pub(super) fn put_manifest(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
        tag: Option<&Tag>,
        document: &Document,
        manifest: &Manifest,
    ) -> Result<(), Refusal> {
        let _changing = self.change();
        for blob in document.blobs() {
            let size = match self.blob(repository, &blob.digest)? {
                Some((_, size)) => size,
                None => {
                    return Err(Refusal::manifest_blob_unknown(format!(
                        "{repository} has no blob {}: push it before its manifest",
                        blob.digest
                    )));
                }
            };
            if size != blob.size {
                let message =
                    format!("{} has {size} bytes, and the manifest says {}", blob.digest, blob.size);
                return Err(Refusal::manifest_invalid(message));
            }
        }
        for child in document.children() {
            if !self.has_manifest(repository, &child.digest)? {
                return Err(Refusal::manifest_blob_unknown(format!(
                    "{repository} has no manifest {}: push it before its index",
                    child.digest
                )));
            }
        }
        let bytes = self.bytes(digest);
        if !bytes.try_exists()? {
            self.place(&bytes, &manifest.bytes)?;
        }
        self.place(&self.entry(repository, MANIFESTS, digest.hex()), manifest.media_type.as_bytes())?;
        if let Some(tag) = tag {
            self.place(&self.entry(repository, TAGS, tag.as_str()), digest.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// Removes a manifest and the tags that name it. False when it was not there.
    pub(super) fn remove_manifest(&self, repository: &RepositoryPath, digest: &Digest) -> io::Result<bool> {
        let _changing = self.change();
        for tag in self.tags(repository)?.unwrap_or_default() {
            if self.tag(repository, &tag)?.as_ref() == Some(digest) {
                remove(&self.entry(repository, TAGS, tag.as_str()))?;
            }
        }
        remove(&self.entry(repository, MANIFESTS, digest.hex()))
    }

    /// Removes a tag and nothing else. False when it was not there.
    pub(super) fn remove_tag(&self, repository: &RepositoryPath, tag: &Tag) -> io::Result<bool> {
        let _changing = self.change();
        remove(&self.entry(repository, TAGS, tag.as_str()))
    }

    /// The repository's tags in the order of their bytes; `None` when nothing was ever pushed there.
    pub(super) fn tags(&self, repository: &RepositoryPath) -> io::Result<Option<Vec<Tag>>> {
        if !self.entry(repository, MANIFESTS, "").try_exists()? {
            return Ok(None);
        }
        let mut tags = Vec::new();
        match fs::read_dir(self.entry(repository, TAGS, "")) {
            Ok(entries) => {
                for entry in entries {
                    tags.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Tag>().ok()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        tags.sort();
        Ok(Some(tags))
    }

    /// Makes the file at `path` say `text`, whole or not at all, durably. Its folders are made.
    fn place(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.directory);
        fs::create_dir_all(folder)?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.uploads().join(format!("place-{number}"));
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

/// The digest of `bytes`.
pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    finish(Sha256::new_with_prefix(bytes))
}

/// The digest of all that `hasher` was given.
pub(crate) fn finish(hasher: Sha256) -> Digest {
    let text = format!("sha256:{}", hex::encode(hasher.finalize()));
    text.parse().expect("sha256: and 64 lower-case hexadecimal digits")
}

/// The file's content; `None` where there is no file. More than `limit` bytes are an error.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes")));
    }
    Ok(Some(bytes))
}

fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a rename into the folder of `path` survive a loss of power.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryPath {
        text.parse().unwrap()
    }

    fn give(store: &Store, repository: &str, bytes: &[u8]) -> Digest {
        let digest = digest_of(bytes);
        let from = store.uploads().join(digest.hex());
        fs::write(&from, bytes).unwrap();
        store.adopt(&name(repository), &digest, &from).unwrap();
        digest
    }

    #[test]
    fn what_was_left_half_done_is_swept_when_it_opens() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let kept = give(&store, "a", b"kept");
        let orphan = digest_of(b"renamed, and killed before it was linked");
        fs::write(store.bytes(&orphan), b"x").unwrap();
        fs::write(store.uploads().join("half"), b"half").unwrap();

        let store = Store::open(directory.path()).unwrap();
        assert!(store.has_blob(&name("a"), &kept).unwrap());
        assert!(!store.bytes(&orphan).exists());
        assert_eq!(fs::read_dir(store.uploads()).unwrap().count(), 0);
    }

    #[test]
    fn a_blob_belongs_to_the_repositories_that_have_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let digest = give(&store, "a", b"bytes");
        assert!(!store.has_blob(&name("a/b"), &digest).unwrap());
        assert!(!store.mount(&name("c"), &digest, Some(&name("a/b"))).unwrap());
        assert!(store.mount(&name("a/b"), &digest, Some(&name("a"))).unwrap());
        assert!(store.remove_blob(&name("a"), &digest).unwrap());
        assert!(!store.remove_blob(&name("a"), &digest).unwrap());
        assert!(!store.has_blob(&name("a"), &digest).unwrap());
        let store = Store::open(directory.path()).unwrap();
        assert!(store.has_blob(&name("a/b"), &digest).unwrap());
        assert!(store.remove_blob(&name("a/b"), &digest).unwrap());
        let store = Store::open(directory.path()).unwrap();
        assert!(!store.bytes(&digest).exists());
    }
}
