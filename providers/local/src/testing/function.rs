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
            println!("a child of mine is {}", child.id());
            serve("127.0.0.1");
        }
        "orphans" => drop(Command::new("/function").args(["nothing"]).spawn().unwrap()),
        "nothing" => {}
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
        // ADDRESS/REST: asks there for REST, and answers with all that comes.
        "fetch" => {
            let (address, path) = rest.split_once('/').unwrap();
            let path = if path.contains("://") { path.to_owned() } else { format!("/{path}") };
            told(TcpStream::connect(address).and_then(|mut stream| {
                write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).map(|_| answer)
            }))
        }
        // Uses so many more mebibytes of memory, for good.
        "use" => {
            std::mem::forget(std::hint::black_box(vec![1_u8; rest.parse::<usize>().unwrap() << 20]));
            "ok".to_owned()
        }
        // A child whose parent has ended, and that ends too.
        "orphan" => {
            let child = Command::new("/function").args(["orphans"]).status().unwrap();
            if child.success() { "ok".to_owned() } else { "error".to_owned() }
        }
        "exit" => std::process::exit(rest.parse().unwrap()),
        _ => "ok".to_owned(),
    };
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
