//! One blob: there already, taken over from another repository, or sent in one request, each time in an upload of its own.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use longshore_wire::Repeats;

use super::pieces::{Course, body};
use super::progress::{BlobState, Event, Progress};
use super::reading::{Fault, Reading};
use super::tee::Ticket;
use super::upload::{Begun, Host, begin};
use super::writes::Writes;
use crate::image::Blob;
use crate::registry::{Access, Mounts, Once, RegistryError, RegistryErrorKind};

/// What became of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It was sent, or would be: so many bytes.
    Sent(u64),
    /// The registry took it over from another repository.
    Mounted,
    /// It was there.
    Present,
}

/// A blob on its way: what it is, how it is read, and whether others read it too.
pub struct Parcel<'a> {
    pub(super) blob: &'a Blob,
    pub(super) reading: Reading,
    pub(super) ticket: Option<Ticket>,
    /// A repository of the same registry that holds it.
    pub(super) from: Option<String>,
}

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// Makes sure the repository holds the blob. Whoever else wants the same in the same registry waits for this one, and takes
/// it over from there.
pub(super) async fn deliver(
    access: &Access,
    mut parcel: Parcel<'_>,
    writes: &dyn Writes,
    progress: &dyn Progress,
) -> Result<Delivered, RegistryError> {
    let Blob { digest, size, .. } = parcel.blob;
    let (session, path) = (access.session(), access.repository().path());
    let held = session.blob(path, digest);
    let mut held = alone(&held, &mut parcel).await;
    let delivered = if *held || is_there(access, parcel.blob).await? {
        Delivered::Present
    } else {
        let way = session.way(digest);
        let _alone = match session.known().mounts {
            Mounts::Never => None,
            Mounts::Tried => {
                let alone = alone(&way, &mut parcel).await;
                parcel.from = session.holder(digest).or_else(|| source_beside(access, parcel.blob));
                Some(alone)
            }
        };
        writes.blob(access, &mut parcel, progress).await?
    };
    *held = true;
    session.holds(path, digest);
    if delivered == Delivered::Present {
        progress.event(Event::Blob { digest, size: *size, sent: 0, state: BlobState::Present });
    }
    Ok(delivered)
}

/// The repository of the same registry that the blob would be read from: it need not go through here.
fn source_beside(access: &Access, blob: &Blob) -> Option<String> {
    let (to, from) = (access.repository(), blob.content.repository()?);
    (from.host() == to.host() && from.path() != to.path()).then(|| from.path().to_owned())
}

/// Waits until nobody else is at it. Whoever has to wait reads with nobody: those would wait for this one.
async fn alone<'l, T>(
    lock: &'l tokio::sync::Mutex<T>,
    parcel: &mut Parcel<'_>,
) -> tokio::sync::MutexGuard<'l, T> {
    match lock.try_lock() {
        Ok(alone) => alone,
        Err(_) => {
            parcel.ticket = None;
            lock.lock().await
        }
    }
}

/// Asks whether the repository holds the blob. A repository that is not there holds nothing.
async fn is_there(access: &Access, blob: &Blob) -> Result<bool, RegistryError> {
    let path = format!("blobs/{}", blob.digest);
    let answer = access.send(access.request("look for blob", Method::HEAD, &path).await?).await?;
    match answer.status() {
        StatusCode::OK => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(access.refused(&format!("look for blob {}", blob.digest), answer).await),
    }
}

/// Sends the blob: as often as it takes, each time from the beginning and in a new upload, because what a registry makes of
/// an upload that broke off differs from one to the next.
pub(super) async fn send(
    access: &Access,
    parcel: &mut Parcel<'_>,
    progress: &dyn Progress,
) -> Result<Delivered, RegistryError> {
    let blob = parcel.blob;
    let tell =
        |sent, state| progress.event(Event::Blob { digest: &blob.digest, size: blob.size, sent, state });
    let session = access.session();
    let _permit = session.uploads.acquire().await.expect("the semaphore is never closed");
    let backoff = session.client.limits().backoff;
    // Only pauses are counted: a large blob may take longer than any budget for trying again.
    let mut paused = Duration::ZERO;
    let (mut tries, mut renewed) = (0, false);
    loop {
        tries += 1;
        tell(0, BlobState::Sending);
        let course = Course::default();
        let outcome = {
            let attempt = attempt(access, parcel, &course);
            let mut attempt = std::pin::pin!(attempt);
            let mut tick = tokio::time::interval(TICK);
            loop {
                tokio::select! {
                    done = &mut attempt => break done,
                    _ = tick.tick() => tell(course.sent(), BlobState::Sending),
                }
            }
        };
        let Failed { mut error, again } = match outcome {
            Ok(Delivered::Mounted) => {
                tell(0, BlobState::Mounted);
                return Ok(Delivered::Mounted);
            }
            Ok(delivered) => {
                tell(blob.size, BlobState::Sent);
                return Ok(delivered);
            }
            Err(failed) => failed,
        };
        match course.fault() {
            Some(Fault::Damaged) => error.kind = RegistryErrorKind::DigestMismatch,
            Some(Fault::Unanswered) => error.kind = RegistryErrorKind::Unavailable,
            Some(Fault::Unreadable(_)) | None => {}
        }
        let pause = match again {
            Again::Never => None,
            Again::LoggedIn if renewed => None,
            Again::LoggedIn => {
                renewed = true;
                Some(Duration::ZERO)
            }
            Again::After(asked) => backoff.pause(tries, paused, asked),
        };
        let Some(pause) = pause else {
            let attempts = error.attempts.max(tries);
            return Err(error.after(attempts));
        };
        tracing::info!(blob = %blob.digest, %error, ?pause, "sending a blob again");
        paused += pause;
        tell(0, BlobState::Again);
        tokio::time::sleep(pause).await;
        // The answer may have been lost and not the blob.
        if is_there(access, blob).await? {
            tell(blob.size, BlobState::Sent);
            return Ok(Delivered::Sent(blob.size));
        }
    }
}

struct Failed {
    error: RegistryError,
    again: Again,
}

/// Whether a blob is sent again.
enum Again {
    Never,
    /// The login had ended and is renewed.
    LoggedIn,
    /// After a pause, no shorter than the registry asks for.
    After(Option<Duration>),
}

impl From<RegistryError> for Failed {
    fn from(error: RegistryError) -> Self {
        let again = match error.kind {
            RegistryErrorKind::Unavailable | RegistryErrorKind::Unreachable => Again::After(None),
            _ => Again::Never,
        };
        Self { error, again }
    }
}

/// One try. A try to have it taken over, and to read it with others, is made once.
async fn attempt(access: &Access, parcel: &mut Parcel<'_>, course: &Course) -> Result<Delivered, Failed> {
    let blob = parcel.blob;
    let doing = format!("send blob {}", blob.digest);
    let never = |error| Failed { error, again: Again::Never };
    let (from, ticket) = (parcel.from.take(), parcel.ticket.take());
    // Whatever was transient was tried again below this; what is left is final.
    let upload = match begin(access, &blob.digest, from.as_deref()).await.map_err(never)? {
        Begun::Mounted => return Ok(Delivered::Mounted),
        Begun::Open(upload) => upload,
    };
    let shared = match parcel.reading.in_memory() {
        Some(_) => None,
        None => ticket.and_then(|ticket| ticket.join(&parcel.reading)),
    };
    let request = upload
        .request("send blob", Method::PUT)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
        .body(body(&parcel.reading, shared, course.clone()))
        .answer_within(access.session().client.limits().settle)
        .repeats(Repeats::Never);
    let answer = match upload.host() {
        Host::Registry => match access.send_once(&doing, request).await? {
            Once::Answered(answer) => answer,
            Once::LoginEnded(error) => return Err(Failed { error, again: Again::LoggedIn }),
        },
        Host::Other => access.send_elsewhere(request).await?,
    };
    match answer.status().as_u16() {
        200 | 201 | 204 if upload.answered_by(&answer) == Host::Registry => {
            upload.finished();
            Ok(Delivered::Sent(blob.size))
        }
        // Somebody else took it, and only the registry can say that it has it.
        200 | 201 | 204 => {
            if is_there(access, blob).await? {
                upload.finished();
                return Ok(Delivered::Sent(blob.size));
            }
            let host = answer.url().host_str().unwrap_or_default();
            let message = format!("{doing}: {host} took it for the registry, which does not have it");
            let error = access.error(RegistryErrorKind::Protocol, message);
            Err(Failed { error, again: Again::After(None) })
        }
        // An upload that the registry no longer knows, or thinks half done, is begun anew.
        status @ (404 | 408 | 416 | 429 | 500..) => {
            if status == 404 {
                upload.finished();
            }
            let asked = answer.retry_after();
            Err(Failed { error: access.refused(&doing, answer).await, again: Again::After(asked) })
        }
        _ => {
            let error = access.refused(&doing, answer).await;
            Err(never(if error.kind == RegistryErrorKind::DigestMismatch {
                error.hint(format!(
                    "the file of {} does not have this digest: write the image anew",
                    blob.digest
                ))
            } else {
                error
            }))
        }
    }
}
