//! Uploads on their way in.
//!
//! An upload is a file and the hash of what is in it, so far. Both grow together and only by whole writes, so what an
//! upload says about itself is what it has. Uploads live as long as the process at most, and end after an hour of silence.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;

use super::blocking;
use super::digest::{Algorithm, ContentDigest};
use super::name::RepositoryPath;
use super::receive::{Incoming, Progress, Stated, drain};
use super::refusal::Refusal;
use super::store::Store;

/// How long nobody may touch an upload before it goes.
const SILENCE: Duration = Duration::from_secs(60 * 60);

/// How many uploads may be open; each holds a file. Beyond that, the ones that were silent longest go.
const MOST: usize = 256;

/// Every upload that is open.
#[derive(Debug)]
pub(super) struct Uploads {
    store: Arc<Store>,
    incoming: Incoming,
    open: Mutex<HashMap<String, Arc<Upload>>>,
}

/// One upload: whoever holds the lock writes.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) id: String,
    repository: RepositoryPath,
    touched: Mutex<Instant>,
    /// `None` when its disk failed under it or when it is finished.
    progress: tokio::sync::Mutex<Option<Progress>>,
}

impl Uploads {
    pub(super) fn new(store: Arc<Store>) -> Self {
        let incoming = Incoming::new(store.uploads());
        Self { store, incoming, open: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Upload>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an upload into `repository` of something whose digest will be of that algorithm, as far as is known.
    pub(super) async fn begin(
        &self,
        repository: RepositoryPath,
        algorithm: Algorithm,
    ) -> io::Result<Arc<Upload>> {
        let id = format!("{:016x}{:016x}", random(), random());
        let path = self.store.uploads().join(&id);
        let progress = blocking(move || Progress::begin(path, algorithm)).await?;
        let upload = Arc::new(Upload {
            id: id.clone(),
            repository,
            touched: Mutex::new(Instant::now()),
            progress: tokio::sync::Mutex::new(Some(progress)),
        });
        self.expire();
        let mut open = self.table();
        while open.len() >= MOST {
            // By when, not by how long ago: time goes on from one to the next.
            let silent =
                open.values().filter(|upload| !is_busy(upload)).min_by_key(|upload| upload.touched());
            let Some(silent) = silent.map(|upload| upload.id.clone()) else { break };
            open.remove(&silent);
        }
        open.insert(id, Arc::clone(&upload));
        Ok(upload)
    }

    /// Ends the uploads that fell silent.
    pub(super) fn expire(&self) {
        self.expire_after(SILENCE);
    }

    fn expire_after(&self, silence: Duration) {
        self.table().retain(|_, upload| is_busy(upload) || upload.touched().elapsed() < silence);
    }

    /// Upload `id` of `repository`.
    pub(super) fn find(&self, repository: &RepositoryPath, id: &str) -> Result<Arc<Upload>, Refusal> {
        let open = self.table();
        let upload = open.get(id).filter(|upload| upload.repository == *repository);
        let upload = upload.ok_or_else(Refusal::upload_unknown)?;
        upload.touch();
        Ok(Arc::clone(upload))
    }

    /// Adds `body` to `upload`, which must stand where the body is stated to begin; answers with the new length. What
    /// arrived before a body broke off stays, and counts.
    pub(super) async fn append(
        &self,
        upload: &Arc<Upload>,
        stated: Stated,
        mut body: Body,
    ) -> Result<u64, Refusal> {
        let (upload, incoming) = (Arc::clone(upload), self.incoming.clone());
        // A task of its own: a client that goes away drops its request, and what it sent must not go with it.
        let task = tokio::spawn(async move {
            let mut held = upload.progress.lock().await;
            let progress = held.take().ok_or_else(Refusal::upload_unknown)?;
            let refused = match stated.begins {
                Some(begins) if begins != progress.length() => {
                    Some(upload.out_of_order(begins, progress.length()))
                }
                _ => None,
            };
            if let Some(refused) = refused {
                *held = Some(progress);
                drop(held);
                drain(&mut body, &stated).await;
                return Err(refused);
            }
            let (progress, came) = incoming.receive(progress, &stated, body).await;
            let length = progress.as_ref().map(Progress::length);
            *held = progress;
            upload.touch();
            came?;
            length.ok_or_else(Refusal::upload_unknown)
        });
        task.await.map_err(|failed| Refusal::from(io::Error::other(failed)))?
    }

    /// Ends an upload without a blob.
    pub(super) fn abandon(&self, upload: &Upload) {
        self.table().remove(&upload.id);
    }

    /// Makes the upload a blob of its repository, or refuses it when its bytes are not what `digest` says. The upload is
    /// over either way.
    pub(super) async fn close(&self, upload: &Upload, digest: ContentDigest) -> Result<(), Refusal> {
        self.abandon(upload);
        let progress = upload.progress.lock().await.take().ok_or_else(Refusal::upload_unknown)?;
        let (store, repository) = (Arc::clone(&self.store), upload.repository.clone());
        blocking(move || progress.close(&store, &repository, &digest)).await
    }
}

impl Upload {
    fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn touched(&self) -> Instant {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes arrived.
    pub(super) async fn length(&self) -> Result<u64, Refusal> {
        let progress = self.progress.lock().await;
        progress.as_ref().map(Progress::length).ok_or_else(Refusal::upload_unknown)
    }

    fn out_of_order(&self, begins: u64, length: u64) -> Refusal {
        Refusal::chunk_out_of_order(
            format!("the chunk begins at byte {begins} and the upload has {length}"),
            self.headers(length).to_vec(),
        )
    }

    /// What an answer about this upload says when it has `length` bytes.
    pub(super) fn headers(&self, length: u64) -> [(&'static str, String); 3] {
        [
            ("location", format!("/v2/{}/blobs/uploads/{}", self.repository, self.id)),
            ("range", format!("0-{}", length.saturating_sub(1))),
            ("docker-upload-uuid", self.id.clone()),
        ]
    }
}

/// One that is being written to right now has more than one owner.
fn is_busy(upload: &Arc<Upload>) -> bool {
    Arc::strong_count(upload) > 1
}

/// A number that comes once; the standard library seeds its hash maps with these.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_upload_that_is_silent_goes_with_its_file_and_one_that_is_busy_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let uploads = Uploads::new(Arc::clone(&store));
        let name: RepositoryPath = "a".parse().unwrap();
        let busy = uploads.begin(name.clone(), Algorithm::Sha256).await.unwrap();
        let silent = uploads.begin(name.clone(), Algorithm::Sha256).await.unwrap().id.clone();
        uploads.expire();
        assert!(uploads.find(&name, &silent).is_ok(), "an hour is not over");
        uploads.expire_after(Duration::ZERO);
        assert!(uploads.find(&name, &silent).is_err());
        assert!(uploads.find(&name, &busy.id).is_ok());
        assert_eq!(std::fs::read_dir(store.uploads()).unwrap().count(), 1);
    }
}
