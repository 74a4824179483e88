//! Registries that say what hurts.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use longshore::image::digest_of;
use serde_json::json;

use crate::push_support::layout::{CONFIG, LAYER, MANIFEST};

/// What the registry does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    ManifestWithoutEnd,
    ManifestOfAGibibyte,
    AnotherManifest,
    LayerWithoutEnd,
    AnotherLayer,
    RefusalWithoutEnd,
    RedirectToItself,
}

/// A registry with one image, or something that calls itself that. It ends with the test's process.
pub(crate) struct Registry {
    address: SocketAddr,
}

impl Registry {
    pub(crate) fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever hangs up on it has heard enough.
                std::thread::spawn(move || serve(&stream, lie));
            }
        });
        Self { address }
    }

    pub(crate) fn reference(&self, name: &str) -> String {
        let joint = if name.contains('/') { "" } else { "/" };
        format!("{}{joint}{name}", self.address)
    }
}

const LAYER_BYTES: &[u8] = b"layer";

fn documents() -> (Vec<u8>, Vec<u8>) {
    let diff_ids = [digest_of(LAYER_BYTES)];
    let config =
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = serde_json::to_vec(&config).unwrap();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(&config), "size": config.len()},
        "layers": [{"mediaType": LAYER, "digest": digest_of(LAYER_BYTES), "size": LAYER_BYTES.len()}]});
    (config, serde_json::to_vec(&manifest).unwrap())
}

fn serve(stream: &TcpStream, lie: Lie) -> std::io::Result<()> {
    let (config, manifest) = documents();
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let asked = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let head = line.starts_with("HEAD ");
        while reader.read_line(&mut line)? > 0 && !line.ends_with("\r\n\r\n") {}
        let kind = if asked.contains("/manifests/") { MANIFEST } else { "application/octet-stream" };
        let whole = |mut out: &TcpStream, bytes: &[u8]| {
            let length = bytes.len();
            write!(out, "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n")?;
            if head { Ok(()) } else { out.write_all(bytes) }
        };
        match lie {
            Lie::RefusalWithoutEnd if asked != "/v2/" => return forever(out, "403 Forbidden", "text/plain"),
            Lie::RedirectToItself if asked != "/v2/" => {
                write!(
                    out,
                    "HTTP/1.1 307 Temporary Redirect\r\nlocation: {asked}\r\ncontent-length: 0\r\n\r\n"
                )?;
            }
            Lie::ManifestWithoutEnd if kind == MANIFEST => return forever(out, "200 OK", kind),
            Lie::ManifestOfAGibibyte if kind == MANIFEST => {
                write!(
                    out,
                    "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
                    1 << 30
                )?;
                return pour(out);
            }
            Lie::LayerWithoutEnd if asked.ends_with(digest_of(LAYER_BYTES).as_str()) => {
                return forever(out, "200 OK", kind);
            }
            Lie::AnotherLayer if asked.ends_with(digest_of(LAYER_BYTES).as_str()) => whole(out, b"REYAL")?,
            _ if kind == MANIFEST => whole(out, &manifest)?,
            _ if asked.ends_with(digest_of(&config).as_str()) => whole(out, &config)?,
            _ if asked.contains("/blobs/") => whole(out, LAYER_BYTES)?,
            _ => whole(out, b"{}")?,
        }
    }
}

/// An answer whose end is never told.
fn forever(mut out: &TcpStream, status: &str, kind: &str) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n")?;
    pour(out)
}

fn pour(mut out: &TcpStream) -> std::io::Result<()> {
    let piece = [b' '; 1 << 16];
    loop {
        out.write_all(&piece)?;
    }
}
