//! A target's table: what its provider takes decides which keys it has.

use std::collections::BTreeMap;

use longshore_contract::{Service, SettingKey, SettingKind, Settings};
use serde_json::Value;

use super::expand::Origin;
use super::known::KnownProvider;
use super::mistake::{choices, did_you_mean};
use super::reader::{Pass, Reader};
use super::schema::EndpointsTable;
use super::shape::{Form, Key, Laid, Leaf, Presence, Shape, Table, Written};
use super::tree::Node;

const PROVIDER: &str = "provider";
const ENDPOINTS: &str = "endpoints";

/// A target: its provider, what that takes, and where its services are reached.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) provider: &'static str,
    values: BTreeMap<String, Value>,
    endpoints: Option<EndpointsTable>,
}

impl Written for Target {
    fn shape(known: &[KnownProvider]) -> Shape {
        let mut tables: Vec<Shape> = known.iter().map(|provider| table_of(provider, known)).collect();
        match tables.len() {
            1 => tables.remove(0),
            _ => Shape::Forms(tables),
        }
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader.map(node)?;
        let provider = provider_of(node, reader)?;
        let settings: Vec<&SettingKey> = match provider {
            Some(provider) => provider.settings.iter().collect(),
            // Laid over a target whose provider is stated elsewhere: any provider's key may be meant.
            None => reader.known.iter().flat_map(|provider| provider.settings).collect(),
        };
        let mut values = BTreeMap::new();
        read_settings(node, "", &settings, &[PROVIDER, ENDPOINTS], &mut values, reader);
        let endpoints = reader.field::<EndpointsTable>(node, ENDPOINTS, ENDPOINTS_PRESENCE, &[]);
        Some(Self { provider: provider?.name, values, endpoints: endpoints.value() })
    }
}

impl Target {
    /// The settings for the target called `name`, with the paths in endpoints absolute.
    pub(crate) fn settings(
        &self,
        name: &str,
        directory: &std::path::Path,
        reader: &mut Reader<'_>,
    ) -> Settings {
        let mut endpoints = BTreeMap::new();
        if let Some(table) = self.endpoints.clone() {
            for service in Service::ALL {
                let field = match service {
                    Service::Functions => &table.functions,
                    Service::RegistryApi => &table.registry_api,
                    Service::Registry => &table.registry,
                    Service::Scanner => &table.scanner,
                    Service::Metrics => &table.metrics,
                    Service::Identity => &table.identity,
                };
                let stated = field.stated().map(|stated| stated.value.0.clone());
                let endpoint = stated.and_then(|table| table.resolve(directory, &mut reader.drafts));
                endpoints.extend(endpoint.map(|endpoint| (service, endpoint)));
            }
        }
        let values = self.values.clone();
        Settings { target: name.to_owned(), values, endpoints, directory: directory.to_owned() }
    }
}

const ENDPOINTS_PRESENCE: Presence = Presence::Otherwise("the usual addresses");

fn provider_leaf(known: &[KnownProvider]) -> Leaf {
    let names: Vec<&'static str> = known.iter().map(|provider| provider.name).collect();
    Leaf { word: "a provider".into(), expected: choices(names.iter().copied()), form: Form::Words(names) }
}

/// The target's provider; `Some(None)` where a part does not say, `None` where that was a mistake.
fn provider_of<'a>(node: &Node, reader: &mut Reader<'a>) -> Option<Option<&'a KnownProvider>> {
    let known = reader.known;
    let Some(entry) = node.entry(PROVIDER) else {
        if reader.pass() != Pass::Whole {
            return Some(None);
        }
        reader.lacks(PROVIDER).expected(choices(known.iter().map(|provider| provider.name)));
        return None;
    };
    if reader.pass() == Pass::Over && entry.value.is_null() {
        return Some(None);
    }
    let leaf = provider_leaf(known);
    let text = reader.inside(entry.key_at, PROVIDER, |reader| reader.text(&entry.value, &leaf));
    let Some(text) = text else {
        return if reader.pass() == Pass::Whole { None } else { Some(None) };
    };
    let found = known.iter().find(|provider| provider.name == text.text);
    if found.is_none() {
        let hint = did_you_mean(&text.text, known.iter().map(|provider| provider.name));
        reader
            .drafts
            .add(entry.value.at, "there is no such provider")
            .expected(leaf.expected)
            .hint_if(hint.filter(|_| text.origin != Origin::Environment));
    }
    found.map(Some)
}

/// Reads the settings whose names begin with `prefix`; `others` are keys that somebody else reads.
fn read_settings(
    node: &Node,
    prefix: &str,
    settings: &[&SettingKey],
    others: &[&str],
    values: &mut BTreeMap<String, Value>,
    reader: &mut Reader<'_>,
) {
    let heads = heads(settings, prefix);
    let keys: Vec<&str> = others.iter().copied().chain(heads.iter().map(|(head, _)| *head)).collect();
    if reader.known_keys(node, &keys).is_none() {
        return;
    }
    for (head, setting) in heads {
        let name = format!("{prefix}{head}");
        let entry = node.entry(head);
        match (entry, setting) {
            (Some(entry), _) if reader.pass() == Pass::Over && entry.value.is_null() => {}
            (Some(entry), Some(setting)) => {
                let value = reader
                    .inside(entry.key_at, head, |reader| read_setting(&entry.value, setting.kind, reader));
                values.extend(value.map(|value| (name, value)));
            }
            (Some(entry), None) => reader.inside(entry.key_at, head, |reader| {
                read_settings(&entry.value, &format!("{name}."), settings, &[], values, reader);
            }),
            (None, Some(setting)) => {
                if matches!(setting.kind, SettingKind::Required) && reader.pass() == Pass::Whole {
                    reader.lacks(head).hint(setting.doc);
                }
            }
            (None, None) => {
                let nested = Node { at: node.at, kind: super::tree::Kind::Map(Vec::new()) };
                let owner = reader.owner();
                reader.inside(owner, head, |reader| {
                    read_settings(&nested, &format!("{name}."), settings, &[], values, reader);
                });
            }
        }
    }
}

/// The keys beneath `prefix`, each with its setting, or with nothing where it is a table of settings.
fn heads<'s>(settings: &[&'s SettingKey], prefix: &str) -> Vec<(&'static str, Option<&'s SettingKey>)> {
    let mut heads: Vec<(&'static str, Option<&SettingKey>)> = Vec::new();
    for setting in settings {
        let Some(rest) = setting.name.strip_prefix(prefix) else { continue };
        let (head, setting) = match rest.split_once('.') {
            Some((head, _)) => (head, None),
            None => (rest, Some(*setting)),
        };
        if !heads.iter().any(|(known, _)| *known == head) {
            heads.push((head, setting));
        }
    }
    heads
}

fn leaf_of(kind: SettingKind) -> Leaf {
    match kind {
        SettingKind::Text | SettingKind::Required => {
            Leaf { word: "text".into(), expected: String::new(), form: Form::AnyText }
        }
        SettingKind::Path => Leaf {
            word: "a path".into(),
            expected: "a path, relative to the manifest".to_owned(),
            form: Form::AnyText,
        },
        SettingKind::OneOf(words) => Leaf {
            word: "one of its words".into(),
            expected: choices(words.iter().copied()),
            form: Form::Words(words.to_vec()),
        },
        SettingKind::Number(least, most) => Leaf {
            word: format!("a whole number from {least} to {most}").into(),
            expected: String::new(),
            form: Form::Integer(least, most),
        },
    }
}

fn read_setting(node: &Node, kind: SettingKind, reader: &mut Reader<'_>) -> Option<Value> {
    let leaf = leaf_of(kind);
    let read = |text: &str| match kind {
        SettingKind::Text | SettingKind::Required | SettingKind::Path => {
            (!text.is_empty()).then(|| Value::from(text))
        }
        SettingKind::OneOf(words) => words.contains(&text).then(|| Value::from(text)),
        SettingKind::Number(least, most) => {
            let number = text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
            number.filter(|number| (least..=most).contains(number)).map(Value::from)
        }
    };
    reader.leaf_with(node, &leaf, |text| read(text).ok_or_else(super::shape::Refusal::plain))
}

fn table_of(provider: &KnownProvider, known: &[KnownProvider]) -> Shape {
    let settings: Vec<&SettingKey> = provider.settings.iter().collect();
    let mut keys = vec![Key {
        name: PROVIDER,
        doc: "Which cloud it is.".to_owned(),
        presence: Presence::Required,
        shape: Shape::Leaf(Leaf {
            form: Form::Words(vec![provider.name]),
            expected: format!("`{}`", provider.name),
            word: "a provider".into(),
        }),
        examples: vec![provider.name],
    }];
    keys.extend(setting_keys(&settings, "", provider.name));
    keys.push(Key {
        name: ENDPOINTS,
        doc: "Where its services are reached, in place of their usual addresses.".to_owned(),
        presence: ENDPOINTS_PRESENCE,
        shape: EndpointsTable::shape(known),
        examples: vec!["{ registry: https://mirror.example:5000 }"],
    });
    let doc = format!(
        "A target whose provider is `{}`: {}.",
        provider.name,
        provider.summary.trim_end_matches('.')
    );
    Shape::Table(Table { name: format!("target-{}", provider.name), doc, keys, laid: Laid::Alone })
}

fn setting_keys(settings: &[&SettingKey], prefix: &str, provider: &str) -> Vec<Key> {
    let key = |(head, setting): (&'static str, Option<&SettingKey>)| match setting {
        Some(setting) => Key {
            name: head,
            doc: setting.doc.to_owned(),
            presence: match setting.kind {
                SettingKind::Required => Presence::Required,
                _ => Presence::Otherwise("the provider decides"),
            },
            shape: Shape::Leaf(leaf_of(setting.kind)),
            examples: vec![setting.example],
        },
        None => {
            let keys = setting_keys(settings, &format!("{prefix}{head}."), provider);
            let required = keys.iter().any(|key| key.presence == Presence::Required);
            let name = format!("target-{provider}-{prefix}{head}").replace('.', "-");
            let doc = format!("The settings under `{prefix}{head}`.");
            Key {
                name: head,
                doc: doc.clone(),
                presence: if required {
                    Presence::Required
                } else {
                    Presence::Otherwise("the provider decides")
                },
                shape: Shape::Table(Table { name, doc, keys, laid: Laid::Alone }),
                examples: Vec::new(),
            }
        }
    };
    heads(settings, prefix).into_iter().map(key).collect()
}
