//! The scan stage: a scan begins as soon as the image is at its registry, is waited for and judged, and nothing is
//! published before its verdict.

use longshore_contract::{
    Digest, Error, ErrorKind, Qualifier, Reference, ScanTicket, ScanTrigger, StoredImage,
};

use super::deploy::{Asking, ScanWish, Wish};
use super::{Context, Failure, Landing, Subject, evidence};
use crate::ledger::{Event, Journal, ScanWaiver, Scanning};
use crate::manifest::{News, OnAbsent};
use crate::progress;
use crate::scan::{Absence, Before, Evidence, Judged, Refusal, Verdict, judge, waive};

/// Refuses at once what would be refused after the push: a policy that takes no image without a scan, and nobody to scan.
pub(super) fn scannable(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    landing: &mut Landing,
) -> Result<(), Failure> {
    match &wish.scan {
        Some(scan @ ScanWish { policy, waiver: None, .. })
            if policy.on_absent == OnAbsent::Refuse && subject.provider.scanner().is_none() =>
        {
            let nobody = Evidence::Nothing(Absence::NoScanner);
            let judged = decide(scan, &nobody, &Before::Nothing, context);
            let refusal = refusal(&judged);
            landing.scan = Some(judged);
            Err(Failure::Scan(refusal))
        }
        _ => Ok(()),
    }
}

/// Has a scan of the image begin, where the manifest asks for one and the provider has a scanner. Waits for nothing.
pub(super) async fn start(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    reference: &Reference,
) -> Result<Option<ScanTicket>, Failure> {
    let (Some(scan), Some(scanner)) = (&wish.scan, subject.provider.scanner()) else { return Ok(None) };
    if scan.asking == Asking::Look {
        return Ok(None);
    }
    let since = context.clock.now();
    let image = stored(reference)?;
    let ticket = evidence::begun(scanner, &image, since, scan.policy.deadline, context);
    context.unless_interrupted(ticket).await.map(Some)
}

/// Waits for the scan, lets the policy decide and stores what it said; an image that is refused is a
/// [`Failure::Scan`]. `scanning` is the scan where it was started already, by this process or an earlier one.
pub(super) async fn clear(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    journal: &mut Journal,
    reference: &Reference,
    scanning: Option<Scanning>,
    landing: &mut Landing,
) -> Result<(), Failure> {
    let judged = match &wish.scan {
        None => None,
        Some(scan) => {
            let scanning = match scanning {
                Some(scanning) => Some(scanning),
                None => start_late(subject, wish, context, reference, journal).await?,
            };
            let image = stored(reference)?;
            judged(subject, wish, scan, context, &image, scanning, landing).await?
        }
    };
    let Some(judged) = judged else {
        journal.append(context.clock.now(), Event::Cleared { verdict: None, scan: None }).await?;
        return Ok(());
    };
    landing.scan = Some(judged.clone());
    let (verdict, findings) = (judged.verdict.word(), judged.record.findings);
    context.tell(subject, progress::Event::Scanned { verdict, findings });
    match judged.verdict.passes() {
        None => Err(Failure::Scan(refusal(&judged))),
        word => {
            let scan = Some(Box::new(judged.record));
            journal.append(context.clock.now(), Event::Cleared { verdict: word, scan }).await?;
            Ok(())
        }
    }
}

/// Says what the stage would refuse, as far as that can be known without starting a scan or waiting for one.
pub(super) async fn foresee(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    digest: &Digest,
    landing: &mut Landing,
) -> Result<(), Failure> {
    let Some(scan) = &wish.scan else { return Ok(()) };
    let repository = subject.provider.registry().repository(&wish.repository)?;
    let image = StoredImage { repository, tag: wish.tag.clone(), digest: digest.clone() };
    match judged(subject, wish, scan, context, &image, None, landing).await? {
        Some(judged) if judged.verdict == Verdict::Refused => Err(Failure::Scan(refusal(&judged))),
        _ => Ok(()),
    }
}

/// The verdict, with its notes told; `None` where a scan would have to be started or waited for to know it, and only
/// looking was asked for.
async fn judged(
    subject: &Subject,
    wish: &Wish,
    scan: &ScanWish,
    context: &Context,
    image: &StoredImage,
    scanning: Option<Scanning>,
    landing: &mut Landing,
) -> Result<Option<Judged>, Failure> {
    let evidence = evidence_of(subject, scan, context, image, scanning, landing).await?;
    let Some(evidence) = evidence else { return Ok(None) };
    let before = before(subject, wish, scan, context).await?;
    let judged = decide(scan, &evidence, &before, context);
    landing.notes.extend(judged.notes.iter().cloned());
    Ok(Some(judged))
}

/// Starts the scan of a run whose earlier driver came as far as the push and no further, and stores its ticket.
async fn start_late(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    reference: &Reference,
    journal: &mut Journal,
) -> Result<Option<Scanning>, Failure> {
    let Some(ticket) = start(subject, wish, context, reference).await? else { return Ok(None) };
    let event = Event::Pushed { reference: reference.clone(), scan: Some(ticket.clone()) };
    let since = journal.append(context.clock.now(), event).await?.at;
    Ok(Some(Scanning { ticket, since }))
}

/// What is known of the image's findings; `None` where a scan would have to be started or waited for to know it, and
/// only looking was asked for.
async fn evidence_of(
    subject: &Subject,
    scan: &ScanWish,
    context: &Context,
    image: &StoredImage,
    scanning: Option<Scanning>,
    landing: &mut Landing,
) -> Result<Option<Evidence>, Failure> {
    let Some(scanner) = subject.provider.scanner() else {
        return Ok(Some(Evidence::Nothing(Absence::NoScanner)));
    };
    match (scan.asking, scanner.trigger(), scanning) {
        (Asking::Scan, _, Some(Scanning { ticket, since })) => {
            let reference = evidence::by_digest(image);
            context.tell(subject, progress::Event::Scanning { reference });
            let ended = evidence::ended(scanner, image, &ticket, since, scan.policy.deadline, context);
            context.unless_interrupted(ended).await.map(Some)
        }
        (Asking::Scan, _, None) => {
            evidence::known(scanner, image, scan.policy.deadline, context).await.map(Some)
        }
        (Asking::Look, ScanTrigger::Deposited, _) => {
            let found = evidence::glance(scanner, image).await?;
            if found.is_none() {
                landing.notes.push("scan: a report is being made; the scan would be waited for".to_owned());
            }
            Ok(found)
        }
        (Asking::Look, ScanTrigger::OnPush | ScanTrigger::OnDemand { .. }, _) => {
            landing.notes.push("scan: the image would be scanned before anything is published".to_owned());
            Ok(None)
        }
    }
}

/// What the policy says, and what somebody says who waives it.
pub(super) fn decide(scan: &ScanWish, evidence: &Evidence, before: &Before, context: &Context) -> Judged {
    let today = context.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let judged = judge(&scan.policy, evidence, before, today);
    match &scan.waiver {
        None => judged,
        Some(reason) => waive(judged, ScanWaiver { by: context.audit.by.clone(), reason: reason.clone() }),
    }
}

/// What is known of the live image, where the policy compares with it.
pub(super) async fn before(
    subject: &Subject,
    wish: &Wish,
    scan: &ScanWish,
    context: &Context,
) -> Result<Before, Failure> {
    let (News::OnlyNew, Some(scanner)) = (scan.policy.news, subject.provider.scanner()) else {
        return Ok(Before::Nothing);
    };
    let alias = Qualifier::Alias(subject.at.alias.clone());
    let live = subject.provider.functions().describe(&subject.at.function, &alias);
    let Some(live) = context.unless_interrupted(live).await? else { return Ok(Before::Nothing) };
    let not_scanned = |why: String| Before::Image(Evidence::Nothing(Absence::NotScanned { why }));
    let Some(digest) = live.digest else {
        return Ok(not_scanned("the cloud does not tell which image is live".to_owned()));
    };
    let repository = subject.provider.registry().repository(&wish.repository)?;
    let image = StoredImage { repository, tag: None, digest };
    let found = match scan.asking {
        Asking::Scan => evidence::known(scanner, &image, scan.policy.deadline, context).await.map(Some),
        Asking::Look => evidence::glance(scanner, &image).await,
    };
    match found {
        Ok(Some(evidence)) => Ok(Before::Image(evidence)),
        Ok(None) => Ok(not_scanned("its report is being made".to_owned())),
        // What is live may have come from another repository, or be gone from it.
        Err(Failure::Cloud(error)) if error.kind == ErrorKind::NotFound => Ok(not_scanned(error.to_string())),
        Err(failure) => Err(failure),
    }
}

/// A verdict's refusal.
pub(super) fn refusal(judged: &Judged) -> Refusal {
    let record = &judged.record;
    let refused = judged.verdict == Verdict::Refused && record.stopping > 0;
    Refusal {
        why: record.why.clone().unwrap_or_default(),
        worst: if refused { record.worst.clone() } else { Vec::new() },
        stopping: record.stopping,
    }
}

fn stored(reference: &Reference) -> Result<StoredImage, Failure> {
    StoredImage::of(reference).ok_or_else(|| {
        let message = "the ledger names an image without its digest";
        Error::new(ErrorKind::Unexpected, "scan", reference, message).into()
    })
}
