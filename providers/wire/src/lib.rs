//! One HTTP client for everything Longshore says to the outside; it knows no cloud.
//!
//! A [`Request`] says what it asks, whether it may be sent twice and whom it trusts; a [`Client`] sends it, retries what
//! may be retried, follows redirects without carrying credentials to another host, and hands back an [`Answer`] whose
//! body is read up to a limit. What goes wrong is an [`Error`] that names the operation and the host and holds no secret:
//! no header, no query, no body.
//!
//! Loopback is a case of its own: plain http is always fine there, no proxy is asked, and as long as nothing but plain
//! http on loopback is spoken no certificate is loaded.

mod address;
mod answer;
mod client;
mod error;
mod probe;
mod request;
mod retry;
mod stall;
mod tls;

pub use address::{PlainHttp, is_loopback};
pub use answer::Answer;
pub use client::{Client, Limits, Road};
pub use error::{Error, ErrorKind};
pub use probe::Protocol;
pub use request::{Body, Chunks, Meter, Redirects, Repeats, Request, Trust};
pub use retry::Backoff;
