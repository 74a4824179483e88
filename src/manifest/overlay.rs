//! Lays one tree over another, and sets single paths.

use std::collections::HashMap;

use super::mistake::{Drafts, choices, did_you_mean, quote};
use super::shape::{Form, Shape};
use super::source::{Sources, Span};
use super::tree::{Entry, Kind, Node, Scalar, Style};
use super::yaml;

/// Lays `over` over `base`: maps merge, `null` takes a key away, everything else replaces. Places stay with the nodes.
pub(crate) fn lay_over(base: &mut Node, over: &Node) {
    let (Kind::Map(entries), Kind::Map(laid)) = (&mut base.kind, &over.kind) else {
        *base = without_nulls(over);
        return;
    };
    let mut places: HashMap<String, usize> =
        entries.iter().enumerate().map(|(index, entry)| (entry.key.clone(), index)).collect();
    let mut removed = false;
    for entry in laid {
        match places.get(&entry.key) {
            Some(index) if entry.value.is_null() => {
                entries[*index].value.clone_from(&entry.value);
                removed = true;
            }
            Some(index) => {
                let old = &mut entries[*index];
                // A mistake that is about the key belongs to who stated it last.
                if !matches!((&old.value.kind, &entry.value.kind), (Kind::Map(_), Kind::Map(_))) {
                    old.key_at = entry.key_at;
                }
                lay_over(&mut old.value, &entry.value);
            }
            None if entry.value.is_null() => {}
            None => {
                places.insert(entry.key.clone(), entries.len());
                entries.push(Entry { value: without_nulls(&entry.value), ..entry.clone() });
            }
        }
    }
    if removed {
        let taken: Vec<&str> =
            laid.iter().filter(|entry| entry.value.is_null()).map(|entry| entry.key.as_str()).collect();
        entries.retain(|entry| !taken.contains(&entry.key.as_str()));
    }
}

/// A copy in which `null` in maps has taken its key away; lists are whole and stay as they are.
fn without_nulls(node: &Node) -> Node {
    let kind = match &node.kind {
        Kind::Map(entries) => {
            let stated = entries.iter().filter(|entry| !entry.value.is_null());
            let copied = stated.map(|entry| Entry {
                key: entry.key.clone(),
                key_at: entry.key_at,
                value: without_nulls(&entry.value),
            });
            Kind::Map(copied.collect())
        }
        other => other.clone(),
    };
    Node { at: node.at, kind }
}

/// One `--set PATH=VALUE`.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    path: Vec<(String, Span)>,
    value: Node,
}

impl Setting {
    /// Reads the `--set` in `source`. What the schema says about the path decides whether the value is taken as it is
    /// or read as YAML.
    pub(crate) fn read(source: u16, sources: &Sources, schema: &Shape, drafts: &mut Drafts) -> Option<Self> {
        let text = sources.text(source);
        let whole = place(source, text, 0, text.len());
        let Some((path, value)) = text.split_once('=') else {
            drafts
                .add(whole, "`--set` takes a path and a value")
                .expected("PATH=VALUE, as in `vars.tag=1.2`");
            return None;
        };
        let mut segments = Vec::new();
        let mut start = 0;
        for segment in path.split('.') {
            let at = place(source, text, start, start + segment.len());
            if segment.is_empty() {
                drafts
                    .add(at, "the path has an empty part")
                    .expected("keys with `.` between them, as in `vars.tag`");
                return None;
            }
            segments.push((segment.to_owned(), at));
            start += segment.len() + 1;
        }
        let at = place(source, text, start, text.len());
        let names: Vec<&str> = segments.iter().map(|(segment, _)| segment.as_str()).collect();
        let value = match taken_as(schema, &names, value) {
            _ if value == "null" => Node::plain(at, value),
            Taken::Text => {
                Node { at, kind: Kind::Scalar(Scalar { text: value.to_owned(), style: Style::Quoted }) }
            }
            Taken::Plain => Node::plain(at, value),
            Taken::Yaml if value.trim().is_empty() => Node::plain(at, ""),
            Taken::Yaml => yaml::parse(value, at, drafts)?,
        };
        Some(Self { path: segments, value })
    }

    /// The setting as a tree of its own, from the root down.
    pub(crate) fn tree(&self) -> Node {
        self.path.iter().rev().fold(self.value.clone(), |value, (key, at)| {
            let entry = Entry { key: key.clone(), key_at: *at, value };
            Node { at: *at, kind: Kind::Map(vec![entry]) }
        })
    }

    /// Sets it in `root`. A number steps into a list; a list that has no such item is a mistake.
    pub(crate) fn apply(&self, root: &mut Node, drafts: &mut Drafts) {
        if let [(first, at), (second, second_at), _, ..] = self.path.as_slice() {
            if first == "environments" {
                drafts
                    .add(*at, "environments are laid over the manifest before `--set`")
                    .hint("set the path itself, without `environments.NAME.`");
                return;
            }
            let known: Vec<&str> = match root.get(first).map(|node| &node.kind) {
                Some(Kind::Map(entries)) => entries.iter().map(|entry| entry.key.as_str()).collect(),
                _ => Vec::new(),
            };
            if matches!(first.as_str(), "functions" | "targets") && !known.contains(&second.as_str()) {
                drafts
                    .add(*second_at, format!("{} has no {}", quote(first), quote(second)))
                    .expected(choices(known.iter().copied().take(30)))
                    .hint_if(did_you_mean(second, known));
                return;
            }
        }
        self.apply_from(0, root, drafts);
    }

    fn apply_from(&self, index: usize, node: &mut Node, drafts: &mut Drafts) {
        let Some((key, at)) = self.path.get(index) else { return lay_over(node, &self.value) };
        let last = index + 1 == self.path.len();
        match &mut node.kind {
            Kind::List(items) => match key.parse::<usize>().ok().filter(|nth| *nth < items.len()) {
                Some(nth) => self.apply_from(index + 1, &mut items[nth], drafts),
                None => {
                    drafts
                        .add(*at, format!("there is no item {} in this list", quote(key)))
                        .hint(format!("it has {}, counted from 0; or set the whole list", items.len()));
                }
            },
            Kind::Map(entries) if !last && entries.iter().any(|entry| entry.key == *key) => {
                let entry = entries.iter_mut().find(|entry| entry.key == *key);
                entry.into_iter().for_each(|entry| self.apply_from(index + 1, &mut entry.value, drafts));
            }
            _ => {
                let rest = Self { path: self.path[index..].to_vec(), value: self.value.clone() };
                lay_over(node, &rest.tree());
            }
        }
    }
}

fn place(source: u16, text: &str, start: usize, end: usize) -> Span {
    let (line, column) = yaml::line_and_column(text, start);
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX / 2);
    Span { source, line: small(line), column: small(column), start: small(start), end: small(end) }
}

/// How the value of a `--set` is taken.
enum Taken {
    /// As text, whatever is in it.
    Text,
    /// As a value without quotes.
    Plain,
    /// As YAML.
    Yaml,
}

fn taken_as(schema: &Shape, path: &[&str], value: &str) -> Taken {
    let structured = value.starts_with(['{', '[']);
    let taken = shapes_at(schema, path).into_iter().map(|shape| match shape {
        Shape::Leaf(leaf) if matches!(leaf.form, Form::AnyText) => Taken::Text,
        Shape::Leaf(_) if structured => Taken::Yaml,
        Shape::Leaf(_) => Taken::Plain,
        _ => Taken::Yaml,
    });
    taken
        .reduce(|first, second| match (first, second) {
            (first, Taken::Yaml) if !structured => first,
            (_, second) => second,
        })
        .unwrap_or(Taken::Plain)
}

/// Every shape that can stand at `path`; none where the schema does not know it.
fn shapes_at<'s>(shape: &'s Shape, path: &[&str]) -> Vec<&'s Shape> {
    if let Shape::Forms(forms) = shape {
        return forms.iter().flat_map(|form| shapes_at(form, path)).collect();
    }
    let Some((first, rest)) = path.split_first() else { return vec![shape] };
    match shape {
        Shape::Table(table) => table
            .keys
            .iter()
            .filter(|key| key.name == *first)
            .flat_map(|key| shapes_at(&key.shape, rest))
            .collect(),
        Shape::Names { of, .. } => shapes_at(of, rest),
        Shape::List(of) if first.parse::<usize>().is_ok() => shapes_at(of, rest),
        Shape::Json => vec![shape],
        _ => Vec::new(),
    }
}
