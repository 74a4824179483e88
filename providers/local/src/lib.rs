//! placeholder

pub mod registry;
