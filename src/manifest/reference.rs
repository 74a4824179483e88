//! The manifest's reference for people, made from the same shapes that the reader reads by.

use super::known::KnownProvider;
use super::mistake::lines;
use super::schema::ManifestTable;
use super::shape::{Key, Laid, Leaf, Presence, Shape, Table, Written};

/// The tables of `docs/manifest.md` for a manifest whose targets name one of `providers`, as Markdown.
pub fn reference(providers: &[KnownProvider]) -> String {
    let mut sections = Vec::new();
    collect(&ManifestTable::shape(providers), "", &mut sections);
    lines(sections.into_iter().map(|section| section.text))
}

struct Section {
    table: String,
    text: String,
}

/// Adds a section for every table beneath `shape`, the outer ones first. `path` is how one comes there.
fn collect(shape: &Shape, path: &str, sections: &mut Vec<Section>) {
    match shape {
        Shape::Leaf(_) | Shape::Json => {}
        Shape::List(item) => collect(item, &format!("{path}[]"), sections),
        Shape::Names { placeholder, of, .. } => collect(of, &join(path, placeholder), sections),
        Shape::Forms(forms) => forms.iter().for_each(|form| collect(form, path, sections)),
        // What is laid over a table has the same keys, and its section says so.
        Shape::Table(table) if table.laid == Laid::Over => {}
        Shape::Table(table) if sections.iter().any(|section| section.table == table.name) => {}
        Shape::Table(table) => {
            sections.push(Section { table: table.name.clone(), text: section(table, path) });
            for key in &table.keys {
                collect(&key.shape, &join(path, key.name), sections);
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn section(table: &Table, path: &str) -> String {
    let heading = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
    let title = match path.starts_with("targets.") && !path.contains("endpoints") {
        true => format!("{heading} ({})", table.name.trim_start_matches("target-")),
        false => heading,
    };
    let rows = table.keys.iter().map(row);
    let head = [
        format!("## {title}\n\n{}\n", table.doc),
        "| key | takes | without it | |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    let examples = table
        .keys
        .iter()
        .flat_map(|key| key.examples.iter().map(|example| format!("{}: {example}", key.name)));
    lines(head.into_iter().chain(rows).chain([format!("\n```yaml\n{}```", lines(examples))]))
}

fn row(key: &Key) -> String {
    let without = match key.presence {
        Presence::Required => "**required**".to_owned(),
        Presence::Default(default) => format!("`{default}`"),
        Presence::Otherwise(otherwise) => otherwise.to_owned(),
    };
    let cell = |text: &str| text.replace('|', "\\|");
    format!("| `{}` | {} | {} | {} |", key.name, cell(&takes(&key.shape)), cell(&without), cell(&key.doc))
}

/// What a key takes, in words.
fn takes(shape: &Shape) -> String {
    match shape {
        Shape::Leaf(leaf) => of_leaf(leaf),
        Shape::List(item) => format!("a list of: {}", takes(item)),
        Shape::Names { placeholder, of, .. } => format!("a map from {placeholder} to: {}", takes(of)),
        Shape::Forms(forms) => forms.iter().map(takes).collect::<Vec<_>>().join("; or "),
        Shape::Table(table) if table.name == "target-use" => {
            "a map with `target` and keys of the function".to_owned()
        }
        Shape::Table(table) if table.laid == Laid::Over => "a map, see below".to_owned(),
        Shape::Table(_) => "a map".to_owned(),
        Shape::Json => "any value".to_owned(),
    }
}

fn of_leaf(leaf: &Leaf) -> String {
    if leaf.expected.is_empty() { leaf.word.to_string() } else { leaf.expected.clone() }
}
