//! Making an image out of files, the same bytes every time.
//!
//! What would differ from machine to machine is left out: times are 0, owners are root, the order is by path, and the gzip
//! header names neither a file nor a system.

mod base;
mod files;
mod layer;

use serde_json::{Map, Value, json};

use super::error::{ImageError, ImageErrorKind};
use super::media::{LayerKind, OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, layer_in};
use super::source::{Assembly, Base};
use super::{Blob, Content, Context, Facts, Image, Kind, Manifest, Origin, digest_of};
use base::Below;
use longshore_contract::{Format, Platform};

const NAME: &str = "assemble";
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Makes the image. What is built upon keeps its layers and its configuration; what the assembly states wins.
pub(super) fn assemble(assembly: &Assembly, context: &Context) -> Result<Image, ImageError> {
    let base = match &assembly.base {
        Base::Scratch => None,
        Base::Source(source) => {
            let wanted = assembly.platform.as_ref().or(context.platform.as_ref());
            let image = super::open(source, context)?;
            let single = matches!(image.kind, Kind::Manifest(_));
            Some(match wanted {
                Some(wanted) => image.pick(wanted)?,
                None if single => image,
                None => image.pick(&Platform::host())?,
            })
        }
    };
    let (mut layers, mut config, changed) = match base {
        None => (Vec::new(), Map::new(), Vec::new()),
        Some(image) => {
            let changed = image.changed;
            let parts = match image.kind {
                Kind::Manifest(parts) if parts.facts.is_some() => parts,
                _ => return Err(unsupported(format!("base {} is no image that could be run", image.source))),
            };
            let Manifest { config, layers, .. } = *parts;
            let Content::Bytes(text) = &config.content else {
                return Err(unsupported(format!("base {} has no configuration at hand", image.source)));
            };
            let config = serde_json::from_slice(text).map_err(|error| {
                ImageError::new(ImageErrorKind::Corrupt, &image.source, error.to_string())
            })?;
            (layers, config, changed)
        }
    };
    let diff_ids = diff_ids(&config)?;
    if diff_ids.len() != layers.len() {
        let message =
            format!("the base has {} layers and its configuration lists {}", layers.len(), diff_ids.len());
        return Err(ImageError::new(ImageErrorKind::Corrupt, NAME, message));
    }
    let mut added = Vec::new();
    if !assembly.add.is_empty() {
        let below = Below::read(&layers, &diff_ids)?;
        let entries = files::collect(&assembly.add, &context.directory, &below)?;
        let layer = layer::write(&entries)?;
        added.push(layer.diff_id.clone());
        layers.push(Blob {
            media_type: OCI_LAYER_GZIP.to_owned(),
            digest: layer.digest,
            size: layer.size,
            content: layer.content,
        });
    }
    override_with(&mut config, assembly, context, added.iter().map(ToString::to_string).collect());
    finish(config, layers, changed)
}

fn diff_ids(config: &Map<String, Value>) -> Result<Vec<longshore_contract::Digest>, ImageError> {
    let Some(listed) = config.get("rootfs").and_then(|rootfs| rootfs.get("diff_ids")) else {
        return Ok(Vec::new());
    };
    serde_json::from_value(listed.clone()).map_err(|error| {
        ImageError::new(ImageErrorKind::Corrupt, NAME, format!("the base's diff_ids: {error}"))
    })
}

/// Lays what the assembly states over the base's configuration. Keys keep the base's order; new ones come in ours.
fn override_with(
    config: &mut Map<String, Value>,
    assembly: &Assembly,
    context: &Context,
    added: Vec<String>,
) {
    let platform =
        assembly.platform.clone().or_else(|| context.platform.clone()).unwrap_or_else(Platform::host);
    config.insert("created".into(), json!(EPOCH));
    if !config.contains_key("architecture") {
        config.insert("architecture".into(), json!(platform.architecture));
        config.insert("os".into(), json!(platform.os));
        if let Some(variant) = &platform.variant {
            config.insert("variant".into(), json!(variant));
        }
    }
    let execution = object(config, "config");
    if !assembly.entrypoint.is_empty() {
        execution.insert("Entrypoint".into(), json!(assembly.entrypoint));
        execution.shift_remove("Cmd");
    }
    if !assembly.command.is_empty() {
        execution.insert("Cmd".into(), json!(assembly.command));
    }
    let environment = merged(execution.get("Env"), assembly);
    if !environment.is_empty() {
        execution.insert("Env".into(), json!(environment));
    }
    for (key, stated) in [("WorkingDir", &assembly.workdir), ("User", &assembly.user)] {
        if let Some(stated) = stated {
            execution.insert(key.into(), json!(stated));
        }
    }
    let history: Vec<Value> =
        added.iter().map(|_| json!({"created": EPOCH, "created_by": "longshore assemble"})).collect();
    let rootfs = object(config, "rootfs");
    rootfs.insert("type".into(), json!("layers"));
    append(rootfs, "diff_ids", added.into_iter().map(Value::from).collect());
    append(config, "history", history);
}

fn object<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = parent.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made one")
}

fn append(parent: &mut Map<String, Value>, key: &str, mut more: Vec<Value>) {
    match parent.get_mut(key) {
        Some(Value::Array(list)) => list.append(&mut more),
        _ => {
            parent.insert(key.into(), Value::Array(more));
        }
    }
}

/// The base's variables in their order, those that are stated anew in their place, new ones behind them by name.
fn merged(base: Option<&Value>, assembly: &Assembly) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let base = base.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let mut variables: Vec<String> = base.map(str::to_owned).collect();
    for (key, value) in &assembly.environment {
        let stated = format!("{key}={value}");
        match variables.iter_mut().find(|variable| name(variable) == *key) {
            Some(variable) => *variable = stated,
            None => variables.push(stated),
        }
    }
    variables
}

fn finish(
    config: Map<String, Value>,
    layers: Vec<Blob>,
    changed: Vec<super::Change>,
) -> Result<Image, ImageError> {
    let text = serde_json::to_vec(&config).expect("a map of JSON is JSON");
    let facts: Facts = super::document::read_config(&text)
        .map_err(|problem| ImageError::new(ImageErrorKind::Corrupt, NAME, problem))?;
    let config = Blob {
        media_type: OCI_CONFIG.to_owned(),
        digest: digest_of(&text),
        size: text.len() as u64,
        content: Content::Bytes(text.into()),
    };
    let described = |blob: &Blob| json!({"mediaType": oci_type(&blob.media_type), "digest": blob.digest, "size": blob.size});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(&config),
        "layers": layers.iter().map(described).collect::<Vec<_>>(),
    });
    let manifest = serde_json::to_vec(&manifest).expect("JSON is JSON");
    let digest = digest_of(&manifest);
    Ok(Image {
        source_digest: digest.clone(),
        digest,
        media_type: OCI_MANIFEST.to_owned(),
        manifest: manifest.into(),
        kind: Kind::Manifest(Box::new(Manifest {
            config,
            layers,
            facts: Some(facts),
            artifact_type: None,
            subject: None,
            is_attestation: false,
        })),
        origin: Origin::Source,
        source: NAME.to_owned(),
        changed,
    })
}

/// A layer's media type in an OCI manifest: a docker base's layers are the same bytes under OCI's name.
fn oci_type(media_type: &str) -> &str {
    match LayerKind::of(media_type) {
        LayerKind::Tar(compression) => layer_in(Format::Oci, compression),
        _ => media_type,
    }
}

fn unsupported(message: String) -> ImageError {
    ImageError::new(ImageErrorKind::Unsupported, NAME, message)
}
