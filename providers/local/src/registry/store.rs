//! The registry's directory. Everything here blocks.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use longshore_contract::Tag;

use super::MANIFEST_LIMIT;
use super::digest::{Algorithm, ContentDigest};
use super::document::Document;
use super::files::{self, Placer};
use super::name::RepositoryPath;
use super::refusal::Refusal;

pub(super) const BLOBS: &str = "_blobs";
pub(super) const MANIFESTS: &str = "_manifests";
pub(super) const TAGS: &str = "_tags";

/// A manifest as it is kept.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    placer: Placer,
    /// Held by whoever changes a repository, so that what a manifest needs cannot go away while it is checked, and
    /// shared by whoever tells a client that something is there, so that the collection cannot miss that it was told.
    changing: RwLock<()>,
}

impl Store {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let uploads = directory.join("uploads");
        for algorithm in Algorithm::ALL {
            fs::create_dir_all(directory.join("blobs").join(algorithm.name()))?;
        }
        fs::create_dir_all(directory.join("repositories"))?;
        match fs::remove_dir_all(&uploads) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&uploads)?,
        }
        let placer = Placer::new(uploads);
        let store = Self { directory: directory.to_owned(), placer, changing: RwLock::new(()) };
        // Their upload was killed before they were linked, or the last repository that had them let them go.
        store.remove_unlinked_bytes()?;
        Ok(store)
    }

    /// Where blob `digest` is, if anybody has it.
    pub(super) fn bytes(&self, digest: &ContentDigest) -> PathBuf {
        self.directory.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Where what is on its way in is kept.
    pub(super) fn uploads(&self) -> PathBuf {
        self.directory.join("uploads")
    }

    /// Where the repositories are.
    pub(super) fn repositories(&self) -> PathBuf {
        self.directory.join("repositories")
    }

    /// A folder of a repository's own.
    pub(super) fn folder(&self, repository: &RepositoryPath, folder: &str) -> PathBuf {
        self.repositories().join(repository.as_str()).join(folder)
    }

    fn link(&self, repository: &RepositoryPath, folder: &str, digest: &ContentDigest) -> PathBuf {
        self.folder(repository, folder).join(digest.hex())
    }

    fn tag_link(&self, repository: &RepositoryPath, tag: &Tag) -> PathBuf {
        self.folder(repository, TAGS).join(tag.as_str())
    }

    /// Keeps everybody else from changing or telling anything.
    pub(super) fn change(&self) -> RwLockWriteGuard<'_, ()> {
        // The lock guards files, and each of them is whole whatever happened to who held it.
        self.changing.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) -> RwLockReadGuard<'_, ()> {
        self.changing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blob `digest` and its size, for a client that will count on it; `None` when the repository has no such blob.
    pub(super) fn blob(
        &self,
        repository: &RepositoryPath,
        digest: &ContentDigest,
    ) -> io::Result<Option<(File, u64)>> {
        let _telling = self.tell();
        match self.find_blob(repository, digest)? {
            Some(found) => {
                files::touch(&self.link(repository, BLOBS, digest))?;
                Ok(Some(found))
            }
            None => Ok(None),
        }
    }

    fn find_blob(
        &self,
        repository: &RepositoryPath,
        digest: &ContentDigest,
    ) -> io::Result<Option<(File, u64)>> {
        if !self.link(repository, BLOBS, digest).try_exists()? {
            return Ok(None);
        }
        let Some(file) = files::open(&self.bytes(digest))? else { return Ok(None) };
        let size = file.metadata()?.len();
        Ok(Some((file, size)))
    }

    /// Whether the repository has blob `digest`. Nobody is told.
    pub(super) fn has_blob(&self, repository: &RepositoryPath, digest: &ContentDigest) -> io::Result<bool> {
        Ok(self.link(repository, BLOBS, digest).try_exists()? && self.bytes(digest).try_exists()?)
    }

    fn has_manifest(&self, repository: &RepositoryPath, digest: &ContentDigest) -> io::Result<bool> {
        self.link(repository, MANIFESTS, digest).try_exists()
    }

    /// Whether anything is there under that name.
    pub(super) fn has_repository(&self, repository: &RepositoryPath) -> io::Result<bool> {
        Ok(self.folder(repository, MANIFESTS).try_exists()? || self.folder(repository, BLOBS).try_exists()?)
    }

    /// Takes the complete and synced file at `from`, whose digest is `digest`, into the repository.
    pub(super) fn adopt(
        &self,
        repository: &RepositoryPath,
        digest: &ContentDigest,
        from: &Path,
    ) -> io::Result<()> {
        let _changing = self.change();
        let bytes = self.bytes(digest);
        if bytes.try_exists()? {
            fs::remove_file(from)?;
        } else {
            fs::rename(from, &bytes)?;
            files::sync_folder_of(&bytes)?;
        }
        self.placer.place(&self.link(repository, BLOBS, digest), b"")
    }

    /// Gives the repository a blob that another has: `from`, or any where none is named. False when there is none.
    pub(super) fn mount(
        &self,
        repository: &RepositoryPath,
        digest: &ContentDigest,
        from: Option<&RepositoryPath>,
    ) -> io::Result<bool> {
        let _changing = self.change();
        let there = match from {
            Some(from) => self.has_blob(from, digest)?,
            None => self.bytes(digest).try_exists()?,
        };
        if there {
            self.placer.place(&self.link(repository, BLOBS, digest), b"")?;
        }
        Ok(there)
    }

    /// Takes the blob from the repository; its bytes go with the next collection. False when it was not there.
    pub(super) fn remove_blob(
        &self,
        repository: &RepositoryPath,
        digest: &ContentDigest,
    ) -> io::Result<bool> {
        let _changing = self.change();
        files::remove(&self.link(repository, BLOBS, digest))
    }

    /// Manifest `digest`, for a client that will count on it; `None` when the repository has none.
    pub(super) fn manifest(
        &self,
        repository: &RepositoryPath,
        digest: &ContentDigest,
    ) -> io::Result<Option<Manifest>> {
        let _telling = self.tell();
        let found = self.find_manifest(repository, digest)?;
        if found.is_some() {
            files::touch(&self.link(repository, MANIFESTS, digest))?;
        }
        Ok(found)
    }

    /// Manifest `digest`; `None` when the repository has none. Nobody is told.
    pub(super) fn find_manifest(
        &self,
        repository: &RepositoryPath,
        digest: &ContentDigest,
    ) -> io::Result<Option<Manifest>> {
        let Some(media_type) = files::read(&self.link(repository, MANIFESTS, digest), 1 << 10)? else {
            return Ok(None);
        };
        let bytes = files::read(&self.bytes(digest), MANIFEST_LIMIT)?;
        let media_type = String::from_utf8_lossy(&media_type).into_owned();
        Ok(bytes.map(|bytes| Manifest { media_type, bytes }))
    }

    /// The digests of the repository's manifests, in the order of their digits.
    pub(super) fn manifests(&self, repository: &RepositoryPath) -> io::Result<Vec<ContentDigest>> {
        let names = files::entries(&self.folder(repository, MANIFESTS))?;
        let mut found: Vec<_> = names.iter().filter_map(|(name, _)| ContentDigest::from_hex(name)).collect();
        found.sort_by(|a, b| a.hex().cmp(b.hex()));
        Ok(found)
    }

    /// What `tag` names; `None` when the repository has no such tag.
    pub(super) fn tag(&self, repository: &RepositoryPath, tag: &Tag) -> io::Result<Option<ContentDigest>> {
        let text = files::read(&self.tag_link(repository, tag), 1 << 10)?;
        Ok(text.and_then(|text| String::from_utf8_lossy(&text).parse().ok()))
    }

    /// Keeps `manifest`, whose digest is `digest`, and points `tags` at it. Refused unless all it is made of is there;
    /// its subject need not be.
    pub(super) fn put_manifest(
        &self,
        repository: &RepositoryPath,
        digest: &ContentDigest,
        tags: &[Tag],
        document: &Document,
        manifest: &Manifest,
    ) -> Result<(), Refusal> {
        let _changing = self.change();
        for blob in document.blobs() {
            let Some((_, size)) = self.find_blob(repository, &blob.digest)? else {
                return Err(Refusal::manifest_blob_unknown(format!(
                    "{repository} has no blob {}: push it before its manifest",
                    blob.digest
                )));
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
            self.placer.place(&bytes, &manifest.bytes)?;
        }
        self.placer.place(&self.link(repository, MANIFESTS, digest), manifest.media_type.as_bytes())?;
        for tag in tags {
            self.placer.place(&self.tag_link(repository, tag), digest.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// Removes a manifest and the tags that name it. False when it was not there.
    pub(super) fn remove_manifest(
        &self,
        repository: &RepositoryPath,
        digest: &ContentDigest,
    ) -> io::Result<bool> {
        let _changing = self.change();
        for tag in self.tags(repository)? {
            if self.tag(repository, &tag)?.as_ref() == Some(digest) {
                files::remove(&self.tag_link(repository, &tag))?;
            }
        }
        files::remove(&self.link(repository, MANIFESTS, digest))
    }

    /// Removes a tag and nothing else. False when it was not there.
    pub(super) fn remove_tag(&self, repository: &RepositoryPath, tag: &Tag) -> io::Result<bool> {
        let _changing = self.change();
        files::remove(&self.tag_link(repository, tag))
    }

    /// The repository's tags in the order of their bytes.
    pub(super) fn tags(&self, repository: &RepositoryPath) -> io::Result<Vec<Tag>> {
        let names = files::entries(&self.folder(repository, TAGS))?;
        let mut tags: Vec<Tag> = names.iter().filter_map(|(name, _)| name.parse().ok()).collect();
        tags.sort();
        Ok(tags)
    }

    /// Removes bytes that no repository has; answers with how many there were. The caller sees to it that nothing is
    /// changed meanwhile.
    pub(super) fn remove_unlinked_bytes(&self) -> io::Result<u64> {
        let mut linked = BTreeSet::new();
        let mut folders = vec![self.repositories()];
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
        let mut removed = 0;
        for algorithm in Algorithm::ALL {
            for entry in fs::read_dir(self.directory.join("blobs").join(algorithm.name()))? {
                let entry = entry?;
                if !linked.contains(&entry.file_name()) {
                    removed += entry.metadata()?.len();
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryPath {
        text.parse().unwrap()
    }

    fn give(store: &Store, repository: &str, bytes: &[u8]) -> ContentDigest {
        let digest = ContentDigest::of(Algorithm::Sha256, bytes);
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
        let orphan = ContentDigest::of(Algorithm::Sha512, b"renamed, and killed before it was linked");
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
