//! Asking a scanner until it knows: a scan is started or joined, looked at until it is over, and given up at its deadline.

use std::time::Duration;

use jiff::Timestamp;
use longshore_contract::{
    Disposition, Error, ErrorKind, Reference, ScanProgress, ScanTicket, Scanner, StoredImage,
};

use super::{Context, Failure};
use crate::scan::{self, Absence, Evidence, Next};

/// How long to wait before a scanner that gave no usable answer is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// What is known of the image's findings at once; `None` where its scan is under way.
pub(super) async fn glance(scanner: &dyn Scanner, image: &StoredImage) -> Result<Option<Evidence>, Failure> {
    let ticket = scanner.start(image).await?;
    Ok(evidence(scanner.poll(&ticket).await?, image)?.ok())
}

/// What is known of the image's findings, after starting or joining its scan and waiting for it.
pub(super) async fn known(
    scanner: &dyn Scanner,
    image: &StoredImage,
    deadline: Duration,
    context: &Context,
) -> Result<Evidence, Failure> {
    let since = context.clock.now();
    let work = async {
        let ticket = begun(scanner, image, since, deadline, context).await?;
        ended(scanner, image, &ticket, since, deadline, context).await
    };
    context.unless_interrupted(work).await
}

/// Starts a scan; a scanner that gives no usable answer is asked again until the scan's time is over, because a scan
/// that is started twice is one.
pub(super) async fn begun(
    scanner: &dyn Scanner,
    image: &StoredImage,
    since: Timestamp,
    deadline: Duration,
    context: &Context,
) -> Result<ScanTicket, Failure> {
    loop {
        match scanner.start(image).await {
            Ok(ticket) => return Ok(ticket),
            Err(error) => wait_out(error, since, deadline, context).await?,
        }
    }
}

/// What a scan that was started at `since` comes to, looked at until its time is over.
pub(super) async fn ended(
    scanner: &dyn Scanner,
    image: &StoredImage,
    ticket: &ScanTicket,
    since: Timestamp,
    deadline: Duration,
    context: &Context,
) -> Result<Evidence, Failure> {
    loop {
        let pause = match scanner.poll(ticket).await {
            Ok(progress) => match evidence(progress, image)? {
                Ok(evidence) => return Ok(evidence),
                Err(pause) => pause,
            },
            Err(error) => {
                wait_out(error, since, deadline, context).await?;
                continue;
            }
        };
        match scan::next(since, deadline, context.clock.now(), pause) {
            Next::Look(then) => context.clock.sleep_until(then).await,
            Next::GiveUp => return Ok(Evidence::Nothing(Absence::TooLate { deadline })),
        }
    }
}

/// Waits after an error that allows another try; hands on every other one, and the last when the time is over.
async fn wait_out(
    error: Error,
    since: Timestamp,
    deadline: Duration,
    context: &Context,
) -> Result<(), Failure> {
    let pause = match error.disposition() {
        Disposition::Retry { after } => after.unwrap_or(AGAIN),
        // Starting and looking are both safe to repeat.
        Disposition::LookFirst if error.kind == ErrorKind::Indeterminate => AGAIN,
        Disposition::LookFirst | Disposition::Stop => return Err(error.into()),
    };
    match scan::next(since, deadline, context.clock.now(), pause) {
        Next::Look(then) => {
            context.clock.sleep_until(then).await;
            Ok(())
        }
        Next::GiveUp => Err(error.into()),
    }
}

/// What a scan's progress says of the image's findings; `Err` with a pause where it is not over.
fn evidence(progress: ScanProgress, image: &StoredImage) -> Result<Result<Evidence, Duration>, Failure> {
    Ok(Ok(match progress {
        ScanProgress::Pending { look_again } => return Ok(Err(look_again)),
        ScanProgress::Finished(report) if report.digest == image.digest => Evidence::Report(report),
        ScanProgress::Finished(report) => {
            let message = format!("{} handed out a report about {}", report.scanner, report.digest);
            return Err(Error::new(ErrorKind::Unexpected, "scan", by_digest(image), message).into());
        }
        ScanProgress::Absent { why } => Evidence::Nothing(Absence::NotScanned { why }),
        ScanProgress::Unscannable { why } => Evidence::Nothing(Absence::Unscannable { why }),
        ScanProgress::Failed { why } => Evidence::Nothing(Absence::Failed { why }),
    }))
}

/// The image by its digest.
pub(super) fn by_digest(image: &StoredImage) -> Reference {
    Reference { repository: image.repository.clone(), tag: None, digest: Some(image.digest.clone()) }
}
