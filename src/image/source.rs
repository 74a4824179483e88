//! Where an image comes from, as a manifest or a command line says it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use longshore_contract::Platform;

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
    /// An image made here, out of files.
    Assemble(Assembly),
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
    /// What the image is for; absent: the base's, on scratch what the caller asks for, else this machine's.
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
    pub const EXPECTED: &'static str = "an image source (oci:DIR[:TAG] or oci-archive:FILE)";
}

/// A text that names no image source this version reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// It is no source at all.
    #[error("{text:?} is not {expected}", expected = ImageSource::EXPECTED)]
    Unknown {
        /// The text, cut to 100 characters.
        text: String,
    },
    /// The scheme is right and what follows it is not.
    #[error("{text:?}: {problem}")]
    Malformed {
        /// The text, cut to 100 characters.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It is a source that a later version reads; this one says how to get there today.
    #[error("{text:?} names {what}, which this version does not read: {instead}")]
    NotYet {
        /// The text, cut to 100 characters.
        text: String,
        /// What it names.
        what: &'static str,
        /// What to do in its place.
        instead: &'static str,
    },
}

impl FromStr for ImageSource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let shown = || text.chars().take(100).collect::<String>();
        let malformed = |problem| Err(InvalidSource::Malformed { text: shown(), problem });
        let not_yet = |what, instead| Err(InvalidSource::NotYet { text: shown(), what, instead });
        if text.contains('\0') {
            return malformed("a path holds no NUL character");
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            if rest.is_empty() {
                return malformed("a file is expected behind oci-archive:");
            }
            return Ok(Self::Archive { file: rest.into() });
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            // The first colon ends the directory, as in skopeo: a reference name may hold colons of its own.
            let (directory, tag) = match rest.split_once(':') {
                Some((directory, tag)) => (directory, Some(tag)),
                None => (rest, None),
            };
            if directory.is_empty() {
                return malformed("a directory is expected behind oci:");
            }
            if tag
                .is_some_and(|tag| tag.is_empty() || tag.chars().any(|c| c.is_whitespace() || c.is_control()))
            {
                return malformed("a tag is expected behind the second colon");
            }
            return Ok(Self::Layout { directory: directory.into(), tag: tag.map(str::to_owned) });
        }
        if text.starts_with("docker-daemon:") {
            return not_yet(
                "an image in a docker daemon",
                "write it to a layout (docker buildx build --output type=oci,dest=image.tar .) and use oci-archive:image.tar",
            );
        }
        if text.starts_with("docker-archive:") {
            return not_yet(
                "a docker archive",
                "turn it into a layout (skopeo copy docker-archive:FILE oci:DIR) and use oci:DIR",
            );
        }
        let reference = text.strip_prefix("docker://").unwrap_or(text);
        if reference.parse::<longshore_contract::Reference>().is_ok() {
            return not_yet(
                "an image in a registry",
                "copy it to a layout (skopeo copy docker://REFERENCE oci:DIR) and use oci:DIR",
            );
        }
        Err(InvalidSource::Unknown { text: shown() })
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { directory, tag: None } => write!(f, "oci:{}", directory.display()),
            Self::Layout { directory, tag: Some(tag) } => write!(f, "oci:{}:{tag}", directory.display()),
            Self::Archive { file } => write!(f, "oci-archive:{}", file.display()),
            Self::Assemble(_) => f.write_str("assemble"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_comes_back_as_it_was_written() {
        for text in
            ["oci:image", "oci:./a/b", "oci:/a:v1", "oci:a:host.io/app:1.0", "oci-archive:a:b.tar", "oci:.."]
        {
            assert_eq!(text.parse::<ImageSource>().unwrap().to_string(), text);
        }
        assert_eq!(
            "oci:a:host.io/app:1.0".parse(),
            Ok(ImageSource::Layout { directory: "a".into(), tag: Some("host.io/app:1.0".into()) })
        );
    }

    #[test]
    fn what_comes_with_a_later_version_is_refused_with_a_way_to_get_there() {
        for (text, what) in [
            ("docker-daemon:shop:1", "docker daemon"),
            ("docker-archive:a.tar", "docker archive"),
            ("docker://ubuntu:22.04", "registry"),
            (
                "host.io/a/b@sha256:1111111111111111111111111111111111111111111111111111111111111111",
                "registry",
            ),
        ] {
            let error = text.parse::<ImageSource>().unwrap_err();
            assert!(
                matches!(&error, InvalidSource::NotYet { what: found, .. } if found.contains(what)),
                "{error}"
            );
            assert!(error.to_string().contains("use oci"), "{error}");
        }
    }

    #[test]
    fn what_is_no_source_says_what_was_expected() {
        for text in ["oci:", "oci:a:", "oci::v1", "oci-archive:", "oci:a:b c", "oci:a\0b"] {
            let error = text.parse::<ImageSource>().unwrap_err();
            assert!(matches!(error, InvalidSource::Malformed { .. }), "{error}");
        }
        let error = "OCI image".parse::<ImageSource>().unwrap_err().to_string();
        assert_eq!(error, r#""OCI image" is not an image source (oci:DIR[:TAG] or oci-archive:FILE)"#);
    }
}
