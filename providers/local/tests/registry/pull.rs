//! Specification: Pull. Each case cites what it checks.

use crate::peer::{INDEX, MANIFEST, Peer, absent, bytes, cases, code, digest};

cases!(
    the_api_says_that_it_is_there,
    a_manifest_comes_back_as_it_was_pushed,
    a_manifest_is_there_for_head,
    a_manifest_that_is_not_there_is_not_found,
    a_repository_that_is_not_there_is_not_found,
    a_manifest_is_answered_without_parameters_in_its_type,
    a_manifest_of_any_kind_is_answered_whatever_is_accepted,
    a_reference_is_a_tag_of_128_characters_or_a_digest,
    a_name_is_what_the_grammar_says,
    a_blob_comes_back_as_it_was_pushed,
    a_blob_is_there_for_head,
    a_blob_that_is_not_there_is_not_found,
    a_blob_belongs_to_its_repository,
    an_empty_blob_and_an_empty_object_are_blobs,
    a_part_of_a_blob_is_answered,
    a_part_from_a_place_on_is_answered,
    the_last_part_of_a_blob_is_answered,
    a_part_that_reaches_over_the_end_is_cut,
    a_part_behind_the_end_is_not_satisfiable,
    a_part_that_ends_before_it_begins_is_not_answered_in_part,
    a_digest_that_is_none_is_not_found_or_bad,
);

/// Determining Support: "If the response is 200 OK, then the registry implements this specification."
fn the_api_says_that_it_is_there(peer: &Peer) {
    assert_eq!(peer.send("GET", "/v2/", &[], &[]).status, 200);
}

/// Pulling manifests: "A GET request to an existing manifest URL MUST provide the expected manifest, with a response code
/// that MUST be 200 OK. A successful response MUST contain the digest … in the header Docker-Content-Digest." "The
/// Content-Type header SHOULD match what the client pushed."
fn a_manifest_comes_back_as_it_was_pushed(peer: &Peer) {
    let image = peer.image("one");
    let digest = peer.manifest("v1", MANIFEST, &image);
    for reference in ["v1", &digest] {
        let got = peer.get_manifest(reference);
        assert_eq!((got.status, got.text()), (200, image.to_string()));
        assert_eq!(got.header("docker-content-digest"), Some(digest.as_str()));
        assert_eq!(got.header("content-type"), Some(MANIFEST));
    }
}

/// Checking if content exists: "A HEAD request to an existing blob or manifest URL MUST return 200 OK. A successful
/// response MUST contain the digest … and the size in bytes … in the header Content-Length."
fn a_manifest_is_there_for_head(peer: &Peer) {
    let image = peer.image("one");
    let digest = peer.manifest("v1", MANIFEST, &image);
    for reference in ["v1", &digest] {
        let path = format!("manifests/{reference}");
        let head = peer.at("HEAD", &path, &[("accept", MANIFEST)], &[]);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()));
        let length = image.to_string().len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()));
    }
}

/// Pulling manifests: "If the manifest is not found in the repository, the response code MUST be 404 Not Found."
fn a_manifest_that_is_not_there_is_not_found(peer: &Peer) {
    peer.push("v1", "one");
    for reference in ["v2", &absent()] {
        let missing = peer.get_manifest(reference);
        assert_eq!((missing.status, code(&missing).as_str()), (404, "MANIFEST_UNKNOWN"));
        assert_eq!(peer.head(&format!("manifests/{reference}")).status, 404);
    }
}

/// Pushing Manifests: "An attempt to pull a nonexistent repository MUST return response code 404 Not Found."
fn a_repository_that_is_not_there_is_not_found(peer: &Peer) {
    for path in ["manifests/v1".to_owned(), format!("blobs/{}", absent()), "tags/list".to_owned()] {
        assert_eq!(peer.get(&path).status, 404, "{path}");
    }
}

/// Pulling manifests: "The registry SHOULD NOT include parameters on the Content-Type header." Pushing Manifests: "The
/// registry SHOULD ignore parameters on the Content-Type header."
fn a_manifest_is_answered_without_parameters_in_its_type(peer: &Peer) {
    let image = peer.image("one").to_string();
    let put = peer.put("v1", &format!("{MANIFEST}; charset=utf-8"), image.as_bytes());
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(peer.get_manifest("v1").header("content-type"), Some(MANIFEST));
}

/// Pulling manifests: "A GET request to an existing manifest URL MUST provide the expected manifest", and its `Accept` is
/// a SHOULD of clients that many do without.
fn a_manifest_of_any_kind_is_answered_whatever_is_accepted(peer: &Peer) {
    let child = peer.image("one");
    let child_digest = peer.manifest("child", MANIFEST, &child);
    let size = child.to_string().len();
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [{
            "mediaType": MANIFEST, "digest": child_digest, "size": size,
            "platform": { "os": "linux", "architecture": "amd64" },
        }],
    });
    let index_digest = peer.manifest("index", INDEX, &index);
    for accept in [&[][..], &[("accept", "*/*")], &[("accept", MANIFEST)]] {
        let got = peer.at("GET", "manifests/index", accept, &[]);
        assert_eq!((got.status, got.text()), (200, index.to_string()), "{accept:?}");
        assert_eq!(got.header("docker-content-digest"), Some(index_digest.as_str()));
    }
}

/// Pulling manifests: "as a tag MUST be at most 128 characters in length and MUST match [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";
/// "MUST NOT be in any other format".
fn a_reference_is_a_tag_of_128_characters_or_a_digest(peer: &Peer) {
    let image = peer.image("one").to_string();
    for good in [&"a".repeat(128), "_", "V1.0-rc.1_x", "0"] {
        let put = peer.put(good, MANIFEST, image.as_bytes());
        assert_eq!(put.status, 201, "{good}: {}", put.text());
        assert_eq!(peer.get_manifest(good).status, 200, "{good}");
    }
    for bad in [&"a".repeat(129), ".a", "-a", "a+b", "a%20b"] {
        let put = peer.put(bad, MANIFEST, image.as_bytes());
        assert!((400..500).contains(&put.status), "{bad}: {}", put.status);
        let got = peer.get_manifest(bad);
        assert!((400..500).contains(&got.status), "{bad}: {}", got.status);
    }
}

/// Pulling manifests: "<name> MUST match the following regular expression:
/// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*".
fn a_name_is_what_the_grammar_says(peer: &Peer) {
    let begin = |name: &str| peer.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], &[]).status;
    for good in ["a", "0", "a.b", "a_b", "a__b", "a-b", "a---b", "a/b/c/d", "a.b/c_d/e--f"] {
        assert_eq!(begin(good), 202, "{good}");
    }
    for bad in ["A", "a..b", "a___b", "-a", "a-", "a.", "a/-b", "a/B", "a%20b"] {
        assert!((400..500).contains(&begin(bad)), "{bad}: {}", begin(bad));
    }
}

/// Pulling blobs: "A GET request to an existing blob URL MUST provide the expected blob, with a response code that MUST be
/// 200 OK. A successful response MUST contain the digest … in the header Docker-Content-Digest."
fn a_blob_comes_back_as_it_was_pushed(peer: &Peer) {
    let content = bytes(100_000);
    let digest = peer.blob(&content);
    let got = peer.get(&format!("blobs/{digest}"));
    assert_eq!(got.status, 200);
    assert!(got.body == content, "other bytes came back");
    assert_eq!(got.header("docker-content-digest"), Some(digest.as_str()));
}

/// Checking if content exists: as [`a_manifest_is_there_for_head`].
fn a_blob_is_there_for_head(peer: &Peer) {
    let digest = peer.blob(&bytes(1234));
    let head = peer.head(&format!("blobs/{digest}"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("1234"));
    assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()));
}

/// Pulling blobs: "If the blob is not found in the repository, the response code MUST be 404 Not Found."
fn a_blob_that_is_not_there_is_not_found(peer: &Peer) {
    peer.blob(b"another");
    let path = format!("blobs/{}", absent());
    let missing = peer.get(&path);
    assert_eq!((missing.status, code(&missing).as_str()), (404, "BLOB_UNKNOWN"));
    assert_eq!(peer.head(&path).status, 404);
}

/// Definitions: "Repository: a scope for API calls on a registry for a collection of content (including manifests, blobs,
/// and tags)."
fn a_blob_belongs_to_its_repository(peer: &Peer) {
    let digest = peer.blob(b"only here");
    assert_eq!(peer.send("GET", &format!("/v2/{}/blobs/{digest}", peer.other), &[], &[]).status, 404);
}

/// Pulling blobs, for the two contents that every client pushes.
fn an_empty_blob_and_an_empty_object_are_blobs(peer: &Peer) {
    for content in [&b""[..], b"{}"] {
        let digest = peer.blob(content);
        let got = peer.get(&format!("blobs/{digest}"));
        assert_eq!((got.status, got.body.as_slice()), (200, content));
        let length = content.len().to_string();
        assert_eq!(peer.head(&format!("blobs/{digest}")).header("content-length"), Some(length.as_str()));
    }
}

/// Asks for a range of a blob of 2,048 bytes and checks the answer against the bytes from `first` to `last`.
fn part(peer: &Peer, range: &str, first: usize, last: usize) {
    let content = bytes(2048);
    let path = format!("blobs/{}", peer.blob(&content));
    let got = peer.at("GET", &path, &[("range", range)], &[]);
    assert_eq!(got.status, 206);
    assert!(got.body == content[first..=last], "{range}: other bytes came back");
    let stated = format!("bytes {first}-{last}/2048");
    assert_eq!(got.header("content-range"), Some(stated.as_str()));
    let length = (last - first + 1).to_string();
    assert_eq!(got.header("content-length"), Some(length.as_str()));
}

/// Pulling blobs: "A registry SHOULD support the Range request header in accordance with RFC 9110 (section 14)."
fn a_part_of_a_blob_is_answered(peer: &Peer) {
    part(peer, "bytes=500-1499", 500, 1499);
}

/// RFC 9110, 14.1.2: "int-range … If the last-pos value is absent … the byte range is until the end".
fn a_part_from_a_place_on_is_answered(peer: &Peer) {
    part(peer, "bytes=500-", 500, 2047);
}

/// RFC 9110, 14.1.2: "A client can request the last N bytes … using a suffix-range."
fn the_last_part_of_a_blob_is_answered(peer: &Peer) {
    part(peer, "bytes=-500", 1548, 2047);
}

/// RFC 9110, 14.1.2: "if the value is greater than or equal to the current length …, the byte range is interpreted as the
/// remainder".
fn a_part_that_reaches_over_the_end_is_cut(peer: &Peer) {
    part(peer, "bytes=2000-5000", 2000, 2047);
}

/// RFC 9110, 15.5.17: 416 where none of the ranges is satisfiable, with the length in `Content-Range`.
fn a_part_behind_the_end_is_not_satisfiable(peer: &Peer) {
    let path = format!("blobs/{}", peer.blob(&bytes(2048)));
    let got = peer.at("GET", &path, &[("range", "bytes=5000-10000")], &[]);
    assert_eq!(got.status, 416);
    assert_eq!(got.header("content-range"), Some("bytes */2048"));
}

/// RFC 9110, 14.2: "A server that supports range requests MAY ignore or reject a Range header field that contains an
/// invalid ranges-specifier."
fn a_part_that_ends_before_it_begins_is_not_answered_in_part(peer: &Peer) {
    let path = format!("blobs/{}", peer.blob(&bytes(2048)));
    let got = peer.at("GET", &path, &[("range", "bytes=500-0")], &[]);
    assert!(got.status == 416 || (got.status == 200 && got.body.len() == 2048), "{}", got.status);
}

/// Pushing blobs: "if the client provided digest is invalid or uses an unsupported algorithm, the registry SHOULD respond
/// with … 400"; for a pull it may as well not be found.
fn a_digest_that_is_none_is_not_found_or_bad(peer: &Peer) {
    peer.push("v1", "one");
    for bad in ["sha256:baddigeststring", "sha256:", &digest(b"x").replace("sha256", "md17")] {
        for path in [format!("manifests/{bad}"), format!("blobs/{bad}")] {
            let got = peer.get(&path);
            assert!(matches!(got.status, 400 | 404), "{path}: {}", got.status);
        }
    }
}
