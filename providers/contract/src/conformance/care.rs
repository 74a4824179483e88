//! Asking a cloud the way [`Disposition`] says, so that a law holds in any weather or is broken.

use std::time::Duration;

use crate::config::Config;
use crate::conformance::{Fixture, Sample};
use crate::error::{Disposition, Error, ErrorKind, Result};
use crate::functions::{Alias, AliasWrite, Expect, FunctionSpec, Published, Release};
use crate::intent::{Intent, RunId};
use crate::names::{AliasRef, FunctionName, Platform, Version};
use crate::note::Note;
use crate::routing::Routing;

/// How often a request is sent before the weather is too bad for a trial.
const ATTEMPTS: u32 = 50;

/// Longer than any update of a sample takes anywhere.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sends a request that may be repeated until it is answered or refused for good.
macro_rules! persist {
    ($request:expr) => {{
        let mut attempts = 0;
        loop {
            match $request.await {
                Err(error) if $crate::conformance::care::may_repeat(&error, &mut attempts) => {}
                result => break result,
            }
        }
    }};
}
pub(super) use persist;

/// Whether a request that changes nothing, or changes the same when it is repeated, is to be sent again.
pub(super) fn may_repeat(error: &Error, attempts: &mut u32) -> bool {
    *attempts += 1;
    let passing = match error.disposition() {
        Disposition::Retry { .. } => true,
        Disposition::LookFirst => error.kind == ErrorKind::Indeterminate,
        Disposition::Stop => false,
    };
    assert!(
        !passing || *attempts < ATTEMPTS,
        "the same request was refused {ATTEMPTS} times, at last with: {error}"
    );
    passing
}

/// An intent that nothing else has.
pub(super) fn fresh_intent() -> Intent {
    Intent { run: RunId::generate(), step: 0 }
}

/// An order for a version of `sample` with `config`.
pub(super) async fn order(
    fixture: &dyn Fixture,
    name: &FunctionName,
    sample: Sample,
    intent: Intent,
    config: Config,
) -> Release {
    let image = fixture.image(sample).await;
    let platforms = &fixture.provider().capabilities().platforms;
    let platform = platforms.first().cloned().unwrap_or_else(Platform::host);
    let spec = FunctionSpec { name: name.clone(), image, platform, config };
    Release { spec, intent, patience: PATIENCE }
}

/// Makes a version, repeating the same intent for as long as the weather asks for it.
pub(super) async fn release(fixture: &dyn Fixture, order: &Release) -> Result<Published> {
    persist!(fixture.provider().functions().release(order))
}

/// A new version of `sample`.
pub(super) async fn version(fixture: &dyn Fixture, name: &FunctionName, sample: Sample) -> Version {
    let order = order(fixture, name, sample, fresh_intent(), Config::default()).await;
    release(fixture, &order).await.expect("a sample can be released").version
}

/// The alias as it is.
pub(super) async fn read(fixture: &dyn Fixture, at: &AliasRef) -> Option<Alias> {
    persist!(fixture.provider().functions().alias(at)).expect("an alias can be read")
}

/// Writes an alias: again only when nothing happened.
pub(super) async fn until_sent(fixture: &dyn Fixture, at: &AliasRef, write: &AliasWrite) -> Result<Alias> {
    let mut attempts = 0;
    loop {
        match fixture.provider().functions().route(at, write).await {
            Err(error) if error.kind != ErrorKind::Indeterminate && may_repeat(&error, &mut attempts) => {}
            result => return result,
        }
    }
}

/// Writes an alias: again when nothing happened; after a look, and only if the look says so, when it may have happened.
pub(super) async fn route(fixture: &dyn Fixture, at: &AliasRef, write: &AliasWrite) -> Result<Alias> {
    let mut attempts = 0;
    loop {
        let error = match fixture.provider().functions().route(at, write).await {
            Ok(alias) => return Ok(alias),
            Err(error) => error,
        };
        if !may_repeat(&error, &mut attempts) {
            return Err(error);
        }
        if error.kind == ErrorKind::Indeterminate {
            let found = read(fixture, at).await;
            let untouched = match (&write.expect, &found) {
                (Expect::Absent, None) => true,
                (Expect::Revision(expected), Some(found)) => *expected == found.revision,
                _ => false,
            };
            match found {
                Some(found) if found.routing == write.routing && found.note == write.note => {
                    return Ok(found);
                }
                _ if untouched => {}
                _ => {
                    let message = "a look after a lost answer found the writing of somebody else";
                    return Err(Error::new(ErrorKind::Conflict, error.operation, at, message));
                }
            }
        }
    }
}

/// The alias `live` of a function.
pub(super) fn live(name: &FunctionName) -> AliasRef {
    AliasRef { function: name.clone(), alias: "live".parse().expect("a name") }
}

/// A write without a note.
pub(super) fn write(routing: Routing, expect: Expect) -> AliasWrite {
    AliasWrite { routing, expect, note: Note::default() }
}

/// A function with two versions and an alias that sends everything to the first.
pub(super) struct Ready {
    /// The alias.
    pub(super) at: AliasRef,
    /// Where all of its traffic goes.
    pub(super) first: Version,
    /// The other version.
    pub(super) second: Version,
    /// The alias as it was made.
    pub(super) alias: Alias,
}

/// Makes one.
pub(super) async fn ready(fixture: &dyn Fixture) -> Ready {
    let name = fixture.fresh_name();
    let first = version(fixture, &name, Sample::First).await;
    let second = version(fixture, &name, Sample::Second).await;
    let at = live(&name);
    let alias = route(fixture, &at, &write(Routing::All(first.clone()), Expect::Absent)).await;
    Ready { at, first, second, alias: alias.expect("an alias can be made") }
}
