//! What nobody needs any more goes.
//!
//! A manifest is needed when a tag names it, when it is one of those that the caller keeps, when it is part of a needed
//! index, or when it refers to a needed manifest. A blob is needed when a needed manifest of its repository names it. And
//! whatever came, or was asked for and told of, within the last `grace` is needed as it is: a client that was told of a
//! blob has that long to push the manifest that names it. Asking for something touches its link, so the rule survives the
//! process.
//!
//! Nobody is told of anything while it runs: what a client hears is either from before, and then it is young, or from
//! after. Links go before what they lead to, each kind synced before the next, so a process that is killed in between
//! leaves nothing that is served in part.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use longshore_contract::Digest;

use super::digest::ContentDigest;
use super::document::Document;
use super::files::{self, entries};
use super::name::RepositoryPath;
use super::store::{BLOBS, MANIFESTS, Store};

/// What a collection took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests, counted in each repository that had them.
    pub manifests: u64,
    /// Blobs, counted in each repository that had them.
    pub blobs: u64,
    /// Bytes that no repository had any more, as they were on disk.
    pub bytes: u64,
}

/// What stays in a repository. Kept apart, because bytes may be pushed as both.
#[derive(Debug, Default)]
struct Needed {
    manifests: BTreeSet<ContentDigest>,
    blobs: BTreeSet<ContentDigest>,
}

/// What goes from one repository.
#[derive(Debug, Default)]
struct Doomed {
    manifests: Vec<ContentDigest>,
    blobs: Vec<ContentDigest>,
}

impl Store {
    /// Removes what nobody needs. `keep` is asked when nothing can be changed any more: it names the manifests that are
    /// needed whatever the tags say. After a failure, or a kill, what is left is whole, and the next collection goes on.
    pub(super) fn collect(
        &self,
        keep: impl FnOnce() -> Vec<Digest>,
        grace: Duration,
    ) -> io::Result<Collected> {
        let _changing = self.change();
        let keep: BTreeSet<ContentDigest> = keep().iter().map(ContentDigest::from).collect();
        // Where the clock cannot go back that far everything is young.
        let since = SystemTime::now().checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut doomed = Vec::new();
        for repository in self.named()? {
            doomed.push((self.doomed(&repository, &keep, since)?, repository));
        }

        let mut collected = Collected::default();
        for (doomed, repository) in &doomed {
            collected.manifests += unlink(&self.folder(repository, MANIFESTS), &doomed.manifests)?;
        }
        for (doomed, repository) in &doomed {
            collected.blobs += unlink(&self.folder(repository, BLOBS), &doomed.blobs)?;
        }
        collected.bytes = self.remove_unlinked_bytes()?;
        Ok(collected)
    }

    /// All repositories.
    fn named(&self) -> io::Result<Vec<RepositoryPath>> {
        let root = self.repositories();
        let (mut found, mut folders) = (BTreeSet::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if !entry.file_type()?.is_dir() {
                    continue;
                }
                if !entry.file_name().as_encoded_bytes().starts_with(b"_") {
                    folders.push(entry.path());
                } else if let Ok(name) = folder.strip_prefix(&root)
                    && let Some(Ok(name)) = name.to_str().map(str::parse)
                {
                    found.insert(name);
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    fn doomed(
        &self,
        repository: &RepositoryPath,
        keep: &BTreeSet<ContentDigest>,
        since: SystemTime,
    ) -> io::Result<Doomed> {
        let manifests = links(&self.folder(repository, MANIFESTS))?;
        let blobs = links(&self.folder(repository, BLOBS))?;
        let Some(needed) = self.needed(repository, &manifests, keep, since)? else {
            return Ok(Doomed::default());
        };
        let old = |(digest, told): (ContentDigest, SystemTime)| (told < since).then_some(digest);
        let unneeded = |links: Vec<_>, needed: &BTreeSet<ContentDigest>| {
            links.into_iter().filter_map(old).filter(|digest| !needed.contains(digest)).collect()
        };
        Ok(Doomed {
            manifests: unneeded(manifests, &needed.manifests),
            blobs: unneeded(blobs, &needed.blobs),
        })
    }

    /// Everything in `repository` that its roots need, and they themselves; `None` when that cannot be told.
    fn needed(
        &self,
        repository: &RepositoryPath,
        manifests: &[(ContentDigest, SystemTime)],
        keep: &BTreeSet<ContentDigest>,
        since: SystemTime,
    ) -> io::Result<Option<Needed>> {
        let mut ahead: Vec<ContentDigest> = Vec::new();
        for tag in self.tags(repository)? {
            ahead.extend(self.tag(repository, &tag)?);
        }
        let mut referrers: BTreeMap<ContentDigest, Vec<ContentDigest>> = BTreeMap::new();
        for (digest, told) in manifests {
            let Ok(document) = self.document(repository, digest)? else { return Ok(None) };
            if let Some(subject) = document.and_then(|document| document.subject) {
                referrers.entry(subject).or_default().push(digest.clone());
            }
            if *told >= since || keep.contains(digest) {
                ahead.push(digest.clone());
            }
        }
        let mut needed = Needed::default();
        while let Some(digest) = ahead.pop() {
            if !needed.manifests.insert(digest.clone()) {
                continue;
            }
            ahead.extend(referrers.remove(&digest).unwrap_or_default());
            // Read again, and not kept from before: a repository may have more manifests than there is room for.
            let Ok(document) = self.document(repository, &digest)? else { return Ok(None) };
            let Some(document) = document else { continue };
            ahead.extend(document.children().iter().map(|child| child.digest.clone()));
            needed.blobs.extend(document.blobs().map(|blob| blob.digest.clone()));
        }
        Ok(Some(needed))
    }

    /// Manifest `digest`; `Ok(None)` when there is none, and an error when it cannot be understood.
    fn document(
        &self,
        repository: &RepositoryPath,
        digest: &ContentDigest,
    ) -> io::Result<Result<Option<Document>, ()>> {
        let Some(manifest) = self.find_manifest(repository, digest)? else { return Ok(Ok(None)) };
        match Document::read(Some(&manifest.media_type), &manifest.bytes) {
            Ok((document, _)) => Ok(Ok(Some(document))),
            Err(why) => {
                tracing::warn!(
                    "nothing is collected from {repository}: its manifest {digest} is damaged: {why}"
                );
                Ok(Err(()))
            }
        }
    }
}

/// The digests in a folder of links, and when each was last told of. Files that are no digest are none of ours.
fn links(folder: &Path) -> io::Result<Vec<(ContentDigest, SystemTime)>> {
    let found = entries(folder)?;
    Ok(found.into_iter().filter_map(|(name, told)| Some((ContentDigest::from_hex(&name)?, told))).collect())
}

/// Removes links, durably; answers with how many.
fn unlink(folder: &Path, links: &[ContentDigest]) -> io::Result<u64> {
    if links.is_empty() {
        return Ok(0);
    }
    for link in links {
        fs::remove_file(folder.join(link.hex()))?;
    }
    files::sync_folder(folder)?;
    Ok(links.len() as u64)
}
