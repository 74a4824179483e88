//! Manifests and the tags that name them.
//!
//! A manifest is answered as it was pushed, whatever the request accepts: other registries convert old kinds into each
//! other, and what arrives then has another digest than what was asked for.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::IntoResponse as _;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use longshore_contract::Tag;

use super::{Answer, created, length, parameters, sending, text, with_headers};
use crate::registry::digest::{Algorithm, ContentDigest};
use crate::registry::document::Document;
use crate::registry::name::RepositoryPath;
use crate::registry::receive::{Stated, drain};
use crate::registry::refusal::Refusal;
use crate::registry::route::ManifestName;
use crate::registry::store::Manifest;
use crate::registry::{MANIFEST_LIMIT, Registry, blocking};

/// How many tags one push may set.
const MOST_TAGS: usize = 100;

pub(super) async fn get(
    registry: &Registry,
    name: RepositoryPath,
    by: ManifestName,
    request: &Parts,
) -> Answer {
    let message = match &by {
        ManifestName::Digest(digest) => format!("{name} has no manifest {digest}"),
        ManifestName::Tag(tag) => format!("{name} has no tag {tag}"),
    };
    let store = Arc::clone(&registry.store);
    let found = blocking(move || {
        let digest = match by {
            ManifestName::Digest(digest) => Some(digest),
            ManifestName::Tag(tag) => store.tag(&name, &tag)?,
        };
        let Some(digest) = digest else { return Ok(None) };
        Ok::<_, io::Error>(store.manifest(&name, &digest)?.map(|manifest| (digest, manifest)))
    });
    let (digest, manifest) = found.await?.ok_or_else(|| Refusal::manifest_unknown(message))?;
    let headers = [
        ("content-type", manifest.media_type),
        ("content-length", manifest.bytes.len().to_string()),
        ("docker-content-digest", digest.to_string()),
    ];
    let mut response = with_headers(StatusCode::OK, headers);
    if request.method != Method::HEAD {
        *response.body_mut() = Body::from(manifest.bytes);
    }
    Ok(response)
}

pub(super) async fn put(
    registry: &Registry,
    name: RepositoryPath,
    by: ManifestName,
    request: &Parts,
    mut body: Body,
) -> Answer {
    let content_type = text(&request.headers, header::CONTENT_TYPE).map(str::to_owned);
    let mut tags = tags(request)?;
    let bytes = match Limited::new(&mut body, MANIFEST_LIMIT as usize).collect().await {
        Ok(bytes) => bytes.to_bytes().to_vec(),
        Err(error) if error.is::<LengthLimitError>() => {
            let stated = Stated { begins: None, length: length(request), sending: sending(request) };
            drain(&mut body, &stated).await;
            return Err(Refusal::too_large(format!("a manifest has at most {MANIFEST_LIMIT} bytes")));
        }
        Err(error) => return Err(Refusal::manifest_invalid(format!("the body broke off: {error}"))),
    };
    let digest = match by {
        ManifestName::Digest(wanted) => {
            let digest = ContentDigest::of(wanted.algorithm(), &bytes);
            if digest != wanted {
                let message = format!("the manifest's digest is {digest}, not {wanted}");
                return Err(Refusal::digest_invalid(message));
            }
            digest
        }
        ManifestName::Tag(tag) => {
            // The specification has further tags pushed by digest only.
            tags = vec![tag];
            ContentDigest::of(Algorithm::Sha256, &bytes)
        }
    };
    let (document, media_type) =
        Document::read(content_type.as_deref(), &bytes).map_err(Refusal::manifest_invalid)?;
    let subject = document.subject.clone();
    let mut response = created(format!("/v2/{name}/manifests/{digest}"), &digest);
    if !tags.is_empty() {
        // In one header: some clients take no more than a hundred.
        let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        set(&mut response, "oci-tag", &tags.join(", "));
    }
    let store = Arc::clone(&registry.store);
    let manifest = Manifest { media_type, bytes };
    blocking(move || store.put_manifest(&name, &digest, &tags, &document, &manifest)).await?;
    if let Some(subject) = subject {
        set(&mut response, "oci-subject", &subject.to_string());
    }
    Ok(response)
}

pub(super) async fn delete(registry: &Registry, name: RepositoryPath, by: ManifestName) -> Answer {
    let store = Arc::clone(&registry.store);
    let gone = blocking(move || match by {
        ManifestName::Digest(digest) => store.remove_manifest(&name, &digest),
        ManifestName::Tag(tag) => store.remove_tag(&name, &tag),
    });
    let gone = gone.await?;
    gone.then(|| StatusCode::ACCEPTED.into_response())
        .ok_or_else(|| Refusal::manifest_unknown("no such manifest or tag"))
}

/// The tags that a push by digest is to set.
fn tags(request: &Parts) -> Result<Vec<Tag>, Refusal> {
    let parameters = parameters(request)?;
    let tags: Vec<&str> =
        parameters.iter().filter(|(key, _)| key == "tag").map(|(_, value)| value.as_str()).collect();
    if tags.len() > MOST_TAGS {
        return Err(Refusal::too_many_tags(format!("one push sets at most {MOST_TAGS} tags")));
    }
    tags.into_iter().map(|tag| tag.parse().map_err(Refusal::manifest_invalid)).collect()
}

/// Adds a header made of a checked name.
fn set(response: &mut axum::response::Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
