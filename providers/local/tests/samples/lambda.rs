//! A function that asks for events, by plain sockets: what a runtime does, and what a bad one does.
//!
//! The event's field `do` says what happens: `error` fails; `exit` ends the process with the status `code`; `never` does not
//! answer; `large` answers with too much; `stream` answers in pieces, `break` fails and `half` ends in the middle of one;
//! `hold` answers when whoever listens on `port` hangs up; `raw` answers with the text `answer`; `say` writes `text`; `env`
//! answers with the variable `name`; `wrong-id` and `extension` answer with what the runtime API told; anything else is
//! answered with the event and what came with it. Started with the argument `init-error` it reports that it cannot start;
//! with `exit` it ends; with `silent` it does nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::SystemTime;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("init-error") => {
            let body = r#"{"errorType":"Runtime.NoSuchHandler","errorMessage":"there is no app.main","stackTrace":[]}"#;
            let (status, _, _) = call("POST", "/2018-06-01/runtime/init/error", &[], body.as_bytes());
            assert_eq!(status, 202);
            std::process::exit(1);
        }
        Some("exit") => {
            eprintln!("cannot find the configuration");
            std::process::exit(3);
        }
        Some("silent") => loop {
            std::thread::park();
        },
        _ => {}
    }
    println!("started as {}", identity());
    loop {
        let (status, headers, event) = call("GET", "/2018-06-01/runtime/invocation/next", &[], b"");
        assert_eq!(status, 200);
        serve(&headers, &String::from_utf8(event).expect("the event is text"));
    }
}

fn serve(headers: &str, event: &str) {
    let id = header(headers, "lambda-runtime-aws-request-id").expect("an id");
    let path = |end: &str| format!("/2018-06-01/runtime/invocation/{id}/{end}");
    let answer = |body: &str| {
        let (status, _, _) = call("POST", &path("response"), &[], body.as_bytes());
        assert_eq!(status, 202);
    };
    match field(event, "do").as_deref() {
        Some("error") => {
            let body = r#"{"errorType":"Shop.OutOfStock","errorMessage":"no more of them","stackTrace":["here"]}"#;
            let kind = [("Lambda-Runtime-Function-Error-Type", "Shop.OutOfStock")];
            assert_eq!(call("POST", &path("error"), &kind, body.as_bytes()).0, 202);
        }
        Some("exit") => std::process::exit(field(event, "code").expect("a code").parse().expect("a number")),
        Some("never") => loop {
            std::thread::park();
        },
        Some("large") => {
            let (status, _, body) = call("POST", &path("response"), &[], &vec![b'1'; 6 * 1024 * 1024 + 101]);
            assert_eq!((status, String::from_utf8_lossy(&body).contains("RequestEntityTooLarge")), (413, true));
        }
        Some("wrong-id") => {
            let (status, _, body) = call("POST", "/2018-06-01/runtime/invocation/nobody/response", &[], b"1");
            answer(&format!("{{\"status\":{status},\"body\":{}}}", String::from_utf8_lossy(&body)));
        }
        Some("extension") => {
            let (status, _, body) = call("POST", "/2020-01-01/extension/register", &[], b"{}");
            answer(&format!("{{\"status\":{status},\"body\":{}}}", String::from_utf8_lossy(&body)));
        }
        Some("stream" | "break" | "half") => {
            let mut stream = connect();
            let head = format!(
                "POST {} HTTP/1.1\r\nHost: api\r\nLambda-Runtime-Function-Response-Mode: streaming\r\nContent-Type: \
                 application/vnd.awslambda.http-integration-response\r\nTransfer-Encoding: chunked\r\nTrailer: \
                 Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n",
                path("response")
            );
            stream.write_all(head.as_bytes()).expect("it can be sent");
            let mut piece = |bytes: &[u8]| {
                stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).expect("it can be sent");
                stream.write_all(bytes).expect("it can be sent");
                stream.write_all(b"\r\n").expect("it can be sent");
            };
            piece(b"{\"statusCode\":201,\"headers\":{\"content-type\":\"text/plain\"}}\0\0\0\0\0\0\0\0");
            piece(b"one");
            match field(event, "do").as_deref() {
                Some("half") => std::process::exit(4),
                Some("break") => stream
                    .write_all(b"0\r\nLambda-Runtime-Function-Error-Type: Shop.Broke\r\n\r\n")
                    .expect("it can be sent"),
                _ => {
                    piece(b"two");
                    stream.write_all(b"0\r\n\r\n").expect("it can be sent");
                }
            }
            assert_eq!(receive(stream).0, 202);
        }
        Some("raw") => answer(&unescaped(&field(event, "answer").expect("an answer"))),
        Some("say") => {
            println!("{}", field(event, "text").expect("a text"));
            answer("{\"said\":true}");
        }
        Some("env") => {
            let name = field(event, "name").expect("a name");
            answer(&format!("\"{}\"", std::env::var(name).unwrap_or_default()));
        }
        Some("hold") => {
            let port: u16 = field(event, "port").expect("a port").parse().expect("a number");
            let mut holder = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
            let mut byte = [0];
            let _ = holder.read(&mut byte);
            answer(&format!("{{\"pid\":\"{}\"}}", identity()));
        }
        _ => answer(&format!(
            "{{\"pid\":\"{}\",\"deadline\":{},\"arn\":\"{}\",\"trace\":\"{}\",\"context\":\"{}\",\"event\":{event}}}",
            identity(),
            header(headers, "lambda-runtime-deadline-ms").expect("a deadline"),
            header(headers, "lambda-runtime-invoked-function-arn").expect("a name"),
            header(headers, "lambda-runtime-trace-id").expect("a trace"),
            header(headers, "lambda-runtime-client-context").unwrap_or_default().replace('"', "'"),
        )),
    }
}

fn header(headers: &str, name: &str) -> Option<String> {
    headers.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

/// The text of a field of a JSON object without escapes in its names.
fn field(event: &str, name: &str) -> Option<String> {
    let (_, rest) = event.split_once(&format!("\"{name}\":\""))?;
    let mut end = 0;
    let bytes = rest.as_bytes();
    while bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    Some(rest[..end].to_owned())
}

fn unescaped(text: &str) -> String {
    text.replace("\\\"", "\"")
}

fn connect() -> TcpStream {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").expect("AWS_LAMBDA_RUNTIME_API");
    let stream = TcpStream::connect(api).expect("the runtime API answers");
    stream.set_nodelay(true).expect("an option");
    stream
}

fn call(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = connect();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: api\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).expect("it can be sent");
    // The other side may have said no before it has all.
    let _ = stream.write_all(body);
    receive(stream)
}

fn receive(stream: TcpStream) -> (u16, String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("an answer") > 0, "the answer ends: {head}");
    }
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    let length = header(&head, "content-length").map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    (status, head, body)
}

/// Tells this process from any other: its number may be the same in another namespace.
fn identity() -> u128 {
    static IDENTITY: OnceLock<u128> = OnceLock::new();
    *IDENTITY.get_or_init(|| SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_nanos())
}
