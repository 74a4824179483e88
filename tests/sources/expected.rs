//! What a source holds, found out by a reader of its own.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use longshore::image::digest_of;
use serde_json::Value;

/// What is to arrive.
pub(crate) enum Expected {
    /// These very bytes: nothing had to be changed.
    Manifest(String),
    /// A manifest that had to be made, of this image: its id, which is its configuration's digest.
    Image(String),
}

impl Expected {
    pub(crate) fn digest(&self) -> Option<&str> {
        match self {
            Self::Manifest(digest) => Some(digest),
            Self::Image(_) => None,
        }
    }

    pub(crate) fn check_digest(&self, found: &str) -> Result<(), String> {
        match self {
            Self::Manifest(digest) if digest != found => {
                Err(format!("{digest} was expected, {found} was pushed"))
            }
            Self::Manifest(_) | Self::Image(_) => Ok(()),
        }
    }

    /// Of an OCI layout, in a directory or in a tar.
    pub(crate) fn of_layout(path: &Path, tag: Option<&str>, platform: Option<&str>) -> Self {
        let files = read(path);
        let document = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).expect("a document") };
        let blob = |digest: &str| document(&files[&format!("blobs/sha256/{}", &digest["sha256:".len()..])]);
        let name = |entry: &Value| {
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned)
        };
        let index = document(&files["index.json"]);
        let mut entries = index["manifests"].as_array().expect("entries").iter();
        let entry = entries.find(|entry| tag.is_none() || name(entry).as_deref() == tag).expect("the image");
        let digest = entry["digest"].as_str().expect("a digest").to_owned();
        let Some(platform) = platform else { return Self::Manifest(digest) };
        let children = blob(&digest);
        let Some(children) = children["manifests"].as_array() else { return Self::Manifest(digest) };
        let fits = |child: &&Value| {
            let word = |key: &str| child["platform"][key].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", word("os"), word("architecture")) == platform
        };
        let child = children.iter().find(fits).expect("the platform");
        Self::Manifest(child["digest"].as_str().expect("a digest").to_owned())
    }

    /// Of what `docker save` writes.
    pub(crate) fn of_docker_archive(path: &Path, name: Option<&str>) -> Self {
        let files = read(path);
        let entries: Vec<Value> = serde_json::from_slice(&files["manifest.json"]).expect("a list");
        let named = |entry: &&Value| {
            let names = entry["RepoTags"].as_array();
            name.is_none() || names.into_iter().flatten().any(|found| found.as_str() == name)
        };
        let entry = entries.iter().find(named).expect("the image");
        let config = entry["Config"].as_str().expect("a configuration");
        Self::Image(digest_of(&files[config]).to_string())
    }
}

/// The files of a directory, or of a tar that may be gzip, by their paths.
fn read(path: &Path) -> BTreeMap<String, Vec<u8>> {
    if path.is_dir() {
        return read_folder(path);
    }
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let stream: Box<dyn std::io::Read> = match bytes.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(flate2::read::GzDecoder::new(bytes.as_slice())),
        false => Box::new(bytes.as_slice()),
    };
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(stream).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let parts: PathBuf = entry
            .path()
            .expect("a path")
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its content");
        files.insert(parts.to_str().expect("a text").to_owned(), content);
    }
    files
}

fn read_folder(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let found = entry.expect("an entry").path();
            if found.is_dir() {
                folders.push(found);
            } else {
                let name = found.strip_prefix(path).expect("below it").to_str().expect("a text").to_owned();
                files.insert(name, std::fs::read(&found).expect("a file"));
            }
        }
    }
    files
}
