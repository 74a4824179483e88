//! placeholder

pub mod registry;
pub mod runner;
