//! Laws about scanners; a provider without one keeps them by having none.

use crate::conformance::Fixture;
use crate::conformance::care::persist;
use crate::scanner::{ScanProgress, ScanReport, ScanTicket, Scanner, StoredImage};

/// How often a scan is looked at before it is one that never ends.
const LOOKS: u32 = 600;

fn image(reference: &crate::registry::Reference) -> StoredImage {
    StoredImage::of(reference).expect("an image for a scanner has a digest")
}

async fn started(scanner: &dyn Scanner, image: &StoredImage) -> ScanTicket {
    persist!(scanner.start(image)).expect("a scan can be started")
}

/// What a scan comes to.
async fn ended(fixture: &dyn Fixture, scanner: &dyn Scanner, ticket: &ScanTicket) -> ScanProgress {
    for _ in 0..LOOKS {
        match persist!(scanner.poll(ticket)).expect("a scan can be looked at") {
            ScanProgress::Pending { look_again } => fixture.pause(look_again).await,
            over => return over,
        }
    }
    panic!("after {LOOKS} looks the scan was still pending")
}

async fn report(fixture: &dyn Fixture, scanner: &dyn Scanner, ticket: &ScanTicket) -> ScanReport {
    match ended(fixture, scanner, ticket).await {
        ScanProgress::Finished(report) => report,
        other => panic!("an image with a scan came to {other:?}"),
    }
}

pub(super) async fn a_scan_started_twice_is_one_scan(fixture: &dyn Fixture) {
    let (Some(scanner), Some(reference)) = (fixture.provider().scanner(), fixture.scanned().await) else {
        return;
    };
    let image = image(&reference);
    let first = started(scanner, &image).await;
    let joined = started(scanner, &image).await;
    let one = report(fixture, scanner, &first).await;
    let later = started(scanner, &image).await;
    for ticket in [joined, later] {
        let other = report(fixture, scanner, &ticket).await;
        assert_eq!(other.scanned, one.scanned, "the image was scanned twice");
        assert_eq!(other, one, "two tickets of one scan told two reports");
    }
}

pub(super) async fn a_report_names_the_digest_it_is_about(fixture: &dyn Fixture) {
    let (Some(scanner), Some(reference)) = (fixture.provider().scanner(), fixture.scanned().await) else {
        return;
    };
    let image = image(&reference);
    let ticket = started(scanner, &image).await;
    let report = report(fixture, scanner, &ticket).await;
    assert_eq!(report.digest, image.digest, "the report is about another image");
    assert!(!report.scanner.is_empty(), "the report does not say who made it");
    assert!(!report.findings.is_empty(), "the sample for scanners has findings");
    for finding in &report.findings {
        assert!(!finding.id.is_empty() && !finding.stated.is_empty(), "{finding:?}");
        assert!(finding.severity <= report.ceiling, "{finding:?} is above {}", report.ceiling);
    }
}

pub(super) async fn a_ticket_is_good_after_it_was_written_down(fixture: &dyn Fixture) {
    let (Some(scanner), Some(reference)) = (fixture.provider().scanner(), fixture.scanned().await) else {
        return;
    };
    let ticket = started(scanner, &image(&reference)).await;
    let text = serde_json::to_string(&ticket).expect("a ticket is JSON");
    assert!(text.len() <= 4096, "a ticket of {} bytes is no ticket", text.len());
    if let Some(secret) = fixture.secret() {
        assert!(!text.contains(&secret), "a secret is in the ticket");
    }
    let read: ScanTicket = serde_json::from_str(&text).expect("a ticket comes back");
    let (of_read, of_kept) = (report(fixture, scanner, &read).await, report(fixture, scanner, &ticket).await);
    assert_eq!(of_read, of_kept, "a ticket that was written down is another one");
}

pub(super) async fn an_image_without_a_scan_is_never_a_clean_one(fixture: &dyn Fixture) {
    let (Some(scanner), Some(reference)) = (fixture.provider().scanner(), fixture.unscanned().await) else {
        return;
    };
    let ticket = started(scanner, &image(&reference)).await;
    let over = ended(fixture, scanner, &ticket).await;
    let why = match &over {
        ScanProgress::Absent { why } | ScanProgress::Unscannable { why } | ScanProgress::Failed { why } => {
            why
        }
        other => panic!("an image without a scan came to {other:?}"),
    };
    assert!(!why.is_empty(), "{over:?} does not say why");
}
