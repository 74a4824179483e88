//! Shaping whole images, with real compressors and a real cache.

use std::io::{Read as _, Write as _};

use longshore_contract::{Compression, Digest, Format, Platform, Profile, Taken};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::cache::Limit;
use crate::image::media::{config_in, layer_in, manifest_in};
use crate::image::{
    self, Blob, Child, Content, Context, Facts, ImageErrorKind, ImageSource, Manifest, Origin, Role, World,
    digest_of,
};

/// A destination like most clouds': one image, either format, gzip.
static STRICT: Profile = Profile {
    name: "strict",
    summary: "a test",
    formats: &[Format::Docker, Format::Oci],
    platforms: &["linux/amd64", "linux/arm64"],
    ..Profile::DOCKER
};
static DOCKER: Profile = Profile::DOCKER;
static OCI: Profile = Profile::OCI;
/// One that turns manifests the other way, and takes plain layers best.
static PLAIN: Profile = Profile {
    name: "plain",
    formats: &[Format::Oci],
    layers: &[Compression::Plain, Compression::Gzip],
    ..Profile::DOCKER
};

fn compressed(bytes: &[u8], how: Compression) -> Vec<u8> {
    match how {
        Compression::Plain => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

fn blob(media_type: &str, bytes: Vec<u8>) -> Blob {
    Blob {
        media_type: media_type.to_owned(),
        digest: digest_of(&bytes),
        size: bytes.len() as u64,
        content: Content::Bytes(bytes.into()),
    }
}

/// What an image is made of.
#[derive(Debug, Clone)]
struct Recipe {
    format: Format,
    platform: &'static str,
    /// Each layer's uncompressed bytes, what they are compressed with and what the manifest says they are.
    layers: Vec<(Vec<u8>, Compression, String)>,
    annotations: bool,
    origin: Origin,
}

impl Recipe {
    fn of(format: Format, layers: &[(&[u8], Compression)]) -> Self {
        let layer =
            |(bytes, how): &(&[u8], Compression)| (bytes.to_vec(), *how, layer_in(format, *how).to_owned());
        let layers = layers.iter().map(layer).collect();
        Self { format, platform: "linux/amd64", layers, annotations: false, origin: Origin::Source }
    }

    fn make(&self) -> Image {
        let diff_ids = self.layers.iter().map(|(bytes, _, _)| digest_of(bytes)).collect();
        let layers = self.layers.iter().map(|(bytes, how, said)| blob(said, compressed(bytes, *how)));
        self.with(layers.collect(), diff_ids)
    }

    fn with(&self, layers: Vec<Blob>, diff_ids: Vec<Digest>) -> Image {
        let platform: Platform = self.platform.parse().unwrap();
        let config = json!({ "os": platform.os, "architecture": platform.architecture, "config": { "Cmd": ["/a"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids }, "history": [{ "created_by": "a test" }] });
        let config = blob(config_in(self.format), serde_json::to_vec_pretty(&config).unwrap());
        let facts = Facts { platform, entrypoint: vec![], command: vec!["/a".into()], diff_ids };
        self.manifest(config, layers, Some(facts))
    }

    fn manifest(&self, config: Blob, layers: Vec<Blob>, facts: Option<Facts>) -> Image {
        let described = |blob: &Blob| {
            let mut described =
                json!({ "size": blob.size, "digest": blob.digest, "mediaType": blob.media_type });
            if self.annotations {
                described["annotations"] = json!({ "said.of": "these bytes" });
            }
            described
        };
        // In no canonical order: whoever writes it anew changes its digest.
        let mut manifest = json!({ "layers": layers.iter().map(described).collect::<Vec<_>>(),
            "config": described(&config), "mediaType": manifest_in(self.format), "schemaVersion": 2 });
        if self.annotations {
            manifest["annotations"] = json!({ "z": "2", "a": "1" });
        }
        let manifest = serde_json::to_vec_pretty(&manifest).unwrap();
        Image {
            digest: digest_of(&manifest),
            source_digest: digest_of(&manifest),
            media_type: manifest_in(self.format).to_owned(),
            manifest: manifest.into(),
            kind: Kind::Manifest(Box::new(Manifest {
                config,
                layers,
                facts,
                artifact_type: None,
                subject: None,
                is_attestation: false,
            })),
            origin: self.origin,
            source: "a test".to_owned(),
            changed: Vec::new(),
        }
    }
}

fn order(profile: &'static Profile) -> Order {
    Order { profile, platform: None, attestations: Attestations::Drop }
}

fn shape_with(shaper: &Shaper, image: Image, order: &Order) -> Result<Shaped, ImageError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(shaper.shape(image, order))
}

fn shape(image: Image, profile: &'static Profile) -> Result<Image, ImageError> {
    shape_with(&Shaper::new(Cache::nowhere()), image, &order(profile)).map(|shaped| shaped.image)
}

fn refused(image: Image, profile: &'static Profile) -> (ImageErrorKind, String) {
    let error = shape(image, profile).unwrap_err();
    (error.kind, error.message)
}

fn parts(image: &Image) -> &Manifest {
    match &image.kind {
        Kind::Manifest(parts) => parts,
        Kind::Index(_) => panic!("one image"),
    }
}

fn manifest(image: &Image) -> Value {
    serde_json::from_slice(&image.manifest).unwrap()
}

fn changes(image: &Image) -> Vec<&str> {
    image.changed.iter().map(|change| change.what.as_str()).collect()
}

fn inflated(layer: &Blob) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reader = layer.content.open(layer.size).unwrap();
    flate2::read::MultiGzDecoder::new(reader).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Writes it as a layout and reads that with the reader of layouts: whatever is wrong with it is found there.
fn read_back(image: &Image) -> (Image, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    image.save(&[], &folder.path().join("layout"), None).unwrap();
    let source = ImageSource::Layout { directory: "layout".into(), tag: None };
    let context = Context { directory: folder.path().to_owned(), platform: None, world: World::default() };
    (image::open(&source, &context).unwrap(), folder)
}

#[test]
fn what_is_taken_keeps_its_bytes() {
    for (profile, format, how) in [
        (&STRICT, Format::Oci, Compression::Gzip),
        (&STRICT, Format::Docker, Compression::Gzip),
        (&DOCKER, Format::Docker, Compression::Gzip),
        (&OCI, Format::Oci, Compression::Zstd),
        (&OCI, Format::Docker, Compression::Plain),
        (&PLAIN, Format::Oci, Compression::Plain),
    ] {
        let image = Recipe::of(format, &[(b"one", how), (b"two", how)]).make();
        let shaped = shape(image.clone(), profile).unwrap();
        assert_eq!((&shaped.manifest, &shaped.digest), (&image.manifest, &image.digest), "{}", profile.name);
        assert_eq!(shaped.changed, []);
    }
}

#[test]
fn a_layer_that_is_not_taken_is_compressed_with_gzip_and_the_rest_stays() {
    for (how, what) in [
        (Compression::Zstd, "layer compressed anew, with gzip instead of zstd"),
        (Compression::Plain, "layer compressed with gzip"),
    ] {
        let image = Recipe::of(Format::Oci, &[(b"kept", Compression::Gzip), (b"changed", how)]).make();
        let shaped = shape(image.clone(), &STRICT).unwrap();
        let (before, after) = (parts(&image), parts(&shaped));
        assert_eq!(changes(&shaped), [what]);
        assert_eq!(shaped.changed[0].digest, before.layers[1].digest);
        assert_eq!(shaped.changed[0].why, format!("strict takes no {how} layers"));
        assert_eq!(after.layers[0].digest, before.layers[0].digest);
        assert_eq!(after.config.digest, before.config.digest, "history and diff ids stay");
        assert_eq!(inflated(&after.layers[1]), b"changed");
        assert_eq!(after.layers[1].media_type, layer_in(Format::Oci, Compression::Gzip));
        assert_eq!(shaped.source_digest, image.digest);
        assert_eq!(read_back(&shaped).0.digest, shaped.digest);
    }
}

#[test]
fn a_manifest_is_turned_into_the_format_that_is_taken() {
    let mut recipe = Recipe::of(Format::Oci, &[(b"one", Compression::Gzip), (b"two", Compression::Gzip)]);
    recipe.annotations = true;
    let image = recipe.make();
    let docker = shape(image.clone(), &DOCKER).unwrap();
    assert_eq!(changes(&docker), ["manifest turned from OCI to Docker schema 2"]);
    let descriptor = |blob: &Blob, media_type: &str| json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.size });
    let before = parts(&image);
    assert_eq!(
        manifest(&docker),
        json!({ "schemaVersion": 2, "mediaType": manifest_in(Format::Docker),
            "config": descriptor(&before.config, config_in(Format::Docker)),
            "layers": before.layers.iter().map(|layer| descriptor(layer, layer_in(Format::Docker, Compression::Gzip)))
                .collect::<Vec<_>>() })
    );
    let back = shape(Image { changed: vec![], ..docker }, &PLAIN).unwrap();
    assert_eq!(changes(&back), ["manifest turned from Docker schema 2 to OCI"]);
    assert_eq!(manifest(&back)["layers"][0]["mediaType"], layer_in(Format::Oci, Compression::Gzip));
}

#[test]
fn what_is_said_of_a_layer_stays_with_its_bytes_and_goes_with_them() {
    let mut recipe =
        Recipe::of(Format::Oci, &[(b"kept", Compression::Gzip), (b"changed", Compression::Zstd)]);
    recipe.annotations = true;
    let shaped = manifest(&shape(recipe.make(), &STRICT).unwrap());
    assert_eq!(shaped["annotations"], json!({ "a": "1", "z": "2" }));
    assert_eq!(shaped["layers"][0]["annotations"], json!({ "said.of": "these bytes" }));
    assert_eq!(shaped["layers"][1].get("annotations"), None);
}

#[test]
fn the_bytes_decide_what_a_layer_is_and_not_its_media_type() {
    let mislabelled = |is: Compression, said: Compression| {
        let mut recipe = Recipe::of(Format::Oci, &[(b"layer", is)]);
        recipe.layers[0].2 = layer_in(Format::Oci, said).to_owned();
        shape(recipe.make(), &STRICT).unwrap()
    };
    let corrected = mislabelled(Compression::Gzip, Compression::Zstd);
    assert_eq!(changes(&corrected), ["layer's media type corrected"]);
    assert_eq!(corrected.changed[0].why, "it says zstd, and the bytes are gzip");
    assert_eq!(parts(&corrected).layers[0].media_type, layer_in(Format::Oci, Compression::Gzip));
    for is in [Compression::Plain, Compression::Zstd] {
        let packed = mislabelled(is, Compression::Gzip);
        assert_eq!(inflated(&parts(&packed).layers[0]), b"layer", "{is}");
    }
    // A layer by the other format's name.
    let mut recipe = Recipe::of(Format::Oci, &[(b"layer", Compression::Gzip)]);
    recipe.layers[0].2 = layer_in(Format::Docker, Compression::Gzip).to_owned();
    let corrected = shape(recipe.make(), &STRICT).unwrap();
    assert_eq!(changes(&corrected), ["layer's media type corrected"]);
}

#[test]
fn layers_of_an_image_that_was_never_in_a_registry_are_compressed_before_they_are_sent() {
    let mut recipe =
        Recipe::of(Format::Docker, &[(b"plain", Compression::Plain), (b"not", Compression::Gzip)]);
    recipe.origin = Origin::Here;
    for profile in [&OCI, &STRICT] {
        let shaped = shape(recipe.make(), profile).unwrap();
        assert_eq!(changes(&shaped), ["layer compressed with gzip"], "{}", profile.name);
        assert_eq!(shaped.media_type, manifest_in(Format::Docker));
        assert_eq!(inflated(&parts(&shaped).layers[0]), b"plain");
    }
    // Where plain layers are taken best nothing is done for nothing.
    recipe.format = Format::Oci;
    recipe.layers[0].2 = layer_in(Format::Oci, Compression::Plain).to_owned();
    recipe.layers[1].2 = layer_in(Format::Oci, Compression::Gzip).to_owned();
    assert_eq!(shape(recipe.make(), &PLAIN).unwrap().changed, []);
}

#[test]
fn what_cannot_be_mended_is_refused_with_the_reason() {
    let gzip = Recipe::of(Format::Oci, &[(b"one", Compression::Gzip)]);

    let mut foreign = gzip.clone();
    foreign.layers[0].2 = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".to_owned();
    let (kind, message) = refused(foreign.make(), &STRICT);
    assert_eq!(kind, ImageErrorKind::Unsupported);
    assert!(message.contains("is foreign") && message.contains("which strict does not do"), "{message}");

    let mut encrypted = gzip.clone();
    encrypted.layers[0].2 = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted".to_owned();
    assert!(refused(encrypted.make(), &STRICT).1.contains("which is no layer that strict runs"));

    let other = Recipe { platform: "linux/s390x", ..gzip.clone() };
    assert_eq!(
        refused(other.make(), &STRICT),
        (
            ImageErrorKind::Platform,
            "it is for linux/s390x, and strict runs linux/amd64 or linux/arm64".to_owned()
        )
    );

    let layers = parts(&gzip.make()).layers.clone();
    let miscounted = gzip.with(layers, vec![]);
    assert_eq!(
        refused(miscounted.clone(), &STRICT),
        (ImageErrorKind::Corrupt, "it has 1 layers and its configuration lists 0 diff_ids".to_owned())
    );

    let artifact = gzip.manifest(blob("application/vnd.oci.empty.v1+json", b"{}".to_vec()), vec![], None);
    let (kind, message) = refused(artifact.clone(), &STRICT);
    assert_eq!(kind, ImageErrorKind::Unsupported);
    assert!(message.contains("no image that could be run"), "{message}");

    // As it is means as it is.
    for image in [foreign.make(), encrypted.make(), other.make(), miscounted, artifact] {
        assert_eq!(shape(image.clone(), &OCI).unwrap().digest, image.digest);
    }
}

#[test]
fn an_empty_layer_is_dropped_where_nothing_but_layers_is_taken() {
    let recipe = Recipe::of(Format::Oci, &[]);
    let layers = vec![
        blob(layer_in(Format::Oci, Compression::Gzip), compressed(b"one", Compression::Gzip)),
        blob("application/vnd.oci.empty.v1+json", b"{}".to_vec()),
    ];
    let image = recipe.with(layers, vec![digest_of(b"one")]);
    let shaped = shape(image, &STRICT).unwrap();
    assert_eq!(changes(&shaped), ["empty layer dropped"]);
    assert_eq!(parts(&shaped).layers.len(), 1);
    assert_eq!(manifest(&shaped)["layers"].as_array().unwrap().len(), 1);
}

#[test]
fn a_layer_that_is_not_what_its_configuration_says_is_refused() {
    let recipe = Recipe::of(Format::Oci, &[(b"one", Compression::Zstd)]);
    let layers = parts(&recipe.make()).layers.clone();
    let (kind, message) = refused(recipe.with(layers, vec![digest_of(b"two")]), &STRICT);
    assert_eq!(kind, ImageErrorKind::Corrupt);
    assert!(message.contains("its contents have the digest"), "{message}");
}

#[test]
fn a_layer_that_is_cut_off_is_refused() {
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let whole = compressed(&bytes, Compression::Zstd);
    let recipe = Recipe::of(Format::Oci, &[]);
    for length in [whole.len() / 2, whole.len() - 1, 5] {
        let layer = blob(layer_in(Format::Oci, Compression::Zstd), whole[..length].to_vec());
        let (kind, message) = refused(recipe.with(vec![layer], vec![digest_of(&bytes)]), &STRICT);
        assert_eq!(kind, ImageErrorKind::Corrupt, "{length}: {message}");
    }
}

#[test]
fn a_small_layer_that_swells_without_end_is_refused() {
    let bomb = compressed(&vec![0; 4 << 20], Compression::Zstd);
    assert!(bomb.len() < 1 << 10);
    let layer = blob(layer_in(Format::Oci, Compression::Zstd), bomb);
    let image = Recipe::of(Format::Oci, &[]).with(vec![layer], vec![digest_of(&vec![0; 4 << 20])]);
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"), Limit::Default);
    let swell = pack::Swell { always: 1 << 20, times: 200, most: 1 << 30 };
    let shaper = Shaper { swell, ..Shaper::new(cache.clone()) };
    let error = shape_with(&shaper, image.clone(), &order(&STRICT)).unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Limit);
    assert!(error.message.contains("more than the 1048576 uncompressed bytes"), "{error}");
    assert_eq!(cache.contents().unwrap().layers, []);
    // The same is fine where it may swell so far.
    assert!(shape_with(&Shaper::new(cache), image, &order(&STRICT)).is_ok());
}

#[test]
fn a_layer_is_compressed_once_for_every_image_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"), Limit::Default);
    let shaper = Shaper::new(cache.clone());
    let first = Recipe::of(Format::Oci, &[(b"base", Compression::Zstd), (b"one", Compression::Zstd)]).make();
    let first = shape_with(&shaper, first, &order(&STRICT)).unwrap().image;
    let second = Recipe::of(Format::Docker, &[(b"base", Compression::Plain), (b"two", Compression::Plain)]);
    let second = shape_with(&shaper, second.make(), &order(&STRICT)).unwrap().image;
    assert_eq!(parts(&first).layers[0].digest, parts(&second).layers[0].digest);
    assert_eq!(cache.contents().unwrap().layers.len(), 3);
}

fn index(children: Vec<(Role, Option<Digest>, Image)>) -> Image {
    let children: Vec<Child> = children
        .into_iter()
        .map(|(role, about, image)| Child { digest: image.digest.clone(), role, about, image: Some(image) })
        .collect();
    let listed: Vec<Value> = children
        .iter()
        .map(|child| json!({ "digest": child.digest, "mediaType": child.image.as_ref().unwrap().media_type }))
        .collect();
    let manifest = json!({ "schemaVersion": 2, "manifests": listed }).to_string();
    Image {
        digest: digest_of(manifest.as_bytes()),
        source_digest: digest_of(manifest.as_bytes()),
        media_type: image::media::OCI_INDEX.to_owned(),
        manifest: manifest.into(),
        kind: Kind::Index(children),
        origin: Origin::Source,
        source: "a test".to_owned(),
        changed: Vec::new(),
    }
}

fn built_with_provenance(how: Compression) -> (Image, Image, Image) {
    let runnable = Recipe::of(Format::Oci, &[(b"one", how)]).make();
    let statement = blob("application/vnd.in-toto+json", b"{}".to_vec());
    let unknown = Recipe { platform: "unknown/unknown", annotations: true, ..Recipe::of(Format::Oci, &[]) };
    let attestation = unknown.with(vec![statement], vec![digest_of(b"{}")]);
    let platform = Role::Platform("linux/amd64".parse().unwrap());
    let whole = index(vec![
        (platform, None, runnable.clone()),
        (Role::Attestation, Some(runnable.digest.clone()), attestation.clone()),
    ]);
    (whole, runnable, attestation)
}

fn wanted(profile: &'static Profile, attestations: Attestations) -> Order {
    Order { profile, platform: Some("linux/amd64".parse().unwrap()), attestations }
}

#[test]
fn an_index_goes_as_it_is_only_where_it_is_taken() {
    let (whole, runnable, attestation) = built_with_provenance(Compression::Gzip);
    assert_eq!(shape(whole.clone(), &OCI).unwrap().manifest, whole.manifest);
    let error = shape(whole.clone(), &STRICT).unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Platform);
    assert_eq!(
        error.message,
        "it is an index of several images (linux/amd64), and one image is taken by a test"
    );
    assert_eq!(error.hint.as_deref(), Some("say which one: --platform linux/amd64"));

    for profile in [&OCI, &STRICT] {
        let shaper = Shaper::new(Cache::nowhere());
        let shaped = shape_with(&shaper, whole.clone(), &wanted(profile, Attestations::Drop)).unwrap();
        assert_eq!(shaped.image.digest, runnable.digest);
        assert_eq!(shaped.image.source_digest, whole.digest);
        assert_eq!(changes(&shaped.image), ["platform picked out of an index", "attestation dropped"]);
        assert_eq!(shaped.image.changed[1].digest, attestation.digest);
        assert!(shaped.referrers.is_empty());
    }
    let absent = Order { platform: Some("linux/s390x".parse().unwrap()), ..order(&OCI) };
    let error = shape_with(&Shaper::new(Cache::nowhere()), whole, &absent).unwrap_err();
    assert_eq!(error.message, "no image for linux/s390x; there is linux/amd64");
}

#[test]
fn an_attestation_is_kept_beside_the_image_it_vouches_for() {
    let (whole, runnable, attestation) = built_with_provenance(Compression::Gzip);
    let shaper = Shaper::new(Cache::nowhere());
    let shaped = shape_with(&shaper, whole, &wanted(&STRICT, Attestations::Keep)).unwrap();
    let [referrer] = &shaped.referrers[..] else { panic!("one referrer") };
    let said = manifest(referrer);
    assert_eq!(
        said["subject"],
        json!({ "mediaType": runnable.media_type, "digest": runnable.digest, "size": runnable.manifest.len() })
    );
    assert_eq!(said["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
    assert_eq!(said["layers"], manifest(&attestation)["layers"]);
    assert_eq!(changes(&shaped.image)[1], KEPT);
    assert_eq!(shaped.image.changed[1].digest, attestation.digest);
    assert_eq!(shaped.image.changed[1].why, format!("it refers to the image as {}", referrer.digest));
}

#[test]
fn an_attestation_of_an_image_that_was_changed_is_true_of_nothing() {
    let (whole, runnable, _) = built_with_provenance(Compression::Zstd);
    let shaper = Shaper::new(Cache::nowhere());
    let shaped = shape_with(&shaper, whole, &wanted(&STRICT, Attestations::Keep)).unwrap();
    assert!(shaped.referrers.is_empty());
    assert_eq!(changes(&shaped.image)[1], "attestation dropped");
    assert_eq!(
        shaped.image.changed[1].why,
        format!("it vouches for {}, which is not what is pushed", runnable.digest)
    );
}

#[test]
fn a_manifest_that_names_its_subject_is_kept_to_the_byte() {
    let runnable = Recipe::of(Format::Oci, &[(b"one", Compression::Gzip)]).make();
    let said = json!({ "schemaVersion": 2, "mediaType": manifest_in(Format::Oci),
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2 },
        "layers": [], "subject": { "mediaType": runnable.media_type, "digest": runnable.digest, "size": 1 } });
    let said = said.to_string();
    let config = blob("application/vnd.oci.empty.v1+json", b"{}".to_vec());
    let mut signature = Image {
        digest: digest_of(said.as_bytes()),
        source_digest: digest_of(said.as_bytes()),
        manifest: said.into(),
        ..Recipe::of(Format::Oci, &[]).manifest(config, vec![], None)
    };
    let Kind::Manifest(parts) = &mut signature.kind else { panic!("one image") };
    parts.subject = Some(runnable.digest.clone());
    let platform = Role::Platform("linux/amd64".parse().unwrap());
    let whole = index(vec![(platform, None, runnable), (Role::Attestation, None, signature.clone())]);
    let shaper = Shaper::new(Cache::nowhere());
    let shaped = shape_with(&shaper, whole, &wanted(&STRICT, Attestations::Keep)).unwrap();
    assert_eq!(shaped.referrers.len(), 1);
    assert_eq!(shaped.referrers[0].manifest, signature.manifest);
    assert_eq!(changes(&shaped.image)[1], KEPT);
}

#[test]
fn what_is_foreseen_is_what_is_done() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let shaper = Shaper::new(Cache::nowhere());
    for how in [Compression::Gzip, Compression::Zstd] {
        let (whole, ..) = built_with_provenance(how);
        let order = wanted(&DOCKER, Attestations::Drop);
        let foreseen = runtime.block_on(shaper.foresee(whole.clone(), &order)).unwrap();
        assert_eq!(foreseen, shape_with(&shaper, whole, &order).unwrap().image.changed);
    }
}

fn compressions() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::Plain), Just(Compression::Gzip), Just(Compression::Zstd)]
}

fn formats() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Oci), Just(Format::Docker)]
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let layer = (proptest::collection::vec(any::<u8>(), 1..200), compressions(), compressions(), formats());
    (formats(), proptest::collection::vec(layer, 0..4), any::<bool>(), any::<bool>()).prop_map(
        |(format, layers, annotations, here)| Recipe {
            format,
            platform: "linux/arm64",
            layers: layers
                .into_iter()
                // Bytes that begin as no compressor's do are what they are said to be.
                .map(|(mut bytes, is, said, family)| {
                    bytes[0] = b'f';
                    (bytes, is, layer_in(family, said).to_owned())
                })
                .collect(),
            annotations,
            origin: if here { Origin::Here } else { Origin::Source },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn shaping_twice_is_shaping_once(recipe in recipes(), which in 0_usize..4) {
        let profile = [&STRICT, &DOCKER, &OCI, &PLAIN][which];
        let image = recipe.make();
        let once = shape(image.clone(), profile).unwrap();
        if once.changed.is_empty() {
            prop_assert_eq!(&once.manifest, &image.manifest);
        } else {
            prop_assert_ne!(&once.digest, &image.digest);
        }
        let twice = shape(Image { changed: vec![], ..once.clone() }, profile).unwrap();
        prop_assert_eq!(&twice.changed, &vec![]);
        prop_assert_eq!(&twice.manifest, &once.manifest);
        // On another machine: another cache, the same bytes.
        let elsewhere = shape(image, profile).unwrap();
        prop_assert_eq!(&elsewhere.manifest, &once.manifest);
        prop_assert_eq!(&digest_of(&once.manifest), &once.digest);
        // Every output is one that is read, with every layer what its manifest says.
        let (read, _folder) = read_back(&once);
        prop_assert_eq!(&read.digest, &once.digest);
        if profile.others == Taken::No {
            for layer in &parts(&read).layers {
                let mut first = [0; 2];
                let mut reader = layer.content.open(layer.size).unwrap();
                let is_gzip = reader.read_exact(&mut first).is_ok() && first == [0x1f, 0x8b];
                prop_assert_eq!(is_gzip, layer.media_type.ends_with("gzip"), "{}", layer.media_type);
            }
        }
    }
}

#[test]
fn the_manifest_is_written_in_one_order() {
    let image = Recipe::of(Format::Oci, &[(b"one", Compression::Plain)]).make();
    let shaped = shape(image, &STRICT).unwrap();
    let text = std::str::from_utf8(&shaped.manifest).unwrap();
    let layer = &parts(&shaped).layers[0];
    let config = &parts(&shaped).config;
    assert_eq!(
        text,
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
             \"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"{}\",\"size\":{}}},\
             \"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"{}\",\"size\":{}}}]}}",
            config.digest, config.size, layer.digest, layer.size
        )
    );
}
