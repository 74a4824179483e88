//! Where an image comes from.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_contract::{Platform, Secret};

use super::collection::Names;
use super::mistake::Drafts;
use super::schema::{AddTable, AssembleTable};
use super::shape::{At, Field, Form, FromText, Leaf, Refusal};
use super::source::Span;
use crate::image::{Add, Assembly, Base, ImageSource, InvalidSource};

/// An image as one text, its paths still relative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageText {
    source: ImageSource,
    /// The text as it was written.
    pub(crate) text: String,
}

impl FromText for ImageText {
    fn leaf() -> Leaf {
        Leaf {
            word: "an image".into(),
            expected: "`docker-daemon:NAME`, `docker-archive:FILE[:NAME]`, `oci:DIRECTORY[:TAG]`, `oci-archive:FILE`, \
                       `HOST/PATH[:TAG]` or `{ assemble: … }`"
                .to_owned(),
            form: Form::Text("^((docker-daemon|docker-archive|oci|oci-archive):.+|[^\\s]+)$"),
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text.parse() {
            Ok(source) => Ok(Self { source, text: text.to_owned() }),
            Err(InvalidSource::Malformed { problem, .. }) => {
                Err(Refusal { message: Some(problem.to_owned()), hint: None })
            }
            Err(InvalidSource::Unknown { meant: Some(meant), .. }) => {
                Err(Refusal::hint(format!("did you mean {meant}?")))
            }
            Err(InvalidSource::Unknown { meant: None, .. }) => Err(Refusal::plain()),
        }
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
            ImageSource::DockerArchive { file, name } => {
                ImageSource::DockerArchive { file: directory.join(file), name }
            }
            other
            @ (ImageSource::Daemon { .. } | ImageSource::Registry { .. } | ImageSource::Assemble(_)) => other,
        }
    }
}

/// What an assembled image begins with, as one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BaseText {
    Scratch,
    Image(Box<ImageText>),
}

impl FromText for BaseText {
    fn leaf() -> Leaf {
        Leaf {
            word: "a base".into(),
            expected: "`scratch`, or what `image:` takes: `docker-daemon:NAME`, `oci:DIRECTORY[:TAG]`, `HOST/PATH[:TAG]`, …"
                .to_owned(),
            form: Form::Text("^((docker-daemon|docker-archive|oci|oci-archive):.+|[^\\s]+)$"),
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if text == "scratch" {
            Ok(Self::Scratch)
        } else {
            ImageText::from_text(text).map(|image| Self::Image(Box::new(image)))
        }
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
            entrypoint: maybe(self.entrypoint, texts)?.unwrap_or_default(),
            command: maybe(self.command, texts)?.unwrap_or_default(),
            // What is baked into an image can be read by everybody who can pull it: it is no secret.
            environment: maybe(self.environment, variables)?
                .unwrap_or_default()
                .into_iter()
                .map(|(name, value)| (name, value.expose().to_owned()))
                .collect(),
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
            Ok(ImageSource::Layout { directory: directory.into(), tag: tag.map(str::to_owned) })
        };
        assert_eq!(read("oci:image"), layout("/m/image", None));
        assert_eq!(read("oci:image:v1"), layout("/m/image", Some("v1")));
        assert_eq!(read("oci:/a:host.io/c:1"), layout("/a", Some("host.io/c:1")));
        assert_eq!(read("oci-archive:a.tar"), Ok(ImageSource::Archive { file: "/m/a.tar".into() }));
    }

    #[test]
    fn every_kind_of_source_is_read_and_only_paths_are_resolved() {
        for (text, shown) in [
            ("docker-daemon:shop/checkout:1", "docker-daemon:shop/checkout:1"),
            ("docker-archive:a.tar:app:1", "docker-archive:/m/a.tar:app:1"),
            ("ghcr.io/shop/checkout:1", "ghcr.io/shop/checkout:1"),
            ("ubuntu:24.04", "docker.io/library/ubuntu:24.04"),
        ] {
            assert_eq!(read(text).map(|source| source.to_string()), Ok(shown.to_owned()));
        }
    }

    #[test]
    fn a_near_miss_is_told_from_what_never_is_an_image() {
        let hint = |text: &str| read(text).unwrap_err().hint.unwrap_or_default();
        let message = |text: &str| read(text).unwrap_err().message.unwrap_or_default();
        assert_eq!(hint("ocl:image"), "did you mean `oci:image`?");
        assert_eq!(hint("./image"), "did you mean `oci:./image`?");
        assert_eq!(hint("image.tar"), "did you mean `docker-archive:image.tar` or `oci-archive:image.tar`?");
        assert_eq!(message("oci:"), "a directory is expected behind oci:");
        assert_eq!(read("a b"), Err(Refusal::plain()));
    }
}
