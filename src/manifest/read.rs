//! From a request to a deployment, or to everything that is in the way.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use longshore_contract::RunId;

use super::deployment::Deployment;
use super::expand::Expander;
use super::facts::Facts;
use super::known::KnownProvider;
use super::mistake::{Drafts, Mistakes, choices, did_you_mean, quote};
use super::overlay::{Setting, lay_over};
use super::reader::{Pass, Reader};
use super::resolve::{Only, Resolver, Targets};
use super::schema::ManifestTable;
use super::shape::{Field, Written};
use super::source::{Sources, Span};
use super::template::has_slots;
use super::tree::{Kind, Node};
use super::yaml;

/// The largest manifest, in bytes.
const LARGEST: usize = 1024 * 1024;

/// Which manifest to read, and how.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The manifest's file, as the user named it.
    pub file: &'a Path,
    /// What is in it, for those who have read it already; `None` reads the file.
    pub content: Option<&'a [u8]>,
    /// The environment that is laid over it (`--env`).
    pub environment: Option<&'a str>,
    /// `PATH=VALUE`, in order (`--set`).
    pub set: &'a [String],
    /// `FUNCTION` or `FUNCTION@TARGET`; empty for everything (`--only`).
    pub only: &'a [String],
    /// What `${env.…}` and `${git.…}` ask.
    pub facts: &'a dyn Facts,
    /// What `${run.id}` stands for.
    pub run: &'a RunId,
    /// The providers a target may name.
    pub providers: &'a [KnownProvider],
}

/// Reads a manifest. Every mistake in it, and in what was asked of it, is in the answer, by place.
pub fn read(request: &Request<'_>) -> Result<Deployment, Mistakes> {
    let mut sources = Sources::default();
    let mut drafts = Drafts::default();
    let name = request.file.to_string_lossy();
    let tree = match text(request) {
        Ok(text) => {
            let source = sources.add(&name, text.trim_start_matches('\u{feff}'));
            parse(source, &sources, &mut drafts)
        }
        Err(unreadable) => {
            let source = sources.add(&name, &unreadable.text);
            let end = u32::try_from(unreadable.text.len()).unwrap_or(0);
            let at = match unreadable.place {
                Some((line, column)) => Span { source, line, column, start: end, end },
                None => Span::whole(source),
            };
            drafts.add(at, unreadable.message).hint_if(unreadable.hint);
            None
        }
    };
    let Some(tree) = tree else { return Err(drafts.finish(&sources)) };
    let schema = ManifestTable::shape(request.providers);
    let settings: Vec<Setting> = request
        .set
        .iter()
        .filter_map(|text| {
            let source = sources.add("--set", text);
            Setting::read(source, &sources, &schema, &mut drafts)
        })
        .collect();
    hide_secrets(&tree, &mut sources);
    settings.iter().for_each(|setting| hide_secrets(&setting.tree(), &mut sources));
    let environment = request.environment.map(|name| (name, sources.add("--env", name)));
    let only: Vec<Only> = request.only.iter().map(|text| read_only(text, &mut sources)).collect();
    let directory = directory_of(request.file);
    let expander = Expander::new(request.facts, request.run);
    let mut reader = Reader::new(drafts, &sources, request.providers, expander);
    let resolved = resolve(tree, &settings, environment, &only, &directory, &mut reader);
    match resolved {
        Some(deployment) if reader.drafts.is_empty() => Ok(deployment),
        _ => Err(reader.drafts.finish(&sources)),
    }
}

fn resolve(
    mut tree: Node,
    settings: &[Setting],
    environment: Option<(&str, u16)>,
    only: &[Only],
    directory: &Path,
    reader: &mut Reader<'_>,
) -> Option<Deployment> {
    let parts = read_as(Pass::Part, &tree, reader)?;
    if let Some((name, source)) = environment {
        match parts.environments {
            Field::Stated(environments) => {
                let entries = environments.value.entries;
                match entries.iter().find(|(key, _)| key.value == name) {
                    Some((_, environment)) => lay_over(&mut tree, &environment.value.node),
                    None => unknown_environment(
                        name,
                        source,
                        entries.iter().map(|(key, _)| key.value.as_str()),
                        reader,
                    ),
                }
            }
            Field::Absent => unknown_environment(name, source, std::iter::empty(), reader),
            Field::Broken => {}
        }
    }
    for setting in settings {
        setting.apply(&mut tree, &mut reader.drafts);
    }
    let parts = read_as(Pass::Part, &tree, reader)?;
    if let Some(vars) = parts.vars.stated() {
        let entries = vars.value.entries.iter().map(|(name, value)| (name.value.as_str(), &value.value.node));
        reader.expander.define(entries, reader.sources, &mut reader.drafts);
    }
    let table = read_as(Pass::Whole, &tree, reader)?;
    let name = table.name.value().map(|name| name.0);
    if let Some(targets) = table.targets.stated().filter(|targets| targets.value.entries.is_empty()) {
        reader.drafts.add(targets.owner, "there is no target").hint("add one: `here: { provider: local }`");
    }
    if let Some(functions) = table.functions.stated().filter(|functions| functions.value.entries.is_empty()) {
        reader
            .drafts
            .add(functions.owner, "there is no function")
            .hint("add one: `checkout: { image: oci:image }`");
    }
    let functions = table.functions.value().map(|functions| functions.entries).unwrap_or_default();
    let targets = table.targets.value().map(Targets::new);
    let mut resolver = Resolver { reader, directory, name: name.clone(), targets, only };
    let units = resolver.units(functions);
    table.version.value()?;
    Some(Deployment { name: name?, directory: directory.to_owned(), ledger: table.ledger.value()?, units })
}

/// Reads what is known at the top, whatever stands beside it.
fn read_as(pass: Pass, tree: &Node, reader: &mut Reader<'_>) -> Option<ManifestTable> {
    reader.during(pass, |reader| {
        reader.known_keys(tree, ManifestTable::KEYS)?;
        Some(ManifestTable::of(tree, reader))
    })
}

fn unknown_environment<'n>(
    name: &str,
    source: u16,
    known: impl Iterator<Item = &'n str>,
    reader: &mut Reader<'_>,
) {
    let known: Vec<&str> = known.collect();
    let at = Span { end: u32::try_from(name.len()).unwrap_or(1), ..Span::first(source) };
    let remarks = reader.drafts.add(at, format!("there is no environment {}", quote(name)));
    if known.is_empty() {
        remarks.hint("the manifest has no `environments:`");
    } else {
        remarks.expected(choices(known.iter().copied().take(30))).hint_if(did_you_mean(name, known));
    }
}

fn read_only(text: &str, sources: &mut Sources) -> Only {
    let source = sources.add("--only", text);
    let at = Span { end: u32::try_from(text.len()).unwrap_or(1), ..Span::first(source) };
    match text.split_once('@') {
        Some((function, target)) => {
            Only { function: function.to_owned(), target: Some(target.to_owned()), at }
        }
        None => Only { function: text.to_owned(), target: None, at },
    }
}

fn parse(source: u16, sources: &Sources, drafts: &mut Drafts) -> Option<Node> {
    let before = drafts.count();
    let tree = yaml::parse(sources.text(source), Span::first(source), drafts);
    let empty = tree.as_ref().is_none_or(|tree| tree.describe() == "nothing");
    if empty && drafts.count() == before {
        drafts
            .add(Span::whole(source), "the manifest is empty")
            .hint("`longshore init` writes one to begin with");
    }
    tree.filter(|_| !empty)
}

/// Keeps the values of every `environment:` out of excerpts, but for those that only say where a value comes from, and
/// every address that has a user or a password.
fn hide_secrets(node: &Node, sources: &mut Sources) {
    match &node.kind {
        // A password in an address, which is refused.
        Kind::Scalar(scalar) => {
            if scalar.text.split_once("://").is_some_and(|(_, rest)| rest.contains('@')) {
                sources.hide(node.at);
            }
        }
        Kind::List(items) => items.iter().for_each(|item| hide_secrets(item, sources)),
        Kind::Map(entries) => {
            for entry in entries {
                if entry.key == "environment" {
                    hide(&entry.value, sources);
                }
                hide_secrets(&entry.value, sources);
            }
        }
    }
}

fn hide(node: &Node, sources: &mut Sources) {
    match &node.kind {
        Kind::Scalar(scalar) if has_slots(&scalar.text) => {}
        Kind::Scalar(_) => sources.hide(node.at),
        Kind::List(items) => items.iter().for_each(|item| hide(item, sources)),
        Kind::Map(entries) => entries.iter().for_each(|entry| hide(&entry.value, sources)),
    }
}

/// The directory of a file, absolute as far as that can be known.
fn directory_of(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let absolute = std::path::absolute(parent).unwrap_or_else(|_| parent.to_owned());
    absolute.components().collect()
}

struct Unreadable {
    message: String,
    hint: Option<String>,
    /// The line and column, where it is about a place.
    place: Option<(u32, u32)>,
    /// What could be read before that place.
    text: String,
}

fn text(request: &Request<'_>) -> Result<String, Unreadable> {
    let whole = |message: String, hint: Option<&str>| Unreadable {
        message,
        hint: hint.map(str::to_owned),
        place: None,
        text: String::new(),
    };
    let bytes = match request.content {
        Some(content) => content.iter().copied().take(LARGEST + 1).collect(),
        None => bytes_of(request.file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => whole(
                "there is no such file".to_owned(),
                Some("`longshore init` writes a manifest, `-f FILE` names another one"),
            ),
            std::io::ErrorKind::IsADirectory => whole(
                "this is a directory, not a manifest".to_owned(),
                Some("name the file in it with `-f FILE`"),
            ),
            _ => whole(format!("the file cannot be read: {error}"), None),
        })?,
    };
    if bytes.len() > LARGEST {
        return Err(whole(format!("a manifest has at most {} MiB", LARGEST >> 20), None));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        let (line, column) = yaml::line_and_column(&text, text.len());
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Unreadable {
            message: "this byte is not UTF-8".to_owned(),
            hint: Some("save the file as UTF-8".to_owned()),
            place: Some((small(line), small(column))),
            text,
        }
    })
}

fn bytes_of(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe that nobody writes to would be waited for; opened so, it is not, and it is no manifest.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(file)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    file.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
