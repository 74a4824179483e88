//! The bytes of uploads: from a body into a file and a hash, within bounds of memory, disk and time.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::digest::{Algorithm, ContentDigest, Hasher};
use super::name::RepositoryPath;
use super::refusal::Refusal;
use super::store::Store;
use super::{BLOB_LIMIT, blocking};

/// How many bytes of all bodies together may wait to be written. A client waits until there is room.
const WAITING: usize = 8 << 20;

/// How long a body may send nothing before it counts as broken off.
const STALL: Duration = Duration::from_secs(120);

/// How much of a disk uploads leave free, for the state of the cloud itself: this much, or a hundredth of a small disk.
const RESERVE: u64 = 64 << 20;

/// After how many bytes it is looked again whether there is room.
const LOOK: u64 = 16 << 20;

/// How much of a body that is refused is read for the sake of its client, which hears nothing before it has sent.
const DRAIN: u64 = 1 << 30;

/// What a request says of its body.
#[derive(Debug)]
pub(super) struct Stated {
    /// Where in the upload it begins.
    pub(super) begins: Option<u64>,
    /// How long it is.
    pub(super) length: Option<u64>,
    /// Whether its client sends before it hears that it may.
    pub(super) sending: Sending,
}

/// When a client sends a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    AtOnce,
    /// After the status 100.
    WhenTold,
}

/// What all uploads share.
#[derive(Debug, Clone)]
pub(super) struct Incoming {
    folder: PathBuf,
    waiting: Arc<Semaphore>,
    stall: Duration,
}

/// An upload's file, and the hash of what is in it.
#[derive(Debug)]
pub(super) struct Progress {
    file: File,
    path: PathBuf,
    hasher: Hasher,
    length: u64,
}

/// A piece of a body, and its place among those that wait.
type Piece = (Bytes, OwnedSemaphorePermit);

/// Why writing ended before the body did.
enum Stopped {
    TooLarge,
    Disk(io::Error),
}

impl Incoming {
    /// For uploads whose files are in `folder`.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, waiting: Arc::new(Semaphore::new(WAITING)), stall: STALL }
    }

    /// Writes `body` behind what is there. The upload comes back unless its disk failed or it became too large; it then
    /// has what arrived, whatever else is said.
    pub(super) async fn receive(
        &self,
        progress: Progress,
        stated: &Stated,
        mut body: Body,
    ) -> (Option<Progress>, Result<(), Refusal>) {
        if let Err(refused) = self.fits(&progress, stated.length).await {
            drain(&mut body, stated).await;
            return (Some(progress), Err(refused));
        }
        let (sender, receiver) = mpsc::channel(4);
        let folder = self.folder.clone();
        let writer = tokio::task::spawn_blocking(move || progress.write_all(&folder, receiver));
        let came = self.pass_on(&mut body, sender).await;
        match writer.await {
            Ok(Ok(progress)) => (Some(progress), came),
            Ok(Err(stopped)) => {
                drain(&mut body, stated).await;
                (None, Err(stopped.into()))
            }
            Err(failed) => (None, Err(io::Error::other(failed).into())),
        }
    }

    /// Refuses a body that is known not to fit before any of it is read.
    async fn fits(&self, progress: &Progress, length: Option<u64>) -> Result<(), Refusal> {
        match length {
            // The request that ends an upload mostly brings nothing, and needs no room.
            Some(0) => return Ok(()),
            Some(length) if length > BLOB_LIMIT - progress.length => return Err(Stopped::TooLarge.into()),
            _ => {}
        }
        let folder = self.folder.clone();
        Ok(blocking(move || room(&folder, length.unwrap_or(1))).await?)
    }

    /// Hands the pieces of a body to the writer, until either ends; the writer says why it did.
    async fn pass_on(&self, body: &mut Body, sender: mpsc::Sender<Piece>) -> Result<(), Refusal> {
        loop {
            let frame = tokio::time::timeout(self.stall, body.frame()).await;
            let piece = match frame {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => {
                    return Err(Refusal::upload_invalid(format!("the body broke off: {error}")));
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    let message = format!("nothing came for {:?}", self.stall);
                    return Err(Refusal::timed_out(message));
                }
            };
            let wanted = u32::try_from(piece.len().min(WAITING)).unwrap_or(u32::MAX);
            let permit = Arc::clone(&self.waiting).acquire_many_owned(wanted).await;
            let permit = permit.map_err(|closed| Refusal::from(io::Error::other(closed)))?;
            if sender.send((piece, permit)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Reads what a refused client still sends, within bounds, so that it comes to read why.
pub(super) async fn drain(body: &mut Body, stated: &Stated) {
    // To read is to tell it to send; and what is longer than is read here is cut off all the same.
    if stated.sending == Sending::WhenTold || stated.length.is_some_and(|length| length > DRAIN) {
        return;
    }
    let mut left = DRAIN;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
            if left == 0 {
                break;
            }
        }
    };
    // Whoever sends for longer finds the connection closed.
    let _ = tokio::time::timeout(STALL, all).await;
}

impl Progress {
    /// An empty file at `path`, which nobody else has.
    pub(super) fn begin(path: PathBuf, algorithm: Algorithm) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { file, path, hasher: algorithm.hasher(), length: 0 })
    }

    /// How many bytes arrived.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Writes and hashes pieces until there are no more.
    fn write_all(mut self, folder: &Path, mut pieces: mpsc::Receiver<Piece>) -> Result<Self, Stopped> {
        let mut looked = self.length;
        while let Some((piece, _waiting)) = pieces.blocking_recv() {
            if self.length + piece.len() as u64 > BLOB_LIMIT {
                return Err(Stopped::TooLarge);
            }
            if self.length >= looked + LOOK {
                room(folder, 1).map_err(Stopped::Disk)?;
                looked = self.length;
            }
            self.file.write_all(&piece).map_err(Stopped::Disk)?;
            self.hasher.update(&piece);
            self.length += piece.len() as u64;
        }
        Ok(self)
    }

    /// Makes the file a blob of `repository`, or refuses it when its bytes are not what `digest` says. Blocks.
    pub(super) fn close(
        mut self,
        store: &Store,
        repository: &RepositoryPath,
        digest: &ContentDigest,
    ) -> Result<(), Refusal> {
        let found = self.digest(digest.algorithm())?;
        if found != *digest {
            return Err(Refusal::digest_invalid(format!(
                "{} bytes arrived and their digest is {found}, not {digest}",
                self.length
            )));
        }
        self.file.sync_all()?;
        Ok(store.adopt(repository, digest, &self.path)?)
    }

    /// The digest of what is in the file. Where the upload was not begun for that algorithm, the file is read.
    fn digest(&mut self, algorithm: Algorithm) -> io::Result<ContentDigest> {
        if self.hasher.algorithm() == algorithm {
            return Ok(self.hasher.clone().finish());
        }
        let mut hasher = algorithm.hasher();
        let mut buffer = vec![0; 256 << 10];
        self.file.rewind()?;
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                read => hasher.update(&buffer[..read]),
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // Gone already when it became a blob.
        let _ = fs::remove_file(&self.path);
    }
}

impl From<Stopped> for Refusal {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::TooLarge => Self::too_large(format!("a blob has at most {BLOB_LIMIT} bytes")),
            Stopped::Disk(error) => error.into(),
        }
    }
}

/// Whether `wanted` bytes have room on the disk of `folder` beside what is left free.
fn room(folder: &Path, wanted: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(folder)?;
    let (free, all) =
        (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
    let reserve = RESERVE.min(all / 100);
    if free.saturating_sub(reserve) < wanted {
        let message =
            format!("{wanted} bytes are to come and {free} are free, of which {reserve} are kept free");
        return Err(io::Error::new(io::ErrorKind::StorageFull, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_body_that_sends_nothing_any_more_is_broken_off_and_what_came_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut incoming = Incoming::new(folder.path().to_owned());
        incoming.stall = Duration::from_millis(50);
        let progress = Progress::begin(folder.path().join("upload"), Algorithm::Sha256).unwrap();
        let pieces = futures::stream::once(async { Ok::<_, io::Error>(Bytes::from_static(b"came")) });
        let body = Body::from_stream(pieces.chain(futures::stream::pending()));
        let stated = Stated { begins: None, length: None, sending: Sending::AtOnce };
        let (progress, came) = incoming.receive(progress, &stated, body).await;
        assert_eq!(progress.unwrap().length(), 4);
        assert!(format!("{:?}", came.unwrap_err()).contains("nothing came for 50ms"));
        assert_eq!(incoming.waiting.available_permits(), WAITING, "a body that ended waits for nothing");
    }

    #[test]
    fn a_disk_has_room_for_what_it_has_free_but_for_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        room(folder.path(), 1).unwrap();
        let error = room(folder.path(), u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
