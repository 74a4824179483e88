//! placeholder

pub mod image;
pub mod push;
