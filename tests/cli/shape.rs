//! Images that the target does not take as they are, deployed.

use std::io::Read as _;

use longshore::image::digest_of;
use serde_json::{Value, json};

use crate::support::{Scratch, http};

/// Packs the first layer of the layout `folder` with zstd and lists it so, as newer builders do; the platform is left out of
/// nothing, so that the image stays the same but for how it is packed. Answers with the digest of its manifest.
fn with_zstd(scratch: &Scratch, folder: &str, digest: &str) -> String {
    let blobs = scratch.path().join(folder).join("blobs/sha256");
    let file = |digest: &str| blobs.join(digest.trim_start_matches("sha256:"));
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(file(digest)).unwrap()).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&std::fs::read(file(&layer)).unwrap()[..]).read_to_end(&mut plain).unwrap();
    let packed = zstd::encode_all(&plain[..], 3).unwrap();
    let written = digest_of(&packed);
    std::fs::write(file(written.as_str()), &packed).unwrap();
    manifest["layers"][0] = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
        "digest": written, "size": packed.len() });
    let manifest = manifest.to_string();
    let digest = digest_of(manifest.as_bytes());
    std::fs::write(file(digest.as_str()), &manifest).unwrap();
    let index = json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len() }] });
    scratch.write(&format!("{folder}/index.json"), &index.to_string());
    digest.to_string()
}

#[test]
fn an_image_is_deployed_in_the_shape_its_target_takes_and_a_plan_says_so() {
    let scratch = Scratch::new();
    let first = scratch.deploy("v1");
    scratch.layout_of(first["image"]["digest"].as_str().unwrap(), "image");
    let source = with_zstd(&scratch, "image", first["image"]["digest"].as_str().unwrap());
    let set = ["--set", "functions.hello.image=oci:image", "--set", "functions.hello.config.environment.A=b"];
    let takes_zstd = scratch.json(0, &["image", "inspect", "oci:image"]);
    assert_eq!(takes_zstd["image"]["digest"], source);

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
    for change in row["image"]["changed"].as_array().unwrap() {
        assert!(human.stdout.contains(change["what"].as_str().unwrap()), "{}", human.stdout);
    }
    assert_eq!(http("GET", deployed["url"].as_str().unwrap(), "").unwrap().body, "<h1>v1</h1>\n");
    let again = scratch.json(0, &[&["deploy"], &set[..]].concat());
    assert_eq!(again["functions"][0]["outcome"], "unchanged");
}
