//! Specification: Push, as far as it is about manifests. Each case cites what it checks.

use serde_json::{Value, json};

use crate::peer::{
    DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, Peer, absent, cases, code, descriptor, digest, path,
    sha512,
};

const EMPTY: &str = "application/vnd.oci.empty.v1+json";

cases!(
    a_manifest_is_pushed_by_tag,
    a_manifest_is_pushed_by_digest,
    a_manifest_keeps_its_bytes,
    a_manifest_with_another_digest_is_refused,
    a_manifest_by_a_digest_that_is_none_is_refused,
    a_tag_moves_to_the_manifest_that_is_pushed_last,
    an_image_without_layers_is_taken,
    an_image_of_the_docker_kind_is_taken,
    a_list_of_the_docker_kind_is_taken,
    an_index_is_taken,
    an_empty_index_is_taken,
    an_index_of_indexes_is_taken,
    an_artefact_is_taken,
    an_index_of_artefacts_is_taken,
    unknown_fields_are_kept,
    a_descriptor_with_its_data_is_taken,
    layers_that_are_elsewhere_by_design_need_not_be_there,
    a_manifest_without_its_blobs_is_taken_or_refused_with_its_code,
    an_index_without_its_manifests_is_taken_or_refused_with_its_code,
    what_is_no_manifest_is_refused,
    a_manifest_of_four_megabytes_is_taken,
    a_manifest_that_is_too_large_is_refused_with_413,
    a_manifest_may_be_about_what_is_not_there,
    a_manifest_about_another_is_acknowledged,
    an_index_about_another_is_acknowledged,
    a_manifest_by_digest_sets_several_tags,
    a_manifest_is_pushed_by_sha512,
);

fn assert_there(peer: &Peer, reference: &str, media_type: &str, manifest: &Value) {
    let got = peer.get_manifest(reference);
    assert_eq!((got.status, got.text()), (200, manifest.to_string()));
    assert_eq!(got.header("content-type"), Some(media_type));
}

/// Pushes `manifest` by tag and by digest, and gets it back by both.
fn assert_taken(peer: &Peer, media_type: &str, manifest: &Value) {
    let digest = digest(manifest.to_string().as_bytes());
    for reference in [&digest, "v1"] {
        let put = peer.put(reference, media_type, manifest.to_string().as_bytes());
        assert_eq!(put.status, 201, "{}", put.text());
        assert_there(peer, reference, media_type, manifest);
    }
}

/// Pushing Manifests: "Upon a successful upload, the registry MUST return response code 201 Created, and MUST have …
/// Location … a pullable manifest URL. The Docker-Content-Digest header … MUST be equal to the client provided digest."
fn a_manifest_is_pushed_by_tag(peer: &Peer) {
    let image = peer.image("one").to_string();
    let put = peer.put("v1", MANIFEST, image.as_bytes());
    assert_eq!(put.status, 201);
    assert_eq!(put.header("docker-content-digest"), Some(digest(image.as_bytes()).as_str()));
    let got = peer.send("GET", &path(&put), &[("accept", MANIFEST)], &[]);
    assert_eq!((got.status, got.text()), (200, image));
}

/// The same by digest.
fn a_manifest_is_pushed_by_digest(peer: &Peer) {
    let image = peer.image("one").to_string();
    let digest = digest(image.as_bytes());
    let put = peer.put(&digest, MANIFEST, image.as_bytes());
    assert_eq!(put.status, 201);
    assert_eq!(put.header("docker-content-digest"), Some(digest.as_str()));
    let got = peer.send("GET", &path(&put), &[("accept", MANIFEST)], &[]);
    assert_eq!((got.status, got.text()), (200, image));
}

/// Pushing Manifests: "The registry MUST store the manifest in the exact byte representation provided by the client."
fn a_manifest_keeps_its_bytes(peer: &Peer) {
    let image = peer.image("one");
    let spelled = format!("\n{}\r\n\t ", serde_json::to_string_pretty(&image).expect("JSON"));
    assert_eq!(peer.put("v1", MANIFEST, spelled.as_bytes()).status, 201);
    let got = peer.get_manifest("v1");
    assert_eq!(got.text(), spelled);
    assert_eq!(got.header("docker-content-digest"), Some(digest(spelled.as_bytes()).as_str()));
}

/// Pushing blobs, and the same for manifests: a digest that does not fit SHOULD be answered with 400; code-4.
fn a_manifest_with_another_digest_is_refused(peer: &Peer) {
    let put = peer.put(&absent(), MANIFEST, peer.image("one").to_string().as_bytes());
    assert_eq!((put.status, code(&put).as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(peer.get_manifest(&absent()).status, 404);
}

/// The same for what is no digest; the public conformance suite pushes this one.
fn a_manifest_by_a_digest_that_is_none_is_refused(peer: &Peer) {
    let put = peer.put("sha256:baddigeststring", MANIFEST, peer.image("one").to_string().as_bytes());
    assert_eq!(put.status, 400);
}

/// Definitions: "Tag: a custom, human-readable pointer to a manifest."
fn a_tag_moves_to_the_manifest_that_is_pushed_last(peer: &Peer) {
    let (one, two) = (peer.push("v1", "one"), peer.push("v1", "two"));
    assert_eq!(peer.get_manifest("v1").header("docker-content-digest"), Some(two.as_str()));
    assert_eq!(peer.get_manifest(&one).status, 200);
}

/// Pushing Manifests: "the list of blobs MAY be empty".
fn an_image_without_layers_is_taken(peer: &Peer) {
    let mut image = peer.image("one");
    image["layers"] = json!([]);
    assert_taken(peer, MANIFEST, &image);
}

/// Definitions: "Manifest … (and legacy manifests)".
fn an_image_of_the_docker_kind_is_taken(peer: &Peer) {
    let mut image = peer.image("one");
    image["mediaType"] = json!(DOCKER_MANIFEST);
    image["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
    image["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
    assert_taken(peer, DOCKER_MANIFEST, &image);
}

fn index_of(peer: &Peer, media_type: &str, children: &[Value]) -> Value {
    let listed: Vec<Value> = children
        .iter()
        .map(|child| {
            let kind = child["mediaType"].as_str().expect("a kind");
            let digest = digest(child.to_string().as_bytes());
            peer.manifest(&digest, kind, child);
            let mut listed = descriptor(kind, child.to_string().as_bytes());
            listed["platform"] = json!({ "os": "linux", "architecture": "amd64" });
            listed
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": listed })
}

/// The same for lists.
fn a_list_of_the_docker_kind_is_taken(peer: &Peer) {
    let mut image = peer.image("one");
    image["mediaType"] = json!(DOCKER_MANIFEST);
    assert_taken(peer, DOCKER_LIST, &index_of(peer, DOCKER_LIST, &[image]));
}

/// Definitions: "Image Index: a manifest containing a list of manifests".
fn an_index_is_taken(peer: &Peer) {
    let children = [peer.image("one"), peer.image("two")];
    assert_taken(peer, INDEX, &index_of(peer, INDEX, &children));
}

/// The public conformance suite's "empty index".
fn an_empty_index_is_taken(peer: &Peer) {
    peer.blob(b"so that there is a repository");
    assert_taken(peer, INDEX, &index_of(peer, INDEX, &[]));
}

/// The public conformance suite's "nested index".
fn an_index_of_indexes_is_taken(peer: &Peer) {
    let inner = [index_of(peer, INDEX, &[peer.image("one")]), index_of(peer, INDEX, &[peer.image("two")])];
    assert_taken(peer, INDEX, &index_of(peer, INDEX, &inner));
}

fn artefact(peer: &Peer, kind: &str) -> Value {
    peer.blob(b"{}");
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
        "config": descriptor(EMPTY, b"{}"), "layers": [descriptor(EMPTY, b"{}")],
    })
}

/// Introduction: "The specification is designed to be agnostic of content types."
fn an_artefact_is_taken(peer: &Peer) {
    assert_taken(peer, MANIFEST, &artefact(peer, "application/vnd.example.sbom.v1"));
}

/// The same for indexes.
fn an_index_of_artefacts_is_taken(peer: &Peer) {
    let mut index = index_of(peer, INDEX, &[artefact(peer, "application/vnd.example.sbom.v1")]);
    index["artifactType"] = json!("application/vnd.example.sboms.v1");
    assert_taken(peer, INDEX, &index);
}

/// Image specification, Extensibility: "Implementations … MUST NOT generate an error if they encounter an unknown property."
fn unknown_fields_are_kept(peer: &Peer) {
    let mut image = peer.image("one");
    image["org.example.unknown"] = json!({ "a": [1, null, "b"] });
    image["config"]["org.example.unknown"] = json!(7);
    assert_taken(peer, MANIFEST, &image);
}

/// Image specification, Descriptors: "data … MAY be used to embed the referenced content".
fn a_descriptor_with_its_data_is_taken(peer: &Peer) {
    let mut image = artefact(peer, "application/vnd.example.sbom.v1");
    image["config"]["data"] = json!("e30=");
    assert_taken(peer, MANIFEST, &image);
}

/// Image specification, layers: "Non-distributable layers … SHOULD NOT be uploaded".
fn layers_that_are_elsewhere_by_design_need_not_be_there(peer: &Peer) {
    let mut image = peer.image("one");
    let layers = image["layers"].as_array_mut().expect("layers");
    layers.insert(
        0,
        json!({
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": absent(), "size": 123_456, "urls": ["https://store.example.com/layer"],
        }),
    );
    assert_taken(peer, MANIFEST, &image);
}

/// Push: "A registry MAY reject a manifest … with descriptors … that reference a manifest or blob that does not exist …
/// When a manifest is rejected for this reason, it MUST result in one or more MANIFEST_BLOB_UNKNOWN errors."
fn a_manifest_without_its_blobs_is_taken_or_refused_with_its_code(peer: &Peer) {
    let whole = peer.image("one");
    for part in ["config", "layers"] {
        let mut image = whole.clone();
        let missing = json!({ "mediaType": "application/octet-stream", "digest": absent(), "size": 1 });
        image[part] = if part == "layers" { json!([missing]) } else { missing };
        let put = peer.put("v1", MANIFEST, image.to_string().as_bytes());
        assert!(put.status == 201 || code(&put) == "MANIFEST_BLOB_UNKNOWN", "{part}: {}", put.text());
    }
}

/// The same for indexes.
fn an_index_without_its_manifests_is_taken_or_refused_with_its_code(peer: &Peer) {
    let mut index = index_of(peer, INDEX, &[peer.image("one")]);
    index["manifests"][0]["digest"] = json!(absent());
    let put = peer.put("v1", INDEX, index.to_string().as_bytes());
    assert!(put.status == 201 || code(&put) == "MANIFEST_BLOB_UNKNOWN", "{}", put.text());
}

/// Error Codes: code-6 is `MANIFEST_INVALID`.
fn what_is_no_manifest_is_refused(peer: &Peer) {
    for text in ["", "[]", "{", r#"{"schemaVersion":2}"#, "\u{0}"] {
        let put = peer.put("v1", MANIFEST, text.as_bytes());
        assert_eq!((put.status, code(&put).as_str()), (400, "MANIFEST_INVALID"), "{text:?}");
    }
}

fn image_of(peer: &Peer, bytes: usize) -> String {
    let mut image = peer.image("large");
    image["annotations"] = json!({ "filling": "" });
    let filling = "x".repeat(bytes - image.to_string().len());
    image["annotations"]["filling"] = json!(filling);
    image.to_string()
}

/// Pushing Manifests: "Client and registry implementations SHOULD expect to be able to support manifest pushes of at least
/// 4 megabytes."
fn a_manifest_of_four_megabytes_is_taken(peer: &Peer) {
    let image = image_of(peer, 4_000_000);
    assert_eq!(image.len(), 4_000_000);
    assert_eq!(peer.put("v1", MANIFEST, image.as_bytes()).status, 201);
    assert!(peer.get_manifest("v1").text() == image, "other bytes came back");
}

/// Pushing Manifests: "A registry that enforces this limit SHOULD respond to a request to push a manifest over this limit
/// with a response code 413 Payload Too Large."
fn a_manifest_that_is_too_large_is_refused_with_413(peer: &Peer) {
    let image = image_of(peer, 5 << 20);
    assert_eq!(peer.put("v1", MANIFEST, image.as_bytes()).status, 413);
}

fn about(peer: &Peer, subject: &str) -> Value {
    let mut manifest = artefact(peer, "application/vnd.example.sbom.v1");
    manifest["subject"] = json!({ "mediaType": MANIFEST, "digest": subject, "size": 123 });
    manifest
}

/// Push: "A registry MUST initially accept an otherwise valid manifest with a subject field that references a manifest that
/// does not exist in the repository".
fn a_manifest_may_be_about_what_is_not_there(peer: &Peer) {
    assert_taken(peer, MANIFEST, &about(peer, &absent()));
}

/// Pushing Manifests with Subject: "a registry implementation that supports the referrers API MUST respond with the response
/// header OCI-Subject: <subject digest>".
fn a_manifest_about_another_is_acknowledged(peer: &Peer) {
    let subject = peer.push("v1", "one");
    let put = peer.put("about", MANIFEST, about(peer, &subject).to_string().as_bytes());
    assert_eq!((put.status, put.header("oci-subject")), (201, Some(subject.as_str())));
    let plain = peer.put("v2", MANIFEST, peer.image("two").to_string().as_bytes());
    assert_eq!((plain.status, plain.header("oci-subject")), (201, None));
}

/// The same for indexes.
fn an_index_about_another_is_acknowledged(peer: &Peer) {
    let mut index = index_of(peer, INDEX, &[peer.image("one")]);
    index["subject"] = json!({ "mediaType": MANIFEST, "digest": absent(), "size": 123 });
    let put = peer.put("about", INDEX, index.to_string().as_bytes());
    assert_eq!((put.status, put.header("oci-subject")), (201, Some(absent().as_str())));
}

/// Pushing Manifests: "the registry MAY support the pushing of tags specified by addition of tag query parameters. If a
/// registry supports this, it … SHOULD support pushing at least 10 tags per request … MUST include an OCI-Tag response
/// header … for each accepted tag."
fn a_manifest_by_digest_sets_several_tags(peer: &Peer) {
    let image = peer.image("one").to_string();
    let tags: Vec<String> = (0..10).map(|number| format!("1.{number}")).collect();
    let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    let reference = format!("{}?{}", digest(image.as_bytes()), query.join("&"));
    let put = peer.put(&reference, MANIFEST, image.as_bytes());
    assert_eq!(put.status, 201, "{}", put.text());
    let accepted: Vec<&str> = put
        .headers
        .iter()
        .filter(|(name, _)| name == "oci-tag")
        .flat_map(|(_, value)| value.split(',').map(str::trim))
        .collect();
    assert_eq!(accepted, tags);
    for tag in tags {
        assert_eq!(peer.get_manifest(&tag).text(), image, "{tag}");
    }
}

/// Pulling manifests: "it MAY be the case that the hashing algorithms used do not match"; a registry that takes an algorithm
/// answers with it.
fn a_manifest_is_pushed_by_sha512(peer: &Peer) {
    let (config, layer) = (&b"{}"[..], &b"layer"[..]);
    let descriptors = [config, layer].map(|content| {
        let closed = peer.close(&peer.begin(), &sha512(content), content);
        assert_eq!(closed.status, 201, "{}", closed.text());
        json!({ "mediaType": "application/octet-stream", "digest": sha512(content), "size": content.len() })
    });
    let image = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptors[0], "layers": [descriptors[1]],
    });
    let digest = sha512(image.to_string().as_bytes());
    let put = peer.put(&format!("{digest}?tag=v1"), MANIFEST, image.to_string().as_bytes());
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(put.header("docker-content-digest"), Some(digest.as_str()));
    for reference in [digest.as_str(), "v1"] {
        assert_there(peer, reference, MANIFEST, &image);
        assert_eq!(peer.get_manifest(reference).header("docker-content-digest"), Some(digest.as_str()));
    }
}
