//! Bytes that can be read again and again.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use longshore_contract::Repository;

use super::beneath::Beneath;

/// Where a blob's bytes are. Clones read the same bytes.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// A part of a file that is kept open: an archive, or a layer made here.
    Part(Part),
    /// A file beneath a layout's directory, opened when it is read: a layout may hold more of them than may be open at once.
    Beneath(Named),
    /// Bytes that come into being while they are read: inflated, verified or fetched on the way.
    Made(Arc<dyn Opens>),
}

/// Bytes that come into being while they are read.
pub trait Opens: fmt::Debug + Send + Sync {
    /// How many there are.
    fn size(&self) -> u64;
    /// Whether looking at the first of them is free.
    fn reach(&self) -> Reach;
    /// Reads them from the beginning. Blocks, and is called where that is fine.
    fn open(&self) -> io::Result<Box<dyn io::Read + Send>>;
    /// The repository that holds them, where they are in a registry.
    fn repository(&self) -> Option<&Repository> {
        None
    }
}

/// What reading costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// They are on this machine.
    Here,
    /// Somebody must be asked for them.
    Remote,
}

/// A part of an open file.
#[derive(Debug, Clone)]
pub struct Part {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A file by its name beneath a directory.
#[derive(Debug, Clone)]
pub struct Named {
    pub(super) directory: Arc<Beneath>,
    pub(super) name: PathBuf,
}

/// Whether bytes that their reader verifies anyway are verified here too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verify {
    /// Their number is compared; a registry refuses what does not have its digest.
    #[default]
    Size,
    /// Their digest is compared as well.
    Hash,
}

impl Content {
    /// Opens the `size` bytes for reading. A file of another size is an error.
    pub fn open(&self, size: u64) -> io::Result<Reader> {
        match self {
            Self::Bytes(bytes) => {
                expect_size(bytes.len() as u64, size)?;
                Ok(Reader { from: From::Bytes(bytes.clone()), at: 0, left: size })
            }
            Self::Part(part) => {
                expect_size(part.length, size)?;
                Ok(Reader { from: From::File(Arc::clone(&part.file)), at: part.offset, left: size })
            }
            Self::Beneath(named) => {
                let (file, found) = named.directory.open(&named.name)?;
                expect_size(found, size)?;
                Ok(Reader { from: From::File(Arc::new(file)), at: 0, left: size })
            }
            Self::Made(made) => {
                expect_size(made.size(), size)?;
                Ok(Reader { from: From::Stream(made.open()?), at: 0, left: size })
            }
        }
    }

    /// What reading costs.
    pub fn reach(&self) -> Reach {
        match self {
            Self::Made(made) => made.reach(),
            Self::Bytes(_) | Self::Part(_) | Self::Beneath(_) => Reach::Here,
        }
    }

    /// The repository that holds them, where they are in a registry: another one of that registry need not be sent them.
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Made(made) => made.repository(),
            Self::Bytes(_) | Self::Part(_) | Self::Beneath(_) => None,
        }
    }

    /// All of an open file, which holds `length` bytes.
    pub fn file(file: Arc<File>, length: u64) -> Self {
        Self::Part(Part { file, offset: 0, length })
    }

    /// Finds out whether the `size` bytes are there, without reading them.
    pub(super) fn probe(&self, size: u64) -> io::Result<()> {
        match self {
            Self::Made(made) => expect_size(made.size(), size),
            content => content.open(size).map(|_| ()),
        }
    }
}

fn expect_size(found: u64, expected: u64) -> io::Result<()> {
    if found == expected {
        return Ok(());
    }
    let message = format!("it has {found} bytes where {expected} are expected");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// Reads a blob from its beginning. Blocks.
pub struct Reader {
    from: From,
    at: u64,
    left: u64,
}

enum From {
    Bytes(Bytes),
    File(Arc<File>),
    Stream(Box<dyn io::Read + Send>),
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("at", &self.at).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Reader {
    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Leaves the next `count` bytes out, or all where there are fewer.
    pub fn skip(&mut self, count: u64) -> io::Result<()> {
        let count = count.min(self.left);
        match &self.from {
            // Read by position: nothing has to be read to get there.
            From::Bytes(_) | From::File(_) => {
                self.at += count;
                self.left -= count;
                Ok(())
            }
            // What comes once is read past.
            From::Stream(_) => io::copy(&mut io::Read::take(self, count), &mut io::sink()).map(|_| ()),
        }
    }
}

impl io::Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let read = match &mut self.from {
            From::Bytes(bytes) => {
                let start = usize::try_from(self.at).expect("a position in memory");
                buffer[..want].copy_from_slice(&bytes[start..start + want]);
                want
            }
            From::File(file) => file.read_at(&mut buffer[..want], self.at)?,
            From::Stream(stream) => stream.read(&mut buffer[..want])?,
        };
        if read == 0 {
            let message = format!("it ended {} bytes early: it changed while it was read", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn every_kind_of_content_reads_the_same_bytes_twice() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("part"), "__abc__").unwrap();
        std::fs::write(directory.path().join("whole"), "abc").unwrap();
        let beneath = Arc::new(Beneath::new(directory.path()).unwrap());
        let file = Arc::new(File::open(directory.path().join("part")).unwrap());
        for content in [
            Content::Bytes(Bytes::from_static(b"abc")),
            Content::Part(Part { file, offset: 2, length: 3 }),
            Content::Beneath(Named { directory: beneath, name: "whole".into() }),
        ] {
            for _ in 0..2 {
                let mut text = String::new();
                content.open(3).unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, "abc");
            }
        }
    }

    /// Bytes that come as a stream.
    #[derive(Debug)]
    struct Streamed(&'static [u8]);

    impl Opens for Streamed {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn reach(&self) -> Reach {
            Reach::Remote
        }

        fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
            Ok(Box::new(self.0))
        }
    }

    #[test]
    fn what_is_skipped_is_not_read_whether_it_comes_as_a_stream_or_not() {
        for content in
            [Content::Bytes(Bytes::from_static(b"abcdef")), Content::Made(Arc::new(Streamed(b"abcdef")))]
        {
            let mut reader = content.open(6).unwrap();
            reader.skip(2).unwrap();
            assert_eq!(reader.left(), 4);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "cdef");
        }
    }

    #[test]
    fn a_file_of_another_size_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("f"), "abcd").unwrap();
        let named = Named { directory: Arc::new(Beneath::new(directory.path()).unwrap()), name: "f".into() };
        let error = Content::Beneath(named).open(3).unwrap_err();
        assert_eq!(error.to_string(), "it has 4 bytes where 3 are expected");
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_and_not_an_end() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        let content = Content::Part(Part { file: Arc::new(file), offset: 1, length: 5 });
        let error = content.open(5).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("ended 3 bytes early"), "{error}");
    }
}
