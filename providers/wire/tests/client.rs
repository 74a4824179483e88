//! The client against sockets that answer, refuse, hang up, stand still and lie.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Method, StatusCode};
use longshore_wire::{
    Backoff, Body, Client, ErrorKind, Limits, PlainHttp, Protocol, Repeats, Request, Trust,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// A server that hands every connection and its number to a function.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start<F>(handle: impl Fn(Connection, u32) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&heads);
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(handle(Connection { stream, heads: Arc::clone(&shared) }, number));
            }
        });
        Self { address, heads }
    }

    /// One that says `answers` in turn, the last one for ever.
    async fn saying(answers: Vec<String>) -> Self {
        let answers = Arc::new(answers);
        Self::start(move |mut connection, number| {
            let answers = Arc::clone(&answers);
            async move {
                connection.head().await;
                connection.say(&answers[(number as usize).min(answers.len() - 1)]).await;
            }
        })
        .await
    }

    fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

struct Connection {
    stream: TcpStream,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Connection {
    /// Reads up to the end of the headers, byte by byte, so that the body is left where it is.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        self.heads.lock().unwrap().push(head.clone());
        head
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(5),
        settle: Duration::from_secs(5),
        stall: Duration::from_secs(5),
        backoff: Backoff {
            attempts: 3,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(2),
            budget: Duration::from_secs(5),
        },
    }
}

fn client() -> Client {
    Client::with_certificates_in(limits(), Vec::new())
}

fn get(url: Url) -> Request {
    Request::new("read thing", Method::GET, url)
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated_and_what_may_not_is_not() {
    for (repeats, status, attempts) in [
        (Repeats::Freely, "503 Busy", 2),
        (Repeats::Freely, "500 Oops", 2),
        (Repeats::Freely, "429 Slow Down", 2),
        (Repeats::Freely, "408 Late", 2),
        (Repeats::Freely, "501 Never Heard Of", 1),
        (Repeats::Freely, "404 Not Found", 1),
        (Repeats::IfUnsent, "429 Slow Down", 2),
        (Repeats::IfUnsent, "503 Busy", 1),
        (Repeats::Never, "429 Slow Down", 1),
    ] {
        let server = Server::saying(vec![answer(status, "", ""), answer("200 OK", "", "fine")]).await;
        let found = client().send(get(server.url("/")).repeats(repeats)).await.unwrap();
        assert_eq!(found.attempts(), attempts, "{repeats:?} {status}");
        assert_eq!(found.status() == StatusCode::OK, attempts == 2, "{repeats:?} {status}");
        assert_eq!(server.heads().len(), attempts as usize);
    }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_only_where_that_is_harmless() {
    for (repeats, heads) in [(Repeats::Freely, 3), (Repeats::IfUnsent, 1), (Repeats::Never, 1)] {
        let server = Server::start(|mut connection, _| async move {
            connection.head().await;
        })
        .await;
        let error = client().send(get(server.url("/")).repeats(repeats)).await.unwrap_err();
        assert_eq!((error.kind, error.attempts as usize), (ErrorKind::Lost, heads), "{error}");
        assert_eq!(server.heads().len(), heads);
    }
}

#[tokio::test]
async fn the_last_answer_survives_all_tries() {
    let server = Server::saying(vec![
        answer("500 One", "", "one"),
        answer("502 Two", "", "two"),
        answer("503 Three", "", "three"),
        answer("200 Four", "", ""),
    ])
    .await;
    let found = client().send(get(server.url("/"))).await.unwrap();
    assert_eq!((found.status().as_u16(), found.attempts()), (503, 3));
    assert_eq!(found.read_up_to(10).await.unwrap(), "three");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_place_and_the_tries_and_without_the_query() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url: Url = format!("http://{address}/path?token=hush").parse().unwrap();
    let request = get(url).authorization(HeaderValue::from_static("Bearer hush"));
    let error = client().send(request).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (ErrorKind::Connect, 3));
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("read thing at {address}: ")) && text.ends_with("(tried 3 times)"),
        "{text}"
    );
    assert!(!format!("{error:?}{text}").contains("hush"));
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused_before_it_is_looked_up() {
    let started = Instant::now();
    let error = client().send(get("http://registry.invalid/".parse().unwrap())).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (ErrorKind::PlainHttp, 1));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_redirect_keeps_credentials_at_home_and_takes_none_abroad() {
    let abroad = Server::saying(vec![answer("200 OK", "", "abroad")]).await;
    let to = |url: Url| answer("302 Found", &format!("location: {url}\r\n"), "");
    let second = to(abroad.url("/b?x=1"));
    let home = Server::saying(vec![answer("307 Over There", "location: /a\r\n", ""), second]).await;
    let request = get(home.url("/")).authorization(HeaderValue::from_static("Bearer hush"));
    let found = client().send(request).await.unwrap();
    assert_eq!(found.url().path(), "/b");
    assert_eq!(found.read_up_to(100).await.unwrap(), "abroad");
    let heads = home.heads();
    assert!(heads[0].starts_with("GET / ") && heads[1].starts_with("GET /a "));
    assert!(heads.iter().all(|head| head.contains("authorization: Bearer hush")));
    assert!(!abroad.heads()[0].contains("hush"));
}

#[tokio::test]
async fn a_redirect_that_would_change_what_is_asked_is_handed_back() {
    let server = Server::saying(vec![answer("302 Found", "location: /a\r\n", "")]).await;
    let request = Request::new("make thing", Method::POST, server.url("/")).body(Body::Bytes("x".into()));
    assert_eq!(client().send(request).await.unwrap().status(), StatusCode::FOUND);
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn a_request_that_could_have_a_body_and_has_none_says_so() {
    let server = Server::saying(vec![answer("202 Accepted", "", "")]).await;
    client().send(Request::new("begin thing", Method::POST, server.url("/"))).await.unwrap();
    assert!(server.heads()[0].contains("content-length: 0\r\n"), "{:?}", server.heads());
}

#[tokio::test]
async fn redirects_without_an_end_end() {
    let server = Server::saying(vec![answer("307 Again", "location: /\r\n", "")]).await;
    let error = client().send(get(server.url("/"))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Redirect);
    assert_eq!(server.heads().len(), 6);
    let server = Server::saying(vec![answer("307 Nowhere", "", "")]).await;
    assert_eq!(client().send(get(server.url("/"))).await.unwrap_err().kind, ErrorKind::Redirect);
}

#[tokio::test]
async fn every_request_that_goes_out_is_counted() {
    let server = Server::saying(vec![
        answer("503 Busy", "", ""),
        answer("307 Over There", "location: /a\r\n", ""),
        answer("200 OK", "", ""),
    ])
    .await;
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let meter = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    client().send(get(server.url("/")).meter(meter)).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_and_not_further() {
    let server = Server::start(|mut connection, _| async move {
        connection.head().await;
        connection.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        // For ever, until the reader hangs up.
        while connection.stream.write_all(b"5\r\nabcde\r\n").await.is_ok() {}
    })
    .await;
    let error = client().send(get(server.url("/"))).await.unwrap().read_up_to(100_000).await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::TooLarge, "the answer is larger than 100000 bytes")
    );
    let beginning = client().send(get(server.url("/"))).await.unwrap().excerpt(7).await;
    assert_eq!(beginning, "abcdeab");
}

#[tokio::test]
async fn an_answer_that_ends_early_is_lost_and_not_short() {
    let server = Server::saying(vec!["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_owned()]).await;
    let found = client().send(get(server.url("/"))).await.unwrap();
    assert_eq!(found.read_up_to(100).await.unwrap_err().kind, ErrorKind::Lost);
}

fn stream_of(length: u64, piece: usize) -> Body {
    let make = move || {
        let pieces = (length as usize).div_ceil(piece);
        let bytes = Bytes::from(vec![b'x'; piece]);
        futures::stream::iter((0..pieces).map(move |_| Ok(bytes.clone()))).boxed()
    };
    Body::Stream { length, make: Arc::new(make) }
}

fn impatient() -> Client {
    let wait = Duration::from_millis(200);
    Client::with_certificates_in(Limits { answer: wait, stall: wait, ..limits() }, Vec::new())
}

#[tokio::test]
async fn a_body_that_stands_still_is_an_error_in_both_directions() {
    // Nobody reads: the sockets' buffers fill, and then nothing moves.
    let server = Server::start(|mut connection, _| async move {
        connection.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let request = Request::new("send thing", Method::PUT, server.url("/"))
        .body(stream_of(64 << 20, 1 << 16))
        .repeats(Repeats::Never);
    let error = impatient().send(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Stalled, "{error}");
    assert!(error.to_string().contains("no byte moved for 200 ms"), "{error}");

    let server = Server::start(|mut connection, _| async move {
        connection.head().await;
        connection.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
        std::future::pending::<()>().await;
    })
    .await;
    let found = impatient().send(get(server.url("/"))).await.unwrap();
    assert_eq!(found.read_up_to(100).await.unwrap_err().kind, ErrorKind::Stalled);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_late() {
    let server = Server::start(|mut connection, _| async move {
        connection.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let error = impatient().send(get(server.url("/")).repeats(Repeats::Never)).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Timeout, "no answer within 200 ms"));
    assert!(!error.kind.nothing_was_sent());
}

#[tokio::test]
async fn a_body_that_is_slow_and_moves_is_waited_for() {
    // Each piece takes half of the patience, all of them four times as much.
    let server = Server::start(|mut connection, _| async move {
        connection.head().await;
        let mut body = vec![0; 8];
        connection.stream.read_exact(&mut body).await.unwrap();
        connection.say(&answer("201 Created", "", "")).await;
    })
    .await;
    let make = || {
        futures::stream::iter(0..8)
            .then(|_| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(Bytes::from_static(b"x"))
            })
            .boxed()
    };
    let body = Body::Stream { length: 8, make: Arc::new(make) };
    let request = Request::new("send thing", Method::PUT, server.url("/")).body(body).repeats(Repeats::Never);
    assert_eq!(impatient().send(request).await.unwrap().status(), StatusCode::CREATED);
    assert!(server.heads()[0].contains("content-length: 8\r\n"));
}

#[tokio::test]
async fn a_source_that_fails_is_told_from_a_connection_that_does() {
    let server = Server::start(|mut connection, _| async move {
        connection.head().await;
        // Whatever comes, until it ends.
        let _ = connection.stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let make = || {
        let pieces = [Ok(Bytes::from_static(b"x")), Err(std::io::Error::other("the disk is gone"))];
        futures::stream::iter(pieces).boxed()
    };
    let body = Body::Stream { length: 2, make: Arc::new(make) };
    let error =
        client().send(Request::new("send thing", Method::PUT, server.url("/")).body(body)).await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str(), error.attempts),
        (ErrorKind::Source, "the disk is gone", 1)
    );
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_recognised_whatever_it_answers() {
    for reply in ["HTTP/1.1 400 Bad Request\r\n\r\n", "", "220 mail.example ESMTP\r\n"] {
        let server = Server::start(move |mut connection, _| async move {
            let _ = connection.stream.read(&mut [0; 100]).await;
            let _ = connection.stream.write_all(reply.as_bytes()).await;
        })
        .await;
        assert_eq!(client().speaks("connect", &server.url("/")).await.unwrap(), Protocol::Http, "{reply:?}");
        let named: Url = format!("http://a.localhost:{}/", server.address.port()).parse().unwrap();
        assert_eq!(client().speaks("connect", &named).await.unwrap(), Protocol::Http);
    }
}

#[tokio::test]
async fn https_to_a_port_that_speaks_plain_http_is_a_tls_error() {
    let plain = Server::start(|mut connection, _| async move {
        let _ = connection.stream.read(&mut [0; 100]).await;
        connection.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let url: Url = format!("https://{}/", plain.address).parse().unwrap();
    let error = client().send(get(url)).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (ErrorKind::Tls, 1), "{error}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_named() {
    let trust = Trust { ca: Some("/nowhere/ca.pem".into()), ..Trust::default() };
    let error = client().send(get("https://127.0.0.1:1/".parse().unwrap()).trust(trust)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Certificates);
    assert!(error.message.contains("/nowhere/ca.pem"), "{error}");
}

#[tokio::test]
async fn a_proxy_is_asked_for_other_machines_and_never_for_loopback() {
    // The environment is the whole process's, so the requests are made in a child's.
    let proxy = Server::saying(vec![answer("200 OK", "", "proxy")]).await;
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_child_with_a_proxy_in_its_environment", "--ignored", "--nocapture"])
        .env("http_proxy", format!("http://{}", proxy.address))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(heads[0].starts_with("GET http://registry.invalid/ "), "{heads:?}");
}

#[tokio::test]
#[ignore = "run by the test before it, with a proxy in its environment"]
async fn in_a_child_with_a_proxy_in_its_environment() {
    let server = Server::saying(vec![answer("200 OK", "", "direct")]).await;
    let direct = client().send(get(server.url("/"))).await.unwrap();
    assert_eq!(direct.read_up_to(100).await.unwrap(), "direct");
    let named: Url = format!("http://localhost:{}/", server.address.port()).parse().unwrap();
    assert_eq!(client().send(get(named)).await.unwrap().read_up_to(100).await.unwrap(), "direct");
    let trust = Trust { plain_http: PlainHttp::Allowed, ca: None };
    let far = client().send(get("http://registry.invalid/".parse().unwrap()).trust(trust)).await.unwrap();
    assert_eq!(far.read_up_to(100).await.unwrap(), "proxy");
}
