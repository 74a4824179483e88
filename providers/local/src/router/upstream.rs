//! Connections to a process that answers HTTP.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use crate::runner::Instance;

/// A connection that nobody used for this long is not used again: the function may be about to close it, and a request
/// that meets the end of a connection cannot always be sent a second time.
const STALE: Duration = Duration::from_secs(1);

/// Connections to one process that wait for the next request.
#[derive(Default)]
pub(crate) struct Connections(Arc<Mutex<Vec<Idle>>>);

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

/// A request that has no answer.
pub(crate) enum Unanswered {
    /// The process takes no connections. Nothing was sent: here is the request again.
    Gone(Box<Request<Body>>),
    /// The request was sent, at least in part.
    Lost(hyper::Error),
}

impl Connections {
    /// Sends a request to `instance` and waits until its answer begins. Both bodies stream.
    pub(crate) async fn send(
        &self,
        instance: &Instance,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Unanswered> {
        loop {
            let (mut sender, fresh) = match self.take_idle() {
                Some(sender) => (sender, false),
                None => match connect(instance).await {
                    Ok(sender) => (sender, true),
                    Err(_) => return Err(Unanswered::Gone(Box::new(request))),
                },
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep_when_done(sender);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    // An idle connection had come to its end: the next one may not have.
                    Some(unsent) if !fresh => request = unsent,
                    Some(unsent) => return Err(Unanswered::Gone(Box::new(unsent))),
                    None => return Err(Unanswered::Lost(error.into_error())),
                },
            }
        }
    }

    fn take_idle(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { sender, since }) = idle.pop() {
            if since.elapsed() < STALE && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps the connection for the next request once the answer's body has gone through it.
    fn keep_when_done(&self, mut sender: SendRequest<Body>) {
        let connections = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            if sender.ready().await.is_err() {
                return;
            }
            if let Some(connections) = connections.upgrade() {
                let mut idle = connections.lock().unwrap_or_else(PoisonError::into_inner);
                idle.retain(|idle| idle.since.elapsed() < STALE);
                idle.push(Idle { sender, since: Instant::now() });
            }
        });
    }
}

async fn connect(instance: &Instance) -> Result<SendRequest<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = instance.connect().await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The connection's own end is told to whoever waits for an answer on it.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
