//! The vocabulary in which the schema is written down, and the two traits that tie a shape to its reader.

use std::borrow::Cow;
use std::time::Duration;

use super::known::KnownProvider;
use super::reader::Reader;
use super::source::Span;
use super::tree::Node;

/// Something that can be written in a manifest: what it may look like, and how it is read. The two are declared in one
/// place, so that the reader, the JSON schema and the reference cannot disagree.
pub(crate) trait Written: Sized {
    /// What may be written, given the providers that are known.
    fn shape(known: &[KnownProvider]) -> Shape;

    /// Reads it; `None` where something was wrong, which is noted.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
}

/// What may be written in one place.
pub(crate) enum Shape {
    /// A single value.
    Leaf(Leaf),
    /// Values of one shape in order.
    List(Box<Shape>),
    /// A map with fixed keys.
    Table(Table),
    /// A map whose keys the user chooses.
    Names {
        /// What stands for the key in the reference, as in `FUNCTION`.
        placeholder: &'static str,
        /// A regular expression that every key fits.
        pattern: &'static str,
        of: Box<Shape>,
    },
    /// One of several shapes.
    Forms(Vec<Shape>),
    /// Any value JSON can hold.
    Json,
}

/// A map with fixed keys.
pub(crate) struct Table {
    /// Names the table in the JSON schema and in the reference.
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) keys: Vec<Key>,
    /// Whether keys may be left out although they are required, and taken away with `null`.
    pub(crate) laid: Laid,
}

/// Whether a table stands for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Laid {
    /// It does.
    Alone,
    /// It is laid over another one: nothing is required, and `null` takes a key away.
    Over,
}

/// One key of a table.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// What it means, as sentences.
    pub(crate) doc: String,
    pub(crate) presence: Presence,
    pub(crate) shape: Shape,
    /// Values as they would be written.
    pub(crate) examples: Vec<&'static str>,
}

/// What happens where a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// That is a mistake.
    Required,
    /// It is as if this had been written.
    Default(&'static str),
    /// This happens, in words.
    Otherwise(&'static str),
}

/// A single value.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// What it is, with its article, as in `a duration`.
    pub(crate) word: Cow<'static, str>,
    /// How it is written, as a phrase behind "expected".
    pub(crate) expected: String,
    pub(crate) form: Form,
}

/// What a single value looks like to a JSON schema.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Text, a number or a boolean, taken as the text it was written with.
    AnyText,
    /// Text that fits a regular expression.
    Text(&'static str),
    /// A whole number between the two, both included.
    Integer(u64, u64),
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Words(Vec<&'static str>),
}

/// A value that is read from one text.
pub(crate) trait FromText: Sized {
    /// What it looks like.
    fn leaf() -> Leaf;

    /// Reads it from the text as it is after `${…}`; the error is what to do about it, where more than [`Leaf::expected`]
    /// is known.
    fn from_text(text: &str) -> Result<Self, Refusal>;
}

/// Why a text is not what it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What is wrong, in place of "… is not …"; it never quotes the text.
    pub(crate) message: Option<String>,
    /// What to do about it; left out where the text came out of the environment.
    pub(crate) hint: Option<String>,
}

impl Refusal {
    /// No more than that it is not what was expected.
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    /// Says what to do about it.
    pub(crate) fn hint(hint: impl Into<String>) -> Self {
        Self { message: None, hint: Some(hint.into()) }
    }
}

impl<T: FromText> Written for T {
    fn shape(_: &[KnownProvider]) -> Shape {
        Shape::Leaf(T::leaf())
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader.leaf(node)
    }
}

impl<T: Written> Written for Vec<At<T>> {
    fn shape(known: &[KnownProvider]) -> Shape {
        Shape::List(Box::new(T::shape(known)))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader.list(node)
    }
}

/// A value and the place it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) at: Span,
    /// The key it stands under, or the item it is.
    pub(crate) owner: Span,
}

/// What a key of a table came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field<T> {
    /// It is not there.
    Absent,
    /// It is there and wrong, which is noted.
    Broken,
    /// It is there, or its default is.
    Stated(At<T>),
}

impl<T> Field<T> {
    /// The value with its place, where there is one.
    pub(crate) fn stated(&self) -> Option<&At<T>> {
        match self {
            Self::Stated(stated) => Some(stated),
            _ => None,
        }
    }

    /// The value, where there is one.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Stated(stated) => Some(stated.value),
            _ => None,
        }
    }

    /// Whether the key was not written.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// Declares a table of the manifest: a struct, its shape and its reader in one. Doc comments become the reference.
macro_rules! table {
    ($(#[doc = $about:literal])+ $table:ident, $name:literal {
        $($(#[doc = $doc:literal])+ $key:ident: $type:ty, $presence:expr, [$($example:literal),* $(,)?];)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone)]
        pub(crate) struct $table {
            $($(#[doc = $doc])+ pub(crate) $key: $crate::manifest::shape::Field<$type>,)+
        }

        impl $crate::manifest::shape::Written for $table {
            fn shape(known: &[$crate::manifest::known::KnownProvider]) -> $crate::manifest::shape::Shape {
                use $crate::manifest::shape::{Key, Laid, Shape, Table};
                Shape::Table(Table {
                    name: $name.to_owned(),
                    doc: concat!($($about),+).trim().to_owned(),
                    laid: Laid::Alone,
                    keys: vec![$(Key {
                        name: stringify!($key),
                        doc: concat!($($doc),+).trim().to_owned(),
                        presence: $presence,
                        shape: <$type as $crate::manifest::shape::Written>::shape(known),
                        examples: vec![$($example),*],
                    }),+],
                })
            }

            fn read(
                node: &$crate::manifest::tree::Node,
                reader: &mut $crate::manifest::reader::Reader<'_>,
            ) -> Option<Self> {
                let known = reader.known_keys(node, Self::KEYS)?;
                let table = Self::of(node, reader);
                known.then_some(table)
            }
        }

        impl $table {
            /// The keys there are.
            pub(crate) const KEYS: &[&str] = &[$(stringify!($key)),+];

            /// Reads the keys of a map and passes over those that are not known.
            pub(crate) fn of(
                node: &$crate::manifest::tree::Node,
                reader: &mut $crate::manifest::reader::Reader<'_>,
            ) -> Self {
                Self { $($key: reader.field(node, stringify!($key), $presence, &[$($example),*])),+ }
            }
        }
    };
}
pub(crate) use table;

/// Declares an enum whose variants are words of the manifest.
macro_rules! words {
    ($(#[doc = $about:literal])+ $visibility:vis enum $name:ident, $word:literal {
        $($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $crate::manifest::shape::FromText for $name {
            fn leaf() -> $crate::manifest::shape::Leaf {
                let words = vec![$($text),+];
                $crate::manifest::shape::Leaf {
                    word: $word.into(),
                    expected: $crate::manifest::mistake::choices(words.iter().copied()),
                    form: $crate::manifest::shape::Form::Words(words),
                }
            }

            fn from_text(text: &str) -> Result<Self, $crate::manifest::shape::Refusal> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::manifest::shape::Refusal {
                        message: None,
                        hint: $crate::manifest::mistake::did_you_mean(text, [$($text),+]),
                    }),
                }
            }
        }
    };
}
pub(crate) use words;

/// A table that stands for another one it is laid over.
pub(crate) fn laid_over(shape: Shape) -> Shape {
    match shape {
        Shape::Table(table) => Shape::Table(Table {
            name: format!("{}-over", table.name),
            laid: Laid::Over,
            keys: table.keys.into_iter().map(|key| Key { shape: laid_over(key.shape), ..key }).collect(),
            ..table
        }),
        Shape::Names { placeholder, pattern, of } => {
            Shape::Names { placeholder, pattern, of: Box::new(laid_over(*of)) }
        }
        Shape::Forms(forms) => Shape::Forms(forms.into_iter().map(laid_over).collect()),
        // Lists replace: what stands in one is whole.
        whole @ (Shape::Leaf(_) | Shape::List(_) | Shape::Json) => whole,
    }
}

/// A duration as it would be written.
pub(crate) fn spell(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let mut rest = milliseconds;
    let mut text = String::new();
    for (length, unit) in units {
        if rest >= length {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
