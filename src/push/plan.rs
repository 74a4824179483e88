//! What a push consists of: pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_contract::Digest;

use super::Destination;
use crate::image::{Blob, Image, Kind};
use crate::registry::{Errand, Purpose, RegistryError, RegistryErrorKind, Target};

/// What may have to be sent.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// What the image shall be found under.
    pub(super) target: Target,
    /// Every blob once, the largest first: a large one begun last is what everybody waits for.
    pub(super) blobs: Vec<&'a Blob>,
    /// Every manifest once, children before their parents.
    pub(super) manifests: Vec<Commit>,
}

/// A manifest and the name it gets.
#[derive(Debug, Clone)]
pub struct Commit {
    /// What it is.
    pub digest: Digest,
    /// What it is called in the repository.
    pub target: Target,
    /// Sent as its content type.
    pub media_type: String,
    /// The manifest, verbatim.
    pub bytes: Bytes,
}

pub(super) fn plan<'a>(image: &'a Image, destination: &Destination) -> Result<Plan<'a>, RegistryError> {
    let reference = &destination.reference;
    let errand = Errand { purpose: Purpose::Push, repository: reference.repository.clone() };
    let refused = |message: String| RegistryError::new(RegistryErrorKind::Image, &errand, message);
    if let Some(stated) = reference.digest.as_ref().filter(|stated| **stated != image.digest) {
        let message =
            format!("the destination names {stated}, and the image of {} is {}", image.source, image.digest);
        return Err(refused(message));
    }
    let target = reference.tag.clone().map_or(Target::Digest(image.digest.clone()), Target::Tag);
    let mut walk = Walk { blobs: BTreeMap::new(), manifests: Vec::new() };
    walk.image(image, target.clone()).map_err(|missing| {
        refused(format!("the index of {} lists {missing}, and its manifest is not there", image.source))
            .hint("pick one platform, or use a source that holds them all")
    })?;
    let mut blobs: Vec<&Blob> = walk.blobs.into_values().collect();
    blobs.sort_by(|one, other| other.size.cmp(&one.size).then_with(|| one.digest.cmp(&other.digest)));
    Ok(Plan { target, blobs, manifests: walk.manifests })
}

struct Walk<'a> {
    blobs: BTreeMap<&'a Digest, &'a Blob>,
    manifests: Vec<Commit>,
}

impl<'a> Walk<'a> {
    fn image(&mut self, image: &'a Image, target: Target) -> Result<(), Digest> {
        match &image.kind {
            Kind::Manifest(parts) => {
                let blobs = parts.layers.iter().chain([&parts.config]);
                self.blobs.extend(blobs.map(|blob| (&blob.digest, blob)));
            }
            Kind::Index(children) => {
                for child in children {
                    let image = child.image.as_ref().ok_or_else(|| child.digest.clone())?;
                    self.image(image, Target::Digest(child.digest.clone()))?;
                }
            }
        }
        if !self.manifests.iter().any(|commit| commit.digest == image.digest && commit.target == target) {
            self.manifests.push(Commit {
                digest: image.digest.clone(),
                target,
                media_type: image.media_type.clone(),
                bytes: image.manifest.clone(),
            });
        }
        Ok(())
    }
}
