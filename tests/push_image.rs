//! Opening images: what is read, what is picked, and everything that is refused.

mod push_support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use longshore::image::{
    Add, Assembly, Base, Context, Image, ImageError, ImageErrorKind, ImageSource, Kind, Manifest, World,
    digest_of,
};
use push_support::layout::{CONFIG, LAYER, Layout, MANIFEST, noise};
use push_support::{open, open_source};
use serde_json::json;

fn tagged(layout: &Layout, tag: &str) -> Result<Image, ImageError> {
    open_source(&ImageSource::Layout { directory: layout.path().to_owned(), tag: Some(tag.to_owned()) })
}

fn parts(image: &Image) -> &Manifest {
    let Kind::Manifest(parts) = &image.kind else { panic!("an index") };
    parts
}

/// Opening fails so, and says which source it was.
fn refused(layout: &Layout, kind: ImageErrorKind, part: &str) {
    let error = open(layout.path()).unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(part), "{error}");
    assert!(error.to_string().starts_with("oci:/"), "{error}");
}

#[test]
fn a_manifest_is_held_as_it_was_written() {
    let layout = Layout::with_layers(&[b"one", b"two"]);
    let image = open(layout.path()).unwrap();
    let written = fs::read(layout.blob_path(image.digest.as_str())).unwrap();
    assert_eq!(image.manifest, written);
    assert_eq!((image.media_type.as_str(), parts(&image).layers.len()), (MANIFEST, 2));
    let facts = parts(&image).facts.as_ref().unwrap();
    assert_eq!(
        (facts.platform.to_string().as_str(), facts.command.as_slice()),
        ("linux/amd64", &["/app".to_owned()][..])
    );
    assert!(image.changed.is_empty() && image.source_digest == image.digest);
}

#[test]
fn a_layout_of_several_images_wants_a_tag_and_lists_them() {
    let mut layout = Layout::new();
    for tag in ["v1", "host.io/app:v2"] {
        let image = layout.image("linux", "amd64", &[tag.as_bytes()]);
        layout.list(image, Some(tag));
    }
    refused(&layout, ImageErrorKind::Tag, "2 images and no tag is stated (tags: v1, host.io/app:v2)");
    assert!(tagged(&layout, "v1").is_ok() && tagged(&layout, "host.io/app:v2").is_ok());
    let error = tagged(&layout, "v3").unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Tag);
    assert!(error.message.contains("no image has the tag \"v3\" (tags: v1, host.io/app:v2)"), "{error}");

    let mut layout = Layout::new();
    refused(&layout, ImageErrorKind::Tag, "it holds no image");
    let image = layout.image("linux", "amd64", &[b"a"]);
    layout.list(image.clone(), Some("v1"));
    layout.list(image, Some("v1.0"));
    assert!(open(layout.path()).is_ok(), "two names of one image are one image");
}

#[test]
fn an_archive_is_the_same_image_as_its_layout() {
    let layout = Layout::with_layers(&[&noise(100_000, 1), b"two"]);
    let directory = tempfile::tempdir().unwrap();
    let (plain, packed) = (directory.path().join("image.tar"), directory.path().join("image.tgz"));
    fs::write(&plain, layout.tar()).unwrap();
    let mut encoder =
        flate2::write::GzEncoder::new(fs::File::create(&packed).unwrap(), flate2::Compression::fast());
    encoder.write_all(&layout.tar()).unwrap();
    encoder.finish().unwrap();
    let expected = open(layout.path()).unwrap();
    for file in [plain, packed] {
        let image = open_source(&ImageSource::Archive { file }).unwrap();
        assert_eq!((&image.digest, &image.manifest), (&expected.digest, &expected.manifest));
        for (layer, same) in parts(&image).layers.iter().zip(&parts(&expected).layers) {
            let read = |blob: &longshore::image::Blob| {
                std::io::Read::bytes(blob.content.open(blob.size).unwrap())
                    .collect::<Result<Vec<_>, _>>()
                    .unwrap()
            };
            assert_eq!(read(layer), read(same));
        }
    }
}

#[test]
fn the_platform_is_picked_out_of_nested_indexes_and_what_is_left_behind_is_told() {
    let mut layout = Layout::new();
    let amd = layout.child("linux", "amd64", &[b"amd"]);
    let arm = layout.child("linux", "arm64", &[b"arm"]);
    let attestation = layout.attestation(&amd);
    let wanted = arm["digest"].as_str().unwrap().to_owned();
    let vouching = attestation["digest"].as_str().unwrap().to_owned();
    let inner = layout.index(&[amd, arm, attestation]);
    let outer = layout.index(&[inner]);
    layout.list(outer, None);
    let image = open(layout.path()).unwrap();
    let picked = image.clone().pick(&"linux/arm64".parse().unwrap()).unwrap();
    assert_eq!(picked.digest.as_str(), wanted);
    assert_eq!(picked.source_digest, image.digest);
    let changes: Vec<_> =
        picked.changed.iter().map(|change| (change.what.as_str(), change.digest.as_str())).collect();
    assert_eq!(
        changes,
        [
            ("platform picked out of an index", image.digest.as_str()),
            ("attestation dropped", vouching.as_str())
        ]
    );
    let error = image.clone().pick(&"linux/riscv64".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Platform);
    assert!(
        error.message.contains("no image for linux/riscv64; there is linux/amd64, linux/arm64"),
        "{error}"
    );
    assert_eq!(image.pick(&"unknown/unknown".parse().unwrap()).unwrap_err().kind, ImageErrorKind::Platform);

    let single = open(Layout::with_layers(&[b"a"]).path()).unwrap();
    assert_eq!(single.clone().pick(&"linux/amd64".parse().unwrap()).unwrap().changed, []);
    let error = single.pick(&"linux/arm64".parse().unwrap()).unwrap_err();
    assert!(error.message.contains("there is linux/amd64"), "{error}");
}

#[test]
fn an_index_may_lie_about_a_platform_and_the_image_decides() {
    let mut layout = Layout::new();
    let mut lying = layout.child("linux", "arm64", &[b"arm"]);
    lying["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let index = layout.index(&[lying]);
    layout.list(index, None);
    let image = open(layout.path()).unwrap();
    assert!(image.clone().pick(&"linux/amd64".parse().unwrap()).is_err());
    assert!(image.pick(&"linux/arm64".parse().unwrap()).is_ok());
}

#[test]
fn a_platform_that_is_listed_and_not_there_is_no_matter_to_the_others() {
    let mut layout = Layout::new();
    let amd = layout.child("linux", "amd64", &[b"amd"]);
    let arm = layout.child("linux", "arm64", &[b"arm"]);
    let gone = layout.blob_path(arm["digest"].as_str().unwrap());
    let index = layout.index(&[amd, arm]);
    layout.list(index, None);
    fs::remove_file(gone).unwrap();
    let image = open(layout.path()).unwrap();
    assert!(image.clone().pick(&"linux/amd64".parse().unwrap()).is_ok());
    let error = image.pick(&"linux/arm64".parse().unwrap()).unwrap_err();
    assert!(error.message.contains("is listed and is not all there"), "{error}");
}

#[test]
fn a_manifest_that_is_not_its_digest_is_refused_with_both() {
    let layout = Layout::with_layers(&[b"layer"]);
    let digest = open(layout.path()).unwrap().digest;
    let path = layout.blob_path(digest.as_str());
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = b' ';
    fs::write(&path, &bytes).unwrap();
    refused(
        &layout,
        ImageErrorKind::Corrupt,
        &format!("{digest} is damaged: its bytes have the digest {}", digest_of(&bytes)),
    );
    fs::write(&path, &bytes[..20]).unwrap();
    refused(&layout, ImageErrorKind::Corrupt, "it has 20 bytes where");
}

#[test]
fn a_layer_of_another_size_and_one_that_is_not_there_are_named() {
    let layout = Layout::with_layers(&[b"layer"]);
    let digest = digest_of(b"layer");
    fs::write(layout.blob_path(digest.as_str()), b"longer layer").unwrap();
    refused(
        &layout,
        ImageErrorKind::Corrupt,
        &format!("layer {digest} is damaged: it has 12 bytes where 5 are expected"),
    );
    fs::remove_file(layout.blob_path(digest.as_str())).unwrap();
    refused(&layout, ImageErrorKind::Missing, &format!("layer {digest} is not there"));
}

#[test]
fn no_link_leads_out_of_a_layout() {
    let layout = Layout::with_layers(&[b"layer"]);
    let digest = digest_of(b"layer");
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), b"layer").unwrap();
    let blob = layout.blob_path(digest.as_str());
    fs::remove_file(&blob).unwrap();
    symlink(outside.path(), &blob).unwrap();
    refused(&layout, ImageErrorKind::Io, "leads out of the directory");
    fs::remove_file(&blob).unwrap();
    fs::create_dir(&blob).unwrap();
    refused(&layout, ImageErrorKind::Io, "not a regular file");
}

#[test]
fn a_digest_is_never_a_path() {
    let mut layout = Layout::new();
    for digest in ["sha256:../../../../etc/passwd", "sha256:", "../x", "sha512:00"] {
        layout.write(
            "index.json",
            json!({"schemaVersion": 2, "manifests": [{"digest": digest, "size": 2}]}).to_string().as_bytes(),
        );
        refused(&layout, ImageErrorKind::Corrupt, "is not a digest");
    }
}

#[test]
fn an_index_json_of_any_kind_of_nonsense_is_refused() {
    let mut layout = Layout::new();
    for (text, part) in [
        ("", "not a manifest: EOF"),
        ("nonsense", "not a manifest: expected"),
        ("[]", "not a manifest"),
        ("{\"schemaVersion\": 2}", "lists neither"),
        (&format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)), "not a manifest"),
    ] {
        layout.write("index.json", text.as_bytes());
        refused(&layout, ImageErrorKind::Corrupt, part);
    }
    fs::File::create(layout.path().join("index.json")).unwrap().set_len(1 << 30).unwrap();
    refused(&layout, ImageErrorKind::Limit, "index.json: 1073741824 bytes are more than the 4194304");
    fs::remove_file(layout.path().join("index.json")).unwrap();
    refused(&layout, ImageErrorKind::Missing, "no index.json");
    fs::remove_file(layout.path().join("oci-layout")).unwrap();
    refused(&layout, ImageErrorKind::Missing, "no file oci-layout");
    layout.write("oci-layout", br#"{"imageLayoutVersion": "2.0.0"}"#);
    refused(&layout, ImageErrorKind::Unsupported, "version \"2.0.0\"");
}

#[test]
fn a_document_that_claims_to_be_huge_is_not_read() {
    let mut layout = Layout::new();
    let mut image = layout.image("linux", "amd64", &[]);
    image["size"] = json!(u64::MAX);
    layout.list(image, None);
    refused(&layout, ImageErrorKind::Limit, "18446744073709551615 bytes are more than");
}

#[test]
fn indexes_that_list_each_other_or_go_ever_deeper_come_to_an_end() {
    // No bytes hold their own digest, so a loop is always broken by a digest that does not fit.
    let mut layout = Layout::new();
    let own = digest_of(b"whatever");
    let listing = json!({"schemaVersion": 2, "manifests": [{"digest": own, "size": 139}]}).to_string();
    fs::write(layout.blob_path(own.as_str()), &listing).unwrap();
    layout.list(json!({"digest": own, "size": listing.len()}), None);
    refused(&layout, ImageErrorKind::Corrupt, "is damaged");

    let mut layout = Layout::new();
    let mut child = layout.child("linux", "amd64", &[b"a"]);
    for _ in 0..10 {
        child = layout.index(&[child]);
    }
    layout.list(child, None);
    refused(&layout, ImageErrorKind::Limit, "more than 4 indexes in each other");
}

#[test]
fn indexes_that_multiply_are_stopped() {
    let mut layout = Layout::new();
    let leaf = layout.child("linux", "amd64", &[]);
    let lower = layout.index(&vec![leaf; 100]);
    let upper = layout.index(&vec![lower; 100]);
    layout.list(upper, None);
    refused(&layout, ImageErrorKind::Limit, "2000 manifests");
}

#[test]
fn an_artifact_is_an_image_without_facts() {
    let mut layout = Layout::new();
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = layout.blob("text/plain", b"hello");
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let manifest = layout.blob(MANIFEST, manifest.to_string().as_bytes());
    layout.list(manifest, None);
    let image = open(layout.path()).unwrap();
    assert_eq!(parts(&image).facts, None);
    let error = image.pick(&"linux/amd64".parse().unwrap()).unwrap_err();
    assert!(error.message.contains("no image in it says"), "{error}");
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused() {
    let mut layout = Layout::new();
    let config = layout.blob(CONFIG, br#"{"architecture": "amd64"}"#);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": null});
    let manifest = layout.blob(MANIFEST, manifest.to_string().as_bytes());
    layout.list(manifest, None);
    refused(&layout, ImageErrorKind::Corrupt, "not an image's configuration");
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let error = open(Path::new("/nowhere/image")).unwrap_err();
    assert_eq!((error.kind, error.to_string().contains("/nowhere/image")), (ImageErrorKind::Missing, true));
    let error = open_source(&ImageSource::Archive { file: "/nowhere/image.tar".into() }).unwrap_err();
    assert_eq!(
        (error.kind, error.to_string().contains("/nowhere/image.tar")),
        (ImageErrorKind::Missing, true)
    );
}

fn assembly(add: Vec<Add>) -> Assembly {
    Assembly {
        base: Base::Scratch,
        add,
        entrypoint: vec!["/app".into()],
        command: vec!["serve".into()],
        environment: BTreeMap::from([("B".into(), "2".into()), ("A".into(), "1".into())]),
        workdir: Some("/srv".into()),
        user: Some("1000".into()),
        platform: Some("linux/arm64/v8".parse().unwrap()),
    }
}

fn add(source: &str, destination: &str) -> Add {
    Add { source: source.into(), destination: destination.into(), mode: None }
}

fn assemble(assembly: Assembly, directory: &Path) -> Result<Image, ImageError> {
    let context = Context { directory: directory.to_owned(), platform: None, world: World::default() };
    longshore::image::open(&ImageSource::Assemble(assembly), &context)
}

/// The uppermost layer, as `MODE TYPE PATH[ -> TARGET]` lines.
fn listing(image: &Image) -> Vec<String> {
    let layer = parts(image).layers.last().unwrap();
    let mut archive =
        tar::Archive::new(flate2::read::GzDecoder::new(layer.content.open(layer.size).unwrap()));
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
            assert_eq!((header.username(), header.groupname()), (Ok(Some("")), Ok(Some(""))));
            let target = entry.link_name().unwrap().map(|target| format!(" -> {}", target.display()));
            let kind = header.entry_type().as_byte() as char;
            format!(
                "{:o} {kind} {}{}",
                header.mode().unwrap(),
                entry.path().unwrap().display(),
                target.unwrap_or_default()
            )
        })
        .collect()
}

fn files() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("site/sub/empty")).unwrap();
    fs::write(at("app"), "binary").unwrap();
    fs::set_permissions(at("app"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(at("site/z.html"), "z").unwrap();
    fs::write(at("site/sub/a.html"), "a").unwrap();
    fs::set_permissions(at("site/z.html"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("sub/a.html", at("site/link")).unwrap();
    directory
}

#[test]
fn an_assembled_layer_holds_what_was_added_in_the_order_of_paths() {
    let directory = files();
    let image = assemble(
        assembly(vec![add("site", "/srv/www"), add("app", "/app"), add("app", "/bin/")]),
        directory.path(),
    )
    .unwrap();
    assert_eq!(
        listing(&image),
        [
            "755 0 app",
            "755 5 bin/",
            "755 0 bin/app",
            "755 5 srv/",
            "755 5 srv/www/",
            "777 2 srv/www/link -> sub/a.html",
            "755 5 srv/www/sub/",
            "644 0 srv/www/sub/a.html",
            "755 5 srv/www/sub/empty/",
            "644 0 srv/www/z.html",
        ]
    );
    let layer = &parts(&image).layers[0];
    assert_eq!(layer.media_type, LAYER);
    let config = parts(&image).config.content.open(parts(&image).config.size).unwrap();
    let config: serde_json::Value = serde_json::from_reader(config).unwrap();
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");
    assert_eq!(
        (&config["os"], &config["architecture"], &config["variant"]),
        (&json!("linux"), &json!("arm64"), &json!("v8"))
    );
    assert_eq!(
        config["config"],
        json!({"Entrypoint": ["/app"], "Cmd": ["serve"], "Env": ["A=1", "B=2"], "WorkingDir": "/srv", "User": "1000"})
    );
    let mut plain = Vec::new();
    let packed = layer.content.open(layer.size).unwrap();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut plain).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"], json!([digest_of(&plain)]));
}

#[test]
fn the_same_files_make_the_same_image_whenever_and_wherever() {
    let entries = || vec![add("site", "/srv"), add("app", "/app")];
    let first = files();
    let digest = assemble(assembly(entries()), first.path()).unwrap().digest;
    // Made a second time, in another place, at another time, in another order, under another umask.
    let second = files();
    for name in ["app", "site/z.html", "site/sub"] {
        let file = fs::File::open(second.path().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000))
            .unwrap();
    }
    fs::set_permissions(second.path().join("site/z.html"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(second.path().join("site/sub"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(assemble(assembly(entries()), second.path()).unwrap().digest, digest);
    // What does change the image changes its digest.
    fs::set_permissions(second.path().join("site/z.html"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(assemble(assembly(entries()), second.path()).unwrap().digest, digest);
}

#[test]
fn the_digest_of_a_known_assembly_does_not_change_between_versions() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("app"), "binary").unwrap();
    let image = assemble(assembly(vec![add("app", "/app")]), directory.path()).unwrap();
    insta::assert_snapshot!(image.digest, @"sha256:6750440505cdc2bf3cb7d6a3cf390063be3e4c9562e8d240268febde408d36b1");
}

#[test]
fn a_mode_counts_for_every_file_of_its_entry() {
    let directory = files();
    let entry = Add { mode: Some(0o4755), ..add("site/sub", "/s") };
    let image = assemble(assembly(vec![entry]), directory.path()).unwrap();
    assert_eq!(listing(&image), ["755 5 s/", "4755 0 s/a.html", "755 5 s/empty/"]);
}

#[test]
fn what_cannot_be_added_is_named_with_its_key() {
    let directory = files();
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    for (entries, kind, part) in [
        (vec![add("app", "/a"), add("gone", "/b")], ImageErrorKind::Missing, "assemble.add[1].source: "),
        (vec![add("pipe", "/p")], ImageErrorKind::Unsupported, "assemble.add[0]: "),
        (vec![add("app", "")], ImageErrorKind::Unsupported, "assemble.add[0].destination"),
        (
            vec![add("app", "/x"), add("app", "/x/y")],
            ImageErrorKind::Unsupported,
            "assemble.add[1]: /x is added as a file",
        ),
        (
            vec![add("site", "/srv"), add("app", "/srv/sub")],
            ImageErrorKind::Unsupported,
            "/srv/sub is a directory in the files",
        ),
        (
            vec![Add { mode: Some(0o10000), ..add("app", "/a") }],
            ImageErrorKind::Unsupported,
            "10000 is no mode",
        ),
    ] {
        let error = assemble(assembly(entries), directory.path()).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(part), "{error}");
    }
}

#[test]
fn a_destination_never_leads_above_the_root() {
    let directory = files();
    let image = assemble(assembly(vec![add("app", "/../../etc/../app")]), directory.path()).unwrap();
    assert_eq!(listing(&image), ["755 0 app"]);
}

/// A layout whose one layer has a merged `/usr`, as distributions have.
fn distribution() -> Layout {
    let mut builder =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for directory in ["usr/", "usr/bin/", "etc/"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        builder.append_data(&mut header, directory, std::io::empty()).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "bin", "usr/bin").unwrap();
    let layer = builder.into_inner().unwrap().finish().unwrap();
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&layer[..]), &mut plain).unwrap();

    let mut layout = Layout::new();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin", "A=base"], "Cmd": ["/bin/sh"],
        "Labels": {"kept": "yes"}}, "rootfs": {"type": "layers", "diff_ids": [digest_of(&plain)]},
        "history": [{"created_by": "the base"}]});
    let config = layout.blob(CONFIG, config.to_string().as_bytes());
    let layer = layout.blob(LAYER, &layer);
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let manifest = layout.blob(MANIFEST, manifest.to_string().as_bytes());
    layout.list(manifest, None);
    layout
}

fn upon(layout: &Layout, add: Vec<Add>) -> Assembly {
    let source = ImageSource::Layout { directory: layout.path().to_owned(), tag: None };
    Assembly { base: Base::Source(Box::new(source)), platform: None, command: Vec::new(), ..assembly(add) }
}

#[test]
fn a_base_keeps_its_layers_and_links_and_its_configuration_is_overridden() {
    let base = distribution();
    let directory = files();
    let image = assemble(upon(&base, vec![add("app", "/bin/app"), add("app", "/opt/app")]), directory.path())
        .unwrap();
    // `bin` is a link in the base: a directory of that name would have taken its place.
    assert_eq!(listing(&image), ["755 5 opt/", "755 0 opt/app", "755 0 usr/bin/app"]);
    let below = open(base.path()).unwrap();
    assert_eq!(parts(&image).layers[0].digest, parts(&below).layers[0].digest);
    let config = parts(&image).config.content.open(parts(&image).config.size).unwrap();
    let config: serde_json::Value = serde_json::from_reader(config).unwrap();
    assert_eq!(config["config"]["Env"], json!(["PATH=/bin", "A=1", "B=2"]));
    assert_eq!(
        (&config["config"]["Labels"]["kept"], &config["config"]["Cmd"]),
        (&json!("yes"), &json!(null))
    );
    assert_eq!(config["history"].as_array().unwrap().len(), 2);
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
}

#[test]
fn a_base_that_is_damaged_is_not_built_upon() {
    let base = distribution();
    let layer = parts(&open(base.path()).unwrap()).layers[0].clone();
    let path = base.blob_path(layer.digest.as_str());
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let directory = files();
    let error = assemble(upon(&base, vec![add("app", "/app")]), directory.path()).unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Corrupt, "{error}");
    assert!(error.message.contains(layer.digest.as_str()), "{error}");
}

#[test]
fn a_base_for_another_platform_is_refused() {
    let base = distribution();
    let directory = files();
    let assembly =
        Assembly { platform: Some("linux/arm64".parse().unwrap()), ..upon(&base, vec![add("app", "/app")]) };
    let error = assemble(assembly, directory.path()).unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Platform, "{error}");
}
