//! One blob: there already, or sent in one request, each time in an upload of its own.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use longshore_contract::{Digest, PlainHttp};
use longshore_wire::{Answer, Body, Chunks, Repeats, Request, Trust};
use url::Url;

use super::error::{PushError, PushErrorKind};
use super::progress::{BlobState, Event, Progress};
use super::session::Access;
use super::writes::Writes;
use crate::image::{Blob, Content, Hasher, Reader, Verify};

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
/// What is read from a file at once.
const READ: usize = 1 << 20;
/// What is handed to the connection at once: small enough that a slow connection is seen to move.
const PIECE: usize = 1 << 17;

/// Makes sure the repository holds `blob`. Whoever else wants the same waits for this one.
pub(super) async fn deliver(
    access: &Access<'_>,
    blob: &Blob,
    verify: Verify,
    writes: &dyn Writes,
    progress: &dyn Progress,
) -> Result<Delivered, PushError> {
    let tell =
        |sent, state| progress.event(Event::Blob { digest: &blob.digest, size: blob.size, sent, state });
    let mut delivered = Delivered::Present;
    let cell = access.session.blob(access.repository.path(), &blob.digest);
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
async fn is_there(access: &Access<'_>, blob: &Blob) -> Result<bool, PushError> {
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
    access: &Access<'_>,
    blob: &Blob,
    verify: Verify,
    progress: &dyn Progress,
) -> Result<(), PushError> {
    let tell =
        |sent, state| progress.event(Event::Blob { digest: &blob.digest, size: blob.size, sent, state });
    let _permit = access.session.uploads.acquire().await.expect("the semaphore is never closed");
    let backoff = access.session.client.limits().backoff;
    let started = Instant::now();
    let (mut tries, mut renewed) = (0, false);
    loop {
        tries += 1;
        tell(0, BlobState::Sending);
        let sent = Counter::default();
        let failed = {
            let attempt = attempt(access, blob, verify, &sent);
            let mut attempt = std::pin::pin!(attempt);
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tokio::select! {
                    done = &mut attempt => break done,
                    _ = tick.tick() => tell(sent.get(), BlobState::Sending),
                }
            }
        };
        let Failed { error, again } = match failed {
            Ok(()) => {
                tell(blob.size, BlobState::Sent);
                return Ok(());
            }
            Err(failed) => failed,
        };
        let pause = match again {
            Again::Never => None,
            Again::LoggedIn if renewed => None,
            Again::LoggedIn => {
                renewed = true;
                Some(Duration::ZERO)
            }
            Again::After(asked) => backoff.pause(tries, started.elapsed(), asked),
        };
        let Some(pause) = pause else {
            let attempts = error.attempts.max(tries);
            return Err(error.after(attempts));
        };
        tracing::info!(blob = %blob.digest, %error, ?pause, "sending a blob again");
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
    error: PushError,
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

impl From<PushError> for Failed {
    fn from(error: PushError) -> Self {
        let again = match error.kind {
            PushErrorKind::Unavailable | PushErrorKind::Unreachable => Again::After(None),
            _ => Again::Never,
        };
        Self { error, again }
    }
}

async fn attempt(access: &Access<'_>, blob: &Blob, verify: Verify, sent: &Counter) -> Result<(), Failed> {
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
            if error.kind == PushErrorKind::Refused {
                error.kind = PushErrorKind::RepositoryMissing;
                let (path, host) = (access.repository.path(), access.repository.host());
                error = error.hint(format!("make the repository {path} at {host} first"));
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
        .body(body(blob, verify, sent.clone()))
        .answer_within(COMMIT_LIMIT)
        .repeats(Repeats::Never);
    let answer = match place.host {
        Host::Registry => access.send_once(request).await.map_err(|mut error| {
            error.message = error.message.replacen("send blob", &doing, 1);
            let again = match error.kind {
                PushErrorKind::Unauthorized => Again::LoggedIn,
                PushErrorKind::Unavailable | PushErrorKind::Unreachable => Again::After(None),
                _ => Again::Never,
            };
            Failed { error, again }
        })?,
        Host::Other => access
            .session
            .client
            .send(request)
            .await
            .map_err(|error| PushError::from_wire(error, access.repository))?,
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
            Err(never(if error.kind == PushErrorKind::DigestMismatch {
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
fn place(access: &Access<'_>, opened: &Answer, digest: &Digest) -> Result<Place, PushError> {
    let wrong = |message: &str| access.error(PushErrorKind::Protocol, format!("begin upload: {message}"));
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
        Place { url, host: Host::Registry, trust: access.session.trust() }
    } else {
        // What the registry's own endpoint may do is not meant for others.
        let trust = Trust {
            plain_http: super::token::plain_http(PlainHttp::LoopbackOnly),
            ca: access.session.trust().ca,
        };
        Place { url, host: Host::Other, trust }
    })
}

fn body(blob: &Blob, verify: Verify, sent: Counter) -> Body {
    if let Content::Bytes(bytes) = &blob.content {
        return Body::Bytes(bytes.clone());
    }
    let (content, size, digest) = (blob.content.clone(), blob.size, blob.digest.clone());
    let make = move || {
        sent.reset();
        let expected = (verify == Verify::Hash).then(|| digest.clone());
        pieces(content.clone(), size, digest.clone(), expected, sent.clone())
    };
    Body::Stream { length: size, make: Arc::new(make) }
}

/// The blob's bytes, read by a thread of their own that is one piece ahead. When the digest is to be compared, the last
/// piece is held back until it is.
fn pieces(content: Content, size: u64, name: Digest, expected: Option<Digest>, sent: Counter) -> Chunks {
    let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
    tokio::task::spawn_blocking(move || {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("blob {name}: {error}"));
        let read = || {
            let mut reader = content.open(size)?;
            let mut hasher = expected.map(|expected| (Hasher::default(), expected));
            while reader.left() > 0 {
                let piece = read_piece(&mut reader)?;
                if let Some((hasher, _)) = &mut hasher {
                    hasher.update(&piece);
                }
                if reader.left() == 0
                    && let Some((hasher, expected)) = hasher.take()
                {
                    let found = hasher.finish();
                    if found != expected {
                        let message = format!("it is damaged: its bytes have the digest {found}");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                    }
                }
                if sender.blocking_send(Ok(piece)).is_err() {
                    break;
                }
            }
            Ok(())
        };
        if let Err(error) = read() {
            // Nobody listens any more: then nobody needs to know.
            let _ = sender.blocking_send(Err(named(error)));
        }
    });
    let state = (receiver, Bytes::new(), sent);
    futures::stream::unfold(state, async |(mut receiver, mut piece, sent)| {
        if piece.is_empty() {
            match receiver.recv().await? {
                Ok(next) => piece = next,
                Err(error) => return Some((Err(error), (receiver, Bytes::new(), sent))),
            }
        }
        let part = piece.split_to(piece.len().min(PIECE));
        sent.add(part.len() as u64);
        Some((Ok(part), (receiver, piece, sent)))
    })
    .boxed()
}

fn read_piece(reader: &mut Reader) -> io::Result<Bytes> {
    let want = usize::try_from(reader.left()).unwrap_or(usize::MAX).min(READ);
    let mut piece = Vec::with_capacity(want);
    reader.take(want as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

/// How far a blob is, seen from two tasks.
#[derive(Debug, Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Counter {
    fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
