//! The seam for dry runs: everything that changes a registry goes through here.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use longshore_contract::{Digest, Repository};

use super::plan::Commit;
use super::progress::{BlobState, Event, Progress};
use super::{Delivered, Parcel, PushOutcome, blob, commit};
use crate::image::Blob;
use crate::registry::{Access, RegistryError};

/// What a push does to a registry.
#[async_trait]
pub trait Writes: Send + Sync {
    /// Brings a blob that is not there.
    async fn blob(
        &self,
        access: &Access,
        parcel: &mut Parcel<'_>,
        progress: &dyn Progress,
    ) -> Result<Delivered, RegistryError>;

    /// Gives a manifest its name; `held` is what the name stood for.
    async fn manifest(
        &self,
        access: &Access,
        commit: &Commit,
        held: Option<&Digest>,
    ) -> Result<(), RegistryError>;

    /// Makes sure of the end, and names it.
    async fn settle(&self, access: &Access, digest: &Digest) -> Result<PushOutcome, RegistryError>;
}

/// Really writes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sender;

#[async_trait]
impl Writes for Sender {
    async fn blob(
        &self,
        access: &Access,
        parcel: &mut Parcel<'_>,
        progress: &dyn Progress,
    ) -> Result<Delivered, RegistryError> {
        blob::send(access, parcel, progress).await
    }

    async fn manifest(
        &self,
        access: &Access,
        commit: &Commit,
        held: Option<&Digest>,
    ) -> Result<(), RegistryError> {
        commit::send(access, commit, held).await
    }

    async fn settle(&self, access: &Access, digest: &Digest) -> Result<PushOutcome, RegistryError> {
        commit::prove(access, digest).await?;
        Ok(PushOutcome::Arrived)
    }
}

/// Writes nothing, and keeps what would have been written. Clones share one record.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Recorded>>>);

/// Something that would have been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// A blob.
    Blob {
        /// To where.
        repository: Repository,
        /// Which.
        digest: Digest,
        /// How many bytes.
        size: u64,
    },
    /// A manifest.
    Manifest {
        /// To where.
        repository: Repository,
        /// Which.
        digest: Digest,
        /// Under which tag or digest.
        name: String,
    },
}

impl Recorder {
    /// What was recorded so far, in its order.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.0.lock().expect("nothing panics while it holds this").clone()
    }

    fn record(&self, recorded: Recorded) {
        self.0.lock().expect("nothing panics while it holds this").push(recorded);
    }
}

#[async_trait]
impl Writes for Recorder {
    async fn blob(
        &self,
        access: &Access,
        parcel: &mut Parcel<'_>,
        progress: &dyn Progress,
    ) -> Result<Delivered, RegistryError> {
        let Blob { digest, size, .. } = parcel.blob;
        progress.event(Event::Blob { digest, size: *size, sent: 0, state: BlobState::Planned });
        let repository = access.repository().clone();
        self.record(Recorded::Blob { repository, digest: digest.clone(), size: *size });
        Ok(Delivered::Sent(*size))
    }

    async fn manifest(
        &self,
        access: &Access,
        commit: &Commit,
        _held: Option<&Digest>,
    ) -> Result<(), RegistryError> {
        let (repository, digest) = (access.repository().clone(), commit.digest.clone());
        self.record(Recorded::Manifest { repository, digest, name: commit.target.as_str().to_owned() });
        Ok(())
    }

    async fn settle(&self, _access: &Access, _digest: &Digest) -> Result<PushOutcome, RegistryError> {
        Ok(PushOutcome::Planned)
    }
}
