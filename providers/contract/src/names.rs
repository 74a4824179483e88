//! Names, parsed once and then carried as types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not the name it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidName {
    /// The text as it was given, cut to 100 characters.
    pub text: String,
    /// What would have been accepted, as a phrase that follows "is not".
    pub expected: &'static str,
}

impl InvalidName {
    /// Says that `text` is not `expected`.
    pub fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(100).collect(), expected }
    }
}

/// Declares a name: a `String` that can only be made by its check, and is written and read as that text.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $expected:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// What [`FromStr`] accepts, as a phrase that follows "is not".
            pub const EXPECTED: &'static str = $expected;

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(InvalidName::new(text, Self::EXPECTED)) }
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use name;

fn word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

name! {
    /// A function's name in its cloud, at most 140 characters; a namespace may stand before it (`ns/NAME`).
    FunctionName,
    "a function name (letters, digits, - and _, beginning with a letter or digit; at most 140)",
    |text| text.len() <= 140 && match text.split_once('/') {
        Some((namespace, name)) => word(namespace) && word(name),
        None => word(text),
    }
}

name! {
    /// An alias's name, never all digits: that would be a version.
    AliasName,
    "an alias name (letters, digits, - and _, not all digits; at most 64)",
    |text| text.len() <= 64 && word(text) && !text.chars().all(|c| c.is_ascii_digit())
}

name! {
    /// A published, immutable version as its cloud names it: a number.
    Version,
    "a version (digits)",
    |text| !text.is_empty() && text.len() <= 20 && text.chars().all(|c| c.is_ascii_digit())
}

name! {
    /// The digest of some bytes: `sha256:` and 64 lower-case hexadecimal digits.
    Digest,
    "a digest (sha256: and 64 lower-case hexadecimal digits)",
    |text| text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
    })
}

impl Digest {
    /// The 64 hexadecimal digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

/// An alias of a function: what a run moves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AliasRef {
    /// The function in its cloud.
    pub function: FunctionName,
    /// The alias on that function.
    pub alias: AliasName,
}

impl fmt::Display for AliasRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.function, self.alias)
    }
}

/// Which of a function's faces is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Qualifier {
    /// The mutable head that updates change and publishing copies.
    Latest,
    /// One immutable version.
    Version(Version),
    /// Whatever the alias sends traffic to.
    Alias(AliasName),
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("$LATEST"),
            Self::Version(version) => version.fmt(f),
            Self::Alias(alias) => alias.fmt(f),
        }
    }
}

/// One cloud in one region, or one local cloud: what a ledger's folder is named after.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The registration's name.
    pub provider: String,
    /// The region; for a local cloud the id kept in its state.
    pub region: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.region)
    }
}

/// What an image is built for: `OS/ARCH[/VARIANT]`, in the words of the OCI image specification (GOOS, GOARCH).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    /// The operating system, as in `linux`.
    pub os: String,
    /// The architecture, as in `amd64`.
    pub architecture: String,
    /// The architecture's variant, as in `v8`.
    pub variant: Option<String>,
}

impl Platform {
    /// What [`FromStr`] accepts, as a phrase that follows "is not".
    pub const EXPECTED: &'static str = "a platform (OS/ARCH or OS/ARCH/VARIANT, as in linux/amd64)";

    /// The platform this program runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "riscv64" => "riscv64",
            other => other,
        };
        Self { os: std::env::consts::OS.to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether an image for `self` runs where `wanted` is asked for: equal, except that a variant only counts where
    /// both name one.
    pub fn serves(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && match (&self.variant, &wanted.variant) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => true,
            }
    }
}

impl FromStr for Platform {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let parts: Vec<&str> = text.split('/').collect();
        let fit = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        if !(2..=3).contains(&parts.len()) || text.len() > 100 || !parts.iter().all(fit) {
            return Err(InvalidName::new(text, Self::EXPECTED));
        }
        Ok(Self {
            os: parts[0].to_owned(),
            architecture: parts[1].to_owned(),
            variant: parts.get(2).map(|part| (*part).to_owned()),
        })
    }
}

impl TryFrom<String> for Platform {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> String {
        platform.to_string()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_say() {
        assert!("shop-checkout".parse::<FunctionName>().is_ok());
        assert!("ns/shop".parse::<FunctionName>().is_ok());
        for bad in ["", "-a", "a/b/c", "a b", "../x", "a\n", "_longshore"] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad:?}");
        }
        assert!("live".parse::<AliasName>().is_ok());
        assert!("42".parse::<AliasName>().is_err());
        assert!("42".parse::<Version>().is_ok());
        assert!("$LATEST".parse::<Version>().is_err());
    }

    #[test]
    fn a_variant_counts_only_where_both_name_one() {
        let parse = |text: &str| text.parse::<Platform>().unwrap();
        assert!(parse("linux/arm64/v8").serves(&parse("linux/arm64")));
        assert!(parse("linux/arm64").serves(&parse("linux/arm64/v8")));
        assert!(!parse("linux/arm/v6").serves(&parse("linux/arm/v7")));
        assert!(!parse("linux/amd64").serves(&parse("linux/arm64")));
        assert!("linux".parse::<Platform>().is_err());
    }

    #[test]
    fn a_digest_is_lower_case_sha256() {
        let text = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(text.parse::<Digest>().unwrap().short(), "0a0a0a0a0a0a");
        assert!(text.to_uppercase().parse::<Digest>().is_err());
        assert!("sha512:00".parse::<Digest>().is_err());
    }
}
