//! A blob read from where it lies, by a thread of its own, its digest compared on the way where that is asked for.

use std::io::{self, Read as _};

use bytes::Bytes;
use longshore_contract::Digest;
use tokio::sync::mpsc;

use crate::image::{Blob, Content, Hasher, ImageError, Reader, Verify};

/// What is read from a file at once.
const READ: usize = 1 << 20;

/// Some of a blob's bytes, or why there are no more.
pub(super) type Piece = Result<Bytes, ReadError>;
/// A blob's pieces as they are read; the end says that all are read, or that the reader was let go.
pub(super) type Pieces = mpsc::Receiver<Piece>;

/// Why a blob could not be read. Several destinations may hear of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ReadError {
    message: String,
    /// What was wrong.
    pub(super) fault: Fault,
}

/// What was wrong with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its bytes are not those that its digest says.
    Damaged,
    /// Whoever holds it did not answer, or broke off and did not come back: nothing is known of the bytes.
    Unanswered,
    /// It could not be read.
    Unreadable(io::ErrorKind),
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match error.fault {
            Fault::Damaged => io::ErrorKind::InvalidData,
            Fault::Unanswered => io::ErrorKind::Other,
            Fault::Unreadable(kind) => kind,
        };
        Self::new(kind, error.message)
    }
}

/// How a blob is read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    content: Content,
    digest: Digest,
    size: u64,
    verify: Verify,
}

impl Reading {
    pub(super) fn new(blob: &Blob, verify: Verify) -> Self {
        Self { content: blob.content.clone(), digest: blob.digest.clone(), size: blob.size, verify }
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The bytes where they are in memory: then there is nothing to read.
    pub(super) fn in_memory(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Its pieces from byte `from` on, read one ahead. When the digest is compared, the last piece is held back until it is.
    pub(super) fn pieces(&self, from: u64) -> Pieces {
        let (sender, receiver) = mpsc::channel(1);
        let reading = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = reading.read(from, &sender) {
                // Nobody listens any more: then nobody needs to know.
                let _ = sender.blocking_send(Err(error));
            }
        });
        receiver
    }

    fn read(&self, from: u64, to: &mpsc::Sender<Piece>) -> Result<(), ReadError> {
        let unreadable = |error: io::Error| ReadError {
            message: format!("blob {}: {error}", self.digest),
            fault: match ImageError::told_in("", &error) {
                Some(told) if !told.is_refusal() => Fault::Unanswered,
                _ => Fault::Unreadable(error.kind()),
            },
        };
        let mut reader = self.content.open(self.size).map_err(unreadable)?;
        let mut hasher = (self.verify == Verify::Hash).then(Hasher::default);
        if hasher.is_none() {
            reader.skip(from).map_err(unreadable)?;
        }
        while reader.left() > 0 {
            let at = self.size - reader.left();
            let mut piece = read_piece(&mut reader).map_err(unreadable)?;
            if let Some(hasher) = &mut hasher {
                hasher.update(&piece);
            }
            if reader.left() == 0
                && let Some(hasher) = hasher.take()
            {
                let found = hasher.finish();
                if found != self.digest {
                    return Err(ReadError {
                        message: format!(
                            "blob {}: it is damaged: its bytes have the digest {found}",
                            self.digest
                        ),
                        fault: Fault::Damaged,
                    });
                }
            }
            // What was only read to be hashed is not handed on.
            let before = usize::try_from(from.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
            let piece = piece.split_off(before);
            if !piece.is_empty() && to.blocking_send(Ok(piece)).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn read_piece(reader: &mut Reader) -> io::Result<Bytes> {
    let want = usize::try_from(reader.left()).unwrap_or(usize::MAX).min(READ);
    let mut piece = Vec::with_capacity(want);
    reader.take(want as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{self, Context, ImageSource, Kind, World, digest_of};

    /// A layout of one layer of these bytes, and how that layer is read.
    fn reading(bytes: &[u8], verify: Verify) -> (tempfile::TempDir, Reading) {
        let directory = tempfile::tempdir().unwrap();
        let blobs = directory.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8], media_type: &str| {
            let digest = digest_of(bytes);
            std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
            serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
        };
        let layer = put(bytes, "application/vnd.oci.image.layer.v1.tar");
        let config = put(b"{}", "application/vnd.example.config");
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        let manifest = put(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
        std::fs::write(directory.path().join("index.json"), index.to_string()).unwrap();
        std::fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        let source = ImageSource::Layout { directory: directory.path().to_owned(), tag: None };
        let image =
            image::open(&source, &Context { directory: "/".into(), platform: None, world: World::default() })
                .unwrap();
        let Kind::Manifest(manifest) = image.kind else { panic!("one image") };
        let reading = Reading::new(&manifest.layers[0], verify);
        (directory, reading)
    }

    async fn read_from(reading: &Reading, from: u64) -> Result<Vec<u8>, ReadError> {
        let (mut pieces, mut read) = (reading.pieces(from), Vec::new());
        while let Some(piece) = pieces.recv().await {
            read.extend_from_slice(&piece?);
        }
        Ok(read)
    }

    #[tokio::test]
    async fn the_rest_of_a_blob_is_its_rest_whether_or_not_it_is_hashed() {
        let bytes: Vec<u8> = (0..3 * READ + 17).map(|number| (number % 251) as u8).collect();
        for verify in [Verify::Size, Verify::Hash] {
            let (_directory, reading) = reading(&bytes, verify);
            for from in [0, 1, READ - 1, READ, READ + 1, 3 * READ, bytes.len() - 1, bytes.len()] {
                let rest = read_from(&reading, from as u64).await.unwrap();
                assert!(rest == bytes[from..], "{verify:?} from {from}");
            }
        }
    }

    #[tokio::test]
    async fn a_blob_that_changed_is_found_when_it_is_hashed_before_its_last_piece_goes() {
        let (directory, reading) = reading(&vec![1; READ + 1], Verify::Hash);
        let name = digest_of(&vec![1; READ + 1]);
        std::fs::write(directory.path().join("blobs/sha256").join(name.hex()), vec![2; READ + 1]).unwrap();
        let mut pieces = reading.pieces(0);
        assert_eq!(pieces.recv().await.unwrap().unwrap().len(), READ);
        assert_eq!(pieces.recv().await.unwrap().unwrap_err().fault, Fault::Damaged);
        assert!(pieces.recv().await.is_none());
    }
}
