//! Specification: Push, as far as it is about blobs. Each case cites what it checks.

use crate::peer::{Peer, absent, bytes, cases, code, digest, path, sha512, with};
use crate::support::http::Connection;

cases!(
    a_blob_is_pushed_by_post_and_put,
    every_upload_has_a_place_of_its_own,
    a_blob_is_pushed_by_a_single_post_or_by_what_that_begins,
    a_blob_is_pushed_in_chunks,
    the_last_chunk_may_come_with_the_end,
    a_chunk_that_leaves_a_gap_is_refused,
    a_chunk_that_came_already_is_refused,
    a_first_chunk_begins_at_zero,
    a_last_chunk_out_of_order_is_refused,
    an_upload_goes_on_after_a_refused_chunk,
    a_blob_is_pushed_by_a_stream_of_unknown_length,
    an_upload_tells_where_it_stands,
    an_upload_is_cancelled,
    an_upload_that_is_not_there_is_not_found,
    bytes_with_another_digest_are_refused_by_post_and_put,
    bytes_with_another_digest_are_refused_by_a_single_post,
    bytes_with_another_digest_are_refused_in_chunks,
    a_digest_that_is_none_is_bad,
    a_digest_of_an_unknown_algorithm_is_bad,
    the_end_of_an_upload_names_a_digest,
    a_blob_is_mounted_from_another_repository,
    a_blob_is_mounted_without_saying_from_where,
    a_mount_of_what_is_not_there_begins_an_upload,
    a_mount_from_a_repository_that_is_not_there_begins_an_upload,
    a_blob_that_is_there_may_be_pushed_again,
    a_blob_is_pushed_by_sha512,
    a_blob_is_pushed_by_sha512_in_chunks,
    an_upload_may_be_begun_for_an_algorithm,
);

/// What is pushed, as `blobs/DIGEST`.
fn assert_there(peer: &Peer, closed: &crate::support::http::Answer, digest: &str, content: &[u8]) {
    assert_eq!(closed.status, 201, "{}", closed.text());
    let got = peer.send("GET", &path(closed), &[], &[]);
    assert_eq!(got.status, 200, "the Location is to be a pullable URL");
    assert!(got.body == content, "other bytes came back");
    assert_eq!(peer.head(&format!("blobs/{digest}")).status, 200);
}

/// POST then PUT: "the response MUST have a code of 202 Accepted, and MUST include … Location". "Upon successful completion
/// …, the response MUST have code 201 Created and MUST have … Location … a pullable blob URL".
fn a_blob_is_pushed_by_post_and_put(peer: &Peer) {
    let content = bytes(512);
    let closed = peer.close(&peer.begin(), &digest(&content), &content);
    assert_there(peer, &closed, &digest(&content), &content);
}

/// POST then PUT: "The <blob-push-location> MUST contain a UUID representing a unique session ID".
fn every_upload_has_a_place_of_its_own(peer: &Peer) {
    let (one, two) = (peer.begin(), peer.begin());
    assert_ne!(one, two);
    assert_eq!(peer.close(&two, &digest(b"two"), b"two").status, 201);
    assert_eq!(peer.close(&one, &digest(b"one"), b"one").status, 201);
}

/// Single POST: "Successful completion of the request MUST return a 201 Created and MUST include … Location". "Registries
/// that do not support single request monolithic uploads SHOULD return a 202 Accepted".
fn a_blob_is_pushed_by_a_single_post_or_by_what_that_begins(peer: &Peer) {
    let content = bytes(512);
    let path_and_query = format!("blobs/uploads/?digest={}", digest(&content));
    let mut answer =
        peer.at("POST", &path_and_query, &[("content-type", "application/octet-stream")], &content);
    if answer.status == 202 {
        answer = peer.close(&path(&answer), &digest(&content), &content);
    }
    assert_there(peer, &answer, &digest(&content), &content);
}

/// Pushing a blob in chunks: "The response for each successful chunk upload MUST be 202 Accepted, and MUST have … Location
/// … Range: 0-<end-of-range>". "The response to a successful closing of the session MUST be 201 Created".
fn a_blob_is_pushed_in_chunks(peer: &Peer) {
    let content = bytes(3000);
    let mut location = peer.begin();
    for first in [0, 1000, 2000] {
        let chunk = &content[first..first + 1000];
        let answer = peer.patch(&location, &format!("{first}-{}", first + 999), chunk);
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(answer.header("range"), Some(format!("0-{}", first + 999).as_str()));
        location = path(&answer);
    }
    let closed = peer.close(&location, &digest(&content), &[]);
    assert_there(peer, &closed, &digest(&content), &content);
}

/// Pushing a blob in chunks: "The final chunk MAY be uploaded using a PATCH request or it MAY be uploaded in the closing
/// PUT request."
fn the_last_chunk_may_come_with_the_end(peer: &Peer) {
    let content = bytes(1500);
    let location = path(&peer.patch(&peer.begin(), "0-999", &content[..1000]));
    let place = with(&location, &format!("digest={}", digest(&content)));
    let closed = peer.send("PUT", &place, &[("content-range", "1000-1499")], &content[1000..]);
    assert_there(peer, &closed, &digest(&content), &content);
}

/// Pushing a blob in chunks: "If a chunk is uploaded out of order, the registry MUST respond with a 416".
fn a_chunk_that_leaves_a_gap_is_refused(peer: &Peer) {
    let content = bytes(3000);
    let location = path(&peer.patch(&peer.begin(), "0-999", &content[..1000]));
    assert_eq!(peer.patch(&location, "2000-2999", &content[2000..]).status, 416);
}

/// The same, for a chunk that is repeated.
fn a_chunk_that_came_already_is_refused(peer: &Peer) {
    let content = bytes(1000);
    let location = path(&peer.patch(&peer.begin(), "0-999", &content));
    assert_eq!(peer.patch(&location, "0-999", &content).status, 416);
}

/// Pushing a blob in chunks: "The first chunk's range MUST begin with 0."
fn a_first_chunk_begins_at_zero(peer: &Peer) {
    assert_eq!(peer.patch(&peer.begin(), "5-9", b"56789").status, 416);
}

/// Pushing a blob in chunks: "If the final chunk is uploaded out of order, the registry MUST respond with a 416".
fn a_last_chunk_out_of_order_is_refused(peer: &Peer) {
    let content = bytes(1500);
    let location = path(&peer.patch(&peer.begin(), "0-999", &content[..1000]));
    let place = with(&location, &format!("digest={}", digest(&content)));
    let closed = peer.send("PUT", &place, &[("content-range", "0-499")], &content[1000..]);
    assert_eq!(closed.status, 416);
    assert_eq!(peer.head(&format!("blobs/{}", digest(&content))).status, 404);
}

/// Pushing a blob in chunks: "To get the current status after a 416 error, issue a GET request".
fn an_upload_goes_on_after_a_refused_chunk(peer: &Peer) {
    let content = bytes(3000);
    let location = path(&peer.patch(&peer.begin(), "0-999", &content[..1000]));
    assert_eq!(peer.patch(&location, "2000-2999", &content[2000..]).status, 416);
    let status = peer.send("GET", &location, &[], &[]);
    assert_eq!((status.status, status.header("range")), (204, Some("0-999")));
    let second = peer.patch(&path(&status), "1000-1999", &content[1000..2000]);
    assert_eq!(second.status, 202);
    let third = peer.patch(&path(&second), "2000-2999", &content[2000..]);
    let closed = peer.close(&path(&third), &digest(&content), &[]);
    assert_there(peer, &closed, &digest(&content), &content);
}

/// What clients do that compress while they send: one PATCH without `Content-Range` and `Content-Length`. The public
/// conformance suite calls it "blob streaming".
fn a_blob_is_pushed_by_a_stream_of_unknown_length(peer: &Peer) {
    let content = bytes(70_000);
    let location = peer.begin();
    let mut connection = Connection::open(peer.address);
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    connection.send(head.as_bytes());
    for piece in content.chunks(9_999) {
        connection.send(format!("{:x}\r\n", piece.len()).as_bytes());
        connection.send(piece);
        connection.send(b"\r\n");
    }
    connection.send(b"0\r\n\r\n");
    let answer = connection.answer("PATCH");
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-69999")));
    let closed = peer.close(&path(&answer), &digest(&content), &[]);
    assert_there(peer, &closed, &digest(&content), &content);
}

/// Pushing a blob in chunks: "The response to an active upload MUST be a 204 No Content response code, and MUST have …
/// Location … Range".
fn an_upload_tells_where_it_stands(peer: &Peer) {
    let location = path(&peer.patch(&peer.begin(), "0-9", b"0123456789"));
    let status = peer.send("GET", &location, &[], &[]);
    assert_eq!((status.status, status.header("range")), (204, Some("0-9")));
    let closed = peer.close(&path(&status), &digest(b"0123456789"), &[]);
    assert_eq!(closed.status, 201);
}

/// Cancel a blob upload: "If successful, the response SHOULD be a 204 No Content response code."
fn an_upload_is_cancelled(peer: &Peer) {
    let location = peer.begin();
    assert_eq!(peer.send("DELETE", &location, &[], &[]).status, 204);
    assert_eq!(peer.send("GET", &location, &[], &[]).status, 404);
}

/// Endpoints: end-5, end-6, end-13 and end-14 fail with 404; code-3 is `BLOB_UPLOAD_UNKNOWN`.
fn an_upload_that_is_not_there_is_not_found(peer: &Peer) {
    let location = peer.begin();
    peer.send("DELETE", &location, &[], &[]);
    let place = with(&location, &format!("digest={}", digest(b"x")));
    for (method, place) in [("PATCH", &location), ("PUT", &place), ("GET", &location), ("DELETE", &location)]
    {
        let body: &[u8] = if method == "GET" { b"" } else { b"x" };
        let answer = peer.send(method, place, &[], body);
        assert_eq!((answer.status, code(&answer).as_str()), (404, "BLOB_UPLOAD_UNKNOWN"), "{method}");
    }
}

fn assert_refused(peer: &Peer, answer: &crate::support::http::Answer, digest: &str) {
    assert_eq!((answer.status, code(answer).as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(peer.head(&format!("blobs/{digest}")).status, 404);
}

/// Pushing blobs: "if the client provided digest is invalid …, the registry SHOULD respond with a response code 400 Bad
/// Request"; code-4 is `DIGEST_INVALID`, "provided digest did not match uploaded content".
fn bytes_with_another_digest_are_refused_by_post_and_put(peer: &Peer) {
    assert_refused(peer, &peer.close(&peer.begin(), &absent(), b"something else"), &absent());
}

/// The same for the other way.
fn bytes_with_another_digest_are_refused_by_a_single_post(peer: &Peer) {
    let place = format!("blobs/uploads/?digest={}", absent());
    let mut answer = peer.at("POST", &place, &[], b"something else");
    if answer.status == 202 {
        answer = peer.close(&path(&answer), &absent(), b"something else");
    }
    assert_refused(peer, &answer, &absent());
}

/// The same for the third.
fn bytes_with_another_digest_are_refused_in_chunks(peer: &Peer) {
    let location = path(&peer.patch(&peer.begin(), "0-3", b"some"));
    assert_refused(peer, &peer.close(&location, &absent(), b"thing"), &absent());
}

/// Pushing blobs: as above, "invalid".
fn a_digest_that_is_none_is_bad(peer: &Peer) {
    for bad in ["sha256:baddigeststring", "nothing", ""] {
        assert_eq!(peer.close(&peer.begin(), bad, b"x").status, 400, "{bad}");
    }
}

/// Pushing blobs: as above, "uses an unsupported algorithm".
fn a_digest_of_an_unknown_algorithm_is_bad(peer: &Peer) {
    let unknown = digest(b"x").replace("sha256", "md17");
    assert_eq!(peer.close(&peer.begin(), &unknown, b"x").status, 400);
}

/// Pushing a blob in chunks: "The closing PUT request MUST include the <digest> of the whole blob".
fn the_end_of_an_upload_names_a_digest(peer: &Peer) {
    let answer = peer.send("PUT", &peer.begin(), &[], b"x");
    assert_eq!((answer.status, code(&answer).as_str()), (400, "DIGEST_INVALID"));
}

fn push_to_other(peer: &Peer, content: &[u8]) -> String {
    let other = Peer { address: peer.address, name: peer.other.clone(), other: String::new() };
    other.blob(content)
}

/// Mounting a blob: "The response to a successful mount MUST be 201 Created, and MUST contain … Location: <blob-location>".
fn a_blob_is_mounted_from_another_repository(peer: &Peer) {
    let content = bytes(300);
    let digest = push_to_other(peer, &content);
    let place = format!("blobs/uploads/?mount={digest}&from={}", peer.other);
    let mounted = peer.at("POST", &place, &[], &[]);
    assert_there(peer, &mounted, &digest, &content);
}

/// Mounting a blob: "The registry MAY treat the from parameter as optional, and it MAY cross-mount the blob if it can be
/// found." Else "it SHOULD return a 202".
fn a_blob_is_mounted_without_saying_from_where(peer: &Peer) {
    let content = bytes(301);
    let digest = push_to_other(peer, &content);
    let mut answer = peer.at("POST", &format!("blobs/uploads/?mount={digest}"), &[], &[]);
    if answer.status == 202 {
        answer = peer.close(&path(&answer), &digest, &content);
    }
    assert_there(peer, &answer, &digest, &content);
}

/// Mounting a blob: "if a registry … is unable to mount the requested blob, it SHOULD return a 202. This indicates that the
/// upload session has begun".
fn a_mount_of_what_is_not_there_begins_an_upload(peer: &Peer) {
    push_to_other(peer, b"something");
    let content = bytes(302);
    let digest = digest(&content);
    let place = format!("blobs/uploads/?mount={digest}&from={}", peer.other);
    let begun = peer.at("POST", &place, &[], &[]);
    assert_eq!(begun.status, 202);
    let closed = peer.close(&path(&begun), &digest, &content);
    assert_there(peer, &closed, &digest, &content);
}

/// The same where the other repository is not there at all.
fn a_mount_from_a_repository_that_is_not_there_begins_an_upload(peer: &Peer) {
    let place = format!("blobs/uploads/?mount={}&from={}/nowhere", absent(), peer.name);
    let begun = peer.at("POST", &place, &[], &[]);
    assert_eq!(begun.status, 202);
    assert_eq!(peer.close(&path(&begun), &digest(b"y"), b"y").status, 201);
}

/// Layer Upload De-duplication: "the first to complete will be stored in the registry", and the second is no error.
fn a_blob_that_is_there_may_be_pushed_again(peer: &Peer) {
    assert_eq!(peer.blob(b"twice"), peer.blob(b"twice"));
}

/// Pushing a blob in chunks: "When pushing a blob with a digest algorithm other than sha256 …"; a registry that takes it
/// gives it back by it.
fn a_blob_is_pushed_by_sha512(peer: &Peer) {
    let content = bytes(512);
    let closed = peer.close(&peer.begin(), &sha512(&content), &content);
    assert_there(peer, &closed, &sha512(&content), &content);
    assert_eq!(closed.header("docker-content-digest"), Some(sha512(&content).as_str()));
}

/// The same in chunks, where the algorithm is known at the end only.
fn a_blob_is_pushed_by_sha512_in_chunks(peer: &Peer) {
    let content = bytes(600_000);
    let location = path(&peer.patch(&peer.begin(), "0-399999", &content[..400_000]));
    let closed = peer.close(&location, &sha512(&content), &content[400_000..]);
    assert_there(peer, &closed, &sha512(&content), &content);
    let wrong = path(&peer.patch(&peer.begin(), "0-3", b"some"));
    let wrong = peer.close(&wrong, &sha512(b"else"), &[]);
    assert_eq!(wrong.status, 400);
}

/// Pushing a blob in chunks: "the post request SHOULD include the digest-algorithm parameter".
fn an_upload_may_be_begun_for_an_algorithm(peer: &Peer) {
    let content = bytes(700);
    let begun = peer.at("POST", "blobs/uploads/?digest-algorithm=sha512", &[], &[]);
    assert_eq!(begun.status, 202);
    let closed = peer.close(&path(&begun), &sha512(&content), &content);
    assert_there(peer, &closed, &sha512(&content), &content);
    assert_eq!(peer.at("POST", "blobs/uploads/?digest-algorithm=md17", &[], &[]).status, 400);
}
