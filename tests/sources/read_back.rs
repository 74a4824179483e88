//! What skopeo copied out, compared with what was meant, down to the bytes of every layer.

use std::io::Read as _;
use std::path::Path;

use longshore::image::digest_of;
use serde_json::Value;

use super::expected::Expected;

/// Checks the copy in `folder` (skopeo's `dir:`): every manifest has its digest, every configuration is the image's that
/// was meant, and every layer unpacks to the diff id that the configuration names.
pub(crate) fn check(folder: &Path, digest: &str, expected: &Expected) -> Result<(), String> {
    let manifest = read(folder, "manifest.json")?;
    let mut configurations = Vec::new();
    walk(folder, &manifest, digest, &mut configurations)?;
    match expected {
        Expected::Image(id) if configurations != [id.clone()] => {
            Err(format!("the image {id} was meant and {configurations:?} arrived"))
        }
        Expected::Image(_) | Expected::Manifest(_) => Ok(()),
    }
}

fn walk(
    folder: &Path,
    manifest: &[u8],
    digest: &str,
    configurations: &mut Vec<String>,
) -> Result<(), String> {
    let found = digest_of(manifest).to_string();
    if found != digest {
        return Err(format!("a manifest has the digest {found}, not {digest}"));
    }
    let manifest: Value = serde_json::from_slice(manifest).map_err(|error| format!("a manifest: {error}"))?;
    for child in manifest["manifests"].as_array().into_iter().flatten() {
        let digest = text(child)?;
        walk(folder, &read(folder, &format!("{}.manifest.json", hex(digest)))?, digest, configurations)?;
    }
    let Some(layers) = manifest["layers"].as_array() else { return Ok(()) };
    let id = text(&manifest["config"])?;
    let configuration = blob(folder, id)?;
    let configuration: Value =
        serde_json::from_slice(&configuration).map_err(|error| format!("configuration {id}: {error}"))?;
    configurations.push(id.to_owned());
    let diff_ids =
        configuration["rootfs"]["diff_ids"].as_array().ok_or("a configuration without diff ids")?;
    if diff_ids.len() != layers.len() {
        return Err(format!("{} layers and {} diff ids", layers.len(), diff_ids.len()));
    }
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let bytes = blob(folder, text(layer)?)?;
        if layer["size"].as_u64() != Some(bytes.len() as u64) {
            return Err(format!("a layer of {} bytes is listed as {}", bytes.len(), layer["size"]));
        }
        let unpacked = digest_of(&unpacked(&bytes)?).to_string();
        if Some(unpacked.as_str()) != diff_id.as_str() {
            return Err(format!("{layer} unpacks to {unpacked}, and its image says {diff_id}"));
        }
    }
    Ok(())
}

fn text(descriptor: &Value) -> Result<&str, String> {
    descriptor["digest"].as_str().ok_or_else(|| format!("no digest: {descriptor}"))
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn blob(folder: &Path, digest: &str) -> Result<Vec<u8>, String> {
    let bytes = read(folder, hex(digest))?;
    let found = digest_of(&bytes).to_string();
    if found == digest { Ok(bytes) } else { Err(format!("blob {digest} has the digest {found}")) }
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>, String> {
    std::fs::read(folder.join(name)).map_err(|error| format!("{name} was not copied: {error}"))
}

/// What is in gzip or zstd, anything else as it is.
fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = match bytes {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(bytes).and_then(|mut zstd| zstd.read_to_end(&mut out))
        }
        plain => std::io::Write::write_all(&mut out, plain).map(|()| 0),
    };
    read.map_err(|error| format!("a layer: {error}"))?;
    Ok(out)
}
