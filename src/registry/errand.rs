//! What is done at a registry.

use std::fmt;

use longshore_contract::Repository;

/// What is to be done at which repository: what a login is asked for, and what an error begins with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Errand {
    /// What for.
    pub purpose: Purpose,
    /// Where.
    pub repository: Repository,
}

/// What a repository is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To read from it; many registries let everybody.
    Pull,
    /// To write to it, and to read what is there.
    Push,
}

impl Purpose {
    /// The actions of a token's scope that it needs.
    pub(super) fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Pull => &["pull"],
            Self::Push => &["pull", "push"],
        }
    }

    /// The verb for people: whoever may not do it "may not push to" a repository.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Pull => "pull from",
            Self::Push => "push to",
        }
    }
}

impl fmt::Display for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.purpose.verb(), self.repository)
    }
}
