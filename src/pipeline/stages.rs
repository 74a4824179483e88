//! The stages of a run that bring a version into being and put it behind its alias. Each is passed over where the
//! ledger knows that it is done, so a fresh run and a resumed one go the same way.

use longshore_contract::{Alias, FunctionSpec, Published, Qualifier, Reference, Release};

use super::clear::{self, clear};
use super::deploy::Wish;
use super::{Arrival, Cloud, Context, Failure, Landing, Standing, Subject};
use crate::image::{Image, Verify};
use crate::ledger::{Because, Ending, Event, Journal, Plan, Recalled, Scanning};
use crate::manifest::Smoke;
use crate::progress;
use crate::push::{self, Destination};
use crate::scan::{Judged, Verdict};
use crate::shift::{Refusal, Rollout, ShiftSpec, Strategy, drive, plan};

/// Where a run stands when it enters the stages.
pub(super) struct Stage {
    /// What is behind it.
    pub(super) recalled: Recalled,
    /// The alias, where it was just read.
    pub(super) live: Option<Option<Alias>>,
    /// The image, where it was just opened.
    pub(super) image: Option<Image>,
}

/// Goes through the stages that are not behind the run yet. An ending is stored before it is told, so that a run that
/// was refused leaves nothing open; only a run that was killed, interrupted or taken over stays open.
pub(super) async fn run(
    subject: &Subject,
    wish: Option<&Wish>,
    context: &Context,
    journal: &mut Journal,
    stage: Stage,
    landing: &mut Landing,
) -> Result<Arrival, Failure> {
    match before_traffic(subject, wish, context, journal, stage, landing).await {
        Ok(Some(rollout)) => move_traffic(subject, context, journal, rollout, landing).await,
        Ok(None) => {
            journal.append(context.clock.now(), Event::Ended { ending: Ending::Unchanged }).await?;
            Ok(Arrival::Ended(Ending::Unchanged))
        }
        Err(failure) => {
            if let Some(event) = farewell(&failure, landing)
                && let Err(error) = journal.append(context.clock.now(), event).await
            {
                landing.notes.push(format!("the ledger does not know that: {error}"));
            }
            Err(failure)
        }
    }
}

/// Drives a rollout to where nothing is left to do here.
pub(super) async fn move_traffic(
    subject: &Subject,
    context: &Context,
    journal: &mut Journal,
    rollout: Rollout,
    landing: &mut Landing,
) -> Result<Arrival, Failure> {
    landing.to = Some(rollout.plan().to.clone());
    landing.from = rollout.plan().from().cloned();
    landing.steps.clone_from(&rollout.plan().steps);
    landing.notes.extend(rollout.plan().remarks.iter().map(ToString::to_string));
    let driven = drive(context.around(subject), journal, rollout).await?;
    landing.routing = driven.routing;
    if let Ending::Returned { .. } = driven.ending {
        // It went the other way: what it brought is gone again, and what was live before is what is live.
        std::mem::swap(&mut landing.from, &mut landing.to);
        landing.image = None;
    }
    Ok(Arrival::Ended(driven.ending))
}

/// What a failure before any traffic leaves in the ledger: its ending, a hold, or nothing where the run stays open
/// because nobody knows what came of its last request.
fn farewell(failure: &Failure, landing: &Landing) -> Option<Event> {
    let why = failure.line();
    let held = match failure {
        // Whoever decides about the alias now, or what is wrong with the ledger, is known there already.
        Failure::Journal(_) | Failure::Ledger(_) | Failure::Shift(_) | Failure::Replay(_) => return None,
        Failure::Interrupted => Some(Because::Interrupted),
        Failure::Cloud(_) if failure.standing() == Standing::Held => {
            Some(Because::Unanswered { why: why.clone() })
        }
        _ => None,
    };
    Some(match (held, failure.standing()) {
        (Some(because), _) => Event::Held { because },
        (None, Standing::Refused | Standing::Preempted | Standing::Held) => {
            let scan = landing.scan.as_ref().filter(|_| matches!(failure, Failure::Scan(_)));
            let scan = scan.map(|judged| Box::new(judged.record.clone()));
            Event::Ended { ending: Ending::Refused { why, scan } }
        }
        (None, Standing::Failed) => Event::Ended { ending: Ending::Failed { why } },
    })
}

/// Pushes, clears, publishes, smokes and plans; `None` where the version that came of it is live already.
async fn before_traffic(
    subject: &Subject,
    wish: Option<&Wish>,
    context: &Context,
    journal: &mut Journal,
    stage: Stage,
    landing: &mut Landing,
) -> Result<Option<Rollout>, Failure> {
    let Stage { mut recalled, live, image } = stage;
    let wish = wish.ok_or(Failure::NeedsManifest { run: recalled.run })?;
    let published = match recalled.published.take() {
        Some(published) => published,
        None => {
            let (image_reference, scanning) = match recalled.pushed.take() {
                Some(reference) => (reference, recalled.scanning.take()),
                None => send(subject, wish, context, journal, image, landing).await?,
            };
            if let Some(landed) = &mut landing.image {
                landed.reference = Some(by_digest(&image_reference));
            }
            match recalled.cleared {
                Some(verdict) => {
                    let record = recalled.scan.clone().unwrap_or_default();
                    let judged = |word| Judged { verdict: Verdict::from(word), record, notes: Vec::new() };
                    landing.scan = verdict.map(judged);
                }
                None => clear(subject, wish, context, journal, &image_reference, scanning, landing).await?,
            }
            publish(subject, wish, context, journal, &recalled, image_reference, landing).await?
        }
    };
    landing.to = Some(published.version.clone());
    smoke(subject, &wish.smoke, &published, context).await?;
    let plan = make_plan(subject, &recalled, &published, live).await?;
    let Some(plan) = plan else { return Ok(None) };
    journal.append(context.clock.now(), Event::Planned { plan: Box::new(plan.clone()) }).await?;
    Ok(Some(Rollout::begin(plan)))
}

/// Pushes the image, proves that it can be read at its destination, and has its scan begin.
async fn send(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    journal: &mut Journal,
    image: Option<Image>,
    landing: &mut Landing,
) -> Result<(Reference, Option<Scanning>), Failure> {
    let image = match image {
        Some(image) => image,
        None => {
            context.unless_interrupted(super::deploy::open_image(subject, wish, context, landing)).await?
        }
    };
    let registry = subject.provider.registry();
    let repository = registry.repository(&wish.repository)?;
    if subject.cloud == Cloud::NotMade {
        let reference = Reference { repository, tag: wish.tag.clone(), digest: Some(image.digest) };
        journal
            .append(context.clock.now(), Event::Pushed { reference: reference.clone(), scan: None })
            .await?;
        return Ok((reference, None));
    }
    context.unless_interrupted(registry.ensure_repository(&repository)).await?;
    let login = context.unless_interrupted(registry.login(&repository)).await?;
    let reference = Reference { repository, tag: wish.tag.clone(), digest: None };
    let destination = Destination::with_login(reference, login);
    let (registries, teller) = (&*context.registries, context.teller(subject));
    let pushed = push::push(registries, &image, &destination, Verify::Size, &subject.calls, &teller).await?;
    let event =
        progress::Event::Pushed { reference: by_digest(&pushed.reference), bytes_sent: pushed.bytes_sent };
    context.tell(subject, event);
    // The ledger knows of the push also where no scan can be started.
    let started = clear::start(subject, wish, context, &pushed.reference).await;
    let scan = started.as_ref().ok().cloned().flatten();
    let event = Event::Pushed { reference: pushed.reference.clone(), scan: scan.clone() };
    let since = journal.append(context.clock.now(), event).await?.at;
    started?;
    Ok((pushed.reference, scan.map(|ticket| Scanning { ticket, since })))
}

fn by_digest(reference: &Reference) -> Reference {
    Reference { tag: None, ..reference.clone() }
}

/// Makes the version and checks that it runs what was meant.
async fn publish(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    journal: &mut Journal,
    recalled: &Recalled,
    image: Reference,
    landing: &mut Landing,
) -> Result<Published, Failure> {
    let intent = match recalled.publishing {
        Some(intent) => intent,
        None => {
            let intent = longshore_contract::Intent { run: recalled.run, step: 0 };
            journal.append(context.clock.now(), Event::Publishing { intent }).await?;
            intent
        }
    };
    context.tell(subject, progress::Event::Publishing);
    let meant = image.digest.clone().ok_or_else(|| {
        longshore_contract::Error::new(
            longshore_contract::ErrorKind::Unexpected,
            "publish",
            &subject.at.function,
            "the ledger names an image without its digest",
        )
    })?;
    let release = Release {
        spec: FunctionSpec {
            name: subject.at.function.clone(),
            image,
            platform: wish.platform_on(subject).unwrap_or_else(longshore_contract::Platform::host),
            config: wish.config.clone(),
        },
        intent,
        patience: wish.patience,
    };
    let published = context.unless_interrupted(subject.provider.functions().release(&release)).await?;
    if published.digest != meant {
        return Err(Failure::WrongDigest { version: published.version, meant, found: published.digest });
    }
    landing.to = Some(published.version.clone());
    context.tell(subject, progress::Event::Published { version: published.version.clone() });
    journal.append(context.clock.now(), Event::Published { published: published.clone() }).await?;
    Ok(published)
}

/// Sends every smoke request to the version itself, before it has any traffic.
async fn smoke(
    subject: &Subject,
    requests: &[Smoke],
    published: &Published,
    context: &Context,
) -> Result<(), Failure> {
    for (index, request) in requests.iter().enumerate() {
        let qualifier = Qualifier::Version(published.version.clone());
        let payload = super::smoke::payload(request);
        let asking = subject.provider.functions().invoke(&subject.at.function, &qualifier, &payload);
        let answer = context.unless_interrupted(asking).await?;
        if let Err(why) = super::smoke::assess(&request.expect, &answer) {
            return Err(Failure::Smoke { number: index + 1, version: published.version.clone(), why });
        }
    }
    Ok(())
}

/// The plan for the version, by the way that was stated when the run began; `None` where it has all traffic already.
async fn make_plan(
    subject: &Subject,
    recalled: &Recalled,
    published: &Published,
    live: Option<Option<Alias>>,
) -> Result<Option<Plan>, Failure> {
    let live = match live {
        Some(live) => live,
        None => subject.provider.functions().alias(&subject.at).await?,
    };
    let steps = recalled.opened.steps.clone();
    let spec = ShiftSpec {
        run: recalled.run,
        alias: subject.at.clone(),
        to: published.version.clone(),
        digest: published.digest.clone(),
        strategy: if steps.is_empty() { Strategy::AllAtOnce } else { Strategy::Steps(steps) },
    };
    match plan(&spec, subject.provider.capabilities(), live.as_ref()) {
        Ok(plan) => Ok(Some(plan)),
        Err(Refusal::AlreadyLive { .. }) => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}
