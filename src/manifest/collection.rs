//! Maps with names of the user's, any JSON, and parts that are read later.

use std::marker::PhantomData;

use serde_json::Value;

use super::known::KnownProvider;
use super::mistake::quote;
use super::reader::{Pass, Reader};
use super::shape::{At, Shape, Written};
use super::tree::Node;
use super::value::{WORD_EXPECTED, is_word};

/// What may be a key of a map whose keys the user chooses.
pub(crate) trait KeyName {
    /// What stands for it in the reference.
    const PLACEHOLDER: &'static str;
    /// What it is, with its article.
    const WORD: &'static str;
    /// How it is written.
    const EXPECTED: &'static str;
    /// The same as a regular expression.
    const PATTERN: &'static str;

    /// Whether `text` is one.
    fn fits(text: &str) -> bool;
}

/// Declares what may be a key.
macro_rules! key_name {
    ($(#[doc = $doc:literal])+ $type:ident, $placeholder:literal, $word:literal, $expected:expr, $pattern:expr, $fits:expr) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone)]
        pub(crate) enum $type {}

        impl KeyName for $type {
            const PLACEHOLDER: &'static str = $placeholder;
            const WORD: &'static str = $word;
            const EXPECTED: &'static str = $expected;
            const PATTERN: &'static str = $pattern;

            fn fits(text: &str) -> bool {
                let fits: fn(&str) -> bool = $fits;
                fits(text)
            }
        }
    };
}

const WORD_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$";

key_name!(
    /// A function's name in the manifest.
    FunctionKey, "FUNCTION", "a function's name", WORD_EXPECTED, WORD_PATTERN, is_word
);
key_name!(
    /// A target's name in the manifest.
    TargetKey, "TARGET", "a target's name", WORD_EXPECTED, WORD_PATTERN, is_word
);
key_name!(
    /// An environment's name in the manifest.
    EnvironmentKey, "ENVIRONMENT", "an environment's name", WORD_EXPECTED, WORD_PATTERN, is_word
);
key_name!(
    /// A variable of the manifest.
    VariableKey, "NAME", "a variable's name", WORD_EXPECTED, WORD_PATTERN, is_word
);
key_name!(
    /// A variable of a process's environment.
    EnvironmentVariable,
    "VARIABLE",
    "an environment variable's name",
    "letters, digits and `_`, not beginning with a digit",
    "^[A-Za-z_][A-Za-z0-9_]*$",
    |text| {
        !text.starts_with(|c: char| c.is_ascii_digit())
            && !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    }
);
key_name!(
    /// A field of a cloud's own.
    RawField, "FIELD", "a field", "any text", "", |_| true
);

/// A map whose keys the user chooses, in the order they are written.
#[derive(Debug, Clone)]
pub(crate) struct Names<K, T> {
    pub(crate) entries: Vec<(At<String>, At<T>)>,
    kind: PhantomData<K>,
}

impl<K: KeyName, T: Written> Written for Names<K, T> {
    fn shape(known: &[KnownProvider]) -> Shape {
        Shape::Names { placeholder: K::PLACEHOLDER, pattern: K::PATTERN, of: Box::new(T::shape(known)) }
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = reader.map(node)?;
        let mut whole = true;
        let mut read = Vec::new();
        for entry in entries {
            if !K::fits(&entry.key) {
                reader
                    .drafts
                    .add(entry.key_at, format!("{} is not {}", quote(&entry.key), K::WORD))
                    .expected(K::EXPECTED);
                whole = false;
            }
            if reader.pass() == Pass::Over && entry.value.is_null() {
                continue;
            }
            let value = reader.inside(entry.key_at, &entry.key, |reader| T::read(&entry.value, reader));
            match value {
                Some(value) => {
                    let key = At { value: entry.key.clone(), at: entry.key_at, owner: entry.key_at };
                    read.push((key, At { value, at: entry.value.at, owner: entry.key_at }));
                }
                None => whole = false,
            }
        }
        whole.then_some(Self { entries: read, kind: PhantomData })
    }
}

/// Any value that JSON can hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Json(pub(crate) Value);

impl Written for Json {
    fn shape(_: &[KnownProvider]) -> Shape {
        Shape::Json
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader.json(node).map(Self)
    }
}

/// A part that is checked with the rest and read on its own, once it is known what is laid over it.
#[derive(Debug, Clone)]
pub(crate) struct Later<T> {
    pub(crate) node: Node,
    kind: PhantomData<T>,
}

impl<T: Written> Written for Later<T> {
    fn shape(known: &[KnownProvider]) -> Shape {
        T::shape(known)
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if reader.pass() != Pass::Whole {
            T::read(node, reader);
        }
        Some(Self { node: node.clone(), kind: PhantomData })
    }
}
