//! Longshore deploys the container images of serverless functions.
//!
//! The pipeline, in the order of the modules: a [`manifest`] is read into a deployment; its [`image`]s are opened as
//! values and [`push`]ed to a [`registry`]; the [`scan`] policy decides; [`publish`] compares what is wanted with what is there
//! and the provider makes a version; [`shift`] moves the alias to it in steps. What was meant and what happened is in the
//! [`ledger`], from which [`rollback`] knows what was live before. [`pipeline`] puts the stages in order for one function
//! on one target, [`report`] tells what came of it, [`cli`] translates words into all of that.

pub mod manifest;

pub mod cache;

pub mod image;

pub mod shape;

pub mod registry;

pub mod push;

pub mod scan;

pub mod publish;

pub mod shift;

pub mod ledger;

pub mod rollback;

pub mod pipeline;

pub mod progress;

pub mod report;

pub mod providers;

pub mod cli;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
