//! A blob as the body of a request: read ahead by a thread of its own, handed on in pieces, its digest compared on the way where
//! that is asked for.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use longshore_contract::Digest;
use longshore_wire::{Body, Chunks};

use crate::image::{Blob, Content, Hasher, Reader, Verify};

/// What is read from a file at once.
const READ: usize = 1 << 20;
/// What is handed to the connection at once: small enough that a slow connection is seen to move.
const PIECE: usize = 1 << 17;

/// The blob from its beginning, as often as it is asked for. `course` tells how far it is.
pub(super) fn body(blob: &Blob, verify: Verify, course: Course) -> Body {
    if let Content::Bytes(bytes) = &blob.content {
        return Body::Bytes(bytes.clone());
    }
    let (content, size, digest) = (blob.content.clone(), blob.size, blob.digest.clone());
    let make = move || {
        course.begin();
        let expected = (verify == Verify::Hash).then(|| digest.clone());
        pieces(content.clone(), size, digest.clone(), expected, course.clone())
    };
    Body::Stream { length: size, make: Arc::new(make) }
}

/// The blob's bytes, read by a thread of their own that is one piece ahead. When the digest is to be compared, the last
/// piece is held back until it is.
fn pieces(content: Content, size: u64, name: Digest, expected: Option<Digest>, course: Course) -> Chunks {
    let seen = course.clone();
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
                        seen.found_damaged();
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
    let state = (receiver, Bytes::new(), course);
    futures::stream::unfold(state, async |(mut receiver, mut piece, course)| {
        if piece.is_empty() {
            match receiver.recv().await? {
                Ok(next) => piece = next,
                Err(error) => return Some((Err(error), (receiver, Bytes::new(), course))),
            }
        }
        let part = piece.split_to(piece.len().min(PIECE));
        course.moved(part.len() as u64);
        Some((Ok(part), (receiver, piece, course)))
    })
    .boxed()
}

fn read_piece(reader: &mut Reader) -> io::Result<Bytes> {
    let want = usize::try_from(reader.left()).unwrap_or(usize::MAX).min(READ);
    let mut piece = Vec::with_capacity(want);
    reader.take(want as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

/// What is known of a blob on its way, to its reader and to whoever waits.
#[derive(Debug, Clone, Default)]
pub(super) struct Course(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    sent: AtomicU64,
    damaged: AtomicBool,
}

impl Course {
    fn begin(&self) {
        self.0.sent.store(0, Ordering::Relaxed);
    }

    fn moved(&self, count: u64) {
        self.0.sent.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    fn found_damaged(&self) {
        self.0.damaged.store(true, Ordering::Release);
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.0.damaged.load(Ordering::Acquire)
    }
}
