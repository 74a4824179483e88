//! Images that the target does not take as they are, deployed.

use std::io::Read as _;

use longshore::image::digest_of;
use longshore_contract::Platform;
use serde_json::{Value, json};

use crate::support::{Scratch, http};

/// Puts an attestation beside the image of the layout `folder`, as builders do, and packs its layer with zstd, which this
/// target takes as it is. Answers with the digest of the index.
fn as_a_builder_writes_it(scratch: &Scratch, folder: &str, digest: &str) -> String {
    let blobs = scratch.path().join(folder).join("blobs/sha256");
    let file = |digest: &str| blobs.join(digest.trim_start_matches("sha256:"));
    let put = |bytes: &[u8], media_type: &str| {
        let digest = digest_of(bytes);
        std::fs::write(file(digest.as_str()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(file(digest)).unwrap()).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&std::fs::read(file(&layer)).unwrap()[..]).read_to_end(&mut plain).unwrap();
    let packed = zstd::encode_all(&plain[..], 3).unwrap();
    manifest["layers"][0] = put(&packed, "application/vnd.oci.image.layer.v1.tar+zstd");
    let mut image = put(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    image["platform"] = json!({ "os": "linux", "architecture": Platform::host().architecture });

    let statement = put(b"{}", "application/vnd.in-toto+json");
    let config = put(
        br#"{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}"#,
        "application/vnd.oci.image.config.v1+json",
    );
    let attestation = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [statement] });
    let mut attestation =
        put(attestation.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    attestation["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"] });

    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [image, attestation] });
    let index = put(index.to_string().as_bytes(), "application/vnd.oci.image.index.v1+json");
    scratch.write(
        &format!("{folder}/index.json"),
        &json!({ "schemaVersion": 2, "manifests": [index] }).to_string(),
    );
    index["digest"].as_str().unwrap().to_owned()
}

#[test]
fn an_image_is_deployed_in_the_shape_its_target_takes_and_a_plan_says_so() {
    let scratch = Scratch::new();
    let first = scratch.deploy("v1");
    scratch.layout_of(first["image"]["digest"].as_str().unwrap(), "image");
    let source = as_a_builder_writes_it(&scratch, "image", first["image"]["digest"].as_str().unwrap());
    let set = ["--set", "functions.hello.image=oci:image", "--set", "functions.hello.config.environment.A=b"];
    let inspected = scratch.json(0, &["image", "inspect", "oci:image"]);
    assert_eq!(inspected["image"]["digest"], source);

    let plan = scratch.json(0, &[&["plan"], &set[..]].concat());
    let row = &plan["functions"][0];
    assert_eq!(row["outcome"], "planned");
    assert_eq!(row["image"]["source_digest"], source);
    let human = scratch.run(&[&["plan"], &set[..]].concat());

    let deployed = scratch.json(0, &[&["deploy"], &set[..]].concat());
    let deployed = &deployed["functions"][0];
    assert_eq!(deployed["outcome"], "arrived");
    assert_eq!(deployed["image"]["digest"], row["image"]["digest"], "what was planned");
    assert_eq!(deployed["image"]["changed"], row["image"]["changed"]);
    let changed = row["image"]["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 2, "the platform is picked and the attestation dropped: {changed:?}");
    for change in changed {
        assert!(human.stdout.contains(change["what"].as_str().unwrap()), "{}", human.stdout);
    }
    assert_eq!(http("GET", deployed["url"].as_str().unwrap(), "").unwrap().body, "<h1>v1</h1>\n");
    let again = scratch.json(0, &[&["deploy"], &set[..]].concat());
    assert_eq!(again["functions"][0]["outcome"], "unchanged");
}
