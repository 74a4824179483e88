//! Names of repositories, as they stand in a URL.

use std::fmt;
use std::str::FromStr;

use longshore_contract::Repository;

/// The path of a repository in this registry. It has only parts of the distribution specification's grammar, so that it
/// is also a relative path that stays where it is put.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RepositoryPath(String);

impl RepositoryPath {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not the path of a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidPath;

impl FromStr for RepositoryPath {
    type Err = InvalidPath;
    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        // The contract reads whole repositories: a host before the path, which could not be part of it.
        match format!("localhost/{text}").parse::<Repository>() {
            Ok(repository) if repository.path() == text => Ok(Self(text.to_owned())),
            _ => Err(InvalidPath),
        }
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for good in ["a", "shop/checkout", "a/b/c", "a-b.c_d__e"] {
            assert_eq!(good.parse::<RepositoryPath>().unwrap().as_str(), good);
        }
        for bad in [
            "", "/", "/a", "a/", "..", "a/../b", "a//b", "a/./b", "A", "_blobs", "a/_tags", "a\0", "a b",
            "a:1",
        ] {
            assert_eq!(bad.parse::<RepositoryPath>(), Err(InvalidPath), "{bad:?}");
        }
    }
}
