//! Blobs on their way in.

use std::sync::Arc;

use axum::body::Body;
use http::request::Parts;
use http::{StatusCode, header};

use super::{Answer, created, length, parameter, parameters, sending, text, with_headers};
use crate::registry::digest::{Algorithm, ContentDigest};
use crate::registry::name::RepositoryPath;
use crate::registry::range::chunk;
use crate::registry::receive::Stated;
use crate::registry::refusal::Refusal;
use crate::registry::route;
use crate::registry::upload::Upload;
use crate::registry::{Registry, blocking};

/// Begins an upload; mounts or takes a blob at once where the request says so.
pub(super) async fn post(registry: &Registry, name: RepositoryPath, request: &Parts, body: Body) -> Answer {
    let query = parameters(request)?;
    let mount = parameter(&query, "mount").map(route::digest).transpose()?;
    if let Some(digest) = &mount {
        let from = parameter(&query, "from").map(route::repository).transpose()?;
        let (store, into, wanted) = (Arc::clone(&registry.store), name.clone(), digest.clone());
        if blocking(move || store.mount(&into, &wanted, from.as_ref())).await? {
            return Ok(created(format!("/v2/{name}/blobs/{digest}"), digest));
        }
    }
    let digest = parameter(&query, "digest").map(route::digest).transpose()?;
    let stated = parameter(&query, "digest-algorithm").map(str::parse).transpose();
    let stated = stated.map_err(Refusal::digest_invalid)?;
    let known = digest.as_ref().or(mount.as_ref()).map(ContentDigest::algorithm);
    let algorithm = known.or(stated).unwrap_or(Algorithm::Sha256);
    let upload = registry.uploads.begin(name.clone(), algorithm).await?;
    let Some(digest) = digest else {
        return Ok(with_headers(StatusCode::ACCEPTED, upload.headers(0)));
    };
    let appended = append(registry, &upload, request, body).await;
    if appended.is_err() {
        // Nobody was told of this upload, so nobody could go on with it.
        registry.uploads.abandon(&upload);
    }
    appended?;
    close(registry, &name, &upload, digest).await
}

/// Where an upload stands.
pub(super) async fn get(registry: &Registry, name: &RepositoryPath, id: &str) -> Answer {
    let upload = registry.uploads.find(name, id)?;
    let length = upload.length().await?;
    Ok(with_headers(StatusCode::NO_CONTENT, upload.headers(length)))
}

pub(super) async fn patch(
    registry: &Registry,
    name: &RepositoryPath,
    id: &str,
    request: &Parts,
    body: Body,
) -> Answer {
    let upload = registry.uploads.find(name, id)?;
    let length = append(registry, &upload, request, body).await?;
    Ok(with_headers(StatusCode::ACCEPTED, upload.headers(length)))
}

pub(super) async fn put(
    registry: &Registry,
    name: &RepositoryPath,
    id: &str,
    request: &Parts,
    body: Body,
) -> Answer {
    let upload = registry.uploads.find(name, id)?;
    let query = parameters(request)?;
    let digest = parameter(&query, "digest").map(route::digest).transpose()?;
    let digest = digest.ok_or_else(|| Refusal::digest_invalid("the request has no ?digest="))?;
    append(registry, &upload, request, body).await?;
    close(registry, name, &upload, digest).await
}

pub(super) fn delete(registry: &Registry, name: &RepositoryPath, id: &str) -> Answer {
    let upload = registry.uploads.find(name, id)?;
    registry.uploads.abandon(&upload);
    Ok(with_headers(StatusCode::NO_CONTENT, []))
}

/// Adds the request's body to the upload, which must be where its `Content-Range` says.
async fn append(
    registry: &Registry,
    upload: &Arc<Upload>,
    request: &Parts,
    body: Body,
) -> Result<u64, Refusal> {
    let stated = match text(&request.headers, header::CONTENT_RANGE) {
        Some(text) => {
            Some(chunk(text).ok_or_else(|| Refusal::upload_invalid("Content-Range is not FROM-TO"))?)
        }
        None => None,
    };
    let length = length(request);
    if let (Some(stated), Some(length)) = (&stated, length)
        && (stated.end() - stated.start()).checked_add(1) != Some(length)
    {
        return Err(Refusal::upload_invalid("Content-Range and Content-Length do not agree"));
    }
    let begins = stated.map(|stated| *stated.start());
    let stated = Stated { begins, length, sending: sending(request) };
    registry.uploads.append(upload, stated, body).await
}

async fn close(registry: &Registry, name: &RepositoryPath, upload: &Upload, digest: ContentDigest) -> Answer {
    registry.uploads.close(upload, digest.clone()).await?;
    Ok(created(format!("/v2/{name}/blobs/{digest}"), &digest))
}
