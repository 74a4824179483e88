//! Which image of what was opened: pure.

use longshore_contract::{Digest, Platform, Taken};

use super::Order;
use crate::image::{Child, Image, ImageError, ImageErrorKind, Kind, Role};

/// The image that is meant, and what vouched for something beside it.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) image: Image,
    pub(super) vouchers: Vec<Voucher>,
}

/// A manifest that vouches for another one.
#[derive(Debug)]
pub(super) struct Voucher {
    /// For which one, where what lists it says so.
    pub(super) about: Option<Digest>,
    pub(super) image: Image,
}

/// The one image for the platform that is asked for; where none is, all of it, if the destination takes an index.
pub(super) fn pick(image: Image, order: &Order) -> Result<Picked, ImageError> {
    let Order { profile, platform, .. } = order;
    match (&image.kind, platform) {
        (_, Some(platform)) => {
            let mut vouchers = Vec::new();
            collect(&image, &mut vouchers);
            Ok(Picked { image: image.pick(platform)?, vouchers })
        }
        (Kind::Manifest(_), None) => Ok(Picked { image, vouchers: Vec::new() }),
        (Kind::Index(_), None) if profile.indexes == Taken::Yes => Ok(Picked { image, vouchers: Vec::new() }),
        (Kind::Index(children), None) => {
            let there = platforms(children);
            let message = format!(
                "it is an index of several images ({}), and one image is taken by {}",
                if there.is_empty() { "none says for which platform".to_owned() } else { listed(&there) },
                profile.summary
            );
            let hint = match there.first() {
                Some(first) => format!("say which one: --platform {first}"),
                None => "--profile oci pushes an index as it is".to_owned(),
            };
            Err(ImageError::new(ImageErrorKind::Platform, image.source, message).hint(hint))
        }
    }
}

fn collect(image: &Image, found: &mut Vec<Voucher>) {
    let Kind::Index(children) = &image.kind else { return };
    for Child { role, about, image, .. } in children {
        match (role, image) {
            (Role::Attestation, Some(image)) => {
                found.push(Voucher { about: about.clone(), image: image.clone() });
            }
            (_, Some(image)) => collect(image, found),
            (_, None) => {}
        }
    }
}

/// The platforms of the images beneath an index, each once, in their order.
pub(super) fn platforms(children: &[Child]) -> Vec<Platform> {
    let mut found: Vec<Platform> = Vec::new();
    for child in children.iter().filter(|child| child.role != Role::Attestation) {
        let beneath = match (&child.role, child.image.as_ref().map(|image| &image.kind)) {
            (_, Some(Kind::Index(children))) => platforms(children),
            (Role::Platform(platform), _) => vec![platform.clone()],
            (_, Some(Kind::Manifest(manifest))) => {
                manifest.facts.iter().map(|facts| facts.platform.clone()).collect()
            }
            (_, None) => Vec::new(),
        };
        for platform in beneath {
            if !found.contains(&platform) {
                found.push(platform);
            }
        }
    }
    found
}

fn listed(platforms: &[Platform]) -> String {
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
