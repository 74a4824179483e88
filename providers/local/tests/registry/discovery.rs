//! Specification: Content Discovery. Each case cites what it checks.

use serde_json::{Value, json};

use crate::peer::{INDEX, MANIFEST, Peer, absent, cases, code, descriptor, digest};

const EMPTY: &str = "application/vnd.oci.empty.v1+json";

cases!(
    tags_are_listed_in_order,
    a_repository_without_tags_has_an_empty_list,
    tags_of_a_repository_that_is_not_there_are_not_found,
    as_many_tags_are_listed_as_are_asked_for,
    no_tags_are_listed_where_none_are_asked_for,
    tags_are_listed_behind_the_last_one_seen,
    tags_are_listed_behind_one_that_is_not_there,
    the_link_leads_through_all_tags,
    referrers_of_what_nobody_is_about_are_an_empty_index,
    referrers_are_listed_with_their_kind_and_annotations,
    a_referrer_without_a_kind_is_of_its_configurations,
    an_index_is_a_referrer_too,
    an_index_without_a_kind_is_listed_without_one,
    a_referrer_that_came_before_its_subject_is_listed,
    referrers_are_filtered_by_their_kind,
    referrers_belong_to_their_repository,
    a_referrer_that_is_deleted_is_not_listed,
    referrers_of_what_is_no_digest_are_a_bad_request,
    referrers_of_a_sha512_subject_are_listed,
    the_tag_of_the_fallback_is_a_tag,
);

fn tags(peer: &Peer, query: &str) -> Vec<String> {
    let listed = peer.get(&format!("tags/list{query}"));
    assert_eq!(listed.status, 200, "{}", listed.text());
    let document: Value = serde_json::from_slice(&listed.body).expect("JSON");
    assert_eq!(document["name"], json!(peer.name));
    document["tags"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|tag| tag.as_str().expect("text").to_owned())
        .collect()
}

fn push_tags(peer: &Peer) {
    let image = peer.image("one").to_string();
    for tag in ["b", "a", "Z", "c", "10", "9"] {
        assert_eq!(peer.put(tag, MANIFEST, image.as_bytes()).status, 201);
    }
}

/// Listing Tags: "Assuming a repository is found, this request MUST return a 200 OK"; "the tags MUST be in lexical (i.e.
/// case-insensitive alphanumeric order) or ASCIIbetical order"; "the response MUST be a json body".
fn tags_are_listed_in_order(peer: &Peer) {
    push_tags(peer);
    let ascii = ["10", "9", "Z", "a", "b", "c"];
    let lexical = ["10", "9", "a", "b", "c", "Z"];
    let found = tags(peer, "");
    assert!(found == ascii || found == lexical, "{found:?}");
}

/// Listing Tags: "The list of tags MAY be empty if there are no tags on the repository."
fn a_repository_without_tags_has_an_empty_list(peer: &Peer) {
    let image = peer.image("one").to_string();
    assert_eq!(peer.put(&digest(image.as_bytes()), MANIFEST, image.as_bytes()).status, 201);
    assert!(tags(peer, "").is_empty());
}

/// Endpoints: end-8a fails with 404; code-9 is `NAME_UNKNOWN`.
fn tags_of_a_repository_that_is_not_there_are_not_found(peer: &Peer) {
    let answer = peer.get("tags/list");
    assert_eq!((answer.status, code(&answer).as_str()), (404, "NAME_UNKNOWN"));
}

/// Listing Tags: "MAY return fewer than <int> results, but only when the total number of tags … is less than <int> or a
/// Link header is provided. Otherwise, the response MUST include <int> results."
fn as_many_tags_are_listed_as_are_asked_for(peer: &Peer) {
    push_tags(peer);
    assert_eq!(tags(peer, "?n=2"), tags(peer, "")[..2]);
    assert_eq!(tags(peer, "?n=6").len(), 6);
    assert_eq!(tags(peer, "?n=100").len(), 6);
}

/// Listing Tags: "When n is zero, this endpoint MUST return an empty list, and MUST NOT include a Link header."
fn no_tags_are_listed_where_none_are_asked_for(peer: &Peer) {
    push_tags(peer);
    assert!(tags(peer, "?n=0").is_empty());
    assert_eq!(peer.get("tags/list?n=0").header("link"), None);
}

/// Listing Tags: "<tagname> will not be included in the results, but up to <int> tags after <tagname> will be returned";
/// "When using the last query parameter, the n parameter is OPTIONAL."
fn tags_are_listed_behind_the_last_one_seen(peer: &Peer) {
    push_tags(peer);
    let all = tags(peer, "");
    assert_eq!(tags(peer, &format!("?n=2&last={}", all[1])), all[2..4]);
    assert_eq!(tags(peer, &format!("?last={}", all[1])), all[2..]);
    assert!(tags(peer, &format!("?last={}", all[5])).is_empty());
}

/// The same where the tag was deleted meanwhile.
fn tags_are_listed_behind_one_that_is_not_there(peer: &Peer) {
    push_tags(peer);
    assert_eq!(tags(peer, "?n=1&last=aa"), ["b"]);
}

/// Listing Tags: "the Link header MUST be set according to RFC 5988 with the Relation Type rel=\"next\"."
fn the_link_leads_through_all_tags(peer: &Peer) {
    push_tags(peer);
    let (mut found, mut next) = (Vec::new(), format!("/v2/{}/tags/list?n=2", peer.name));
    for _ in 0..10 {
        let page = peer.send("GET", &next, &[], &[]);
        let document: Value = serde_json::from_slice(&page.body).expect("JSON");
        let tags = document["tags"].as_array().expect("a list");
        found.extend(tags.iter().map(|tag| tag.as_str().expect("text").to_owned()));
        let Some(link) = page.header("link") else { break };
        assert!(link.ends_with(r#">; rel="next""#), "{link}");
        let target = &link[1..link.find('>').expect("a bracket")];
        next = target.strip_prefix(&format!("http://{}", peer.address)).unwrap_or(target).to_owned();
    }
    assert_eq!(found, tags(peer, ""));
}

/// The referrers of `subject`, after a look at the index around them.
fn referrers(peer: &Peer, subject: &str, query: &str) -> Vec<Value> {
    let answer = peer.get(&format!("referrers/{subject}{query}"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(INDEX)), "{}", answer.text());
    let index: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(INDEX)));
    index["manifests"].as_array().expect("a list").clone()
}

fn artefact(peer: &Peer, subject: &str, kind: Option<&str>) -> Value {
    peer.blob(b"{}");
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.example.config", b"{}"), "layers": [descriptor(EMPTY, b"{}")],
        "subject": { "mediaType": MANIFEST, "digest": subject, "size": 123 },
        "annotations": { "org.example.said": "ä \"quoted\" word" },
    });
    if let Some(kind) = kind {
        manifest["artifactType"] = json!(kind);
    }
    manifest
}

/// How a referrers list tells of `manifest`.
fn listed(manifest: &Value, kind: Option<&str>) -> Value {
    let media_type = manifest["mediaType"].as_str().expect("a kind");
    let mut listed = descriptor(media_type, manifest.to_string().as_bytes());
    if let Some(kind) = kind {
        listed["artifactType"] = json!(kind);
    }
    if let Some(annotations) = manifest.get("annotations") {
        listed["annotations"] = annotations.clone();
    }
    listed
}

fn push_by_digest(peer: &Peer, manifest: &Value) {
    let media_type = manifest["mediaType"].as_str().expect("a kind");
    peer.manifest(&digest(manifest.to_string().as_bytes()), media_type, manifest);
}

/// Listing Referrers: "If a query results in no matching referrers, an empty manifest list MUST be returned"; "the registry
/// MUST NOT return a 404 Not Found to a referrers API requests".
fn referrers_of_what_nobody_is_about_are_an_empty_index(peer: &Peer) {
    assert!(referrers(peer, &absent(), "").is_empty(), "in a repository that is not there");
    let digest = peer.push("v1", "one");
    for subject in [&digest, &absent()] {
        assert!(referrers(peer, subject, "").is_empty());
    }
}

/// Listing Referrers: "The descriptors MUST include an artifactType field that is set to the value of the artifactType in the
/// image manifest or index, if present"; "The descriptors MUST include annotations".
fn referrers_are_listed_with_their_kind_and_annotations(peer: &Peer) {
    let subject = peer.push("v1", "one");
    let kinds = ["application/vnd.example.sbom", "application/vnd.example.signature"];
    let mut expected = Vec::new();
    for kind in kinds {
        let manifest = artefact(peer, &subject, Some(kind));
        push_by_digest(peer, &manifest);
        expected.push(listed(&manifest, Some(kind)));
    }
    let mut found = referrers(peer, &subject, "");
    for list in [&mut found, &mut expected] {
        list.sort_by_key(|of| of["digest"].to_string());
    }
    assert_eq!(found, expected);
}

/// Listing Referrers: "If the artifactType is empty or missing in the image manifest, the value of artifactType MUST be set
/// to the config descriptor mediaType value."
fn a_referrer_without_a_kind_is_of_its_configurations(peer: &Peer) {
    for kind in [None, Some("")] {
        let subject = digest(format!("{kind:?}").as_bytes());
        let manifest = artefact(peer, &subject, kind);
        push_by_digest(peer, &manifest);
        let expected = listed(&manifest, Some("application/vnd.example.config"));
        assert_eq!(referrers(peer, &subject, ""), [expected]);
    }
}

fn index(subject: &str, kind: Option<&str>) -> Value {
    let mut index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [],
        "subject": { "mediaType": MANIFEST, "digest": subject, "size": 123 },
    });
    if let Some(kind) = kind {
        index["artifactType"] = json!(kind);
    }
    index
}

/// Listing Referrers: "Each descriptor is of an image manifest or index in the same <name> namespace with a subject field".
fn an_index_is_a_referrer_too(peer: &Peer) {
    let subject = peer.push("v1", "one");
    let about = index(&subject, Some("application/vnd.example.sboms"));
    push_by_digest(peer, &about);
    assert_eq!(referrers(peer, &subject, ""), [listed(&about, Some("application/vnd.example.sboms"))]);
}

/// Listing Referrers: "If the artifactType is empty or missing in an index, the artifactType MUST be omitted."
fn an_index_without_a_kind_is_listed_without_one(peer: &Peer) {
    let subject = peer.push("v1", "one");
    let about = index(&subject, None);
    push_by_digest(peer, &about);
    assert_eq!(referrers(peer, &subject, ""), [listed(&about, None)]);
}

/// Push: "allowing clients to push a manifest and referrers to that manifest in either order".
fn a_referrer_that_came_before_its_subject_is_listed(peer: &Peer) {
    let image = peer.image("one");
    let subject = digest(image.to_string().as_bytes());
    let about = artefact(peer, &subject, Some("a/b"));
    push_by_digest(peer, &about);
    assert_eq!(referrers(peer, &subject, "").len(), 1);
    peer.manifest("v1", MANIFEST, &image);
    assert_eq!(referrers(peer, &subject, ""), [listed(&about, Some("a/b"))]);
}

/// Listing Referrers: "The registry SHOULD support filtering on artifactType"; "the response MUST include a header
/// OCI-Filters-Applied: artifactType".
fn referrers_are_filtered_by_their_kind(peer: &Peer) {
    let subject = peer.push("v1", "one");
    let wanted = artefact(peer, &subject, Some("application/vnd.example.sbom+json"));
    for manifest in [&wanted, &artefact(peer, &subject, Some("a/b")), &artefact(peer, &subject, None)] {
        push_by_digest(peer, manifest);
    }
    assert_eq!(referrers(peer, &subject, "").len(), 3);
    let query = "?artifactType=application%2Fvnd.example.sbom%2Bjson";
    let expected = listed(&wanted, Some("application/vnd.example.sbom+json"));
    assert_eq!(referrers(peer, &subject, query), [expected]);
    let answer = peer.get(&format!("referrers/{subject}{query}"));
    assert_eq!(answer.header("oci-filters-applied"), Some("artifactType"));
    let unfiltered = peer.get(&format!("referrers/{subject}"));
    assert_eq!(unfiltered.header("oci-filters-applied"), None);
    assert!(referrers(peer, &subject, "?artifactType=c/d").is_empty());
}

/// Listing Referrers: "in the same <name> namespace".
fn referrers_belong_to_their_repository(peer: &Peer) {
    push_by_digest(peer, &artefact(peer, &absent(), Some("a/b")));
    let other = Peer { address: peer.address, name: peer.other.clone(), other: String::new() };
    other.push("v1", "one");
    assert!(referrers(&other, &absent(), "").is_empty());
    assert_eq!(referrers(peer, &absent(), "").len(), 1);
}

/// Deleting Manifests: a manifest that is deleted is not there any more, in no list.
fn a_referrer_that_is_deleted_is_not_listed(peer: &Peer) {
    let about = artefact(peer, &absent(), Some("a/b"));
    push_by_digest(peer, &about);
    let path = format!("manifests/{}", digest(about.to_string().as_bytes()));
    assert_eq!(peer.delete(&path).status, 202);
    assert!(referrers(peer, &absent(), "").is_empty());
}

/// Listing Referrers: "If the request is invalid, such as a <digest> with an invalid syntax, a 400 Bad Request MUST be
/// returned."
fn referrers_of_what_is_no_digest_are_a_bad_request(peer: &Peer) {
    peer.push("v1", "one");
    for bad in ["sha256:baddigeststring", "v1"] {
        assert_eq!(peer.get(&format!("referrers/{bad}")).status, 400, "{bad}");
    }
}

/// Referrers Tag Schema's own example has a sha512 subject.
fn referrers_of_a_sha512_subject_are_listed(peer: &Peer) {
    let subject = crate::peer::sha512(b"subject");
    let about = artefact(peer, &subject, Some("a/b"));
    push_by_digest(peer, &about);
    assert_eq!(referrers(peer, &subject, ""), [listed(&about, Some("a/b"))]);
}

/// Unavailable Referrers API: a client of an older registry keeps "an image index pushed to a tag described by the referrers
/// tag schema", and Enabling the Referrers API: "Registries MUST include preexisting image manifests that are listed in an
/// image index tagged with the referrers tag schema and have a valid subject field".
fn the_tag_of_the_fallback_is_a_tag(peer: &Peer) {
    let subject = peer.push("v1", "one");
    let about = artefact(peer, &subject, Some("a/b"));
    push_by_digest(peer, &about);
    let fallback = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [listed(&about, Some("a/b"))],
    });
    let tag = subject.replace(':', "-");
    peer.manifest(&tag, INDEX, &fallback);
    assert_eq!(peer.get_manifest(&tag).text(), fallback.to_string());
    assert_eq!(referrers(peer, &subject, ""), [listed(&about, Some("a/b"))]);
}
