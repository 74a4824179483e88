//! The registry as its clients see it: every rule of the OCI distribution specification as a case that runs against ours
//! and, so that a rule we read wrongly shows, against Debian's docker-registry; then real clients, kills and full disks.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod collection;
mod crash;
mod differences;
mod discovery;
mod disk;
mod management;
mod manifests;
mod peer;
mod pull;
mod push;
