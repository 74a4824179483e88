//! One layer's bytes: a tar, compressed, hashed on both sides of the compression, kept in a temporary file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use flate2::{Compression, GzBuilder};
use longshore_contract::Digest;
use tar::{EntryType, Header};

use super::super::content::Part;
use super::super::error::ImageError;
use super::super::{Content, Hasher};
use super::NAME;
use super::files::{Entries, Entry};

/// A layer that was written.
pub(super) struct Layer {
    pub(super) digest: Digest,
    pub(super) diff_id: Digest,
    pub(super) size: u64,
    pub(super) content: Content,
}

/// Fixed, as everything that changes the bytes is.
const LEVEL: u32 = 6;

/// Writes `entries` in their order. The file has no name and is gone with the value.
pub(super) fn write(entries: &Entries) -> Result<Layer, ImageError> {
    let spool = std::env::temp_dir();
    let failed = |error: io::Error| ImageError::io(NAME, &format!("a layer in {}", spool.display()), &error);
    let file = tempfile::tempfile_in(&spool).map_err(failed)?;
    let packed =
        Hashing { inner: io::BufWriter::with_capacity(1 << 18, file), hasher: Hasher::default(), length: 0 };
    // 255 is "unknown": the system that wrote it is not in the bytes.
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(packed, Compression::new(LEVEL));
    let mut builder = tar::Builder::new(Hashing { inner: gzip, hasher: Hasher::default(), length: 0 });
    for (path, entry) in entries {
        append(&mut builder, path, entry)?;
    }
    let finish = || {
        let plain = builder.into_inner()?;
        let diff_id = plain.hasher.finish();
        let packed = plain.inner.finish()?;
        let (digest, size) = (packed.hasher.finish(), packed.length);
        let file = packed.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Layer {
            digest,
            diff_id,
            size,
            content: Content::Part(Part { file: Arc::new(file), offset: 0, length: size }),
        })
    };
    finish().map_err(failed)
}

fn append(builder: &mut tar::Builder<impl Write>, path: &str, entry: &Entry) -> Result<(), ImageError> {
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    let (what, written) = match entry {
        Entry::Directory => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            (Path::new(path), builder.append_data(&mut header, format!("{path}/"), io::empty()))
        }
        Entry::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            (Path::new(path), builder.append_link(&mut header, path, target))
        }
        Entry::File { source, size, mode } => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(*size);
            let mut write = || {
                let content =
                    Content::Part(Part { file: Arc::new(File::open(source)?), offset: 0, length: *size });
                // A file that grew meanwhile is cut, one that shrank is an error: the header has said its size.
                builder.append_data(&mut header, path, content.open(*size)?)
            };
            (source.as_path(), write())
        }
    };
    written.map_err(|error| ImageError::io(NAME, &what.display().to_string(), &error))
}

struct Hashing<W> {
    inner: W,
    hasher: Hasher,
    length: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
