//! Uploads on their way in.
//!
//! An upload is a file and the hash of what is in it, so far. Both grow together and only by whole writes, so what an
//! upload says about itself is what it has. Uploads live as long as the process at most, and end after an hour of silence.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use longshore_contract::Digest;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::name::RepositoryPath;
use super::refusal::Refusal;
use super::store::{Store, finish};
use super::{BLOB_LIMIT, blocking};

/// How long nobody may touch an upload before it goes.
const SILENCE: Duration = Duration::from_secs(60 * 60);

/// How many uploads may be open; each holds a file. Beyond that, the ones that were silent longest go.
const MOST: usize = 256;

/// Every upload that is open.
#[derive(Debug)]
pub(super) struct Uploads {
    store: Arc<Store>,
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

#[derive(Debug)]
struct Progress {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    length: u64,
}

impl Uploads {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store, open: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Upload>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an upload into `repository`; those that fell silent go.
    pub(super) async fn begin(&self, repository: RepositoryPath) -> io::Result<Arc<Upload>> {
        let id = format!("{:016x}{:016x}", random(), random());
        let path = self.store.uploads().join(&id);
        let progress = blocking(move || Progress::begin(path)).await?;
        let upload = Arc::new(Upload {
            id: id.clone(),
            repository,
            touched: Mutex::new(Instant::now()),
            progress: tokio::sync::Mutex::new(Some(progress)),
        });
        let mut open = self.table();
        // One that is being written to right now has more than one owner.
        let busy = |upload: &Arc<Upload>| Arc::strong_count(upload) > 1;
        open.retain(|_, upload| busy(upload) || upload.touched().elapsed() < SILENCE);
        while open.len() >= MOST {
            // By when, not by how long ago: time goes on from one to the next.
            let silent = open.values().filter(|upload| !busy(upload)).min_by_key(|upload| upload.touched());
            let Some(silent) = silent.map(|upload| upload.id.clone()) else { break };
            open.remove(&silent);
        }
        open.insert(id, Arc::clone(&upload));
        Ok(upload)
    }

    /// Upload `id` of `repository`.
    pub(super) fn find(&self, repository: &RepositoryPath, id: &str) -> Result<Arc<Upload>, Refusal> {
        let open = self.table();
        let upload = open.get(id).filter(|upload| upload.repository == *repository);
        let upload = upload.ok_or_else(Refusal::upload_unknown)?;
        upload.touch();
        Ok(Arc::clone(upload))
    }

    /// Ends an upload without a blob.
    pub(super) fn abandon(&self, upload: &Upload) {
        self.table().remove(&upload.id);
    }

    /// Makes the upload a blob of its repository, or refuses it when its bytes are not what `digest` says. The upload is
    /// over either way.
    pub(super) async fn close(&self, upload: &Upload, digest: Digest) -> Result<(), Refusal> {
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
        self.progress
            .lock()
            .await
            .as_ref()
            .map(|progress| progress.length)
            .ok_or_else(Refusal::upload_unknown)
    }

    /// Adds `body`, which must begin at byte `begins` where that is stated; answers with the new length. What arrived
    /// before a body broke off stays, and counts.
    pub(super) async fn append(self: &Arc<Self>, begins: Option<u64>, body: Body) -> Result<u64, Refusal> {
        let upload = Arc::clone(self);
        // A task of its own: a client that goes away drops its request, and what it sent must not go with it.
        let task = tokio::spawn(async move {
            let mut held = upload.progress.lock().await;
            let progress = held.take().ok_or_else(Refusal::upload_unknown)?;
            if let Some(begins) = begins
                && begins != progress.length
            {
                let length = progress.length;
                *held = Some(progress);
                return Err(upload.out_of_order(begins, length));
            }
            let (progress, body) = receive(progress, body).await;
            let progress = progress?;
            let length = progress.length;
            *held = Some(progress);
            upload.touch();
            body.map(|()| length)
        });
        task.await.map_err(|failed| Refusal::from(io::Error::other(failed)))?
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

/// Writes `body` behind what is there. The upload comes back unless its disk failed.
async fn receive(progress: Progress, mut body: Body) -> (Result<Progress, Refusal>, Result<(), Refusal>) {
    let (sender, receiver) = mpsc::channel(16);
    let writer = tokio::task::spawn_blocking(move || progress.write_all(receiver));
    let mut room = true;
    let came = loop {
        let chunk = match body.frame().await {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => break Err(Refusal::upload_invalid(format!("the body broke off: {error}"))),
            None => break Ok(()),
        };
        // The writer ends early when it fails, and says why below.
        if sender.send(chunk).await.is_err() {
            room = false;
            break Ok(());
        }
    };
    drop(sender);
    match writer.await {
        Ok(Ok(progress)) if room => (Ok(progress), came),
        Ok(Ok(_)) => {
            let refusal = Refusal::too_large(format!("a blob has at most {BLOB_LIMIT} bytes"));
            (Err(refusal), Ok(()))
        }
        Ok(Err(error)) => (Err(error.into()), Ok(())),
        Err(failed) => (Err(io::Error::other(failed).into()), Ok(())),
    }
}

impl Progress {
    fn begin(path: PathBuf) -> io::Result<Self> {
        let file = File::create_new(&path)?;
        Ok(Self { file, path, hasher: Sha256::new(), length: 0 })
    }

    /// Writes and hashes chunks until there are no more, or until the blob is too large.
    fn write_all(mut self, mut chunks: mpsc::Receiver<Bytes>) -> io::Result<Self> {
        while let Some(chunk) = chunks.blocking_recv() {
            if self.length + chunk.len() as u64 > BLOB_LIMIT {
                break;
            }
            self.file.write_all(&chunk)?;
            self.hasher.update(&chunk);
            self.length += chunk.len() as u64;
        }
        Ok(self)
    }

    fn close(self, store: &Store, repository: &RepositoryPath, digest: &Digest) -> Result<(), Refusal> {
        let found = finish(self.hasher.clone());
        if found != *digest {
            return Err(Refusal::digest_invalid(format!(
                "{} bytes arrived and their digest is {found}, not {digest}",
                self.length
            )));
        }
        self.file.sync_all()?;
        Ok(store.adopt(repository, digest, &self.path)?)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // Gone already when it became a blob.
        let _ = fs::remove_file(&self.path);
    }
}

/// A number that comes once; the standard library seeds its hash maps with these.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
