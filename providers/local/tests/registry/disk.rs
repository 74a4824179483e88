//! A disk that is full: said plainly, nothing half kept, and over once there is room.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::peer::{MANIFEST, Peer, bytes, code, digest, path};
use crate::support::PROGRAM;
use crate::support::http::Connection;

/// A cloud on a file system of 24 MiB.
struct Small {
    daemon: Child,
    directory: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// `None` where this kernel grants no user namespaces, which continuous integration's must.
fn small() -> Option<(Small, Peer)> {
    let folder = tempfile::tempdir().expect("a folder");
    let script = r#"mount -t tmpfs -o size=24m none "$1" && exec "$0" local serve --state "$1/cloud""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, PROGRAM]).arg(folder.path());
    let daemon = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut daemon = daemon.expect("unshare is part of every Linux");
    let mut line = String::new();
    let stdout = daemon.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("it can be read");
    if !line.contains("ready") {
        assert!(std::env::var_os("CI").is_none(), "no user namespaces in CI: {line}");
        let _ = writeln!(std::io::stderr(), "skipped: this kernel grants no user namespaces");
        let _ = daemon.wait();
        return None;
    }
    let directory = PathBuf::from(format!("/proc/{}/root{}/cloud", daemon.id(), folder.path().display()));
    let identity = std::fs::read(directory.join("cloud.json")).expect("the cloud has a name");
    let identity: serde_json::Value = serde_json::from_slice(&identity).expect("JSON");
    let port = identity["registry_port"].as_u64().expect("a port");
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    let peer = Peer { address, name: "shop".to_owned(), other: String::new() };
    Some((Small { daemon, directory, _folder: folder }, peer))
}

fn assert_full(answer: &crate::support::http::Answer) {
    assert_eq!((answer.status, code(answer).as_str()), (507, "DENIED"), "{}", answer.text());
    assert!(answer.text().contains("the disk of the registry's directory is full"), "{}", answer.text());
}

#[test]
fn a_blob_that_has_no_room_is_refused_and_leaves_nothing() {
    let Some((small, peer)) = small() else { return };
    let large = bytes(32 << 20);
    // Its length is known: it is refused before any of it is kept, and the upload stays.
    let location = peer.begin();
    assert_full(&peer.close(&location, &digest(&large), &large));
    assert_eq!(peer.send("GET", &location, &[], &[]).header("range"), Some("0-0"));
    assert_eq!(peer.send("DELETE", &location, &[], &[]).status, 204);

    // Its length is not known: it is refused when the disk is full.
    let location = peer.begin();
    let mut connection = Connection::open(peer.address);
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    connection.send(head.as_bytes());
    for piece in large.chunks(1 << 20) {
        connection.send(format!("{:x}\r\n", piece.len()).as_bytes());
        connection.send(piece);
        connection.send(b"\r\n");
    }
    connection.send(b"0\r\n\r\n");
    assert_full(&connection.answer("PATCH"));
    assert_eq!(peer.send("GET", &location, &[], &[]).status, 404);
    let uploads = small.directory.join("registry/uploads");
    assert_eq!(std::fs::read_dir(uploads).expect("a folder").count(), 0);

    peer.push("v1", "there is room for this");
    assert_eq!(peer.get_manifest("v1").status, 200);
}

#[test]
fn a_full_disk_refuses_a_manifest_and_keeps_what_was() {
    let Some((small, peer)) = small() else { return };
    let first = peer.push("v1", "first");
    let second = peer.image("second");
    let open = path(&peer.patch(&peer.begin(), "0-4", b"01234"));
    let filler = small.directory.join("filler");
    let mut file = std::fs::File::create(&filler).expect("there is room");
    while file.write_all(&[0; 4096]).is_ok() {}

    assert_full(&peer.put("v1", MANIFEST, second.to_string().as_bytes()));
    assert_full(&peer.patch(&open, "5-9", b"56789"));
    let still = peer.get_manifest("v1");
    assert_eq!((still.status, still.header("docker-content-digest")), (200, Some(first.as_str())));

    drop(file);
    std::fs::remove_file(&filler).expect("it is ours");
    let digest_of_second = peer.manifest("v1", MANIFEST, &second);
    let moved = peer.get_manifest("v1");
    assert_eq!(moved.header("docker-content-digest"), Some(digest_of_second.as_str()));
    // An upload that found no room for a chunk goes on where it stood.
    assert_eq!(peer.patch(&open, "5-9", b"56789").status, 202);
    assert_eq!(peer.close(&open, &digest(b"0123456789"), &[]).status, 201);
}
