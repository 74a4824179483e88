//! Bad weather between a client and a registry: a proxy that does to requests what its seed says.
//!
//! It wants a token for everything and hands them out for a password, so there are credentials to lose. What is done to
//! a request depends on the seed, the request and how often it came, and on no clock: a seed plays the same faults again.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const USER: &str = "ann";
pub(crate) const PASSWORD: &str = "correct-horse-battery";
/// `ann:correct-horse-battery`.
const BASIC: &str = "Basic YW5uOmNvcnJlY3QtaG9yc2UtYmF0dGVyeQ==";
/// What every token begins with.
pub(crate) const TOKEN: &str = "tok-3f9a-";

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends before anything is read.
    Drop,
    /// The connection is reset in the middle of the body.
    Reset,
    /// Nothing more is read of the body, and nothing is answered.
    Stall,
    /// All is passed on, and the answer is never given.
    LoseAnswer,
    TooMany,
    Unavailable,
    /// The token has ended; said while the body is on its way.
    Unauthorized,
    /// The same, in the other word for it.
    Forbidden,
    /// Half an answer.
    Truncated,
    /// The answer names another digest.
    WrongDigest,
    /// The upload is said to be at another host.
    LyingLocation,
    /// The request is sent on to another host.
    Redirect,
    /// The realm is on another host, in plain http.
    LyingRealm,
    /// Bytes come through a few at a time.
    Slow,
    /// What comes is not HTTP.
    Garbage,
}

const FAULTS: [Fault; 15] = [
    Fault::Drop,
    Fault::Reset,
    Fault::Stall,
    Fault::LoseAnswer,
    Fault::TooMany,
    Fault::Unavailable,
    Fault::Unauthorized,
    Fault::Forbidden,
    Fault::Truncated,
    Fault::WrongDigest,
    Fault::LyingLocation,
    Fault::Redirect,
    Fault::LyingRealm,
    Fault::Slow,
    Fault::Garbage,
];

/// The proxy. It ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Weather {
    pub(crate) address: SocketAddr,
    sky: Arc<Sky>,
}

struct Sky {
    seed: u64,
    upstream: String,
    elsewhere: SocketAddr,
    address: SocketAddr,
    clear: AtomicBool,
    tokens: AtomicU32,
    seen: Mutex<HashMap<String, u32>>,
    played: Mutex<Vec<(String, Fault)>>,
}

impl Weather {
    /// A proxy before `upstream` (`HOST:PORT`); `elsewhere` is the host that requests are lured to.
    pub(crate) async fn start(seed: u64, upstream: &str, elsewhere: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sky = Arc::new(Sky {
            seed,
            upstream: upstream.to_owned(),
            elsewhere,
            address,
            clear: AtomicBool::new(false),
            tokens: AtomicU32::new(1),
            seen: Mutex::default(),
            played: Mutex::default(),
        });
        let serving = Arc::clone(&sky);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sky = Arc::clone(&serving);
                // A client that hangs up ends it.
                tokio::spawn(async move { sky.connection(stream).await });
            }
        });
        Self { address, sky }
    }

    /// From here on nothing goes wrong.
    pub(crate) fn clear_up(&self) {
        self.sky.clear.store(true, Ordering::Relaxed);
    }

    /// What went wrong, request by request.
    pub(crate) fn played(&self) -> Vec<(String, Fault)> {
        self.sky.played.lock().unwrap().clone()
    }
}

/// The head of a message: its first line and its headers, names in lower case.
struct Head {
    first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> u64 {
        self.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
    }

    fn text(&self) -> String {
        let headers = self.headers.iter().map(|(key, value)| format!("{key}: {value}\r\n"));
        format!("{}\r\n{}\r\n", self.first, headers.collect::<String>())
    }
}

/// Reads up to the empty line; `None` where the peer hangs up before.
async fn head(stream: &mut TcpStream) -> io::Result<Option<Head>> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(key, value)| (key.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Ok(Some(Head { first, headers }))
}

impl Sky {
    async fn connection(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        while let Some(head) = head(&mut client).await? {
            if !self.request(&mut client, head).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What happens to this request; the same for the same seed.
    fn fault(&self, key: &str) -> Option<Fault> {
        let nth = {
            let mut seen = self.seen.lock().unwrap();
            let count = seen.entry(key.to_owned()).or_default();
            *count += 1;
            *count
        };
        if self.clear.load(Ordering::Relaxed) {
            return None;
        }
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(key.as_bytes());
        hasher.write_u32(nth);
        let roll = hasher.finish();
        // From one request in twenty to two in three, by the seed.
        let often = [5, 10, 20, 35, 66][usize::try_from(self.seed % 5).unwrap()];
        if roll % 100 >= often {
            return None;
        }
        let fault = FAULTS[usize::try_from((roll >> 32) % FAULTS.len() as u64).unwrap()];
        self.played.lock().unwrap().push((format!("{key} #{nth}"), fault));
        Some(fault)
    }

    /// One request; whether the connection can be used for another.
    async fn request(&self, client: &mut TcpStream, head: Head) -> io::Result<bool> {
        let mut words = head.first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // An upload has another name every time; what it is to become is what tells it apart.
        let key = match (path.split_once("/blobs/uploads/"), query.split("digest=").nth(1)) {
            (Some((before, _)), digest) => format!("{method} {before} upload {}", digest.unwrap_or_default()),
            _ => format!("{method} {path}"),
        };
        let fault = self.fault(&key);
        match fault {
            Some(Fault::Drop) => return Ok(false),
            Some(Fault::TooMany) => {
                return self.answer(client, &head, "429 Too Many Requests", "retry-after: 0\r\n").await;
            }
            Some(Fault::Unavailable) => {
                return self.answer(client, &head, "503 Service Unavailable", "").await;
            }
            Some(Fault::Garbage) => {
                client.write_all(b"\x15\x03\x01 this is not what you came for\r\n\r\n").await?;
                return Ok(false);
            }
            Some(Fault::Redirect) => {
                let location = format!("location: http://{}{target}\r\n", self.elsewhere);
                return self.answer(client, &head, "307 Temporary Redirect", &location).await;
            }
            Some(Fault::LyingRealm) => {
                let challenge =
                    "www-authenticate: Bearer realm=\"http://tokens.example/token\",service=\"s\"\r\n";
                return self.answer(client, &head, "401 Unauthorized", challenge).await;
            }
            Some(Fault::Unauthorized) => {
                self.tokens.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        if path == "/token" {
            return self.token(client, &head, fault).await;
        }
        let token = format!("Bearer {TOKEN}{}", self.tokens.load(Ordering::Relaxed));
        if head.get("authorization") != Some(&token) || fault == Some(Fault::Unauthorized) {
            // Said with some of the body unread, as front ends do.
            read_some(client, head.length() / 2).await?;
            let challenge = format!(
                "www-authenticate: Bearer realm=\"http://{}/token\",service=\"weather\"\r\n",
                self.address
            );
            return self.answer(client, &head, "401 Unauthorized", &challenge).await;
        }
        match fault {
            Some(Fault::Forbidden) => {
                self.tokens.fetch_add(1, Ordering::Relaxed);
                return self.answer(client, &head, "403 Forbidden", "").await;
            }
            Some(Fault::Reset) => {
                read_some(client, head.length() / 2).await?;
                client.set_zero_linger()?;
                return Ok(false);
            }
            Some(Fault::Stall) => {
                read_some(client, head.length() / 3).await?;
                return hang(client).await;
            }
            _ => {}
        }
        self.pass_on(client, head, fault).await
    }

    async fn token(&self, client: &mut TcpStream, head: &Head, fault: Option<Fault>) -> io::Result<bool> {
        match fault {
            Some(Fault::Stall | Fault::LoseAnswer) => return hang(client).await,
            Some(Fault::Forbidden) => return self.answer(client, head, "403 Forbidden", "").await,
            Some(Fault::Reset) => {
                client.set_zero_linger()?;
                return Ok(false);
            }
            _ => {}
        }
        if head.get("authorization") != Some(BASIC) {
            return self.answer(client, head, "401 Unauthorized", "").await;
        }
        let number = self.tokens.load(Ordering::Relaxed);
        let body = format!(r#"{{"token": "{TOKEN}{number}", "expires_in": 300}}"#);
        let cut = if fault == Some(Fault::Truncated) { body.len() / 2 } else { body.len() };
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", body.len(), &body[..cut]);
        client.write_all(text.as_bytes()).await?;
        Ok(cut == body.len())
    }

    /// Passes the request on to the registry and its answer back.
    async fn pass_on(
        &self,
        client: &mut TcpStream,
        mut head: Head,
        fault: Option<Fault>,
    ) -> io::Result<bool> {
        let (length, is_head) = (head.length(), head.first.starts_with("HEAD "));
        head.headers.retain(|(key, _)| !matches!(key.as_str(), "authorization" | "connection" | "host"));
        head.headers.push(("host".to_owned(), self.upstream.clone()));
        head.headers.push(("connection".to_owned(), "close".to_owned()));
        let mut upstream = TcpStream::connect(&self.upstream).await?;
        upstream.write_all(head.text().as_bytes()).await?;
        let mut left = length;
        let mut buffer = vec![0; if fault == Some(Fault::Slow) { 4096 } else { 65536 }];
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap());
            let read = client.read(&mut buffer[..want]).await?;
            if read == 0 {
                // The client gave up; so does the registry.
                return Ok(false);
            }
            if upstream.write_all(&buffer[..read]).await.is_err() {
                break;
            }
            left -= read as u64;
            if fault == Some(Fault::Slow) {
                tokio::task::yield_now().await;
            }
        }
        let Some(mut answer) = self::head(&mut upstream).await? else { return Ok(false) };
        let mut body = Vec::new();
        if !is_head {
            // It closes when it is done; a body it announces and chunks alike end there.
            upstream.read_to_end(&mut body).await?;
        }
        if fault == Some(Fault::LoseAnswer) {
            return hang(client).await;
        }
        answer.headers.retain(|(key, _)| key != "connection");
        answer.headers.push(("connection".to_owned(), "close".to_owned()));
        for (key, value) in &mut answer.headers {
            match (key.as_str(), fault) {
                ("location", Some(Fault::LyingLocation)) => {
                    let path = value.split_once("/v2/").map_or("", |(_, path)| path).to_owned();
                    *value = format!("http://{}/v2/{path}", self.elsewhere);
                }
                // A registry names itself; the client shall come back here.
                ("location", _) => *value = value.replace(&self.upstream, &self.address.to_string()),
                ("docker-content-digest", Some(Fault::WrongDigest)) => {
                    *value = format!("sha256:{}", "0".repeat(64));
                }
                _ => {}
            }
        }
        let mut text = answer.text().into_bytes();
        text.extend_from_slice(&body);
        if fault == Some(Fault::Truncated) {
            text.truncate(text.len() / 2);
        }
        for piece in text.chunks(if fault == Some(Fault::Slow) { 16 } else { 65536 }) {
            client.write_all(piece).await?;
        }
        Ok(false)
    }

    /// Answers without the registry, and hangs up.
    async fn answer(
        &self,
        client: &mut TcpStream,
        head: &Head,
        status: &str,
        headers: &str,
    ) -> io::Result<bool> {
        let text = format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n");
        client.write_all(text.as_bytes()).await?;
        if head.length() > 0 {
            // Reads a little on, so that the answer is not lost to a reset, as front ends do too.
            client.shutdown().await?;
            let _ = tokio::time::timeout(Duration::from_millis(50), read_some(client, head.length())).await;
        }
        Ok(false)
    }
}

/// Reads and forgets `count` bytes, or what there is of them.
async fn read_some(client: &mut TcpStream, count: u64) -> io::Result<()> {
    tokio::io::copy(&mut client.take(count), &mut tokio::io::sink()).await.map(|_| ())
}

/// Says nothing until the client has had enough: nothing is read, so only an error of the connection ends it.
async fn hang(client: &mut TcpStream) -> io::Result<bool> {
    let waited = tokio::time::timeout(Duration::from_secs(5), client.ready(tokio::io::Interest::ERROR)).await;
    let _ = waited;
    Ok(false)
}
