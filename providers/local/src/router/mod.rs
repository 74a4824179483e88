//! How requests reach functions: which version, which process, and there and back.

mod error;
pub(crate) mod forward;
pub(crate) mod headers;
mod histogram;
pub(crate) mod instances;
pub(crate) mod meter;
mod path;
mod split;
mod upstream;
