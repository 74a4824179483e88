//! What ties the schema, the reader, the JSON schema, the example and the reference together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use longshore_contract::RunId;

use super::expand::Expander;
use super::facts::{Facts, GitFact};
use super::json_schema::{json_schema, to_json};
use super::known::KnownProvider;
use super::mistake::Drafts;
use super::read::{Request, read};
use super::reader::{Pass, Reader};
use super::schema::ManifestTable;
use super::shape::{Key, Laid, Presence, Shape, Table, Written};
use super::source::{Sources, Span};
use super::tree::{Kind, Node};
use super::yaml;

mod validator;

/// What this program was built with: the reference and the example tell of the same clouds as `longshore schema`.
static LOCAL: LazyLock<Vec<KnownProvider>> =
    LazyLock::new(|| crate::providers::registrations().iter().map(KnownProvider::from).collect());

struct Nowhere;

impl Facts for Nowhere {
    fn variable(&self, _: &str) -> Option<std::ffi::OsString> {
        None
    }

    fn git(&self, _: GitFact) -> Result<String, String> {
        Ok("3f9a61c0b2de".to_owned())
    }
}

fn run() -> RunId {
    "01J8Z0B4Q5W6X7Y8Z9A0B1C2D3".parse().unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tree(text: &str) -> Node {
    let mut drafts = Drafts::default();
    let tree = yaml::parse(text, Span::first(0), &mut drafts);
    assert!(drafts.is_empty(), "{}", drafts.finish(&Sources::default()));
    tree.expect("a document")
}

fn resolve(text: &str) -> Result<String, String> {
    let request = Request {
        file: Path::new("deploy.yaml"),
        content: Some(text.as_bytes()),
        environment: None,
        set: &[],
        only: &[],
        facts: &Nowhere,
        run: &run(),
        providers: &LOCAL,
    };
    read(&request).map(|deployment| format!("{deployment:#?}")).map_err(|mistakes| mistakes.to_string())
}

/// Every table of the schema, with a way there for messages.
fn tables<'s>(shape: &'s Shape, path: &str, found: &mut Vec<(String, &'s Table)>) {
    match shape {
        Shape::Leaf(_) | Shape::Json => {}
        Shape::List(of) => tables(of, &format!("{path}[]"), found),
        Shape::Names { placeholder, of, .. } => tables(of, &format!("{path}.{placeholder}"), found),
        Shape::Forms(forms) => forms.iter().for_each(|form| tables(form, path, found)),
        Shape::Table(table) => {
            found.push((path.to_owned(), table));
            table.keys.iter().for_each(|key| tables(&key.shape, &format!("{path}.{}", key.name), found));
        }
    }
}

/// A manifest in which the value at `path` (placeholders and `[]` included) is `value`, and nothing else is.
fn nested(path: &str, value: &str) -> String {
    path.split('.').filter(|part| !part.is_empty()).rev().fold(value.to_owned(), |inner, part| {
        let (key, depth) = (part.trim_end_matches("[]"), part.matches("[]").count());
        // An item of `targets` says which target it is for.
        let target =
            if part == "targets[]" && !inner.starts_with("{ target:") { "target: here, " } else { "" };
        let inner = inner.replacen("{ ", &format!("{{ {target}"), usize::from(!target.is_empty()));
        format!("{{ {key}: {}{inner}{} }}", "[ ".repeat(depth), " ]".repeat(depth))
    })
}

#[test]
fn every_key_says_what_it_means_and_shows_how_it_is_written() {
    let schema = ManifestTable::shape(&LOCAL);
    let mut found = Vec::new();
    tables(&schema, "", &mut found);
    for (path, table) in found {
        assert!(table.doc.ends_with('.'), "{path}: {:?}", table.doc);
        for key in &table.keys {
            assert!(key.doc.ends_with('.') && key.doc.len() > 5, "{path}.{}: {:?}", key.name, key.doc);
            assert!(!key.examples.is_empty(), "{path}.{} has no example", key.name);
        }
    }
}

#[test]
fn every_example_of_the_schema_is_read_without_a_mistake() {
    let schema = ManifestTable::shape(&LOCAL);
    let mut found = Vec::new();
    tables(&schema, "", &mut found);
    let mut examples = 0;
    for (path, table) in found {
        for key in &table.keys {
            let defaults = match key.presence {
                Presence::Default(text) => vec![text],
                _ => vec![],
            };
            for example in key.examples.iter().copied().chain(defaults) {
                let text = nested(&path, &format!("{{ {}: {example} }}", key.name));
                let mut sources = Sources::default();
                sources.add("example", &text);
                let (facts, run) = (Nowhere, run());
                let mut reader =
                    Reader::new(Drafts::default(), &sources, &LOCAL, Expander::new(&facts, &run));
                reader.during(Pass::Part, |reader| ManifestTable::read(&tree(&text), reader));
                assert!(reader.drafts.is_empty(), "{}", reader.drafts.finish(&sources));
                examples += 1;
            }
        }
    }
    assert!(examples > 150, "only {examples} examples");
}

#[test]
fn the_json_schema_takes_every_example_and_every_valid_manifest() {
    let schema = json_schema(&LOCAL);
    let definitions = schema["$defs"].as_object().expect("definitions");
    let mut examples = 0;
    for (name, definition) in definitions {
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            for example in property["examples"].as_array().into_iter().flatten() {
                let path = format!("{name}.{key}");
                assert_eq!(validator::validate(&schema, property, example, &path), Vec::<String>::new());
                examples += 1;
            }
        }
    }
    assert!(examples > 100, "only {examples} examples");
    let valid = std::fs::read_dir(root().join("tests/manifests/valid")).expect("the valid manifests");
    let files = valid
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let mut manifests = 0;
    for file in files.chain([root().join("deploy.yaml.example")]) {
        let text = std::fs::read_to_string(&file).expect("a manifest");
        // The other provider of those cases is not known here.
        if !text.contains("elsewhere") {
            let reasons = validator::validate(&schema, &schema, &to_json(&tree(&text)), "");
            assert_eq!(reasons, Vec::<String>::new(), "{}", file.display());
            manifests += 1;
        }
    }
    assert!(manifests >= 7, "only {manifests} manifests");
}

#[test]
fn the_json_schema_refuses_what_the_reader_refuses() {
    let schema = json_schema(&LOCAL);
    let valid = "version: 1\nname: shop\ntargets: { here: { provider: local } }\nfunctions: { a: { image: oci:i } }\n";
    assert_eq!(validator::validate(&schema, &schema, &to_json(&tree(valid)), ""), Vec::<String>::new());
    assert!(resolve(valid).is_ok());
    for (from, to) in [
        ("version: 1", "version: 2"),
        ("version: 1", "version: \"1\""),
        ("name: shop", "nmae: shop"),
        ("name: shop", "name: [shop]"),
        ("provider: local", "provider: lokal"),
        ("provider: local", "state: x"),
        ("provider: local", "provider: local, region: x"),
        ("image: oci:i", "imgae: oci:i"),
        ("image: oci:i", "image: { assemble: { bsae: scratch } }"),
        ("image: oci:i", "image: oci:i, config: { memory: 512 }"),
        ("image: oci:i", "image: oci:i, config: { port: 70000 }"),
        ("image: oci:i", "image: oci:i, config: { timeout: 30 }"),
        ("image: oci:i", "image: oci:i, allow_latest: yes"),
        ("image: oci:i", "image: oci:i, shift: { steps: 5% }"),
        ("image: oci:i", "image: oci:i, shift: { strategy: canary, steps: [5], soak: 5m }"),
        ("image: oci:i", "image: oci:i, scan: { refuse: severe }"),
        ("image: oci:i", "image: oci:i, scan: null"),
        ("image: oci:i", "image: oci:i, targets: [ { config: {} } ]"),
        ("image: oci:i", "image: oci:i, config: { environment: { A-B: x } }"),
    ] {
        let text = valid.replace(from, to);
        assert_ne!(text, valid);
        let reasons = validator::validate(&schema, &schema, &to_json(&tree(&text)), "");
        assert!(!reasons.is_empty(), "the schema takes {text}");
        assert!(resolve(&text).is_err(), "the reader takes {text}");
    }
}

/// Notes which keys of `table` and of all beneath it are in `node`.
fn note_keys(shape: &Shape, node: &Node, seen: &mut BTreeSet<String>) {
    match (shape, &node.kind) {
        (Shape::Table(table), Kind::Map(entries)) => {
            for (key, entry) in entries.iter().filter_map(|entry| Some((find(table, &entry.key)?, entry))) {
                let name = table.name.trim_end_matches("-over");
                seen.insert(format!("{name}.{}", key.name));
                note_keys(&key.shape, &entry.value, seen);
            }
        }
        (Shape::Names { of, .. }, Kind::Map(entries)) => {
            entries.iter().for_each(|entry| note_keys(of, &entry.value, seen));
        }
        (Shape::List(of), Kind::List(items)) => items.iter().for_each(|item| note_keys(of, item, seen)),
        (Shape::Forms(forms), _) => forms.iter().for_each(|form| note_keys(form, node, seen)),
        _ => {}
    }
}

fn find<'t>(table: &'t Table, name: &str) -> Option<&'t Key> {
    table.keys.iter().find(|key| key.name == name)
}

#[test]
fn the_example_is_valid_and_has_every_key_with_a_comment() {
    let text = std::fs::read_to_string(root().join("deploy.yaml.example")).expect("the example");
    resolve(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let schema = ManifestTable::shape(&LOCAL);
    let mut seen = BTreeSet::new();
    note_keys(&schema, &tree(&text), &mut seen);
    let mut found = Vec::new();
    tables(&schema, "", &mut found);
    let own = found.iter().filter(|(_, table)| table.laid == Laid::Alone || table.name == "environment");
    let wanted: BTreeSet<String> = own
        .flat_map(|(_, table)| table.keys.iter().map(move |key| (table, key)))
        .map(|(table, key)| format!("{}.{}", table.name.trim_end_matches("-over"), key.name))
        .collect();
    let missing: Vec<&String> = wanted.difference(&seen).collect();
    assert!(missing.is_empty(), "deploy.yaml.example lacks {missing:?}");
    let comments = text.lines().filter(|line| line.trim_start().starts_with('#')).count();
    assert!(comments * 3 > text.lines().count(), "an example for a newcomer explains");
}

#[test]
fn every_environment_of_the_example_can_be_chosen() {
    let text = std::fs::read_to_string(root().join("deploy.yaml.example")).expect("the example");
    let alone = resolve(&text).expect("valid");
    for name in ["staging", "prod"] {
        let request = Request {
            file: Path::new("deploy.yaml"),
            content: Some(text.as_bytes()),
            environment: Some(name),
            set: &[],
            only: &[],
            facts: &Nowhere,
            run: &run(),
            providers: &LOCAL,
        };
        let deployment = read(&request).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_ne!(format!("{deployment:#?}"), alone, "{name} changes nothing");
    }
}

#[test]
fn the_reference_is_what_the_schema_says() {
    const MARK: &str =
        "<!-- From here on this page is made from the schema: UPDATE_DOCS=1 cargo test writes it. -->\n";
    let file = root().join("docs/manifest.md");
    let page = std::fs::read_to_string(&file).expect("docs/manifest.md");
    let (prose, _) = page.split_once(MARK).expect("the mark in docs/manifest.md");
    let expected = format!("{prose}{MARK}\n{}", super::reference::reference(&LOCAL));
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&file, expected).expect("docs/manifest.md can be written");
    } else {
        assert!(page == expected, "docs/manifest.md is not what the schema says: UPDATE_DOCS=1 writes it");
    }
}

#[test]
fn an_empty_scan_asks_for_what_is_usual() {
    let text = "version: 1\nname: shop\ntargets: { here: { provider: local } }\n\
                functions: { checkout: { image: oci:image, scan: {} } }\n";
    let deployment = resolve(text).unwrap();
    let usual = format!("{:#?}", super::ScanPolicy::usual());
    let words = |text: &str| text.split_whitespace().collect::<String>();
    assert!(words(&deployment).contains(&words(&usual)), "{usual} is not in {deployment}");
}
