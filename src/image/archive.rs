//! A tar of an OCI image layout or of docker's making, read where it lies: its headers are walked once, and blobs are parts
//! of the file. What comes as a stream is spooled on the way.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use longshore_contract::Compression;

use super::Content;
use super::content::Part;
use super::document::Descriptor;
use super::error::{ImageError, ImageErrorKind};
use super::inflate;
use super::media::compression_by;
use super::spool::{Place, Spooling};
use super::tar_index::{self, Index};
use super::tree::Store;
use super::world::World;

/// How many links lie between a name and its file at most.
const MOST_LINKS: usize = 8;

/// An archive and where in it everything lies.
#[derive(Debug)]
pub(super) struct Archive {
    name: String,
    file: Arc<File>,
    files: HashMap<String, Place>,
    links: HashMap<String, String>,
}

impl Archive {
    /// Walks the headers of the tar at `path`. A compressed one is spooled on the way.
    pub(super) fn open(path: &Path, name: String, world: &World) -> Result<Self, ImageError> {
        let shown = path.display().to_string();
        let failed = |error: io::Error| of_reading(&name, &shown, &error);
        let file = open_regular(path).map_err(failed)?;
        let mut first = [0; 4];
        let read = file.read_at(&mut first, 0).map_err(failed)?;
        match compression_by(&first[..read]) {
            Compression::Zstd => {
                let message = "the archive is compressed with zstd, which is not read";
                Err(ImageError::new(ImageErrorKind::Unsupported, &name, message)
                    .hint("decompress it first: zstd -d FILE"))
            }
            Compression::Gzip => {
                let packed = file.metadata().map_err(failed)?.len();
                let plain = inflate::gunzip(io::BufReader::with_capacity(1 << 18, file), packed);
                Self::spooled(plain, name, &shown, world)
            }
            Compression::Plain => {
                let Index { files, links } = tar_index::read(&file).map_err(failed)?;
                let files = files.into_iter().map(|(name, entry)| (name, Place::Here(entry))).collect();
                Ok(Self { name, file: Arc::new(file), files, links })
            }
        }
    }

    /// Takes a tar in as it comes: what is kept goes to a spool in the cache's folder, which is gone when nothing reads it
    /// any more. `what` is named in errors.
    pub(super) fn spooled(
        from: impl Read,
        name: String,
        what: &str,
        world: &World,
    ) -> Result<Self, ImageError> {
        let failed = |error: io::Error| of_reading(&name, what, &error);
        let mut spooling = Spooling::begin(from, world).map_err(|error| world.of_spool(&name, &error))?;
        let Index { files, links } = tar_index::walk(&mut spooling).map_err(failed)?;
        let file = spooling.finish().map_err(failed)?;
        Ok(Self { name, file, files, links })
    }

    /// Whether a file lies at `path`.
    pub(super) fn holds(&self, path: &str) -> bool {
        self.place(path).is_some()
    }

    /// What lies at `path`, links followed, and its size.
    pub(super) fn content(&self, path: &str) -> Option<(Content, u64)> {
        Some(match self.place(path)? {
            Place::Here(entry) => {
                let part = Part { file: Arc::clone(&self.file), offset: entry.offset, length: entry.size };
                (Content::Part(part), entry.size)
            }
            Place::Known(layer, size) => (layer.clone(), *size),
        })
    }

    fn place(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        for _ in 0..=MOST_LINKS {
            if let Some(place) = self.files.get(path) {
                return Some(place);
            }
            path = self.links.get(path)?;
        }
        None
    }
}

/// What reading an archive came to.
pub(super) fn of_reading(name: &str, what: &str, error: &io::Error) -> ImageError {
    if let Some(told) = ImageError::told_in(name, error) {
        return told;
    }
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            ImageError::new(ImageErrorKind::Corrupt, name, error.to_string())
        }
        io::ErrorKind::FileTooLarge => ImageError::new(ImageErrorKind::Limit, name, error.to_string()),
        _ => ImageError::io(name, what, error),
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

impl Store for Archive {
    fn name(&self) -> &str {
        &self.name
    }

    fn file(&self, path: &str, limit: u64) -> Result<Option<Bytes>, ImageError> {
        let Some((content, size)) = self.content(path) else { return Ok(None) };
        if size > limit {
            let message = format!("{path}: {size} bytes are more than the {limit} that are read");
            return Err(ImageError::new(ImageErrorKind::Limit, &self.name, message));
        }
        let mut text = Vec::new();
        content
            .open(size)
            .and_then(|mut reader| reader.read_to_end(&mut text))
            .map_err(|error| ImageError::io(&self.name, path, &error))?;
        Ok(Some(text.into()))
    }

    fn blob(&self, entry: &Descriptor) -> Result<Option<Content>, ImageError> {
        let digest = &entry.digest;
        Ok(self.content(&format!("blobs/sha256/{}", digest.hex())).map(|(content, _)| content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tar_is_called_that() {
        let directory = tempfile::tempdir().unwrap();
        let open =
            |path: &Path| Archive::open(path, "oci-archive:file".into(), &World::default()).unwrap_err();
        for (bytes, kind, text) in [
            (&b"hello"[..], ImageErrorKind::Corrupt, "not a tar"),
            (&[0x28, 0xb5, 0x2f, 0xfd, 0][..], ImageErrorKind::Unsupported, "zstd"),
            (&[0x1f, 0x8b, 8, 0][..], ImageErrorKind::Corrupt, ""),
        ] {
            let path = directory.path().join("file");
            std::fs::write(&path, bytes).unwrap();
            let error = open(&path);
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.contains(text), "{error}");
        }
        assert!(open(directory.path()).message.contains("not a regular file"));
    }
}
