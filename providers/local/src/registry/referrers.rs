//! Which manifests say that they are about another.
//!
//! Nothing is kept for it: the manifests themselves are asked, so there is no second truth that a crash could leave
//! behind, and those count that were pushed before anybody asked. A repository of 1,000 manifests is asked in some tens
//! of milliseconds.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::MANIFEST_LIMIT;
use super::digest::ContentDigest;
use super::document::{Document, OCI_INDEX};
use super::name::RepositoryPath;
use super::store::Store;

/// The most bytes of one page: what a client takes for a manifest.
const PAGE: usize = MANIFEST_LIMIT as usize;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) subject: ContentDigest,
    /// Only artefacts of this kind.
    pub(super) artifact_type: Option<String>,
    /// Only those behind this one.
    pub(super) last: Option<ContentDigest>,
}

/// Some of the referrers of a manifest.
#[derive(Debug)]
pub(super) struct Page {
    /// An image index of them.
    pub(super) index: Vec<u8>,
    /// The last of them, where more are left.
    pub(super) last: Option<ContentDigest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Referrer>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    media_type: String,
    digest: ContentDigest,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// The referrers that `query` asks for, in the order of their digits, as many as one answer holds. Blocks.
pub(super) fn referrers(store: &Store, repository: &RepositoryPath, query: &Query) -> io::Result<Page> {
    let mut page = Page { index: Vec::new(), last: None };
    let (mut manifests, mut bytes) = (Vec::<Referrer>::new(), 0);
    for digest in store.manifests(repository)? {
        if query.last.as_ref().is_some_and(|last| digest.hex() <= last.hex()) {
            continue;
        }
        let Some(referrer) = referrer(store, repository, digest, query)? else { continue };
        let length = serde_json::to_vec(&referrer)?.len() + 1;
        // At least one goes into each page, or nobody would ever get behind it.
        if bytes + length > PAGE
            && let Some(last) = manifests.last()
        {
            page.last = Some(last.digest.clone());
            break;
        }
        bytes += length;
        manifests.push(referrer);
    }
    page.index = serde_json::to_vec(&Index { schema_version: 2, media_type: OCI_INDEX, manifests })?;
    Ok(page)
}

/// Manifest `digest` as a referrer; `None` when it is not what the query asks for.
fn referrer(
    store: &Store,
    repository: &RepositoryPath,
    digest: ContentDigest,
    query: &Query,
) -> io::Result<Option<Referrer>> {
    let Some(manifest) = store.find_manifest(repository, &digest)? else { return Ok(None) };
    // It was understood when it came; where it is not any more, it is damaged and no referrer.
    let Ok((document, media_type)) = Document::read(Some(&manifest.media_type), &manifest.bytes) else {
        return Ok(None);
    };
    let artifact_type = document.artifact_type().map(str::to_owned);
    let wanted = document.subject.as_ref() == Some(&query.subject)
        && query.artifact_type.as_ref().is_none_or(|wanted| artifact_type.as_ref() == Some(wanted));
    Ok(wanted.then_some(Referrer {
        media_type,
        digest,
        size: manifest.bytes.len(),
        artifact_type,
        annotations: document.annotations,
    }))
}
