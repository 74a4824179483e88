//! The pipeline, from an image to an alias that sends it traffic.

use std::time::Duration;

use longshore_contract::{Config, Digest, Function, Platform, Qualifier, RunId, Severity, Tag, Version};

use super::facts;
use super::images::Taken;
use super::stages::{self, Stage};
use super::{Arrival, Context, Failure, Landed, Landing, Subject, none_open};
use crate::image::{self, Image, ImageSource};
use crate::ledger::{ConfigFacts, Event, History, Meant, Opened, Recalled, Step, Verb};
use crate::manifest::{ScanPolicy, Smoke};
use crate::progress;
use crate::publish::diff::differences;
use crate::shape::{Attestations, Order, Shaped};
use crate::shift::{ShiftSpec, Strategy, plan};

/// What the manifest asks of one function on one target.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Where the image comes from.
    pub source: ImageSource,
    /// The same as it was written.
    pub source_text: String,
    /// What relative paths in `source` are relative to.
    pub directory: std::path::PathBuf,
    /// What the image is to run on; the provider's first platform where the manifest states none.
    pub platform: Option<Platform>,
    /// Where the image goes, under the target's namespace.
    pub repository: String,
    /// A label for the image.
    pub tag: Option<Tag>,
    /// The configuration that is stated.
    pub config: Config,
    /// What a scan must say.
    pub scan: Option<ScanWish>,
    /// What the new version must answer before it gets traffic.
    pub smoke: Vec<Smoke>,
    /// The way to the new version.
    pub strategy: Strategy,
    /// Which capability the strategy needs and no provider offers yet.
    pub needs: Option<Needs>,
    /// How long the update and the version together may take to settle.
    pub patience: Duration,
}

impl Wish {
    /// What the ledger keeps of it: the names of what is stated and a digest of everything but the image and the way.
    pub(super) fn facts(&self, run: RunId) -> ConfigFacts {
        facts::of(self, run)
    }

    /// What the image is to run on there: what is stated, else what that cloud runs first.
    pub(super) fn platform_on(&self, subject: &Subject) -> Option<Platform> {
        let first = || subject.provider.capabilities().platforms.first().cloned();
        self.platform.clone().or_else(first)
    }

    /// The shares on the way, without the last one.
    pub(super) fn steps(&self) -> Vec<Step> {
        match &self.strategy {
            Strategy::AllAtOnce => Vec::new(),
            Strategy::Steps(steps) => steps.clone(),
        }
    }
}

/// What is asked of the scan stage.
#[derive(Debug, Clone)]
pub struct ScanWish {
    /// What a scan must say.
    pub policy: ScanPolicy,
    /// Whether one may be started.
    pub asking: Asking,
    /// Why the image may pass whatever the policy says, where somebody has said so.
    pub waiver: Option<String>,
}

/// Whether a scan may be started, which may cost money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// It may, and is waited for.
    Scan,
    /// Only what costs and changes nothing is done.
    Look,
}

/// A capability that a wish needs beyond splitting traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// A gate wants numbers.
    Metrics,
}

/// Brings `wish` about on `subject`: pushes the image, publishes a version, shifts the alias to it. Where it is live
/// already nothing is written. What was learned on the way is in `landing`, whatever comes of it.
pub async fn deploy(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    landing: &mut Landing,
) -> Result<Arrival, Failure> {
    context.may_begin()?;
    let image = tokio::select! {
        image = open_image(subject, wish, context, landing) => image?,
        () = context.interrupt.cancelled() => return Err(Failure::InterruptedBefore),
    };
    let (function, live, entries) = look(subject, landing).await?;
    let history = History::of(&entries);
    none_open(subject, &history, live.as_ref())?;
    if is_live(&image, wish, function.as_ref(), landing) {
        return Ok(Arrival::Unchanged);
    }
    preflight(subject, wish, live.as_ref(), context, &image.digest, landing).await?;
    context.may_begin()?;

    let mut journal = context.journal(subject, context.run, &entries);
    landing.run = Some(context.run);
    let opened = Opened {
        verb: Verb::Deploy,
        audit: context.audit.clone(),
        from: live.as_ref().map(|alias| alias.routing.clone()),
        image: Some(Meant { source: Some(wish.source_text.clone()), digest: image.digest.clone() }),
        config: Some(wish.facts(context.run)),
        steps: wish.steps(),
        plan: None,
        undoes: None,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
    };
    journal.append(context.clock.now(), Event::Opened(Box::new(opened.clone()))).await?;
    let stage =
        Stage { recalled: Recalled::fresh(context.run, opened), live: Some(live), image: Some(image) };
    stages::run(subject, Some(wish), context, &mut journal, stage, landing).await
}

/// Refuses an alias on which a run is open by its ledger; no cloud is asked.
pub async fn refuse_open(subject: &Subject) -> Result<(), Failure> {
    none_open(subject, &History::of(&subject.entries().await?), None)
}

/// Reads the image, picks the one for the function's platform and brings it into the shape that the target takes.
pub(super) async fn open_image(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    landing: &mut Landing,
) -> Result<Image, Failure> {
    let platform = wish.platform_on(subject);
    let around = image::Context {
        directory: wish.directory.clone(),
        platform: platform.clone(),
        world: context.world_of(subject),
    };
    let profile = subject.provider.profile();
    let taken = Taken {
        source: wish.source.clone(),
        directory: wish.directory.clone(),
        platform: platform.clone(),
        profile: profile.name,
    };
    let open = Box::pin(async {
        let image = image::open_for(wish.source.clone(), around).await?;
        let order = Order { profile, platform, attestations: Attestations::Drop };
        let Shaped { image, .. } = context.shaper.shape(image, &order).await?;
        Ok(image)
    });
    let image = context.images.opened(taken, open).await?;
    landing.image = Some(Landed {
        source: Some(wish.source_text.clone()),
        digest: image.digest.clone(),
        reference: None,
        source_digest: Some(image.source_digest.clone()),
        changed: image.changed.clone(),
    });
    let event = progress::Event::Image { digest: image.digest.clone(), size: image.size() };
    context.tell(subject, event);
    Ok(image)
}

type Found = (Option<Function>, Option<longshore_contract::Alias>, Vec<crate::ledger::Entry>);

/// Reads what is live and what the ledger knows, side by side.
pub(super) async fn look(subject: &Subject, landing: &mut Landing) -> Result<Found, Failure> {
    let functions = subject.provider.functions();
    let qualifier = Qualifier::Alias(subject.at.alias.clone());
    let (function, live, entries) = tokio::join!(
        functions.describe(&subject.at.function, &qualifier),
        functions.alias(&subject.at),
        subject.entries()
    );
    // What is live is told even where the ledger cannot be read.
    let live = live?;
    if let Some(alias) = &live {
        landing.from = Some(alias.routing.stable().clone());
        landing.routing = Some(alias.routing.clone());
    }
    let (function, entries) = (function?, entries?);
    Ok((function, live, entries))
}

/// Whether the alias sends all its traffic to a version with this image and the configuration that is stated.
fn is_live(image: &Image, wish: &Wish, function: Option<&Function>, landing: &mut Landing) -> bool {
    let Some(Function { version: Some(version), digest: Some(digest), config, .. }) = function else {
        return false;
    };
    let same = *digest == image.digest && differences(&wish.config, config).is_empty();
    if same {
        landing.to = Some(version.clone());
    }
    same
}

/// All that can be known to fail, before anything is written.
async fn preflight(
    subject: &Subject,
    wish: &Wish,
    live: Option<&longshore_contract::Alias>,
    context: &Context,
    digest: &Digest,
    landing: &mut Landing,
) -> Result<(), Failure> {
    plannable(subject, wish, live, context, Some(digest))?;
    super::clear::scannable(subject, wish, context, landing)?;
    match blocking(subject, landing).await?.into_iter().next() {
        Some(finding) => Err(finding),
        None => Ok(()),
    }
}

/// What the cloud finds in the way. What it finds and is not in the way is noted.
pub(super) async fn blocking(subject: &Subject, landing: &mut Landing) -> Result<Vec<Failure>, Failure> {
    let findings = subject.provider.preflight(&subject.at.function).await?;
    let (blocking, notices): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Blocking);
    landing.notes.extend(notices.into_iter().map(|finding| finding.message));
    Ok(blocking.into_iter().map(Failure::Blocked).collect())
}

/// Whether there will be a plan. Its refusals depend neither on the version's number nor on the digest, which may not be
/// known yet.
pub(super) fn plannable(
    subject: &Subject,
    wish: &Wish,
    live: Option<&longshore_contract::Alias>,
    context: &Context,
    digest: Option<&Digest>,
) -> Result<(), Failure> {
    if wish.needs == Some(Needs::Metrics) {
        return Err(Failure::Unsupported { what: "shift.gate", capability: "metrics" });
    }
    let spec = ShiftSpec {
        run: context.run,
        alias: subject.at.clone(),
        to: unknown_version(),
        digest: digest.cloned().unwrap_or_else(|| image::digest_of(b"")),
        strategy: wish.strategy.clone(),
    };
    plan(&spec, subject.provider.capabilities(), live)?;
    Ok(())
}

/// Stands for the number of a version that does not exist yet; clouds count from 1.
pub(super) fn unknown_version() -> Version {
    "0".parse().expect("a digit is a version")
}
