//! A manifest as a tree of texts, lists and maps, every one with its place.

use super::source::Span;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) at: Span,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A single value as it was written.
    Scalar(Scalar),
    /// Values in order.
    List(Vec<Node>),
    /// Keys with their values, in order, no key twice.
    Map(Vec<Entry>),
}

/// A single value as it was written: nothing is guessed about its type here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) style: Style,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes: it may stand for a number, for true or false, or for nothing.
    Plain,
    /// In quotes or as a block: text, whatever is in it.
    Quoted,
}

/// One key of a map with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Span,
    pub(crate) value: Node,
}

impl Scalar {
    /// Whether it stands for nothing: empty, `~` or `null` without quotes.
    pub(crate) fn is_nothing(&self) -> bool {
        self.style == Style::Plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Node {
    /// A scalar without quotes at `at`.
    pub(crate) fn plain(at: Span, text: &str) -> Self {
        Self { at, kind: Kind::Scalar(Scalar { text: text.to_owned(), style: Style::Plain }) }
    }

    /// What it is, for a sentence.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(scalar) if scalar.is_nothing() => "nothing",
            Kind::Scalar(_) => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// Whether it is the word `null`, which takes a key away where a value is laid over another.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.style == Style::Plain && scalar.text == "null")
    }

    /// The entry under `key`, where this is a map that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The value under `key`, where this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// How many nodes this is, itself included.
    pub(crate) fn size(&self) -> usize {
        1 + self.children().map(Self::size).sum::<usize>()
    }

    /// How many nodes lie on its longest way down, itself included.
    pub(crate) fn depth(&self) -> usize {
        1 + self.children().map(Self::depth).max().unwrap_or(0)
    }

    fn children(&self) -> impl Iterator<Item = &Node> {
        let (items, entries): (&[Node], &[Entry]) = match &self.kind {
            Kind::Scalar(_) => (&[], &[]),
            Kind::List(items) => (items, &[]),
            Kind::Map(entries) => (&[], entries),
        };
        items.iter().chain(entries.iter().map(|entry| &entry.value))
    }
}
