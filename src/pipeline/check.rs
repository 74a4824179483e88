//! Looking for all that would make a deploy fail.

use super::deploy::{self, Wish};
use super::{Context, Failure, Landing, Subject, none_open};
use crate::ledger::History;

/// How far a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The image only.
    Offline,
    /// The cloud and the ledger are asked too.
    Cloud,
}

/// Everything that would make a deploy of `wish` on `subject` fail, as far as `depth` goes; empty when nothing was found.
/// Nothing is written.
pub async fn check(
    subject: &Subject,
    wish: &Wish,
    depth: Depth,
    context: &Context,
    landing: &mut Landing,
) -> Vec<Failure> {
    let mut found = Vec::new();
    let image =
        deploy::open_image(subject, wish, context, landing).await.map_err(|failure| found.push(failure));
    if depth == Depth::Cloud
        && let Err(failure) =
            ask(subject, wish, context, image.ok().map(|image| image.digest), landing, &mut found).await
    {
        found.push(failure);
    }
    found
}

async fn ask(
    subject: &Subject,
    wish: &Wish,
    context: &Context,
    digest: Option<longshore_contract::Digest>,
    landing: &mut Landing,
    found: &mut Vec<Failure>,
) -> Result<(), Failure> {
    let (_, live, entries) = deploy::look(subject, landing).await?;
    if let Err(failure) = none_open(subject, &History::of(&entries), live.as_ref()) {
        found.push(failure);
    } else if let Err(failure) = deploy::plannable(subject, wish, live.as_ref(), context, digest.as_ref()) {
        found.push(failure);
    }
    if let Some(digest) = &digest
        && let Err(failure) = super::clear::foresee(subject, wish, context, digest, landing).await
    {
        found.push(failure);
    }
    found.extend(deploy::blocking(subject, landing).await?);
    Ok(())
}
