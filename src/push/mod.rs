//! From an image to the same image in a registry.
//!
//! [`push`] asks what is there and sends what is not: blobs side by side, each once and in one request, then manifests,
//! children first, verbatim. At the end the registry is asked for the digest. What is written goes through [`Writes`]; a
//! dry run is the same function with [`Recorder`] in the place of [`Sender`].

mod blob;
mod commit;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod pieces;
mod plan;
mod progress;
mod reading;
mod referrers;
mod tee;
mod upload;
mod writes;

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _};
use longshore_contract::{Calls, Digest, Endpoint, Login, PlainHttp, Reference};
use longshore_wire::Client;
use serde::{Deserialize, Serialize};

use crate::image::{Image, Verify};
use crate::registry::{Access, Credentials, KnownRegistry, Purpose, Reach, RegistryError, Sessions, Target};
use reading::Reading;
use tee::{Tees, Ticket};

pub use blob::{Delivered, Parcel};
pub use plan::Commit;
pub use progress::{BlobState, Event, Progress, Silent};
pub use referrers::{Referrers, referrers};
pub use writes::{Recorded, Recorder, Sender, Writes};

/// Where an image goes.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The repository, and the tag if it shall have one. A digest must be the image's own.
    pub reference: Reference,
    /// Where to connect in place of the reference's host.
    pub endpoint: Option<Endpoint>,
    /// Whether plain http is fine where there is no endpoint and the host is not loopback.
    pub plain_http: PlainHttp,
    /// What to show when asked.
    pub credentials: Credentials,
}

impl Destination {
    /// The destination a provider has logged in to.
    pub fn with_login(reference: Reference, login: Login) -> Self {
        Self {
            reference,
            endpoint: login.endpoint,
            plain_http: PlainHttp::LoopbackOnly,
            credentials: Credentials::Given(login.credential),
        }
    }

    fn reach(&self) -> Reach {
        let Self { endpoint, plain_http, credentials, .. } = self;
        Reach { endpoint: endpoint.clone(), plain_http: *plain_http, credentials: credentials.clone() }
    }
}

/// The registries of one run, and how they are written to.
pub struct Registries {
    sessions: Sessions,
    writes: Box<dyn Writes>,
}

impl Registries {
    /// No session yet; what is written goes to `writes`.
    pub fn new(client: Client, writes: Box<dyn Writes>) -> Self {
        Self { sessions: Sessions::new(client), writes }
    }

    /// Knows `more` registries by name than the public ones.
    pub fn knowing(self, more: &'static [KnownRegistry]) -> Self {
        Self { sessions: self.sessions.knowing(more), ..self }
    }

    /// The sessions, for whoever reads from the same registries.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }
}

/// An image that is in a registry, or in a dry run would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// It, by its digest; with the tag where it has one.
    pub reference: Reference,
    /// Its digest.
    pub digest: Digest,
    /// What had to be done.
    pub outcome: PushOutcome,
    /// What the tag named before, where that was another image.
    pub replaced: Option<Digest>,
    /// How many bytes of blobs were sent, each counted once.
    pub bytes_sent: u64,
    /// What became of the blobs.
    pub blobs: BlobCounts,
}

impl Pushed {
    /// Counts what was sent for a manifest that belongs to the image too.
    pub fn add(&mut self, other: Self) {
        if self.outcome == PushOutcome::Unchanged {
            self.outcome = other.outcome;
        }
        self.bytes_sent += other.bytes_sent;
        self.blobs.sent += other.blobs.sent;
        self.blobs.mounted += other.blobs.mounted;
        self.blobs.present += other.blobs.present;
    }
}

/// What a push had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// Something was sent, and the registry has answered with the digest.
    Arrived,
    /// Everything was there, the tag included.
    Unchanged,
    /// Nothing was sent, something would have been.
    Planned,
}

/// What became of an image's blobs, each digest counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobCounts {
    /// Sent, or in a dry run to be sent.
    pub sent: u64,
    /// Taken over from another repository of the same registry.
    pub mounted: u64,
    /// There already.
    pub present: u64,
}

/// Whether the registry has the manifest `digest` in the repository of `destination`: one request, two where the registry
/// has to be asked how to log in.
pub async fn holds(
    registries: &Registries,
    destination: &Destination,
    digest: &Digest,
    calls: &Calls,
) -> Result<bool, RegistryError> {
    let repository = &destination.reference.repository;
    let access = Access::new(registries.sessions(), repository, &destination.reach(), Purpose::Pull, calls);
    let found = commit::digest_at(&access, &Target::Digest(digest.clone())).await?;
    Ok(found.as_ref() == Some(digest))
}

/// How many blobs are asked about at once; sending is bounded further by the session.
const ABREAST: usize = 16;

/// An image on its way to one destination or several: what several need at the same time is read once.
pub struct Shipment<'a> {
    image: &'a Image,
    verify: Verify,
    tees: Tees,
}

impl<'a> Shipment<'a> {
    /// Nobody gets `image` yet.
    pub fn new(image: &'a Image, verify: Verify) -> Self {
        Self { image, verify, tees: Tees::default() }
    }

    /// One more destination that gets it. All are asked for before the first is pushed to.
    pub fn party(&self) -> Party<'_> {
        let mut tickets = HashMap::new();
        self.image.each_blob(&mut |blob| {
            tickets.entry(blob.digest.clone()).or_insert_with(|| self.tees.ticket(&blob.digest));
        });
        Party { image: self.image, verify: self.verify, tickets }
    }
}

/// A destination's share in a [`Shipment`]. As long as it is there, the others reckon with it.
pub struct Party<'a> {
    image: &'a Image,
    verify: Verify,
    tickets: HashMap<Digest, Ticket>,
}

/// Brings `image` to `destination` alone; see [`Party::push`].
pub async fn push(
    registries: &Registries,
    image: &Image,
    destination: &Destination,
    verify: Verify,
    calls: &Calls,
    progress: &dyn Progress,
) -> Result<Pushed, RegistryError> {
    Shipment::new(image, verify).party().push(registries, destination, calls, progress).await
}

impl Party<'_> {
    /// Brings the image to `destination`; when this returns, the registry has answered a request for its digest.
    ///
    /// An image that is there under its tag costs one request, two where the registry has to be asked how to log in.
    /// Requests are counted into `calls`. A push that fails or is dropped leaves finished blobs in the registry, and the
    /// next one does not send them again; unfinished ones the registry is told to forget. The tag moves last or not at all.
    /// The other parties of the shipment neither fail nor wait with this one.
    pub async fn push(
        self,
        registries: &Registries,
        destination: &Destination,
        calls: &Calls,
        progress: &dyn Progress,
    ) -> Result<Pushed, RegistryError> {
        let pushed = self.bring(registries, destination, calls, progress).await;
        if pushed.is_err() {
            registries.sessions.tidied().await;
        }
        pushed
    }

    async fn bring(
        self,
        registries: &Registries,
        destination: &Destination,
        calls: &Calls,
        progress: &dyn Progress,
    ) -> Result<Pushed, RegistryError> {
        let Self { image, verify, mut tickets } = self;
        let plan = plan::plan(image, destination)?;
        let repository = &destination.reference.repository;
        let access =
            Access::new(&registries.sessions, repository, &destination.reach(), Purpose::Push, calls);
        let target = plan.target.clone();
        let mut pushed = Pushed {
            reference: Reference { digest: Some(image.digest.clone()), ..destination.reference.clone() },
            digest: image.digest.clone(),
            outcome: PushOutcome::Unchanged,
            replaced: None,
            bytes_sent: 0,
            blobs: BlobCounts { present: plan.blobs.len() as u64, ..BlobCounts::default() },
        };
        let there = commit::digest_at(&access, &target).await?;
        if there.as_ref() == Some(&image.digest) {
            return Ok(pushed);
        }
        pushed.replaced = there.filter(|_| destination.reference.tag.is_some());

        let writes = &*registries.writes;
        let mut deliveries = Vec::with_capacity(plan.blobs.len());
        for blob in plan.blobs {
            let (reading, ticket) = (Reading::new(blob, verify), tickets.remove(&blob.digest));
            let parcel = Parcel { blob, reading, ticket, from: None };
            deliveries.push(blob::deliver(&access, parcel, writes, progress));
        }
        let delivered: Vec<Delivered> =
            futures::stream::iter(deliveries).buffer_unordered(ABREAST).try_collect().await?;
        pushed.blobs = BlobCounts::default();
        for delivered in delivered {
            match delivered {
                Delivered::Sent(bytes) => {
                    pushed.blobs.sent += 1;
                    pushed.bytes_sent += bytes;
                }
                Delivered::Mounted => pushed.blobs.mounted += 1,
                Delivered::Present => pushed.blobs.present += 1,
            }
        }
        for manifest in &plan.manifests {
            writes.manifest(&access, manifest, pushed.replaced.as_ref()).await?;
            progress.event(Event::Manifest { digest: &manifest.digest });
        }
        pushed.outcome = writes.settle(&access, &image.digest).await?;
        Ok(pushed)
    }
}
