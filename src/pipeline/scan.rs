//! Judging images outside a deploy: those that would be deployed, or those that serve now.

use longshore_contract::{Digest, Function, Qualifier, Reference, Routing, StoredImage, Version};

use super::clear::{before, decide, refusal};
use super::deploy::{ScanWish, Wish, open_image};
use super::evidence::{by_digest, known};
use super::{Cloud, Context, Failure, Landing, Subject};
use crate::progress;
use crate::push::{self, Destination};
use crate::scan::{Absence, Before, Evidence, Judged, Verdict};

/// Which image of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that would be deployed.
    Meant,
    /// Whatever has traffic now; of a split, both.
    Live,
}

/// One image that was to be judged.
#[derive(Debug)]
pub struct Scanned {
    /// The version that runs it, where it was found by one.
    pub version: Option<Version>,
    /// Where it lies.
    pub reference: Reference,
    /// The verdict, also where the image is refused.
    pub judged: Option<Judged>,
    /// Why there is no verdict, or why it is a refusal.
    pub failure: Option<Failure>,
}

/// Judges the images of `subject` by the policy of `wish`, which must have one. Nothing is written; where the scanner scans on
/// demand, a scan is started or joined.
pub async fn scan(
    subject: &Subject,
    wish: &Wish,
    scan: &ScanWish,
    which: Which,
    context: &Context,
    landing: &mut Landing,
) -> Result<Vec<Scanned>, Failure> {
    context.may_begin()?;
    let images = match which {
        Which::Meant => vec![(None, meant(subject, wish, context, landing).await?)],
        Which::Live => live(subject, wish).await?,
    };
    let compared = match which {
        Which::Meant => before(subject, wish, scan, context).await?,
        // What is live brings nothing new: all of it counts.
        Which::Live => Before::Nothing,
    };
    let mut scanned = Vec::new();
    for (version, image) in images {
        let reference = by_digest(&image);
        let (judged, failure) = match one(subject, scan, &image, &compared, context).await {
            Ok(judged) if judged.verdict == Verdict::Refused => {
                let refusal = refusal(&judged);
                (Some(judged), Some(Failure::Scan(refusal)))
            }
            Ok(judged) => (Some(judged), None),
            Err(failure) => (None, Some(failure)),
        };
        scanned.push(Scanned { version, reference, judged, failure });
    }
    Ok(scanned)
}

async fn one(
    subject: &Subject,
    scan: &ScanWish,
    image: &StoredImage,
    compared: &Before,
    context: &Context,
) -> Result<Judged, Failure> {
    let evidence = match subject.provider.scanner() {
        Some(scanner) => known(scanner, image, scan.policy.deadline, context).await?,
        None => Evidence::Nothing(Absence::NoScanner),
    };
    let judged = decide(scan, &evidence, compared, context);
    let (verdict, findings) = (judged.verdict.word(), judged.record.findings);
    context.tell(subject, progress::Event::Scanned { verdict, findings });
    Ok(judged)
}

/// The image that would be deployed, which must be where it would be deployed from.
async fn meant(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    landing: &mut Landing,
) -> Result<StoredImage, Failure> {
    let digest = open_image(subject, wish, context, landing).await?.digest;
    let registry = subject.provider.registry();
    let repository = registry.repository(&wish.repository)?;
    let image = StoredImage { repository, tag: wish.tag.clone(), digest };
    let reference = by_digest(&image);
    if subject.cloud == Cloud::NotMade {
        return Err(Failure::NotPushed { reference });
    }
    let login = context.unless_interrupted(registry.login(&image.repository)).await?;
    let destination = Destination::with_login(reference.clone(), login);
    let there = push::holds(&context.registries, &destination, &image.digest, &subject.calls);
    if context.unless_interrupted(there).await? { Ok(image) } else { Err(Failure::NotPushed { reference }) }
}

/// The images of the versions that have traffic now.
async fn live(subject: &Subject, wish: &Wish) -> Result<Vec<(Option<Version>, StoredImage)>, Failure> {
    let functions = subject.provider.functions();
    let alias = functions.alias(&subject.at).await?;
    let alias = alias.ok_or_else(|| Failure::NoAlias { alias: subject.at.to_string() })?;
    let versions = match &alias.routing {
        Routing::All(version) => vec![version],
        Routing::Split { stable, canary, .. } => vec![stable, canary],
    };
    let repository = subject.provider.registry().repository(&wish.repository)?;
    let mut images = Vec::new();
    for version in versions {
        let at = Qualifier::Version(version.clone());
        let found = functions.describe(&subject.at.function, &at).await?;
        let digest: Option<Digest> = found.and_then(|Function { digest, .. }| digest);
        let digest = digest.ok_or_else(|| Failure::NoDigest { version: version.clone() })?;
        let image = StoredImage { repository: repository.clone(), tag: None, digest };
        images.push((Some(version.clone()), image));
    }
    Ok(images)
}
