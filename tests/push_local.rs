//! What a deploy's push sends to the registry, counted by the registry's side.

use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use longshore::image::{self, Add, Assembly, Base, Context, Image, ImageSource, Verify};
use longshore::push::{Destination, PushOutcome, Pushed, Registries, Sender, Silent, push};
use longshore_contract::{Calls, Credential, Login};
use longshore_local::registry::Registry;
use longshore_wire::{Client, Limits};

/// The requests that came and were not for reading.
type Writes = Arc<Mutex<Vec<String>>>;

async fn note(State(writes): State<Writes>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if !matches!(method.as_str(), "GET" | "HEAD") {
        writes.lock().expect("nobody panicked").push(format!("{method} {path}"));
    }
    next.run(request).await
}

/// A registry that notes what is written to it.
struct Noting {
    host: String,
    writes: Writes,
    _directory: tempfile::TempDir,
}

impl Noting {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let registry = Registry::open(&directory.path().join("registry")).expect("it can be opened");
        let writes = Writes::default();
        let routes = registry.routes().layer(from_fn_with_state(Arc::clone(&writes), note));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { host, writes, _directory: directory }
    }

    /// Pushes `image` as a run of its own does, and answers with what that wrote.
    async fn push(&self, image: &Image, tag: &str) -> (Pushed, Vec<String>) {
        let reference = format!("{}/team/shop:{tag}", self.host).parse().expect("a reference");
        let login = Login { credential: Credential::Anonymous, ends: None, endpoint: None };
        let to = Destination::with_login(reference, login);
        let client = Client::with_certificates_in(Limits::default(), Vec::new());
        let registries = Registries::new(client, Box::new(Sender));
        let pushed = push(&registries, image, &to, Verify::Size, &Calls::default(), &Silent).await;
        (pushed.expect("it is pushed"), std::mem::take(&mut *self.writes.lock().expect("nobody panicked")))
    }
}

/// An image as a deploy assembles it, out of one file.
fn assembled() -> Image {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("function");
    std::fs::write(&program, [7; 100_000]).expect("it can be written");
    let assembly = Assembly {
        base: Base::Scratch,
        add: vec![Add { source: program, destination: "/function".into(), mode: Some(0o755) }],
        entrypoint: vec!["/function".into()],
        command: Vec::new(),
        environment: [("A".to_owned(), "b".to_owned())].into(),
        workdir: None,
        user: None,
        platform: Some(longshore_contract::Platform::host()),
    };
    let context =
        Context { directory: "/".into(), platform: None, world: longshore::image::World::default() };
    image::open(&ImageSource::Assemble(assembly), &context).expect("it can be assembled")
}

fn blobs(writes: &[String]) -> usize {
    writes.iter().filter(|write| write.contains("/blobs/")).count()
}

#[tokio::test]
async fn a_second_push_of_an_image_sends_no_blob() {
    let registry = Noting::start().await;
    let (pushed, writes) = registry.push(&assembled(), "v1").await;
    assert_eq!(pushed.outcome, PushOutcome::Arrived);
    assert!(blobs(&writes) >= 2, "a layer and a configuration: {writes:?}");

    // Assembled anew, as the next deploy does: the same files are the same image.
    let (again, writes) = registry.push(&assembled(), "v1").await;
    assert_eq!((again.outcome, &again.digest), (PushOutcome::Unchanged, &pushed.digest));
    assert_eq!(writes, Vec::<String>::new(), "everything is there, the tag included");

    let (_, writes) = registry.push(&assembled(), "v2").await;
    assert_eq!(writes, ["PUT /v2/team/shop/manifests/v2"], "only the name is new");
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_write_to_the_registry() {
    let registry = Noting::start().await;
    assert_eq!(begun(&registry.host, None).await, 202);
    assert_eq!(begun(&registry.host, Some("https://evil.example")).await, 403);
}

/// The status of a POST that begins an upload, with this `Origin`.
async fn begun(host: &str, origin: Option<&str>) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(host).await.expect("it listens");
    let origin = origin.map_or_else(String::new, |origin| format!("origin: {origin}\r\n"));
    let request = format!(
        "POST /v2/team/shop/blobs/uploads/ HTTP/1.1\r\nhost: {host}\r\n{origin}content-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}
