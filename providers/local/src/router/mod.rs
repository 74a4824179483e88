//! How requests reach functions: which version, which process, in which form, and there and back.

mod delivery;
mod dialect;
mod environment;
mod error;
pub(crate) mod forward;
mod function_url;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub(crate) mod headers;
mod histogram;
mod http_event;
pub(crate) mod instances;
mod invoke;
mod invoke_name;
mod invoke_refusal;
pub(crate) mod meter;
mod outcome;
mod path;
mod process;
mod report;
mod rest;
mod room;
mod slot;
mod split;
mod start;
mod stream;
mod target;
mod upstream;
mod url_answer;
mod url_event;
