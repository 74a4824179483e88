//! What is in a repository.

use std::sync::Arc;

use axum::body::Body;
use axum::response::IntoResponse as _;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::{Answer, parameter, parameters, with_headers};
use crate::registry::digest::ContentDigest;
use crate::registry::document::OCI_INDEX;
use crate::registry::name::RepositoryPath;
use crate::registry::referrers::{Query, referrers as referrers_of};
use crate::registry::refusal::Refusal;
use crate::registry::route;
use crate::registry::{Registry, blocking};

/// The tags in the order of their bytes, `n` of them where that is asked for, behind `last` where that is.
pub(super) async fn tags(registry: &Registry, name: RepositoryPath, request: &Parts) -> Answer {
    let query = parameters(request)?;
    let most = parameter(&query, "n").map(str::parse::<usize>).transpose();
    let most = most.map_err(|_| Refusal::unsupported(StatusCode::BAD_REQUEST, "n is not a number"))?;
    let (store, of) = (Arc::clone(&registry.store), name.clone());
    let found = blocking(move || match store.has_repository(&of)? {
        true => store.tags(&of).map(Some),
        false => Ok(None),
    });
    let tags = found.await?.ok_or_else(|| Refusal::name_unknown(format!("nothing was pushed to {name}")))?;
    let mut tags: Vec<&str> = tags.iter().map(longshore_contract::Tag::as_str).collect();
    if let Some(last) = parameter(&query, "last") {
        tags.retain(|tag| *tag > last);
    }
    let more = most.is_some_and(|most| most < tags.len());
    tags.truncate(most.unwrap_or(tags.len()));
    let mut response = axum::Json(json!({ "name": name.as_str(), "tags": tags })).into_response();
    if let (true, Some(last), Some(most)) = (more, tags.last(), most) {
        let link = format!("</v2/{name}/tags/list?n={most}&last={last}>; rel=\"next\"");
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

/// The manifests that say they are about `subject`, which need not be there itself, nor need the repository.
pub(super) async fn referrers(
    registry: &Registry,
    name: RepositoryPath,
    subject: ContentDigest,
    request: &Parts,
) -> Answer {
    let query = parameters(request)?;
    // A media type has no spaces: what reads as one was a plus that the client did not escape.
    let artifact_type = parameter(&query, "artifactType").map(|kind| kind.replace(' ', "+"));
    let last = parameter(&query, "last").map(route::digest).transpose()?;
    let asked = Query { subject, artifact_type, last };
    let filter = asked.artifact_type.clone();
    let mut next = format!("/v2/{name}/referrers/{}?last=", asked.subject);
    let store = Arc::clone(&registry.store);
    let page = blocking(move || referrers_of(&store, &name, &asked)).await?;
    let mut headers = vec![("content-type", OCI_INDEX.to_owned())];
    if let Some(last) = page.last {
        next.push_str(&last.to_string());
        if let Some(filter) = &filter {
            let filter = url_escaped(filter);
            next.push_str(&format!("&artifactType={filter}"));
        }
        headers.push(("link", format!("<{next}>; rel=\"next\"")));
    }
    if filter.is_some() {
        headers.push(("oci-filters-applied", "artifactType".to_owned()));
    }
    let mut response = with_headers(StatusCode::OK, headers);
    *response.body_mut() = Body::from(page.index);
    Ok(response)
}

/// `text` as it stands in a query.
fn url_escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
