//! Keys that take one of several forms, and tables that are another table with a key more.

use longshore_contract::Secret;

use super::deployment::Build;
use super::image::ImageText;
use super::known::KnownProvider;
use super::reader::{Pass, Reader};
use super::schema::{AssembleForm, AssembleTable, EndpointTable, FunctionTable};
use super::shape::{At, Field, Key, Laid, Presence, Shape, Table, Written, laid_over};
use super::source::Span;
use super::tree::{Kind, Node};

impl Written for Build {
    fn shape(known: &[KnownProvider]) -> Shape {
        String::shape(known)
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let command = String::read(node, reader)?;
        let shown = match &node.kind {
            Kind::Scalar(scalar) => scalar.text.clone(),
            Kind::List(_) | Kind::Map(_) => String::new(),
        };
        Some(Self { shown, command: Secret::new(command) })
    }
}

/// An image: in one text, or put together.
#[derive(Debug, Clone)]
pub(crate) enum ImageForm {
    Text(Box<ImageText>),
    Assemble(Box<AssembleTable>, Span),
}

impl Written for ImageForm {
    fn shape(known: &[KnownProvider]) -> Shape {
        Shape::Forms(vec![ImageText::shape(known), AssembleForm::shape(known)])
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.kind, Kind::Map(_)) {
            return ImageText::read(node, reader).map(|text| Self::Text(Box::new(text)));
        }
        let at = node.entry("assemble").map_or(node.at, |entry| entry.key_at);
        let table = AssembleForm::read(node, reader)?.assemble.value()?;
        Some(Self::Assemble(Box::new(table), at))
    }
}

/// An address: in one text, or with what it takes to trust it.
#[derive(Debug, Clone)]
pub(crate) struct EndpointForm(pub(crate) EndpointTable);

impl Written for EndpointForm {
    fn shape(known: &[KnownProvider]) -> Shape {
        Shape::Forms(vec![super::endpoint::Url::shape(known), EndpointTable::shape(known)])
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if matches!(node.kind, Kind::Map(_)) {
            return EndpointTable::read(node, reader).map(Self);
        }
        let url = super::endpoint::Url::read(node, reader)?;
        let url = Field::Stated(At { value: url, at: node.at, owner: node.at });
        Some(Self(EndpointTable { url, plain_http: Field::Absent, ca: Field::Absent }))
    }
}

/// A function with the targets it goes to.
#[derive(Debug, Clone)]
pub(crate) struct FunctionEntry {
    pub(crate) targets: Field<Vec<At<TargetUse>>>,
}

const TARGETS: &str = "targets";
const TARGETS_PRESENCE: Presence = Presence::Otherwise("the manifest's only target");

impl Written for FunctionEntry {
    fn shape(known: &[KnownProvider]) -> Shape {
        let Shape::Table(mut table) = FunctionTable::shape(known) else { return FunctionTable::shape(known) };
        let after_platform = table.keys.iter().position(|key| key.name == "name").unwrap_or(0);
        table.keys.insert(
            after_platform,
            Key {
                name: TARGETS,
                doc: "The targets the function goes to. An item is a target's name, or a map with `target` and any \
                      keys of the function that are different there: maps merge, lists and single values replace, \
                      and `null` takes a key away."
                    .to_owned(),
                presence: TARGETS_PRESENCE,
                shape: Vec::<At<TargetUse>>::shape(known),
                examples: vec!["[ here, { target: there, config: { memory: 1GiB } } ]"],
            },
        );
        Shape::Table(table)
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let keys: Vec<&str> = FunctionTable::KEYS.iter().copied().chain([TARGETS]).collect();
        reader.known_keys(node, &keys)?;
        let targets = reader.field(node, TARGETS, TARGETS_PRESENCE, &[]);
        if reader.pass() != Pass::Whole {
            FunctionTable::of(node, reader);
        }
        Some(Self { targets })
    }
}

/// A target that a function goes to, and what is different there.
#[derive(Debug, Clone)]
pub(crate) struct TargetUse {
    pub(crate) target: At<String>,
    /// Keys of the function, as they are laid over it.
    pub(crate) over: Node,
}

const TARGET: &str = "target";

impl Written for TargetUse {
    fn shape(known: &[KnownProvider]) -> Shape {
        let name = String::shape(known);
        let Shape::Table(function) = laid_over(FunctionTable::shape(known)) else { return name };
        let target = Key {
            name: TARGET,
            doc: "The target's name.".to_owned(),
            presence: Presence::Required,
            shape: String::shape(known),
            examples: vec!["there"],
        };
        let keys = std::iter::once(target).chain(function.keys).collect();
        let doc = "A target and the function's keys that are different there.".to_owned();
        Shape::Forms(vec![
            name,
            Shape::Table(Table { name: "target-use".to_owned(), doc, keys, laid: Laid::Over }),
        ])
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            let target = At { value: String::read(node, reader)?, at: node.at, owner: node.at };
            return Some(Self { target, over: Node { at: node.at, kind: Kind::Map(Vec::new()) } });
        };
        let keys: Vec<&str> = [TARGET].into_iter().chain(FunctionTable::KEYS.iter().copied()).collect();
        reader.known_keys(node, &keys)?;
        let target = match node.entry(TARGET) {
            Some(entry) => reader
                .inside(entry.key_at, TARGET, |reader| String::read(&entry.value, reader))
                .map(|value| At { value, at: entry.value.at, owner: entry.key_at }),
            None => {
                let owner = reader.owner();
                reader
                    .drafts
                    .add(owner, "this item does not say which target it is for")
                    .expected("a target's name, or a map with the key `target`");
                None
            }
        };
        if reader.pass() != Pass::Whole {
            reader.during(Pass::Over, |reader| FunctionTable::of(node, reader));
        }
        let over = entries.iter().filter(|entry| entry.key != TARGET).cloned().collect();
        Some(Self { target: target?, over: Node { at: node.at, kind: Kind::Map(over) } })
    }
}
