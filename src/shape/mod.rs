//! From an image to the same image as its destination takes it.
//!
//! What a destination takes is a [`Profile`]: data that the cloud behind it brings. The decisions are pure: [`pick`] takes one
//! image out of an index, [`decide`] says what of it must change and what cannot be mended, [`write`] writes the manifest anew.
//! Bytes are read for two things only: the first few of each layer, to compare them with its media type, and those of a layer
//! that must be compressed. What need not change keeps its bytes and so its digest; shaping twice is shaping once.

mod decide;
mod pack;
mod peek;
mod pick;
mod vouch;
mod write;

use std::sync::Arc;

use longshore_contract::{Platform, Profile};
use tokio::sync::Semaphore;

pub use vouch::KEPT;

use crate::cache::Cache;
use crate::image::{Change, Image, ImageError, Kind};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Order {
    /// What the destination takes.
    pub profile: &'static Profile,
    /// The platform of the one image that is wanted; `None`: all of it, where the destination takes that.
    pub platform: Option<Platform>,
    /// What becomes of what vouches for it.
    pub attestations: Attestations,
}

/// What becomes of manifests that vouch for the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attestations {
    /// They are left behind.
    Drop,
    /// They are kept beside the image, as manifests that refer to it, where it is still the image they vouch for.
    Keep,
}

/// An image in its destination's shape.
#[derive(Debug, Clone)]
pub struct Shaped {
    /// The image; what was changed is told in it.
    pub image: Image,
    /// Manifests that refer to it and vouch for it, each to be pushed by its digest after it.
    pub referrers: Vec<Image>,
}

/// Shapes images, a few layers at once, and remembers what it compressed. Clones share their turns and their cache.
#[derive(Debug, Clone)]
pub struct Shaper {
    cache: Cache,
    turns: Arc<Semaphore>,
    swell: pack::Swell,
}

impl Shaper {
    /// Compresses as many layers at once as there are processors, into `cache`.
    pub fn new(cache: Cache) -> Self {
        let abreast = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { cache, turns: Arc::new(Semaphore::new(abreast)), swell: pack::Swell::USUAL }
    }

    /// The cache it keeps layers in.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The image as `order` asks for it. A layer that must be compressed is, unless the cache has it; what was read of it is
    /// verified. An error says what cannot be mended.
    pub async fn shape(&self, image: Image, order: &Order) -> Result<Shaped, ImageError> {
        let pick::Picked { image, vouchers } = pick::pick(image, order)?;
        let Kind::Manifest(_) = &image.kind else { return Ok(Shaped { image, referrers: Vec::new() }) };
        let (image, found) = peek::peek(image, order.profile).await?;
        let decision = decide::decide(&image, &found, order.profile)?;
        let packed = pack::pack(self, &image, &decision).await?;
        let image = write::write(image, decision, packed)?;
        Ok(vouch::keep(image, vouchers, order.attestations))
    }

    /// What would be changed, as far as it is known without compressing anything. An error says what cannot be mended.
    pub async fn foresee(&self, image: Image, order: &Order) -> Result<Vec<Change>, ImageError> {
        let pick::Picked { image, .. } = pick::pick(image, order)?;
        let Kind::Manifest(_) = &image.kind else { return Ok(image.changed) };
        let (image, found) = peek::peek(image, order.profile).await?;
        let decision = decide::decide(&image, &found, order.profile)?;
        Ok([image.changed, decision.changes].concat())
    }
}

#[cfg(test)]
mod tests;
