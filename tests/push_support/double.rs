//! A registry that keeps what it is sent, writes down what it is asked, and misbehaves on request.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use longshore::image::digest_of;

/// A request as it was seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<String>,
    /// How many bytes of body came; 0 where it was not read.
    pub(crate) length: usize,
}

impl Seen {
    /// `PUT /v2/…`, for comparing.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

pub(crate) type Reply = Response<Full<Bytes>>;

/// What is done with a request.
pub(crate) enum Act {
    /// What a registry does.
    Serve,
    /// This, without reading the body.
    Answer(Reply),
    /// The connection ends without an answer, the body unread.
    HangUp,
    /// It is done, and the connection ends without an answer.
    ServeAndHangUp,
}

type Hook = dyn Fn(&Seen, usize) -> Act + Send + Sync;

/// The registry. It ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    hook: Box<Hook>,
    seen: Mutex<Vec<Seen>>,
    /// By repository and digest.
    blobs: Mutex<HashMap<(String, String), Bytes>>,
    /// By repository and name; one that a test put there is in every repository.
    manifests: Mutex<HashMap<(String, String), Bytes>>,
}

const EVERY_REPOSITORY: &str = "";

pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body.into())).unwrap()
}

impl Double {
    /// Starts one. `hook` is asked first, with how many requests of the same method and path came before.
    pub(crate) async fn start(hook: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            hook: Box::new(hook),
            seen: Mutex::default(),
            blobs: Mutex::default(),
            manifests: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(move |request| serve(Arc::clone(&state), request));
                    // Hanging up is an error of the connection, and meant.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, state }
    }

    /// One that behaves.
    pub(crate) async fn honest() -> Self {
        Self::start(|_, _| Act::Serve).await
    }

    /// A reference in it.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// The requests as lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.path.contains(part)).count()
    }

    pub(crate) fn manifest(&self, name: &str) -> Option<Bytes> {
        let manifests = self.state.manifests.lock().unwrap();
        manifests.iter().find(|((_, held), _)| held == name).map(|(_, bytes)| bytes.clone())
    }

    pub(crate) fn put_manifest(&self, name: &str, bytes: &[u8]) {
        let key = (EVERY_REPOSITORY.to_owned(), name.to_owned());
        self.state.manifests.lock().unwrap().insert(key, Bytes::copy_from_slice(bytes));
    }

    /// The digests that `repository` holds, in order.
    pub(crate) fn held_by(&self, repository: &str) -> Vec<String> {
        let blobs = self.state.blobs.lock().unwrap();
        let mut held: Vec<String> =
            blobs.keys().filter(|(path, _)| path == repository).map(|(_, digest)| digest.clone()).collect();
        held.sort();
        held
    }

    /// Whether the blob that `upload` was to become is held.
    pub(crate) fn holds_of(&self, upload: &Seen) -> bool {
        let query = url::form_urlencoded::parse(upload.query.as_bytes());
        query.into_iter().any(|(key, value)| key == "digest" && self.holds(&value))
    }

    pub(crate) fn holds(&self, digest: &str) -> bool {
        self.state.blobs.lock().unwrap().keys().any(|(_, held)| held == digest)
    }
}

async fn serve(state: Arc<State>, request: Request<Incoming>) -> Result<Reply, std::io::Error> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let mut seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        authorization: header("authorization"),
        content_type: header("content-type"),
        length: 0,
    };
    let before = {
        let all = state.seen.lock().unwrap();
        all.iter().filter(|other| other.line() == seen.line()).count()
    };
    let act = (state.hook)(&seen, before);
    let end = || Err(std::io::Error::other("hung up"));
    match act {
        Act::Serve | Act::ServeAndHangUp => {
            let Ok(body) = body.collect().await else { return end() };
            let body = body.to_bytes();
            seen.length = body.len();
            state.seen.lock().unwrap().push(seen.clone());
            let answer = state.registry(&seen, &body).unwrap_or_else(|never: Infallible| match never {});
            if matches!(act, Act::Serve) { Ok(answer) } else { end() }
        }
        Act::Answer(answer) => {
            state.seen.lock().unwrap().push(seen);
            Ok(answer)
        }
        Act::HangUp => {
            state.seen.lock().unwrap().push(seen);
            end()
        }
    }
}

impl State {
    fn registry(&self, seen: &Seen, body: &Bytes) -> Result<Reply, Infallible> {
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
        let last = seen.path.rsplit('/').next().unwrap_or_default();
        let path = seen.path.trim_start_matches("/v2/");
        let repository = path.split("/blobs/").next().unwrap_or_default();
        let repository = repository.split("/manifests/").next().unwrap_or_default();
        let manifest = |repository: &str, name: &str| (repository.to_owned(), name.to_owned());
        let blob = |digest: &str| (repository.to_owned(), digest.to_owned());
        let mut manifests = self.manifests.lock().unwrap();
        let mut blobs = self.blobs.lock().unwrap();
        let unknown = |code: &str| reply(404, &[], format!(r#"{{"errors": [{{"code": "{code}"}}]}}"#));
        let is = |method: &str, part: &str| seen.method == method && seen.path.contains(part);
        Ok(if is("HEAD", "/manifests/") || is("GET", "/manifests/") {
            let held = manifests.get(&manifest(repository, last));
            match held.or_else(|| manifests.get(&manifest(EVERY_REPOSITORY, last))) {
                Some(bytes) => {
                    let digest = digest_of(bytes).to_string();
                    reply(200, &[("docker-content-digest", &digest)], bytes.clone())
                }
                None => unknown("MANIFEST_UNKNOWN"),
            }
        } else if is("PUT", "/manifests/") {
            let digest = digest_of(body).to_string();
            manifests.insert(manifest(repository, &digest), body.clone());
            manifests.insert(manifest(repository, last), body.clone());
            reply(201, &[("docker-content-digest", &digest)], "")
        } else if is("HEAD", "/blobs/") {
            if blobs.contains_key(&blob(last)) { reply(200, &[], "") } else { unknown("BLOB_UNKNOWN") }
        } else if is("POST", "/blobs/uploads/")
            && let (Some(digest), Some(from)) = (query.get("mount"), query.get("from"))
            && let Some(bytes) = blobs.get(&(from.clone(), digest.clone())).cloned()
        {
            blobs.insert(blob(digest), bytes);
            reply(201, &[("docker-content-digest", digest)], "")
        } else if is("DELETE", "/blobs/uploads/") {
            reply(204, &[], "")
        } else if is("POST", "/blobs/uploads/") {
            let place = format!("{}{}?_state=secret%2Bstate", seen.path, self.seen.lock().unwrap().len());
            reply(202, &[("location", &place)], "")
        } else if is("PUT", "/blobs/uploads/") {
            let stated = query.get("digest").cloned().unwrap_or_default();
            let known = query.get("_state").is_some_and(|state| state == "secret+state");
            if !known {
                unknown("BLOB_UPLOAD_UNKNOWN")
            } else if digest_of(body).as_str() == stated {
                blobs.insert(blob(&stated), body.clone());
                reply(201, &[], "")
            } else {
                reply(
                    400,
                    &[],
                    r#"{"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]}"#,
                )
            }
        } else {
            unknown("UNSUPPORTED")
        })
    }
}
