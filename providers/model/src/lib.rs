//! What a function service is: functions, versions, aliases, routing, revisions and updates that take their time.
//!
//! It is a value with operations, as strict as the strictest cloud. It has no clock and does no I/O: the time of a write
//! is passed in, and whether an update came to a good end is an input ([`Service::settle_update`]). The local cloud keeps
//! one as its state, and the doubles of remote clouds answer out of one.
//!
//! What holds after every operation, accepted or refused (`tests/invariants.rs`):
//!
//! - a version's number is never given out twice, and what the number stands for never changes;
//! - an alias names one or two versions, both of which exist and are active; two differ, and neither's share is zero;
//! - every accepted write of a thing gives that thing a revision that nothing had before;
//! - a refused operation changes nothing.

mod content;
mod function;
mod refusal;
mod request;
mod service;
mod stored;

pub use content::{Configuration, Content, Image};
pub use function::{AliasRecord, Function, Head, VersionRecord};
pub use refusal::{Code, Refusal};
pub use request::{Create, Guard, Outcome, Publish, PutAlias, Update};
pub use service::{Changed, DESCRIPTION_LIMIT, Published, Service};
