//! The distribution API over HTTP.

use std::io::{Seek as _, SeekFrom};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use longshore_contract::Digest;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::document::Document;
use super::name::RepositoryPath;
use super::range::{Part, chunk, part};
use super::refusal::Refusal;
use super::route::{self, ManifestName, Subject};
use super::store::{Manifest, digest_of};
use super::upload::Upload;
use super::{MANIFEST_LIMIT, Registry, blocking};

/// How much of a blob is read at a time.
const READ: usize = 256 << 10;

type Answer = Result<Response, Refusal>;

pub(super) fn routes(registry: Registry) -> axum::Router {
    axum::Router::new()
        .route("/v2", any(handle))
        .route("/v2/", any(handle))
        .route("/v2/{*rest}", any(handle))
        .with_state(registry)
}

async fn handle(State(registry): State<Registry>, request: Request) -> Response {
    let mut response = answer(&registry, request).await.unwrap_or_else(Refusal::into_response);
    let version = HeaderName::from_static("docker-distribution-api-version");
    response.headers_mut().insert(version, HeaderValue::from_static("registry/2.0"));
    response
}

async fn answer(registry: &Registry, request: Request) -> Answer {
    let (request, body) = request.into_parts();
    // Container tools send no Origin, browsers always do: no page may fill this disk.
    if request.headers.contains_key(header::ORIGIN) {
        return Err(Refusal::denied("requests out of a browser are refused"));
    }
    match (route::subject(request.uri.path())?, request.method.clone()) {
        (Subject::Api, Method::GET | Method::HEAD) => Ok(axum::Json(json!({})).into_response()),
        (Subject::Blob(name, digest), Method::GET | Method::HEAD) => {
            get_blob(registry, name, digest, &request).await
        }
        (Subject::Blob(name, digest), Method::DELETE) => {
            let store = Arc::clone(&registry.store);
            let gone = blocking(move || store.remove_blob(&name, &digest)).await?;
            gone.then(|| StatusCode::ACCEPTED.into_response())
                .ok_or_else(|| Refusal::blob_unknown("no such blob"))
        }
        (Subject::Uploads(name), Method::POST) => post_upload(registry, name, &request, body).await,
        (Subject::Upload(name, id), Method::GET | Method::HEAD) => {
            let upload = registry.uploads.find(&name, &id)?;
            let length = upload.length().await?;
            Ok(with_headers(StatusCode::NO_CONTENT, upload.headers(length)))
        }
        (Subject::Upload(name, id), Method::PATCH) => {
            let upload = registry.uploads.find(&name, &id)?;
            let length = append(&upload, &request, body).await?;
            Ok(with_headers(StatusCode::ACCEPTED, upload.headers(length)))
        }
        (Subject::Upload(name, id), Method::PUT) => {
            let upload = registry.uploads.find(&name, &id)?;
            let digest = wanted_digest(&request)?;
            let digest = digest.ok_or_else(|| Refusal::digest_invalid("the request has no ?digest="))?;
            append(&upload, &request, body).await?;
            close(registry, &name, &upload, digest).await
        }
        (Subject::Upload(name, id), Method::DELETE) => {
            let upload = registry.uploads.find(&name, &id)?;
            registry.uploads.abandon(&upload);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        (Subject::Manifest(name, manifest), Method::GET | Method::HEAD) => {
            get_manifest(registry, name, manifest, &request).await
        }
        (Subject::Manifest(name, manifest), Method::PUT) => {
            put_manifest(registry, name, manifest, &request, body).await
        }
        (Subject::Manifest(name, manifest), Method::DELETE) => {
            let store = Arc::clone(&registry.store);
            let gone = blocking(move || match manifest {
                ManifestName::Digest(digest) => store.remove_manifest(&name, &digest),
                ManifestName::Tag(tag) => store.remove_tag(&name, &tag),
            });
            let gone = gone.await?;
            gone.then(|| StatusCode::ACCEPTED.into_response())
                .ok_or_else(|| Refusal::manifest_unknown("no such manifest or tag"))
        }
        (Subject::Tags(name), Method::GET) => get_tags(registry, name, &request).await,
        (_, method) => Err(Refusal::unsupported(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{method} is not part of the distribution API here"),
        )),
    }
}

async fn get_blob(registry: &Registry, name: RepositoryPath, digest: Digest, request: &Parts) -> Answer {
    let range = text(&request.headers, header::RANGE).map(str::to_owned);
    let head = request.method == Method::HEAD;
    let (store, wanted) = (Arc::clone(&registry.store), digest.clone());
    let message = format!("{name} has no blob {digest}");
    let found = blocking(move || store.blob(&name, &wanted)).await?;
    let (mut file, size) = found.ok_or_else(|| Refusal::blob_unknown(message))?;
    let (status, start, length) = match part(range.as_deref(), size) {
        Part::Unsatisfiable => return Err(Refusal::range(size)),
        Part::Bytes(bytes) => (StatusCode::PARTIAL_CONTENT, *bytes.start(), bytes.end() - bytes.start() + 1),
        Part::Whole => (StatusCode::OK, 0, size),
    };
    let mut headers = vec![
        ("content-type", "application/octet-stream".to_owned()),
        ("content-length", length.to_string()),
        ("docker-content-digest", digest.to_string()),
        ("accept-ranges", "bytes".to_owned()),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        headers.push(("content-range", format!("bytes {start}-{}/{size}", start + length - 1)));
    }
    let mut response = with_headers(status, headers);
    if !head && length > 0 {
        if start > 0 {
            file.seek(SeekFrom::Start(start))?;
        }
        let file = tokio::fs::File::from_std(file).take(length);
        *response.body_mut() = Body::from_stream(ReaderStream::with_capacity(file, READ));
    }
    Ok(response)
}

#[derive(Deserialize)]
struct UploadQuery {
    digest: Option<String>,
    mount: Option<String>,
    from: Option<String>,
}

async fn post_upload(registry: &Registry, name: RepositoryPath, request: &Parts, body: Body) -> Answer {
    let query: UploadQuery = query(request)?;
    if let Some(mount) = &query.mount {
        let digest = route::digest(mount)?;
        let from = query.from.as_deref().map(route::repository).transpose()?;
        let (store, into, wanted) = (Arc::clone(&registry.store), name.clone(), digest.clone());
        if blocking(move || store.mount(&into, &wanted, from.as_ref())).await? {
            return Ok(created(format!("/v2/{name}/blobs/{digest}"), &digest));
        }
    }
    let digest = query.digest.as_deref().map(route::digest).transpose()?;
    let upload = registry.uploads.begin(name.clone()).await?;
    let Some(digest) = digest else {
        return Ok(with_headers(StatusCode::ACCEPTED, upload.headers(0)));
    };
    let appended = append(&upload, request, body).await;
    if appended.is_err() {
        // Nobody was told of this upload, so nobody could go on with it.
        registry.uploads.abandon(&upload);
    }
    appended?;
    close(registry, &name, &upload, digest).await
}

/// Adds the request's body to the upload, which must be where its `Content-Range` says.
async fn append(upload: &Arc<Upload>, request: &Parts, body: Body) -> Result<u64, Refusal> {
    let stated = match text(&request.headers, header::CONTENT_RANGE) {
        Some(text) => {
            Some(chunk(text).ok_or_else(|| Refusal::upload_invalid("Content-Range is not FROM-TO"))?)
        }
        None => None,
    };
    let length: Option<u64> =
        text(&request.headers, header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    if let (Some(stated), Some(length)) = (&stated, length)
        && (stated.end() - stated.start()).checked_add(1) != Some(length)
    {
        return Err(Refusal::upload_invalid("Content-Range and Content-Length do not agree"));
    }
    upload.append(stated.map(|stated| *stated.start()), body).await
}

async fn close(registry: &Registry, name: &RepositoryPath, upload: &Upload, digest: Digest) -> Answer {
    registry.uploads.close(upload, digest.clone()).await?;
    Ok(created(format!("/v2/{name}/blobs/{digest}"), &digest))
}

async fn get_manifest(
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
        Ok::<_, std::io::Error>(store.manifest(&name, &digest)?.map(|manifest| (digest, manifest)))
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

async fn put_manifest(
    registry: &Registry,
    name: RepositoryPath,
    by: ManifestName,
    request: &Parts,
    body: Body,
) -> Answer {
    let content_type = text(&request.headers, header::CONTENT_TYPE).map(str::to_owned);
    let body = Limited::new(body, MANIFEST_LIMIT as usize).collect().await;
    let bytes = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => Refusal::too_large(format!("a manifest has at most {MANIFEST_LIMIT} bytes")),
        false => Refusal::manifest_invalid(format!("the body broke off: {error}")),
    })?;
    let bytes = bytes.to_bytes().to_vec();
    let digest = digest_of(&bytes);
    let tag = match by {
        ManifestName::Digest(wanted) if wanted != digest => {
            return Err(Refusal::digest_invalid(format!("the manifest's digest is {digest}, not {wanted}")));
        }
        ManifestName::Digest(_) => None,
        ManifestName::Tag(tag) => Some(tag),
    };
    let (document, media_type) =
        Document::read(content_type.as_deref(), &bytes).map_err(Refusal::manifest_invalid)?;
    let location = format!("/v2/{name}/manifests/{digest}");
    let (store, kept) = (Arc::clone(&registry.store), digest.clone());
    let manifest = Manifest { media_type, bytes };
    blocking(move || store.put_manifest(&name, &kept, tag.as_ref(), &document, &manifest)).await?;
    Ok(created(location, &digest))
}

#[derive(Deserialize)]
struct TagsQuery {
    n: Option<usize>,
    last: Option<String>,
}

async fn get_tags(registry: &Registry, name: RepositoryPath, request: &Parts) -> Answer {
    let query: TagsQuery = query(request)?;
    let (store, of) = (Arc::clone(&registry.store), name.clone());
    let found = blocking(move || store.tags(&of)).await?;
    let tags = found.ok_or_else(|| Refusal::name_unknown(format!("nothing was pushed to {name}")))?;
    let mut tags: Vec<&str> = tags.iter().map(longshore_contract::Tag::as_str).collect();
    if let Some(last) = &query.last {
        tags.retain(|tag| *tag > last.as_str());
    }
    let more = query.n.is_some_and(|n| n < tags.len());
    tags.truncate(query.n.unwrap_or(tags.len()));
    let mut response = axum::Json(json!({ "name": name.as_str(), "tags": tags })).into_response();
    if let (true, Some(last), Some(n)) = (more, tags.last(), query.n) {
        let link = format!("</v2/{name}/tags/list?n={n}&last={last}>; rel=\"next\"");
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

fn wanted_digest(request: &Parts) -> Result<Option<Digest>, Refusal> {
    let query: UploadQuery = query(request)?;
    query.digest.as_deref().map(route::digest).transpose()
}

fn query<T: serde::de::DeserializeOwned>(request: &Parts) -> Result<T, Refusal> {
    match Query::try_from_uri(&request.uri) {
        Ok(Query(query)) => Ok(query),
        Err(error) => Err(Refusal::unsupported(StatusCode::BAD_REQUEST, error.body_text())),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn created(location: String, digest: &Digest) -> Response {
    with_headers(StatusCode::CREATED, [("location", location), ("docker-content-digest", digest.to_string())])
}

fn with_headers(status: StatusCode, headers: impl IntoIterator<Item = (&'static str, String)>) -> Response {
    let mut response = status.into_response();
    for (name, value) in headers {
        // Each of these is made of digests, numbers and checked names; a media type was a header before.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
