//! One function on one target, from what is written to what is meant.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_contract::{Config, FunctionName, Platform, Settings, Tag};

use super::deployment::Unit;
use super::forms::ImageForm;
use super::image::{maybe, texts, variables};
use super::mistake::{Drafts, Position, quote};
use super::schema::{ConfigTable, FunctionTable};
use super::shape::{At, Field};
use super::shift::{ShiftSpec, Strategy};
use super::smoke::Smoke;
use super::tree::Node;
use super::value::is_repository_path;
use crate::image::ImageSource;

/// What a function stands in.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    /// Its name in the manifest.
    pub(crate) function: &'a At<String>,
    /// Its tree, with what is different on the target.
    pub(crate) node: &'a Node,
    /// The manifest's name; `None` where that is wrong.
    pub(crate) manifest: Option<&'a str>,
    /// The manifest's directory, absolute.
    pub(crate) directory: &'a Path,
}

/// The target that a function goes to.
pub(crate) struct On {
    pub(crate) at: Position,
    pub(crate) target: String,
    pub(crate) provider: String,
    pub(crate) settings: Settings,
}

impl FunctionTable {
    /// The unit that is asked for; `on` is `None` where something is wrong with the target. Every key is looked at even
    /// when an earlier one is wrong.
    pub(crate) fn resolve(self, around: &Around<'_>, on: Option<On>, drafts: &mut Drafts) -> Option<Unit> {
        let Around { function, node, manifest, directory } = *around;
        let platform = maybe(self.platform, |platform| platform);
        let image = match self.image {
            Field::Stated(image) => {
                let platform = platform.as_ref().and_then(Option::as_ref);
                resolve_image(image.value, platform, directory, drafts)
            }
            _ => None,
        };
        let tag = refuse_latest(self.tag, self.allow_latest, drafts);
        let name = function_name(self.name, manifest, function, drafts);
        let repository = repository(
            self.repository.value().map(|path| path.0),
            node.get("repository").is_none(),
            function,
            drafts,
        );
        let config = match self.config {
            Field::Absent => Some(Config::default()),
            Field::Broken => None,
            Field::Stated(config) => config.value.resolve(drafts),
        };
        let scan = match self.scan {
            Field::Absent => Some(None),
            Field::Broken => None,
            Field::Stated(scan) => scan.value.resolve(drafts).map(Some),
        };
        let smoke: Option<Vec<Smoke>> = match self.smoke {
            Field::Absent => Some(Vec::new()),
            Field::Broken => None,
            Field::Stated(list) => {
                let read: Vec<_> =
                    list.value.into_iter().map(|smoke| smoke.value.resolve(smoke.at, drafts)).collect();
                read.into_iter().collect()
            }
        };
        let shift = match self.shift {
            Field::Absent => Some(ShiftSpec { strategy: Strategy::AllAtOnce, gate: None }),
            Field::Broken => None,
            Field::Stated(shift) => shift.value.resolve(shift.owner, drafts),
        };
        let build = maybe(self.build, |build| build);
        let (source, image) = image?;
        let on = on?;
        Some(Unit {
            at: on.at,
            function: function.value.clone(),
            target: on.target,
            provider: on.provider,
            settings: on.settings,
            build: build?,
            source,
            image,
            platform: platform?,
            name: name?,
            repository: repository?,
            tag: tag?,
            alias: self.alias.value()?,
            config: config?,
            scan: scan?,
            smoke: smoke?,
            shift: shift?,
        })
    }
}

fn resolve_image(
    form: ImageForm,
    platform: Option<&Platform>,
    directory: &Path,
    drafts: &mut Drafts,
) -> Option<(String, ImageSource)> {
    match form {
        ImageForm::Text(image) => Some((image.text.clone(), image.resolve(directory))),
        ImageForm::Assemble(table, owner) => {
            let assembly = table.resolve(owner, platform, directory, drafts)?;
            Some(("assemble".to_owned(), ImageSource::Assemble(assembly)))
        }
    }
}

fn refuse_latest(tag: Field<Tag>, allow_latest: Field<bool>, drafts: &mut Drafts) -> Option<Option<Tag>> {
    let allowed = allow_latest.value()?;
    if let Some(stated) = tag.stated()
        && stated.value.as_str() == "latest"
        && !allowed
    {
        drafts
            .add(stated.at, "the tag `latest` says nothing about the image")
            .hint("use `\"${git.short}\"` or a version, or state `allow_latest: true`");
        return None;
    }
    maybe(tag, |tag| tag)
}

fn function_name(
    stated: Field<FunctionName>,
    manifest: Option<&str>,
    function: &At<String>,
    drafts: &mut Drafts,
) -> Option<FunctionName> {
    if !stated.is_absent() {
        return stated.value();
    }
    let name = format!("{}-{}", manifest?, function.value).parse();
    if name.is_err() {
        drafts
            .add(function.at, "the function's name in the cloud would not be one")
            .hint("state a shorter `name:`");
    }
    name.ok()
}

fn repository(
    stated: Option<String>,
    absent: bool,
    function: &At<String>,
    drafts: &mut Drafts,
) -> Option<String> {
    if !absent {
        return stated;
    }
    if is_repository_path(&function.value) {
        return Some(function.value.clone());
    }
    drafts
        .add(function.at, format!("{} cannot name its repository", quote(&function.value)))
        .hint("state `repository:` in lower case");
    None
}

impl ConfigTable {
    fn resolve(self, drafts: &mut Drafts) -> Option<Config> {
        if let Some(command) = self.command.stated().filter(|command| command.value.is_empty()) {
            drafts
                .add(command.owner, "`command` starts nothing")
                .hint("name a program, or leave the key out");
            return None;
        }
        let raw = maybe(self.raw, |raw| {
            let fields = raw.entries.into_iter().map(|(name, value)| (name.value, value.value.0));
            fields.collect::<BTreeMap<_, _>>()
        })?;
        Some(Config {
            role: maybe(self.role, |role| role)?,
            memory: maybe(self.memory, |memory| memory.0)?,
            timeout: maybe(self.timeout, |timeout| timeout)?,
            port: maybe(self.port, |port| u16::try_from(port.0).ok())?.flatten(),
            handler: maybe(self.handler, |handler| handler)?,
            command: maybe(self.command, texts)?,
            environment: maybe(self.environment, variables)?,
            raw: raw.unwrap_or_default(),
        })
    }
}
