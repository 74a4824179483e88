//! Puts values in the place of `${…}`, one scalar at a time and after parsing: a value can never become structure.

use std::collections::HashMap;

use longshore_contract::RunId;

use super::facts::Facts;
use super::mistake::{Drafts, choices, did_you_mean, nearest, quote};
use super::source::{Sources, Span};
use super::template::{GitFact, Malformed, Piece, Slot, parse};
use super::tree::{Kind, Node, Scalar, Style};

/// The longest text one scalar may grow to.
const LONGEST: usize = 64 * 1024;
/// How far all texts together may grow.
const MOST_WORK: usize = 4 * 1024 * 1024;
/// How many variables may use one another in a row.
const DEEPEST: usize = 32;

/// A scalar after `${…}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) style: Style,
    pub(crate) origin: Origin,
}

/// Where a text came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// It was written as it is.
    Written,
    /// Some of it was looked up.
    LookedUp,
    /// Some of it came out of the environment: it is never shown.
    Environment,
}

/// Why a variable has no value.
enum Trouble {
    Circle(Vec<String>),
    TooDeep,
}

#[derive(Debug, Clone, Default)]
struct Expanded {
    text: String,
    from: Option<Origin>,
}

/// Expands scalars with the manifest's variables, the environment, git and the run.
pub(crate) struct Expander<'a> {
    facts: &'a dyn Facts,
    run: &'a RunId,
    variables: HashMap<String, (Scalar, Span)>,
    values: HashMap<String, Option<Expanded>>,
    git: HashMap<GitFact, Result<String, String>>,
    work: usize,
}

impl<'a> Expander<'a> {
    /// An expander that knows no variable yet.
    pub(crate) fn new(facts: &'a dyn Facts, run: &'a RunId) -> Self {
        let (variables, values, git) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { facts, run, variables, values, git, work: 0 }
    }

    /// Takes in the manifest's variables. Circles are told at once, whether anything uses them or not, so that no
    /// expansion meets one.
    pub(crate) fn define<'n>(
        &mut self,
        vars: impl Iterator<Item = (&'n str, &'n Node)>,
        sources: &Sources,
        drafts: &mut Drafts,
    ) {
        let mut names = Vec::new();
        for (name, node) in vars {
            if let Kind::Scalar(scalar) = &node.kind {
                self.variables.insert(name.to_owned(), (scalar.clone(), node.at));
                names.push(name);
            }
        }
        let mut finished = HashMap::new();
        for name in names {
            match self.chain(name, &mut Vec::new(), &mut finished, sources) {
                Ok(_) => continue,
                Err((at, Trouble::Circle(names))) => drafts
                    .add(at, "variables use one another in a circle")
                    .hint(format!("the circle is {}", names.join(" → "))),
                Err((at, Trouble::TooDeep)) => {
                    drafts.add(at, format!("variables use one another more than {DEEPEST} deep here"))
                }
            };
            // One circle is one mistake: behind it nothing more is said about any variable.
            self.values = self.variables.keys().map(|name| (name.clone(), None)).collect();
            return;
        }
    }

    /// How many variables `name` leads through, itself included. `path` is what led here; `finished` has the answers
    /// known so far.
    fn chain<'n>(
        &'n self,
        name: &'n str,
        path: &mut Vec<&'n str>,
        finished: &mut HashMap<&'n str, usize>,
        sources: &Sources,
    ) -> Result<usize, (Span, Trouble)> {
        if let Some(length) = finished.get(name) {
            return Ok(*length);
        }
        let Some((scalar, at)) = self.variables.get(name) else { return Ok(0) };
        path.push(name);
        let mut longest = 0;
        let slots = parse(&scalar.text).into_iter().filter(|piece| !matches!(piece, Piece::Literal(_)));
        for (nth, piece) in slots.enumerate() {
            let Piece::Slot(Slot::Variable(used)) = piece else { continue };
            let Some((used, _)) = self.variables.get_key_value(&used) else { continue };
            if let Some(start) = path.iter().position(|on_path| on_path == used) {
                let circle = path[start..].iter().copied().chain([used.as_str()]).map(str::to_owned);
                return Err((sources.slot(*at, nth), Trouble::Circle(circle.collect())));
            }
            if path.len() < DEEPEST {
                longest = longest.max(self.chain(used, path, finished, sources)?);
            }
            if path.len() + longest.max(1) > DEEPEST {
                return Err((sources.slot(*at, nth), Trouble::TooDeep));
            }
        }
        path.pop();
        finished.insert(name, longest + 1);
        Ok(longest + 1)
    }

    /// The text of `scalar` with every `${…}` looked up; `None` where that was a mistake, which is noted.
    pub(crate) fn expand(
        &mut self,
        scalar: &Scalar,
        at: Span,
        sources: &Sources,
        drafts: &mut Drafts,
    ) -> Option<Text> {
        let expanded = self.pieces(&scalar.text, at, sources, drafts)?;
        let origin = expanded.from.unwrap_or(Origin::Written);
        Some(Text { text: expanded.text, style: scalar.style, origin })
    }

    fn pieces(&mut self, text: &str, at: Span, sources: &Sources, drafts: &mut Drafts) -> Option<Expanded> {
        if !text.contains("${") {
            return Some(Expanded { text: text.to_owned(), from: None });
        }
        let mut whole = Some(Expanded::default());
        let mut nth = 0;
        for piece in parse(text) {
            let part = match piece {
                Piece::Literal(text) => Some(Expanded { text, from: None }),
                Piece::Malformed(malformed) => {
                    malformed_at(&malformed, sources.slot(at, nth), drafts);
                    nth += 1;
                    None
                }
                Piece::Slot(slot) => {
                    let place = sources.slot(at, nth);
                    nth += 1;
                    self.look_up(&slot, place, sources, drafts)
                }
            };
            whole = match (whole, part) {
                (Some(whole), Some(part)) => self.join(whole, &part, at, drafts),
                _ => None,
            };
        }
        whole
    }

    fn join(
        &mut self,
        mut whole: Expanded,
        part: &Expanded,
        at: Span,
        drafts: &mut Drafts,
    ) -> Option<Expanded> {
        self.work = self.work.saturating_add(part.text.len());
        if whole.text.len() + part.text.len() > LONGEST || self.work > MOST_WORK {
            drafts.add(at, format!("with its ${{…}} filled in this grows beyond {} KiB", LONGEST / 1024));
            return None;
        }
        whole.text.push_str(&part.text);
        whole.from = whole.from.max(part.from);
        Some(whole)
    }

    fn look_up(
        &mut self,
        slot: &Slot,
        place: Span,
        sources: &Sources,
        drafts: &mut Drafts,
    ) -> Option<Expanded> {
        let found = |text: String, from: Origin| Some(Expanded { text, from: Some(from) });
        match slot {
            Slot::Run => found(self.run.to_string(), Origin::LookedUp),
            Slot::Environment { name, default } => {
                let value = self.facts.variable(name).map(std::ffi::OsString::into_string);
                match (value, default) {
                    (Some(Err(_)), _) => {
                        drafts.add(place, format!("the environment variable {} is not UTF-8", quote(name)));
                        None
                    }
                    // As in the shell, an empty variable takes the default as well.
                    (Some(Ok(value)), Some(_)) if !value.is_empty() => found(value, Origin::Environment),
                    (_, Some(default)) => found(default.clone(), Origin::LookedUp),
                    (Some(Ok(value)), None) => found(value, Origin::Environment),
                    (None, None) => {
                        drafts
                            .add(place, format!("the environment variable {} is not set", quote(name)))
                            .hint(format!("set it, or state a default: ${{env.{name}:-…}}"));
                        None
                    }
                }
            }
            Slot::Git(fact) => {
                let facts = self.facts;
                match self.git.entry(*fact).or_insert_with(|| facts.git(*fact)) {
                    Ok(value) => {
                        let value = value.clone();
                        found(value, Origin::LookedUp)
                    }
                    Err(why) => {
                        drafts.add(place, format!("git does not know this: {why}"));
                        None
                    }
                }
            }
            Slot::Variable(name) => {
                if let Some(value) = self.values.get(name) {
                    return value.clone().map(as_looked_up);
                }
                let Some((scalar, at)) = self.variables.get(name).cloned() else {
                    unknown_variable(name, self.variables.keys().map(String::as_str), place, drafts);
                    return None;
                };
                let value = self.pieces(&scalar.text, at, sources, drafts);
                self.values.insert(name.clone(), value.clone());
                value.map(as_looked_up)
            }
        }
    }
}

fn as_looked_up(expanded: Expanded) -> Expanded {
    Expanded { from: expanded.from.max(Some(Origin::LookedUp)), ..expanded }
}

fn unknown_variable<'n>(name: &str, known: impl Iterator<Item = &'n str>, place: Span, drafts: &mut Drafts) {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    let hint = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| match known.len() {
        0 => "the manifest has no `vars:`".to_owned(),
        _ => format!("there is {}", choices(known.iter().copied().take(20))),
    });
    drafts.add(place, format!("there is no variable {}", quote(name))).hint(hint);
}

/// Notes every `${…}` of a text that could not be understood whatever the values are.
pub(crate) fn check(text: &str, at: Span, sources: &Sources, drafts: &mut Drafts) {
    let slots = parse(text).into_iter().filter(|piece| !matches!(piece, Piece::Literal(_)));
    for (nth, piece) in slots.enumerate() {
        if let Piece::Malformed(malformed) = piece {
            malformed_at(&malformed, sources.slot(at, nth), drafts);
        }
    }
}

fn malformed_at(malformed: &Malformed, place: Span, drafts: &mut Drafts) {
    match malformed {
        Malformed::Open => {
            drafts.add(place, "this `${` has no `}`").hint("write $${ where ${ is meant as text");
        }
        Malformed::Unknown(inside) => {
            let hint = match suggest(inside) {
                Some(meant) => format!("did you mean {}?", quote(&format!("${{{meant}}}"))),
                None => {
                    "write $${ where ${ is meant as text, for a shell or a template of your own".to_owned()
                }
            };
            drafts
                .add(place, format!("{} means nothing here", quote(&format!("${{{inside}}}"))))
                .expected("${vars.NAME}, ${env.NAME}, ${env.NAME:-default}, ${git.sha|short|branch|tag|dirty} or ${run.id}")
                .hint(hint);
        }
    }
}

/// What stands in a slot that was most likely meant by one that means nothing.
fn suggest(inside: &str) -> Option<String> {
    let git = GitFact::WORDS.iter().map(|(word, _)| format!("git.{word}"));
    let known: Vec<String> = git.chain(["run.id".to_owned()]).collect();
    if let Some(meant) = nearest(inside, known.iter().map(String::as_str)) {
        return Some(meant.to_owned());
    }
    let (root, rest) = inside.split_once('.')?;
    let meant = format!("{}.{rest}", nearest(root, ["vars", "env", "git", "run"])?);
    let fits = matches!(parse(&format!("${{{meant}}}")).as_slice(), [Piece::Slot(_)]);
    fits.then_some(meant)
}
