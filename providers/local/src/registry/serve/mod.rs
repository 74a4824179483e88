//! The distribution API over HTTP: which part of it a request is about, and what answers have in common.

mod blobs;
mod lists;
mod manifests;
mod uploads;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::Registry;
use super::digest::ContentDigest;
use super::receive::Sending;
use super::refusal::Refusal;
use super::route::{self, Subject};

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
    let subject = route::subject(request.uri.path())?;
    let allowed = subject.allowed();
    let method = match request.method {
        // The server leaves the body out and says how long it would be.
        Method::HEAD => Method::GET,
        ref other => other.clone(),
    };
    match (subject, method) {
        (Subject::Api, Method::GET) => Ok(axum::Json(json!({})).into_response()),
        (Subject::Blob(name, digest), Method::GET) => blobs::get(registry, name, digest, &request).await,
        (Subject::Blob(name, digest), Method::DELETE) => blobs::delete(registry, name, digest).await,
        (Subject::Uploads(name), Method::POST) => uploads::post(registry, name, &request, body).await,
        (Subject::Upload(name, id), Method::GET) => uploads::get(registry, &name, &id).await,
        (Subject::Upload(name, id), Method::PATCH) => {
            uploads::patch(registry, &name, &id, &request, body).await
        }
        (Subject::Upload(name, id), Method::PUT) => uploads::put(registry, &name, &id, &request, body).await,
        (Subject::Upload(name, id), Method::DELETE) => uploads::delete(registry, &name, &id),
        (Subject::Manifest(name, manifest), Method::GET) => {
            manifests::get(registry, name, manifest, &request).await
        }
        (Subject::Manifest(name, manifest), Method::PUT) => {
            manifests::put(registry, name, manifest, &request, body).await
        }
        (Subject::Manifest(name, manifest), Method::DELETE) => {
            manifests::delete(registry, name, manifest).await
        }
        (Subject::Tags(name), Method::GET) => lists::tags(registry, name, &request).await,
        (Subject::Referrers(name, digest), Method::GET) => {
            lists::referrers(registry, name, digest, &request).await
        }
        _ => Err(Refusal::method(&request.method, allowed)),
    }
}

/// The parameters of a request, each as often and in the order it came.
fn parameters(request: &Parts) -> Result<Vec<(String, String)>, Refusal> {
    match Query::try_from_uri(&request.uri) {
        Ok(Query(parameters)) => Ok(parameters),
        Err(error) => Err(Refusal::unsupported(StatusCode::BAD_REQUEST, error.body_text())),
    }
}

/// The first value of a parameter.
fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// How long a request says that its body is.
fn length(request: &Parts) -> Option<u64> {
    text(&request.headers, header::CONTENT_LENGTH).and_then(|text| text.parse().ok())
}

/// When a request's client sends its body.
fn sending(request: &Parts) -> Sending {
    match request.headers.contains_key(header::EXPECT) {
        true => Sending::WhenTold,
        false => Sending::AtOnce,
    }
}

fn created(location: String, digest: &ContentDigest) -> Response {
    with_headers(StatusCode::CREATED, [("location", location), ("docker-content-digest", digest.to_string())])
}

fn with_headers(status: StatusCode, headers: impl IntoIterator<Item = (&'static str, String)>) -> Response {
    let mut response = (status, Body::empty()).into_response();
    for (name, value) in headers {
        // Each of these is made of digests, numbers and checked names; a media type was a header before.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
