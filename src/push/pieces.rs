//! A blob as the body of a request: handed on in pieces small enough that a slow connection is seen to move.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use futures::StreamExt as _;
use longshore_wire::{Body, Chunks};

use super::reading::{Fault, Piece, Pieces, Reading};
use super::tee::pieces_with;

/// What is handed to the connection at once.
const PIECE: usize = 1 << 17;

/// The blob from its beginning, as often as it is asked for; the first time with `shared`, where others read it too.
/// `course` tells how far it is.
pub(super) fn body(reading: &Reading, shared: Option<Pieces>, course: Course) -> Body {
    if let Some(bytes) = reading.in_memory() {
        return Body::Bytes(bytes.clone());
    }
    let (length, reading) = (reading.size(), reading.clone());
    let shared = Mutex::new(shared);
    let make = move || {
        course.begin();
        let shared = shared.lock().expect("nothing panics while it holds this").take();
        cut(pieces_with(shared, reading.clone()).boxed(), course.clone())
    };
    Body::Stream { length, make: Arc::new(make) }
}

fn cut(pieces: futures::stream::BoxStream<'static, Piece>, course: Course) -> Chunks {
    let state = (pieces, Bytes::new(), course);
    futures::stream::unfold(state, async |(mut pieces, mut piece, course)| {
        if piece.is_empty() {
            match pieces.next().await? {
                Ok(next) => piece = next,
                Err(error) => {
                    course.broke_off(error.fault);
                    return Some((Err(io::Error::from(error)), (pieces, Bytes::new(), course)));
                }
            }
        }
        let part = piece.split_to(piece.len().min(PIECE));
        course.moved(part.len() as u64);
        Some((Ok(part), (pieces, piece, course)))
    })
    .boxed()
}

/// What is known of a blob on its way, to its reader and to whoever waits.
#[derive(Debug, Clone, Default)]
pub(super) struct Course(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    sent: AtomicU64,
    fault: OnceLock<Fault>,
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

    fn broke_off(&self, fault: Fault) {
        // The first reason is the reason.
        let _ = self.0.fault.set(fault);
    }

    /// Why the blob could not be read to its end, where it was our side that broke off.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.fault.get().copied()
    }
}
