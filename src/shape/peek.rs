//! What the first bytes of layers say.

use std::io::Read as _;

use longshore_contract::{Compression, Profile, Taken};

use crate::image::media::compression_by;
use crate::image::{Blob, Image, ImageError, ImageErrorKind, Kind, Origin, Reach};

/// How each layer of a single image is compressed by its first bytes; `None` where they were not looked at: they are remote,
/// or nothing depends on them.
pub(super) async fn peek(
    image: Image,
    profile: &'static Profile,
) -> Result<(Image, Vec<Option<Compression>>), ImageError> {
    if profile.others == Taken::Yes && image.origin == Origin::Source {
        return Ok((image, Vec::new()));
    }
    let looked = tokio::task::spawn_blocking(move || {
        let Kind::Manifest(parts) = &image.kind else { return Ok((image, Vec::new())) };
        let found = parts.layers.iter().map(|layer| look(layer, &image.source)).collect::<Result<_, _>>()?;
        Ok((image, found))
    });
    match looked.await {
        Ok(looked) => looked,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn look(layer: &Blob, source: &str) -> Result<Option<Compression>, ImageError> {
    if layer.content.reach() == Reach::Remote {
        return Ok(None);
    }
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => ImageErrorKind::Corrupt,
            _ => ImageErrorKind::Io,
        };
        ImageError::new(kind, source, format!("layer {}: {error}", layer.digest))
    };
    let mut first = Vec::with_capacity(4);
    layer.content.open(layer.size).map_err(failed)?.take(4).read_to_end(&mut first).map_err(failed)?;
    Ok(Some(compression_by(&first)))
}
