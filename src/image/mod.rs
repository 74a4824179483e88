//! Images as values: where one comes from, what it is, and what is in it.

mod source;

pub use source::{Add, Assembly, Base, ImageSource, InvalidSource};
