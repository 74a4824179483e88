//! What is in an image and what a destination would make of it, in the words of the document and for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::human::{bytes, short_digest, table};
use super::rows::{ChangeFacts, ImageFacts};

/// What is in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// Where it was read from, as it was written.
    pub source: String,
    /// What it is.
    pub digest: String,
    /// What its manifest is.
    pub media_type: String,
    /// Bytes of all its configurations and layers.
    pub size: u64,
    /// The single images in it, in their order.
    pub images: Vec<SingleFacts>,
    /// What vouches for one of them.
    pub attestations: Vec<AttestationFacts>,
    /// What it shares with another image; none where none was named.
    pub shared: Option<SharedFacts>,
}

/// One single image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SingleFacts {
    /// What it is for; none where it is an artifact.
    pub platform: Option<String>,
    /// What it is.
    pub digest: String,
    /// What its manifest is.
    pub media_type: String,
    /// Bytes of its configuration and layers.
    pub size: u64,
    /// Its configuration.
    pub config: ConfigFacts,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerFacts>,
    /// What each profile would make of it.
    pub profiles: Vec<ProfileFacts>,
}

/// An image's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigFacts {
    /// What it is.
    pub digest: String,
    /// By which name.
    pub media_type: String,
    /// What is started.
    pub entrypoint: Vec<String>,
    /// The arguments to it.
    pub command: Vec<String>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerFacts {
    /// What it is.
    pub digest: String,
    /// What it is uncompressed, where the configuration says so.
    pub diff_id: Option<String>,
    /// What it is called.
    pub media_type: String,
    /// Its bytes.
    pub size: u64,
    /// Whether the other image has it; none where none was named.
    pub shared: Option<bool>,
}

/// What vouches for an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttestationFacts {
    /// What it is.
    pub digest: String,
    /// For what, where it says so.
    pub about: Option<String>,
}

/// What two images have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedFacts {
    /// The other image, as it was written.
    pub with: String,
    /// How many different layers both have.
    pub layers: u64,
    /// How many bytes they are.
    pub bytes: u64,
}

/// What a profile would make of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProfileFacts {
    /// The profile.
    pub profile: &'static str,
    /// Whether there is a way to push it there.
    pub taken: bool,
    /// What would be changed.
    pub changes: Vec<ChangeFacts>,
    /// Why it would be refused.
    pub refused: Option<String>,
}

/// An image in the shape that was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct ShapeFacts {
    /// It.
    pub image: ImageFacts,
    /// The profile.
    pub profile: &'static str,
    /// What its manifest is.
    pub media_type: String,
    /// Bytes of its configuration and layers.
    pub size: u64,
    /// Manifests that are kept beside it.
    pub referrers: Vec<String>,
    /// Where it was written, where that was asked for.
    pub written: Option<String>,
}

/// A picture as text.
pub(super) fn picture(picture: &Picture) -> String {
    let mut out = format!(
        "{}\n  {}\n  {}, {}\n",
        picture.source,
        picture.digest,
        picture.media_type,
        bytes(picture.size)
    );
    for image in &picture.images {
        single(&mut out, image);
    }
    for attestation in &picture.attestations {
        let about =
            attestation.about.as_deref().map_or_else(|| "it does not say what".to_owned(), short_digest);
        let _ = writeln!(out, "\nattestation {} for {about}", short_digest(&attestation.digest));
    }
    if let Some(SharedFacts { with, layers, bytes: count }) = &picture.shared {
        let _ = writeln!(out, "\n{layers} layers ({}) are in {with} too", bytes(*count));
    }
    out
}

fn single(out: &mut String, image: &SingleFacts) {
    let platform = image.platform.as_deref().unwrap_or("an artifact");
    let _ = writeln!(out, "\n{platform}  {}  {}", short_digest(&image.digest), bytes(image.size));
    let ConfigFacts { entrypoint, command, .. } = &image.config;
    if !entrypoint.is_empty() || !command.is_empty() {
        let _ = writeln!(out, "  starts {}", [entrypoint.as_slice(), command.as_slice()].concat().join(" "));
    }
    if !image.layers.is_empty() {
        let several = image.layers.iter().any(|layer| layer.shared.is_some());
        let mut header = vec!["  LAYER", "SIZE", "MEDIA TYPE"];
        header.extend(several.then_some("SHARED"));
        let mut rows = table(&header);
        for layer in &image.layers {
            let mut cells = vec![
                format!("  {}", short_digest(&layer.digest)),
                bytes(layer.size),
                layer.media_type.clone(),
            ];
            cells.extend(layer.shared.map(|shared| if shared { "yes" } else { "no" }.to_owned()));
            rows.add_row(cells);
        }
        let _ = writeln!(out, "{}", rows);
    }
    for ProfileFacts { profile, changes, refused, .. } in &image.profiles {
        match (refused, changes.as_slice()) {
            (Some(why), _) => {
                let _ = writeln!(out, "  {profile}: refused: {why}");
            }
            (None, []) => {
                let _ = writeln!(out, "  {profile}: as it is");
            }
            (None, changes) => {
                let _ = writeln!(out, "  {profile}:");
                for change in changes {
                    let _ = writeln!(out, "    {}", told(change));
                }
            }
        }
    }
}

/// A shaped image as text.
pub(super) fn shape(facts: &ShapeFacts) -> String {
    let ShapeFacts { image, profile, media_type, size, referrers, written } = facts;
    let mut out = format!("{}  {}, {}\n", image.digest, media_type, bytes(*size));
    match image.changed.as_slice() {
        [] => {
            let _ = writeln!(out, "  as it is: {profile} takes it so");
        }
        changed => {
            for change in changed {
                let _ = writeln!(out, "  {}", told(change));
            }
        }
    }
    for referrer in referrers {
        let _ = writeln!(out, "  beside it: {referrer}");
    }
    if let Some(written) = written {
        let _ = writeln!(out, "wrote {written}");
    }
    out
}

fn told(change: &ChangeFacts) -> String {
    format!("{} {} ({})", change.what, short_digest(&change.digest), change.why)
}
