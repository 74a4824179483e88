//! `push`: an image to registries, without a manifest.

use std::sync::Arc;

use longshore_contract::{Calls, PlainHttp, Profile, Reference};

use super::super::args::{OutputArgs, PushArgs};
use super::super::session::{Mode, context, invalid, side_by_side};
use super::super::{Answer, faults, rows};
use crate::image::{self, Change, Image, ImageError, ImageSource, Verify};
use crate::pipeline::{Context, Failure, Landed, Teller};
use crate::progress::{Event, UnitName};
use crate::providers;
use crate::push::{
    BlobCounts, Destination, Party, PushOutcome, Pushed, Referrers, Registries, Shipment, referrers,
};
use crate::registry::{Credentials, Keychain, RegistryError};
use crate::report::{Body, CallCounts, Fault, ImageFacts, Outcome, PushRow};
use crate::shape::{Attestations, KEPT, Order, Shaped};

/// Pushes one image to every destination; each fails alone.
pub(super) async fn push(args: &PushArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Real, None)?;
    let source: ImageSource = args.source.parse().map_err(|error| invalid(format!("SOURCE: {error}")))?;
    let destinations = destinations(args)?;
    let read = Calls::default();
    let image = open(source, args, &read, &context).await?;
    let shapes = Shapes::make(&context, image, args, &destinations).await?;
    let unit = |reference: &Reference| UnitName { function: reference.to_string(), target: String::new() };
    let verify = if args.verify { Verify::Hash } else { Verify::Size };
    // One reading of a shape's blobs serves every destination that takes that shape.
    let shipments: Vec<_> = shapes.0.iter().map(|(_, shaped)| shipment(shaped, verify)).collect();
    let parties: Vec<_> = destinations
        .into_iter()
        .map(|destination| {
            let index = shapes.index_of(&destination, args);
            (index, shipments[index].as_ref().map(Shipment::party), destination)
        })
        .collect();
    let images = side_by_side(
        parties,
        async |(index, party, destination): (usize, Option<Party<'_>>, Destination)| {
            let calls = Calls::default();
            let (shaped, party) = match (&shapes.0[index].1, party) {
                (Ok(shaped), Some(party)) => (shaped, party),
                (Err(error), _) => return refused(&destination, error, &calls),
                (Ok(_), None) => unreachable!("every shape that was made is shipped"),
            };
            let mut image = shaped.image.clone();
            let unit = unit(&destination.reference);
            context.observer.event(&unit, &Event::Image { digest: image.digest.clone(), size: image.size() });
            let teller = Teller::new(unit, context.observer.clone());
            let registries = &context.registries;
            let work = async {
                let mut pushed = party.push(registries, &destination, &calls, &teller).await?;
                for referrer in kept(registries, shaped, &mut image, &destination, &calls).await? {
                    let (beside, shipment) =
                        (beside(&destination, referrer), Shipment::new(referrer, verify));
                    pushed.add(shipment.party().push(registries, &beside, &calls, &teller).await?);
                }
                Ok(pushed)
            };
            let result = tokio::select! {
                result = work => result.map_err(Failure::Push),
                () = context.interrupt.cancelled() => Err(Failure::InterruptedBefore),
            };
            row(&image, &destination, result, &calls)
        },
    )
    .await;
    context.registries.sessions().tidied().await;
    let outcome = Outcome::of_rows(images.iter().map(|row| row.outcome), Outcome::Done);
    let errors: Vec<Fault> = images.iter().filter_map(|row| row.error.clone()).collect();
    Ok(Answer::told(outcome, errors, Body::Images { images, source_calls: CallCounts::from(&read) }))
}

/// The image in every shape that a destination takes, each made once.
struct Shapes(Vec<(&'static str, Result<Shaped, ImageError>)>);

impl Shapes {
    async fn make(
        context: &Context,
        image: Image,
        args: &PushArgs,
        destinations: &[Destination],
    ) -> Result<Self, Answer> {
        let attestations = if args.keep_attestations { Attestations::Keep } else { Attestations::Drop };
        let mut shapes = Vec::new();
        for profile in destinations.iter().map(|destination| profile_for(destination, args)) {
            if shapes.iter().all(|(name, _)| *name != profile.name) {
                let order = Order { profile, platform: args.platform.clone(), attestations };
                let shaped = tokio::select! {
                    shaped = context.shaper.shape(image.clone(), &order) => shaped,
                    () = context.interrupt.cancelled() => {
                        return Err(Answer::of_failure(&Failure::InterruptedBefore));
                    }
                };
                shapes.push((profile.name, shaped));
            }
        }
        Ok(Self(shapes))
    }

    /// Which of them `destination` takes.
    fn index_of(&self, destination: &Destination, args: &PushArgs) -> usize {
        let name = profile_for(destination, args).name;
        self.0.iter().position(|(known, _)| *known == name).expect("every profile was shaped for")
    }
}

fn shipment(shaped: &Result<Shaped, ImageError>, verify: Verify) -> Option<Shipment<'_>> {
    shaped.as_ref().ok().map(|shaped| Shipment::new(&shaped.image, verify))
}

/// What is asked for, else what the destination's host is known to take.
fn profile_for(destination: &Destination, args: &PushArgs) -> &'static Profile {
    args.profile.unwrap_or_else(|| providers::profile_of(destination.reference.repository.host()))
}

/// The referrers that the destination's registry would list; where it lists none, that is told as a change.
async fn kept<'a>(
    registries: &Registries,
    shaped: &'a Shaped,
    image: &mut Image,
    destination: &Destination,
    calls: &Calls,
) -> Result<&'a [Image], RegistryError> {
    if shaped.referrers.is_empty() {
        return Ok(&[]);
    }
    match referrers(registries, destination, &image.digest, calls).await? {
        Referrers::Listed => Ok(&shaped.referrers),
        Referrers::Unknown => {
            image.changed.retain(|change| change.what != KEPT);
            image.changed.extend(shaped.referrers.iter().map(|referrer| Change {
                what: "attestation dropped".to_owned(),
                digest: referrer.source_digest.clone(),
                why: "the registry does not list what refers to an image".to_owned(),
            }));
            Ok(&[])
        }
    }
}

/// Where a manifest that refers to the image goes: to the same repository, by its digest.
fn beside(destination: &Destination, referrer: &Image) -> Destination {
    let repository = destination.reference.repository.clone();
    let reference = Reference { repository, tag: None, digest: Some(referrer.digest.clone()) };
    Destination { reference, ..destination.clone() }
}

fn destinations(args: &PushArgs) -> Result<Vec<Destination>, Answer> {
    let keychain = Keychain::from_environment();
    let mut destinations = Vec::new();
    for text in &args.destinations {
        let reference: Reference = text.parse().map_err(|error| invalid(format!("DESTINATION: {error}")))?;
        let host = reference.repository.host();
        let plain_http = if args.plain_http.iter().any(|allowed| allowed == host) {
            PlainHttp::Allowed
        } else {
            PlainHttp::LoopbackOnly
        };
        let credentials = Credentials::Keychain(keychain.clone());
        destinations.push(Destination { reference, endpoint: None, plain_http, credentials });
    }
    Ok(destinations)
}

async fn open(
    source: ImageSource,
    args: &PushArgs,
    read: &Calls,
    context: &Context,
) -> Result<Image, Answer> {
    let platform = args.platform.clone();
    let directory = std::env::current_dir().map_err(|error| {
        Answer::failed(
            Outcome::Failed,
            vec![faults::fault("system", format!("the working directory: {error}"), None)],
        )
    })?;
    let (unit, observer) =
        (UnitName { function: source.to_string(), target: String::new() }, context.observer.clone());
    let tell = move |message| observer.event(&unit, &Event::Note { message });
    let world = context.world.clone().plain_http(&args.plain_http).counting(read).telling(Arc::new(tell));
    let opened = tokio::select! {
        opened = image::open_for(source, image::Context { directory, platform, world }) => opened,
        () = context.interrupt.cancelled() => return Err(Answer::of_failure(&Failure::InterruptedBefore)),
    };
    opened.map_err(|error| Answer::of_failure(&Failure::Image(error)))
}

/// The row of a destination that does not take the image in any shape.
fn refused(destination: &Destination, error: &ImageError, calls: &Calls) -> PushRow {
    let (outcome, fault) = faults::of_failure(&Failure::Image(error.clone()));
    failed(None, destination.reference.to_string(), outcome, fault, calls)
}

fn failed(
    image: Option<ImageFacts>,
    destination: String,
    outcome: Outcome,
    fault: Fault,
    calls: &Calls,
) -> PushRow {
    PushRow {
        image,
        destination,
        outcome,
        bytes_sent: 0,
        blobs: BlobCounts::default(),
        replaced: None,
        calls: CallCounts::from(calls),
        error: Some(fault),
    }
}

fn row(image: &Image, destination: &Destination, result: Result<Pushed, Failure>, calls: &Calls) -> PushRow {
    let landed = |reference: Option<Reference>| {
        rows::image(Landed {
            source: Some(image.source.clone()),
            digest: image.digest.clone(),
            reference,
            source_digest: Some(image.source_digest.clone()),
            changed: image.changed.clone(),
        })
    };
    let destination = destination.reference.to_string();
    match result {
        Ok(pushed) => PushRow {
            image: Some(landed(Some(Reference { tag: None, ..pushed.reference }))),
            destination,
            outcome: match pushed.outcome {
                PushOutcome::Arrived => Outcome::Arrived,
                PushOutcome::Unchanged => Outcome::Unchanged,
                PushOutcome::Planned => Outcome::Planned,
            },
            bytes_sent: pushed.bytes_sent,
            blobs: pushed.blobs,
            replaced: pushed.replaced.map(|digest| digest.to_string()),
            calls: CallCounts::from(calls),
            error: None,
        },
        Err(failure) => {
            let (outcome, fault) = faults::of_failure(&failure);
            failed(Some(landed(None)), destination, outcome, fault, calls)
        }
    }
}
