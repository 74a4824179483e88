//! placeholder

pub mod registry;
pub mod runner;
#[cfg(test)]
mod testing;
