//! The Lambda Runtime API (2018-06-01): where a process asks for events and leaves its answers.
//!
//! Every instance has an address of its own ([`serve()`]) and a [`Desk`] behind it, on which lies at most one event. Its
//! answers are those of AWS's own emulator, byte for byte where a client may look at them. The Extensions API is not
//! offered and says so, and a process is not frozen between events.

mod answer;
mod desk;
mod event;
mod serve;

pub(crate) use answer::{Broken, Reply, Streamed};
pub(crate) use desk::{Desk, Sign};
pub(crate) use event::{Event, PAYLOAD_LIMIT, RequestId, new_trace};
pub(crate) use serve::{Serving, serve};
