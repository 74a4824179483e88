//! Files for bytes that are on their way.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// A file without a name, at most so long. It is gone when the last handle to it is dropped or its process ends.
#[derive(Debug)]
pub struct Spool {
    file: File,
    written: u64,
    limit: u64,
}

impl Spool {
    pub(super) fn new(folder: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(folder)?, written: 0, limit })
    }

    /// How many bytes were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many bytes more may be written.
    pub fn left(&self) -> u64 {
        self.limit - self.written
    }

    /// The file with everything that was written, to be read at any place by any number of readers.
    pub fn into_file(self) -> Arc<File> {
        Arc::new(self.file)
    }
}

impl Write for Spool {
    /// Writes at the end. More than the limit is an error of kind `FileTooLarge`, and nothing of it is written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.limit - self.written {
            let message = format!("more than the {} bytes that are spooled", self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
