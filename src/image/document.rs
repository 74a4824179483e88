//! Manifests, indexes and configurations as they are written, read no further than we need. Sizes cannot be negative and
//! digests are digests because the types say so; what else must hold is checked here.

use std::collections::BTreeMap;

use longshore_contract::{Digest, Platform};
use serde::Deserialize;

use super::Facts;
use super::media::{DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};

pub(super) const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// What builders write as an artifact's type, or a layer's, where it vouches for an image.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A pointer to some bytes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: Option<String>,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) platform: Option<DescribedPlatform>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// A pointer to some bytes that nothing else points to.
    pub(super) fn of(media_type: Option<String>, digest: Digest, size: u64) -> Self {
        Self { media_type, digest, size, platform: None, artifact_type: None, annotations: None }
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether the entry vouches for another one, as far as the entry itself says.
    pub(super) fn is_attestation(&self) -> bool {
        self.annotation(REFERENCE_TYPE) == Some("attestation-manifest")
            || self.artifact_type.as_deref().is_some_and(vouches)
            || self.platform.as_ref().is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
    }

    /// Which other entry this one vouches for.
    pub(super) fn about(&self) -> Option<Digest> {
        self.annotation(REFERENCE_DIGEST)?.parse().ok()
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct DescribedPlatform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl DescribedPlatform {
    /// The platform, where its words are words.
    pub(super) fn read(&self) -> Option<Platform> {
        let variant = self.variant.as_deref().filter(|variant| !variant.is_empty());
        let text = match variant {
            Some(variant) => format!("{}/{}/{variant}", self.os, self.architecture),
            None => format!("{}/{}", self.os, self.architecture),
        };
        text.parse().ok()
    }
}

/// Whether artifacts of this type vouch for images: attestations, signatures, bills of materials.
fn vouches(artifact_type: &str) -> bool {
    const PREFIXES: [&str; 7] = [
        IN_TOTO,
        "application/vnd.docker.attestation.",
        "application/vnd.cyclonedx",
        "application/vnd.dev.cosign.",
        "application/vnd.dev.sigstore.",
        "application/vnd.cncf.notary.",
        "application/spdx+json",
    ];
    PREFIXES.iter().any(|prefix| artifact_type.starts_with(prefix))
}

/// A manifest or an index; which, its fields say.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    subject: Option<Descriptor>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// What a manifest lists.
#[derive(Debug)]
pub(super) enum Listed {
    Parts(Box<Parts>),
    Manifests(Vec<Descriptor>),
}

/// What one image or artifact consists of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    pub(super) artifact_type: Option<String>,
    /// The manifest it is about.
    pub(super) subject: Option<Digest>,
}

impl Parts {
    /// Whether it vouches for another manifest and is no image: it says so, or it holds nothing but statements.
    pub(super) fn is_attestation(&self) -> bool {
        let kind = self.artifact_type.as_deref().or(self.config.media_type.as_deref());
        let statement = |layer: &Descriptor| layer.media_type.as_deref().is_some_and(vouches);
        kind.is_some_and(vouches)
            || (self.subject.is_some() && !kind.is_some_and(is_image_config))
            || (!self.layers.is_empty() && self.layers.iter().all(statement))
    }
}

pub(super) const MOST_LAYERS: usize = 1_000;
pub(super) const MOST_MANIFESTS: usize = 1_000;

/// Reads a manifest. `described` is the media type its descriptor gives; the media type that is sent along is the answer's
/// first half.
pub(super) fn read_manifest(bytes: &[u8], described: Option<&str>) -> Result<(String, Listed), String> {
    let written: Written =
        serde_json::from_slice(bytes).map_err(|error| format!("not a manifest: {error}"))?;
    match written.schema_version {
        Some(2) => {}
        Some(other) => return Err(format!("schemaVersion {other} is not read, only 2 is")),
        None => return Err("not a manifest: no schemaVersion".to_owned()),
    }
    let stated = written.media_type.as_deref();
    if let (Some(stated), Some(described)) = (stated, described)
        && stated != described
    {
        return Err(format!("it says it is {stated}, and what points to it says {described}"));
    }
    let (expected, fallback, listed) = match (written.manifests, written.config, written.layers) {
        (Some(manifests), None, None) => {
            bounded(manifests.len(), MOST_MANIFESTS, "manifests")?;
            ([OCI_INDEX, DOCKER_LIST], OCI_INDEX, Listed::Manifests(manifests))
        }
        (None, Some(config), layers) => {
            let layers = layers.unwrap_or_default();
            bounded(layers.len(), MOST_LAYERS, "layers")?;
            let subject = written.subject.map(|subject| subject.digest);
            let parts = Parts { config, layers, artifact_type: written.artifact_type, subject };
            ([OCI_MANIFEST, DOCKER_MANIFEST], OCI_MANIFEST, Listed::Parts(Box::new(parts)))
        }
        (Some(_), _, _) => return Err("it is an index and a manifest at once".to_owned()),
        (None, None, _) => return Err("it lists neither manifests nor a config".to_owned()),
    };
    let media_type = stated.or(described).unwrap_or(fallback);
    if !expected.contains(&media_type) {
        return Err(format!("its media type {media_type} does not go with what is in it"));
    }
    Ok((media_type.to_owned(), listed))
}

fn bounded(count: usize, most: usize, what: &str) -> Result<(), String> {
    if count > most { Err(format!("{count} {what} are more than the {most} that are read")) } else { Ok(()) }
}

/// Whether `media_type` is a manifest's or an index's.
pub(super) fn is_manifest(media_type: &str) -> bool {
    [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].contains(&media_type)
}

/// Whether `media_type` is an image's configuration; anything else is an artifact's business.
pub(super) fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Reads an image's configuration.
pub(super) fn read_config(bytes: &[u8]) -> Result<Facts, String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(flatten)]
        platform: DescribedPlatform,
        config: Option<Execution>,
        rootfs: Option<Rootfs>,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        diff_ids: Option<Vec<Digest>>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Execution {
        entrypoint: Option<Vec<String>>,
        cmd: Option<Vec<String>>,
    }
    let config: Config =
        serde_json::from_slice(bytes).map_err(|error| format!("not an image's configuration: {error}"))?;
    let platform = config.platform.read().ok_or_else(|| {
        let DescribedPlatform { os, architecture, .. } = &config.platform;
        format!("{:?} is no platform", format!("{os}/{architecture}"))
    })?;
    let execution = config.config.unwrap_or_default();
    let diff_ids = config.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default();
    bounded(diff_ids.len(), MOST_LAYERS, "diff ids")?;
    Ok(Facts {
        platform,
        entrypoint: execution.entrypoint.unwrap_or_default(),
        command: execution.cmd.unwrap_or_default(),
        diff_ids,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, described: Option<&str>) -> String {
        read_manifest(text.as_bytes(), described).unwrap_err()
    }

    const CONFIG: &str = r#""config": {"digest": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "size": 2}"#;

    #[test]
    fn what_is_not_one_kind_of_manifest_is_refused_with_the_reason() {
        assert!(refused("{", None).contains("not a manifest: EOF"));
        assert!(refused("{}", None).contains("no schemaVersion"));
        assert!(refused(r#"{"schemaVersion": 1}"#, None).contains("schemaVersion 1"));
        assert!(refused(r#"{"schemaVersion": 2}"#, None).contains("neither"));
        let both = format!(r#"{{"schemaVersion": 2, {CONFIG}, "manifests": []}}"#);
        assert!(refused(&both, None).contains("at once"));
        let manifest = format!(r#"{{"schemaVersion": 2, {CONFIG}}}"#);
        assert!(refused(&manifest, Some(OCI_INDEX)).contains("does not go with"));
        let lying = format!(r#"{{"schemaVersion": 2, "mediaType": "{OCI_MANIFEST}", {CONFIG}}}"#);
        assert!(refused(&lying, Some(DOCKER_MANIFEST)).contains("what points to it says"));
    }

    #[test]
    fn a_size_is_never_negative_and_a_digest_never_a_path() {
        let size = CONFIG.replace("\"size\": 2", "\"size\": -1");
        assert!(refused(&format!(r#"{{"schemaVersion": 2, {size}}}"#), None).contains("-1"));
        let digest = CONFIG.replace("sha256:11", "sha256:..");
        assert!(refused(&format!(r#"{{"schemaVersion": 2, {digest}}}"#), None).contains("is not a digest"));
        let other = CONFIG.replace("sha256:", "sha512:");
        assert!(refused(&format!(r#"{{"schemaVersion": 2, {other}}}"#), None).contains("is not a digest"));
    }

    #[test]
    fn layers_are_counted_before_anything_is_done_with_them() {
        let layer = CONFIG.strip_prefix("\"config\": ").unwrap();
        let layers = vec![layer; MOST_LAYERS + 1].join(",");
        let text = format!(r#"{{"schemaVersion": 2, {CONFIG}, "layers": [{layers}]}}"#);
        assert_eq!(refused(&text, None), "1001 layers are more than the 1000 that are read");
    }

    #[test]
    fn what_vouches_is_told_in_every_form() {
        let parts = |text: &str| match read_manifest(text.as_bytes(), None).unwrap().1 {
            Listed::Parts(parts) => *parts,
            Listed::Manifests(_) => panic!("it lists parts"),
        };
        let digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
        let with = |config: &str, more: &str| {
            format!(
                r#"{{"schemaVersion": 2, "config": {{"mediaType": "{config}", "digest": "{digest}", "size": 2}} {more}}}"#
            )
        };
        let statement =
            format!(r#", "layers": [{{"mediaType": "{IN_TOTO}", "digest": "{digest}", "size": 2}}]"#);
        let subject = format!(r#", "subject": {{"digest": "{digest}", "size": 2}}"#);
        let empty = "application/vnd.oci.empty.v1+json";
        for (text, is) in [
            (with(OCI_CONFIG, ""), false),
            (with(OCI_CONFIG, &statement), true),
            (with(empty, &subject), true),
            (with(OCI_CONFIG, &subject), false),
            (with(empty, r#", "artifactType": "application/vnd.docker.attestation.manifest.v1+json""#), true),
            (with(empty, r#", "artifactType": "application/vnd.example.thing""#), false),
        ] {
            assert_eq!(parts(&text).is_attestation(), is, "{text}");
        }
        assert_eq!(parts(&with(empty, &subject)).subject.unwrap().as_str(), digest);
    }

    #[test]
    fn an_empty_variant_is_none() {
        let text = r#"{"os": "linux", "architecture": "arm64", "variant": "", "config": {"Cmd": ["a"]}}"#;
        let facts = read_config(text.as_bytes()).unwrap();
        assert_eq!(facts.platform.to_string(), "linux/arm64");
        assert_eq!(facts.command, ["a"]);
        assert!(read_config(br#"{"os": "", "architecture": ""}"#).unwrap_err().contains("no platform"));
    }
}
