//! An OCI distribution registry in a directory.
//!
//! ```text
//! blobs/ALGORITHM/HEX                         every byte, once, whatever it belongs to
//! uploads/ID                                  what is on its way in; nothing here outlives the process
//! repositories/NAME/_blobs/HEX                an empty file: this repository has the blob
//! repositories/NAME/_manifests/HEX            its manifest's media type
//! repositories/NAME/_tags/TAG                 a digest
//! ```
//!
//! A part of a repository's name never begins with `_`, so names and these folders cannot meet. Everything below
//! `blobs` and `repositories` appears by a rename of something complete and synced: a process killed at any moment
//! leaves at most a file in `uploads` and bytes that no repository has, and [`Registry::open`] sweeps both. When a link
//! was last touched is when a client was last told that what it names is there: [`Registry::collect`] goes by that.

mod collect;
mod digest;
mod document;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod image;
mod name;
mod range;
mod receive;
mod referrers;
mod refusal;
mod route;
mod serve;
mod store;
#[cfg(test)]
mod tests;
mod upload;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longshore_contract::Digest;
use sha2::{Digest as _, Sha256};

pub use collect::Collected;
pub use image::{ImageRefusal, Layer, Packing, StoredImage};

use store::Store;
use upload::Uploads;

/// The most bytes a manifest may have.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// The most bytes a blob may have.
const BLOB_LIMIT: u64 = 10 << 30;

/// A registry in a directory. Clones are the same registry.
#[derive(Debug, Clone)]
pub struct Registry {
    store: Arc<Store>,
    uploads: Arc<Uploads>,
}

impl Registry {
    /// Opens the registry in `directory`, making it where there is none, and sweeps what an earlier process left half
    /// done. Only one process may have a directory open at a time; the caller sees to that.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let store = Arc::new(Store::open(directory)?);
        let uploads = Arc::new(Uploads::new(Arc::clone(&store)));
        Ok(Self { store, uploads })
    }

    /// The distribution API under `/v2/`, to be served on loopback: it asks nobody who they are.
    pub fn routes(&self) -> axum::Router {
        serve::routes(self.clone())
    }

    /// The image that manifest `digest` of the repository at `path` describes. The manifest and its configuration were
    /// read whole, within bounds, and have the digests they were asked for by; every layer is there and of a kind that
    /// can be unpacked, but was not read.
    pub async fn image(&self, path: &str, digest: &Digest) -> Result<StoredImage, ImageRefusal> {
        let (store, path, digest) = (Arc::clone(&self.store), path.to_owned(), digest.clone());
        blocking(move || image::image(&store, &path, &digest)).await
    }

    /// Removes what nobody needs any more: what no tag names, none of the manifests that `keep` answers with needs, and no
    /// client was told of within the last `grace`; manifests about something that stays, stay with it. Uploads that nobody
    /// goes on with end as well. Pushes and pulls may go on meanwhile: those that ask for something wait until it is done,
    /// and a blob that was told to be there stays for the `grace` that follows. `keep` is asked when they wait, so that
    /// it can answer with what is so then.
    pub async fn collect(
        &self,
        keep: impl FnOnce() -> Vec<Digest> + Send + 'static,
        grace: Duration,
    ) -> io::Result<Collected> {
        self.uploads.expire();
        let store = Arc::clone(&self.store);
        blocking(move || store.collect(keep, grace)).await
    }

    /// The bytes of blob `digest`, which some repository has or had. They are not verified.
    pub(crate) fn bytes(&self, digest: &Digest) -> io::Result<std::fs::File> {
        std::fs::File::open(self.store.bytes(&digest.into()))
    }
}

/// The digest of all that `hasher` was given.
pub(crate) fn finish(hasher: Sha256) -> Digest {
    let text = format!("sha256:{}", hex::encode(hasher.finalize()));
    text.parse().expect("sha256: and 64 lower-case hexadecimal digits")
}

/// Runs `work` where it may block. A panic in it goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
