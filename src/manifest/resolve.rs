//! The tree that was read, to a deployment with every default made explicit.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use longshore_contract::{AliasName, FunctionName, Settings};

use super::collection::{Later, Names, TargetKey};
use super::deployment::Unit;
use super::forms::{FunctionEntry, TargetUse};
use super::function::{Around, On};
use super::mistake::{choices, did_you_mean, quote};
use super::overlay::lay_over;
use super::reader::Reader;
use super::schema::FunctionTable;
use super::shape::{At, Field, Written};
use super::source::Span;
use super::target::Target;
use super::tree::{Kind, Node};

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
        let on = settings.map(|(provider, settings)| On {
            at: self.reader.sources.position(target.at),
            target: target.value,
            provider: provider.to_owned(),
            settings,
        });
        let around =
            Around { function, node: &node, manifest: self.name.as_deref(), directory: self.directory };
        let unit = table.resolve(&around, on, &mut self.reader.drafts)?;
        // What is wrong with the whole function may be noted beside a unit that could be made.
        (self.reader.drafts.count() == before).then_some(())?;
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
}
