//! The quickstart's function: a small HTTP server on the standard library alone, so that one `rustc` builds it.
//!
//! `GET /` answers a page, `GET /health` says `ok`, `GET /fail` answers 500, `GET /crash` ends the process, and
//! anything else is answered with JSON that names the version and counts the bytes that were sent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Baked in by `build.sh`, so that every version is an image of its own.
const VERSION: &str = env!("QUICKSTART_VERSION");

/// A request's head may be this long, and its body is read and counted but never kept.
const HEAD_LIMIT: u64 = 64 * 1024;

fn main() -> io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("hello {VERSION} listens on port {port}");
    for connection in listener.incoming() {
        let connection = connection?;
        std::thread::spawn(move || {
            if let Err(error) = serve(&connection) {
                println!("a connection ended early: {error}");
            }
        });
    }
    Ok(())
}

/// Answers the requests of one connection until its client closes it.
fn serve(connection: &TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    while let Some(request) = read_head(&mut reader)? {
        let body = io::copy(&mut reader.by_ref().take(request.length), &mut io::sink())?;
        answer(connection, &request, body)?;
    }
    Ok(())
}

struct Request {
    method: String,
    path: String,
    length: u64,
}

/// Reads the next request's head; `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = reader.take(HEAD_LIMIT);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or("/").split('?').next().unwrap_or("/").to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the head of a request has no end"));
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            Some(_) => {}
            None => return Ok(Some(Request { method, path, length })),
        }
    }
}

fn answer(mut connection: &TcpStream, request: &Request, received: u64) -> io::Result<()> {
    let (status, kind, body) = match (request.method.as_str(), request.path.as_str()) {
        // The page lies in the image beside the program, in its working directory.
        ("GET", "/") => match std::fs::read_to_string("page.html") {
            Ok(page) => ("200 OK", "text/html", page.replace("{version}", VERSION)),
            Err(error) => ("500 Internal Server Error", "text/plain", format!("page.html: {error}\n")),
        },
        ("GET", "/health") => ("200 OK", "text/plain", "ok\n".to_owned()),
        ("GET", "/fail") => ("500 Internal Server Error", "text/plain", "failed, as you asked\n".to_owned()),
        ("GET", "/crash") => {
            println!("crashing, as you asked");
            std::process::exit(1)
        }
        _ => ("200 OK", "application/json", format!("{{\"hello\":\"{VERSION}\",\"received\":{received}}}\n")),
    };
    println!("{} {} {status}", request.method, request.path);
    let length = body.len();
    let body = if request.method == "HEAD" { "" } else { &body };
    write!(connection, "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
}
