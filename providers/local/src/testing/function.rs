// A function for tests: one static program without dependencies, told what to be by its first argument.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map_or("serve", String::as_str) {
        "serve" => serve("0.0.0.0"),
        "serve-six" => serve("[::1]"),
        "serve-stubborn" => {
            const SIGTERM: i32 = 15;
            const IGNORE: usize = 1;
            // SAFETY: ignoring a signal installs no handler.
            unsafe { signal(SIGTERM, IGNORE) };
            serve("127.0.0.1");
        }
        "serve-with-child" => {
            let child = Command::new(&arguments[0]).arg("silent").spawn().unwrap();
            std::fs::write("/tmp/child", child.id().to_string()).unwrap();
            serve("127.0.0.1");
        }
        "silent" => {
            println!("I say nothing more {}", std::process::id());
            loop {
                std::thread::park();
            }
        }
        "exit" => {
            for line in 0..40 {
                println!("line {line}");
            }
            eprintln!("the last word");
            std::process::exit(arguments[2].parse().unwrap());
        }
        other => panic!("{other}?"),
    }
}

fn serve(address: &str) {
    let port = std::env::var("PORT").unwrap();
    let listener = TcpListener::bind(format!("{address}:{port}")).unwrap();
    println!("listening on {port}");
    for stream in listener.incoming() {
        let _ = answer(stream.unwrap());
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let (verb, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let told = |result: std::io::Result<String>| result.unwrap_or_else(|error| format!("error: {error}"));
    let body = match verb {
        "env" => std::env::var(rest).unwrap_or_else(|_| "error: unset".to_owned()),
        "arguments" => std::env::args().collect::<Vec<_>>().join(" "),
        "directory" => told(std::env::current_dir().map(|path| path.display().to_string())),
        "read" => told(std::fs::read_to_string(format!("/{rest}"))),
        "write" => told(std::fs::write(format!("/{rest}"), "written").map(|()| "written".to_owned())),
        "list" => told(std::fs::read_dir(format!("/{rest}")).map(|entries| {
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names.join(" ")
        })),
        "link" => told(std::fs::read_link(format!("/{rest}")).map(|path| path.display().to_string())),
        "owner" => told(std::fs::metadata(format!("/{rest}")).map(|data| format!("{}:{}", data.uid(), data.gid()))),
        "random" => {
            let mut bytes = [0; 8];
            told(std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map(|()| {
                (bytes != [0; 8]).to_string()
            }))
        }
        "exit" => std::process::exit(rest.parse().unwrap()),
        _ => "ok".to_owned(),
    };
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
