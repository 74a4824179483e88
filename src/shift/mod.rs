//! Moves an alias to a version, step by step, so that a kill at any moment leaves nothing to guess.
//!
//! [`plan()`] decides everything up front; [`Rollout`] says, purely, what comes next; [`drive()`] is the one loop that does
//! it. The state is the fold of the ledger and nothing else, so that a resumed run and a fresh one are the same thing.

mod clock;
mod drive;
mod patience;
mod plan;
mod policy;
mod state;
mod takeover;
#[cfg(test)]
mod tests;

pub use clock::{Clock, SystemClock};
pub use drive::{Around, Driven, Stopped, drive};
pub use plan::{Refusal, ShiftSpec, Strategy, plan};
pub use state::{Decision, Illegal, Rollout};
pub use takeover::{NotTaken, Order, Taken, take_over};

pub(crate) use plan::UNKNOWN_DIGEST;
