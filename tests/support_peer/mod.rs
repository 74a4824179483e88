//! A peer that says exactly what a test wants, byte by byte, one answer a connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it was seen.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// Where a range was asked to begin.
    pub(crate) range: Option<usize>,
    /// How many requests for the same path came before.
    pub(crate) before: usize,
}

/// An answer as it goes out.
pub(crate) struct Said {
    head: String,
    body: Vec<u8>,
    endless: bool,
}

impl Said {
    pub(crate) fn whole(media_type: &str, bytes: &[u8]) -> Self {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n", bytes.len());
        Self { head, body: bytes.to_vec(), endless: false }
    }

    pub(crate) fn part(bytes: &[u8], from: usize) -> Self {
        let (all, left) = (bytes.len(), bytes.len() - from);
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {left}\r\ncontent-range: bytes {from}-{}/{all}\r\n",
            all - 1
        );
        Self { head, body: bytes[from..].to_vec(), endless: false }
    }

    pub(crate) fn status(status: &str, headers: &[&str]) -> Self {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        Self {
            head: format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n{headers}"),
            body: Vec::new(),
            endless: false,
        }
    }

    /// A body that never ends, by chunks.
    pub(crate) fn endless(media_type: &str) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n");
        Self { head, body: Vec::new(), endless: true }
    }

    /// Breaks off after so many bytes of the body, whatever the head promised.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }

    fn write(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(format!("{}connection: close\r\n\r\n", self.head).as_bytes())?;
        stream.write_all(&self.body)?;
        if !self.endless {
            return stream.flush();
        }
        // Until the client has enough of it.
        loop {
            stream.write_all(b"1000\r\n")?;
            stream.write_all(&[b' '; 0x1000])?;
            stream.write_all(b"\r\n")?;
        }
    }
}

/// The peer. Its threads end with the test's process.
pub(crate) struct Peer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Peer {
    pub(crate) fn start(says: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (seen, says) = (Arc::clone(&asked), Arc::new(says));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, says) = (Arc::clone(&seen), Arc::clone(&says));
                std::thread::spawn(move || {
                    // The client may have enough before everything is written.
                    let _ = serve(stream, &seen, &*says);
                });
            }
        });
        Self { address, asked }
    }

    /// A reference in it.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Asked>>,
    says: &dyn Fn(&Asked) -> Said,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    // The hello of a client that finds out what is spoken here is no text.
    if reader.fill_buf()?.first().is_none_or(|byte| !byte.is_ascii_uppercase()) {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = None;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let lower = header.to_ascii_lowercase();
        if let Some(rest) = lower.strip_prefix("range: bytes=") {
            range = rest.trim().strip_suffix('-').and_then(|from| from.parse().ok());
        }
    }
    let asked = {
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|other| other.path == path).count();
        seen.push(Asked { path, range, before });
        seen.last().unwrap().clone()
    };
    says(&asked).write(&mut stream)
}
