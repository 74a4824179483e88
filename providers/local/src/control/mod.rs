//! What can be asked of the daemon: the functions' state, how writes to it are kept, and the API in front of it.

pub(crate) mod api;
pub(crate) mod authorization;
pub(crate) mod journal;
pub(crate) mod raw;
pub(crate) mod refusal;
pub(crate) mod store;
pub(crate) mod updates;
pub(crate) mod wire;
