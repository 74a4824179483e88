//! Where an image comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use longshore_contract::{Platform, Reference, Secret, Tag};

use super::collection::Names;
use super::mistake::{Drafts, nearest};
use super::schema::{AddTable, AssembleTable};
use super::shape::{At, Field, Form, FromText, Leaf, Refusal};
use super::source::Span;

/// Where an image comes from. Paths are absolute where a manifest was resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// An OCI image layout in a directory.
    Layout {
        /// The directory.
        directory: PathBuf,
        /// Which of its images, by the name in its index; `None` where it has only one.
        tag: Option<Tag>,
    },
    /// A tar file of an OCI image layout.
    Archive {
        /// The file.
        file: PathBuf,
    },
    /// An image that is put together here.
    Assemble(Box<Assembly>),
}

/// What an image is put together from. `None` stands for what the base has; from scratch, for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    /// What it begins with.
    pub base: Base,
    /// What is added, a layer each, in order.
    pub add: Vec<Add>,
    /// What is started.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments.
    pub command: Option<Vec<String>>,
    /// Variables beside the base's.
    pub environment: BTreeMap<String, Secret>,
    /// The directory it is started in, absolute.
    pub workdir: Option<String>,
    /// The user it is started as.
    pub user: Option<String>,
    /// The platform it is for; `None` for the first that the target's cloud runs.
    pub platform: Option<Platform>,
}

/// What an assembled image begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// Another image, never an assembled one.
    Source(Box<ImageSource>),
}

/// A file or directory that is added to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// Where it is here, absolute.
    pub source: PathBuf,
    /// Its path in the image, absolute.
    pub destination: String,
    /// The permissions of every file; `None` for 0755 for directories and what may be executed, 0644 for the rest.
    pub mode: Option<u32>,
}

/// An image as one text, its paths still relative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageText {
    source: ImageSource,
    /// The text as it was written.
    pub(crate) text: String,
}

const SCHEMES: [&str; 4] = ["oci", "oci-archive", "docker-daemon", "docker-archive"];

impl FromText for ImageText {
    fn leaf() -> Leaf {
        Leaf {
            word: "an image".into(),
            expected: "`oci:DIRECTORY[:TAG]`, `oci-archive:FILE` or `{ assemble: … }`".to_owned(),
            form: Form::Text("^oci(-archive)?:."),
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let later = |what: &str| Refusal {
            message: Some(format!("an image {what} comes with a later version of Longshore")),
            hint: Some("write it to a directory first: `oci:DIRECTORY`".to_owned()),
        };
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let source = match scheme {
            "oci" | "oci-archive" if rest.is_empty() => {
                return Err(Refusal {
                    message: Some("there is no path behind the `:`".to_owned()),
                    hint: None,
                });
            }
            "oci" => layout(rest),
            "oci-archive" => ImageSource::Archive { file: PathBuf::from(rest) },
            "docker-daemon" => return Err(later("from a docker daemon")),
            "docker-archive" => return Err(later("from a docker archive")),
            _ => return Err(not_a_scheme(text, scheme, later("in a registry"))),
        };
        Ok(Self { source, text: text.to_owned() })
    }
}

/// A colon behind the last slash begins the tag, if it could be one.
fn layout(rest: &str) -> ImageSource {
    let tagged =
        rest.rsplit_once(':').and_then(|(directory, tag)| Some((directory, tag.parse::<Tag>().ok()?)));
    match tagged.filter(|(directory, _)| !directory.is_empty()) {
        Some((directory, tag)) => ImageSource::Layout { directory: PathBuf::from(directory), tag: Some(tag) },
        None => ImageSource::Layout { directory: PathBuf::from(rest), tag: None },
    }
}

fn not_a_scheme(text: &str, scheme: &str, later: Refusal) -> Refusal {
    let is_path =
        text.starts_with(['.', '/', '~']) || Path::new(text).extension().is_some_and(|end| end == "tar");
    if is_path && !text.contains(':') {
        let scheme = if text.ends_with(".tar") { "oci-archive" } else { "oci" };
        return Refusal::hint(format!("did you mean `{scheme}:{text}`?"));
    }
    // `ocl:image` could be an image called ocl; that it was meant is less likely.
    let meant = text.contains(':').then(|| nearest(scheme, SCHEMES)).flatten();
    match meant.filter(|_| !scheme.contains(['/', '.'])) {
        Some(meant) => Refusal::hint(format!("did you mean `{meant}{}`?", &text[scheme.len()..])),
        None if text.parse::<Reference>().is_ok() => later,
        None => Refusal::plain(),
    }
}

impl ImageText {
    /// The source with its paths beneath `directory`.
    pub(crate) fn resolve(self, directory: &Path) -> ImageSource {
        match self.source {
            ImageSource::Layout { directory: layout, tag } => {
                ImageSource::Layout { directory: directory.join(layout), tag }
            }
            ImageSource::Archive { file } => ImageSource::Archive { file: directory.join(file) },
            assembled @ ImageSource::Assemble(_) => assembled,
        }
    }
}

/// What an assembled image begins with, as one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BaseText {
    Scratch,
    Image(ImageText),
}

impl FromText for BaseText {
    fn leaf() -> Leaf {
        Leaf {
            word: "a base".into(),
            expected: "`scratch`, `oci:DIRECTORY[:TAG]` or `oci-archive:FILE`".to_owned(),
            form: Form::Text("^(scratch|oci(-archive)?:.+)$"),
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text == "scratch" { Ok(Self::Scratch) } else { ImageText::from_text(text).map(Self::Image) }
    }
}

impl AssembleTable {
    /// The image to put together; `owner` is its key, `platform` what the function states.
    pub(crate) fn resolve(
        self,
        owner: Span,
        platform: Option<&Platform>,
        directory: &Path,
        drafts: &mut Drafts,
    ) -> Option<Assembly> {
        if let (Some(own), Some(functions)) = (self.platform.stated(), platform)
            && own.value != *functions
        {
            drafts
                .add(own.owner, "the function's `platform` is another one")
                .hint("state it once, in the function");
            return None;
        }
        let nothing_added = match &self.add {
            Field::Absent => true,
            Field::Broken => return None,
            Field::Stated(add) => add.value.is_empty(),
        };
        let base = self.base.value()?;
        if base == BaseText::Scratch && nothing_added {
            drafts
                .add(owner, "an image from `scratch` with nothing added is empty")
                .hint("add `add:` or a `base:`");
            return None;
        }
        if base == BaseText::Scratch && self.entrypoint.is_absent() && self.command.is_absent() {
            drafts
                .add(owner, "an image from `scratch` must say what is started")
                .hint("add `entrypoint: [ /… ]`");
            return None;
        }
        let add: Option<Vec<Add>> = self
            .add
            .value()
            .unwrap_or_default()
            .into_iter()
            .map(|add| add.value.resolve(directory))
            .collect();
        Some(Assembly {
            base: match base {
                BaseText::Scratch => Base::Scratch,
                BaseText::Image(image) => Base::Source(Box::new(image.resolve(directory))),
            },
            add: add?,
            entrypoint: maybe(self.entrypoint, texts)?,
            command: maybe(self.command, texts)?,
            environment: maybe(self.environment, variables)?.unwrap_or_default(),
            workdir: maybe(self.workdir, |path| path.0)?,
            user: maybe(self.user, |user| user)?,
            platform: maybe(self.platform, |platform| platform)?.or_else(|| platform.cloned()),
        })
    }
}

impl AddTable {
    fn resolve(self, directory: &Path) -> Option<Add> {
        Some(Add {
            source: directory.join(self.source.value()?),
            destination: self.destination.value()?.0,
            mode: maybe(self.mode, |mode| mode.0)?,
        })
    }
}

/// What a key came to, turned into something else: `None` where it is wrong, `Some(None)` where it is absent.
pub(crate) fn maybe<T, U>(field: Field<T>, turn: impl FnOnce(T) -> U) -> Option<Option<U>> {
    match field {
        Field::Absent => Some(None),
        Field::Broken => None,
        Field::Stated(stated) => Some(Some(turn(stated.value))),
    }
}

/// The texts of a list.
pub(crate) fn texts(list: Vec<At<String>>) -> Vec<String> {
    list.into_iter().map(|text| text.value).collect()
}

/// The variables of an environment.
pub(crate) fn variables<K>(names: Names<K, Secret>) -> BTreeMap<String, Secret> {
    names.entries.into_iter().map(|(name, value)| (name.value, value.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ImageSource, Refusal> {
        ImageText::from_text(text).map(|image| image.resolve(Path::new("/m")))
    }

    #[test]
    fn a_layout_is_a_directory_with_perhaps_a_tag() {
        let layout = |directory: &str, tag: Option<&str>| {
            let tag = tag.map(|tag| tag.parse().unwrap());
            Ok(ImageSource::Layout { directory: PathBuf::from(directory), tag })
        };
        assert_eq!(read("oci:image"), layout("/m/image", None));
        assert_eq!(read("oci:image:v1"), layout("/m/image", Some("v1")));
        assert_eq!(read("oci:/a:b/c"), layout("/a:b/c", None));
        assert_eq!(read("oci:/a:b/c:d"), layout("/a:b/c", Some("d")));
        assert_eq!(read("oci-archive:a.tar"), Ok(ImageSource::Archive { file: PathBuf::from("/m/a.tar") }));
    }

    #[test]
    fn what_is_not_an_image_yet_is_told_from_what_never_is() {
        let hint = |text: &str| read(text).unwrap_err().hint.unwrap_or_default();
        let message = |text: &str| read(text).unwrap_err().message.unwrap_or_default();
        assert_eq!(hint("ocl:image"), "did you mean `oci:image`?");
        assert_eq!(hint("./image"), "did you mean `oci:./image`?");
        assert_eq!(hint("image.tar"), "did you mean `oci-archive:image.tar`?");
        assert!(
            message("docker-daemon:shop/checkout:1").contains("docker daemon comes with a later version")
        );
        assert!(message("ghcr.io/shop/checkout:1").contains("in a registry comes with a later version"));
        assert_eq!(message("oci:"), "there is no path behind the `:`");
        assert_eq!(read("a b"), Err(Refusal::plain()));
    }
}
