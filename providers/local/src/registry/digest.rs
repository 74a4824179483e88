//! Digests of content, in every algorithm that this registry computes.
//!
//! The rest of the project names images by sha256 alone, as every cloud does; a registry keeps what clients push.

use std::fmt;
use std::str::FromStr;

use longshore_contract::{Digest, InvalidName};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// How a digest is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Its name, as it stands before the colon of a digest.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// Computes it.
    pub(super) fn hasher(self) -> Hasher {
        match self {
            Self::Sha256 => Hasher::Sha256(Sha256::new()),
            Self::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }
}

impl FromStr for Algorithm {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == text);
        found.ok_or_else(|| InvalidName::new(text, "a digest algorithm of this registry (sha256 or sha512)"))
    }
}

/// The digest of some bytes: an algorithm and lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct ContentDigest {
    algorithm: Algorithm,
    hex: String,
}

impl ContentDigest {
    /// The digest of `bytes`.
    pub(super) fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = algorithm.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest whose digits are `hex`; which algorithm it is can be told by how many there are.
    pub(super) fn from_hex(hex: &str) -> Option<Self> {
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.digits() == hex.len())?;
        let fits = hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        fits.then(|| Self { algorithm, hex: hex.to_owned() })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits without the algorithm.
    pub(super) fn hex(&self) -> &str {
        &self.hex
    }

    /// The same as everybody else's digest; `None` where it is none of sha256.
    pub(super) fn sha256(&self) -> Option<Digest> {
        // Anything else than sha256 does not parse.
        self.to_string().parse().ok()
    }
}

impl FromStr for ContentDigest {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let read = text.split_once(':').and_then(|(algorithm, hex)| {
            let algorithm: Algorithm = algorithm.parse().ok()?;
            Self::from_hex(hex).filter(|digest| digest.algorithm == algorithm)
        });
        let expected = "a digest (sha256: and 64, or sha512: and 128 lower-case hexadecimal digits)";
        read.ok_or_else(|| InvalidName::new(text, expected))
    }
}

impl TryFrom<String> for ContentDigest {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ContentDigest> for String {
    fn from(digest: ContentDigest) -> String {
        digest.to_string()
    }
}

impl From<&Digest> for ContentDigest {
    fn from(digest: &Digest) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: digest.hex().to_owned() }
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// A digest that is being computed.
#[derive(Debug, Clone)]
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The digest of all that it was given.
    pub(super) fn finish(self) -> ContentDigest {
        let algorithm = self.algorithm();
        let hex = match self {
            Self::Sha256(hasher) => hex::encode(hasher.finalize()),
            Self::Sha512(hasher) => hex::encode(hasher.finalize()),
        };
        ContentDigest { algorithm, hex }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_the_digits_of_its_algorithm() {
        for algorithm in Algorithm::ALL {
            let digest = ContentDigest::of(algorithm, b"bytes");
            assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
            assert_eq!(ContentDigest::from_hex(digest.hex()), Some(digest.clone()));
            assert_eq!(digest.sha256().is_some(), algorithm == Algorithm::Sha256);
        }
        let (short, long) = ("a".repeat(64), "a".repeat(128));
        for bad in [
            format!("sha256:{long}"),
            format!("sha512:{short}"),
            format!("sha256:{}", "A".repeat(64)),
            format!("sha256:../{}", "a".repeat(61)),
            format!("md5:{}", "a".repeat(32)),
            format!("sha384:{}", "a".repeat(96)),
            short,
            "sha256:".to_owned(),
            String::new(),
        ] {
            assert!(bad.parse::<ContentDigest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn known_bytes_have_their_known_digests() {
        let empty = ContentDigest::of(Algorithm::Sha256, b"").to_string();
        assert_eq!(empty, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let empty = ContentDigest::of(Algorithm::Sha512, b"").to_string();
        assert!(empty.starts_with("sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"));
    }
}
