//! How much a cache keeps.

use std::path::Path;
use std::str::FromStr;

/// How much a cache keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// 10 GiB, and never more than a fifth of what would be free without it.
    Default,
    /// So many bytes; none at all where it is 0.
    Bytes(u64),
}

/// A text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size (0 to keep nothing, or a whole number with MiB or GiB, as in 20GiB)")]
pub struct InvalidLimit(String);

const MOST: u64 = 10 << 30;
const SHARE: u64 = 5;

impl Limit {
    /// The limit in bytes for a cache in `folder` that holds `used` bytes now.
    pub(super) fn bytes(self, folder: &Path, used: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Default => match rustix::fs::statvfs(folder) {
                Ok(disk) => MOST.min((disk.f_bavail * disk.f_frsize).saturating_add(used) / SHARE),
                Err(_) => MOST,
            },
        }
    }
}

impl FromStr for Limit {
    type Err = InvalidLimit;
    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let invalid = || InvalidLimit(text.chars().take(100).collect());
        if text == "0" {
            return Ok(Self::Bytes(0));
        }
        let (digits, shift) = text
            .strip_suffix("MiB")
            .map(|digits| (digits, 20))
            .or_else(|| text.strip_suffix("GiB").map(|digits| (digits, 30)))
            .ok_or_else(invalid)?;
        let number: u64 = Some(digits)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(invalid)?;
        number.checked_mul(1 << shift).map(Self::Bytes).ok_or_else(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_size_with_its_unit() {
        assert_eq!("20GiB".parse(), Ok(Limit::Bytes(20 << 30)));
        assert_eq!("512MiB".parse(), Ok(Limit::Bytes(512 << 20)));
        assert_eq!("0".parse(), Ok(Limit::Bytes(0)));
        for text in ["", "10", "GiB", "-1GiB", "+1GiB", "1.5GiB", "10GB", "99999999999999GiB"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_limit_a_small_disk_is_left_its_room() {
        let folder = tempfile::tempdir().unwrap();
        let disk = rustix::fs::statvfs(folder.path()).unwrap();
        assert!(Limit::Default.bytes(folder.path(), 0) <= MOST);
        assert!(Limit::Default.bytes(folder.path(), 0) <= disk.f_blocks * disk.f_frsize / SHARE);
    }
}
