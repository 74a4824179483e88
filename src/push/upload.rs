//! An upload: begun, or spared because the registry takes the blob over from another repository; and ended when nothing
//! comes of it.

use std::time::Duration;

use http::header::LOCATION;
use http::{Method, StatusCode};
use longshore_contract::Digest;
use longshore_wire::{Answer, Repeats, Request, Trust};
use url::Url;

use crate::registry::{Access, RegistryError, RegistryErrorKind, missing};

/// What came of asking for an upload.
pub(super) enum Begun {
    /// The registry has taken the blob over from another repository.
    Mounted,
    /// It waits for the bytes.
    Open(Box<Upload>),
}

/// An upload that is open. Dropped before it is [`finished`](Upload::finished), the registry is told to forget it, in a
/// task of its own.
pub(super) struct Upload {
    access: Access,
    url: Url,
    host: Host,
    open: bool,
}

/// Whose the place of an upload is: another host gets no credentials of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    Registry,
    Other,
}

/// How long a registry may take to forget an upload.
const FORGETTING: Duration = Duration::from_secs(2);

/// Begins an upload of `digest`, or has it taken over from the repository `from` of the same registry. A registry that
/// does not take it over, for whatever reason, is sent the bytes.
pub(super) async fn begin(
    access: &Access,
    digest: &Digest,
    from: Option<&str>,
) -> Result<Begun, RegistryError> {
    if let Some(from) = from
        && let Some(answer) = mount(access, digest, from).await
    {
        match answer.status() {
            StatusCode::CREATED => return Ok(Begun::Mounted),
            StatusCode::ACCEPTED => return Ok(Begun::Open(Box::new(Upload::at(access, &answer, digest)?))),
            status => tracing::debug!(%status, from, "a blob was not taken over"),
        }
    }
    let opened = access.send(access.request("begin upload", Method::POST, "blobs/uploads/").await?).await?;
    match opened.status() {
        StatusCode::ACCEPTED => Ok(Begun::Open(Box::new(Upload::at(access, &opened, digest)?))),
        StatusCode::NOT_FOUND => {
            let mut error = access.refused("begin upload", opened).await;
            if error.kind == RegistryErrorKind::Refused {
                error.kind = RegistryErrorKind::RepositoryMissing;
                let hint = missing(&error.errand);
                error = error.hint(hint);
            }
            Err(error)
        }
        status if status.is_success() => {
            let message = format!("begin upload: the registry answered {status} and no place to send to");
            Err(access.error(RegistryErrorKind::Protocol, message))
        }
        _ => Err(access.refused("begin upload", opened).await),
    }
}

/// Asks once: what a registry thinks of mounts must not keep an image from its place.
async fn mount(access: &Access, digest: &Digest, from: &str) -> Option<Answer> {
    let access = access.reading_also(from);
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("mount", digest.as_str())
        .append_pair("from", from)
        .finish();
    let request =
        access.request("mount blob", Method::POST, &format!("blobs/uploads/?{query}")).await.ok()?;
    match access.send(request.repeats(Repeats::Never)).await {
        Ok(answer) => Some(answer),
        Err(error) => {
            tracing::debug!(%error, from, "a blob was not taken over");
            None
        }
    }
}

impl Upload {
    /// Reads where the upload is: relative, absolute, with a query of its own, on another host.
    fn at(access: &Access, opened: &Answer, digest: &Digest) -> Result<Self, RegistryError> {
        let wrong =
            |message: &str| access.error(RegistryErrorKind::Protocol, format!("begin upload: {message}"));
        let base = opened.url();
        let location =
            opened.header(LOCATION.as_str()).ok_or_else(|| wrong("the registry's answer names no place"))?;
        let (url, host) = place(base, location, digest).map_err(wrong)?;
        Ok(Self { access: access.clone(), url, host, open: true })
    }

    pub(super) fn host(&self) -> Host {
        self.host
    }

    /// Whose answer this is to what was sent: it may have been redirected.
    pub(super) fn answered_by(&self, answer: &Answer) -> Host {
        if is_same_origin(&self.url, answer.url()) { self.host } else { Host::Other }
    }

    /// A request to where the upload is.
    pub(super) fn request(&self, operation: &'static str, method: Method) -> Request {
        let request = self.access.request_to(operation, method, self.url.clone());
        match self.host {
            Host::Registry => request,
            // What the registry's own endpoint may do is not meant for others.
            Host::Other => request.trust(Trust {
                plain_http: longshore_wire::PlainHttp::LoopbackOnly,
                ca: self.access.session().trust().ca,
            }),
        }
    }

    /// The registry has the blob, or knows nothing of the upload any more.
    pub(super) fn finished(mut self) {
        self.open = false;
    }
}

/// Where the bytes of `digest` go when `base` answered with `location`, and whose place that is; or what is wrong with it.
pub(super) fn place(base: &Url, location: &str, digest: &Digest) -> Result<(Url, Host), &'static str> {
    const NO_URL: &str = "the registry's answer names a place that is no URL";
    let mut url = base.join(location).map_err(|_| NO_URL)?;
    // A registry behind a proxy that ends TLS may think that it is spoken to in plain http.
    if url.scheme() == "http" && base.scheme() == "https" && url.host() == base.host() {
        let port = base.port();
        if url.set_scheme("https").is_err() || url.set_port(port).is_err() {
            return Err(NO_URL);
        }
    }
    if url.scheme() == "http" && base.scheme() == "https" {
        return Err("the registry's answer leads from https to plain http");
    }
    url.set_fragment(None);
    url.query_pairs_mut().append_pair("digest", digest.as_str());
    let host = if is_same_origin(&url, base) { Host::Registry } else { Host::Other };
    Ok((url, host))
}

fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.open || self.host == Host::Other {
            return;
        }
        let request =
            self.request("forget upload", Method::DELETE).answer_within(FORGETTING).repeats(Repeats::Never);
        let access = self.access.clone();
        let forget = async move {
            // It would forget by itself in time; this spares it the space until then.
            if let Ok(Err(error)) = tokio::time::timeout(FORGETTING, access.send(request)).await {
                tracing::debug!(%error, "an upload could not be ended");
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.access.session().leftovers.spawn_on(forget, &runtime);
        }
    }
}
