//! A streamed answer on its way, in the function's time.

use std::sync::Arc;

use crate::router::instances::Instances;
use crate::router::slot::Lease;
use crate::runtime_api::{Broken, Streamed};

/// Hands an answer on, piece by piece. The process is not given another event, and not stopped, before the answer is
/// through; when its time is over first, it is killed.
pub(crate) fn relay(
    instances: Arc<Instances>,
    lease: Lease,
    mut from: Streamed,
    until: tokio::time::Instant,
) -> Streamed {
    let (to, relayed) = Streamed::new(from.content_type.take());
    tokio::spawn(async move {
        let late = loop {
            let piece = tokio::select! {
                biased;
                piece = from.pieces.recv() => piece,
                () = tokio::time::sleep_until(until) => break Broken::TimedOut,
            };
            let Some(piece) = piece else { return };
            if piece.is_err() {
                lease.slot.meter.spoil();
            }
            // A client that went away is none of the function's business: the function comes to its end.
            if tokio::time::timeout_at(until, to.send(piece)).await.is_err() {
                break Broken::TimedOut;
            }
        };
        lease.slot.meter.spoil();
        instances.kill(&lease);
        drop(lease);
        let _ = to.send(Err(late)).await;
    });
    relayed
}
