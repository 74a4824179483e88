//! `push`: an image to registries, without a manifest.

use std::sync::Arc;

use longshore_contract::{Calls, PlainHttp, Reference};

use super::super::args::{OutputArgs, PushArgs};
use super::super::session::{Mode, context, invalid, side_by_side};
use super::super::{Answer, faults, rows};
use crate::image::{self, Image, ImageSource, Verify};
use crate::pipeline::{Context, Failure, Landed, Teller};
use crate::progress::{Event, UnitName};
use crate::push::{self as pushing, BlobCounts, Destination, PushOutcome, Pushed};
use crate::registry::{Credentials, Keychain};
use crate::report::{Body, CallCounts, Fault, Outcome, PushRow};

/// Pushes one image to every destination; each fails alone.
pub(super) async fn push(args: &PushArgs, output: &OutputArgs) -> Result<Answer, Answer> {
    let context = context(output, Mode::Real, None);
    let source: ImageSource = args.source.parse().map_err(|error| invalid(format!("SOURCE: {error}")))?;
    let destinations = destinations(args)?;
    let image = open(source, args, &context).await?;
    let unit = |reference: &Reference| UnitName { function: reference.to_string(), target: String::new() };
    let verify = if args.verify { Verify::Hash } else { Verify::Size };
    let images = side_by_side(destinations, async |destination: Destination| {
        let calls = Calls::default();
        let unit = unit(&destination.reference);
        context.observer.event(&unit, &Event::Image { digest: image.digest.clone(), size: image.size() });
        let teller = Teller::new(unit, context.observer.clone());
        let registries = &context.registries;
        let work = pushing::push(registries, &image, &destination, verify, &calls, &teller);
        let result = tokio::select! {
            result = work => result.map_err(Failure::Push),
            () = context.interrupt.cancelled() => Err(Failure::InterruptedBefore),
        };
        row(&image, &destination, result, &calls)
    })
    .await;
    let outcome = Outcome::of_rows(images.iter().map(|row| row.outcome), Outcome::Done);
    let errors: Vec<Fault> = images.iter().filter_map(|row| row.error.clone()).collect();
    Ok(Answer::told(outcome, errors, Body::Images { images }))
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

async fn open(source: ImageSource, args: &PushArgs, context: &Context) -> Result<Image, Answer> {
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
    let world = context.world.clone().plain_http(&args.plain_http).telling(Arc::new(tell));
    let opened = tokio::select! {
        opened = image::open_for(source, image::Context { directory, platform, world }) => opened,
        () = context.interrupt.cancelled() => return Err(Answer::of_failure(&Failure::InterruptedBefore)),
    };
    opened.map_err(|error| Answer::of_failure(&Failure::Image(error)))
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
            PushRow {
                image: Some(landed(None)),
                destination,
                outcome,
                bytes_sent: 0,
                blobs: BlobCounts::default(),
                replaced: None,
                calls: CallCounts::from(calls),
                error: Some(fault),
            }
        }
    }
}
