//! `image`: what is in an image, and what a destination would make of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use longshore_contract::{Digest, Platform, Profile};

use super::super::args::{ImageArgs, ImageInspectArgs, ImageShapeArgs, ImageVerb, OutputArgs};
use super::super::session::{Mode, context, invalid};
use super::super::{Answer, faults, rows};
use crate::image::{self, Child, Image, ImageError, ImageSource, Kind, Manifest, Role};
use crate::pipeline::{Context, Failure, Landed};
use crate::progress::{Event, UnitName};
use crate::providers;
use crate::report::pictures::{
    AttestationFacts, ConfigFacts, LayerFacts, Picture, ProfileFacts, ShapeFacts, SharedFacts, SingleFacts,
};
use crate::report::{Body, Outcome};
use crate::shape::{Attestations, Order, Shaper};

/// Shows an image, or brings it into a shape.
pub(super) async fn image(args: &ImageArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    match &args.verb {
        ImageVerb::Inspect(args) => inspect(args, output).await,
        ImageVerb::Shape(args) => shape(args, output).await,
    }
}

async fn inspect(args: &ImageInspectArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Reading, None)?;
    let image = open(source(&args.source, "SOURCE")?, None, &context).await?;
    let other = match &args.with {
        None => None,
        Some(text) => Some((text, layers(&open(source(text, "--with")?, None, &context).await?))),
    };
    let mut found = Found::default();
    found.collect(&image);
    let others = other.as_ref().map(|(_, layers)| layers);
    let mut images = Vec::new();
    for single in &found.images {
        images.push(single_facts(single, others, &context.shaper).await);
    }
    let shared = other.as_ref().map(|(with, others)| {
        let both = layers(&image).into_iter().filter(|(digest, _)| others.contains_key(digest));
        let sizes: Vec<u64> = both.map(|(_, size)| size).collect();
        SharedFacts { with: (*with).clone(), layers: sizes.len() as u64, bytes: sizes.iter().sum() }
    });
    let picture = Picture {
        source: image.source.clone(),
        digest: image.digest.to_string(),
        media_type: image.media_type.clone(),
        size: image.size(),
        images,
        attestations: found.attestations,
        shared,
    };
    Ok(Answer::done(Body::Picture { image: picture }))
}

/// The single images beneath one, and what vouches for them.
#[derive(Default)]
struct Found {
    images: Vec<Image>,
    attestations: Vec<AttestationFacts>,
}

impl Found {
    fn collect(&mut self, image: &Image) {
        match &image.kind {
            Kind::Manifest(_) => self.images.push(image.clone()),
            Kind::Index(children) => {
                for Child { digest, role, about, image } in children {
                    match (role, image) {
                        (Role::Attestation, _) => self.attestations.push(AttestationFacts {
                            digest: digest.to_string(),
                            about: about.as_ref().map(ToString::to_string),
                        }),
                        (_, Some(image)) => self.collect(image),
                        (_, None) => {}
                    }
                }
            }
        }
    }
}

/// Every layer of an image, each once, with its size.
fn layers(image: &Image) -> BTreeMap<Digest, u64> {
    match &image.kind {
        Kind::Manifest(parts) => {
            parts.layers.iter().map(|layer| (layer.digest.clone(), layer.size)).collect()
        }
        Kind::Index(children) => {
            children.iter().filter_map(|child| child.image.as_ref()).flat_map(layers).collect()
        }
    }
}

async fn single_facts(image: &Image, others: Option<&BTreeMap<Digest, u64>>, shaper: &Shaper) -> SingleFacts {
    let Kind::Manifest(parts) = &image.kind else { unreachable!("only single images are collected") };
    let Manifest { config, layers, facts, .. } = &**parts;
    let platform = facts.as_ref().map(|facts| facts.platform.clone());
    let mut profiles = Vec::new();
    for profile in providers::profiles() {
        profiles.push(profile_facts(image, profile, platform.clone(), shaper).await);
    }
    let diff_ids = facts.as_ref().filter(|facts| facts.diff_ids.len() == layers.len());
    SingleFacts {
        platform: platform.map(|platform| platform.to_string()),
        digest: image.digest.to_string(),
        media_type: image.media_type.clone(),
        size: image.size(),
        config: ConfigFacts {
            digest: config.digest.to_string(),
            media_type: config.media_type.clone(),
            entrypoint: facts.as_ref().map(|facts| facts.entrypoint.clone()).unwrap_or_default(),
            command: facts.as_ref().map(|facts| facts.command.clone()).unwrap_or_default(),
        },
        layers: layers
            .iter()
            .enumerate()
            .map(|(index, layer)| LayerFacts {
                digest: layer.digest.to_string(),
                diff_id: diff_ids.map(|facts| facts.diff_ids[index].to_string()),
                media_type: layer.media_type.clone(),
                size: layer.size,
                shared: others.map(|others| others.contains_key(&layer.digest)),
            })
            .collect(),
        profiles,
    }
}

async fn profile_facts(
    image: &Image,
    profile: &'static Profile,
    platform: Option<Platform>,
    shaper: &Shaper,
) -> ProfileFacts {
    let order = Order { profile, platform, attestations: Attestations::Drop };
    let (changes, refused) = match shaper.foresee(image.clone(), &order).await {
        Ok(changes) => (changes.into_iter().map(rows::change).collect(), None),
        Err(error) => (Vec::new(), Some(error.message)),
    };
    ProfileFacts { profile: profile.name, taken: refused.is_none(), changes, refused }
}

async fn shape(args: &ImageShapeArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Reading, None)?;
    let to = args.to.as_deref().map(destination).transpose()?;
    let image = open(source(&args.source, "SOURCE")?, args.platform.clone(), &context).await?;
    let attestations = if args.keep_attestations { Attestations::Keep } else { Attestations::Drop };
    let order = Order { profile: args.profile, platform: args.platform.clone(), attestations };
    let shaped = context.shaper.shape(image, &order).await.map_err(refused)?;
    let facts = ShapeFacts {
        image: rows::image(Landed {
            source: Some(args.source.clone()),
            digest: shaped.image.digest.clone(),
            reference: None,
            source_digest: Some(shaped.image.source_digest.clone()),
            changed: shaped.image.changed.clone(),
        }),
        profile: args.profile.name,
        media_type: shaped.image.media_type.clone(),
        size: shaped.image.size(),
        referrers: shaped.referrers.iter().map(|referrer| referrer.digest.to_string()).collect(),
        written: to.as_ref().map(ToString::to_string),
    };
    if let Some(ImageSource::Layout { directory, tag }) = to {
        let saving = tokio::task::spawn_blocking(move || {
            shaped.image.save(&shaped.referrers, Path::new(&directory), tag.as_deref())
        });
        match saving.await {
            Ok(saved) => saved.map_err(refused)?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    Ok(Answer::done(Body::Shape(facts)))
}

fn destination(text: &str) -> Result<ImageSource, Answer> {
    match source(text, "--to")? {
        layout @ ImageSource::Layout { .. } => Ok(layout),
        _ => Err(invalid(format!("--to: {text:?} is not a layout (oci:DIR[:TAG])"))),
    }
}

fn source(text: &str, what: &str) -> Result<ImageSource, Answer> {
    text.parse().map_err(|error| invalid(format!("{what}: {error}")))
}

async fn open(source: ImageSource, platform: Option<Platform>, context: &Context) -> Result<Image, Answer> {
    let directory = std::env::current_dir().map_err(|error| {
        let fault = faults::fault("system", format!("the working directory: {error}"), None);
        Answer::failed(Outcome::Failed, vec![fault])
    })?;
    let (unit, observer) =
        (UnitName { function: source.to_string(), target: String::new() }, context.observer.clone());
    let tell = move |message| observer.event(&unit, &Event::Note { message });
    let world = context.world.clone().telling(Arc::new(tell));
    image::open_for(source, image::Context { directory, platform, world }).await.map_err(refused)
}

fn refused(error: ImageError) -> Answer {
    Answer::of_failure(&Failure::Image(error))
}
