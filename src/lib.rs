//! placeholder

pub mod manifest;
