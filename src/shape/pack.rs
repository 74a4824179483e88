//! Compressing the layers that need it, side by side.

use std::io::{self, ErrorKind, Read};

use futures::{StreamExt as _, TryStreamExt as _};
use longshore_contract::{Compression, Digest};

use super::Shaper;
use super::decide::{Decision, Fate};
use crate::cache::{Bounds, Layer, PackError, Packing, Stop};
use crate::image::{Blob, Image, ImageError, ImageErrorKind, Kind};

/// How far a compressed layer may swell before it is taken for a bomb.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swell {
    /// What a layer may become however small it is.
    pub(super) always: u64,
    /// How many times its own size it may become beyond that.
    pub(super) times: u64,
    /// What no layer may become.
    pub(super) most: u64,
}

impl Swell {
    /// A root file system shrinks to a half or a tenth; what shrinks to less than a two-hundredth was made to.
    pub(super) const USUAL: Self = Self { always: 1 << 30, times: 200, most: 64 << 30 };

    fn of(self, size: u64) -> u64 {
        size.saturating_mul(self.times).clamp(self.always, self.most)
    }
}

/// How many layers of one image wait for their turn at once; turns are what bounds the work.
const ABREAST: usize = 32;

/// The compressed form of every layer that is to have one, in their order.
pub(super) async fn pack(
    shaper: &Shaper,
    image: &Image,
    decision: &Decision,
) -> Result<Vec<Layer>, ImageError> {
    let Kind::Manifest(parts) = &image.kind else { return Ok(Vec::new()) };
    let stop = Stopping(Stop::default());
    let work = parts.layers.iter().zip(&decision.layers).filter_map(|(layer, fate)| match fate {
        Fate::Packed(is, diff_id) => Some((layer.clone(), *is, diff_id.clone())),
        Fate::Stays(_) | Fate::Dropped => None,
    });
    futures::stream::iter(work.collect::<Vec<_>>())
        .map(|(layer, is, diff_id)| one(shaper, layer, is, diff_id, image.source.clone(), stop.0.clone()))
        .buffered(ABREAST)
        .try_collect()
        .await
}

/// Stops what still runs on other threads when nobody waits for it any more.
struct Stopping(Stop);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.stop();
    }
}

async fn one(
    shaper: &Shaper,
    layer: Blob,
    is: Compression,
    diff_id: Digest,
    source: String,
    stop: Stop,
) -> Result<Layer, ImageError> {
    let _turn = shaper.turns.acquire().await.expect("nobody closes it");
    let (cache, swell) = (shaper.cache.clone(), shaper.swell);
    let packing = tokio::task::spawn_blocking(move || {
        let most = match is {
            Compression::Plain => layer.size,
            Compression::Gzip | Compression::Zstd => swell.of(layer.size),
        };
        let packing = Packing { diff_id: &diff_id, bounds: Bounds { most }, stop: &stop };
        let packed = cache.pack(packing, || plain(&layer, is));
        packed.map_err(|error| refused(&error, &layer, &source))
    });
    match packing.await {
        Ok(packed) => packed,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// The layer's uncompressed bytes.
fn plain(layer: &Blob, is: Compression) -> io::Result<Box<dyn Read>> {
    let reader = io::BufReader::with_capacity(1 << 18, layer.content.open(layer.size)?);
    Ok(match is {
        Compression::Plain => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
    })
}

fn refused(error: &PackError, layer: &Blob, source: &str) -> ImageError {
    // A registry that does not answer says nothing about the layer.
    if let PackError::Read(error) = error
        && let Some(told) = ImageError::told_in(source, error)
    {
        return told;
    }
    let kind = match error {
        PackError::TooLarge { .. } => ImageErrorKind::Limit,
        PackError::WrongDiffId { .. } => ImageErrorKind::Corrupt,
        PackError::Read(error) => match error.kind() {
            // What a decoder says of what it cannot decode has no kind of its own.
            ErrorKind::InvalidData
            | ErrorKind::InvalidInput
            | ErrorKind::UnexpectedEof
            | ErrorKind::Other => ImageErrorKind::Corrupt,
            _ => ImageErrorKind::Io,
        },
        PackError::Write { .. } | PackError::Stopped => ImageErrorKind::Io,
    };
    let refused = ImageError::new(kind, source, format!("layer {}: {error}", layer.digest));
    match error {
        PackError::Write { .. } => {
            refused.hint("make room there, or name another folder with LONGSHORE_CACHE_DIR and TMPDIR")
        }
        _ => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Content, digest_of};
    use crate::registry::{Errand, Purpose, RegistryError, RegistryErrorKind};

    #[test]
    fn a_registry_that_falls_silent_does_not_make_a_layer_corrupt() {
        let errand = Errand { purpose: Purpose::Pull, repository: "h.io/app".parse().unwrap() };
        let layer = Blob {
            media_type: "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(),
            digest: digest_of(b""),
            size: 0,
            content: Content::Bytes(bytes::Bytes::new()),
        };
        for (said, kind) in [
            (RegistryErrorKind::Unavailable, ImageErrorKind::Unavailable),
            (RegistryErrorKind::Unauthorized, ImageErrorKind::Unauthorized),
        ] {
            let error = io::Error::other(RegistryError::new(said, &errand, "read blob: it broke off"));
            assert_eq!(refused(&PackError::Read(error), &layer, "h.io/app:1").kind, kind);
        }
        let decoder = PackError::Read(io::Error::other("Unknown frame descriptor"));
        assert_eq!(refused(&decoder, &layer, "h.io/app:1").kind, ImageErrorKind::Corrupt);
    }
}
