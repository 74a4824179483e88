//! One event to a process that asks for events, and what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;

use crate::router::error::{Failure, RouterError};
use crate::router::instances::Instances;
use crate::router::meter::End;
use crate::router::outcome::{self, Fault, Outcome};
use crate::router::process::Speaks;
use crate::router::report::{Facts, Mark};
use crate::router::slot::{Lease, Slot};
use crate::router::stream;
use crate::runner::Exit;
use crate::runtime_api::{Desk, Event, Reply, RequestId};

/// How long a process whose answer broke off has to be seen ending.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// An event to deliver.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) id: RequestId,
    pub(crate) payload: Bytes,
    pub(crate) arn: String,
    pub(crate) trace: String,
    pub(crate) client_context: Option<String>,
    /// How long the process may take.
    pub(crate) timeout: Duration,
    /// The memory that the function is told, for the report.
    pub(crate) memory_mib: u64,
    pub(crate) log: LogTail,
}

/// Whether the end of the log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogTail {
    /// It is.
    Wanted,
    /// Nobody reads it.
    Unwanted,
}

/// An event that was delivered.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) outcome: Outcome,
    /// The invocation's lines, where they are wanted.
    pub(crate) log: Option<String>,
}

/// Delivers an event to a process of `slot`'s version, counts it, and answers with what `shape` makes of it. Once this was
/// polled, the event is delivered whether or not anybody waits for the answer.
pub(crate) async fn deliver<T: Send + 'static>(
    instances: &Arc<Instances>,
    slot: &Arc<Slot>,
    order: Order,
    shape: impl FnOnce(Delivered) -> (T, End) + Send + 'static,
) -> Result<T, RouterError> {
    let (instances, slot) = (Arc::clone(instances), Arc::clone(slot));
    let task = tokio::spawn(async move {
        let lease = match instances.lease(&slot).await {
            Ok(lease) => lease,
            Err(error) => {
                count_failed_start(&slot, &error);
                return Err(error);
            }
        };
        let begun = Instant::now();
        let delivered = carry(&instances, lease, order).await?;
        let (answer, end) = shape(delivered);
        slot.meter.count(end, begun.elapsed());
        Ok(answer)
    });
    match task.await {
        Ok(answer) => answer,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// A request that met a version which does not start is an invocation that went wrong; one that was turned away is none.
pub(crate) fn count_failed_start(slot: &Slot, error: &RouterError) {
    if let Failure::DoesNotStart | Failure::Resting(_) = error.failure {
        slot.meter.count(End::Bad, Duration::ZERO);
    }
}

/// What comes first.
enum Came {
    Reply(Reply),
    /// The answer broke off.
    Nothing,
    Exit(Exit),
    Late,
}

async fn carry(instances: &Arc<Instances>, mut lease: Lease, order: Order) -> Result<Delivered, RouterError> {
    let slot = Arc::clone(&lease.slot);
    let Order { id, payload, arn, trace, client_context, timeout, memory_mib, log } = order;
    let deadline = Timestamp::now().checked_add(timeout).unwrap_or(Timestamp::MAX);
    let mut event = Event { id: id.clone(), payload, deadline, arn, trace, client_context };
    let mark = (log == LogTail::Wanted).then(|| Mark::at(&slot.log));
    let begun = Instant::now();
    let until = tokio::time::Instant::from_std(begun) + timeout;
    let outcome = loop {
        let Speaks::Events(desk) = &lease.process.speaks else {
            let message = "one instance of it asks for events and another answers HTTP: state its `kind`";
            return Err(slot.error(Failure::DoesNotStart, message.to_owned()));
        };
        match wait(desk, &lease, event, until).await {
            Came::Reply(Reply::Whole(bytes)) => break Outcome::Answered(bytes),
            Came::Reply(Reply::Failed(bytes)) => break Outcome::Failed(Fault::Function, bytes),
            Came::Reply(Reply::TooLarge) => break outcome::too_large(),
            Came::Reply(Reply::Streamed(streamed)) => {
                let relayed = stream::relay(Arc::clone(instances), lease, streamed, until);
                // Its lines are not whole before its end is.
                return Ok(Delivered { outcome: Outcome::Streamed(relayed), log: None });
            }
            Came::Exit(exit) => {
                slot.lost(&lease.process, &exit.to_string());
                match desk.take_back() {
                    // It ended before it took the event: another can have it.
                    Some(untaken) => event = untaken,
                    None => break outcome::crashed(&id, exit),
                }
            }
            Came::Nothing => {
                instances.kill(&lease);
                break outcome::truncated(&id);
            }
            Came::Late => {
                instances.kill(&lease);
                break outcome::timed_out(&id, timeout);
            }
        }
        lease = instances.lease(&slot).await?;
    };
    let took = begun.elapsed();
    let log = match mark {
        Some(mark) => {
            lease.process.instance.settled().await;
            let version = slot.number.to_string();
            let status = match &outcome {
                Outcome::Failed(Fault::Timeout, _) => Some("timeout"),
                Outcome::Failed(..) => Some("error"),
                _ => None,
            };
            let facts = Facts { id: &id, version: &version, took, memory: memory_mib, status };
            Some(mark.report(&facts).await)
        }
        None => None,
    };
    Ok(Delivered { outcome, log })
}

async fn wait(desk: &Desk, lease: &Lease, event: Event, until: tokio::time::Instant) -> Came {
    let mut reply = desk.hand_in(event);
    tokio::select! {
        biased;
        came = &mut reply => match came {
            Ok(reply) => Came::Reply(reply),
            // Mostly the process ends in the middle of its answer.
            Err(_) => match tokio::time::timeout(LAST_WORDS, lease.process.instance.exited()).await {
                Ok(exit) => Came::Exit(exit),
                Err(_) => Came::Nothing,
            },
        },
        exit = lease.process.instance.exited() => match reply.try_recv() {
            Ok(reply) => Came::Reply(reply),
            Err(_) => Came::Exit(exit),
        },
        () = tokio::time::sleep_until(until) => Came::Late,
    }
}
