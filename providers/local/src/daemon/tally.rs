//! Requests that were read against answers that were written, so that a daemon that ends can say whether it owes any.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};
use hyper::body::{Frame, SizeHint};

/// The counts of one daemon, of requests for functions.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    read: AtomicU64,
    answered: AtomicU64,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Requests whose head was read.
    pub(crate) read: u64,
    /// Those among them whose answer was handed to the connection to its end.
    pub(crate) answered: u64,
}

impl Tally {
    /// The counts so far.
    pub(crate) fn counted(&self) -> Counted {
        let (answered, read) = (self.answered.load(Ordering::SeqCst), self.read.load(Ordering::SeqCst));
        Counted { read, answered }
    }
}

/// Counts a request, which was read, and its answer when that is through.
pub(crate) async fn count(State(tally): State<Arc<Tally>>, request: Request, next: Next) -> Response {
    tally.read.fetch_add(1, Ordering::SeqCst);
    let asks_for_head = request.method() == Method::HEAD;
    let response = next.run(request).await;
    // A body that does not belong to the answer is let go of unread.
    let ended =
        asks_for_head || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    response.map(|body| Body::new(Answer { body, ended, tally }))
}

/// An answer's body, on its way.
struct Answer {
    body: Body,
    ended: bool,
    tally: Arc<Tally>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.ended || self.body.is_end_stream() {
            self.tally.answered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn answer(body: Body, tally: &Arc<Tally>) -> Answer {
        Answer { body, ended: false, tally: Arc::clone(tally) }
    }

    #[tokio::test]
    async fn only_an_answer_that_came_to_its_end_counts() {
        let tally = Arc::new(Tally::default());
        let pieces = || {
            let pieces = ["a", "b"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
            Body::from_stream(futures::stream::iter(pieces))
        };
        let mut broken = answer(pieces(), &tally);
        broken.frame().await.unwrap().unwrap();
        drop(broken);
        assert_eq!(tally.counted().answered, 0);
        assert_eq!(answer(pieces(), &tally).collect().await.unwrap().to_bytes(), "ab");
        assert_eq!(tally.counted().answered, 1);
        drop(answer(Body::empty(), &tally));
        assert_eq!(tally.counted(), Counted { read: 0, answered: 2 });
    }
}
