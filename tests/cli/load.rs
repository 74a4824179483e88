//! Real requests while traffic is shifted: the share is what was asked for, and none is lost.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Scratch, until};

/// A client that keeps its connection, as real ones do. Returns which version answered.
struct Client {
    address: String,
    path: String,
    connection: BufReader<TcpStream>,
}

impl Client {
    fn new(url: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap();
        let (address, path) = rest.split_at(rest.find('/').unwrap());
        Self { address: address.to_owned(), path: path.to_owned(), connection: connect(address) }
    }

    fn ask(&mut self) -> Result<String, String> {
        let (path, address) = (&self.path, &self.address);
        let request = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 2\r\n\r\n{{}}");
        self.connection.get_mut().write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut line = String::new();
        let (mut status, mut version, mut length) = (String::new(), String::new(), 0);
        loop {
            line.clear();
            if self.connection.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
                return Err("the connection ended".to_owned());
            }
            let text = line.trim_end().to_ascii_lowercase();
            if status.is_empty() {
                status.clone_from(&text);
            }
            if let Some(value) = text.strip_prefix("x-longshore-version: ") {
                version = value.to_owned();
            }
            if let Some(value) = text.strip_prefix("content-length: ") {
                length = value.parse().map_err(|_| text.clone())?;
            }
            if text.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body).map_err(|error| error.to_string())?;
        if status.starts_with("http/1.1 200") { Ok(version) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body))) }
    }
}

fn connect(address: &str) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    BufReader::new(stream)
}

#[test]
fn a_quarter_is_a_quarter_and_no_request_is_lost() {
    let scratch = Scratch::new();
    let url = scratch.deploy("v1")["url"].as_str().unwrap().to_owned();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // A steady load from eight clients through all that follows.
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (url, stop, answered) = (&url, &stop, &answered);
                scope.spawn(move || {
                    let mut client = Client::new(url);
                    let mut lost = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        match client.ask() {
                            Ok(_) => {
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => {
                                lost.push(error);
                                client = Client::new(url);
                            }
                        }
                    }
                    lost
                })
            })
            .collect();
        let more = |by: usize| {
            let goal = answered.load(Ordering::Relaxed) + by;
            until("more answers", || (answered.load(Ordering::Relaxed) >= goal).then_some(()));
        };
        more(200);
        scratch.hold_canary("v2");

        let counts: Vec<BTreeMap<String, usize>> = (0..4)
            .map(|_| {
                let url = &url;
                scope.spawn(move || {
                    let mut client = Client::new(url);
                    let mut count = BTreeMap::new();
                    for _ in 0..1000 {
                        *count.entry(client.ask().expect("an answer")).or_default() += 1;
                    }
                    count
                })
            })
            .collect::<Vec<_>>()
            .into_iter()
            .map(|counting| counting.join().unwrap())
            .collect();
        let canary: usize = counts.iter().filter_map(|count| count.get("2")).sum();
        assert!((880..=1120).contains(&canary), "25 % of 4,000 went to the canary: {canary}");

        more(200);
        scratch.json(0, &["promote"]);
        more(200);
        scratch.json(0, &["rollback"]);
        more(200);
        scratch.deploy("v3");
        more(200);
        stop.store(true, Ordering::Relaxed);
        let lost: Vec<String> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(lost.is_empty(), "{} lost of {}: {lost:?}", lost.len(), answered.load(Ordering::Relaxed));
    });
}
