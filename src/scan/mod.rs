//! The scan policy: what an image's findings, or their absence, mean. Pure; asking a scanner is the pipeline's business.

mod patience;
pub mod policy;
mod refusal;

pub use patience::{Next, next};
pub use policy::{Absence, Before, Evidence, Judged, Verdict, judge, waive};
pub use refusal::Refusal;
