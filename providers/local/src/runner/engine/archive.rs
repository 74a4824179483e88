//! An image of our registry as the archive that container engines load.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::mpsc;

use super::client::Body;
use crate::registry::{Layer, Packing, Registry, StoredImage};

/// How much is handed on at a time.
const PIECE: usize = 256 << 10;

/// The archive of `image`, which is to be called `name`, made while it is read.
pub(super) fn stream(registry: Registry, image: StoredImage, name: String) -> Body {
    let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    tokio::task::spawn_blocking(move || {
        let mut writer = BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
        let written = write(&registry, &image, &name, &mut writer).and_then(|()| writer.flush());
        if let Err(error) = written {
            // Where nobody receives, the engine has given up before.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let pieces = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    StreamBody::new(futures::StreamExt::map(pieces, |piece| piece.map(Frame::data))).boxed()
}

/// Hands on what is written to it.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(registry: &Registry, image: &StoredImage, name: &str, to: &mut impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    let configuration = format!("{}.json", image.configuration.hex());
    let file = registry.bytes(&image.configuration)?;
    add(&mut archive, &configuration, file.metadata()?.len(), file)?;
    let mut layers = Vec::new();
    for layer in &image.layers {
        let path = format!("{}.tar", layer.diff_id.hex());
        // An image may have the same layer twice.
        if !layers.contains(&path) {
            let (size, content) = content(registry, layer)?;
            add(&mut archive, &path, size, content)?;
        }
        layers.push(path);
    }
    let manifest = json!([{ "Config": configuration, "RepoTags": [name], "Layers": layers }]).to_string();
    add(&mut archive, "manifest.json", manifest.len() as u64, manifest.as_bytes())?;
    archive.finish()
}

/// A layer as every engine takes it, and its size. Older ones do not know zstd.
fn content(registry: &Registry, layer: &Layer) -> io::Result<(u64, Box<dyn Read>)> {
    let file = registry.bytes(&layer.digest)?;
    match layer.packing {
        Packing::Plain | Packing::Gzip => Ok((file.metadata()?.len(), Box::new(file))),
        Packing::Zstandard => {
            let unpacked = |file: File| zstd::stream::read::Decoder::with_buffer(BufReader::new(file));
            // The size comes before the content, so it is unpacked twice.
            let size = io::copy(&mut unpacked(file)?, &mut io::sink())?;
            Ok((size, Box::new(unpacked(registry.bytes(&layer.digest)?)?)))
        }
    }
}

fn add(archive: &mut tar::Builder<impl Write>, path: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, content)
}
