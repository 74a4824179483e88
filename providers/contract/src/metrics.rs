//! Metrics of versions: numbers over a window, and silence where there are none.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::Result;
use crate::names::{AliasRef, Version};

/// The metrics store of one cloud.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// How long after the fact numbers are whole, known without I/O. A window that ends later than this before now may
    /// lack requests.
    fn delay(&self) -> Duration;

    /// What each of `versions` did for requests that came through `alias` (or in all, where the cloud does not tell
    /// aliases apart) in `window`: one [`VersionSamples`] for each, in their order, in each one [`Sample`] for each of
    /// `queries`, in their order, with as few calls as the cloud allows. No number mixes two versions. A function, an
    /// alias or a version that does not exist is silent. A metric of the cloud's own that it knows not to have is an error
    /// of kind [`Invalid`](crate::ErrorKind::Invalid).
    async fn sample(
        &self,
        alias: &AliasRef,
        versions: &[Version],
        queries: &[MetricQuery],
        window: Window,
    ) -> Result<Vec<VersionSamples>>;
}

/// What is asked of a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MetricQuery {
    /// How many requests were taken.
    Invocations,
    /// How many of them failed.
    Errors,
    /// Which part of them failed, from 0 to 1.
    ErrorRate,
    /// The latency in milliseconds that so many of them stayed within.
    Latency(Percentile),
    /// How many requests were turned away because the version was at its limit. They are no invocations.
    Throttles,
    /// A metric of the cloud's own.
    Own {
        /// Its name there.
        name: String,
    },
}

/// A part of all requests, in tenths of a percent: 1 to 999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentile(u16);

impl Percentile {
    /// Half of all.
    pub const P50: Self = Self(500);
    /// 95 of 100.
    pub const P95: Self = Self(950);
    /// 99 of 100.
    pub const P99: Self = Self(990);

    /// So many tenths of a percent; `None` where that is nothing or all.
    pub fn per_mille(tenths: u16) -> Option<Self> {
        (1..=999).contains(&tenths).then_some(Self(tenths))
    }

    /// It in tenths of a percent.
    pub fn tenths(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10, self.0 % 10) {
            (whole, 0) => write!(f, "p{whole}"),
            (whole, tenth) => write!(f, "p{whole}.{tenth}"),
        }
    }
}

/// A time from one moment to a later one. Clouds that count in periods take the periods it touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: Timestamp,
    until: Timestamp,
}

impl Window {
    /// From `from` to `until`; `None` where that is no time at all.
    pub fn new(from: Timestamp, until: Timestamp) -> Option<Self> {
        (from < until).then_some(Self { from, until })
    }

    /// Its beginning.
    pub fn from(self) -> Timestamp {
        self.from
    }

    /// Its end.
    pub fn until(self) -> Timestamp {
        self.until
    }
}

/// One version's answers.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionSamples {
    /// The version.
    pub version: Version,
    /// An answer for each query, in the order they were asked.
    pub samples: Vec<Sample>,
}

/// An answer to a query. Silence is not health: a window without requests is an answer of its own, never a zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// Nothing was counted.
    Silent,
    /// Something was.
    Measured {
        /// The number, in the query's unit.
        value: f64,
        /// How many requests it was made from; for throttles it may be none.
        invocations: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_neither_nothing_nor_all() {
        assert_eq!(Percentile::per_mille(0), None);
        assert_eq!(Percentile::per_mille(1000), None);
        assert_eq!(Percentile::per_mille(999).unwrap().to_string(), "p99.9");
        assert_eq!(Percentile::P95.to_string(), "p95");
    }

    #[test]
    fn a_window_has_a_length() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(1).unwrap());
        assert!(Window::new(early, late).is_some());
        assert_eq!(Window::new(early, early), None);
        assert_eq!(Window::new(late, early), None);
    }
}
