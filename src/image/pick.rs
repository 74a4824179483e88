//! Which image of an index: the platform decides.

use longshore_contract::Platform;

use super::error::{ImageError, ImageErrorKind};
use super::{Change, Child, Image, Kind, Role};

impl Image {
    /// The one image for `wanted`: itself when it is a single image for that platform, else the first in the index that fits,
    /// one with the very variant before others. What was left behind is told in `changed`.
    ///
    /// Attestations run nowhere and never fit. An error lists the platforms that are there.
    pub fn pick(self, wanted: &Platform) -> Result<Self, ImageError> {
        let source_digest = self.source_digest.clone();
        let source = self.source.clone();
        let mut changed = self.changed.clone();
        let index = matches!(self.kind, Kind::Index(_)).then(|| self.digest.clone());
        let mut found = Candidates::default();
        found.collect(self, None);
        let refused = |message: String| {
            ImageError::new(ImageErrorKind::Platform, source.clone(), message)
                .hint("ask for a platform that is there, or build the image for this one")
        };
        let fitting =
            |found: &Candidates, exactly: bool| {
                found.images.iter().position(|(platform, _)| {
                    if exactly { platform == wanted } else { platform.serves(wanted) }
                })
            };
        let Some(position) = fitting(&found, true).or_else(|| fitting(&found, false)) else {
            return Err(refused(match found.platforms().as_str() {
                "" => format!("no image in it says that it is for {wanted}, or for any platform"),
                there => format!("no image for {wanted}; there is {there}"),
            }));
        };
        let (platform, image) = found.images.swap_remove(position);
        let image = image
            .ok_or_else(|| refused(format!("the image for {platform} is listed and is not all there")))?;
        if let Some(index) = index {
            changed.push(Change {
                what: "platform picked out of an index".to_owned(),
                digest: index,
                why: format!("a function runs one image, for {wanted}"),
            });
        }
        changed.extend(found.attestations.into_iter().map(|digest| Change {
            what: "attestation dropped".to_owned(),
            digest,
            why: "it vouches for an entry of the index and runs nowhere".to_owned(),
        }));
        Ok(Self { source_digest, changed, ..image })
    }
}

#[derive(Default)]
struct Candidates {
    images: Vec<(Platform, Option<Image>)>,
    attestations: Vec<longshore_contract::Digest>,
}

impl Candidates {
    /// Takes the single images beneath `image`, in the order they are listed; `stated` is what the index says of it.
    fn collect(&mut self, image: Image, stated: Option<Platform>) {
        match image.kind {
            Kind::Index(children) => {
                for Child { digest, role, image, .. } in children {
                    match (role, image) {
                        (Role::Attestation, _) => self.attestations.push(digest),
                        (Role::Platform(platform), Some(image)) => self.collect(image, Some(platform)),
                        (Role::Platform(platform), None) => self.images.push((platform, None)),
                        (Role::Unstated, Some(image)) => self.collect(image, stated.clone()),
                        (Role::Unstated, None) => {}
                    }
                }
            }
            Kind::Manifest(ref manifest) => {
                let own = manifest.facts.as_ref().map(|facts| facts.platform.clone());
                // The configuration is what a machine goes by; an index that says otherwise does not make it run.
                let Some(mut platform) = own else { return };
                if platform.variant.is_none()
                    && let Some(stated) = stated.filter(|stated| stated.serves(&platform))
                {
                    platform = stated;
                }
                self.images.push((platform, Some(image)));
            }
        }
    }

    fn platforms(&self) -> String {
        let mut names: Vec<_> = self.images.iter().map(|(platform, _)| platform.to_string()).collect();
        names.dedup();
        names.join(", ")
    }
}
