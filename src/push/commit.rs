//! Manifests: what a name stands for, and giving a name.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use longshore_contract::{Digest, Tag};
use longshore_wire::Body;

use super::plan::Commit;
use crate::image::digest_of;
use crate::registry::{
    Access, KnownRegistry, RegistryError, RegistryErrorKind, Target, accept_manifests, one_line,
};

const DIGEST_HEADER: &str = "docker-content-digest";
const MANIFEST_LIMIT: usize = 4 << 20;

/// The digest that `target` stands for; `None` when there is no such manifest or no such repository.
pub(super) async fn digest_at(access: &Access, target: &Target) -> Result<Option<Digest>, RegistryError> {
    let path = format!("manifests/{}", target.as_str());
    let doing = format!("look for manifest {}", target.as_str());
    let request = accept_manifests(access.request("look for manifest", Method::HEAD, &path).await?);
    let answer = access.send(request).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        _ => return Err(access.refused(&doing, answer).await),
    }
    if let Some(stated) = answer.header(DIGEST_HEADER) {
        // A digest of another kind is no digest of ours: then the bytes decide.
        if let Ok(digest) = stated.parse() {
            return Ok(Some(digest));
        }
    }
    let request = accept_manifests(access.request("read manifest", Method::GET, &path).await?);
    let answer = access.send(request).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        _ => return Err(access.refused(&doing, answer).await),
    }
    let bytes = answer.read_up_to(MANIFEST_LIMIT).await;
    let bytes = bytes.map_err(|error| access.broken(error))?;
    Ok(Some(digest_of(&bytes)))
}

/// Sends one manifest, verbatim. `held` is what its tag named before.
pub(super) async fn send(
    access: &Access,
    commit: &Commit,
    held: Option<&Digest>,
) -> Result<(), RegistryError> {
    let Commit { digest, target, media_type, bytes } = commit;
    let doing = format!("send manifest {}", target.as_str());
    let content_type = HeaderValue::try_from(media_type.as_str()).map_err(|_| {
        access.error(RegistryErrorKind::Image, format!("{doing}: its media type does not fit into a header"))
    })?;
    let path = format!("manifests/{}", target.as_str());
    let request = access
        .request("send manifest", Method::PUT, &path)
        .await?
        .header(CONTENT_TYPE, content_type)
        .body(Body::Bytes(bytes.clone()));
    let answer = access.send(request).await?;
    if !answer.status().is_success() {
        let refusal = access.refused(&doing, answer).await;
        if refusal.errors.iter().any(|error| error.code.ends_with("BLOB_UNKNOWN")) {
            access.session().lacks(access.repository().path());
        }
        return match target {
            Target::Tag(tag) if tag_may_be_fixed(&refusal, access.session().known()) => {
                fixed(access, commit, tag, held, refusal).await
            }
            _ => Err(refusal),
        };
    }
    if let Some(stated) = answer.header(DIGEST_HEADER).filter(|stated| *stated != digest.as_str()) {
        let stated = one_line(stated.as_bytes());
        let message = format!("{doing}: the registry says it took {stated}, and {digest} was sent");
        return Err(access.error(RegistryErrorKind::DigestMismatch, message));
    }
    Ok(())
}

/// What a tag that may not move means: somebody may have given it to the same image meanwhile, and then all is well.
async fn fixed(
    access: &Access,
    commit: &Commit,
    tag: &Tag,
    held: Option<&Digest>,
    refusal: RegistryError,
) -> Result<(), RegistryError> {
    let digest = &commit.digest;
    let now = digest_at(access, &commit.target).await?;
    match now.as_ref().or(held) {
        Some(now) if now == digest => Ok(()),
        Some(now) => Err(RegistryError {
            kind: RegistryErrorKind::TagTaken,
            message: format!(
                "the tag {tag} names {now} and the registry does not let it move to {digest} ({})",
                refusal.message
            ),
            hint: Some("push under another tag".to_owned()),
            ..refusal
        }),
        None => Err(refusal),
    }
}

/// Whether the refusal of a manifest may be because its tag names another one.
fn tag_may_be_fixed(refusal: &RegistryError, known: &KnownRegistry) -> bool {
    let speaks_of_it = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.contains("immutable") || text.contains("already exists") || text.contains("overwrite")
    };
    matches!(refusal.kind, RegistryErrorKind::Refused | RegistryErrorKind::Denied)
        && refusal.errors.iter().any(|error| {
            known.fixed_tag_codes.contains(&error.code.as_str())
                || speaks_of_it(&error.code)
                || speaks_of_it(&error.message)
        })
}

/// Asks for the manifest by its digest: only this shows that it is there.
pub(super) async fn prove(access: &Access, digest: &Digest) -> Result<(), RegistryError> {
    match digest_at(access, &Target::Digest(digest.clone())).await? {
        Some(found) if found == *digest => Ok(()),
        Some(found) => {
            let message = format!("asked for {digest} the registry answers with {found}");
            Err(access.error(RegistryErrorKind::DigestMismatch, message))
        }
        None => {
            let message = format!("the registry took {digest} and does not have it");
            Err(access.error(RegistryErrorKind::Protocol, message))
        }
    }
}
