//! How requests reach functions: which version, which process, and there and back.

mod error;
pub(crate) mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub(crate) mod headers;
pub(crate) mod instances;
mod meter;
mod path;
mod split;
mod upstream;
