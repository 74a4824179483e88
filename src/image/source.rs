//! Where an image comes from, as a manifest or a command line says it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use longshore_contract::{InvalidName, Platform, Reference};

/// Where an image comes from. Paths are as they were written: relative ones are relative to the manifest's directory,
/// and become files only when the image is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// An OCI image layout in a directory.
    Layout {
        /// The directory that holds `oci-layout` and `index.json`.
        directory: PathBuf,
        /// The `org.opencontainers.image.ref.name` that is meant; not needed where the layout holds one image.
        tag: Option<String>,
    },
    /// A tar of an OCI image layout, plain or gzip.
    Archive {
        /// The tar.
        file: PathBuf,
    },
    /// A tar as `docker save` and `podman save` write it, plain or gzip.
    DockerArchive {
        /// The tar.
        file: PathBuf,
        /// Which of its images is meant; not needed where it holds one.
        name: Option<StoredName>,
    },
    /// An image that a container engine on this machine, or one it is pointed at, holds.
    Daemon {
        /// Its name there.
        name: StoredName,
    },
    /// An image in a registry.
    Registry {
        /// Where; without a tag and a digest `latest` is meant, as everywhere.
        reference: Reference,
    },
    /// An image made here, out of files.
    Assemble(Assembly),
}

/// What an engine or an archive calls an image: a reference, or its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredName {
    text: String,
    meant: Meant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Meant {
    Reference(Box<Reference>),
    Id,
}

impl StoredName {
    /// The name as it was written: the engine's own rules say what it means.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether an image with this id (the digest of its configuration) and these names is meant. Names are compared spelled
    /// out, as docker spells them; `localhost/` before a name counts for nothing, as podman puts it there.
    pub(super) fn fits<'a>(&self, id: &str, names: impl IntoIterator<Item = &'a str>) -> bool {
        match &self.meant {
            Meant::Id => id.starts_with(self.text.strip_prefix("sha256:").unwrap_or(&self.text)),
            Meant::Reference(wanted) => {
                let wanted = spelled(wanted);
                let same = |name: &str| {
                    let bare = name.strip_prefix("localhost/").unwrap_or(name);
                    [name, bare]
                        .iter()
                        .filter_map(|name| name.parse().ok())
                        .any(|name| spelled(&name) == wanted)
                };
                names.into_iter().any(same)
                    // A short id is also a name: docker looks for the name first.
                    || (self.text.len() >= SHORTEST_ID && is_hex(&self.text) && id.starts_with(&self.text))
            }
        }
    }
}

/// What `docker images` shows of an id; anything shorter is more likely a name.
const SHORTEST_ID: usize = 12;

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

/// A reference with the tag that is meant where none is stated.
fn spelled(reference: &Reference) -> String {
    match (&reference.tag, &reference.digest) {
        (None, None) => format!("{reference}:latest"),
        _ => reference.to_string(),
    }
}

impl FromStr for StoredName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let meant = match text.strip_prefix("sha256:") {
            Some(hex) if is_hex(hex) => Meant::Id,
            _ => Meant::Reference(Box::new(text.parse()?)),
        };
        Ok(Self { text: text.to_owned(), meant })
    }
}

/// An image made of files: the same files and words give the same digest, on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    /// What it is built upon.
    pub base: Base,
    /// What is put on top, as one layer; a later entry wins over an earlier one at the same path.
    pub add: Vec<Add>,
    /// What is started; empty: the base's. Stating it without `command` drops the base's command, as docker does.
    pub entrypoint: Vec<String>,
    /// The arguments to what is started; empty: the base's.
    pub command: Vec<String>,
    /// Environment variables, set over the base's.
    pub environment: BTreeMap<String, String>,
    /// The working directory; absent: the base's.
    pub workdir: Option<String>,
    /// The user, `NAME|UID[:GROUP|GID]`; absent: the base's.
    pub user: Option<String>,
    /// What the image is for; absent: what the caller asks for, else what the base is for where it is one image, else this
    /// machine's.
    pub platform: Option<Platform>,
}

/// What an assembled image is built upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// Another image, whose layers come first and stay as they are.
    Source(Box<ImageSource>),
}

/// Files that go into an assembled image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// A file, or a directory whose contents are meant.
    pub source: PathBuf,
    /// Where it goes in the image. Ending in `/` it names the directory that a file is put into.
    pub destination: String,
    /// Permissions for every file of this entry (`0o755`); absent: 0755 where the source may be executed, else 0644.
    pub mode: Option<u32>,
}

impl ImageSource {
    /// What [`FromStr`] accepts, as a phrase that follows "is not" or "expected".
    pub const EXPECTED: &'static str = "an image source (docker-daemon:NAME, docker-archive:FILE[:NAME], oci:DIR[:TAG], \
                                        oci-archive:FILE or HOST/PATH[:TAG][@DIGEST])";

    /// The words before the colon of a source that is in no registry.
    const SCHEMES: [&'static str; 4] = ["oci", "oci-archive", "docker-archive", "docker-daemon"];
}

/// A text that names no image source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// It is no source, or one that was hardly meant.
    #[error("{text:?} is not {expected}{}", hint(.meant.as_deref()), expected = ImageSource::EXPECTED)]
    Unknown {
        /// The text, cut to 100 characters.
        text: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// The scheme is right and what follows it is not.
    #[error("{text:?}: {problem}")]
    Malformed {
        /// The text, cut to 100 characters.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

fn hint(meant: Option<&str>) -> String {
    meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default()
}

impl FromStr for ImageSource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let shown = || text.chars().take(100).collect::<String>();
        let malformed = |problem| InvalidSource::Malformed { text: shown(), problem };
        if text.contains('\0') {
            return Err(malformed("a path holds no NUL character"));
        }
        let known = text.split_once(':').filter(|(scheme, _)| Self::SCHEMES.contains(scheme));
        let Some((scheme, rest)) = known else {
            if let Some(meant) = guess(text) {
                return Err(InvalidSource::Unknown { text: shown(), meant: Some(meant) });
            }
            return match text.strip_prefix("docker://").unwrap_or(text).parse() {
                Ok(reference) => Ok(Self::Registry { reference }),
                Err(_) => Err(InvalidSource::Unknown { text: shown(), meant: None }),
            };
        };
        let name = |text: &str| {
            text.parse().map_err(|_| {
                malformed("an image's name (NAME[:TAG]) or id (sha256:…) is expected behind the scheme")
            })
        };
        // The first colon ends a path, as in skopeo: a name may hold colons of its own.
        let (path, name_text) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        match scheme {
            "oci" if path.is_empty() => Err(malformed("a directory is expected behind oci:")),
            "oci" => {
                let unfit =
                    |tag: &str| tag.is_empty() || tag.chars().any(|c| c.is_whitespace() || c.is_control());
                if name_text.is_some_and(unfit) {
                    return Err(malformed("a tag is expected behind the second colon"));
                }
                Ok(Self::Layout { directory: path.into(), tag: name_text.map(str::to_owned) })
            }
            // Colons are the file's own: there is nothing behind it to tell apart.
            "oci-archive" if rest.is_empty() => Err(malformed("a file is expected behind oci-archive:")),
            "oci-archive" => Ok(Self::Archive { file: rest.into() }),
            "docker-archive" if path.is_empty() => {
                Err(malformed("a file is expected behind docker-archive:"))
            }
            "docker-archive" => {
                Ok(Self::DockerArchive { file: path.into(), name: name_text.map(name).transpose()? })
            }
            _ => Ok(Self::Daemon { name: name(rest)? }),
        }
    }
}

/// What was probably meant by a text that begins like no source, or like one that is less likely.
fn guess(text: &str) -> Option<String> {
    let Some((scheme, rest)) = text.split_once(':') else {
        if text.ends_with(".tar") || text.ends_with(".tar.gz") || text.ends_with(".tgz") {
            return Some(format!("`docker-archive:{text}` or `oci-archive:{text}`"));
        }
        return text.starts_with(['.', '/', '~']).then(|| format!("`oci:{text}`"));
    };
    if scheme.contains(['/', '.']) {
        return None;
    }
    let scheme = scheme.to_lowercase();
    if matches!(scheme.as_str(), "docker" | "podman" | "containers-storage" | "dockerd")
        && !rest.starts_with("//")
    {
        return Some(format!("`docker-daemon:{rest}`"));
    }
    // `ocl:image` could be an image called ocl with the tag image; that it was meant is less likely.
    let near = |word: &&&str| {
        let most = (scheme.len().max(word.len()) / 3).max(1);
        scheme.len() <= 20 && strsim::damerau_levenshtein(&scheme, word) <= most
    };
    ImageSource::SCHEMES.iter().find(near).map(|word| format!("`{word}:{rest}`"))
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { directory, tag: None } => write!(f, "oci:{}", directory.display()),
            Self::Layout { directory, tag: Some(tag) } => write!(f, "oci:{}:{tag}", directory.display()),
            Self::Archive { file } => write!(f, "oci-archive:{}", file.display()),
            Self::DockerArchive { file, name: None } => write!(f, "docker-archive:{}", file.display()),
            Self::DockerArchive { file, name: Some(name) } => {
                write!(f, "docker-archive:{}:{}", file.display(), name.as_str())
            }
            Self::Daemon { name } => write!(f, "docker-daemon:{}", name.as_str()),
            Self::Registry { reference } => reference.fmt(f),
            Self::Assemble(_) => f.write_str("assemble"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_comes_back_as_it_was_written() {
        for text in [
            "oci:image",
            "oci:./a/b",
            "oci:/a:v1",
            "oci:a:host.io/app:1.0",
            "oci-archive:a:b.tar",
            "oci:..",
            "docker-archive:a.tar",
            "docker-archive:/a.tar:shop/app:1",
            "docker-daemon:app",
            "docker-daemon:host.io:5000/app:1",
            "docker-daemon:sha256:0123456789ab",
            "host.io:5000/app:1",
        ] {
            assert_eq!(text.parse::<ImageSource>().unwrap().to_string(), text);
        }
        assert_eq!(
            "oci:a:host.io/app:1.0".parse(),
            Ok(ImageSource::Layout { directory: "a".into(), tag: Some("host.io/app:1.0".into()) })
        );
        let spelled = "docker://ubuntu:22.04".parse::<ImageSource>().unwrap().to_string();
        assert_eq!(spelled, "docker.io/library/ubuntu:22.04");
    }

    #[test]
    fn a_near_miss_is_told_what_was_probably_meant() {
        for (text, meant) in [
            ("ocl:image", "`oci:image`"),
            ("OCI:image", "`oci:image`"),
            ("./image", "`oci:./image`"),
            ("image.tar.gz", "`docker-archive:image.tar.gz` or `oci-archive:image.tar.gz`"),
            ("docker-deamon:app:1", "`docker-daemon:app:1`"),
            ("docker_archive:a.tar", "`docker-archive:a.tar`"),
            ("podman:app", "`docker-daemon:app`"),
        ] {
            let error = text.parse::<ImageSource>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("; did you mean {meant}?")), "{error}");
        }
    }

    #[test]
    fn what_is_no_source_says_what_was_expected() {
        for text in [
            "oci:",
            "oci:a:",
            "oci::v1",
            "oci-archive:",
            "oci:a:b c",
            "oci:a\0b",
            "docker-archive:",
            "docker-archive:a.tar:Not A Name",
            "docker-daemon:",
        ] {
            let error = text.parse::<ImageSource>().unwrap_err();
            assert!(matches!(error, InvalidSource::Malformed { .. }), "{error}");
        }
        let error = "OCI image".parse::<ImageSource>().unwrap_err().to_string();
        assert!(error.starts_with(r#""OCI image" is not an image source (docker-daemon:NAME"#), "{error}");
    }

    #[test]
    fn a_stored_name_is_compared_as_docker_spells_it() {
        let id = "0123456789ab0000000000000000000000000000000000000000000000000000";
        for (name, stored, fits) in [
            ("app", "app:latest", true),
            ("app", "docker.io/library/app:latest", true),
            ("ann/app:1", "localhost/ann/app:1", true),
            ("ann/app:1", "host.io/ann/app:1", false),
            ("app:1", "app:2", false),
            ("sha256:0123", "app:2", true),
            ("0123456789ab", "app:2", true),
            ("sha256:1", "app:2", false),
        ] {
            assert_eq!(name.parse::<StoredName>().unwrap().fits(id, [stored]), fits, "{name} {stored}");
        }
    }
}
