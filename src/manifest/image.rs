//! Where an image comes from.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_contract::{Platform, Secret};

use super::collection::Names;
use super::mistake::{Drafts, nearest};
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
        let parsed = text.parse();
        // `ocl:image` could be an image called ocl, and `image.tar` one in a registry; that it was meant is less likely.
        let unknown = matches!(parsed, Err(InvalidSource::NotYet { .. } | InvalidSource::Unknown { .. }));
        if let Some(guess) = guess(text).filter(|_| unknown) {
            return Err(Refusal::hint(guess));
        }
        match parsed {
            Ok(source) => Ok(Self { source, text: text.to_owned() }),
            Err(InvalidSource::NotYet { what, instead, .. }) => Err(Refusal {
                message: Some(format!("{what} comes with a later version of Longshore")),
                hint: Some(instead.to_owned()),
            }),
            Err(InvalidSource::Malformed { problem, .. }) => {
                Err(Refusal { message: Some(problem.to_owned()), hint: None })
            }
            Err(InvalidSource::Unknown { .. }) => Err(Refusal::plain()),
        }
    }
}

/// What was probably meant by a text that names no source as it is.
fn guess(text: &str) -> Option<String> {
    let Some((scheme, _)) = text.split_once(':') else {
        let is_tar = text.ends_with(".tar");
        let scheme = if is_tar { "oci-archive" } else { "oci" };
        return (is_tar || text.starts_with(['.', '/', '~']))
            .then(|| format!("did you mean `{scheme}:{text}`?"));
    };
    let meant = nearest(scheme, SCHEMES).filter(|meant| *meant != scheme && !scheme.contains(['/', '.']))?;
    Some(format!("did you mean `{meant}{}`?", &text[scheme.len()..]))
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
    Image(Box<ImageText>),
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
        assert_eq!(message("oci:"), "a directory is expected behind oci:");
        assert_eq!(read("a b"), Err(Refusal::plain()));
    }
}
