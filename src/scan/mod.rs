//! The scan policy: what an image's findings, or their absence, mean.

pub mod policy;

pub use policy::{Evidence, Verdict, judge};
