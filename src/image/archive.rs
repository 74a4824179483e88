//! A tar of an OCI image layout, read where it lies: its headers are walked once, and blobs are parts of the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use longshore_contract::Digest;

use super::Content;
use super::content::Part;
use super::error::{ImageError, ImageErrorKind};
use super::tar_index::{self, Entry};
use super::tree::Store;

/// How large a compressed archive may become.
const INFLATED_LIMIT: u64 = 64 << 30;

/// An archive and where in it everything lies.
#[derive(Debug)]
pub(super) struct Archive {
    name: String,
    file: Arc<File>,
    entries: HashMap<String, Entry>,
}

impl Archive {
    /// Walks the headers of the tar at `path`. A compressed one is inflated to a file in the temporary directory first,
    /// which is gone when nothing reads it any more.
    pub(super) fn open(path: &Path, name: String) -> Result<Self, ImageError> {
        Self::open_within(path, name, INFLATED_LIMIT)
    }

    fn open_within(path: &Path, name: String, inflated_limit: u64) -> Result<Self, ImageError> {
        let shown = path.display().to_string();
        let failed = |error: &io::Error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                ImageError::new(ImageErrorKind::Corrupt, &name, error.to_string())
            }
            io::ErrorKind::FileTooLarge => ImageError::new(ImageErrorKind::Limit, &name, error.to_string()),
            _ => ImageError::io(&name, &shown, error),
        };
        let mut file = open_regular(path).map_err(|error| failed(&error))?;
        let mut magic = [0; 4];
        let read = file.read_at(&mut magic, 0).map_err(|error| failed(&error))?;
        match &magic[..read] {
            [0x1f, 0x8b, ..] => {
                tracing::info!(archive = %shown, directory = %std::env::temp_dir().display(), "inflating a compressed archive");
                file = inflate(file, inflated_limit).map_err(|error| failed(&error))?;
            }
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let message = "the archive is compressed with zstd, which is not read";
                return Err(ImageError::new(ImageErrorKind::Unsupported, &name, message)
                    .hint("decompress it first: zstd -d FILE"));
            }
            _ => {}
        }
        let entries = tar_index::read(&file).map_err(|error| failed(&error))?;
        Ok(Self { name, file: Arc::new(file), entries })
    }

    fn content(&self, entry: Entry) -> Content {
        Content::Part(Part { file: Arc::clone(&self.file), offset: entry.offset, length: entry.size })
    }
}

fn open_regular(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

fn inflate(file: File, limit: u64) -> io::Result<File> {
    let mut spooled = tempfile::tempfile()?;
    let reader = flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(1 << 18, file));
    let written =
        io::copy(&mut reader.take(limit + 1), &mut spooled).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => {
                io::Error::new(io::ErrorKind::InvalidData, format!("gzip: {error}"))
            }
            _ => error,
        })?;
    if written > limit {
        let message = format!("the archive inflates to more than the {limit} bytes that are read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    spooled.rewind()?;
    Ok(spooled)
}

impl Store for Archive {
    fn name(&self) -> &str {
        &self.name
    }

    fn file(&self, path: &str, limit: u64) -> Result<Option<Bytes>, ImageError> {
        let Some(&entry) = self.entries.get(path) else { return Ok(None) };
        if entry.size > limit {
            let message = format!("{path}: {} bytes are more than the {limit} that are read", entry.size);
            return Err(ImageError::new(ImageErrorKind::Limit, &self.name, message));
        }
        let mut text = Vec::new();
        self.content(entry)
            .open(entry.size)
            .and_then(|mut reader| reader.read_to_end(&mut text))
            .map_err(|error| ImageError::io(&self.name, path, &error))?;
        Ok(Some(text.into()))
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Content>, ImageError> {
        let entry = self.entries.get(&format!("blobs/sha256/{}", digest.hex()));
        Ok(entry.map(|&entry| self.content(entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;

    #[test]
    fn a_small_file_that_inflates_without_end_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bomb.tar.gz");
        let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
        encoder.finish().unwrap();
        let error = Archive::open_within(&path, "oci-archive:bomb".into(), 1 << 19).unwrap_err();
        assert_eq!(error.kind, ImageErrorKind::Limit);
        assert!(error.message.contains("inflates to more than the 524288 bytes"), "{error}");
    }

    #[test]
    fn what_is_no_tar_is_called_that() {
        let directory = tempfile::tempdir().unwrap();
        for (bytes, kind, text) in [
            (&b"hello"[..], ImageErrorKind::Corrupt, "not a tar"),
            (&[0x28, 0xb5, 0x2f, 0xfd, 0][..], ImageErrorKind::Unsupported, "zstd"),
            (&[0x1f, 0x8b, 8, 0][..], ImageErrorKind::Corrupt, ""),
        ] {
            let path = directory.path().join("file");
            std::fs::write(&path, bytes).unwrap();
            let error = Archive::open(&path, "oci-archive:file".into()).unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.contains(text), "{error}");
        }
        let error = Archive::open(directory.path(), "oci-archive:.".into()).unwrap_err();
        assert!(error.message.contains("not a regular file"), "{error}");
    }
}
