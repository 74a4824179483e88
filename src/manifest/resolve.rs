//! The tree that was read, to a deployment with every default made explicit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use longshore_contract::{AliasName, Config, FunctionName, Settings};

use super::collection::{Later, Names, TargetKey};
use super::deployment::Unit;
use super::forms::{FunctionEntry, ImageForm, TargetUse};
use super::image::{maybe, texts, variables};
use super::mistake::{Drafts, choices, did_you_mean, quote};
use super::overlay::lay_over;
use super::reader::Reader;
use super::schema::{ConfigTable, FunctionTable};
use super::shape::{At, Field, Written};
use super::shift::{ShiftSpec, Strategy};
use super::smoke::Smoke;
use super::source::Span;
use super::target::Target;
use super::tree::{Kind, Node};
use super::value::is_repository_path;
use crate::image::ImageSource;

/// What `--only` names.
#[derive(Debug, Clone)]
pub(crate) struct Only {
    pub(crate) function: String,
    pub(crate) target: Option<String>,
    pub(crate) at: Span,
}

/// Makes units of functions.
pub(crate) struct Resolver<'r, 'a> {
    pub(crate) reader: &'r mut Reader<'a>,
    pub(crate) directory: &'r Path,
    /// The manifest's name; `None` where it is wrong.
    pub(crate) name: Option<String>,
    /// The targets in order; `None` where something is wrong with all of them.
    pub(crate) targets: Option<Targets>,
    pub(crate) only: &'r [Only],
}

/// The targets of a manifest. Each is read when the first function goes there.
pub(crate) struct Targets {
    order: Vec<String>,
    nodes: HashMap<String, (Span, Node)>,
    read: HashMap<String, Option<(&'static str, Settings)>>,
}

impl Targets {
    /// The targets as the tree has them.
    pub(crate) fn new(names: Names<TargetKey, Later<Target>>) -> Self {
        let order = names.entries.iter().map(|(name, _)| name.value.clone()).collect();
        let nodes =
            names.entries.into_iter().map(|(name, target)| (name.value, (name.at, target.value.node)));
        Self { order, nodes: nodes.collect(), read: HashMap::new() }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(String::as_str)
    }
}

impl Resolver<'_, '_> {
    /// The units that are asked for, in the manifest's order.
    pub(crate) fn units(&mut self, functions: Vec<(At<String>, At<Later<FunctionEntry>>)>) -> Vec<Unit> {
        let mut units = Vec::new();
        let mut taken: HashMap<(String, FunctionName, AliasName), String> = HashMap::new();
        let mut matched = vec![false; self.only.len()];
        let mut labels = Vec::new();
        for (function, node) in &functions {
            if !self.only.is_empty() && !self.only.iter().any(|only| only.function == function.value) {
                continue;
            }
            let uses = self.uses(function, &node.value.node);
            let Some(uses) = uses else {
                // What it goes to is not known: then `--only` may well have meant it.
                self.mark(&mut matched, function, None);
                continue;
            };
            for target_use in uses {
                let target = target_use.value.target.value.clone();
                labels.push(format!("{}@{target}", function.value));
                if !self.mark(&mut matched, function, Some(&target)) {
                    continue;
                }
                let Some((unit, at)) = self.unit(function, &node.value.node, target_use) else { continue };
                let key = (target, unit.name.clone(), unit.alias.clone());
                if let Some(other) = taken.insert(key, function.value.clone()) {
                    self.reader
                        .drafts
                        .add(
                            at,
                            format!(
                                "{} would move the same alias as {}",
                                quote(&function.value),
                                quote(&other)
                            ),
                        )
                        .hint(format!(
                            "give one of them another `name` or `alias` on {}",
                            quote(&unit.target)
                        ));
                }
                units.push(unit);
            }
        }
        self.unmatched(&matched, &functions, &labels);
        units
    }

    /// Whether a function on a target is asked for; every `--only` that asks for it is marked.
    fn mark(&self, matched: &mut [bool], function: &At<String>, target: Option<&str>) -> bool {
        let mut asked = self.only.is_empty();
        for (only, matched) in self.only.iter().zip(matched) {
            let fits = only.function == function.value
                && (target.is_none() || only.target.is_none() || only.target.as_deref() == target);
            *matched |= fits;
            asked |= fits;
        }
        asked
    }

    fn unmatched(
        &mut self,
        matched: &[bool],
        functions: &[(At<String>, At<Later<FunctionEntry>>)],
        labels: &[String],
    ) {
        for (only, _) in self.only.iter().zip(matched).filter(|(_, matched)| !**matched) {
            let names = || functions.iter().map(|(name, _)| name.value.as_str());
            if names().any(|name| name == only.function) {
                let message = format!("{} does not go to this target", quote(&only.function));
                let prefix = format!("{}@", only.function);
                let known = labels.iter().map(String::as_str).filter(|label| label.starts_with(&prefix));
                self.reader.drafts.add(only.at, message).expected(choices(known));
            } else {
                let message = format!("there is no function {}", quote(&only.function));
                let hint = did_you_mean(&only.function, names());
                self.reader.drafts.add(only.at, message).expected(choices(names().take(30))).hint_if(hint);
            }
        }
    }

    /// Where a function goes; `None` where that is wrong, which is noted.
    fn uses(&mut self, function: &At<String>, node: &Node) -> Option<Vec<At<TargetUse>>> {
        let entry =
            self.reader.inside(function.at, &function.value, |reader| FunctionEntry::read(node, reader))?;
        let targets = self.targets.as_ref()?;
        let uses = match entry.targets {
            Field::Broken => return None,
            Field::Stated(uses) if uses.value.is_empty() => {
                self.reader
                    .drafts
                    .add(uses.owner, format!("{} goes nowhere", quote(&function.value)))
                    .hint("name a target");
                return None;
            }
            Field::Stated(uses) => uses.value,
            Field::Absent => match targets.order.as_slice() {
                [only] => {
                    let target = At { value: only.clone(), at: function.at, owner: function.at };
                    let over = Node { at: function.at, kind: Kind::Map(Vec::new()) };
                    vec![At { value: TargetUse { target, over }, at: function.at, owner: function.at }]
                }
                // That there is no target at all is told where the targets are.
                [] => return None,
                several => {
                    let hint = format!("add `targets: [ {} ]`, or some of them", several.join(", "));
                    let message = format!("{} does not say which targets it goes to", quote(&function.value));
                    self.reader.drafts.add(function.at, message).hint(hint);
                    return None;
                }
            },
        };
        let mut seen = HashSet::new();
        let mut known = Vec::new();
        for target_use in uses {
            let target = &target_use.value.target;
            if !targets.nodes.contains_key(&target.value) {
                // The name may have come out of the environment: the excerpt shows what was written.
                self.reader
                    .drafts
                    .add(target.at, "there is no such target")
                    .expected(choices(targets.names().take(30)));
            } else if !seen.insert(target.value.clone()) {
                self.reader
                    .drafts
                    .add(target.at, "this target is named twice")
                    .hint("make one item of the two");
            } else {
                known.push(target_use);
            }
        }
        Some(known)
    }

    fn unit(
        &mut self,
        function: &At<String>,
        node: &Node,
        target_use: At<TargetUse>,
    ) -> Option<(Unit, Span)> {
        let TargetUse { target, over } = target_use.value;
        let settings = self.target(&target.value);
        let mut node = node.clone();
        if let Kind::Map(entries) = &mut node.kind {
            entries.retain(|entry| entry.key != "targets");
        }
        lay_over(&mut node, &over);
        let before = self.reader.drafts.count();
        let table =
            self.reader.inside(function.at, &function.value, |reader| FunctionTable::read(&node, reader))?;
        let body = self.body(function, &node, table);
        let (provider, settings) = settings?;
        let body = body.filter(|_| self.reader.drafts.count() == before)?;
        let unit = Unit {
            at: self.reader.sources.position(target.at),
            function: function.value.clone(),
            target: target.value,
            provider: provider.to_owned(),
            settings,
            ..body
        };
        Some((unit, target.at))
    }

    /// A target's provider and settings, read once.
    fn target(&mut self, name: &str) -> Option<(&'static str, Settings)> {
        let targets = self.targets.as_mut()?;
        if let Some(read) = targets.read.get(name) {
            return read.clone();
        }
        let (at, node) = targets.nodes.get(name)?;
        let directory = self.directory;
        let read = self.reader.inside(*at, name, |reader| {
            let target = Target::read(node, reader)?;
            Some((target.provider, target.settings(name, directory, reader)))
        });
        targets.read.insert(name.to_owned(), read.clone());
        read
    }

    /// A unit without its target. Every key is looked at even when an earlier one is wrong.
    fn body(&mut self, function: &At<String>, node: &Node, table: FunctionTable) -> Option<Unit> {
        let owner = |key: &str| node.entry(key).map_or(function.at, |entry| entry.key_at);
        let drafts = &mut self.reader.drafts;
        let platform = maybe(table.platform, |platform| platform);
        let image = match table.image {
            Field::Stated(image) => {
                let platform = platform.as_ref().and_then(Option::as_ref);
                resolve_image(image.value, platform, self.directory, drafts)
            }
            _ => None,
        };
        let tag = refuse_latest(table.tag, table.allow_latest, drafts);
        let name = function_name(table.name, self.name.as_deref(), function, drafts);
        let repository = repository(
            table.repository.value().map(|path| path.0),
            node.get("repository").is_none(),
            function,
            drafts,
        );
        let config = match table.config {
            Field::Absent => Some(Config::default()),
            Field::Broken => None,
            Field::Stated(config) => config.value.resolve(drafts),
        };
        let scan = match table.scan {
            Field::Absent => Some(None),
            Field::Broken => None,
            Field::Stated(scan) => scan.value.resolve(drafts).map(Some),
        };
        let smoke: Option<Vec<Smoke>> = match table.smoke {
            Field::Absent => Some(Vec::new()),
            Field::Broken => None,
            Field::Stated(list) => {
                let read: Vec<_> =
                    list.value.into_iter().map(|smoke| smoke.value.resolve(smoke.at, drafts)).collect();
                read.into_iter().collect()
            }
        };
        let shift = match table.shift {
            Field::Absent => Some(ShiftSpec { strategy: Strategy::AllAtOnce, gate: None }),
            Field::Broken => None,
            Field::Stated(shift) => shift.value.resolve(owner("shift"), drafts),
        };
        let build = maybe(table.build, |build| build);
        let (source, image) = image?;
        Some(Unit {
            at: super::mistake::Position::default(),
            function: String::new(),
            target: String::new(),
            provider: String::new(),
            settings: Settings::default(),
            build: build?,
            source,
            image,
            platform: platform?,
            name: name?,
            repository: repository?,
            tag: tag?,
            alias: table.alias.value()?,
            config: config?,
            scan: scan?,
            smoke: smoke?,
            shift: shift?,
        })
    }
}

fn resolve_image(
    form: ImageForm,
    platform: Option<&longshore_contract::Platform>,
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

fn refuse_latest(
    tag: Field<longshore_contract::Tag>,
    allow_latest: Field<bool>,
    drafts: &mut Drafts,
) -> Option<Option<longshore_contract::Tag>> {
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
