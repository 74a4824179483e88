//! What a client may not do to memory, disk and time.

use std::io::{Read as _, Write as _};

use http::{Method, StatusCode};

use crate::testing::{INDEX, MANIFEST, Served, digest_of};
use serde_json::{Value, json};

#[tokio::test]
async fn referrers_come_in_pages_that_a_client_can_read() {
    let served = Served::new().await;
    let empty = served.push_blob("a", b"{}").await;
    let subject = digest_of(b"subject");
    let mut pushed = Vec::new();
    for number in 0..5 {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example+json",
            "config": { "mediaType": "x", "digest": empty, "size": 2 }, "layers": [],
            "subject": { "mediaType": MANIFEST, "digest": subject, "size": 1 },
            "annotations": { "filling": number.to_string().repeat(1_500_000) },
        });
        let digest = digest_of(manifest.to_string().as_bytes()).to_string();
        let answer = served.push_manifest("a", &digest, MANIFEST, &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        pushed.push(digest);
    }
    let (mut found, mut pages) = (Vec::new(), 0);
    // The plus stands as it is, as some clients leave it.
    let mut next = format!("/v2/a/referrers/{subject}?artifactType=application/vnd.example+json");
    while !next.is_empty() {
        let page = served.get(&next).await;
        assert_eq!((page.status, page.header("oci-filters-applied")), (StatusCode::OK, "artifactType"));
        assert_eq!(page.header("content-type"), INDEX);
        assert!(page.body.len() <= (4 << 20) + 1024, "{} bytes", page.body.len());
        let index: Value = serde_json::from_slice(&page.body).unwrap();
        found.extend(index["manifests"].as_array().unwrap().iter().map(|of| of["digest"].clone()));
        pages += 1;
        let link = page.header("link");
        next = link
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'))
            .map_or("", |(path, _)| path)
            .to_owned();
        assert!(next.is_empty() || link.ends_with(">; rel=\"next\""), "{link}");
    }
    pushed.sort();
    assert_eq!(found, pushed);
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn a_push_sets_at_most_a_hundred_tags() {
    let served = Served::new().await;
    let manifest = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }).to_string();
    let digest = digest_of(manifest.as_bytes());
    let put = async |count: usize| {
        let tags: Vec<String> = (0..count).map(|number| format!("tag=t{number}")).collect();
        let path = format!("/v2/a/manifests/{digest}?{}", tags.join("&"));
        served.send(Method::PUT, &path, &[("content-type", INDEX)], manifest.clone()).await
    };
    let set = put(100).await;
    assert_eq!(set.status, StatusCode::CREATED);
    assert_eq!(set.header("oci-tag").split(", ").count(), 100);
    assert_eq!(put(101).await.status, StatusCode::URI_TOO_LONG);
}

#[tokio::test]
async fn a_tag_that_is_none_is_refused_before_anything_is_kept() {
    let served = Served::new().await;
    let manifest = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }).to_string();
    let digest = digest_of(manifest.as_bytes());
    let path = format!("/v2/a/manifests/{digest}?tag=good&tag=..%2Fbad");
    let refused = served.send(Method::PUT, &path, &[("content-type", INDEX)], manifest).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(served.get("/v2/a/tags/list").await.code(), "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let served = Served::new().await;
    let begun = served.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    let location = begun.header("location").to_owned();
    // More than sockets hold: a server that answers and hangs up cuts the client off before it reads.
    let wrong =
        served.send(Method::PATCH, &location, &[("content-range", "5-16777220")], vec![0; 16 << 20]).await;
    assert_eq!((wrong.status, wrong.header("range")), (StatusCode::RANGE_NOT_SATISFIABLE, "0-0"));
    assert_eq!(served.get(&location).await.status, StatusCode::NO_CONTENT);
    let kind = [("content-type", MANIFEST)];
    let large = served.send(Method::PUT, "/v2/a/manifests/v1", &kind, vec![b' '; 32 << 20]).await;
    assert_eq!((large.status, large.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"));
}

#[tokio::test]
async fn a_body_that_is_known_to_be_too_large_is_refused_unread() {
    let served = Served::new().await;
    let begun = served.send(Method::POST, "/v2/a/blobs/uploads/", &[], "").await;
    let location = begun.header("location").to_owned();
    let (address, digest) = (served.address, digest_of(b"never sent"));
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let length = 11_u64 << 30;
        for expect in ["", "expect: 100-continue\r\n"] {
            let head = format!(
                "PUT {location}?digest={digest} HTTP/1.1\r\nhost: x\r\n{expect}content-length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            assert_eq!(&status, b"HTTP/1.1 413");
            stream = std::net::TcpStream::connect(address).unwrap();
        }
        location
    });
    let location = answer.await.unwrap();
    assert_eq!(served.get(&location).await.status, StatusCode::NO_CONTENT);
}
