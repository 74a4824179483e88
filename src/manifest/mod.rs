//! Text to deployment: reads a manifest with all its mistakes.
//!
//! The text becomes a tree in which every key and value has its place (`yaml`). The chosen environment and every
//! `--set` are laid over that tree (`overlay`); then it is read by the schema (`schema`, `reader`), `${…}` being
//! filled in value by value (`expand`), and turned into a [`Deployment`] that leaves nothing to be guessed
//! (`resolve`). The JSON schema and the reference are made from the same schema.

mod collection;
mod deployment;
mod endpoint;
mod environment;
mod expand;
mod facts;
mod forms;
mod function;
mod gate;
mod image;
mod json_schema;
mod known;
mod mistake;
mod overlay;
mod read;
mod reader;
mod reference;
mod resolve;
mod scan;
mod schema;
mod shape;
mod shift;
mod smoke;
mod source;
mod target;
mod template;
#[cfg(all(test, feature = "local"))]
mod tests;
mod tree;
mod value;
mod yaml;

pub use deployment::{Build, Deployment, Unit};
pub use facts::{Facts, GitFact, ProcessFacts};
pub use gate::{ErrorLimits, GateSpec, LatencyLimit, OnSilence};
pub use json_schema::json_schema;
pub use known::KnownProvider;
pub use mistake::{Mistake, Mistakes, Position};
pub use read::{Request, read};
pub use reference::reference;
pub use scan::{FindingSeverity, Fixes, News, OnAbsent, ScanPolicy, Waiver};
pub use shift::{ShiftSpec, StepSpec, Strategy};
pub use smoke::{Smoke, SmokeExpectation, SmokeRequest};
