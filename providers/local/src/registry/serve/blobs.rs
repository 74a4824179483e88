//! Blobs that are there.

use std::io::{Seek as _, SeekFrom};
use std::sync::Arc;

use axum::body::Body;
use axum::response::IntoResponse as _;
use http::request::Parts;
use http::{Method, StatusCode, header};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::{Answer, text, with_headers};
use crate::registry::digest::ContentDigest;
use crate::registry::name::RepositoryPath;
use crate::registry::range::{Part, part};
use crate::registry::refusal::Refusal;
use crate::registry::{Registry, blocking};

/// How much of a blob is read at a time.
const READ: usize = 256 << 10;

pub(super) async fn get(
    registry: &Registry,
    name: RepositoryPath,
    digest: ContentDigest,
    request: &Parts,
) -> Answer {
    let range = text(&request.headers, header::RANGE).map(str::to_owned);
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
    if request.method != Method::HEAD && length > 0 {
        if start > 0 {
            file.seek(SeekFrom::Start(start))?;
        }
        let file = tokio::fs::File::from_std(file).take(length);
        *response.body_mut() = Body::from_stream(ReaderStream::with_capacity(file, READ));
    }
    Ok(response)
}

pub(super) async fn delete(registry: &Registry, name: RepositoryPath, digest: ContentDigest) -> Answer {
    let message = format!("{name} has no blob {digest}");
    let store = Arc::clone(&registry.store);
    let gone = blocking(move || store.remove_blob(&name, &digest)).await?;
    gone.then(|| StatusCode::ACCEPTED.into_response()).ok_or_else(|| Refusal::blob_unknown(message))
}
