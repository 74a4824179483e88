//! A manifest written anew, the same bytes every time: pure.

use std::collections::BTreeMap;

use longshore_contract::{Compression, Digest, Format};
use serde::{Deserialize, Serialize};

use super::decide::{Decision, Fate, media_types};
use crate::cache::Layer;
use crate::image::media::layer_in;
use crate::image::{Blob, Content, Image, ImageError, ImageErrorKind, Kind, Manifest, digest_of};

type Annotations = BTreeMap<String, String>;

/// What a manifest says beside what an [`Image`] has of it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Said {
    annotations: Option<Annotations>,
    subject: Option<serde_json::Value>,
    #[serde(default)]
    layers: Vec<SaidOfLayer>,
}

impl Said {
    pub(super) fn of(image: &Image) -> Result<Self, ImageError> {
        serde_json::from_slice(&image.manifest).map_err(|error| {
            let message = format!("manifest {}: {error}", image.digest);
            ImageError::new(ImageErrorKind::Corrupt, &image.source, message)
        })
    }

    /// What it says of one of its layers.
    pub(super) fn of_layer(&self, index: usize) -> Option<Annotations> {
        self.layers.get(index).and_then(|layer| layer.annotations.clone())
    }
}

#[derive(Debug, Default, Deserialize)]
struct SaidOfLayer {
    annotations: Option<Annotations>,
}

/// A manifest, in the order in which its fields are written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written<'a> {
    pub(super) schema_version: u32,
    pub(super) media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<&'a str>,
    pub(super) config: Descriptor<'a>,
    pub(super) layers: Vec<Descriptor<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<Annotations>,
}

/// A pointer to a blob.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor<'a> {
    pub(super) media_type: &'a str,
    pub(super) digest: &'a Digest,
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<Annotations>,
}

/// The image as it was decided; `packed` are the layers that were compressed, in their order. Where nothing changes its bytes
/// stay. Docker's format has no annotations and no subject: they are left out of it.
pub(super) fn write(image: Image, decision: Decision, packed: Vec<Layer>) -> Result<Image, ImageError> {
    let Decision { format, layers: fates, changes } = decision;
    if changes.is_empty() {
        return Ok(image);
    }
    let said = Said::of(&image)?;
    let Kind::Manifest(parts) = image.kind else { return Ok(image) };
    let mut packed = packed.into_iter();
    let mut layers = Vec::new();
    for (index, (layer, fate)) in parts.layers.iter().zip(fates).enumerate() {
        match fate {
            Fate::Stays(media_type) => {
                layers.push((Blob { media_type, ..layer.clone() }, said.of_layer(index)));
            }
            // What was said of the old bytes (how to find files in them) does not hold for the new ones.
            Fate::Packed(..) => layers.extend(packed.next().map(|layer| (blob(layer, format), None))),
            Fate::Dropped => {}
        }
    }
    let (media_type, config_type) = media_types(format);
    let config = Blob { media_type: config_type.to_owned(), ..parts.config };
    let keeps = |annotations: Option<Annotations>| annotations.filter(|_| format == Format::Oci);
    let written = Written {
        schema_version: 2,
        media_type,
        artifact_type: None,
        config: described(&config, None),
        layers: layers
            .iter()
            .map(|(layer, annotations)| described(layer, keeps(annotations.clone())))
            .collect(),
        subject: said.subject.filter(|_| format == Format::Oci),
        annotations: keeps(said.annotations),
    };
    let manifest = serde_json::to_vec(&written).expect("text and numbers are JSON");
    let layers = layers.into_iter().map(|(layer, _)| layer).collect();
    Ok(Image {
        digest: digest_of(&manifest),
        media_type: media_type.to_owned(),
        manifest: manifest.into(),
        kind: Kind::Manifest(Box::new(Manifest { config, layers, ..*parts })),
        changed: [image.changed, changes].concat(),
        source: image.source,
        source_digest: image.source_digest,
        origin: image.origin,
    })
}

pub(super) fn described(blob: &Blob, annotations: Option<Annotations>) -> Descriptor<'_> {
    Descriptor { media_type: &blob.media_type, digest: &blob.digest, size: blob.size, annotations }
}

fn blob(layer: Layer, format: Format) -> Blob {
    Blob {
        media_type: layer_in(format, Compression::Gzip).to_owned(),
        digest: layer.digest.clone(),
        size: layer.size,
        content: Content::packed(layer),
    }
}
