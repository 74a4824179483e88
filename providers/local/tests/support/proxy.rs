//! The weather: a proxy between a client and the daemon that loses answers and refuses requests.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use longshore_contract::conformance::Weather;

/// A proxy for clients that send one request per connection. It lives as long as the test.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    lose_next_write: Arc<AtomicBool>,
}

/// What becomes of one request.
enum Fate {
    Carried,
    /// It is carried out, and nobody hears of it.
    Lost,
    /// It is answered here.
    Refused(String),
}

const THROTTLED: (&str, &str) = ("429 Too Many Requests", "Throttled");
const BUSY: (&str, &str) = ("409 Conflict", "Busy");

/// A refusal as the daemon would write it.
fn refusal((status, code): (&str, &str)) -> String {
    let body = serde_json::json!({ "code": code, "message": "not now", "request_id": "proxy-1" }).to_string();
    format!("HTTP/1.1 {status}\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

impl Proxy {
    /// Opens one in front of `behind`.
    pub(crate) fn open(behind: SocketAddr, weather: Weather) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let lose_next_write = Arc::new(AtomicBool::new(false));
        let lose = Arc::clone(&lose_next_write);
        let count = Arc::new(AtomicU32::new(0));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (lose, count) = (Arc::clone(&lose), Arc::clone(&count));
                std::thread::spawn(move || {
                    let _ = carry(client?, behind, |head| fate(weather, head, &lose, &count));
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        Self { address, lose_next_write }
    }

    /// Loses the answer to the next request that writes.
    pub(crate) fn lose_next_write(&self) {
        self.lose_next_write.store(true, Ordering::SeqCst);
    }
}

fn fate(weather: Weather, head: &str, lose: &AtomicBool, count: &AtomicU32) -> Fate {
    let control = head.split(' ').nth(1).is_some_and(|path| path.starts_with("/_longshore/"));
    let writes = control && !head.starts_with("GET ");
    if writes && lose.swap(false, Ordering::SeqCst) {
        return Fate::Lost;
    }
    // Scattered, so that no client's own rhythm falls in with it.
    let n = count.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9E37_79B9) >> 7;
    match weather {
        Weather::AnswersLost if n % 3 == 1 => Fate::Lost,
        Weather::Throttled if control && n.is_multiple_of(3) => Fate::Refused(refusal(THROTTLED)),
        Weather::Throttled if writes && n % 3 == 1 => Fate::Refused(refusal(BUSY)),
        _ => Fate::Carried,
    }
}

fn carry(client: TcpStream, behind: SocketAddr, fate: impl FnOnce(&str) -> Fate) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let mut client = client;
    let fate = fate(&head);
    if let Fate::Refused(answer) = fate {
        client.write_all(answer.as_bytes())?;
        return client.shutdown(Shutdown::Both);
    }
    let mut server = TcpStream::connect(behind)?;
    // The server is to end the connection, so that the end of its answer can be seen.
    server.write_all(head.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    if let Fate::Carried = fate {
        client.write_all(&answer)?;
    }
    client.shutdown(Shutdown::Both)
}
