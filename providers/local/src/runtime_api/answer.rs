//! What a process answers to an event.

use bytes::Bytes;
use tokio::sync::mpsc;

/// How many pieces of a streamed answer may wait for whoever reads it. The process waits beyond that.
const PIECES: usize = 4;

/// What a process answered.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The whole answer.
    Whole(Bytes),
    /// An answer that comes in pieces.
    Streamed(Streamed),
    /// It says that it failed, in JSON.
    Failed(Bytes),
    /// Its answer is larger than an answer may be.
    TooLarge,
}

/// An answer that comes in pieces.
#[derive(Debug)]
pub(crate) struct Streamed {
    /// What it says it is.
    pub(crate) content_type: Option<String>,
    /// The pieces; the channel closes behind the last one.
    pub(crate) pieces: mpsc::Receiver<Result<Bytes, Broken>>,
}

/// Why a streamed answer ended before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// The function says that it failed half way.
    #[error("the function failed while it answered: {0}")]
    Failed(String),
    /// The process went away, or sent what is no answer.
    #[error("the function's answer broke off")]
    BrokeOff,
    /// The function's time was over.
    #[error("the function's time is over")]
    TimedOut,
}

impl Streamed {
    /// A stream, and where its pieces go in.
    pub(crate) fn new(content_type: Option<String>) -> (mpsc::Sender<Result<Bytes, Broken>>, Self) {
        let (sender, pieces) = mpsc::channel(PIECES);
        (sender, Self { content_type, pieces })
    }
}
