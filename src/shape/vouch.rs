//! What becomes of the manifests that vouch for an image: pure.
//!
//! An attestation names the digest it vouches for. Where shaping made another image, what was said of the old one is not true
//! of the new one, so it is dropped whatever was asked for; where the image is the same to the byte, it can be kept.

use longshore_contract::Digest;

use super::pick::Voucher;
use super::write::{Said, Written, described};
use super::{Attestations, Shaped};
use crate::image::media::OCI_MANIFEST;
use crate::image::{Change, Image, Kind, digest_of};

/// What an attestation is as an artifact; BuildKit writes the same where it is asked for artifacts.
const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// How keeping an attestation is told.
pub const KEPT: &str = "attestation kept beside the image";

/// How leaving an attestation behind is told; [`Image::pick`] says so of each it finds.
pub(super) const DROPPED: &str = "attestation dropped";

/// Keeps the vouchers for `image` beside it, where that was asked for and they still are.
pub(super) fn keep(mut image: Image, vouchers: Vec<Voucher>, asked: Attestations) -> Shaped {
    let mut referrers = Vec::new();
    if asked == Attestations::Keep {
        for Voucher { about, image: voucher } in vouchers {
            let subject = subject(&voucher);
            let about = subject.clone().or(about);
            let told = image
                .changed
                .iter_mut()
                .find(|change| change.digest == voucher.digest && change.what == DROPPED);
            if about.as_ref() != Some(&image.digest) {
                if let (Some(told), Some(about)) = (told, about) {
                    told.why = format!("it vouches for {about}, which is not what is pushed");
                }
                continue;
            }
            let referrer = match subject {
                Some(_) => voucher,
                None => referring(voucher, &image),
            };
            if let Some(told) = image.changed.iter_mut().find(|change| {
                change.what == DROPPED
                    && (change.digest == referrer.digest || change.digest == referrer.source_digest)
            }) {
                *told = Change {
                    what: KEPT.to_owned(),
                    why: format!("it refers to the image as {}", referrer.digest),
                    digest: told.digest.clone(),
                };
            }
            referrers.push(referrer);
        }
    }
    Shaped { image, referrers }
}

/// Which manifest `voucher` names in its own words.
fn subject(voucher: &Image) -> Option<Digest> {
    match &voucher.kind {
        Kind::Manifest(parts) => parts.subject.clone(),
        Kind::Index(_) => None,
    }
}

/// `voucher` as a manifest that refers to `image`: the same statements, found by the image's digest and not by a list.
fn referring(voucher: Image, image: &Image) -> Image {
    let Kind::Manifest(parts) = &voucher.kind else { return voucher };
    // What a statement is of stands beside its layer.
    let said = Said::of(&voucher).unwrap_or_default();
    let layers = parts.layers.iter().enumerate().map(|(index, layer)| described(layer, said.of_layer(index)));
    let written = Written {
        schema_version: 2,
        media_type: OCI_MANIFEST,
        artifact_type: Some(ARTIFACT_TYPE),
        config: described(&parts.config, None),
        layers: layers.collect(),
        subject: Some(serde_json::json!({
            "mediaType": image.media_type, "digest": image.digest, "size": image.manifest.len()
        })),
        annotations: None,
    };
    let manifest = serde_json::to_vec(&written).expect("text and numbers are JSON");
    Image {
        source_digest: voucher.digest.clone(),
        digest: digest_of(&manifest),
        media_type: OCI_MANIFEST.to_owned(),
        manifest: manifest.into(),
        ..voucher
    }
}
