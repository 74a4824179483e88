//! A tar that comes as a stream: what is kept of it is written to a spool on the way, and what is at hand is not.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::Content;
use super::tar_index::{BLOCK, Entry, Tape};
use super::world::World;
use crate::cache::Spool;

/// Where a file of the tar is found again.
#[derive(Debug)]
pub(super) enum Place {
    /// In the file.
    Here(Entry),
    /// It is a layer that the cache holds, of so many bytes, and was read past.
    Known(Content, u64),
}

/// A stream on its way to a spool.
pub(super) struct Spooling<'a, R> {
    from: R,
    world: &'a World,
    to: Spool,
    buffer: Vec<u8>,
}

impl<'a, R: Read> Spooling<'a, R> {
    pub(super) fn begin(from: R, world: &'a World) -> io::Result<Self> {
        Ok(Self { from, world, to: world.spool()?, buffer: vec![0; 1 << 18] })
    }

    /// Reads the stream to its end, so that whoever writes it sees it taken, and hands over the spool.
    pub(super) fn finish(mut self) -> io::Result<Arc<File>> {
        while self.from.read(&mut self.buffer)? > 0 {}
        Ok(self.to.into_file())
    }
}

/// Reads `size` bytes and the padding behind them, and hands them on piece by piece.
fn take(
    from: &mut impl Read,
    buffer: &mut [u8],
    size: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let padded = size.checked_next_multiple_of(BLOCK).ok_or_else(|| ended(size))?;
    let (mut left, mut wanted) = (padded, size);
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = from.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(ended(left));
        }
        left -= read as u64;
        let used = read.min(usize::try_from(wanted).unwrap_or(usize::MAX));
        each(&buffer[..used])?;
        wanted -= used as u64;
    }
    Ok(())
}

fn ended(left: u64) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the tar ended {left} bytes early"))
}

impl<R: Read> Tape for Spooling<'_, R> {
    type Place = Place;

    fn block(&mut self, block: &mut [u8; BLOCK as usize]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < block.len() {
            match self.from.read(&mut block[filled..])? {
                // As with a file: what is less than a block at the end is nothing.
                0 => return Ok(false),
                read => filled += read,
            }
        }
        Ok(true)
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        take(&mut self.from, &mut self.buffer, size, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn keep(&mut self, name: &str, size: u64) -> io::Result<Place> {
        let digest = name.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse().ok());
        if let Some(layer) = digest.and_then(|digest| self.world.known_layer(&digest, size)) {
            self.pass(size)?;
            return Ok(Place::Known(layer, size));
        }
        let offset = self.to.written();
        if size > self.to.left() {
            let message =
                format!("{name}: {size} bytes are more than the {} that are spooled", self.to.left());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let Self { from, buffer, to, world } = self;
        take(from, buffer, size, |piece| {
            to.write_all(piece).map_err(|error| io::Error::other(world.of_spool("spool", &error)))
        })?;
        Ok(Place::Here(Entry { offset, size }))
    }

    fn pass(&mut self, size: u64) -> io::Result<()> {
        take(&mut self.from, &mut self.buffer, size, |_| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tar_index::walk;
    use super::*;
    use std::os::unix::fs::FileExt as _;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn what_comes_as_a_stream_is_found_in_the_spool() {
        let world = World::default();
        let long = vec![7; 1_000_000];
        let bytes = tar(&[("a", b"one"), ("b/c", &long), ("empty", b"")]);
        let mut spooling = Spooling::begin(&bytes[..], &world).unwrap();
        let index = walk(&mut spooling).unwrap();
        let file = spooling.finish().unwrap();
        let read = |name: &str| {
            let Place::Here(Entry { offset, size }) = index.files[name] else { panic!("{name} is at hand") };
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, offset).unwrap();
            bytes
        };
        assert_eq!((read("a"), read("b/c"), read("empty")), (b"one".to_vec(), long, Vec::new()));
    }

    #[test]
    fn a_stream_that_breaks_off_is_an_error() {
        let bytes = tar(&[("a", &[1; 5000])]);
        let world = World::default();
        let mut spooling = Spooling::begin(&bytes[..3000], &world).unwrap();
        let error = walk(&mut spooling).unwrap_err();
        assert!(error.to_string().contains("ended 2632 bytes early"), "{error}");
    }

    #[test]
    fn a_size_that_no_disk_holds_is_refused_before_it_is_written() {
        let mut header = tar::Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_size(1 << 50);
        header.set_cksum();
        let world = World::default();
        let from = io::Read::chain(&header.as_bytes()[..], io::repeat(0));
        let error = walk(&mut Spooling::begin(from, &world).unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
