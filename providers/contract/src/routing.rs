//! Where an alias sends its traffic, in basis points: no float ever decides it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{InvalidName, Version};

/// A share of traffic in basis points (1/100 of a percent), 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Share(u16);

impl Share {
    /// No traffic.
    pub const NONE: Self = Self(0);
    /// All traffic.
    pub const ALL: Self = Self(10_000);
    /// What [`FromStr`] accepts, as a phrase that follows "is not".
    pub const EXPECTED: &'static str =
        "a share (a percentage from 0% to 100% with at most two decimals, as in 5% or 0.5%)";

    /// A share of `points` basis points; `None` above 10,000.
    pub fn basis_points(points: u16) -> Option<Self> {
        (points <= 10_000).then_some(Self(points))
    }

    /// The share in basis points.
    pub fn points(self) -> u16 {
        self.0
    }

    /// The share as a number from 0 to 1, for a cloud's edge and for JSON; never to decide by.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl TryFrom<u16> for Share {
    type Error = InvalidName;
    fn try_from(points: u16) -> Result<Self, InvalidName> {
        Self::basis_points(points)
            .ok_or_else(|| InvalidName::new(&points.to_string(), "a share (0 to 10000 basis points)"))
    }
}

impl From<Share> for u16 {
    fn from(share: Share) -> u16 {
        share.0
    }
}

impl FromStr for Share {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let parse = || {
            let number = text.strip_suffix('%')?;
            let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
            let digits = |part: &str, most: usize| {
                (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
            };
            if !digits(whole, 3) || !digits(decimals, 2) {
                return None;
            }
            let hundredths: u16 = format!("{decimals:0<2}").parse().ok()?;
            Self::basis_points(whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(hundredths)?)
        };
        parse().ok_or_else(|| InvalidName::new(text, Self::EXPECTED))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, rest) if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            (whole, rest) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

/// Where an alias sends its traffic: always the whole truth, never a patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// Everything goes to one version.
    All(Version),
    /// `share` of the traffic goes to `canary`, the rest to `stable`. Made by [`Routing::split`] only, so that neither
    /// side is ever empty and the two versions differ.
    Split {
        /// The version that keeps the larger responsibility: where the run came from.
        stable: Version,
        /// The version being tried.
        canary: Version,
        /// The canary's share, strictly between nothing and everything.
        share: Share,
    },
}

impl Routing {
    /// Sends `share` to `canary` and the rest to `stable`; nothing and everything collapse to [`Routing::All`].
    pub fn split(stable: Version, canary: Version, share: Share) -> Self {
        if share == Share::ALL || stable == canary {
            Self::All(canary)
        } else if share == Share::NONE {
            Self::All(stable)
        } else {
            Self::Split { stable, canary, share }
        }
    }

    /// The version that carries the stable side (or everything).
    pub fn stable(&self) -> &Version {
        match self {
            Self::All(version) | Self::Split { stable: version, .. } => version,
        }
    }

    /// The version being tried, where the traffic is split.
    pub fn canary(&self) -> Option<&Version> {
        match self {
            Self::All(_) => None,
            Self::Split { canary, .. } => Some(canary),
        }
    }

    /// The canary's share; none where nothing is split.
    pub fn share(&self) -> Share {
        match self {
            Self::All(_) => Share::NONE,
            Self::Split { share, .. } => *share,
        }
    }
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(version) => write!(f, "all to {version}"),
            Self::Split { stable, canary, share } => write!(f, "{share} to {canary}, the rest to {stable}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_comes_back_as_it_was_written() {
        for text in ["0%", "5%", "0.5%", "99.99%", "12.05%", "100%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for bad in ["", "5", "%", "101%", "5.123%", "-1%", "1e1%", "100.01%", "+5%", " 5%", "5.%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_and_everything_are_not_splits() {
        let (one, two): (Version, Version) = ("1".parse().unwrap(), "2".parse().unwrap());
        assert_eq!(Routing::split(one.clone(), two.clone(), Share::NONE), Routing::All(one.clone()));
        assert_eq!(Routing::split(one.clone(), two.clone(), Share::ALL), Routing::All(two));
        assert_eq!(Routing::split(one.clone(), one.clone(), Share(10)), Routing::All(one));
    }
}
