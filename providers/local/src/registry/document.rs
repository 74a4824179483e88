//! Manifests and configurations, as far as they are looked into. The bytes themselves are kept as they came.

use std::collections::BTreeMap;

use longshore_contract::Digest;
use serde::Deserialize;

use super::digest::ContentDigest;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Names other bytes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: ContentDigest,
    pub(super) size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

impl Descriptor {
    /// Whether the bytes may be somewhere else by design: what is not to be distributed is fetched from its own URLs.
    fn elsewhere(&self) -> bool {
        self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            && (self.media_type.contains("nondistributable") || self.media_type.contains("foreign"))
    }
}

/// A manifest, as far as a registry looks into it.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) parts: Parts,
    /// The manifest that this one is about, which may be anywhere.
    pub(super) subject: Option<ContentDigest>,
    pub(super) annotations: BTreeMap<String, String>,
    artifact_type: Option<String>,
}

/// What a manifest is made of.
#[derive(Debug)]
pub(super) enum Parts {
    /// One image, or an artefact in an image's shape.
    Image { config: Descriptor, layers: Vec<Descriptor> },
    /// A list of manifests.
    Index { children: Vec<Descriptor> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Reads a manifest that came with the header `Content-Type: content_type`; answers with it and with the media type
    /// it is kept under. An error says what is wrong with it.
    pub(super) fn read(content_type: Option<&str>, bytes: &[u8]) -> Result<(Self, String), String> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| format!("not a manifest: {error}"))?;
        if raw.schema_version != 2 {
            return Err(format!("schema version {} is not supported, only 2 is", raw.schema_version));
        }
        let stated = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_owned());
        // Two words for one thing are an attempt to be read in two ways.
        if let (Some(header), Some(body)) = (&stated, &raw.media_type)
            && header != body
        {
            return Err(format!("the header says {header} and the manifest {body}"));
        }
        let inferred = if raw.manifests.is_some() { OCI_INDEX } else { OCI_MANIFEST };
        let media_type = stated.or(raw.media_type).unwrap_or_else(|| inferred.to_owned());
        let parts = match (media_type.as_str(), raw.config, raw.layers, raw.manifests) {
            (OCI_MANIFEST | DOCKER_MANIFEST, Some(config), Some(layers), None) => {
                Parts::Image { config, layers }
            }
            (OCI_INDEX | DOCKER_LIST, None, None, Some(children)) => Parts::Index { children },
            (OCI_MANIFEST | DOCKER_MANIFEST, ..) => {
                return Err("an image manifest has config and layers, and no manifests".to_owned());
            }
            (OCI_INDEX | DOCKER_LIST, ..) => {
                return Err("an index has manifests, and neither config nor layers".to_owned());
            }
            (other, ..) => return Err(format!("media type {other} is not supported")),
        };
        let document = Self {
            parts,
            subject: raw.subject.map(|subject| subject.digest),
            annotations: raw.annotations.unwrap_or_default(),
            artifact_type: raw.artifact_type,
        };
        Ok((document, media_type))
    }

    /// The blobs that must be there before this manifest.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, layers) = match &self.parts {
            Parts::Image { config, layers } => (Some(config), layers.as_slice()),
            Parts::Index { .. } => (None, [].as_slice()),
        };
        config.into_iter().chain(layers).filter(|blob| !blob.elsewhere())
    }

    /// The manifests that must be there before this one.
    pub(super) fn children(&self) -> &[Descriptor] {
        match &self.parts {
            Parts::Image { .. } => &[],
            Parts::Index { children } => children,
        }
    }

    /// What kind of artefact it is: what it says, or else what its configuration is.
    pub(super) fn artifact_type(&self) -> Option<&str> {
        let said = self.artifact_type.as_deref().filter(|kind| !kind.is_empty());
        said.or(match &self.parts {
            Parts::Image { config, .. } => Some(config.media_type.as_str()).filter(|kind| !kind.is_empty()),
            Parts::Index { .. } => None,
        })
    }
}

/// An image's configuration. `null` and absent are the same everywhere: old tools write either.
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    pub(super) variant: Option<String>,
    pub(super) config: Option<Process>,
    pub(super) rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Process {
    pub(super) user: Option<String>,
    pub(super) exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    pub(super) env: Option<Vec<String>>,
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) cmd: Option<Vec<String>>,
    pub(super) working_dir: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RootFs {
    pub(super) diff_ids: Vec<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> String {
        format!(r#"{{"mediaType":"x","digest":"sha256:{}","size":1}}"#, "0".repeat(64))
    }

    #[test]
    fn a_manifest_that_can_be_read_in_two_ways_is_refused() {
        let one = descriptor();
        let both = format!(r#"{{"schemaVersion":2,"config":{one},"layers":[],"manifests":[{one}]}}"#);
        assert!(Document::read(None, both.as_bytes()).is_err());
        let image =
            format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{one},"layers":[]}}"#);
        assert!(Document::read(Some(DOCKER_MANIFEST), image.as_bytes()).is_err());
        assert!(Document::read(Some(OCI_INDEX), image.as_bytes()).is_err());
    }

    #[test]
    fn a_media_type_is_taken_from_header_body_or_shape() {
        let one = descriptor();
        let bare = format!(r#"{{"schemaVersion":2,"config":{one},"layers":[{one}]}}"#);
        for (header, kept) in [
            (None, OCI_MANIFEST),
            (Some(DOCKER_MANIFEST), DOCKER_MANIFEST),
            (Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"), OCI_MANIFEST),
        ] {
            let (document, media_type) = Document::read(header, bare.as_bytes()).unwrap();
            assert_eq!(media_type, kept);
            assert_eq!(document.blobs().count(), 2);
        }
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{one}]}}"#);
        let (document, media_type) = Document::read(None, index.as_bytes()).unwrap();
        assert_eq!((document.children().len(), media_type.as_str()), (1, OCI_INDEX));
    }

    #[test]
    fn an_artefact_is_of_the_kind_it_says_or_else_of_its_configurations() {
        let (config, kind) = (descriptor(), |text: &str| {
            let (document, _) = Document::read(None, text.as_bytes()).unwrap();
            document.artifact_type().map(str::to_owned)
        });
        let image = format!(r#""schemaVersion":2,"config":{config},"layers":[]"#);
        assert_eq!(kind(&format!(r#"{{{image},"artifactType":"a/b"}}"#)).as_deref(), Some("a/b"));
        assert_eq!(kind(&format!(r#"{{{image},"artifactType":""}}"#)).as_deref(), Some("x"));
        assert_eq!(kind(&format!("{{{image}}}")).as_deref(), Some("x"));
        assert_eq!(kind(r#"{"schemaVersion":2,"manifests":[]}"#), None);
        assert_eq!(
            kind(r#"{"schemaVersion":2,"manifests":[],"artifactType":"c/d"}"#).as_deref(),
            Some("c/d")
        );
    }

    #[test]
    fn what_is_no_manifest_of_ours_is_refused() {
        for text in
            ["", "[]", "{}", r#"{"schemaVersion":1}"#, r#"{"schemaVersion":2}"#, "{\"schemaVersion\":2"]
        {
            assert!(Document::read(None, text.as_bytes()).is_err(), "{text}");
        }
        let other = format!(r#"{{"schemaVersion":2,"config":{0},"layers":[]}}"#, descriptor());
        assert!(Document::read(Some("application/json"), other.as_bytes()).is_err());
    }

    #[test]
    fn old_configurations_with_nulls_are_read() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"User":"","Env":null,"ExposedPorts":null,
            "Entrypoint":null,"Cmd":["/app"],"WorkingDir":"","OnBuild":null},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let configuration: Configuration = serde_json::from_str(text).unwrap();
        assert_eq!(configuration.config.unwrap().cmd.unwrap(), ["/app"]);
    }
}
