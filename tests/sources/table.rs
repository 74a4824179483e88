//! The sources, a row each.

use std::path::{Path, PathBuf};

use super::destinations::Destination;
use super::expected::Expected;

/// A source and what is to arrive of it.
pub(crate) struct Row {
    /// A name that can be a repository.
    pub(crate) name: String,
    /// As it stands on the command line.
    pub(crate) source: String,
    pub(crate) platform: Option<&'static str>,
    pub(crate) expected: Expected,
}

/// What a file is.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// `oci:`, a directory.
    Layout,
    /// `oci-archive:`
    Archive,
    /// `docker-archive:`
    Docker,
}

type Line = (&'static str, Form, Option<&'static str>, Option<&'static str>);

/// Images of tests/images/recorded: file, form, tag or name in it, platform to pick.
const RECORDED: &[Line] = &[
    ("buildx-provenance-min.oci.tar", Form::Archive, None, None),
    ("buildx-provenance-min.oci.tar", Form::Archive, None, Some("linux/amd64")),
    ("buildx-provenance-max.oci.tar", Form::Archive, None, None),
    ("buildx-provenance-max.oci.tar", Form::Archive, None, Some("linux/amd64")),
    ("buildx-two-platforms.oci.tar", Form::Archive, None, None),
    ("buildx-two-platforms.oci.tar", Form::Archive, None, Some("linux/arm64")),
    ("buildx-two-platforms-provenance-max.oci.tar", Form::Archive, None, None),
    ("buildx-two-platforms-provenance-max.oci.tar", Form::Archive, None, Some("linux/arm64")),
    ("buildx-docker-list.oci.tar", Form::Archive, None, None),
    ("buildx-docker-list.oci.tar", Form::Archive, None, Some("linux/amd64")),
    ("buildx-zstd.oci.tar", Form::Archive, None, None),
    ("buildx-plain.oci.tar", Form::Archive, None, None),
    ("skopeo-zstd-chunked.oci.tar", Form::Archive, None, None),
    ("buildx.docker.tar", Form::Docker, None, None),
    ("buildx.docker.tar", Form::Archive, None, None),
    ("docker26-containerd.docker.tar", Form::Docker, None, None),
    ("docker26-containerd.docker.tar", Form::Archive, None, None),
    ("docker26-containerd-provenance.docker.tar", Form::Docker, Some("greeting:proven"), Some("linux/amd64")),
    ("docker26-classic.docker.tar", Form::Docker, None, None),
    ("docker26-classic-several.docker.tar", Form::Docker, Some("shop/greeting:2"), None),
    ("docker26-classic-several.docker.tar", Form::Docker, Some("other:1"), None),
];

/// Images that tests/images/make.sh makes.
const MADE: &[Line] = &[
    ("docker20.docker.tar", Form::Docker, None, None),
    ("docker20.docker.tar", Form::Docker, Some("greeting:1"), None),
    ("docker20.docker.tar.gz", Form::Docker, None, None),
    ("docker20-by-id.docker.tar", Form::Docker, None, None),
    ("docker20-several.docker.tar", Form::Docker, Some("shop/greeting:2"), None),
    ("docker20-several.docker.tar", Form::Docker, Some("other:1"), Some("linux/amd64")),
    ("podman.docker.tar", Form::Docker, None, None),
    ("podman.docker.tar", Form::Docker, Some("localhost/greeting:1"), None),
    ("podman-several.docker.tar", Form::Docker, Some("localhost/greeting:arm"), None),
    ("podman.oci.tar", Form::Archive, None, None),
    ("podman.oci", Form::Layout, None, None),
    ("buildah.oci", Form::Layout, Some("1"), None),
    ("buildah.docker.tar", Form::Docker, Some("localhost/greeting:docker"), None),
    ("buildah-two-platforms.oci", Form::Layout, Some("both"), None),
    ("buildah-two-platforms.oci", Form::Layout, Some("both"), Some("linux/arm64")),
    ("umoci.oci", Form::Layout, Some("1"), None),
    ("skopeo.oci.tar", Form::Archive, None, None),
    ("skopeo.docker.tar", Form::Docker, None, None),
    ("skopeo-zstd.oci", Form::Layout, Some("1"), None),
    ("skopeo-of-docker20.oci", Form::Layout, None, None),
];

/// Every source that is a file or a folder. What has to be made first is left out, and said to be, where it was not made;
/// in CI it must have been.
pub(crate) fn files() -> Vec<Row> {
    let mut rows: Vec<Row> = RECORDED.iter().map(|line| row(&recorded(), line)).collect();
    if let Some(made) = made() {
        rows.extend(MADE.iter().map(|line| row(&made, line)));
    }
    rows
}

/// Where tests/images/make.sh put its images.
pub(crate) fn made() -> Option<PathBuf> {
    let folder =
        std::env::var_os("LONGSHORE_TEST_IMAGES").map_or_else(|| root().join("target/images"), PathBuf::from);
    if folder.join("made").is_file() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is not made, and in CI no test is skipped",
        folder.display()
    );
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    {
        eprintln!("skipped: the images that tests/images/make.sh {} makes", folder.display());
    }
    None
}

/// Where the recorded images are.
pub(crate) fn recorded() -> PathBuf {
    root().join("tests/images/recorded")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn row(folder: &Path, &(file, form, reference, platform): &Line) -> Row {
    let path = folder.join(file);
    let scheme = match form {
        Form::Layout => "oci",
        Form::Archive => "oci-archive",
        Form::Docker => "docker-archive",
    };
    let behind = reference.map(|reference| format!(":{reference}")).unwrap_or_default();
    let expected = match form {
        Form::Layout | Form::Archive => Expected::of_layout(&path, reference, platform),
        Form::Docker => Expected::of_docker_archive(&path, reference),
    };
    let words = [Some(scheme), Some(file), reference, platform];
    let name = words.into_iter().flatten().collect::<Vec<_>>().join("-").replace([':', '/', '.', '_'], "-");
    Row { name, source: format!("{scheme}:{}{behind}", path.display()), platform, expected }
}

/// Images that skopeo puts into `registry`, as sources there.
pub(crate) fn in_registry(registry: &Destination) -> Vec<Row> {
    let recorded = root().join("tests/images/recorded");
    let mut rows = Vec::new();
    for (file, platform) in [
        ("buildx-provenance-max.oci.tar", None),
        ("buildx-two-platforms.oci.tar", Some("linux/arm64")),
        ("buildx-docker-list.oci.tar", None),
        ("buildx-zstd.oci.tar", None),
    ] {
        let path = recorded.join(file);
        let name = format!("held-{}", file.split('.').next().expect("a name"));
        let reference = format!("{}/held/{name}:v1", registry.host);
        registry.filled_by_skopeo(&format!("oci-archive:{}", path.display()), &reference);
        let expected = Expected::of_layout(&path, None, platform);
        rows.push(Row { source: reference, name, platform, expected });
    }
    // By its digest, and behind the scheme that skopeo writes.
    let digest = rows[0].expected.digest().expect("a layout says it").to_owned();
    let source = format!("docker://{}/held/{}@{digest}", registry.host, rows[0].name);
    let path = recorded.join("buildx-provenance-max.oci.tar");
    let expected = Expected::of_layout(&path, None, None);
    rows.push(Row { name: "held-by-digest".to_owned(), source, platform: None, expected });
    rows
}
