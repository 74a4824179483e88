//! The function that tests deploy: an HTTP server out of the standard library alone.
//!
//! Any path answers with `ANSWER`. `/echo` answers with the request's body, piece by piece as it comes; `/request` with the
//! request's head, and so does `/slow` after a while; `/crash` ends the process before it answers; `/never` does not answer; `/stream` sends a second piece
//! when it hears under `/seen` that the first was seen; `/held` answers then; `/bad` answers 500; `/pid` tells the process; `/health` answers 503
//! twice before it answers 200. With `EVENTS` it takes events at that path, tells their head, and has no `/invoke`. Started with the
//! argument `exit` it tells its `TOKEN`, if it has one, and ends; with `late` it listens only after half a second, or after as
//! many milliseconds as the next argument says.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("exit") {
        if let Ok(token) = std::env::var("TOKEN") {
            eprintln!("the token is {token}");
        }
        eprintln!("cannot find the configuration");
        std::process::exit(3);
    }
    if std::env::args().nth(1).as_deref() == Some("late") {
        let stated = std::env::args().nth(2).map(|number| number.parse().expect("a number"));
        std::thread::sleep(Duration::from_millis(stated.unwrap_or(500)));
    }
    let port: u16 = std::env::var("PORT").expect("PORT").parse().expect("a port");
    println!("listening on {port}");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for stream in listener.incoming() {
        let stream = stream.expect("a connection");
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let _ = serve(stream);
        });
    }
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let answer = std::env::var("ANSWER").unwrap_or_default();
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let lower = head.to_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let chunked = lower.contains("transfer-encoding: chunked");
        if path.starts_with("/echo") {
            writer.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            read_body(&mut reader, length, chunked, |piece| {
                write!(writer, "{:x}\r\n", piece.len())?;
                writer.write_all(piece)?;
                writer.write_all(b"\r\n")
            })?;
            writer.write_all(b"0\r\n\r\n")?;
            continue;
        }
        read_body(&mut reader, length, chunked, |_| Ok(()))?;
        let (status, body) = match path.split('?').next().unwrap_or_default() {
            "/crash" => std::process::exit(9),
            "/bad" => ("500 Internal Server Error", answer.clone()),
            "/never" => {
                std::thread::park();
                continue;
            }
            "/stream" => {
                writer.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")?;
                // The second piece is only sent when the first was seen: its receiver says so under /seen.
                SEEN.wait();
                writer.write_all(b"3\r\ntwo\r\n0\r\n\r\n")?;
                continue;
            }
            "/held" => {
                println!("one is held");
                SEEN.wait();
                ("200 OK", head.clone())
            }
            "/seen" => {
                SEEN.open();
                ("200 OK", answer.clone())
            }
            "/request" => ("200 OK", head.clone()),
            "/slow" => {
                std::thread::sleep(Duration::from_millis(300));
                ("200 OK", head.clone())
            }
            path if std::env::var("EVENTS").as_deref() == Ok(path) => ("200 OK", head.clone()),
            "/invoke" if std::env::var_os("EVENTS").is_some() => ("404 Not Found", String::new()),
            "/health" if ASKED.fetch_add(1, Ordering::SeqCst) < 2 => ("503 Service Unavailable", String::new()),
            "/pid" => ("200 OK", IDENTITY.to_string()),
            _ => ("200 OK", answer.clone()),
        };
        write!(writer, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nX-Own: yes\r\n\r\n{body}", body.len())?;
    }
}

fn read_body(
    reader: &mut impl BufRead,
    length: Option<usize>,
    chunked: bool,
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    let mut left = length.unwrap_or(0);
    loop {
        if chunked && left == 0 {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            left = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            if left == 0 {
                reader.read_line(&mut line)?;
                return Ok(());
            }
        }
        if left == 0 {
            return Ok(());
        }
        let most = left.min(piece.len());
        let count = reader.read(&mut piece[..most])?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        each(&piece[..count])?;
        left -= count;
        if chunked && left == 0 {
            reader.read_line(&mut String::new())?;
        }
    }
}

/// Tells this process from any other: its number may be the same in another namespace.
static IDENTITY: LazyLock<u128> =
    LazyLock::new(|| SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_nanos());

/// How often its health was asked for.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// A gate that stays open.
struct Gate(std::sync::Mutex<bool>, std::sync::Condvar);

static SEEN: Gate = Gate(std::sync::Mutex::new(false), std::sync::Condvar::new());

impl Gate {
    fn wait(&self) {
        let mut open = self.0.lock().unwrap();
        while !*open {
            open = self.1.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}
