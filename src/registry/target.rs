//! What a manifest is called.

use longshore_contract::{Digest, Tag};

/// A manifest's name in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A tag; it can move.
    Tag(Tag),
    /// Its digest.
    Digest(Digest),
}

impl Target {
    /// The last part of a manifest's path.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag.as_str(),
            Self::Digest(digest) => digest.as_str(),
        }
    }
}
