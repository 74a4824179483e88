//! A blob in a registry, read as if it lay here: fetched while it is read, taken up again where a connection broke, and
//! compared with its digest before its last byte is given.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use http::{Method, StatusCode};
use longshore_contract::{Digest, Repository};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::content::{Opens, Reach};
use super::{Content, Hasher};
use crate::registry::{Access, RegistryError, RegistryErrorKind};

/// How many pieces, of some hundred kilobytes at most, are on their way from the connection to the reader.
const AHEAD: usize = 2;
/// So many bytes later a connection that breaks is a new misfortune, and patience begins anew.
const GOOD_PROGRESS: u64 = 4 << 20;
/// However far each try comes, this many are enough.
const MOST_TRIES: u32 = 100;

/// A blob in a registry.
#[derive(Debug)]
pub(super) struct Remote {
    access: Access,
    digest: Digest,
    size: u64,
    runtime: Handle,
}

impl Remote {
    /// The blob as content. Nothing is asked until it is read.
    pub(super) fn content(access: Access, digest: Digest, size: u64, runtime: Handle) -> Content {
        Content::Made(Arc::new(Self { access, digest, size, runtime }))
    }
}

impl Opens for Remote {
    fn size(&self) -> u64 {
        self.size
    }

    fn reach(&self) -> Reach {
        Reach::Remote
    }

    fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let fetch = Fetch {
            access: self.access.clone(),
            digest: self.digest.clone(),
            size: self.size,
            at: 0,
            hasher: Hasher::default(),
            sender,
        };
        self.runtime.spawn(fetch.run());
        Ok(Box::new(Stream { receiver, piece: Bytes::new() }))
    }

    fn repository(&self) -> Option<&Repository> {
        Some(self.access.repository())
    }
}

/// The reader's end. Dropping it ends the fetching.
struct Stream {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let read = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

/// The registry's end.
struct Fetch {
    access: Access,
    digest: Digest,
    size: u64,
    /// How many bytes are good and handed on.
    at: u64,
    hasher: Hasher,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

/// Why one try ended.
enum Ended {
    /// Everything is handed on, or nobody wants it any more.
    Done,
    /// The connection, or the registry, may do better the next time, after the pause it asks for.
    Broken(RegistryError, Option<Duration>),
    /// Trying again would be no use.
    Failed(io::Error),
}

impl Fetch {
    async fn run(mut self) {
        let backoff = self.access.session().client.limits().backoff;
        let (mut tries, mut all, mut paused) = (0, 0, Duration::ZERO);
        loop {
            let began = self.at;
            let (error, asked) = match self.attempt().await {
                Ended::Done => return,
                Ended::Failed(error) => return self.fail(error).await,
                Ended::Broken(error, asked) => (error, asked),
            };
            if self.at - began >= GOOD_PROGRESS {
                (tries, paused) = (0, Duration::ZERO);
            }
            (tries, all) = (tries + 1, all + 1);
            let pause = backoff.pause(tries, paused, asked).filter(|_| all < MOST_TRIES);
            let Some(pause) = pause else {
                let error = error.after(all);
                return self.fail(io::Error::other(error)).await;
            };
            tracing::info!(blob = %self.digest, at = self.at, %error, ?pause, "reading on where it broke off");
            paused += pause;
            tokio::time::sleep(pause).await;
        }
    }

    async fn fail(self, error: io::Error) {
        // Nobody listens any more: then nobody needs to know.
        let _ = self.sender.send(Err(error)).await;
    }

    /// Asks for what is missing and hands it on.
    async fn attempt(&mut self) -> Ended {
        let path = format!("blobs/{}", self.digest);
        let doing = format!("read blob {}", self.digest);
        let request = match self.access.request("read blob", Method::GET, &path).await {
            Ok(request) if self.at > 0 => {
                let range =
                    HeaderValue::try_from(format!("bytes={}-", self.at)).expect("digits fit into a header");
                request.header(RANGE, range)
            }
            Ok(request) => request,
            Err(error) => return of_registry(error, None),
        };
        let mut answer = match self.access.send(request).await {
            Ok(answer) => answer,
            Err(error) => return of_registry(error, None),
        };
        // A registry that knows no ranges begins anew: what is good already is passed over.
        let mut skip = match answer.status() {
            StatusCode::OK => self.at,
            StatusCode::PARTIAL_CONTENT if begins_at(answer.header(CONTENT_RANGE.as_str()), self.at) => 0,
            StatusCode::PARTIAL_CONTENT => {
                let message = format!("{doing}: the registry answers with another part than was asked for");
                return Ended::Failed(io::Error::other(
                    self.access.error(RegistryErrorKind::Protocol, message),
                ));
            }
            _ => {
                let asked = answer.retry_after();
                return of_registry(self.access.refused(&doing, answer).await, asked);
            }
        };
        let left = self.size - self.at + skip;
        let stated = answer.header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
        if let Some(stated) = stated.filter(|stated| *stated != left) {
            return self.lies(&format!("the registry has {stated} bytes of it where {left} are expected"));
        }
        loop {
            let mut piece = match answer.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) if self.at == self.size => return Ended::Done,
                Ok(None) => {
                    let missing = self.size - self.at;
                    let message = format!("{doing}: the answer ended {missing} bytes early");
                    return Ended::Broken(self.access.error(RegistryErrorKind::Unavailable, message), None);
                }
                Err(error) => return of_registry(self.access.broken(error), None),
            };
            let passed = piece.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
            piece.advance(passed);
            skip -= passed as u64;
            if piece.is_empty() {
                continue;
            }
            if piece.len() as u64 > self.size - self.at {
                return self.lies(&format!(
                    "the registry has more bytes of it than the {} that are expected",
                    self.size
                ));
            }
            self.hasher.update(&piece);
            self.at += piece.len() as u64;
            // The last piece is held back until everything is known to be right.
            if self.at == self.size {
                let found = std::mem::take(&mut self.hasher).finish();
                if found != self.digest {
                    return self.lies(&format!("its bytes have the digest {found}"));
                }
            }
            if self.sender.send(Ok(piece)).await.is_err() || self.at == self.size {
                return Ended::Done;
            }
        }
    }

    fn lies(&self, problem: &str) -> Ended {
        let host = self.access.repository().host();
        let message = format!("it is damaged at {host}: {problem}");
        Ended::Failed(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

/// Whether a range begins where it was asked to. One that says nothing is believed: the digest decides.
fn begins_at(range: Option<&str>, at: u64) -> bool {
    let start = range.and_then(|range| range.trim().strip_prefix("bytes")?.trim_start().split_once('-'));
    start.is_none_or(|(start, _)| start.trim().parse() == Ok(at))
}

fn of_registry(error: RegistryError, asked: Option<Duration>) -> Ended {
    match error.kind {
        RegistryErrorKind::Unavailable | RegistryErrorKind::Unreachable => Ended::Broken(error, asked),
        _ => Ended::Failed(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_believed_where_it_begins_as_asked() {
        for (range, fits) in [
            (Some("bytes 5-9/10"), true),
            (Some("bytes 4-9/10"), false),
            (Some("5-9/10"), true),
            (Some("bytes */10"), true),
            (None, true),
        ] {
            assert_eq!(begins_at(range, 5), fits, "{range:?}");
        }
    }
}
