//! The manifest's schema for editors: JSON Schema 2020-12, made from the same shapes that the reader reads by.

use serde_json::{Map, Value, json};

use super::known::KnownProvider;
use super::mistake::Drafts;
use super::schema::ManifestTable;
use super::shape::{Form, Key, Laid, Leaf, Presence, Shape, Table, Written};
use super::source::Span;
use super::tree::{Kind, Node, Style};
use super::yaml;

/// The JSON schema of a manifest whose targets name one of `providers`.
pub fn json_schema(providers: &[KnownProvider]) -> Value {
    let mut definitions = Map::new();
    let root = of(&ManifestTable::shape(providers), &mut definitions);
    definitions.insert("looked-up".to_owned(), json!({ "type": "string", "pattern": "\\$\\{" }));
    definitions.sort_keys();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Longshore manifest",
        "$ref": root["$ref"],
        "$defs": definitions,
    })
}

/// The schema of one shape; tables go into `definitions` and are referred to.
fn of(shape: &Shape, definitions: &mut Map<String, Value>) -> Value {
    match shape {
        Shape::Leaf(leaf) => of_leaf(leaf),
        Shape::List(item) => json!({ "type": "array", "items": of(item, definitions) }),
        Shape::Names { pattern, of: value, .. } => {
            let value = of(value, definitions);
            match *pattern {
                "" => json!({ "type": "object", "additionalProperties": value }),
                pattern => json!({
                    "type": "object",
                    "propertyNames": { "pattern": pattern },
                    "additionalProperties": value,
                }),
            }
        }
        Shape::Forms(forms) => {
            let forms: Vec<Value> = forms.iter().map(|form| of(form, definitions)).collect();
            json!({ "anyOf": forms })
        }
        Shape::Json => json!(true),
        Shape::Table(table) => {
            if !definitions.contains_key(&table.name) {
                // Taken first, so that a table is described once.
                definitions.insert(table.name.clone(), Value::Null);
                let described = of_table(table, definitions);
                definitions.insert(table.name.clone(), described);
            }
            json!({ "$ref": format!("#/$defs/{}", table.name) })
        }
    }
}

fn of_table(table: &Table, definitions: &mut Map<String, Value>) -> Value {
    let properties: Map<String, Value> =
        table.keys.iter().map(|key| (key.name.to_owned(), of_key(key, table.laid, definitions))).collect();
    let required: Vec<&str> = table
        .keys
        .iter()
        .filter(|key| {
            key.presence == Presence::Required && (table.laid == Laid::Alone || key.name == "target")
        })
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "description": table.doc,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn of_key(key: &Key, laid: Laid, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = of(&key.shape, definitions);
    if laid == Laid::Over {
        schema = json!({ "anyOf": [schema, { "type": "null" }] });
    }
    if schema == json!(true) {
        schema = json!({});
    }
    schema["description"] = match key.presence {
        Presence::Required | Presence::Default(_) => json!(key.doc),
        Presence::Otherwise(otherwise) => json!(format!("{} Without it: {otherwise}.", key.doc)),
    };
    if let Presence::Default(default) = key.presence {
        schema["default"] = example(default);
    }
    let examples: Vec<Value> = key.examples.iter().map(|text| example(text)).collect();
    if !examples.is_empty() {
        schema["examples"] = Value::Array(examples);
    }
    schema
}

/// A value as an editor would read it from the text in the schema.
fn example(text: &str) -> Value {
    let node = yaml::parse(text, Span::first(0), &mut Drafts::default());
    node.map_or(Value::Null, |node| to_json(&node))
}

/// A tree as JSON, by YAML's core schema and with every `${…}` as it stands.
pub(crate) fn to_json(node: &Node) -> Value {
    match &node.kind {
        Kind::List(items) => items.iter().map(to_json).collect(),
        Kind::Map(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), to_json(&entry.value))).collect()
        }
        Kind::Scalar(scalar) if scalar.is_nothing() => Value::Null,
        Kind::Scalar(scalar) if scalar.style == Style::Quoted => Value::from(scalar.text.as_str()),
        Kind::Scalar(scalar) => super::value::json(&scalar.text),
    }
}

fn of_leaf(leaf: &Leaf) -> Value {
    let looked_up = json!({ "$ref": "#/$defs/looked-up" });
    match &leaf.form {
        Form::AnyText => json!({ "type": ["string", "number", "boolean"] }),
        Form::Text(pattern) => json!({ "type": "string", "pattern": format!("{pattern}|\\$\\{{") }),
        Form::Integer(least, most) => {
            json!({ "anyOf": [{ "type": "integer", "minimum": least, "maximum": most }, looked_up] })
        }
        Form::Boolean => json!({ "anyOf": [{ "type": "boolean" }, looked_up] }),
        Form::Words(words) => json!({ "anyOf": [{ "enum": words }, looked_up] }),
    }
}
