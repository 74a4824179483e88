//! A scanner that scans nothing itself: it reads the reports that trivy, grype or anything that writes SARIF left in a
//! folder, and hands one out only where it is about the very image that is asked about.

mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod grype;
mod report;
mod sarif;
mod trivy;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use longshore_contract::{
    Calls, Digest, Error, ErrorKind, Reference, Repository, Result, ScanProgress, ScanReport, ScanSeverity,
    ScanTicket, ScanTrigger, Scanner, Service, StoredImage,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::provider::client::{Ask, Client, Effect};
use crate::reactor::off_the_reactor;
use files::{Found, Named};
use report::{Read, Subjects};

/// How long to wait before looking again for a report that is being written.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The largest manifest that is read for the digest of its config.
const LARGEST_MANIFEST: usize = 4 << 20;

const OPERATION: &str = "read the scan of";

/// The reports in one folder.
#[derive(Debug, Clone)]
pub(super) struct Reports {
    folder: Arc<PathBuf>,
    /// The cloud's registry: some reports name an image by its config.
    images: Client,
    calls: Calls,
}

/// What a ticket holds: a report is looked for anew each time.
#[derive(Serialize, Deserialize)]
struct Ticket {
    repository: Repository,
    digest: Digest,
}

impl Reports {
    /// Those in `folder`, about images of the registry that `images` reaches.
    pub(super) fn new(folder: PathBuf, images: Client, calls: Calls) -> Self {
        Self { folder: Arc::new(folder), images, calls }
    }

    /// The same, counting looks into `calls`.
    pub(super) fn metered(&self, calls: Calls) -> Self {
        Self { folder: self.folder.clone(), images: self.images.metered(calls.clone()), calls }
    }

    /// What the report says, where it is about the image; why not, where it is about none or about another.
    async fn judge(&self, ticket: &Ticket, name: Named, read: Read) -> Result<Result<ScanProgress, String>> {
        if let Err(why) = self.is_about(ticket, name, &read.subjects).await? {
            return Ok(Err(why));
        }
        Ok(Ok(match read.outcome {
            report::Outcome::Findings(findings) => ScanProgress::Finished(ScanReport {
                digest: ticket.digest.clone(),
                scanner: read.scanner,
                scanned: read.scanned,
                ceiling: ScanSeverity::Critical,
                findings,
            }),
            report::Outcome::Unscannable(why) => ScanProgress::Unscannable { why },
            report::Outcome::Failed(why) => ScanProgress::Failed { why },
        }))
    }

    async fn is_about(&self, ticket: &Ticket, name: Named, named: &Subjects) -> Result<Result<(), String>> {
        if named.manifests.contains(&ticket.digest) {
            return Ok(Ok(()));
        }
        if named.manifests.is_empty() && named.configs.is_empty() {
            return Ok(match name {
                // Its name says which image it is about.
                Named::ByDigest => Ok(()),
                Named::ByRepository => {
                    Err(format!("does not say which image it is about: name it {}.json", ticket.digest.hex()))
                }
            });
        }
        let config = if named.configs.is_empty() { None } else { self.config_of(ticket).await? };
        match config {
            Some(config) if named.configs.contains(&config) => return Ok(Ok(())),
            // The image is not in the registry yet, so that nothing speaks against the file's name.
            None if name == Named::ByDigest && named.manifests.is_empty() => return Ok(Ok(())),
            _ => {}
        }
        let others: Vec<&str> =
            named.manifests.iter().chain(&named.configs).map(Digest::as_str).take(3).collect();
        Ok(Err(format!("is about {}", others.join(", "))))
    }

    /// The digest of the image's config; `None` where the image is not in the registry, or is no image.
    async fn config_of(&self, ticket: &Ticket) -> Result<Option<Digest>> {
        #[derive(Deserialize)]
        struct Manifest {
            config: Config,
        }
        #[derive(Deserialize)]
        struct Config {
            digest: Digest,
        }
        let subject = by_digest(ticket).to_string();
        let path = format!("/v2/{}/manifests/{}", ticket.repository.path(), ticket.digest);
        let request = Request::get(path)
            .header(header::ACCEPT, "application/vnd.oci.image.manifest.v1+json")
            .header(header::ACCEPT, "application/vnd.docker.distribution.manifest.v2+json")
            .body(Full::<Bytes>::default())
            .map_err(|error| Error::new(ErrorKind::Invalid, OPERATION, &subject, error))?;
        let answer = self.images.exchange(Ask {
            effect: Effect::Read,
            request,
            limit: LARGEST_MANIFEST,
            patience: Duration::from_secs(30),
            reason: "it has the manifest or does not",
            operation: OPERATION,
            subject: &subject,
        });
        let answer = match answer.await {
            Ok(answer) => answer,
            Err(error) if error.kind == ErrorKind::Unavailable && error.code.is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let genuine =
            format!("sha256:{}", hex::encode(Sha256::digest(&answer.body))) == ticket.digest.as_str();
        if answer.status != StatusCode::OK || !genuine {
            return Ok(None);
        }
        Ok(serde_json::from_slice::<Manifest>(&answer.body).ok().map(|manifest| manifest.config.digest))
    }
}

#[async_trait]
impl Scanner for Reports {
    fn trigger(&self) -> ScanTrigger {
        ScanTrigger::Deposited
    }

    async fn start(&self, image: &StoredImage) -> Result<ScanTicket> {
        let ticket = Ticket { repository: image.repository.clone(), digest: image.digest.clone() };
        let value = serde_json::to_value(&ticket);
        value
            .map(ScanTicket::from_provider)
            .map_err(|error| Error::new(ErrorKind::Unexpected, OPERATION, by_digest(&ticket), error))
    }

    async fn poll(&self, ticket: &ScanTicket) -> Result<ScanProgress> {
        let ticket: Ticket = Ticket::deserialize(ticket.as_value()).map_err(|error| {
            Error::new(
                ErrorKind::Invalid,
                OPERATION,
                "a ticket",
                format!("it is not one of this cloud's: {error}"),
            )
        })?;
        self.calls.count(Service::Scanner);
        let invalid = |file: &std::path::Path, why: &dyn std::fmt::Display| {
            let message = format!("{}: {why}", file.display());
            Error::new(ErrorKind::Invalid, OPERATION, by_digest(&ticket), message)
        };
        let mut instead = Vec::new();
        for name in [Named::ByDigest, Named::ByRepository] {
            let (folder, stem) = (self.folder.clone(), name.stem(&ticket.repository, &ticket.digest));
            let found = off_the_reactor(move || files::find(&folder, &stem)).await;
            let Found { report, being_written } =
                found.map_err(|unreadable| invalid(&unreadable.file, &unreadable.why))?;
            if let Some((file, bytes)) = report {
                let read = off_the_reactor(move || report::read(&bytes)).await;
                let read = read.map_err(|why| invalid(&file, &why))?;
                match (self.judge(&ticket, name, read).await?, name) {
                    (Ok(progress), _) => return Ok(progress),
                    // A file that bears this image's digest and is about another one is nobody's honest report.
                    (Err(why), Named::ByDigest) => {
                        return Err(invalid(&file, &format_args!("the report {why}")));
                    }
                    (Err(why), Named::ByRepository) => instead.push(format!("{} {why}", file.display())),
                }
            }
            if being_written {
                return Ok(ScanProgress::Pending { look_again: LOOK_AGAIN });
            }
        }
        let looked = format!("there is no {}.json in {}", ticket.digest.hex(), self.folder.display());
        instead.insert(0, looked);
        Ok(ScanProgress::Absent { why: instead.join(", and ") })
    }
}

fn by_digest(ticket: &Ticket) -> Reference {
    Reference { repository: ticket.repository.clone(), tag: None, digest: Some(ticket.digest.clone()) }
}

#[cfg(test)]
mod tests;
