//! Walks a tree by its schema and collects every mistake.

use std::collections::HashSet;

use serde_json::Value;

use super::expand::{self, Expander, Origin, Text};
use super::known::KnownProvider;
use super::mistake::{Drafts, Remarks, choices, nearest, quote};
use super::shape::{At, Field, Form, FromText, Leaf, Presence, Refusal, Written};
use super::source::{Sources, Span};
use super::template::has_slots;
use super::tree::{Entry, Kind, Node, Style};

/// The most items of a list and the most keys of a map.
const MOST_ENTRIES: usize = 1000;

/// What is asked of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It is whole: required keys must be there, defaults come in, `${…}` is looked up.
    Whole,
    /// It is a part: keys and kinds must be right, nothing is looked up.
    Part,
    /// It is a part that is laid over another: as [`Pass::Part`], and `null` takes a key away.
    Over,
}

/// Reads trees. Mistakes are collected in it; a reading that returns `None` has noted why.
pub(crate) struct Reader<'a> {
    pub(crate) drafts: Drafts,
    pub(crate) sources: &'a Sources,
    pub(crate) known: &'a [KnownProvider],
    pub(crate) expander: Expander<'a>,
    pass: Pass,
    /// The key or item whose value is being read: missing keys are told there.
    owner: Owner,
    /// Keys that were meant by a misspelled one, with the owner of their map: they are not told as missing too.
    meant: HashSet<(Span, String)>,
}

#[derive(Debug, Clone)]
struct Owner {
    at: Span,
    name: String,
}

impl<'a> Reader<'a> {
    /// A reader with no mistakes but those in `drafts`.
    pub(crate) fn new(
        drafts: Drafts,
        sources: &'a Sources,
        known: &'a [KnownProvider],
        expander: Expander<'a>,
    ) -> Self {
        let owner = Owner { at: Span::first(0), name: "the manifest".to_owned() };
        Self { drafts, sources, known, expander, pass: Pass::Whole, owner, meant: HashSet::new() }
    }

    /// What is asked of the tree now.
    pub(crate) fn pass(&self) -> Pass {
        self.pass
    }

    /// The place of the key or item whose value is being read.
    pub(crate) fn owner(&self) -> Span {
        self.owner.at
    }

    /// Reads as `pass` asks, for as long as `read` runs.
    pub(crate) fn during<T>(&mut self, pass: Pass, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.pass, pass);
        let result = read(self);
        self.pass = before;
        result
    }

    /// Reads the value of a key or an item that stands at `at`.
    pub(crate) fn inside<T>(&mut self, at: Span, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let owner = Owner { at, name: quote(name) };
        let before = std::mem::replace(&mut self.owner, owner);
        let result = read(self);
        self.owner = before;
        result
    }

    /// Makes sure that `node` is a map and notes every key that is none of `keys`. Whether there was none.
    pub(crate) fn known_keys(&mut self, node: &Node, keys: &[&str]) -> Option<bool> {
        let entries = self.map(node)?;
        let unknown = entries.iter().filter(|entry| !keys.contains(&entry.key.as_str()));
        Some(unknown.map(|entry| self.unknown_key(entry, keys)).count() == 0)
    }

    fn unknown_key(&mut self, entry: &Entry, keys: &[&str]) {
        let full = self.drafts.is_full();
        let remarks = self.drafts.add(entry.key_at, format!("unknown key {}", quote(&entry.key)));
        if full {
            return;
        }
        match nearest(&entry.key, keys.iter().copied()) {
            Some(meant) => {
                remarks.hint(format!("did you mean {}?", quote(meant)));
                self.meant.insert((self.owner.at, meant.to_owned()));
            }
            None => {
                remarks.expected(choices(keys.iter().copied()));
            }
        }
    }

    /// The entries of a map, or a note that it is none.
    pub(crate) fn map<'n>(&mut self, node: &'n Node) -> Option<&'n [Entry]> {
        match &node.kind {
            Kind::Map(entries) if entries.len() <= MOST_ENTRIES => Some(entries),
            Kind::Map(_) => {
                self.drafts.add(self.owner.at, format!("a map here has at most {MOST_ENTRIES} keys"));
                None
            }
            _ => {
                self.mismatch(node, "a map (`key: value`)");
                None
            }
        }
    }

    /// Notes that `node` is not what should stand here.
    fn mismatch(&mut self, node: &Node, expected: &str) -> Remarks<'_> {
        let name = self.owner.name.clone();
        match &node.kind {
            Kind::Scalar(scalar) if scalar.is_nothing() => {
                let at = if scalar.text.is_empty() { self.owner.at } else { node.at };
                self.drafts
                    .add(at, format!("{name} has no value"))
                    .expected(expected)
                    .hint("leave the key out where nothing is to be stated")
            }
            _ => {
                let found = node.describe();
                self.drafts.add(node.at, format!("{name} cannot be {found}")).expected(expected)
            }
        }
    }

    /// Reads the key `name` of the map `node`.
    pub(crate) fn field<T: Written>(
        &mut self,
        node: &Node,
        name: &str,
        presence: Presence,
        examples: &[&str],
    ) -> Field<T> {
        let Some(entry) = node.entry(name) else { return self.absent(name, presence, examples) };
        if self.pass == Pass::Over && entry.value.is_null() {
            return Field::Absent;
        }
        let read = self.inside(entry.key_at, name, |reader| T::read(&entry.value, reader));
        read.map_or(Field::Broken, |value| {
            Field::Stated(At { value, at: entry.value.at, owner: entry.key_at })
        })
    }

    fn absent<T: Written>(&mut self, name: &str, presence: Presence, examples: &[&str]) -> Field<T> {
        match presence {
            _ if self.pass != Pass::Whole => Field::Absent,
            Presence::Otherwise(_) => Field::Absent,
            Presence::Required => {
                let hint = examples.first().map(|example| format!("add `{name}: {example}`"));
                self.lacks(name).hint_if(hint);
                Field::Broken
            }
            Presence::Default(text) => {
                let at = self.owner.at;
                T::read(&Node::plain(at, text), self)
                    .map_or(Field::Broken, |value| Field::Stated(At { value, at, owner: at }))
            }
        }
    }

    /// Reads a list, every item of it even when one is wrong.
    pub(crate) fn list<T: Written>(&mut self, node: &Node) -> Option<Vec<At<T>>> {
        let Kind::List(items) = &node.kind else {
            let hint = match &node.kind {
                Kind::Scalar(scalar) if !scalar.is_nothing() => Some(format!("write `[ {} ]`", scalar.text)),
                _ => None,
            };
            self.mismatch(node, "a list (`- item`, or `[ item, item ]`)").hint_if(hint);
            return None;
        };
        if items.len() > MOST_ENTRIES {
            self.drafts.add(self.owner.at, format!("a list here has at most {MOST_ENTRIES} items"));
            return None;
        }
        let name = self.owner.name.trim_matches('`').to_owned();
        let read: Vec<Option<At<T>>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let value = self.inside(item.at, &format!("{name}[{index}]"), |reader| reader.item(item))?;
                Some(At { value, at: item.at, owner: item.at })
            })
            .collect();
        read.into_iter().collect()
    }

    /// What stands in a list is whole, even where the list is laid over another.
    fn item<T: Written>(&mut self, item: &Node) -> Option<T> {
        let pass = if self.pass == Pass::Over { Pass::Part } else { self.pass };
        self.during(pass, |reader| T::read(item, reader))
    }

    /// Reads a single value. In a part, a text with `${…}` is only looked at as far as its spelling.
    pub(crate) fn leaf<T: FromText>(&mut self, node: &Node) -> Option<T> {
        self.leaf_with(node, &T::leaf(), T::from_text)
    }

    /// Reads a single value that looks like `leaf` with `read`.
    pub(crate) fn leaf_with<T>(
        &mut self,
        node: &Node,
        leaf: &Leaf,
        read: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        let text = self.text(node, leaf)?;
        let quoted = text.style == Style::Quoted && text.origin == Origin::Written;
        let value = read(&text.text);
        if quoted && value.is_ok() && matches!(leaf.form, Form::Integer(..) | Form::Boolean) {
            self.drafts
                .add(node.at, format!("{} is in quotes, which makes it text", quote(&text.text)))
                .hint("take the quotes away");
            return None;
        }
        value.map_err(|refusal| self.refuse(node.at, &text, leaf, refusal)).ok()
    }

    /// Notes that the map that is being read lacks a key.
    pub(crate) fn lacks(&mut self, key: &str) -> Remarks<'_> {
        if self.meant.contains(&(self.owner.at, key.to_owned())) {
            return Remarks::none();
        }
        let message = format!("{} lacks the key {}", self.owner.name, quote(key));
        self.drafts.add(self.owner.at, message)
    }

    /// The text of a single value after `${…}`; `None` also where a part leaves that open.
    pub(crate) fn text(&mut self, node: &Node, leaf: &Leaf) -> Option<Text> {
        let scalar = match &node.kind {
            Kind::Scalar(scalar) if !scalar.is_nothing() => scalar,
            _ => {
                let form = match leaf.form {
                    Form::Words(_) => leaf.expected.clone(),
                    _ if leaf.expected.is_empty() => leaf.word.to_string(),
                    _ => format!("{}: {}", leaf.word, leaf.expected),
                };
                self.mismatch(node, &form);
                return None;
            }
        };
        if self.pass == Pass::Whole {
            return self.expander.expand(scalar, node.at, self.sources, &mut self.drafts);
        }
        if has_slots(&scalar.text) {
            expand::check(&scalar.text, node.at, self.sources, &mut self.drafts);
            return None;
        }
        let text = scalar.text.replace("$${", "${");
        Some(Text { text, style: scalar.style, origin: Origin::Written })
    }

    fn refuse(&mut self, at: Span, text: &Text, leaf: &Leaf, refusal: Refusal) {
        let hidden = text.origin == Origin::Environment;
        let subject = if hidden { format!("the value of {}", self.owner.name) } else { quote(&text.text) };
        let expected = leaf.expected.clone();
        let expected = Some(expected).filter(|expected| !expected.is_empty() && refusal.message.is_none());
        let message = refusal.message.unwrap_or_else(|| {
            if text.text.is_empty() {
                format!("{} is empty", self.owner.name)
            } else {
                format!("{subject} is not {}", leaf.word)
            }
        });
        let hint = refusal.hint.filter(|_| !hidden);
        self.drafts.add(at, message).expected_if(expected).hint_if(hint);
    }

    /// Reads any value as JSON. A value that was looked up is text, whatever it looks like.
    pub(crate) fn json(&mut self, node: &Node) -> Option<Value> {
        match &node.kind {
            Kind::List(items) => {
                let items: Vec<Option<Value>> = items.iter().map(|item| self.json(item)).collect();
                items.into_iter().collect::<Option<Vec<Value>>>().map(Value::Array)
            }
            Kind::Map(entries) => {
                let entries: Vec<Option<(String, Value)>> =
                    entries.iter().map(|entry| Some((entry.key.clone(), self.json(&entry.value)?))).collect();
                entries.into_iter().collect::<Option<_>>().map(Value::Object)
            }
            Kind::Scalar(scalar) if scalar.is_nothing() => Some(Value::Null),
            Kind::Scalar(_) => {
                let leaf = Leaf { word: "a value".into(), expected: String::new(), form: Form::AnyText };
                let text = self.text(node, &leaf)?;
                if text.style == Style::Quoted || text.origin != Origin::Written {
                    return Some(Value::String(text.text));
                }
                Some(super::value::json(&text.text))
            }
        }
    }
}
