//! What is wanted against what was found. The version itself is made by the provider.

pub mod diff;
