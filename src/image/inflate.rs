//! Unpacking what may be a bomb.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

/// More than this is never inflated.
const MOST: u64 = 64 << 30;
/// Up to here any ratio is fine: a bomb of this size hurts nobody.
const HARMLESS: u64 = 1 << 30;
/// No layer of files is packed more than so many times its size away; zeros are, a thousand times.
const STEEPEST: u64 = 200;

/// The plain bytes of a gzip stream of `packed` bytes. What grows as no file system does ends in an error of kind
/// [`FileTooLarge`](io::ErrorKind::FileTooLarge).
pub(super) fn gunzip<R: BufRead>(from: R, packed: u64) -> impl Read {
    Bounded { inner: MultiGzDecoder::new(from), packed, seen: 0 }
}

struct Bounded<R> {
    inner: R,
    packed: u64,
    seen: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => {
                io::Error::new(io::ErrorKind::InvalidData, format!("gzip: {error}"))
            }
            _ => error,
        })?;
        self.seen += read as u64;
        let steep = self.seen > HARMLESS && self.seen / STEEPEST > self.packed;
        if self.seen > MOST || steep {
            let Self { packed, seen, .. } = self;
            let message = format!(
                "its {packed} bytes of gzip inflate to more than {seen}: that is no image, and is refused"
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_as_no_file_system_does_is_stopped() {
        let zeros = io::repeat(0).take(2 << 30);
        let mut bounded = Bounded { inner: zeros, packed: 2 << 20, seen: 0 };
        let error = io::copy(&mut bounded, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(
            error.to_string().starts_with("its 2097152 bytes of gzip inflate to more than 107"),
            "{error}"
        );
        let mut fine = Bounded { inner: io::repeat(0).take(2 << 30), packed: 20 << 20, seen: 0 };
        assert_eq!(io::copy(&mut fine, &mut io::sink()).unwrap(), 2 << 30);
    }
}
