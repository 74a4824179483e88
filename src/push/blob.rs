//! One blob: there already, or sent in one request, each time in an upload of its own.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use longshore_contract::Digest;
use longshore_wire::{Answer, Repeats, Request, Trust};
use url::Url;

use super::pieces::{Course, body};
use super::progress::{BlobState, Event, Progress};
use super::writes::Writes;
use crate::image::{Blob, Verify};
use crate::registry::{Access, Once, RegistryError, RegistryErrorKind, missing};

/// What became of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivered {
    /// It was sent, or would be: so many bytes.
    Sent(u64),
    /// It was there.
    Present,
}

/// How long a registry may think about a blob once all of it is there: large ones are hashed and moved.
const COMMIT_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Makes sure the repository holds `blob`. Whoever else wants the same waits for this one.
pub(super) async fn deliver(
    access: &Access,
    blob: &Blob,
    verify: Verify,
    writes: &dyn Writes,
    progress: &dyn Progress,
) -> Result<Delivered, RegistryError> {
    let tell =
        |sent, state| progress.event(Event::Blob { digest: &blob.digest, size: blob.size, sent, state });
    let mut delivered = Delivered::Present;
    let cell = access.session().blob(access.repository().path(), &blob.digest);
    cell.get_or_try_init(async || {
        if !is_there(access, blob).await? {
            writes.blob(access, blob, verify, progress).await?;
            delivered = Delivered::Sent(blob.size);
        }
        Ok(())
    })
    .await?;
    if delivered == Delivered::Present {
        tell(0, BlobState::Present);
    }
    Ok(delivered)
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
    blob: &Blob,
    verify: Verify,
    progress: &dyn Progress,
) -> Result<(), RegistryError> {
    let tell =
        |sent, state| progress.event(Event::Blob { digest: &blob.digest, size: blob.size, sent, state });
    let _permit = access.session().uploads.acquire().await.expect("the semaphore is never closed");
    let backoff = access.session().client.limits().backoff;
    // Only pauses are counted: a large blob may take longer than any budget for trying again.
    let mut paused = Duration::ZERO;
    let (mut tries, mut renewed) = (0, false);
    loop {
        tries += 1;
        tell(0, BlobState::Sending);
        let course = Course::default();
        let failed = {
            let attempt = attempt(access, blob, verify, &course);
            let mut attempt = std::pin::pin!(attempt);
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tokio::select! {
                    done = &mut attempt => break done,
                    _ = tick.tick() => tell(course.sent(), BlobState::Sending),
                }
            }
        };
        let Failed { mut error, again } = match failed {
            Ok(()) => {
                tell(blob.size, BlobState::Sent);
                return Ok(());
            }
            Err(failed) => failed,
        };
        if course.is_damaged() {
            error.kind = RegistryErrorKind::DigestMismatch;
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
            return Ok(());
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

async fn attempt(access: &Access, blob: &Blob, verify: Verify, course: &Course) -> Result<(), Failed> {
    let doing = format!("send blob {}", blob.digest);
    let never = |error| Failed { error, again: Again::Never };
    let opened = access.send(access.request("begin upload", Method::POST, "blobs/uploads/").await?).await;
    // Whatever was transient was tried again below this; what is left is final.
    let opened = opened.map_err(never)?;
    match opened.status() {
        StatusCode::ACCEPTED => {}
        StatusCode::CREATED => return Ok(()),
        StatusCode::NOT_FOUND => {
            let mut error = access.refused("begin upload", opened).await;
            if error.kind == RegistryErrorKind::Refused {
                error.kind = RegistryErrorKind::RepositoryMissing;
                let hint = missing(&error.errand);
                error = error.hint(hint);
            }
            return Err(never(error));
        }
        _ => return Err(never(access.refused("begin upload", opened).await)),
    }
    let place = place(access, &opened, &blob.digest).map_err(never)?;
    let request = Request::new("send blob", Method::PUT, place.url)
        .trust(place.trust)
        .meter(access.meter())
        .header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
        .body(body(blob, verify, course.clone()))
        .answer_within(COMMIT_LIMIT)
        .repeats(Repeats::Never);
    let answer = match place.host {
        Host::Registry => match access.send_once(&doing, request).await? {
            Once::Answered(answer) => answer,
            Once::LoginEnded(error) => return Err(Failed { error, again: Again::LoggedIn }),
        },
        Host::Other => access.send_elsewhere(request).await?,
    };
    match answer.status().as_u16() {
        200 | 201 | 204 => Ok(()),
        // An upload that the registry no longer knows, or thinks half done, is begun anew.
        404 | 408 | 416 | 429 | 500.. => {
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

/// Where a blob goes.
struct Place {
    url: Url,
    host: Host,
    trust: Trust,
}

/// Whose it is: another host gets no credentials of ours.
enum Host {
    Registry,
    Other,
}

/// Reads where the upload is: relative, absolute, with a query of its own, on another host.
fn place(access: &Access, opened: &Answer, digest: &Digest) -> Result<Place, RegistryError> {
    let wrong = |message: &str| access.error(RegistryErrorKind::Protocol, format!("begin upload: {message}"));
    let base = opened.url();
    let location =
        opened.header(LOCATION.as_str()).ok_or_else(|| wrong("the registry's answer names no place"))?;
    let mut url =
        base.join(location).map_err(|_| wrong("the registry's answer names a place that is no URL"))?;
    // A registry behind a proxy that ends TLS may think that it is spoken to in plain http.
    if url.scheme() == "http" && base.scheme() == "https" && url.host() == base.host() {
        let port = base.port();
        if url.set_scheme("https").is_err() || url.set_port(port).is_err() {
            return Err(wrong("the registry's answer names a place that is no URL"));
        }
    }
    url.set_fragment(None);
    url.query_pairs_mut().append_pair("digest", digest.as_str());
    let same = url.scheme() == base.scheme()
        && url.host() == base.host()
        && url.port_or_known_default() == base.port_or_known_default();
    Ok(if same {
        Place { url, host: Host::Registry, trust: access.session().trust() }
    } else {
        // What the registry's own endpoint may do is not meant for others.
        let trust =
            Trust { plain_http: longshore_wire::PlainHttp::LoopbackOnly, ca: access.session().trust().ca };
        Place { url, host: Host::Other, trust }
    })
}
