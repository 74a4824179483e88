//! Specification: Content Management, Error Codes, and what RFC 9110 says where the specification says nothing.

use serde_json::Value;

use crate::peer::{MANIFEST, Peer, absent, cases, code};

cases!(
    a_tag_is_deleted_and_its_manifest_stays,
    a_manifest_is_deleted_with_the_tags_that_name_it,
    a_manifest_that_is_not_there_cannot_be_deleted,
    nothing_is_deleted_in_a_repository_that_is_not_there,
    a_manifest_that_was_deleted_may_be_pushed_again,
    a_blob_is_deleted,
    a_blob_that_is_not_there_cannot_be_deleted,
    a_blob_that_was_deleted_may_be_pushed_again,
    an_error_is_a_document_with_a_code,
    a_name_that_is_none_has_its_code,
    what_is_no_method_of_a_resource_is_told_which_are,
);

/// Deleting tags: "Upon success, the registry MUST respond with a 202 Accepted code"; "Once deleted, a GET to
/// /v2/<name>/manifests/<tag> will return a 404."
fn a_tag_is_deleted_and_its_manifest_stays(peer: &Peer) {
    let digest = peer.push("v1", "one");
    peer.push("v2", "one");
    assert_eq!(peer.delete("manifests/v1").status, 202);
    assert_eq!(peer.get_manifest("v1").status, 404);
    assert_eq!(peer.get_manifest("v2").status, 200);
    assert_eq!(peer.get_manifest(&digest).status, 200);
    assert_eq!(peer.delete("manifests/v1").status, 404);
}

/// Deleting Manifests: "Once deleted, a GET to /v2/<name>/manifests/<digest> and any tag pointing to that digest will return
/// a 404."
fn a_manifest_is_deleted_with_the_tags_that_name_it(peer: &Peer) {
    let digest = peer.push("v1", "one");
    peer.push("v2", "one");
    peer.push("v3", "another");
    assert_eq!(peer.delete(&format!("manifests/{digest}")).status, 202);
    for reference in [digest.as_str(), "v1", "v2"] {
        assert_eq!(peer.get_manifest(reference).status, 404, "{reference}");
    }
    assert_eq!(peer.get_manifest("v3").status, 200);
    let listed: Value = serde_json::from_slice(&peer.get("tags/list").body).expect("JSON");
    assert_eq!(listed["tags"], serde_json::json!(["v3"]));
}

/// Endpoints: end-9 fails with 404.
fn a_manifest_that_is_not_there_cannot_be_deleted(peer: &Peer) {
    peer.push("v1", "one");
    let answer = peer.delete(&format!("manifests/{}", absent()));
    assert_eq!((answer.status, code(&answer).as_str()), (404, "MANIFEST_UNKNOWN"));
}

/// Deleting Manifests: "If the repository does not exist, the response MUST return 404 Not Found."
fn nothing_is_deleted_in_a_repository_that_is_not_there(peer: &Peer) {
    for path in [format!("manifests/{}", absent()), format!("blobs/{}", absent())] {
        assert_eq!(peer.delete(&path).status, 404, "{path}");
    }
}

/// Push, after Deleting Manifests.
fn a_manifest_that_was_deleted_may_be_pushed_again(peer: &Peer) {
    let digest = peer.push("v1", "one");
    assert_eq!(peer.delete(&format!("manifests/{digest}")).status, 202);
    assert_eq!(peer.push("v1", "one"), digest);
    assert_eq!(peer.get_manifest("v1").status, 200);
}

/// Deleting Blobs: "Upon success, the registry MUST respond with code 202 Accepted."
fn a_blob_is_deleted(peer: &Peer) {
    let path = format!("blobs/{}", peer.blob(b"to be deleted"));
    assert_eq!(peer.delete(&path).status, 202);
    assert_eq!((peer.get(&path).status, peer.head(&path).status), (404, 404));
}

/// Deleting Blobs: "If the blob is not found, a 404 Not Found code MUST be returned."
fn a_blob_that_is_not_there_cannot_be_deleted(peer: &Peer) {
    peer.blob(b"another");
    let answer = peer.delete(&format!("blobs/{}", absent()));
    assert_eq!((answer.status, code(&answer).as_str()), (404, "BLOB_UNKNOWN"));
}

/// Push, after Deleting Blobs.
fn a_blob_that_was_deleted_may_be_pushed_again(peer: &Peer) {
    let path = format!("blobs/{}", peer.blob(b"again"));
    assert_eq!(peer.delete(&path).status, 202);
    peer.blob(b"again");
    assert_eq!(peer.get(&path).body, b"again");
}

/// Error Codes: "If the response body is in JSON format, it MUST have the following format"; "The code field MUST be a unique
/// identifier, containing only uppercase alphabetic characters and underscores."
fn an_error_is_a_document_with_a_code(peer: &Peer) {
    const CODES: [&str; 14] = [
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    ];
    for answer in [
        peer.get_manifest("v1"),
        peer.put("v1", MANIFEST, b"{"),
        peer.get(&format!("blobs/{}", absent())),
        peer.get("tags/list"),
        peer.send("GET", "/v2/UPPER/tags/list", &[], &[]),
        peer.close(&peer.begin(), &absent(), b"x"),
        peer.at("GET", "tags/list?n=many", &[], &[]),
        peer.send("PATCH", "/v2/", &[], &[]),
    ] {
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert!(CODES.contains(&code(&answer).as_str()), "{}", answer.text());
        let kind = answer.header("content-type").expect("a kind");
        assert!(kind.starts_with("application/json"), "{kind}");
    }
}

/// Error Codes: code-8 is `NAME_INVALID`.
fn a_name_that_is_none_has_its_code(peer: &Peer) {
    let answer = peer.send("GET", "/v2/UPPER/tags/list", &[], &[]);
    assert_eq!(code(&answer), "NAME_INVALID");
}

/// RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
fn what_is_no_method_of_a_resource_is_told_which_are(peer: &Peer) {
    peer.push("v1", "one");
    let answer = peer.at("POST", "tags/list", &[], &[]);
    assert_eq!(answer.status, 405);
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")), "{answer:?}");
}
