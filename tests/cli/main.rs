//! The real binary, from its command line to its exit code: whole documents, real requests, the local cloud.

#[path = "../support/mod.rs"]
mod support;

mod acts;
mod deploy;
mod endings;
mod errors;
mod help;
mod load;
mod peers;
mod quickstart;
mod rollback;
mod scan;
mod shape;
