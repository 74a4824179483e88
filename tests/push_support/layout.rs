//! Making OCI image layouts, whole ones and broken ones.

use std::path::{Path, PathBuf};

use longshore::image::digest_of;
use longshore_contract::Digest;
use serde_json::{Value, json};

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layout in a directory that is gone with it.
pub(crate) struct Layout {
    directory: tempfile::TempDir,
    entries: Vec<Value>,
}

impl Layout {
    /// A layout that holds nothing yet.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        let mut layout = Self { directory, entries: Vec::new() };
        layout.write("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#);
        layout.save();
        layout
    }

    /// A layout with one image of these layers, for linux/amd64.
    pub(crate) fn with_layers(layers: &[&[u8]]) -> Self {
        let mut layout = Self::new();
        let image = layout.image("linux", "amd64", layers);
        layout.list(image, None);
        layout
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn blob_path(&self, digest: &str) -> PathBuf {
        self.path().join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
    }

    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(name), bytes).unwrap();
    }

    /// Writes a blob and answers with its descriptor.
    pub(crate) fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest: Digest = digest_of(bytes);
        std::fs::write(self.blob_path(digest.as_str()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Writes an image's configuration and manifest; answers with the manifest's descriptor.
    pub(crate) fn image(&mut self, os: &str, architecture: &str, layers: &[&[u8]]) -> Value {
        let diff_ids: Vec<_> = layers.iter().map(|layer| digest_of(layer)).collect();
        let config = json!({"os": os, "architecture": architecture, "config": {"Cmd": ["/app"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = self.blob(CONFIG, &serde_json::to_vec_pretty(&config).unwrap());
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(LAYER, layer)).collect();
        // Indented and in no canonical order: whoever writes it anew changes its digest.
        let manifest = json!({"layers": layers, "config": config, "schemaVersion": 2, "mediaType": MANIFEST});
        self.blob(MANIFEST, &serde_json::to_vec_pretty(&manifest).unwrap())
    }

    /// The same, with the platform in the descriptor.
    pub(crate) fn child(&mut self, os: &str, architecture: &str, layers: &[&[u8]]) -> Value {
        let mut descriptor = self.image(os, architecture, layers);
        descriptor["platform"] = json!({"os": os, "architecture": architecture});
        descriptor
    }

    /// What a builder adds to vouch for `of`.
    pub(crate) fn attestation(&mut self, of: &Value) -> Value {
        let mut descriptor = self.image("unknown", "unknown", &[b"statement"]);
        descriptor["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        descriptor["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": of["digest"]});
        descriptor
    }

    /// Writes an index and answers with its descriptor.
    pub(crate) fn index(&mut self, children: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
        self.blob(INDEX, &serde_json::to_vec_pretty(&index).unwrap())
    }

    /// Lists `descriptor` in `index.json`.
    pub(crate) fn list(&mut self, mut descriptor: Value, tag: Option<&str>) {
        if let Some(tag) = tag {
            descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        }
        self.entries.push(descriptor);
        self.save();
    }

    fn save(&mut self) {
        let index = json!({"schemaVersion": 2, "manifests": self.entries});
        let text = serde_json::to_vec(&index).unwrap();
        self.write("index.json", &text);
    }

    /// The whole layout as a tar.
    pub(crate) fn tar(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_dir_all(".", self.path()).unwrap();
        builder.into_inner().unwrap()
    }
}

/// Bytes that do not compress and differ by `seed`.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(length / 8 + 1).flatten().collect();
    bytes.truncate(length);
    bytes
}
