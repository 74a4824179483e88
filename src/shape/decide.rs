//! What of an image must change, and what of it cannot be mended: pure.

use longshore_contract::{Compression, Digest, Format, Platform, Profile, Taken};

use crate::image::media::{LayerKind, config_in, format_of, layer_in, manifest_in};
use crate::image::{Change, Facts, Image, ImageError, ImageErrorKind, Kind, Manifest, Origin};

/// What becomes of an image.
#[derive(Debug)]
pub(super) struct Decision {
    /// The format its manifest is written in.
    pub(super) format: Format,
    /// What becomes of each of its layers.
    pub(super) layers: Vec<Fate>,
    /// The changes, in words. None: nothing is written anew.
    pub(super) changes: Vec<Change>,
}

/// What becomes of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its bytes stay; it is called by this media type.
    Stays(String),
    /// It is compressed with gzip; now it is compressed so. Its uncompressed bytes have this digest.
    Packed(Compression, Digest),
    /// It is left out.
    Dropped,
}

/// What becomes of `image`, a single one, where `profile` is what is taken. `found` is how each layer's first bytes say that
/// it is compressed, where they were looked at.
pub(super) fn decide(
    image: &Image,
    found: &[Option<Compression>],
    profile: &Profile,
) -> Result<Decision, ImageError> {
    let (Kind::Manifest(parts), Some(format)) = (&image.kind, format_of(&image.media_type)) else {
        let message = format!("{} is no single image's manifest", image.media_type);
        return Err(ImageError::new(ImageErrorKind::Unsupported, &image.source, message));
    };
    let judge = Judge { image, parts, profile };
    if profile.others == Taken::Yes && image.origin == Origin::Source {
        // As it is: nothing is looked at that nothing would come of.
        return Ok(judge.as_it_is(format));
    }
    let facts = parts.facts.as_ref().ok_or_else(|| judge.no_image())?;
    judge.platform(&facts.platform)?;
    let kinds = judge.kinds()?;
    let diff_ids = judge.diff_ids(facts, &kinds)?;
    let mut changes = Vec::new();
    let into = judge.format(format, &mut changes);
    judge.config(format, into, &mut changes);
    let mut layers = Vec::with_capacity(kinds.len());
    let mut diff_ids = diff_ids.iter();
    for (index, kind) in kinds.into_iter().enumerate() {
        let stated = match kind {
            LayerKind::Tar(stated) => Some(stated),
            _ => None,
        };
        let diff_id = stated.and_then(|_| diff_ids.next());
        let found = found.get(index).copied().flatten();
        layers.push(judge.layer(index, stated.zip(diff_id), found, into, &mut changes));
    }
    if changes.is_empty() {
        // Its words differ in nothing that counts, so they stay.
        return Ok(judge.as_it_is(format));
    }
    Ok(Decision { format: into, layers, changes })
}

struct Judge<'a> {
    image: &'a Image,
    parts: &'a Manifest,
    profile: &'a Profile,
}

impl Judge<'_> {
    fn as_it_is(&self, format: Format) -> Decision {
        let layers = self.parts.layers.iter().map(|layer| Fate::Stays(layer.media_type.clone())).collect();
        Decision { format, layers, changes: Vec::new() }
    }

    fn refused(&self, kind: ImageErrorKind, message: impl Into<String>) -> ImageError {
        ImageError::new(kind, &self.image.source, message)
    }

    fn no_image(&self) -> ImageError {
        let message = format!(
            "it is no image that could be run: its configuration is {}, and {} takes images only",
            named(&self.parts.config.media_type),
            self.profile.name
        );
        self.refused(ImageErrorKind::Unsupported, message).hint("--profile oci pushes an artifact as it is")
    }

    fn platform(&self, platform: &Platform) -> Result<(), ImageError> {
        let takes = |text: &&str| text.parse::<Platform>().is_ok_and(|taken| platform.serves(&taken));
        let Profile { platforms, name, .. } = self.profile;
        if platforms.is_empty() || platforms.iter().any(takes) {
            return Ok(());
        }
        let message = format!("it is for {platform}, and {name} runs {}", platforms.join(" or "));
        Err(self.refused(ImageErrorKind::Platform, message).hint("build the image for that platform"))
    }

    /// What each layer is, by its media type; one that cannot be pushed there is refused.
    fn kinds(&self) -> Result<Vec<LayerKind>, ImageError> {
        let kind = |layer: &crate::image::Blob| {
            let (digest, media_type) = (&layer.digest, named(&layer.media_type));
            match LayerKind::of(&layer.media_type) {
                LayerKind::Foreign => {
                    let message = format!(
                        "layer {digest} is foreign ({media_type}): it is fetched from elsewhere when the image is run, \
                         which {} does not do",
                        self.profile.name
                    );
                    Err(self
                        .refused(ImageErrorKind::Unsupported, message)
                        .hint("build the image on a base whose layers may be distributed"))
                }
                LayerKind::Other => {
                    let message = format!(
                        "layer {digest} is {media_type}, which is no layer that {} runs",
                        self.profile.name
                    );
                    Err(self.refused(ImageErrorKind::Unsupported, message))
                }
                kind => Ok(kind),
            }
        };
        self.parts.layers.iter().map(kind).collect()
    }

    /// The digests of the layers' uncompressed bytes, one for each that is a tar.
    fn diff_ids<'a>(&self, facts: &'a Facts, kinds: &[LayerKind]) -> Result<&'a [Digest], ImageError> {
        let tars = kinds.iter().filter(|kind| **kind != LayerKind::Empty).count();
        if facts.diff_ids.len() == tars {
            return Ok(&facts.diff_ids);
        }
        let message =
            format!("it has {tars} layers and its configuration lists {} diff_ids", facts.diff_ids.len());
        Err(self.refused(ImageErrorKind::Corrupt, message))
    }

    fn format(&self, format: Format, changes: &mut Vec<Change>) -> Format {
        let Profile { formats, name, .. } = self.profile;
        match formats.first() {
            Some(first) if !formats.contains(&format) => {
                changes.push(Change {
                    what: format!("manifest turned from {format} to {first}"),
                    digest: self.image.digest.clone(),
                    why: format!("{name} takes {first} manifests"),
                });
                *first
            }
            _ => format,
        }
    }

    fn config(&self, format: Format, into: Format, changes: &mut Vec<Change>) {
        let config = &self.parts.config;
        if format == into && config.media_type != config_in(into) {
            changes.push(Change {
                what: "configuration's media type corrected".to_owned(),
                digest: config.digest.clone(),
                why: format!("{} is none of {into}'s", named(&config.media_type)),
            });
        }
    }

    fn layer(
        &self,
        index: usize,
        tar: Option<(Compression, &Digest)>,
        found: Option<Compression>,
        format: Format,
        changes: &mut Vec<Change>,
    ) -> Fate {
        let layer = &self.parts.layers[index];
        let name = self.profile.name;
        let mut change = |what: String, why: String| {
            changes.push(Change { what, digest: layer.digest.clone(), why });
        };
        let Some((stated, diff_id)) = tar else {
            change(
                "empty layer dropped".to_owned(),
                format!("there is nothing in it, and {name} refuses it"),
            );
            return Fate::Dropped;
        };
        let is = found.unwrap_or(stated);
        let first = self.profile.layers.first();
        if self.image.origin == Origin::Here
            && is == Compression::Plain
            && first.is_some_and(|first| *first != Compression::Plain)
        {
            change(
                "layer compressed with gzip".to_owned(),
                "where it comes from, layers are kept uncompressed".to_owned(),
            );
            return Fate::Packed(is, diff_id.clone());
        }
        if !self.profile.layers.contains(&is) {
            let what = match is {
                Compression::Plain => "layer compressed with gzip".to_owned(),
                is => format!("layer compressed anew, with gzip instead of {is}"),
            };
            change(what, format!("{name} takes no {is} layers"));
            return Fate::Packed(is, diff_id.clone());
        }
        let media_type = layer_in(format, is);
        if is != stated {
            change(
                "layer's media type corrected".to_owned(),
                format!("it says {stated}, and the bytes are {is}"),
            );
        } else if layer.media_type != media_type && format_of(&self.image.media_type) == Some(format) {
            change(
                "layer's media type corrected".to_owned(),
                format!("{} is none of {format}'s", layer.media_type),
            );
        }
        Fate::Stays(media_type.to_owned())
    }
}

/// The media types a manifest in `format` carries for itself and its configuration.
pub(super) fn media_types(format: Format) -> (&'static str, &'static str) {
    (manifest_in(format), config_in(format))
}

fn named(media_type: &str) -> &str {
    if media_type.is_empty() { "of no stated media type" } else { media_type }
}
