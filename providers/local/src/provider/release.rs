//! Making a version: update, wait, publish. Each of the requests names the intent, so that one whose answer was lost can
//! be asked about, and sent again.

use std::time::{Duration, Instant};

use longshore_contract::{
    Digest, Error, ErrorKind, FunctionName, Intent, Published, Release, Result, State, failpoint,
};

use crate::control::wire::{HeadView, PublishBody, Settings, UpdateBody, VersionView, function_path};
use crate::provider::Local;
use crate::provider::client::NO_ANSWER;
use crate::provider::route::lost;

/// The first look is soon: an image that was unpacked before starts within milliseconds.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// Looks are no further apart than this.
const LONGEST_LOOK: Duration = Duration::from_millis(250);

const UPDATE: &str = "update";
const PUBLISH: &str = "publish";

/// What is left of a release's patience.
struct Patience {
    ends: Instant,
    look: Duration,
}

impl Patience {
    fn new(patience: Duration) -> Self {
        Self { ends: Instant::now() + patience, look: FIRST_LOOK }
    }

    /// Waits until the next look is due; an error when the patience is at its end.
    async fn wait(&mut self, operation: &'static str, name: &FunctionName) -> Result<()> {
        let left = self.ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message = "it has not come to its end in the time it was given; it may still";
            return Err(Error::new(ErrorKind::Busy, operation, name, message));
        }
        tokio::time::sleep(self.look.min(left)).await;
        self.look = (self.look * 2).min(LONGEST_LOOK);
        Ok(())
    }
}

impl Local {
    /// Makes a version, or finds the one that the same intent made before.
    pub(super) async fn make_version(&self, release: &Release) -> Result<Published> {
        let (spec, intent) = (&release.spec, release.intent);
        let digest = spec.image.digest.as_ref().ok_or_else(|| {
            let message = format!("{} names no digest: what is released is the digest", spec.image);
            Error::new(ErrorKind::Invalid, UPDATE, &spec.name, message)
        })?;
        self.check_platform(release)?;
        let settings = Settings::stated(&spec.config)
            .map_err(|wrong| Error::new(ErrorKind::Invalid, UPDATE, &spec.name, wrong))?;
        let body = UpdateBody {
            repository: spec.image.repository.path().to_owned(),
            digest: digest.clone(),
            platform: spec.platform.clone(),
            settings: Settings { runtime: Some(self.runtime), ..settings },
            intent,
        };
        let mut patience = Patience::new(release.patience);
        let head = self.settle_update(&spec.name, &body, &mut patience).await?;
        let version = match head.published {
            Some(version) => version,
            None => {
                let publish = PublishBody { intent, revision: head.revision };
                self.publish(&spec.name, &publish, &mut patience).await?
            }
        };
        self.settle_version(&spec.name, version, digest, &mut patience).await
    }

    fn check_platform(&self, release: &Release) -> Result<()> {
        let platform = &release.spec.platform;
        if !self.capabilities.platforms.iter().any(|host| platform.serves(host)) {
            let host = &self.capabilities.platforms[0];
            let message = format!("the image is for {platform}, this machine runs {host}");
            return Err(Error::new(ErrorKind::Invalid, UPDATE, &release.spec.name, message));
        }
        Ok(())
    }

    /// Updates the head and waits until the update is settled, or finds what the intent has published already.
    async fn settle_update(
        &self,
        name: &FunctionName,
        body: &UpdateBody,
        patience: &mut Patience,
    ) -> Result<HeadView> {
        let mut head = self.update(name, body, patience).await?;
        loop {
            if head.published.is_some() {
                return Ok(head);
            }
            if head.intent != Some(body.intent) {
                let message = "somebody else updated it before this update was published";
                return Err(Error::new(ErrorKind::Conflict, UPDATE, name, message));
            }
            match &head.state {
                State::Active => return Ok(head),
                State::Failed { why } => return Err(Error::new(ErrorKind::Failed, UPDATE, name, why)),
                State::Pending => patience.wait(UPDATE, name).await?,
            }
            head = match self.head(name, body.intent).await {
                Ok(head) => head,
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(error),
            };
        }
    }

    /// Sends the update until it is known to have been accepted.
    async fn update(
        &self,
        name: &FunctionName,
        body: &UpdateBody,
        patience: &mut Patience,
    ) -> Result<HeadView> {
        let mut unsure = None;
        loop {
            failpoint::hit("local.update.before");
            let sent = self.client.write("PUT", &function_path(name), body, UPDATE, name).await;
            let sent = sent.and_then(|head| {
                failpoint::answer("local.update").map_err(|_| lost(UPDATE, name)).map(|()| head)
            });
            let error = match sent {
                Ok(head) => return Ok(head),
                Err(error) => error,
            };
            if error.kind == ErrorKind::Indeterminate {
                if let Ok(head) = self.head(name, body.intent).await
                    && (head.published.is_some() || head.intent == Some(body.intent))
                {
                    return Ok(head);
                }
            } else if !is_passing(&error) {
                return Err(told(unsure, error));
            }
            // What went wrong is worth more than the news that time is over.
            if patience.wait(UPDATE, name).await.is_err() {
                return Err(told(unsure, error));
            }
            unsure = Some(error).filter(|error| error.kind == ErrorKind::Indeterminate).or(unsure);
        }
    }

    /// Sends the publish until it is known to have been accepted. A repeated intent answers with the same version.
    async fn publish(
        &self,
        name: &FunctionName,
        body: &PublishBody,
        patience: &mut Patience,
    ) -> Result<VersionView> {
        let path = format!("{}/versions", function_path(name));
        let mut unsure = None;
        loop {
            failpoint::hit("local.publish.before");
            let sent = self.client.write("POST", &path, body, PUBLISH, name).await;
            let sent = sent.and_then(|version| {
                failpoint::answer("local.publish").map_err(|_| lost(PUBLISH, name)).map(|()| version)
            });
            let error = match sent {
                Ok(version) => return Ok(version),
                Err(error) => error,
            };
            if error.kind == ErrorKind::Indeterminate {
                if let Ok(HeadView { published: Some(version), .. }) = self.head(name, body.intent).await {
                    return Ok(version);
                }
            } else if !is_passing(&error) {
                return Err(told(unsure, error));
            }
            if patience.wait(PUBLISH, name).await.is_err() {
                return Err(told(unsure, error));
            }
            unsure = Some(error).filter(|error| error.kind == ErrorKind::Indeterminate).or(unsure);
        }
    }

    /// Waits until the version serves, and checks that it is what was meant.
    async fn settle_version(
        &self,
        name: &FunctionName,
        mut version: VersionView,
        digest: &Digest,
        patience: &mut Patience,
    ) -> Result<Published> {
        let path = format!("{}/versions/{}", function_path(name), version.version);
        loop {
            match version.state {
                State::Active => break,
                State::Failed { why } => {
                    let message = format!("version {} does not start: {why}", version.version);
                    return Err(Error::new(ErrorKind::Failed, PUBLISH, name, message));
                }
                State::Pending => patience.wait(PUBLISH, name).await?,
            }
            version = match self.client.get(&path, PUBLISH, name).await {
                Ok(version) => version,
                Err(error) if is_passing(&error) => VersionView { state: State::Pending, ..version },
                Err(error) => return Err(error),
            };
        }
        if version.digest != *digest {
            let message = format!("version {} runs {}, not {digest}", version.version, version.digest);
            return Err(Error::new(ErrorKind::Failed, PUBLISH, name, message));
        }
        Ok(Published { version: version.version, digest: version.digest })
    }

    async fn head(&self, name: &FunctionName, intent: Intent) -> Result<HeadView> {
        self.client.get(&format!("{}/head?intent={intent}", function_path(name)), UPDATE, name).await
    }
}

/// Whether the same request will be fine later. A daemon that does not run is none of these: it will not start by itself.
fn is_passing(error: &Error) -> bool {
    match error.kind {
        ErrorKind::Busy | ErrorKind::Throttled { .. } => true,
        ErrorKind::Unavailable => error.code.as_deref() == Some(NO_ANSWER),
        _ => false,
    }
}

/// What to tell when `error` ends the attempts: when an earlier one may have been carried out, and nothing after it says
/// otherwise, that.
fn told(unsure: Option<Error>, error: Error) -> Error {
    match unsure {
        Some(unsure) if error.kind == ErrorKind::Unavailable => unsure,
        _ => error,
    }
}
